"""Activations.

FUSED names those whose gradient can be read off the output y. They work in place, so that conv and dense
can apply them to values that are still in the cache; their stand-alone ops are made from the same rows.
"""

from types import ModuleType
from typing import Any

from dltrain.backend import Activation, array_module, kernels
from dltrain.engine import op

Array = Any


def _relu(xp: ModuleType, y: Array) -> None:
    xp.maximum(y, 0, out=y)


def _sigmoid(xp: ModuleType, y: Array) -> None:
    # 1 / (1 + e^-x) = (1 + tanh(x / 2)) / 2, which overflows nowhere
    y *= 0.5
    xp.tanh(y, out=y)
    y += 1
    y *= 0.5


def _tanh(xp: ModuleType, y: Array) -> None:
    xp.tanh(y, out=y)


def _leaky(slope: float) -> Activation:
    def forward(xp: ModuleType, y: Array) -> None:
        xp.maximum(y, y * slope, out=y)

    def gradient(xp: ModuleType, g: Array, y: Array) -> Array:
        return xp.where(y > 0, g, g * slope)

    return Activation("leaky_relu", forward, gradient)


FUSED: dict[str, Activation] = {
    # At 0 the gradient of relu is 0, so a dead unit stays dead.
    "relu": Activation("relu", _relu, lambda xp, g, y: g * (y > 0)),
    "leaky_relu": _leaky(0.01),
    "sigmoid": Activation("sigmoid", _sigmoid, lambda xp, g, y: g * (y * (1 - y))),
    "tanh": Activation("tanh", _tanh, lambda xp, g, y: g * (1 - y * y)),
}


def _apply(row: Activation, x: Array) -> Any:
    k = kernels(x)
    y = k.activate(row, x.copy())
    return y, (lambda g: k.activate_grad(row, g, y),)


@op
def relu(x: Array) -> Any:
    """max(x, 0)"""
    return _apply(FUSED["relu"], x)


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
def softmax(x: Array) -> Any:
    """e^x / Σ e^x along the last axis: positive, sums to 1. Shifted by the maximum, so nothing overflows."""
    xp = array_module(x)
    y = xp.exp(x - x.max(axis=-1, keepdims=True))
    y /= y.sum(axis=-1, keepdims=True)
    return y, (lambda g: y * (g - (g * y).sum(axis=-1, keepdims=True)),)
