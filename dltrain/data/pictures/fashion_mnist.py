"""Fashion-MNIST, in files like those of MNIST."""

from dltrain.data.pictures.mnist import Mnist
from dltrain.data.source import SOURCES


@SOURCES.register("fashion_mnist")
class FashionMnist(Mnist):
    """70,000 pieces of clothing, 28x28 grey, in 10 classes: 60,000 to train on, 10,000 to test.

    Xiao, Rasul, Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms, 2017.
    """

    classes = (
        "t_shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot",
    )  # fmt: skip
    folder = "fashion_mnist"
    page = "https://github.com/zalandoresearch/fashion-mnist"
