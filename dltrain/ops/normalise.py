"""Normalisation: numbers are brought to mean 0 and variance 1 among their like, then scaled and shifted by channel.

x̂ = (x - mean) / √(variance + ε), y = scale · x̂ + shift. With σ = √(variance + ε) and h = dLoss/dx̂ = scale · g, by the
chain rule through mean and variance (Ioffe and Szegedy, "Batch Normalization", 2015, section 3):

    dLoss/dx = (h - mean(h) - x̂ · mean(h · x̂)) / σ,    dLoss/dscale = Σ g · x̂,    dLoss/dshift = Σ g
"""

from collections.abc import Callable, Sequence
from typing import Any

from dltrain.backend import array_module, kernels
from dltrain.engine import op

Array = Any


@op
def layer_norm(x: Array, scale: Array | None, shift: Array | None, *, epsilon: float = 1e-5) -> Any:
    """Each row of channels by its own mean and variance (Ba, Kiros, Hinton, "Layer Normalization", 2016).

    x: (N, *size, C), scale and shift: (C,).
    """
    return _affine(x, scale, shift, *_standardised(x, (-1,), epsilon))


@op
def group_norm(x: Array, scale: Array | None, shift: Array | None, *, groups: int, epsilon: float = 1e-5) -> Any:
    """Each example by itself, C/groups neighbouring channels at all positions together (Wu and He, "Group
    Normalization", 2018). With as many groups as channels it is instance normalisation (Ulyanov, Vedaldi, Lempitsky,
    2016), with one all numbers of an example are taken together.

    x: (N, *size, C), scale and shift: (C,).
    """
    if groups < 1 or x.shape[-1] % groups:
        raise ValueError(f"group_norm of {x.shape[-1]} channels in {groups} groups")
    cut = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    standard, back = _standardised(cut, (1, 3), epsilon)
    return _affine(x, scale, shift, standard.reshape(x.shape), lambda h: back(h.reshape(cut.shape)).reshape(x.shape))


def _standardised(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Callable[[Array], Array]]:
    """(x̂, what carries a gradient back from there), with mean and variance over these axes."""
    xp = array_module(x)
    centred = x - x.mean(axis=axes, keepdims=True)
    inverse = 1 / xp.sqrt((centred * centred).mean(axis=axes, keepdims=True) + epsilon)
    standard = centred * inverse

    def back(h: Array) -> Array:
        shared = (h * standard).mean(axis=axes, keepdims=True)
        return (h - h.mean(axis=axes, keepdims=True) - standard * shared) * inverse

    return standard, back


def _affine(
    x: Array, scale: Array | None, shift: Array | None, standard: Array, back: Callable[[Array], Array]
) -> tuple[Array, Callable[[Array, Sequence[bool]], list[Array | None]]]:
    """scale · standard + shift, and the gradients of x, scale and shift."""
    y = standard if scale is None else standard * scale
    y = y if shift is None else y + shift
    k = kernels(x)

    def backward(g: Array, needed: Sequence[bool]) -> list[Array | None]:
        return [
            back(g if scale is None else g * scale) if needed[0] else None,
            k.column_sums(g * standard) if needed[1] else None,
            k.column_sums(g) if needed[2] else None,
        ]

    return y, backward
