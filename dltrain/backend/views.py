"""Parts of arrays, without copying: what the plain kernels slide over padded inputs, and even runs of rows."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from types import ModuleType
from typing import Any

from dltrain.window import Window

Array = Any


def meets(window: Window, dimension: int, position: int) -> slice:
    """Where in a dimension of the padded input a position in the kernel meets all outputs."""
    stride, first = window.stride[dimension], position * window.dilation[dimension]
    return slice(first, first + (window.out_size[dimension] - 1) * stride + 1, stride)


@lru_cache(maxsize=256)  # a net asks for the same ones in every step
def taps(window: Window) -> tuple[tuple[tuple[int, ...], tuple[slice, ...]], ...]:
    """Each position in the kernel, and where in the padded input it meets all outputs."""
    positions = product(*(range(k) for k in window.kernel))
    return tuple((position, tuple(meets(window, d, p) for d, p in enumerate(position))) for position in positions)


def pad(xp: ModuleType, x: Array, window: Window, value: float) -> Array:
    """x with its spatial dimensions padded; x itself where nothing is to be added."""
    if not any(map(any, window.padding)):
        return x
    padded = xp.full((len(x), *window.padded_size, x.shape[-1]), value, x.dtype)
    inside(padded, window)[...] = x
    return padded


def inside(padded: Array, window: Window) -> Array:
    """The part of a padded array that is not padding: a view."""
    spatial = (slice(before, before + i) for (before, _), i in zip(window.padding, window.in_size, strict=True))
    return padded[(slice(None), *spatial)]


def swept(combine: Callable[..., Array], padded: Array, window: Window) -> Array:
    """What `combine`, a function of two arrays, makes of all that lies under each window: (n, *padded_size, C) ->
    (n, *out_size, C). One dimension after the other: fewer passes, and that over the first one goes by whole lines."""
    for axis, kernel in enumerate(window.kernel):
        parts = [padded[(*[slice(None)] * (axis + 1), meets(window, axis, position))] for position in range(kernel)]
        padded = combine(parts[0], parts[1]) if kernel > 1 else parts[0].copy()
        for part in parts[2:]:
            combine(padded, part, out=padded)
    return padded


def sliding(xp: ModuleType, padded: Array, window: Window) -> Array:
    """(n, *padded_size, C) -> (n, *out_size, *kernel, C), without copying: only the strides change."""
    n, *spatial, c = padded.strides
    return xp.lib.stride_tricks.as_strided(
        padded,
        (len(padded), *window.out_size, *window.kernel, padded.shape[-1]),
        (
            n,
            *(s * step for s, step in zip(spatial, window.stride, strict=True)),
            *(s * d for s, d in zip(spatial, window.dilation, strict=True)),
            c,
        ),
    )


@lru_cache(maxsize=256)
def flipped_window(window: Window) -> Window | None:
    """The window that carries gradients back through one of stride 1; None where there is no such window."""
    if any(s != 1 for s in window.stride):
        return None
    padding = tuple(
        (e - 1 - before, e - 1 - after) for e, (before, after) in zip(window.extent, window.padding, strict=True)
    )
    if any(amount < 0 for pair in padding for amount in pair):
        return None
    return Window(window.out_size, window.in_size, window.kernel, window.stride, padding, window.dilation)


@lru_cache(maxsize=256)
def along_first(window: Window) -> Window:
    """The window of one slice of the kernel, at every position of the first dimension of the padded input."""
    (first, *_), n = window.padded_size, len(window.kernel)
    one = (1,) * n
    return Window(
        in_size=window.in_size,
        out_size=(first, *window.out_size[1:]),
        kernel=(1, *window.kernel[1:]),
        stride=(1, *window.stride[1:]),
        padding=window.padding,
        dilation=(*one[:1], *window.dilation[1:]),
    )


def evenly(count: int, most: int) -> Iterator[slice]:
    """Runs of at most so many, about equally long: 1, 2, 4, ... of them, so that two threads get as many."""
    runs = min(count, 1 << (-(-count // most) - 1).bit_length())
    for i in range(runs):
        yield slice(count * i // runs, count * (i + 1) // runs)
