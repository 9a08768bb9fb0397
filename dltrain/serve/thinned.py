"""Curves of any length in bounded memory: the smallest, the mean and the largest of every so many rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = Any
Row = dict[str, Any]
MOST_KEYS = 64  # figures of a log; those that come later are left out, and that is told


class Thinned:
    """Rows of figures over one axis, in at most `most` buckets of equally many rows each.

    A full table is folded: two neighbours become one bucket, which then takes twice as many rows. So a curve of any
    length keeps its extremes, costs the same memory, and grows at its end alone as long as `stride` stays the same.
    """

    def __init__(self, most: int):
        """most: an even number."""
        self.most = most
        self.stride = 1  # rows in a bucket
        self.rows = 0
        self.left_out = False
        self._x = np.zeros(most)  # of the last row of each bucket
        self._figures: dict[str, Array] = {}  # (4, most): lowest, highest, sum, count

    @property
    def buckets(self) -> int:
        return -(-self.rows // self.stride)

    @property
    def keys(self) -> list[str]:
        return list(self._figures)

    def extend(self, xs: Sequence[float], rows: Sequence[Row]) -> None:
        """xs: where the rows stand. rows: figures by name; what is no finite number is left out."""
        for key in {key: None for row in rows for key in row}:
            if key not in self._figures:
                if len(self._figures) == MOST_KEYS:
                    self.left_out = True
                    continue
                self._figures[key] = np.tile([[np.inf], [-np.inf], [0.0], [0.0]], self.most)
        columns = {key: _column([row.get(key) for row in rows]) for key in self._figures}
        places, start = np.array(xs, float), 0
        while start < len(places):
            if self.rows == self.most * self.stride:
                self._fold()
            taken = slice(start, start + min(len(places) - start, self.most * self.stride - self.rows))
            where = (self.rows + np.arange(taken.stop - start)) // self.stride
            self._x[where] = places[taken]
            for key, values in columns.items():
                _add(self._figures[key], where, values[taken])
            self.rows += taken.stop - start
            start = taken.stop

    def _fold(self) -> None:
        half = self.most // 2
        self.stride *= 2
        self._x = np.concatenate([self._x[1::2], np.zeros(half)])
        for key, (low, high, total, count) in self._figures.items():
            folded = np.tile([[np.inf], [-np.inf], [0.0], [0.0]], self.most)
            folded[0, :half] = np.minimum(low[::2], low[1::2])
            folded[1, :half] = np.maximum(high[::2], high[1::2])
            folded[2:, :half] = [total[::2] + total[1::2], count[::2] + count[1::2]]
            self._figures[key] = folded

    def since(self, bucket: int, keys: Sequence[str] | None = None) -> dict[str, Any]:
        """{"stride", "from", "x", "figures": {key: {"mean", "low", "high"}}} of the buckets from this one on; a mean is
        null where there is no number. Without low and high where a bucket is one row."""
        part = slice(bucket, self.buckets)
        figures = {}
        for key in self._figures if keys is None else [key for key in keys if key in self._figures]:
            low, high, total, count = self._figures[key][:, part]
            there = count > 0
            mean = np.divide(total, count, out=np.zeros_like(total), where=there)
            figures[key] = {"mean": short(mean, there)}
            if self.stride > 1:
                figures[key] |= {"low": short(low, there), "high": short(high, there)}
        return {"stride": self.stride, "from": bucket, "x": self._x[part].tolist(), "figures": figures}


def short(values: Array, there: Array) -> list[float | None]:
    """Six digits that matter; None where there is no number."""
    known = np.where(there, values, 1.0)
    with np.errstate(all="ignore"):
        size = 10.0 ** (5 - np.floor(np.log10(np.abs(known))))
        rounded = np.where(np.isfinite(size) & (size > 0), np.round(known * size) / size, known)
    rounded = np.where(np.isfinite(rounded), rounded, known)
    return [value if ok else None for value, ok in zip(rounded.tolist(), there.tolist(), strict=True)]


def _column(values: list[Any]) -> Array:
    """Not-a-number where there is none."""
    if any(type(value) not in (float, int, type(None)) for value in values):
        values = [value if type(value) in (float, int) else None for value in values]
    return np.array(values, float)


def _add(figures: Array, where: Array, values: Array) -> None:
    there = ~np.isnan(values)
    where, values = where[there], values[there]
    low, high, total, count = figures
    np.minimum.at(low, where, values)
    np.maximum.at(high, where, values)
    np.add.at(total, where, values)
    np.add.at(count, where, 1.0)
