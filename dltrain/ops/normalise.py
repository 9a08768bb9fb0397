"""Normalisation: numbers are brought to mean 0 and variance 1 among their like, then scaled and shifted by channel.

x̂ = (x - mean) / √(variance + ε), y = scale · x̂ + shift. With σ = √(variance + ε) and h = dLoss/dx̂ = scale · g, by the
chain rule through mean and variance (Ioffe and Szegedy, "Batch Normalization", 2015, section 3):

    dLoss/dx = (h - mean(h) - x̂ · mean(h · x̂)) / σ,    dLoss/dscale = Σ g · x̂,    dLoss/dshift = Σ g
"""

from typing import Any

from dltrain.backend import kernels
from dltrain.engine import op

Array = Any


@op
def layer_norm(x: Array, scale: Array | None, shift: Array | None, *, epsilon: float = 1e-5) -> Any:
    """Each row of channels by its own mean and variance (Ba, Kiros, Hinton, "Layer Normalization", 2016).

    x: (N, *size, C), scale and shift: (C,).
    """
    return _by_itself(x.reshape(-1, 1, x.shape[-1]), x.shape, scale, shift, 1, epsilon)


@op
def group_norm(x: Array, scale: Array | None, shift: Array | None, *, groups: int, epsilon: float = 1e-5) -> Any:
    """Each example by itself, C/groups neighbouring channels at all positions together (Wu and He, "Group
    Normalization", 2018). With as many groups as channels it is instance normalisation (Ulyanov, Vedaldi, Lempitsky,
    2016), with one all numbers of an example are taken together.

    x: (N, *size, C), scale and shift: (C,).
    """
    if groups < 1 or x.shape[-1] % groups:
        raise ValueError(f"group_norm of {x.shape[-1]} channels in {groups} groups")
    return _by_itself(x.reshape(len(x), -1, x.shape[-1]), x.shape, scale, shift, groups, epsilon)


def _by_itself(
    x: Array, shape: tuple[int, ...], scale: Array | None, shift: Array | None, groups: int, epsilon: float
) -> Any:
    """Each of these examples (M, R, C). shape: that of what comes out."""
    k = kernels(x)
    y, mean, variance = k.standardise(x, scale, shift, groups, epsilon)

    def back(g: Array, needed: list[bool]) -> list[Array | None]:
        dx, *rest = k.standardise_grad(g.reshape(x.shape), x, scale, mean, variance, epsilon, needed)
        return [None if dx is None else dx.reshape(shape), *rest]

    return y.reshape(shape), back


@op
def batch_norm(x: Array, scale: Array | None, shift: Array | None, *, epsilon: float = 1e-5) -> Any:
    """(y, mean, variance): each channel by its mean and variance over all examples and positions, which also come out,
    the variance as it normalises: divided by their number.

    x: (N, *size, C), scale, shift, mean and variance: (C,).
    """
    k, rows = kernels(x), x.reshape(1, -1, x.shape[-1])
    y, mean, variance = k.standardise(rows, scale, shift, x.shape[-1], epsilon)
    count = rows.shape[1]

    def back(g: tuple[Array | None, ...], needed: list[bool]) -> list[Array | None]:
        g_y, g_mean, g_variance = g
        g_rows = k.xp.zeros_like(rows) if g_y is None else g_y.reshape(rows.shape)
        dx, *rest = k.standardise_grad(g_rows, rows, scale, mean, variance, epsilon, needed)
        if needed[0] and g_mean is not None:
            dx = dx + g_mean / count
        if needed[0] and g_variance is not None:
            dx = dx + (rows - mean) * (g_variance * (2 / count))
        return [None if dx is None else dx.reshape(x.shape), *rest]

    return (y.reshape(x.shape), mean.reshape(-1), variance.reshape(-1)), back
