"""The dumbest possible recurrence and attention: sequence by sequence, position by position, head by head."""

from typing import Any

import numpy as np

Array = Any


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def parts(row: Array, w: Array, bias: Array | None, gates: int) -> list[Array]:
    """What each gate gets of a row."""
    return np.split(row @ w + (0 if bias is None else bias), gates)


def begin(start: Array | None, i: int, u: Array) -> Array:
    return np.zeros(len(u)) if start is None else start[i]


def rnn(
    x: Array, w: Array, u: Array, b: Array | None, c: Array | None, start: Array | None, activation: str = "tanh"
) -> Array:
    y = np.zeros((*x.shape[:2], len(u)))
    for i, sequence in enumerate(x):
        h = begin(start, i, u)
        for t, row in enumerate(sequence):
            z = parts(row, w, b, 1)[0] + parts(h, u, c, 1)[0]
            y[i, t] = h = np.tanh(z) if activation == "tanh" else np.maximum(z, 0)
    return y


def lstm(
    x: Array, w: Array, u: Array, b: Array | None, c: Array | None, start: Array | None, cell: Array | None
) -> list[Array]:
    y, cells = np.zeros((2, *x.shape[:2], len(u)))
    for i, sequence in enumerate(x):
        h, memory = begin(start, i, u), begin(cell, i, u)
        for t, row in enumerate(sequence):
            enters, forget, new, leaves = (p + q for p, q in zip(parts(row, w, b, 4), parts(h, u, c, 4), strict=True))
            cells[i, t] = memory = sigmoid(forget) * memory + sigmoid(enters) * np.tanh(new)
            y[i, t] = h = sigmoid(leaves) * np.tanh(memory)
    return [y, cells]


def gru(x: Array, w: Array, u: Array, b: Array | None, c: Array | None, start: Array | None) -> Array:
    y = np.zeros((*x.shape[:2], len(u)))
    for i, sequence in enumerate(x):
        h = begin(start, i, u)
        for t, row in enumerate(sequence):
            (xr, xz, xn), (hr, hz, hn) = parts(row, w, b, 3), parts(h, u, c, 3)
            z = sigmoid(xz + hz)
            y[i, t] = h = (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h
    return y


def attention(
    q: Array, k: Array, v: Array, heads: int = 1, causal: bool = False, lengths: Array | None = None
) -> Array:
    examples = []
    for i in range(len(q)):
        found = []
        for query, key, value in zip(*(np.split(part[i], heads, axis=-1) for part in (q, k, v)), strict=True):
            rows = []
            for t, asks in enumerate(query):
                seen = [s for s in range(len(key)) if not (causal and s > t) and (lengths is None or s < lengths[i])]
                shares = np.array([np.exp(asks @ key[s] / np.sqrt(len(asks))) for s in seen])
                rows.append(sum(share * value[s] for share, s in zip(shares / shares.sum(), seen, strict=True)))
            found.append(rows)
        examples.append(np.concatenate(found, axis=-1))
    return np.array(examples)
