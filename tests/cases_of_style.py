"""The cases of cases.py for losses of pictures."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from dltrain.engine import distinct


def cases_of_style() -> Iterator[tuple[Any, ...]]:
    """(op, name, inputs, settings)"""
    for shape, share in product([(1, 2, 2, 1), (2, 3, 4, 3)], (1, 3)):
        for op in ("gram", "content"):
            settings = {"targets": distinct(*shape, seed=5), "count": shape[0] * share}
            yield op, f"{shape}, 1/{share} of a batch", (distinct(*shape),), settings
        yield "total_variation", f"{shape}, 1/{share}", (distinct(*shape),), {"count": shape[0] * share}
    yield "gram", "of another size", (distinct(2, 3, 2, 3),), {"targets": distinct(2, 4, 5, 3, seed=5)}
    yield "content", "the mean", (distinct(2, 3, 2, 3),), {"targets": distinct(2, 3, 2, 3, seed=5)}
    yield "total_variation", "the mean", (distinct(2, 3, 2, 3),), {}
