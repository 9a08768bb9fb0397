"""Blocks of ops on sequences for test_random_networks.py: with our ops and with MyGrad's."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import mygrad as mg
import numpy as np
from twins_of_sequences import twin_of_recurrent

from dltrain import ops
from dltrain.engine import OPS

Array = Any


def square(p: Any, matmul: Callable[..., Any]) -> Any:
    """The matrix p pᵀ made small."""
    c = p.shape[0]
    return matmul(p.reshape(c, 1), p.reshape(1, c)) / c


def positions(x: Any) -> Any:
    """A few of them, (N, T, C)."""
    return x.reshape(len(x), -1, x.shape[-1])[:, :4]


def at_the_end(x: Any, y: Any) -> Any:
    """What the last position of y (N, T, C) gives is added at all."""
    return x + y[:, -1].reshape(len(x), *(1,) * (x.ndim - 2), x.shape[-1])


def our_recurrence(kind: str, x: Any, p: Any) -> Any:
    parts = [square(p, ops.matmul) * (1 + i / 4) for i in range({"rnn": 1, "lstm": 4, "gru": 3}[kind])]
    wide = ops.concatenate(*parts, axis=1)
    y = OPS[kind](positions(x), wide, -wide / 2, None, None, *[None] * (2 if kind == "lstm" else 1))
    return at_the_end(x, y[0] if kind == "lstm" else y)


def their_recurrence(kind: str, x: Any, p: Any) -> Any:
    parts = [square(p, mg.matmul) * (1 + i / 4) for i in range({"rnn": 1, "lstm": 4, "gru": 3}[kind])]
    wide = mg.concatenate(parts, axis=1)
    layer = SimpleNamespace(kind=kind, gates=len(parts), activation="tanh", returned="sequence")
    y = twin_of_recurrent(layer, {"weight": wide, "recurrent_weight": -wide / 2}, mg.moveaxis(positions(x), -1, 1))
    return at_the_end(x, mg.moveaxis(y, 1, -1))


def their_attention(x: Any, p: Any) -> Any:
    rows = positions(x)
    exps = mg.exp(mg.matmul(rows * p, mg.swapaxes(rows, 1, 2)) / np.sqrt(x.shape[-1]))
    return at_the_end(x, mg.matmul(exps / mg.sum(exps, axis=-1, keepdims=True), rows))


def tokens_for(x: Any) -> Array:
    return np.tile([0, x.shape[-1] - 1], (len(x), 1))


SEQUENCES: dict[str, Any] = {
    "embedding": (
        lambda x, p, d: at_the_end(x, ops.embedding(square(p, ops.matmul), d.asarray(tokens_for(x)))),
        lambda x, p: at_the_end(x, square(p, mg.matmul)[tokens_for(x)]),
    ),
    "attention": (
        lambda x, p, d: at_the_end(x, ops.attention(positions(x) * p, positions(x), positions(x))),
        their_attention,
    ),
    "rnn": (lambda x, p, d: our_recurrence("rnn", x, p), lambda x, p: their_recurrence("rnn", x, p)),
    "lstm": (lambda x, p, d: our_recurrence("lstm", x, p), lambda x, p: their_recurrence("lstm", x, p)),
    "gru": (lambda x, p, d: our_recurrence("gru", x, p), lambda x, p: their_recurrence("gru", x, p)),
}
