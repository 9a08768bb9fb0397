"""How far a figure of a sample of examples may be from that of all examples: intervals of 95 %."""

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.random import generator

Array = NDArray[Any]
Interval = tuple[float, float]
Z = 1.959963984540054  # the normal distribution's quantile of 0.975
RESAMPLES = 500
MOST_CLASSES = 100  # whose confusions are drawn again
MOST_DRAWN = 1000  # examples of a regression that are drawn again, at equal distances


def wilson(right: int, examples: int) -> Interval:
    """Of a share (Wilson, "Probable Inference", 1927): right out of so many examples."""
    share, z2 = right / examples, Z * Z / examples
    middle, reach = share + z2 / 2, Z * sqrt(share * (1 - share) / examples + z2 / examples / 4)
    return max((middle - reach) / (1 + z2), 0.0), min((middle + reach) / (1 + z2), 1.0)


def of_confusion(confusion: Array) -> dict[str, Interval]:
    """Of the macro averages "recall" and "f1", by percentiles over resampled examples (Efron, "Bootstrap Methods",
    1979): to draw examples again is to draw the cells of the confusion matrix (C, C) again."""
    classes = len(confusion)
    if classes > MOST_CLASSES:
        return {}
    total, draw = int(confusion.sum()), generator(0, "bootstrap", "classes")
    drawn = draw.multinomial(total, confusion.ravel() / total, RESAMPLES).reshape(RESAMPLES, classes, classes)
    right = np.diagonal(drawn, axis1=1, axis2=2)
    occurred, either = drawn.sum(axis=2), drawn.sum(axis=1) + drawn.sum(axis=2)
    found = {"recall": _macro(right, occurred), "f1": _macro(2 * right, either)}
    return {name: _percentiles(values) for name, values in found.items()}


def _macro(part: Array, whole: Array) -> Array:
    """Means over the classes (B, C) for which there is a case."""
    ratios = part / np.maximum(whole, 1)
    means: Array = ratios.sum(axis=1) / np.maximum((whole > 0).sum(axis=1), 1)
    return means


def of_labels(targets: Array, said: Array) -> dict[str, Interval]:
    """Of "exact_match", a share, and of "f1_micro", by percentiles over resampled examples. targets, said: whether each
    label is right and is said to be, (N, L)."""
    found = {"exact_match": wilson(int((targets == said).all(axis=1).sum()), len(targets))}
    counts = np.stack([(targets & said).sum(axis=1), targets.sum(axis=1), said.sum(axis=1)], axis=1)
    each, times = np.unique(counts, axis=0, return_counts=True)  # examples with the same counts are the same to F1
    drawn = generator(0, "bootstrap", "labels").multinomial(len(counts), times / len(counts), RESAMPLES) @ each
    right, either = drawn[:, 0], drawn[:, 1] + drawn[:, 2]
    return found | {"f1_micro": _percentiles(2 * right / np.maximum(either, 1))}


def of_numbers(targets: Array, outputs: Array) -> dict[str, Interval]:
    """Of "mae" and "r2", by percentiles over resampled examples. targets, outputs: (N, k).

    Of many examples some are drawn again, and the reach is that of all: it falls with the root of their number.
    """
    y, error = targets - targets.mean(axis=0, dtype=np.float64), outputs - targets.astype(np.float64)
    whole = np.concatenate([np.abs(error), error**2, y, y**2], axis=1)
    some = whole[:: -(-len(whole) // MOST_DRAWN)]
    n = len(some)
    times = generator(0, "bootstrap", "numbers").multinomial(n, np.full(n, 1 / n), RESAMPLES)
    drawn, here, there = (_figures(means) for means in (times @ some / n, some.mean(axis=0), whole.mean(axis=0)))
    reach = sqrt(n / len(whole))
    found = {}
    for name, values in drawn.items():
        if np.isfinite(values).all() and np.isfinite(there[name]):
            low, high = _percentiles(values)
            found[name] = tuple(float(there[name] + (end - here[name]) * reach) for end in (low, high))
    return found  # type: ignore[return-value]


def _figures(means: Array) -> dict[str, Array]:
    """means: of |error|, error², target and target², each k numbers, (…, 4 k)."""
    absolute, square, first, second = np.split(means, 4, axis=-1)
    spread = second - first**2
    ratio = np.divide(square, spread, out=np.full_like(square, np.nan), where=spread > 0)
    return {"mae": absolute.mean(axis=-1), "r2": (1 - ratio).mean(axis=-1)}


def _percentiles(values: Array) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
