"""Many values become few. `axis` is a number, several of them, or None for all axes."""

from math import prod
from typing import Any

from dltrain.backend import kernels
from dltrain.engine import op
from dltrain.ops.axes import Axis, axes_of

Array = Any


@op
def sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The sum. Each input gets the gradient of the sum it went into."""
    return _sum(x, axes_of(x.ndim, axis), keepdims, 1)


@op
def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean."""
    axes = axes_of(x.ndim, axis)
    return _sum(x, axes, keepdims, prod(x.shape[a] for a in axes))


def _sum(x: Array, axes: tuple[int, ...], keepdims: bool, count: int) -> Any:
    k = kernels(x)
    y = k.sum(x, axes, count)
    shape = y.shape if keepdims else tuple(n for a, n in enumerate(x.shape) if a not in axes)
    return y.reshape(shape), (lambda g: k.spread(_with_axes(g, x, axes), x.shape, count),)


@op
def max(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest value. Inputs that share it share the gradient equally."""
    axes = axes_of(x.ndim, axis)
    y = x.max(axis=axes, keepdims=True)

    def back(g: Array) -> Array:
        hit = x == y
        share = _with_axes(g, x, axes) / hit.sum(axis=axes, keepdims=True)  # counted in integers: halves end at 65504
        return hit * share.astype(x.dtype)

    return (y if keepdims else x.max(axis=axes)), (back,)


def _with_axes(g: Array, x: Array, axes: tuple[int, ...]) -> Array:
    """g with length-1 axes where x was reduced, so that it broadcasts against x."""
    return g.reshape(tuple(1 if a in axes else n for a, n in enumerate(x.shape)))
