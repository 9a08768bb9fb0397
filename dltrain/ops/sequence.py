"""Ops on sequences: embedding, recurrent layers, attention. One op for all positions, and its way back beside it.

Weights and biases are laid out as backend/reference_sequence.py says: those of PyTorch, transposed.
"""

from typing import Any

import numpy as np

from dltrain.backend import array_module, kernels
from dltrain.engine import op
from dltrain.errors import DataError

Array = Any


@op
def embedding(table: Array, tokens: Array) -> Any:
    """Rows of a table: (V, C) and whole numbers below V, (N, *size), floats or not, give (N, *size, C).

    Tokens have no gradient. Raises DataError for what is no place in the table; on a GPU, where to look at values is to
    wait for them, that is not seen.
    """
    k = kernels(table)
    right = ((tokens >= 0) & (tokens < len(table)) & (tokens % 1 == 0)).all()
    if isinstance(right, np.generic) and not right:
        raise DataError(
            f"an embedding of {len(table)} tokens takes whole numbers from 0 to {len(table) - 1}, but got "
            f"{float(tokens.min()):g} to {float(tokens.max()):g}; data.normalize: none keeps numbers as they are"
        )
    return k.embedding(table, tokens), lambda g, needed: (k.embedding_grad(g, tokens, len(table)), None)


@op
def rnn(
    x: Array,
    w: Array,
    u: Array,
    b: Array | None,
    c: Array | None,
    start: Array | None,
    *,
    activation: str = "tanh",
) -> Any:
    """y[t] = activation(x[t] @ w + b + y[t-1] @ u + c) (Elman, "Finding Structure in Time", 1990).

    x: (N, T, C), w: (C, H), u: (H, H), b, c: (H,), start: y before the first position, (N, H), y: (N, T, H).
    activation: tanh or relu.
    """
    k, relu = kernels(x), activation == "relu"
    _check("rnn", 1, x, w, u)
    y = k.rnn(x, w, u, b, c, start, relu)
    return y, lambda g, needed: k.rnn_grad(g, x, w, u, start, y, relu, needed)


@op
def lstm(
    x: Array,
    w: Array,
    u: Array,
    b: Array | None,
    c: Array | None,
    start: Array | None,
    cell: Array | None,
) -> Any:
    """(y, cells) of a layer with cells that remember (Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997, with
    the gate that forgets of Gers, Schmidhuber, Cummins, 2000).

    x: (N, T, C), w: (C, 4 H), u: (H, 4 H), b, c: (4 H,) in the order input, forget, cell, output; start, cell: y and
    cells before the first position, (N, H). y, cells: (N, T, H).
    """
    k = kernels(x)
    _check("lstm", 4, x, w, u)
    state = k.lstm(x, w, u, b, c, start, cell)
    return state[:2], lambda g, needed: k.lstm_grad(g, x, w, u, start, cell, state, needed)


@op
def gru(
    x: Array,
    w: Array,
    u: Array,
    b: Array | None,
    c: Array | None,
    start: Array | None,
) -> Any:
    """A layer whose gates decide how much of the state stays (Cho et al., "Learning Phrase Representations using RNN
    Encoder-Decoder", 2014), in the form that cuDNN and PyTorch have.

    x: (N, T, C), w: (C, 3 H), u: (H, 3 H), b, c: (3 H,) in the order reset, update, new; start: y before the first
    position, (N, H). y: (N, T, H).
    """
    k = kernels(x)
    _check("gru", 3, x, w, u)
    y, gates = k.gru(x, w, u, b, c, start)
    return y, lambda g, needed: k.gru_grad(g, x, w, u, start, y, gates, needed)


@op
def attention(
    q: Array, k: Array, v: Array, *, heads: int = 1, causal: bool = False, lengths: Array | None = None
) -> Any:
    """For every query the mean of the values, weighed by softmax(query · key / √channels), head by head (Vaswani et
    al., "Attention Is All You Need", 2017).

    q: (N, T, C), k: (N, S, C), v: (N, S, D), y: (N, T, D); the channels are cut into `heads`, each by itself.
    causal: position t sees those up to t alone. lengths: (N,), how many positions of k and v are there to be seen; at
    least 1. What is not seen has no part in y, whatever stands there, unless that is not finite.
    """
    if q.shape[-1] != k.shape[-1] or k.shape[:2] != v.shape[:2] or q.shape[-1] % heads or v.shape[-1] % heads:
        raise ValueError(f"attention of queries {q.shape}, keys {k.shape} and values {v.shape} with {heads} heads")
    of = kernels(q)
    y, weights = of.attention(q, k, v, heads, causal, None if lengths is None else array_module(q).asarray(lengths))
    return y, lambda g, needed: of.attention_grad(g, q, k, v, weights, needed)


def _check(name: str, gates: int, x: Array, w: Array, u: Array) -> None:
    units = len(u)
    if x.ndim != 3 or w.shape != (x.shape[-1], gates * units) or u.shape != (units, gates * units):
        raise ValueError(
            f"{name} takes x (N, T, C), w (C, {gates} H) and u (H, {gates} H), not {x.shape}, {w.shape} and {u.shape}"
        )
