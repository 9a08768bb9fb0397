"""How the kernels in C are told of shapes: windows, what broadcasts to what, arrays that do not lie in a row."""

from ctypes import c_int64
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from dltrain.backend.compiled import FLOAT32
from dltrain.window import Window

Array = Any


@lru_cache(maxsize=256)
def described(window: Window, channels: int, filters: int, groups: int) -> Any:
    """The struct Window of c/kernels.h."""

    def three(values: tuple[int, ...], first: int) -> tuple[int, ...]:
        return (first,) * (3 - len(values)) + values

    before, after = zip(*window.padding, strict=True)
    numbers: tuple[int, ...] = (channels, filters, groups)
    for values in (window.in_size, window.out_size, window.kernel, window.stride, window.dilation):
        numbers += three(values, 1)
    numbers += three(before, 0) + three(after, 0)
    return (c_int64 * len(numbers))(*numbers)


@lru_cache(maxsize=1024)
def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[tuple[int, ...], ...] | None:
    """The shape of a + b; as (outer, middle, inner), and how far apart along these the numbers of a and of b lie.

    Neighbouring axes along which a and b are alike are one. None where more than three are left, or the shapes differ.
    """
    dimensions = max(len(a), len(b))
    wide = [(1,) * (dimensions - len(shape)) + shape for shape in (a, b)]
    shape = tuple(m if n == 1 else n for n, m in zip(*wide, strict=True))
    if any(n not in (1, most) for sizes in wide for n, most in zip(sizes, shape, strict=True)):
        return None
    axes: list[tuple[int, bool, bool]] = []  # how long, whether a and b go along
    for most, n, m in zip(shape, *wide, strict=True):
        if most != 1 and axes and axes[-1][1:] == (n == most, m == most):
            axes[-1] = (axes[-1][0] * most, *axes[-1][1:])
        elif most != 1:
            axes.append((most, n == most, m == most))
    if len(axes) > 3:
        return None
    axes = [(1, False, False)] * (3 - len(axes)) + axes
    steps = ([prod(axis[0] for axis in axes[i + 1 :] if axis[of]) * axes[i][of] for i in range(3)] for of in (1, 2))
    return shape, tuple(axis[0] for axis in axes), *map(tuple, steps)


def steps(array: Array, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """How far apart, in numbers, those of an array of floats lie along the axes of a shape to which it broadcasts."""
    if type(array) is not np.ndarray or array.dtype is not FLOAT32 or array.ndim > len(shape):
        return None
    longer = (0,) * (len(shape) - array.ndim)
    return longer + tuple(
        s // FLOAT32.itemsize if n > 1 else 0 for n, s in zip(array.shape, array.strides, strict=True)
    )


@lru_cache(maxsize=1024)
def strided(
    shape: tuple[int, ...], x: tuple[int, ...] | None, y: tuple[int, ...] | None
) -> tuple[tuple[int, ...], ...] | None:
    """Five sizes, and the steps of x and y, with axes taken together where both lie so. None where there are more."""
    if x is None or y is None:
        return None
    axes: list[tuple[int, int, int]] = []
    for n, of_x, of_y in zip(shape, x, y, strict=True):
        if n > 1 and axes and axes[-1][1:] == (n * of_x, n * of_y):
            axes[-1] = (axes[-1][0] * n, of_x, of_y)
        elif n > 1:
            axes.append((n, of_x, of_y))
    if len(axes) > 5:
        return None
    return tuple(zip(*[(1, 0, 0)] * (5 - len(axes)), *axes, strict=True))
