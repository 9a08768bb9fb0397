"""What the kernels of sequences compute, in plain array code: a part of the specification in reference.py.

    x: (N, T, C)     y, g: (N, T, H)     w: (C, gates · H)     u: (H, gates · H)     b, c: (gates · H,)
with N sequences, T positions, C channels, H units, and g = dLoss/dy. w and b belong to the input, u and c to the state
before: PyTorch's weight_ih_l0 and weight_hh_l0, transposed, bias_ih_l0 and bias_hh_l0, with its order of the gates.

Position by position, with products of N rows: what stands at a position does not depend on how many come after it.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

Array = Any
Grads = tuple[Array | None, ...]


class SequenceReference:
    """See reference.py."""

    xp: ModuleType
    add_at: Callable[[Array, Array, int], Array]

    # --- tokens -------------------------------------------------------------------------------------------

    def embedding(self, table: Array, tokens: Array) -> Array:
        """The rows of the table (V, C) at these places, whole numbers from 0, floats or not."""
        return table[tokens.astype("int64")]

    def embedding_grad(self, g: Array, tokens: Array, rows: int) -> Array:
        """dLoss/dtable (V, C): for every row the sum of the gradients of those who took it, in their order."""
        width = g.shape[-1]
        places = tokens.astype("int64")[..., None] * width + self.xp.arange(width)
        return self.add_at(places.reshape(-1), g.reshape(-1), rows * width).reshape(rows, width)

    # --- recurrence ---------------------------------------------------------------------------------------

    def rnn(
        self, x: Array, w: Array, u: Array, b: Array | None, c: Array | None, start: Array | None, relu: bool
    ) -> Array:
        """y[t] = f(x[t] @ w + b + y[t-1] @ u + c), f tanh or max(·, 0). start: y[-1], (N, H); 0 where None."""
        xp = self.xp
        h, y = self._start(x, u, start), xp.empty((*x.shape[:2], len(u)), x.dtype)
        for t in range(x.shape[1]):
            z = self._affine(x[:, t], w, b) + self._affine(h, u, c)
            y[:, t] = h = xp.maximum(z, 0) if relu else xp.tanh(z)
        return y

    def rnn_grad(
        self, g: Array, x: Array, w: Array, u: Array, start: Array | None, y: Array, relu: bool, needed: Sequence[bool]
    ) -> Grads:
        """dLoss by x, w, u, b, c and start. needed: which of them."""
        grads, dh = _Gradients(self, x, w, u, needed), 0
        for t in reversed(range(x.shape[1])):
            dh = dh + g[:, t]
            dz = dh * (y[:, t] > 0) if relu else dh * (1 - y[:, t] ** 2)
            dh = grads.step(t, dz, dz, self._before(y, t, start))
        return grads.all(dh)

    def lstm(
        self, x: Array, w: Array, u: Array, b: Array | None, c: Array | None, start: Array | None, cell: Array | None
    ) -> tuple[Array, Array, Array]:
        """y, the cells (N, T, H), and the gates (N, T, 4 H) in the order i, f, g, o, for the way back. With
        i, f, o = σ(…) and g = tanh(…), each of x[t] @ w + b + y[t-1] @ u + c:

            cells[t] = f · cells[t-1] + i · g        y[t] = o · tanh(cells[t])

        start, cell: y[-1] and cells[-1], (N, H); 0 where None.
        """
        xp, units = self.xp, len(u)
        h, memory = self._start(x, u, start), self._start(x, u, cell)
        y, cells = (xp.empty((*x.shape[:2], units), x.dtype) for _ in range(2))
        gates = xp.empty((*x.shape[:2], 4 * units), x.dtype)
        for t in range(x.shape[1]):
            z = self._affine(x[:, t], w, b) + self._affine(h, u, c)
            i, f, g, o = (z[:, k * units : (k + 1) * units] for k in range(4))
            i, f, g, o = self._sigmoid(i), self._sigmoid(f), xp.tanh(g), self._sigmoid(o)
            cells[:, t] = memory = f * memory + i * g
            y[:, t] = h = o * xp.tanh(memory)
            gates[:, t] = xp.concatenate([i, f, g, o], axis=-1)
        return y, cells, gates

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
        """dLoss by x, w, u, b, c, start and cell. g: dLoss by y and by the cells, None where nothing depends on them;
        state: what `lstm` gave; needed: which of them."""
        (g_y, g_cells), (y, cells, gates) = g, state
        xp, units = self.xp, len(u)
        grads, dh, dm = _Gradients(self, x, w, u, needed), 0, 0
        for t in reversed(range(x.shape[1])):
            i, f, n, o = (gates[:, t, k * units : (k + 1) * units] for k in range(4))
            before, squashed = self._before(cells, t, cell), xp.tanh(cells[:, t])
            dh = dh if g_y is None else dh + g_y[:, t]
            dm = dm if g_cells is None else dm + g_cells[:, t]
            dm = dm + dh * o * (1 - squashed**2)
            forgotten = xp.zeros_like(f) if before is None else dm * before
            parts = [dm * n * i * (1 - i), forgotten * f * (1 - f), dm * i * (1 - n**2), dh * squashed * o * (1 - o)]
            dz = xp.concatenate(parts, axis=-1)
            dh, dm = grads.step(t, dz, dz, self._before(y, t, start)), dm * f
        return (*grads.all(dh), dm if needed[6] else None)

    def gru(
        self, x: Array, w: Array, u: Array, b: Array | None, c: Array | None, start: Array | None
    ) -> tuple[Array, Array]:
        """y, and r, z, n and the state's part of n, (N, T, 4 H), for the way back. The gates' order is r, z, n; with
        r, z = σ(…) of x[t] @ w + b + y[t-1] @ u + c:

            n = tanh(x[t] @ w + b + r · (y[t-1] @ u + c))        y[t] = (1 - z) · n + z · y[t-1]

        start: y[-1], (N, H); 0 where None. As in PyTorch r multiplies after the product with u; in Cho et al. before.
        """
        xp, units = self.xp, len(u)
        h, y = self._start(x, u, start), xp.empty((*x.shape[:2], units), x.dtype)
        gates = xp.empty((*x.shape[:2], 4 * units), x.dtype)
        for t in range(x.shape[1]):
            of_x, of_h = self._affine(x[:, t], w, b), self._affine(h, u, c)
            both = self._sigmoid(of_x[:, : 2 * units] + of_h[:, : 2 * units])
            r, z, state = both[:, :units], both[:, units:], of_h[:, 2 * units :]
            n = xp.tanh(of_x[:, 2 * units :] + r * state)
            y[:, t] = h = (1 - z) * n + z * h
            gates[:, t] = xp.concatenate([r, z, n, state], axis=-1)
        return y, gates

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
        """dLoss by x, w, u, b, c and start. gates: as `gru` gave them; needed: which of them."""
        xp, units = self.xp, len(u)
        grads, dh = _Gradients(self, x, w, u, needed), 0
        for t in reversed(range(x.shape[1])):
            r, z, n, state = (gates[:, t, k * units : (k + 1) * units] for k in range(4))
            before = self._before(y, t, start)
            dh = dh + g[:, t]
            dn = dh * (1 - z) * (1 - n**2)
            dr = dn * state * r * (1 - r)
            dz = dh * (-n if before is None else before - n) * z * (1 - z)
            through = dh * z
            dh = grads.step(t, xp.concatenate([dr, dz, dn], -1), xp.concatenate([dr, dz, dn * r], -1), before) + through
        return grads.all(dh)

    def _start(self, x: Array, u: Array, start: Array | None) -> Array:
        return self.xp.zeros((len(x), len(u)), x.dtype) if start is None else start

    @staticmethod
    def _before(states: Array, t: int, start: Array | None) -> Array | None:
        """The state that position t began with; None for one of zeros."""
        return states[:, t - 1] if t else start

    @staticmethod
    def _affine(rows: Array, w: Array, bias: Array | None) -> Array:
        y = rows @ w
        return y if bias is None else y + bias

    def _sigmoid(self, x: Array) -> Array:
        return (1 + self.xp.tanh(x / 2)) / 2  # overflows nowhere

    # --- attention ----------------------------------------------------------------------------------------

    def attention(
        self, q: Array, k: Array, v: Array, heads: int, causal: bool, lengths: Array | None
    ) -> tuple[Array, Array]:
        """y (N, T, D) and the weights (N, heads, T, S), for the way back: weights @ v, head by head, with
        weights = softmax(q @ kᵀ / √(C / heads)) over the positions that may be seen.

        q: (N, T, C), k: (N, S, C), v: (N, S, D), each cut into as many heads. causal: position t sees those up to t.
        lengths: (N,), of how many positions of k and v are there to be seen; None for all.
        """
        xp = self.xp
        queries, keys, values = (self._heads(part, heads) for part in (q, k, v))
        scores = queries @ keys.swapaxes(-1, -2) * (q.shape[-1] // heads) ** -0.5
        hidden = xp.zeros((1, 1, 1, k.shape[1]), bool)
        if causal:
            hidden = hidden | (xp.arange(k.shape[1]) > xp.arange(q.shape[1])[:, None])
        if lengths is not None:
            hidden = hidden | (xp.arange(k.shape[1]) >= lengths[:, None, None, None])
        scores = xp.where(hidden, -xp.inf, scores)
        exps = xp.exp(scores - scores.max(axis=-1, keepdims=True))
        weights = exps / exps.sum(axis=-1, keepdims=True)
        return self._rows(weights @ values), weights

    def attention_grad(self, g: Array, q: Array, k: Array, v: Array, weights: Array, needed: Sequence[bool]) -> Grads:
        """dLoss by q, k and v. weights: as `attention` gave them; needed: which of them."""
        heads = weights.shape[1]
        queries, keys, values, arriving = (self._heads(part, heads) for part in (q, k, v, g))
        dv = self._rows(weights.swapaxes(-1, -2) @ arriving) if needed[2] else None
        dw = arriving @ values.swapaxes(-1, -2)
        ds = weights * (dw - (dw * weights).sum(axis=-1, keepdims=True)) * (q.shape[-1] // heads) ** -0.5
        return (
            self._rows(ds @ keys) if needed[0] else None,
            self._rows(ds.swapaxes(-1, -2) @ queries) if needed[1] else None,
            dv,
        )

    @staticmethod
    def _heads(x: Array, heads: int) -> Array:
        """(N, T, C) -> (N, heads, T, C / heads)"""
        n, t, c = x.shape
        return x.reshape(n, t, heads, c // heads).transpose(0, 2, 1, 3)

    @staticmethod
    def _rows(x: Array) -> Array:
        """(N, heads, T, C / heads) -> (N, T, C)"""
        n, heads, t, c = x.shape
        return x.transpose(0, 2, 1, 3).reshape(n, t, heads * c)


class _Gradients:
    """Sums over the positions, from the last to the first: what padding at the end adds is exactly 0."""

    def __init__(self, kernels: SequenceReference, x: Array, w: Array, u: Array, needed: Sequence[bool]):
        xp = kernels.xp
        self.x, self.w, self.u, self.needed = x, w, u, needed
        self.dx = xp.empty_like(x) if needed[0] else None
        self.dw, self.du = xp.zeros_like(w), xp.zeros_like(u)
        self.db, self.dc = (xp.zeros(w.shape[1:], w.dtype) for _ in range(2))

    def step(self, t: int, of_x: Array, of_h: Array, before: Array | None) -> Array:
        """dLoss by the state before. of_x, of_h: dLoss by what the input's product and the state's gave."""
        if self.dx is not None:
            self.dx[:, t] = of_x @ self.w.T
        if self.needed[1]:
            self.dw += self.x[:, t].T @ of_x
        if self.needed[2] and before is not None:
            self.du += before.T @ of_h
        self.db += of_x.sum(axis=0)
        self.dc += of_h.sum(axis=0)
        return of_h @ self.u.T

    def all(self, start: Array) -> Grads:
        found = (self.dx, self.dw, self.du, self.db, self.dc, start)
        return tuple(grad if need else None for grad, need in zip(found, self.needed, strict=False))
