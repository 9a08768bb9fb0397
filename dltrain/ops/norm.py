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
