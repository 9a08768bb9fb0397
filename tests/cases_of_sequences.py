"""The cases of cases.py for the ops on sequences."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from dltrain.engine import distinct

Array = Any


class Tokens(np.ndarray):
    """Whole numbers that get no gradient, whatever their dtype."""

    def __new__(cls, values: Array) -> "Tokens":
        return np.asarray(values).view(cls)


def cases_of_sequences() -> Iterator[tuple[Any, ...]]:
    """(op, name, inputs), and settings where there are some."""
    asked = np.array([[2, 0, -1, -1], [1, -1, -1, -1], [0, 1, 2, 0]])  # nothing is asked at -1
    for settings in ({}, {"count": np.array(5.0)}, {"label_smoothing": 0.1}):
        yield "cross_entropy", f"sentences, {settings}", (distinct(3, 4, 3), asked), settings
    for size in [(), (3,), (2, 2)]:
        tokens = np.random.default_rng(1).integers(0, 5, (2, *size))
        tokens.flat[:2] = 4  # one row that is asked for twice
        for kind in ("int64", "int16", "float64"):
            yield "embedding", f"{size} {kind}", (distinct(5, 3), Tokens(tokens.astype(kind)))
    for (op, gates), (n, t), biased, started in product(
        [("rnn", 1), ("lstm", 4), ("gru", 3)], [(1, 1), (3, 1), (2, 4)], (True, False), (True, False)
    ):
        if t == 1 and not started:
            continue  # nothing that u multiplies
        biases = [distinct(gates * 2, seed=i) if biased else None for i in (3, 4)]
        starts = [distinct(n, 2, seed=i) if started else None for i in (5, 6)][: 2 if op == "lstm" else 1]
        arrays = distinct(n, t, 3), distinct(3, gates * 2, seed=1), distinct(2, gates * 2, seed=2), *biases, *starts
        yield op, f"{n}x{t}, biases {biased}, a start {started}", arrays
    arrays = distinct(2, 3, 3), distinct(3, 2, seed=1), distinct(2, 2, seed=2), None, None, None
    for activation in ("tanh", "relu"):
        yield "rnn", activation, arrays, {"activation": activation}
    for (t, s), heads, causal, lengths in product([(1, 1), (3, 3), (2, 4)], (1, 2), (False, True), (None, [1, 2])):
        settings: dict[str, Any] = {"heads": heads, "causal": causal}
        settings |= {} if lengths is None else {"lengths": np.array(lengths)}
        if s > 1:  # with one position to see, queries and keys change nothing
            arrays = distinct(2, t, 4), distinct(2, s, 4, seed=1), distinct(2, s, 6, seed=2)
            yield "attention", f"{t} of {s}, {heads} heads, causal {causal}, {lengths}", arrays, settings
