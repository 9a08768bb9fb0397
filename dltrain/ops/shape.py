"""Ops that move values without changing them: a gradient takes the way back."""

from itertools import pairwise
from typing import Any

from dltrain.backend import array_module, kernels
from dltrain.engine import op
from dltrain.ops.axes import axes_of, axis_of

Array = Any


@op
def reshape(x: Array, *, shape: tuple[int, ...]) -> Any:
    """The same values in another shape; -1 stands for what is left over."""
    return kernels(x).packed(x).reshape(shape), (lambda g: kernels(g).packed(g).reshape(x.shape),)


@op
def transpose(x: Array, *, axes: tuple[int, ...] | None = None) -> Any:
    """Axes in another order; reversed without `axes`."""
    order = tuple(range(x.ndim))[::-1] if axes is None else axes_of(x.ndim, axes)
    back = tuple(sorted(range(x.ndim), key=order.__getitem__))
    return x.transpose(order), (lambda g: g.transpose(back),)


@op
def concatenate(*parts: Array, axis: int = 0) -> Any:
    """The parts one after the other along an axis: `concatenate(a, b)`."""
    _check_parts("concatenate", parts)
    axis = axis_of(parts[0].ndim, axis)
    ends = [0]
    for part in parts:
        ends.append(ends[-1] + part.shape[axis])

    def back(g: Array, needed: list[bool]) -> list[Array]:
        return [_along(g, axis, start, end) for start, end in pairwise(ends)]

    return kernels(parts[0]).concatenate(axis, *parts), back


@op
def stack(*parts: Array, axis: int = 0) -> Any:
    """Parts of one shape side by side along a new axis: `stack(a, b)` of two (3,) is (2, 3), with axis 1 (3, 2)."""
    _check_parts("stack", parts)
    axis = axis_of(parts[0].ndim + 1, axis)

    def back(g: Array, needed: list[bool]) -> list[Array]:
        return [_along(g, axis, i, i + 1).reshape(part.shape) for i, part in enumerate(parts)]

    return array_module(parts[0]).stack(parts, axis=axis), back


@op
def split(x: Array, *, sections: int, axis: int = 0) -> Any:
    """`sections` equal parts along an axis: an op with several outputs, the reverse of concatenate."""
    xp, axis = array_module(x), axis_of(x.ndim, axis)
    if sections < 1 or x.shape[axis] % sections:
        raise ValueError(f"axis {axis} of shape {x.shape} cannot be split into {sections} equal parts")
    size = x.shape[axis] // sections
    parts = tuple(_along(x, axis, i * size, (i + 1) * size) for i in range(sections))

    def back(g: tuple[Array | None, ...], needed: list[bool]) -> list[Array]:
        filled = [xp.zeros_like(part) if part_g is None else part_g for part, part_g in zip(parts, g, strict=True)]
        return [kernels(x).concatenate(axis, *filled)]

    return parts, back


def _check_parts(name: str, parts: tuple[Array, ...]) -> None:
    if not parts or any(isinstance(part, list | tuple) for part in parts):
        raise TypeError(f"{name} takes the parts themselves, one or more, not a list of them: {name}(a, b)")


def _along(x: Array, axis: int, start: int, end: int) -> Array:
    key = [slice(None)] * x.ndim
    key[axis] = slice(start, end)
    return x[tuple(key)]
