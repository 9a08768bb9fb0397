"""Convolution with 3x3 kernels by Winograd's minimal filtering, F(2x2, 3x3), in numpy.

16 multiplications for a tile of 2x2 outputs, where a direct convolution takes 36. Winograd ("Arithmetic Complexity of
Computations", 1980); Lavin and Gray ("Fast algorithms for convolutional neural networks", 2016), whose matrices these
are, with d the 4x4 inputs of a tile and w the kernel:

    outputs = Aᵀ [(G w Gᵀ) ⊙ (Bᵀ d B)] A

    Bᵀ = 1  0 -1  0      G =  1    0    0      Aᵀ = 1  1  1  0
         0  1  1  0          1/2  1/2  1/2          0  1 -1 -1
         0 -1  1  0          1/2 -1/2  1/2
         0  1  0 -1           0    0    1

Summed over channels, the products at each of the 16 places of a tile are one matrix product (tiles, C) (C, K). The
weight gradient is the adjoint, Gᵀ [(Bᵀ d B) ⊙ (A g Aᵀ)] G, summed over tiles. Some pictures are worked on at a time,
and of their tiles one column of places after the other, so that the numbers stay in the cache. T = n · high · wide.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dltrain.window import Window

Array = Any

G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
BOTH = np.kron(G, G).reshape(4, 4, 9).swapaxes(0, 1).reshape(16, 9)  # G w Gᵀ of a kernel in a row, column by column
A: tuple[Callable[..., Any], ...] = (  # of a tile's two lines or columns
    lambda one, other, out: np.copyto(out, one),
    np.add,
    np.subtract,
    lambda one, other, out: np.negative(other, out=out),
)
B = ((np.subtract, 0, 2), (np.add, 1, 2), (np.subtract, 2, 1), (np.subtract, 1, 3))  # Bᵀ of its four
TILES = 256  # worked on at a time
WORTH_IT = 64 * 128  # C · K; with fewer, to take the pictures apart costs more than the multiplications that it saves
WORTH_IT_BACKWARD = 128 * 256  # the same of the weight gradient, which moves more


def fits(xp: Any, window: Window, groups: int, w: Array, least: int) -> bool:
    """Whether this way is possible for these weights, (3, 3, C, K), and the faster one; least: WORTH_IT…"""
    plain = window.kernel == (3, 3) and window.stride == window.dilation == (1, 1)
    return xp.__name__ == "numpy" and plain and groups == 1 and w.shape[-2] * w.shape[-1] >= least


def conv(x: Array, w: Array, window: Window, y: Array) -> Iterator[slice]:
    """Fill y with x ∗ w, some examples at a time: which ones. x: (N, *in, C), w: (3, 3, C, K), y: (N, *out, K)."""
    channels, filters = w.shape[-2:]
    kernels = (BOTH.astype(w.dtype) @ w.reshape(9, -1)).reshape(4, 4, channels, filters)
    for piece, inputs in _pieces(x, window):
        products = np.empty((4, inputs.tiles, filters), x.dtype)
        left, right = np.empty((2, *products.shape), x.dtype)  # [...] A: its columns, from the places' as they come
        np.matmul(inputs.column(0), kernels[0], out=left)
        np.matmul(inputs.column(1), kernels[1], out=right)
        left += right
        np.matmul(inputs.column(2), kernels[2], out=products)
        left += products
        right -= products
        np.matmul(inputs.column(3), kernels[3], out=products)
        right -= products
        tiles = _tiles_of(y[piece], inputs)
        outputs = np.empty(inputs.shape(filters), x.dtype) if tiles is None else tiles
        sums = products[0].reshape(-1, inputs.high, inputs.wide, filters)  # room that is free again
        for column, half in enumerate((left, right)):  # Aᵀ of that
            places = half.reshape(4, *sums.shape)
            np.add(places[0], places[1], out=sums)
            np.add(sums, places[2], out=outputs[:, :, 0, :, column])
            np.subtract(places[1], places[2], out=sums)
            np.subtract(sums, places[3], out=outputs[:, :, 1, :, column])
        if tiles is None:
            y[piece] = inputs.pictures(outputs)
        yield piece


def weight_grad(g: Array, x: Array, w: Array, window: Window) -> Array:
    """dLoss/dw (3, 3, C, K) given g = dLoss/dy (N, *out, K)."""
    total = np.zeros((4, 4, *w.shape[-2:]), x.dtype)
    part = np.empty(total.shape[1:], x.dtype)
    for piece, inputs in _pieces(x, window):
        tiles = _tiles_of(g[piece], inputs)
        if tiles is None:
            tiles = np.zeros(inputs.shape(g.shape[-1]), g.dtype)
            inputs.pictures(tiles)[...] = g[piece]
        lines = np.empty((4, *tiles.shape[:2], *tiles.shape[3:]), g.dtype)  # A g: (4, n, high, wide, 2, K)
        for combine, line in zip(A, lines, strict=True):
            combine(tiles[:, :, 0], tiles[:, :, 1], out=line)
        slopes = np.empty((4, inputs.tiles, g.shape[-1]), g.dtype)
        for j, combine in enumerate(A):  # A g Aᵀ, column by column
            combine(lines[..., 0, :], lines[..., 1, :], out=slopes.reshape(*lines.shape[:-2], -1))
            np.matmul(inputs.column(j).swapaxes(1, 2), slopes, out=part)  # (4, C, T) (4, T, K)
            total[j] += part
    return (BOTH.T.astype(x.dtype) @ total.reshape(16, -1)).reshape(w.shape)


class _Inputs:
    """Bᵀ d B of some pictures."""

    def __init__(self, window: Window, examples: int, channels: int, dtype: Any):
        self.window = window
        self.high, self.wide = ((size + 1) // 2 for size in window.out_size)
        # The pictures with their padding, even columns apart from odd ones, so that a transform reads whole lines.
        self.canvas = np.zeros((examples, 2 * self.high + 2, 2, self.wide + 1, channels), dtype)
        self.lines = np.empty((4, examples, self.high, *self.canvas.shape[2:]), dtype)  # Bᵀ d
        self.places = np.empty((4, examples, self.high, self.wide, channels), dtype)

    def set(self, x: Array) -> None:
        """x: (n, *in, C), no more than there is room for."""
        (top, _), (left, _) = self.window.padding
        self.n, self.tiles = len(x), len(x) * self.high * self.wide
        canvas = self.canvas[: self.n]
        for odd in range(2):  # column c of x is column left + c of the canvas
            columns = x[:, :, (odd + left) % 2 :: 2]
            first = (left + 1 - odd) // 2  # of their places, where the first one goes
            canvas[:, top : top + x.shape[1], odd, first : first + columns.shape[2]] = columns
        last = 2 * self.high
        for line, (combine, i, j) in zip(self.lines, B, strict=True):
            combine(canvas[:, i : i + last : 2], canvas[:, j : j + last : 2], out=line[: self.n])

    def column(self, j: int) -> Array:
        """(4, T, C): the places of a column. Overwritten by the next."""
        even, odd = self.lines[:, : self.n, :, 0], self.lines[:, : self.n, :, 1]
        columns = even[..., :-1, :], odd[..., :-1, :], even[..., 1:, :], odd[..., 1:, :]
        combine, one, other = B[j]
        places = self.places[:, : self.n]
        combine(columns[one], columns[other], out=places)
        return places.reshape(4, self.tiles, -1)

    def shape(self, filters: int) -> tuple[int, ...]:
        """Of outputs in tiles."""
        return self.n, self.high, 2, self.wide, 2, filters

    def pictures(self, tiles: Array) -> Array:
        """A view of outputs in tiles as pictures, without what reaches over the edge: (n, *out, K)."""
        height, width = self.window.out_size
        return tiles.reshape(self.n, 2 * self.high, 2 * self.wide, -1)[:, :height, :width]


def _pieces(x: Array, window: Window) -> Iterator[tuple[slice, _Inputs]]:
    """(which examples, theirs), overwritten by the next. The number depends on shapes alone, so sums have one order."""
    high, wide = ((size + 1) // 2 for size in window.out_size)
    examples = max(1, min(len(x), TILES // (high * wide)))
    inputs = _Inputs(window, examples, x.shape[-1], x.dtype)
    for first in range(0, len(x), examples):
        inputs.set(x[first : first + examples])
        yield slice(first, first + inputs.n), inputs


def _tiles_of(pictures: Array, inputs: _Inputs) -> Array | None:
    """A view of pictures as tiles; None where tiles reach over the edge."""
    whole = pictures.shape[1:3] == (2 * inputs.high, 2 * inputs.wide)
    return pictures.reshape(inputs.shape(pictures.shape[-1])) if whole else None
