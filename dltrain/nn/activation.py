"""Activations: a setting of conv and dense, or layers of their own."""

from collections.abc import Callable
from typing import Any, Literal

from dltrain.engine import Tensor
from dltrain.nn.layer import LAYERS, Context, Layer, Shape
from dltrain.ops import FUSED, leaky_relu, relu, sigmoid, softmax, tanh
from dltrain.registry import Rate

ActivationName = Literal["none", "relu", "leaky_relu", "sigmoid", "tanh", "softmax"]

_OPS: dict[str, Callable[..., Any]] = {"softmax": softmax}  # those that cannot be fused


def fuse(name: str | None) -> tuple[str | None, Callable[[Tensor], Tensor]]:
    """(what conv or dense applies on the way out, what remains to be applied after it)."""
    if name is None or name == "none":
        return None, lambda y: y
    return (name, lambda y: y) if name in FUSED else (None, _OPS[name])


class _Elementwise(Layer):
    """Same shape out as in."""

    function: Callable[..., Any]

    def __init__(self, in_shape: Shape):
        super().__init__(in_shape, in_shape)

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = type(self).function(x)
        return y


@LAYERS.register("relu")
class Relu(_Elementwise):
    """max(x, 0)"""

    activation = "relu"
    function = staticmethod(relu)


@LAYERS.register("leaky_relu")
class LeakyRelu(Layer):
    """x where positive, slope · x elsewhere: no unit dies."""

    activation = "leaky_relu"

    def __init__(self, in_shape: Shape, *, slope: Rate = 0.01):
        super().__init__(in_shape, in_shape)
        self.slope = slope

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = leaky_relu(x, slope=self.slope)
        return y


@LAYERS.register("sigmoid")
class Sigmoid(_Elementwise):
    """1 / (1 + e^-x)"""

    activation = "sigmoid"
    function = staticmethod(sigmoid)


@LAYERS.register("tanh")
class Tanh(_Elementwise):
    """The hyperbolic tangent."""

    activation = "tanh"
    function = staticmethod(tanh)


@LAYERS.register("softmax")
class Softmax(_Elementwise):
    """Probabilities over the last axis. Not before cross_entropy, which applies it itself."""

    activation = "softmax"
    function = staticmethod(softmax)
