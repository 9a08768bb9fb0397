"""Ops that move values without changing them: a gradient takes the way back."""

from itertools import pairwise
from typing import Any

from dltrain.backend import array_module
from dltrain.engine import op

Array = Any


@op
def reshape(x: Array, *, shape: tuple[int, ...]) -> Any:
    """The same values in another shape; -1 stands for what is left over."""
    return x.reshape(shape), (lambda g: g.reshape(x.shape),)


@op
def transpose(x: Array, *, axes: tuple[int, ...] | None = None) -> Any:
    """Axes in another order; reversed without `axes`."""
    order = tuple(range(x.ndim))[::-1] if axes is None else tuple(a % x.ndim for a in axes)
    back = tuple(sorted(range(x.ndim), key=order.__getitem__))
    return x.transpose(order), (lambda g: g.transpose(back),)


@op
def index(x: Array, *, key: Any) -> Any:
    """x[key] for numbers, slices, None and Ellipsis; they name each entry at most once."""

    def back(g: Array) -> Array:
        dx = array_module(x).zeros_like(x)
        dx[key] = g
        return dx

    return x[key], (back,)


@op
def concatenate(*parts: Array, axis: int = 0) -> Any:
    """The parts one after the other along an axis."""
    ends = [0]
    for part in parts:
        ends.append(ends[-1] + part.shape[axis])

    def back(g: Array, needed: list[bool]) -> list[Array]:
        return [_along(g, axis, start, end) for start, end in pairwise(ends)]

    return array_module(parts[0]).concatenate(parts, axis=axis), back


@op
def split(x: Array, *, sections: int, axis: int = 0) -> Any:
    """`sections` equal parts along an axis: an op with several outputs, the reverse of concatenate."""
    xp = array_module(x)
    if x.shape[axis] % sections:
        raise ValueError(f"axis {axis} of shape {x.shape} cannot be split into {sections} equal parts")
    size = x.shape[axis] // sections
    parts = tuple(_along(x, axis, i * size, (i + 1) * size) for i in range(sections))

    def back(g: tuple[Array | None, ...], needed: list[bool]) -> list[Array]:
        filled = [xp.zeros_like(part) if part_g is None else part_g for part, part_g in zip(parts, g, strict=True)]
        return [xp.concatenate(filled, axis=axis)]

    return parts, back


def _along(x: Array, axis: int, start: int, end: int) -> Array:
    key = [slice(None)] * x.ndim
    key[axis] = slice(start, end)
    return x[tuple(key)]
