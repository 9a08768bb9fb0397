"""Pictures that are nearly the same: saved again, a little brighter, of another size."""

from typing import Any

import numpy as np

from dltrain.random import generator

Array = Any
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # as JPEG has it, which keeps it best
SIDE = 16  # pixels of a thumbnail
ALIKE = 0.995  # correlation of two thumbnails that are taken for one picture
BANDS, BITS = 6, 14  # at ALIKE two fall into one bucket of BITS signs in 64 % of BANDS trials: 0.2 % are missed
COMPARED = 32  # of a bucket; what is in larger ones differs in nothing that could be seen


def thumbnails(pictures: Array) -> Array:
    """(N, height, width, channels) -> greys (N, height' * width'), float32, means over what becomes SIDE pixels."""
    greys = pictures.astype(np.float32) @ (LUMA if pictures.shape[3] == 3 else np.ones(pictures.shape[3], np.float32))
    down, across = (_averaging(length) for length in greys.shape[1:])
    small: Array = down @ (greys @ across.T)
    return small.reshape(len(small), -1)


def _averaging(length: int) -> Array:
    """(SIDE, length), or fewer rows: each takes the mean over its part."""
    parts = np.arange(length) * min(SIDE, length) // length
    rows = (parts == np.arange(parts[-1] + 1)[:, None]).astype(np.float32)
    return rows / rows.sum(axis=1, keepdims=True)


def nearly_equal(some: Array, others: Array) -> tuple[Array, Array]:
    """The indices of those of `some` that are nearly one of `others`, and of the nearest of these; both are thumbnails
    (N, values). Takes time in proportion to N: compared are those with equal signs in random projections."""
    a, b = (_unit(x) for x in (some, others))
    best, partner = np.zeros(len(a), np.float32), np.full(len(a), -1)
    draw = generator(0, "check", "alike")
    for _ in range(BANDS):
        planes = draw.normal(size=(a.shape[1], BITS)).astype(np.float32)
        weights = 1 << np.arange(BITS)
        middle = np.median(b @ planes, axis=0)
        codes_a, codes_b = ((x @ planes > middle) @ weights for x in (a, b))
        order = np.argsort(codes_b, kind="stable")
        ordered = codes_b[order]
        first, end = np.searchsorted(ordered, codes_a), np.searchsorted(ordered, codes_a, side="right")
        for k in range(COMPARED):
            asked = np.flatnonzero(first + k < end)
            if not len(asked):
                break
            found = order[first[asked] + k]
            correlation = np.einsum("ij,ij->i", a[asked], b[found])
            better = correlation > best[asked]
            best[asked[better]], partner[asked[better]] = correlation[better], found[better]
    which = np.flatnonzero(best >= ALIKE)
    return which, partner[which]


def _unit(x: Array) -> Array:
    """Each row less its mean, of length 1; 0 where it is constant."""
    x = x - x.mean(axis=1, keepdims=True)
    length = np.sqrt(np.einsum("ij,ij->i", x, x))[:, None]
    return np.where(length > 1e-3 * np.sqrt(x.shape[1]), x / np.maximum(length, 1e-12), 0).astype(np.float32)
