"""Sizes of weights, for penalties."""

from typing import Any

from dltrain.backend import array_module
from dltrain.engine import op

Array = Any


@op
def absolute_sum(x: Array) -> Any:
    """Σ|x|. At 0 the gradient is 0."""
    xp = array_module(x)
    return xp.abs(x).sum(), (lambda g: g * xp.sign(x),)


@op
def square_sum(x: Array) -> Any:
    """Σx²"""
    return (x * x).sum(), (lambda g: 2 * g * x,)


@op
def p_norm(x: Array, *, p: float = 2.0) -> Any:
    """(Σ|x|^p)^(1/p), p >= 1. Where all of x is 0 the gradient is 0. Divided by the maximum, so nothing overflows."""
    xp = array_module(x)
    sizes = xp.abs(x)
    largest = sizes.max()
    shares = sizes / (largest + (largest == 0))
    y = largest * (shares**p).sum() ** (1 / p)

    def back(g: Array) -> Array:
        # |x|^(p-1) / y^(p-1), and 0 to the power of 0 would be 1
        return g * xp.sign(x) * (sizes / (y + (y == 0))) ** (p - 1)

    return y, (back,)
