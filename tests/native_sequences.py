"""Calls of the kernels of sequences: a part of the table in native_calls.py."""

from collections.abc import Iterator
from itertools import product
from random import Random
from typing import Any

import numpy as np
from native_call import REFERENCE, Call, values

Array = Any
# examples, positions, channels, units: one of each; around vectors, panels, tiles; more than a chunk of examples
RECURRENT = [(1, 1, 1, 1), (3, 1, 5, 7), (1, 4, 3, 16), (2, 3, 17, 33), (15, 2, 8, 31), (29, 3, 4, 5), (90, 2, 6, 9),
             (170, 3, 2, 4), (5, 3, 20, 64), (2, 3, 40, 130), (2, 3, 1, 3), (3, 90, 2, 1)]  # fmt: skip
# examples, queries, keys, channels, width, heads
ATTENTION = [(1, 1, 1, 1, 1, 1), (2, 5, 5, 6, 6, 2), (2, 16, 16, 32, 32, 2), (3, 33, 33, 15, 10, 5),
             (1, 7, 20, 64, 33, 1), (2, 20, 7, 3, 70, 1), (1, 65, 65, 17, 5, 1), (2, 1, 40, 8, 8, 4)]  # fmt: skip


def recurrent() -> Iterator[Call]:
    pick = Random(5).choice
    for (n, t, channels, units), (kind, gates) in product(RECURRENT, (("rnn", 1), ("gru", 3), ("lstm", 4))):
        bias, state_bias, starts, wide = pick((True, False)), pick((True, False)), pick((True, False)), gates * units
        x, w, u = values(n, t, channels), values(channels, wide, seed=1) / 2, values(units, wide, seed=2) / 4
        b, c = values(wide, seed=3) if bias else None, values(wide, seed=4) if state_bias else None
        start, cell = (values(n, units, seed=seed) if starts else None for seed in (5, 6))
        name = f"{n} by {t} by {channels} to {units}, biases {bias} {state_bias}, start {starts}"
        needed = [pick((True, False)), pick((True, True, False)), pick((True, True, False)), bias, state_bias, starts]
        g, sizes = values(n, t, units, seed=7), (channels + units) * t
        if kind == "rnn":
            relu = pick((True, False))
            given: tuple[Any, ...] = x, w, u, b, c, start, relu
            y = REFERENCE.rnn(*given)
            back: tuple[Any, ...] = g, x, w, u, start, y, relu, needed
        elif kind == "gru":
            given = x, w, u, b, c, start
            back = (g, x, w, u, start, *REFERENCE.gru(*given), needed)
        else:
            given = x, w, u, b, c, start, cell
            both = pick(((g, None), (None, g), (g, values(n, t, units, seed=8))))
            back = both, x, w, u, start, cell, REFERENCE.lstm(*given), [*needed, starts]
        yield Call(kind, name, given, sizes)
        yield Call(f"{kind}_grad", f"{name}, needed {needed}", back, sizes + n * t)


def attention() -> Iterator[Call]:
    pick = Random(6).choice
    for (n, queries, keys, channels, width, heads), causal in product(ATTENTION, (False, True)):
        lengths = pick((None, 1 + np.arange(n) * 3 % keys))
        together = values(n, queries, 3 * channels)  # as a layer has them: one beside the other
        q, k = together[..., :channels], together[..., channels : 2 * channels]
        v = together[..., 2 * channels :]
        if queries != keys or channels != width:
            k, v = values(n, keys, channels, seed=1), values(n, keys, width, seed=2)
        name = f"{n} of {queries} by {keys}, {channels} and {width} in {heads}, causal {causal}, lengths {lengths}"
        yield Call("attention", name, (q, k, v, heads, causal, lengths), channels + keys)
        _, weights = REFERENCE.attention(q, k, v, heads, causal, lengths)
        needed = [pick((True, True, False)) for _ in range(3)]
        given = (values(n, queries, width, seed=3), q, k, v, weights.astype(np.float32), needed)
        yield Call("attention_grad", f"{name}, needed {needed}", given, channels + width + queries + keys)
    steps = values(2, 6, 12)[:, ::2, ::3]  # neither rows nor channels lie beside each other
    yield Call("attention", "of every third channel", (steps, steps, steps, 2, True, None), 7)


def sequences() -> Iterator[Call]:
    yield from recurrent()
    yield from attention()
    for rows, width, shape in [(1, 1, (1,)), (5, 3, (4, 7)), (7, 64, (3, 2, 2)), (9, 17, (300,))]:
        tokens = (np.arange(np.prod(shape)) * 7 % rows).reshape(shape).astype(np.float32)
        yield Call("embedding", f"{shape} of {rows} by {width}", (values(rows, width), tokens))
        g = values(*shape, width, seed=1)
        yield Call("embedding_grad", f"{shape} of {rows} by {width}", (g, tokens, rows), tokens.size)
    for approximate, size in product((False, True), (1, 15, 16, 17, 1000)):
        yield Call("gelu", f"{size}, approximate {approximate}", (values(size) * 4, approximate))
    far = np.array([0, -0.0, 1e-30, 5, -5, 9, -9, 13, -13, 50, -50, 1e30, -1e30], np.float32)
    yield Call("gelu", "far from 0", (far, False))
    yield Call("gelu", "far from 0, approximate", (far, True))
