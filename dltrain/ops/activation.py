"""Activations.

FUSED names those whose gradient can be read off the output y. They work in place, so that conv and dense
can apply them to values that are still in the cache; their stand-alone ops are made from the same rows.
"""

from types import ModuleType
from typing import Any, Literal

from dltrain.backend import Activation, array_module, kernels
from dltrain.engine import op
from dltrain.ops.arithmetic import unbroadcast
from dltrain.ops.axes import axis_of

Array = Any


def _relu(xp: ModuleType, y: Array) -> None:
    xp.maximum(y, xp.zeros_like(y), out=y)  # numpy takes six times as long with a number


def _relu6(xp: ModuleType, y: Array) -> None:
    xp.minimum(xp.maximum(y, 0, out=y), 6, out=y)


def _sigmoid(xp: ModuleType, y: Array) -> None:
    # 1 / (1 + e^-x), above 0, and e^x / (1 + e^x) below: overflows nowhere, and is as small as it should be far below
    tail = xp.exp(-xp.abs(y))
    y[...] = xp.where(y >= 0, 1, tail)
    tail += 1
    y /= tail


def _tanh(xp: ModuleType, y: Array) -> None:
    xp.tanh(y, out=y)


def _leaky(slope: float) -> Activation:
    def forward(xp: ModuleType, y: Array) -> None:
        xp.maximum(y, y * slope, out=y)

    def gradient(xp: ModuleType, g: Array, y: Array) -> Array:
        return xp.where(y > 0, g, g * slope)

    return Activation("leaky_relu", forward, gradient, slope)


def _elu(name: str, alpha: float, scale: float = 1.0) -> Activation:
    def forward(xp: ModuleType, y: Array) -> None:
        below = xp.expm1(xp.minimum(y, 0)) * (scale * alpha)
        xp.maximum(y, 0, out=y)
        y *= scale
        y += below

    def gradient(xp: ModuleType, g: Array, y: Array) -> Array:
        return g * xp.where(y > 0, scale, y + scale * alpha)

    return Activation(name, forward, gradient)


def _softplus(xp: ModuleType, y: Array) -> None:
    # log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), which overflows nowhere
    tail = xp.log1p(xp.exp(-xp.abs(y)))
    xp.maximum(y, 0, out=y)
    y += tail


# With these, values of mean 0 and variance 1 keep them from layer to layer.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805

FUSED: dict[str, Activation] = {
    # At 0 the gradient of relu is 0, so a dead unit stays dead.
    "relu": Activation("relu", _relu, lambda xp, g, y: g * (y > 0)),
    "relu6": Activation("relu6", _relu6, lambda xp, g, y: g * ((y > 0) & (y < 6))),
    "leaky_relu": _leaky(0.01),
    "sigmoid": Activation("sigmoid", _sigmoid, lambda xp, g, y: g * (y * (1 - y))),
    "tanh": Activation("tanh", _tanh, lambda xp, g, y: g * (1 - y * y)),
    "elu": _elu("elu", 1.0),
    "selu": _elu("selu", SELU_ALPHA, SELU_SCALE),
    "softplus": Activation("softplus", _softplus, lambda xp, g, y: -g * xp.expm1(-y)),  # σ(x) = 1 - e^-y
}


def _copy(x: Array) -> Array:
    """An array, in which one can work in place, even where x is one of numpy's numbers."""
    y = array_module(x).empty(x.shape, x.dtype)
    y[...] = x
    return y


def _apply(row: Activation, x: Array) -> Any:
    k = kernels(x)
    y = k.activated(row, x)
    return y, (lambda g: k.activate_grad(row, g, y),)


@op
def relu(x: Array) -> Any:
    """max(x, 0)"""
    return _apply(FUSED["relu"], x)


@op
def relu6(x: Array) -> Any:
    """min(max(x, 0), 6) (Krizhevsky, "Convolutional Deep Belief Networks on CIFAR-10", 2010)"""
    return _apply(FUSED["relu6"], x)


