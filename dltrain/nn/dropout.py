"""The dropout layer."""

from dltrain.engine import Tensor
from dltrain.nn.layer import LAYERS, Context, Layer
from dltrain.nn.parameter import Shape
from dltrain.ops import dropout, dropout_words
from dltrain.registry import Rate


@LAYERS.register("dropout")
class Dropout(Layer):
    """While training, zero each value with probability `rate` and scale the rest by 1 / (1 - rate); else nothing."""

    def __init__(self, in_shape: Shape, *, rate: Rate = 0.5):
        super().__init__(in_shape, in_shape)
        self.rate = rate

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        if not context.training or self.rate == 0:
            return x
        if context.words is None:
            raise ValueError(f"{self.name}: dropout in training needs random words in its context")
        words = context.words("dropout", self.name, dropout_words(self.in_shape))
        y: Tensor = dropout(x, rate=self.rate, words=words)
        return y
