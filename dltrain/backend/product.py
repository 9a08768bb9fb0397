"""The matrix products of dense layers, x @ w, g @ w.T and x.T @ g, in parts that threads can share.

BLAS first copies w into an order of its own. So the parts are runs of columns or rows of w, each copied once, and not
runs of examples, for each of which all of w would be. Which ones depends on shapes alone, and so do the bits.
"""

from collections.abc import Iterator
from typing import Any

from dltrain.backend.views import evenly

Array = Any
STRIP = 1 << 14  # numbers of a matrix that are turned at a time: what they are written to stays in the nearest cache


def forward_product(xp: Any, x: Array, w: Array, piece: int) -> Array:
    """x @ w. x: (N, in), w: (in, out). piece: numbers of w in a part."""
    y = xp.empty((*x.shape[:-1], w.shape[1]), x.dtype)
    for columns in parts(w.shape[1], w.size, piece):
        xp.matmul(x, w[:, columns], out=y[..., columns])
    return y


def backward_product(xp: Any, g: Array, w: Array, piece: int, turned: bool) -> Array:
    """g @ w.T. g: (N, out). turned: as w @ g.T, which is then turned by strips: of wide w OpenBLAS for AVX-512 takes up
    to twice as long by itself, that for AVX2 a tenth less.
    """
    dx = xp.empty((len(g), len(w)), g.dtype)
    rows = list(parts(len(w), w.size, piece))
    if not turned:
        for part in rows:
            xp.matmul(g, w[part].T, out=dx[:, part])
        return dx
    for part, columns in [(part, w[part] @ g.T) for part in rows]:  # first all products, for threads to share
        for strip in evenly(len(columns), max(1, STRIP // max(1, len(g)))):
            xp.copyto(dx[:, part][:, strip], columns[strip].T)
    return dx


def weight_product(xp: Any, x: Array, g: Array, piece: int) -> Array:
    """x.T @ g. x: (N, in), g: (N, out)."""
    dw = xp.empty((x.shape[1], g.shape[1]), g.dtype)
    for rows in parts(len(dw), dw.size, piece):
        xp.matmul(x[:, rows].T, g, out=dw[rows])
    return dw


def parts(count: int, numbers: int, piece: int) -> Iterator[slice]:
    """Runs of the rows or columns, so many, of a matrix of so many numbers: at least two of one that is large."""
    most = max(1, piece * count // max(1, numbers))
    return evenly(count, min(most, -(-count // 2)) if numbers >= piece >> 1 else most)
