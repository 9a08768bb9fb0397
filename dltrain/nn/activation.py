"""Activations: a setting of conv and dense, or layers of their own."""

from collections.abc import Callable
from typing import Any, Literal

from dltrain import ops
from dltrain.engine import OPS, Tensor
from dltrain.errors import ShapeError
from dltrain.nn.init import Constant
from dltrain.nn.layer import LAYERS, Context, Layer, count_text
from dltrain.nn.parameter import Parameter, Shape
from dltrain.ops import FUSED
from dltrain.registry import Positive, Rate

ActivationName = Literal[
    "none", "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "hard_swish", "softplus", "sigmoid", "tanh",
    "softmax",
]  # fmt: skip


def fuse(name: str | None, last: bool = True) -> tuple[str | None, Callable[[Tensor], Tensor]]:
    """(what conv or dense applies on the way out, what remains to be applied after it). last: whether nothing stands
    between the two."""
    if name is None or name == "none":
        return None, lambda y: y
    return (name, lambda y: y) if last and name in FUSED else (None, OPS[name])


class _Elementwise(Layer):
    """An op on every value, or on every row of them: the same shape out as in. settings: those of the op."""

    function: Callable[..., Any]

    def __init__(self, in_shape: Shape, **settings: Any):
        super().__init__(in_shape, in_shape)
        self.settings = settings

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = type(self).function(x, **self.settings)
        return y


def _plain(name: str, function: Callable[..., Any]) -> None:
    """Register a layer for an op without settings, which describes them both."""

    @LAYERS.register(name)
    class Plain(_Elementwise):
        def __init__(self, in_shape: Shape):
            super().__init__(in_shape)

    Plain.__name__ = Plain.activation = name
    Plain.function, Plain.__doc__ = staticmethod(function), function.__doc__


_plain("relu", ops.relu)
_plain("relu6", ops.relu6)
_plain("selu", ops.selu)
_plain("silu", ops.silu)
_plain("hard_swish", ops.hard_swish)
_plain("softplus", ops.softplus)
_plain("sigmoid", ops.sigmoid)
_plain("tanh", ops.tanh)


@LAYERS.register("leaky_relu")
class LeakyRelu(_Elementwise):
    """x where positive, slope · x elsewhere: no unit dies."""

    activation = "leaky_relu"
    function = staticmethod(ops.leaky_relu)

    def __init__(self, in_shape: Shape, *, slope: Rate = 0.01):
        super().__init__(in_shape, slope=slope)


@LAYERS.register("elu")
class Elu(_Elementwise):
    """x where positive, alpha · (e^x - 1) elsewhere."""

    activation = "elu"
    function = staticmethod(ops.elu)

    def __init__(self, in_shape: Shape, *, alpha: Positive = 1.0):
        super().__init__(in_shape, alpha=alpha)


@LAYERS.register("gelu")
class Gelu(_Elementwise):
    """x · Φ(x), Φ the distribution function of the normal distribution; with approximate: tanh a quicker formula."""

    activation = "gelu"
    function = staticmethod(ops.gelu)

    def __init__(self, in_shape: Shape, *, approximate: Literal["none", "tanh"] = "none"):
        super().__init__(in_shape, approximate=approximate)


@LAYERS.register("softmax")
class Softmax(_Elementwise):
    """e^x / Σ e^x along an axis: positive, sums to 1. Not before cross_entropy, which applies it itself.

    axis: of an example's shape, counted from 0, or from the end with -1, the channels.
    """

    activation = "softmax"
    function = staticmethod(ops.softmax)

    def __init__(self, in_shape: Shape, *, axis: int = -1):
        n = len(in_shape)
        if not -n <= axis < n:
            raise ShapeError(
                f"axis {axis} of an input of shape {in_shape}: it goes from 0 to {n - 1}, or from -1 to {-n}"
            )
        super().__init__(in_shape, axis=axis % n - n)


@LAYERS.register("prelu")
class PRelu(Layer):
    """x where positive, slope · x elsewhere; each channel learns its slope, which no penalty touches."""

    activation = "prelu"

    def __init__(self, in_shape: Shape, *, slope: float = 0.25):
        super().__init__(in_shape, in_shape)
        self.slope = Parameter(in_shape[-1:], init=Constant(value=slope), kind="slope")
        self.arithmetic = count_text(self.slope.shape)

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = ops.prelu(x, self.slope)
        return y
