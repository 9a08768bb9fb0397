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
    return _affine(x, scale, shift, *_standardised(x, lambda values: values.mean(axis=-1, keepdims=True), epsilon)[2:])


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
    *_, standard, back = _standardised(cut, lambda values: values.mean(axis=(1, 3), keepdims=True), epsilon)
    return _affine(x, scale, shift, standard.reshape(x.shape), lambda h: back(h.reshape(cut.shape)).reshape(x.shape))


@op
def batch_norm(x: Array, scale: Array | None, shift: Array | None, *, epsilon: float = 1e-5) -> Any:
    """(y, mean, variance): each channel by its mean and variance over all examples and positions, which also come out,
    the variance as it normalises: divided by their number.

    x: (N, *size, C), scale, shift, mean and variance: (C,).
    """
    k, count = kernels(x), x.size // x.shape[-1]
    mean, variance, standard, back = _standardised(x, lambda values: k.column_sums(values) / count, epsilon)
    y, backward = _affine(x, scale, shift, standard, back)
    deviation = array_module(x).sqrt(variance + epsilon)

    def through_all(g: tuple[Array | None, ...], needed: Sequence[bool]) -> list[Array | None]:
        g_y, g_mean, g_variance = g
        found = backward(array_module(x).zeros_like(y) if g_y is None else g_y, needed)
        if needed[0] and g_mean is not None:
            found[0] = found[0] + g_mean / count
        if needed[0] and g_variance is not None:
            found[0] = found[0] + standard * (deviation * g_variance * (2 / count))
        return found

    return (y, mean, variance), through_all


def _standardised(
    x: Array, mean_of: Callable[[Array], Array], epsilon: float
) -> tuple[Array, Array, Array, Callable[[Array], Array]]:
    """(mean, variance, x̂, what carries a gradient back from there).

    mean_of: the mean among the like, of a shape that x can be divided by. It is taken again of what is left over and
    corrected by that: a float32 sum of many numbers far from 0 is off by more than they spread (Chan, Golub, LeVeque,
    "Algorithms for Computing the Sample Variance", 1983, section 3).
    """
    mean = mean_of(x)
    centred = x - mean
    rest = mean_of(centred)
    mean, centred = mean + rest, centred - rest
    variance = mean_of(centred * centred)
    inverse = 1 / array_module(x).sqrt(variance + epsilon)
    standard = centred * inverse

    def back(h: Array) -> Array:
        return (h - mean_of(h) - standard * mean_of(h * standard)) * inverse

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
