"""The dropout layer."""

from dltrain.backend import kernels
from dltrain.engine import Tensor
from dltrain.nn.layer import LAYERS, Context, Layer
from dltrain.nn.parameter import Shape
from dltrain.ops import dropout, dropout_words
from dltrain.registry import Rate


@LAYERS.register("dropout")
class Dropout(Layer):
    """While training, zero each value with probability `rate` and scale the rest by 1 / (1 - rate); else nothing.

    always: also in evaluation and prediction, as noise that a generator needs (Isola et al., "Image-to-Image
    Translation", 2017), the same each time for the n-th example.
    """

    def __init__(self, in_shape: Shape, *, rate: Rate = 0.5, always: bool = False):
        super().__init__(in_shape, in_shape)
        self.rate, self.always = rate, always

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        if not (context.training or self.always) or self.rate == 0:
            return x
        each = dropout_words(x.shape[1:])
        if context.words is not None:
            words = context.words("dropout", self.name, each)
        elif context.training:
            raise ValueError(f"{self.name}: dropout in training needs random words in its context")
        else:  # no seed, epoch or step: what is evaluated again is the same again
            key = {"epoch": 0, "step": 0, "first": context.first, "examples": len(x), "words_each": each}
            words = kernels(x.data).example_words(0, "dropout", self.name, **key)
        y: Tensor = dropout(x, rate=self.rate, words=words)
        return y
