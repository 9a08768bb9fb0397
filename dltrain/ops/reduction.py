"""Many values become few. `axis` is a number, a tuple, or None for all axes."""

from math import prod
from typing import Any

from dltrain.backend import array_module
from dltrain.engine import op

Array = Any
Axis = int | tuple[int, ...] | None


@op
def sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The sum. Each input gets the gradient of the sum it went into."""

    def back(g: Array) -> Array:
        return array_module(x).broadcast_to(_with_axes(g, x, axis), x.shape)

    return x.sum(axis=axis, keepdims=keepdims), (back,)


@op
def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean."""
    count = prod(x.shape[a] for a in _axes(x, axis))

    def back(g: Array) -> Array:
        return array_module(x).broadcast_to(_with_axes(g / count, x, axis), x.shape)

    return x.mean(axis=axis, keepdims=keepdims), (back,)


@op
def max(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest value. Inputs that share it share the gradient equally."""
    y = x.max(axis=axis, keepdims=True)

    def back(g: Array) -> Array:
        hit = (x == y).astype(x.dtype)
        return hit / hit.sum(axis=axis, keepdims=True) * _with_axes(g, x, axis)

    return (y if keepdims else x.max(axis=axis)), (back,)


def _axes(x: Array, axis: Axis) -> tuple[int, ...]:
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return tuple(a % x.ndim for a in axes)


def _with_axes(g: Array, x: Array, axis: Axis) -> Array:
    """g with length-1 axes where x was reduced, so that it broadcasts against x."""
    return g.reshape(tuple(1 if a in _axes(x, axis) else n for a, n in enumerate(x.shape)))
