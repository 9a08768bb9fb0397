"""Digits of MNIST on photographs of CIFAR-10: what was learned on one kind of picture is to help with another."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dltrain.data.pictures.cifar10 import Cifar10
from dltrain.data.pictures.mnist import Mnist
from dltrain.data.source import SOURCES, Source, Split
from dltrain.random import generator

Array = NDArray[Any]
SHAPE = (32, 32, 3)
EDGE = 2  # MNIST's 28 pixels in CIFAR-10's 32
HALF = 30_000  # of MNIST's training part


@SOURCES.register("mnist_photographs")
class MnistPhotographs(Source):
    """Digits of MNIST blended over photographs of CIFAR-10, 32x32 in colour: 30,000 to train on, 10,000 to test.

    A pixel is the distance between the photograph's and the digit's, as in MNIST-M (Ganin et al., Domain-Adversarial
    Training of Neural Networks, 2016). Which photograph a digit gets never changes; both data sets must be here.

    background: "photographs"; or "none", plain digits of the same size, in the training part the other half of MNIST's.
    """

    input_shape = SHAPE
    classes = tuple("0123456789")

    def __init__(self, *, background: Literal["photographs", "none"] = "photographs"):
        self.background = background

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        digits = Mnist().load(data_dir, only=only)
        if "train" in digits:
            half = slice(0, HALF) if self.background == "none" else slice(HALF, None)
            digits["train"] = digits["train"].take(np.arange(len(digits["train"]))[half])
        photographs = Cifar10().load(data_dir, only=only) if self.background == "photographs" else {}
        return {name: _blended(part, photographs.get(name), name) for name, part in digits.items()}


def _blended(digits: Split, photographs: Split | None, name: str) -> Split:
    """|photograph - digit|, every digit on one photograph of the same split."""
    pixels: Array = np.pad(np.asarray(digits.inputs), ((0, 0), (EDGE, EDGE), (EDGE, EDGE), (0, 0)))
    if photographs is None:
        return Split(np.repeat(pixels, 3, axis=-1), digits.targets)
    chosen = generator(0, "mnist_photographs", name).integers(0, len(photographs), len(digits))
    behind = np.asarray(photographs.inputs)[chosen]
    return Split(np.maximum(behind, pixels) - np.minimum(behind, pixels), digits.targets)
