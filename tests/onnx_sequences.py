"""Nodes of ONNX that go through sequences, as calls of ours; see onnx_adapter."""

from typing import Any

import numpy as np
from onnx_layout import Array, Attributes, Bring
from onnx_windows import Unmappable

from dltrain import ops
from dltrain.engine import Tensor

ORDERS = {"RNN": [0], "LSTM": [0, 2, 3, 1], "GRU": [1, 0, 2]}  # where our gates stand in theirs: iofc, zrh
OPS: dict[str, Any] = {"RNN": ops.rnn, "LSTM": ops.lstm, "GRU": ops.gru}


def recurrent(kind: str) -> Any:
    def call(a: Attributes, inputs: list[Any], bring: Bring) -> list[Tensor | None]:
        x, w, r, b, _, h, c, p = (*inputs, *(None,) * 8)[:8]
        if p is not None:
            raise Unmappable("gates that look at the cell")
        if kind == "GRU" and not a.get("linear_before_reset") and (x.shape[0] > 1 or h is not None):
            raise Unmappable("a reset before the product")  # of a state of zeros it is the same
        x = x if a.get("layout") else x.swapaxes(0, 1)  # (T, N, C) -> (N, T, C)
        directions = {"forward": [1], "reverse": [-1], "bidirectional": [1, -1]}[a.get("direction", "forward")]
        found: list[Any] = []
        for d, step in enumerate(directions):
            ours = [weights(kind, part[d]).T for part in (w, r)]
            biases = [None, None] if b is None else [weights(kind, part) for part in np.split(b[d], 2)]
            begin = [None if part is None else part[d] for part in ((h, c) if kind == "LSTM" else (h,))]
            arrays = [x[:, ::step], *ours, *biases, *begin]
            states = OPS[kind](*(None if part is None else bring(np.ascontiguousarray(part)) for part in arrays))
            states = states if kind == "LSTM" else (states,)
            found.append((states[0][:, ::step], *(state[:, -1] for state in states)))
        # (N, T, H) each -> (T, directions, N, H); with a layout of 1 (N, T, directions, H), (N, directions, H)
        y, *last = (ops.stack(*parts, axis=-2) for parts in zip(*found, strict=True))
        if not a.get("layout"):
            y, last = y.transpose(1, 2, 0, 3), [part.transpose(1, 0, 2) for part in last]
        return [y, *last]

    return call


def weights(kind: str, rows: Array) -> Array:
    """The gates in our order."""
    cut = np.split(rows, len(ORDERS[kind]))
    return np.concatenate([cut[i] for i in ORDERS[kind]])


def attention(a: Attributes, inputs: list[Any], bring: Bring) -> list[Tensor]:
    q, k, v, mask, past, _, lengths = (*inputs, *(None,) * 7)[:7]
    if mask is not None:
        raise Unmappable("a mask of its own")
    if past is not None:
        raise Unmappable("positions of before")
    if lengths is not None and a.get("is_causal"):
        raise Unmappable("lengths that say where the queries stand")
    if a.get("softcap"):
        raise Unmappable("scores that are squashed")
    if max(a.get(f"{side}_window_size", -1) for side in ("left", "right")) >= 0:
        raise Unmappable("a window")
    if a["outputs"] > 1:
        raise Unmappable("a second output")
    heads, shared = a.get("q_num_heads", q.shape[1]), a.get("kv_num_heads", k.shape[1])
    cut = [
        x if x.ndim == 4 else x.reshape(*x.shape[:2], n, -1).swapaxes(1, 2)
        for x, n in ((q, heads), (k, shared), (v, shared))
    ]  # (N, heads, T, C)
    cut = [np.repeat(x, heads // x.shape[1], axis=1) for x in cut]
    rows = [np.ascontiguousarray(x.swapaxes(1, 2).reshape(len(x), x.shape[2], -1)) for x in cut]  # (N, T, heads · C)
    q, k, v = map(bring, rows)
    if "scale" in a:
        q = q * (a["scale"] * (q.shape[-1] // heads) ** 0.5)
    y = ops.attention(q, k, v, heads=heads, causal=bool(a.get("is_causal")), lengths=lengths)
    n, t, channels = y.shape
    return [y.reshape(n, t, heads, channels // heads).transpose(0, 2, 1, 3) if inputs[0].ndim == 4 else y]
