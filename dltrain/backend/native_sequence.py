"""Sequences by the kernels in C, for float32; what they compute is said in reference_sequence.py."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dltrain.backend.compiled import FLOAT32, fit
from dltrain.backend.native_arrays import POINT, NativeArrays

Array = Any
Grads = tuple[Array | None, ...]
LSTM, GRU, RELU, TANH = -1, -2, 1, 2  # as in c/recurrent.inc and c/activation.inc


class NativeSequences(NativeArrays):
    """See native.py."""

    def embedding(self, table: Array, tokens: Array) -> Array:
        if not fit(table, tokens) or table.ndim != 2:
            return super().embedding(table, tokens)
        y = np.empty((*tokens.shape, table.shape[1]), FLOAT32)
        if self._call("embedding", y.size * POINT, tokens.size, *table.shape, table, tokens, y):
            raise IndexError(f"a token is no place in a table of {len(table)}")
        return y

    def embedding_grad(self, g: Array, tokens: Array, rows: int) -> Array:
        if g.dtype is not FLOAT32 or not fit(tokens) or g.shape[:-1] != tokens.shape:
            return super().embedding_grad(g, tokens, rows)
        table = np.empty((rows, g.shape[-1]), FLOAT32)
        self._call("embedding_grad", g.size * POINT, tokens.size, *table.shape, self.packed(g), tokens, table)
        return table

    def rnn(
        self, x: Array, w: Array, u: Array, b: Array | None, c: Array | None, start: Array | None, relu: bool
    ) -> Array:
        found = self._recurrent(RELU if relu else TANH, x, w, u, b, c, start, None)
        return found[0] if found else super().rnn(x, w, u, b, c, start, relu)

    def rnn_grad(
        self, g: Array, x: Array, w: Array, u: Array, start: Array | None, y: Array, relu: bool, needed: Sequence[bool]
    ) -> Grads:
        kind = RELU if relu else TANH
        grads = self._recurrent_grad(kind, (g, None), x, w, u, start, None, (y, None, None), (*needed, False))
        return grads[:6] if grads else super().rnn_grad(g, x, w, u, start, y, relu, needed)

    def lstm(
        self, x: Array, w: Array, u: Array, b: Array | None, c: Array | None, start: Array | None, cell: Array | None
    ) -> tuple[Array, Array, Array]:
        return self._recurrent(LSTM, x, w, u, b, c, start, cell) or super().lstm(x, w, u, b, c, start, cell)

    def lstm_grad(
        self,
        g: tuple[Array | None, Array | None],
        x: Array,
        w: Array,
        u: Array,
        start: Array | None,
        cell: Array | None,
        state: tuple[Array, Array, Array],
        needed: Sequence[bool],
    ) -> Grads:
        grads = self._recurrent_grad(LSTM, g, x, w, u, start, cell, state, needed)
        return grads or super().lstm_grad(g, x, w, u, start, cell, state, needed)

    def gru(
        self, x: Array, w: Array, u: Array, b: Array | None, c: Array | None, start: Array | None
    ) -> tuple[Array, Array]:
        found = self._recurrent(GRU, x, w, u, b, c, start, None)
        return (found[0], found[2]) if found else super().gru(x, w, u, b, c, start)

    def gru_grad(
        self,
        g: Array,
        x: Array,
        w: Array,
        u: Array,
        start: Array | None,
        y: Array,
        gates: Array,
        needed: Sequence[bool],
    ) -> Grads:
        grads = self._recurrent_grad(GRU, (g, None), x, w, u, start, None, (y, None, gates), (*needed, False))
        return grads[:6] if grads else super().gru_grad(g, x, w, u, start, y, gates, needed)

    def _recurrent(self, kind: int, x: Array, w: Array, u: Array, b: Any, c: Any, start: Any, cell: Any) -> Any:
        """y, the cells of an LSTM and what is kept; None where C cannot."""
        x, start, cell = self._all_packed(x, start, cell)
        (n, t, channels), (units, wide) = x.shape, u.shape
        shaped = _are((wide,), b, c) and _are((n, units), start, cell)
        if not shaped or not fit(x, w, u, b, c, start, cell) or not x.size:
            return None
        y, cells, gates = (
            np.empty((n, t, columns), FLOAT32) if there else None
            for columns, there in ((units, True), (units, kind == LSTM), (4 * units, kind < 0))
        )
        given = (kind, n, t, channels, units, x, w, u, b, c, start, cell)
        self._run("recurrent", n * t * (w.size + u.size), *given, y, cells, gates)
        return y, cells, gates

    def _recurrent_grad(
        self, kind: int, g: Any, x: Array, w: Array, u: Array, start: Any, cell: Any, state: Any, needed: Sequence[bool]
    ) -> Any:
        """All seven gradients; None where C cannot."""
        x, start, cell, *g = self._all_packed(x, start, cell, *g)
        (n, t, channels), (units, wide) = x.shape, u.shape
        shaped = _are((n, units), start, cell) and _are((n, t, units), *g, *state[:2])
        if not shaped or not fit(x, w, u, start, cell, *g, *state) or not x.size:
            return None
        shapes = x.shape, w.shape, u.shape, (wide,), (wide,), (n, units), (n, units)
        grads = [np.empty(shape, FLOAT32) if need else None for shape, need in zip(shapes, needed, strict=True)]
        given = (kind, n, t, channels, units, *g, x, w, u, start, cell, *state)
        self._run("recurrent_grad", 2 * n * t * (w.size + u.size), *given, *grads)
        return tuple(grads)

    def _all_packed(self, *arrays: Array | None) -> list[Array | None]:
        return [None if a is None else self.packed(a) for a in arrays]

    def attention(
        self, q: Array, k: Array, v: Array, heads: int, causal: bool, lengths: Array | None
    ) -> tuple[Array, Array]:
        parts = [self._in_rows(part) for part in (q, k, v)]
        if not all(parts) or (lengths is not None and (lengths.dtype != np.int64 or lengths.shape != (len(q),))):
            return super().attention(q, k, v, heads, causal, lengths)
        lengths = None if lengths is None else self.packed(lengths)
        sizes = (*q.shape[:2], k.shape[1], q.shape[2], v.shape[2])
        y, weights = (np.empty(s, FLOAT32) for s in ((*q.shape[:2], v.shape[2]), (len(q), heads, *sizes[1:3])))
        work = weights.size * (sizes[3] + sizes[4] + 8 * POINT) // heads
        self._run("attention", work, *sizes, heads, causal, *sum(parts, ()), lengths, y, weights)
        return y, weights

    def attention_grad(self, g: Array, q: Array, k: Array, v: Array, weights: Array, needed: Sequence[bool]) -> Grads:
        parts = [self._in_rows(part) for part in (q, k, v)]
        shaped = g.shape == (*q.shape[:2], v.shape[2])
        if not all(parts) or not shaped or not fit(weights) or g.dtype is not FLOAT32:
            return super().attention_grad(g, q, k, v, weights, needed)
        sizes, heads = (*q.shape[:2], k.shape[1], q.shape[2], v.shape[2]), weights.shape[1]
        grads = tuple(
            np.empty(part.shape, FLOAT32) if need else None for part, need in zip((q, k, v), needed, strict=True)
        )
        work = 2 * weights.size * (sizes[3] + sizes[4] + 2 * POINT) // heads
        self._run("attention_grad", work, *sizes, heads, self.packed(g), *sum(parts, ()), weights, *grads)
        return grads

    def _in_rows(self, x: Array) -> tuple[Any, ...]:
        """The array, or a copy, whose rows lie evenly, and how far apart; nothing where C cannot."""
        if x.dtype is not FLOAT32 or not x.size:
            return ()
        n, t, channels = x.shape
        example, row, step = (stride // FLOAT32.itemsize for stride in x.strides)
        row = row if t > 1 else example
        if (step != 1 and channels > 1) or (example != t * row and n > 1):
            return self.packed(x), channels
        return x, row


def _are(shape: tuple[int, ...], *arrays: Array | None) -> bool:
    return all(a is None or a.shape == shape for a in arrays)
