"""Parts of an array by their places: slices, and gathers such as the rows of an embedding."""

from typing import Any

import numpy as np

from dltrain.backend import array_module, is_array, kernels
from dltrain.engine import op

Array = Any


@op
def index(x: Array, *, key: Any) -> Any:
    """x[key], for every key that numpy takes: numbers, slices, None, Ellipsis, lists, arrays, masks, tuples of these.

    An entry that is named several times gets the sum of the gradients, added in the order of their places: the same
    bits every time. Raises IndexError for a place that does not exist; arrays of places on a GPU are not looked at.
    """
    xp = array_module(x)
    parts = key if isinstance(key, tuple) else (key,)
    if any(is_array(part) or isinstance(part, list | tuple | bool | np.bool_) for part in parts):
        return _gather(x, _on_device(x, parts))

    def back(g: Array) -> Array:
        dx = xp.zeros_like(x)
        if g.ndim:
            kernels(g).assign(dx[key], g)
        else:
            dx[key] = g
        return dx

    y = x[key]
    return kernels(x).packed(y) if y.ndim else y, (back,)


def _gather(x: Array, key: tuple[Any, ...]) -> Any:
    y = x[key]

    def back(g: Array) -> Array:
        return kernels(x).add_at(_places(x, key).reshape(-1), g.reshape(-1), x.size).reshape(x.shape)

    return y, (back,)


def _places(x: Array, key: tuple[Any, ...]) -> Array:
    """Where each value of x[key] comes from, counted through all of x."""
    xp = array_module(x)
    if len(key) == 1 and key[0].dtype != bool:  # whole rows: no need to count through a large table
        width = x.size // max(1, len(x))
        return key[0].astype("int64")[..., None] % len(x) * width + xp.arange(width)
    return xp.arange(x.size).reshape(x.shape)[key]


def _on_device(x: Array, parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """The key with its lists and host arrays as arrays like x. Raises IndexError where one names what is not there."""
    listed = list | tuple | bool | np.bool_
    plain = tuple(np.asarray(p, None if np.size(p) else int) if isinstance(p, listed) else p for p in parts)
    xp = array_module(x)
    if xp is np:
        return plain
    if not any(is_array(p) and not isinstance(p, np.ndarray) for p in plain):
        np.broadcast_to(np.False_, x.shape)[plain]  # a GPU would take another place in silence
    return tuple(xp.asarray(p) if isinstance(p, np.ndarray) else p for p in plain)
