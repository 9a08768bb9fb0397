"""Losses of pictures by their formulas, position by position."""

from typing import Any

import numpy as np

Array = Any


def gram_of(x: Array) -> Array:
    """G[i, j] = Σ over positions of x[i] x[j] / positions. x: (H, W, C)."""
    size = x.shape[2]
    found = np.zeros((size, size))
    for row in x:
        for pixel in row:
            found += np.outer(pixel, pixel)
    return found / (x.shape[0] * x.shape[1])


def gram(x: Array, targets: Array, count: float | None = None) -> float:
    each = [((gram_of(a) - gram_of(t)) ** 2).sum() / (gram_of(t) ** 2).sum() for a, t in zip(x, targets, strict=True)]
    return float(sum(each) / (count or len(x)))


def content(x: Array, targets: Array, count: float | None = None) -> float:
    each = [((a - t) ** 2).sum() / (t**2).sum() for a, t in zip(x, targets, strict=True)]
    return float(sum(each) / (count or len(x)))


def total_variation(x: Array, count: float | None = None) -> float:
    each = [np.mean((a[1:] - a[:-1]) ** 2) + np.mean((a[:, 1:] - a[:, :-1]) ** 2) for a in x]
    return float(sum(each) / (count or len(x)))
