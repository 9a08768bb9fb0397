"""Activations: a setting of conv and dense, or layers of their own."""

from collections.abc import Callable
from typing import Any, Literal

from dltrain import ops
from dltrain.engine import Tensor
from dltrain.nn.init import Constant
from dltrain.nn.layer import LAYERS, Context, Layer, count_text
from dltrain.nn.parameter import Parameter, Shape
from dltrain.ops import FUSED
from dltrain.registry import Positive, Rate

ActivationName = Literal[
    "none", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "tanh", "softmax"
]

# those that cannot be fused
_OPS: dict[str, Callable[..., Any]] = {"gelu": ops.gelu, "silu": ops.silu, "softmax": ops.softmax}


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
    function = staticmethod(ops.relu)


@LAYERS.register("leaky_relu")
class LeakyRelu(Layer):
    """x where positive, slope · x elsewhere: no unit dies."""

    activation = "leaky_relu"

    def __init__(self, in_shape: Shape, *, slope: Rate = 0.01):
        super().__init__(in_shape, in_shape)
        self.slope = slope

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = ops.leaky_relu(x, slope=self.slope)
        return y


@LAYERS.register("prelu")
class PRelu(Layer):
    """x where positive, slope · x elsewhere; each channel learns its slope, which no penalty touches."""

    activation = "prelu"

    def __init__(self, in_shape: Shape, *, slope: float = 0.25):
        super().__init__(in_shape, in_shape)
        self.slope = Parameter(in_shape[-1:], init=Constant(value=slope), kind="slope")
        self.arithmetic = count_text(*self.slope.shape)

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = ops.prelu(x, self.slope)
        return y


@LAYERS.register("elu")
class Elu(Layer):
    """x where positive, alpha · (e^x - 1) elsewhere."""

    activation = "elu"

    def __init__(self, in_shape: Shape, *, alpha: Positive = 1.0):
        super().__init__(in_shape, in_shape)
        self.alpha = alpha

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = ops.elu(x, alpha=self.alpha)
        return y


@LAYERS.register("selu")
class Selu(_Elementwise):
    """A scaled elu that keeps mean 0 and variance 1 from layer to layer, with init lecun_normal."""

    activation = "selu"
    function = staticmethod(ops.selu)


@LAYERS.register("gelu")
class Gelu(Layer):
    """x · Φ(x), Φ the distribution function of the normal distribution; with approximate: tanh a quicker formula."""

    activation = "gelu"

    def __init__(self, in_shape: Shape, *, approximate: Literal["none", "tanh"] = "none"):
        super().__init__(in_shape, in_shape)
        self.approximate = approximate

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = ops.gelu(x, approximate=self.approximate)
        return y


@LAYERS.register("silu")
class Silu(_Elementwise):
    """x · sigmoid(x)"""

    activation = "silu"
    function = staticmethod(ops.silu)


@LAYERS.register("softplus")
class Softplus(_Elementwise):
    """log(1 + e^x)"""

    activation = "softplus"
    function = staticmethod(ops.softplus)


@LAYERS.register("sigmoid")
class Sigmoid(_Elementwise):
    """1 / (1 + e^-x)"""

    activation = "sigmoid"
    function = staticmethod(ops.sigmoid)


@LAYERS.register("tanh")
class Tanh(_Elementwise):
    """The hyperbolic tangent."""

    activation = "tanh"
    function = staticmethod(ops.tanh)


@LAYERS.register("softmax")
class Softmax(_Elementwise):
    """Probabilities over the last axis. Not before cross_entropy, which applies it itself."""

    activation = "softmax"
    function = staticmethod(ops.softmax)