@op
def leaky_relu(x: Array, *, slope: float = 0.01) -> Any:
    """x where positive, slope · x elsewhere (Maas, Hannun, Ng, 2013); 0 <= slope < 1."""
    return _apply(_leaky(slope), x)


@op
def sigmoid(x: Array) -> Any:
    """1 / (1 + e^-x)"""
    return _apply(FUSED["sigmoid"], x)


@op
def tanh(x: Array) -> Any:
    """The hyperbolic tangent."""
    return _apply(FUSED["tanh"], x)


@op
def elu(x: Array, *, alpha: float = 1.0) -> Any:
    """x where positive, alpha · (e^x - 1) elsewhere (Clevert, Unterthiner, Hochreiter, 2016); alpha > 0."""
    return _apply(_elu("elu", alpha), x)


@op
def selu(x: Array) -> Any:
    """1.0507 · elu(x) with alpha 1.6733, which keeps mean 0 and variance 1 from layer to layer, with init lecun_normal
    (Klambauer et al., "Self-Normalizing Neural Networks", 2017)."""
    return _apply(FUSED["selu"], x)


@op
def softplus(x: Array) -> Any:
    """log(1 + e^x): a smooth relu, whose derivative is the sigmoid."""
    return _apply(FUSED["softplus"], x)


@op
def log_sigmoid(x: Array) -> Any:
    """log(1 / (1 + e^-x)) = -softplus(-x), right where the sigmoid itself rounds to 0 or 1."""
    y = _copy(-x)
    _softplus(array_module(x), y)
    return -y, (lambda g: -g * array_module(x).expm1(-y),)


@op
def silu(x: Array) -> Any:
    """x · sigmoid(x), also called swish (Elfwing, Uchibe, Doya, 2018)."""
    s = _copy(x)
    _sigmoid(array_module(x), s)
    return x * s, (lambda g: g * (s * (1 + x * (1 - s))),)


@op
def hard_swish(x: Array) -> Any:
    """x · relu6(x + 3) / 6: silu from straight lines (Howard et al., "Searching for MobileNetV3", 2019)."""
    xp = array_module(x)
    share = xp.minimum(xp.maximum(x + 3, 0), 6) / 6
    return x * share, (lambda g: g * (share + x * ((x > -3) & (x < 3)) / 6),)


@op
def gelu(x: Array, *, approximate: Literal["none", "tanh"] = "none") -> Any:
    """x · Φ(x), Φ the distribution function of the normal distribution (Hendrycks and Gimpel, 2016).

    approximate "tanh": the paper's (1 + tanh(√(2/π) · (x + 0.044715 x³))) / 2 in place of Φ, as in GPT-2.
    """
    k = kernels(x)
    y, slope = k.gelu(x, approximate == "tanh")
    return y, (lambda g: k.multiply(g, slope),)


@op
def prelu(x: Array, slope: Array) -> Any:
    """x where positive, slope · x elsewhere, with a slope that is learned (He et al., "Delving Deep into Rectifiers",
    2015). slope: broadcasts against x; (C,) for one of each channel."""
    xp = array_module(x)
    below = xp.minimum(x, 0)
    return xp.maximum(x, 0) + slope * below, (
        lambda g: xp.where(x > 0, g, g * slope),
        lambda g: unbroadcast(g * below, slope),
    )


@op
def softmax(x: Array, *, axis: int = -1) -> Any:
    """e^x / Σ e^x along an axis, the last by default: positive, sums to 1. Not before cross_entropy, which applies it
    itself.

    Shifted by the maximum, so that nothing overflows.
    """
    xp, axis = array_module(x), axis_of(x.ndim, axis)
    y = xp.exp(x - x.max(axis=axis, keepdims=True))
    y /= y.sum(axis=axis, keepdims=True)
    return y, (lambda g: y * (g - (g * y).sum(axis=axis, keepdims=True)),)
