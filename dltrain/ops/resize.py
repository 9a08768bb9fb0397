"""Ops that change how many positions there are, and hold no weights: pad and upsample. x: (N, *size, C)."""

from functools import partial
from typing import Any, Literal

from dltrain.backend import array_module, kernels
from dltrain.engine import op
from dltrain.errors import ShapeError
from dltrain.window import Ints, per_dimension

Array = Any
PadMode = Literal["zero", "reflect", "replicate"]
UpsampleMode = Literal["nearest", "bilinear"]


@op
def pad(x: Array, *, padding: tuple[tuple[int, int], ...], mode: PadMode = "zero") -> Any:
    """(before, after) more positions along each spatial dimension: (N, *size, C) -> (N, *(before + size + after), C).

    zero: they hold 0. replicate: what stands at the edge. reflect: the positions as a mirror at the edge shows them,
    without the edge itself, so there must be more positions than padding. Raises ShapeError.
    """
    if len(padding) != x.ndim - 2:
        raise ShapeError(f"padding for {len(padding)} dimensions, but the input has {x.ndim - 2} spatial dimensions")
    xp, y = array_module(x), x
    size = x.shape[1:-1]
    for axis, (ends, n) in enumerate(zip(padding, size, strict=True), 1):
        if mode == "reflect" and max(ends) >= n:
            raise ShapeError(f"reflect shows at most {n - 1} of {n} positions, not {max(ends)}")
        y = _pad_along(xp, y, axis, *ends, mode)

    def back(g: Array) -> Array:
        for axis, ((before, _), n) in reversed([*enumerate(zip(padding, size, strict=True), 1)]):
            at = partial(_at, axis)
            dx = kernels(g).packed(g[at(before, before + n)])
            if mode != "zero":
                for place in (*range(before), *range(before + n, g.shape[axis])):
                    source = _source(place - before, n, mode)
                    dx[at(source, source + 1)] += g[at(place, place + 1)]
            g = dx
        return g

    return y, (back,)


def _pad_along(xp: Any, x: Array, axis: int, before: int, after: int, mode: str) -> Array:
    n = x.shape[axis]
    shape = list(x.shape)
    shape[axis] = before + n + after
    y = xp.zeros(shape, x.dtype)
    kernels(x).assign(y[_at(axis, before, before + n)], x)
    if mode != "zero":
        for place in (*range(before), *range(before + n, before + n + after)):
            source = _source(place - before, n, mode)
            y[_at(axis, place, place + 1)] = x[_at(axis, source, source + 1)]
    return y


def _source(place: int, n: int, mode: str) -> int:
    """Which of n positions stands at a place outside them."""
    if mode == "replicate":
        return 0 if place < 0 else n - 1
    return -place if place < 0 else 2 * (n - 1) - place


def _at(axis: int, start: int, end: int) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, slice(start, end))


@op
def upsample(x: Array, *, factor: Ints, mode: UpsampleMode = "nearest") -> Any:
    """`factor` times as many positions along each spatial dimension: (N, *size, C) -> (N, *(size · factor), C).

    nearest: each position `factor` times. bilinear: between neighbours in proportion to the distance, along one
    dimension after the other. Positions are middles of pixels, and beyond the last one its value goes on: what PyTorch
    does with align_corners=False, in 1 and 3 dimensions under the names linear and trilinear.
    """
    xp, n = array_module(x), x.ndim - 2
    factors = per_dimension(factor, n, "factor")
    y = x
    for axis, times in enumerate(factors, 1):
        if times > 1:
            y = _stretched(xp, y, axis, times, mode)

    def back(g: Array) -> Array:
        for axis, times in reversed([*enumerate(factors, 1)]):
            if times > 1:
                g = _stretched_grad(g, axis, times, mode)
        return g

    return y, (back,)


def _stretched(xp: Any, x: Array, axis: int, times: int, mode: str) -> Array:
    shape = x.shape
    y = xp.empty((*shape[: axis + 1], times, *shape[axis + 1 :]), x.dtype)
    for phase in range(times):
        part = x if mode == "nearest" else _between(xp, x, axis, phase, times)
        kernels(x).assign(y[(*[slice(None)] * (axis + 1), phase)], part)
    return y.reshape(*shape[:axis], shape[axis] * times, *shape[axis + 1 :])


def _stretched_grad(g: Array, axis: int, times: int, mode: str) -> Array:
    parts = g.reshape(*g.shape[:axis], g.shape[axis] // times, times, *g.shape[axis + 1 :])
    if mode == "nearest":
        return kernels(g).sum(parts, (axis + 1,)).reshape(*g.shape[:axis], -1, *g.shape[axis + 1 :])
    total = 0
    for phase in range(times):
        total = total + _between_grad(parts[(*[slice(None)] * (axis + 1), phase)], axis, phase, times)
    return total


def _away(phase: int, times: int) -> float:
    """How far this one of `times` new positions lies from the middle of the old one: between -1/2 and 1/2."""
    return (phase + 0.5) / times - 0.5


def _between(xp: Any, x: Array, axis: int, phase: int, times: int) -> Array:
    away, n = _away(phase, times), x.shape[axis]
    if away < 0:
        neighbour = xp.concatenate([x[_at(axis, 0, 1)], x[_at(axis, 0, n - 1)]], axis=axis)
    else:
        neighbour = xp.concatenate([x[_at(axis, 1, n)], x[_at(axis, n - 1, n)]], axis=axis)
    return x * (1 - abs(away)) + neighbour * abs(away)


def _between_grad(g: Array, axis: int, phase: int, times: int) -> Array:
    away, n = _away(phase, times), g.shape[axis]
    share, dx = g * abs(away), g * (1 - abs(away))
    if away < 0:
        dx[_at(axis, 0, 1)] += share[_at(axis, 0, 1)]
        dx[_at(axis, 0, n - 1)] += share[_at(axis, 1, n)]
    else:
        dx[_at(axis, 1, n)] += share[_at(axis, 0, n - 1)]
        dx[_at(axis, n - 1, n)] += share[_at(axis, n - 1, n)]
    return dx
