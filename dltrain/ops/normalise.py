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
    return _affine(x, scale, shift, *_standardised(x, (-1,), epsilon)[2:])


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
    *_, standard, back = _standardised(cut, (1, 3), epsilon)
    return _affine(x, scale, shift, standard.reshape(x.shape), lambda h: back(h.reshape(cut.shape)).reshape(x.shape))


@op
def batch_norm(x: Array, scale: Array | None, shift: Array | None, *, epsilon: float = 1e-5) -> Any:
    """(y, mean, variance): each channel by its mean and variance over all examples and positions, which also come out,
    the variance as it normalises: divided by their number.

    x: (N, *size, C), scale, shift, mean and variance: (C,).
    """
    axes = tuple(range(x.ndim - 1))
    mean, variance, standard, back = _standardised(x, axes, epsilon)
    y, backward = _affine(x, scale, shift, standard, back)
    count, deviation = x.size // x.shape[-1], array_module(x).sqrt(variance + epsilon)

    def through_all(g: tuple[Array | None, ...], needed: Sequence[bool]) -> list[Array | None]:
        g_y, g_mean, g_variance = g
        found = backward(array_module(x).zeros_like(y) if g_y is None else g_y, needed)
        if needed[0] and g_mean is not None:
            found[0] = found[0] + g_mean / count
        if needed[0] and g_variance is not None:
            found[0] = found[0] + standard * (deviation * g_variance * (2 / count))
        return found

    return (y, mean.reshape(-1), variance.reshape(-1)), through_all


def _standardised(
    x: Array, axes: tuple[int, ...], epsilon: float
) -> tuple[Array, Array, Array, Callable[[Array], Array]]:
    """(mean, variance, x̂, what carries a gradient back from there), with mean and variance over these axes."""
    xp = array_module(x)
    mean = x.mean(axis=axes, keepdims=True)
    centred = x - mean
    variance = (centred * centred).mean(axis=axes, keepdims=True)
    inverse = 1 / xp.sqrt(variance + epsilon)
    standard = centred * inverse

    def back(h: Array) -> Array:
        shared = (h * standard).mean(axis=axes, keepdims=True)
        return (h - h.mean(axis=axes, keepdims=True) - standard * shared) * inverse

    return mean, variance, standard, back


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
