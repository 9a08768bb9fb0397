"""Many values become few. `axis` is a number, several of them, or None for all axes."""

from math import prod
from typing import Any

from dltrain.backend import array_module
from dltrain.engine import op
from dltrain.ops.axes import Axis, axes_of

Array = Any


@op
def sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The sum. Each input gets the gradient of the sum it went into."""
    axes = axes_of(x.ndim, axis)

    def back(g: Array) -> Array:
        return array_module(x).broadcast_to(_with_axes(g, x, axes), x.shape)

    return x.sum(axis=axes, keepdims=keepdims), (back,)


@op
def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean."""
    axes = axes_of(x.ndim, axis)
    count = prod(x.shape[a] for a in axes)

    def back(g: Array) -> Array:
        return array_module(x).broadcast_to(_with_axes(g / count, x, axes), x.shape)

    return x.mean(axis=axes, keepdims=keepdims), (back,)


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
