"""Layers on sequences for test_composed.py, written with MyGrad's own products, channels second."""

from typing import Any

import mygrad
import numpy as np
from mygrad.nnet import activations

Array = Any


def twin_of_recurrent(layer: Any, p: dict[str, Any], x: Any) -> Any:
    """Position by position, with mygrad's own products."""
    x, gates = mygrad.moveaxis(x, 1, -1), layer.gates
    units, sigmoid, tanh = p["weight"].shape[1] // gates, activations.sigmoid, mygrad.tanh
    state, memory, found = mygrad.zeros((len(x), units)), mygrad.zeros((len(x), units)), []
    for t in range(x.shape[1]):
        of_x = mygrad.matmul(x[:, t], p["weight"]) + p.get("bias", 0)
        of_h = mygrad.matmul(state, p["recurrent_weight"]) + p.get("recurrent_bias", 0)
        a, b, c, d = ((of_x + of_h)[:, i * units : (i + 1) * units] for i in range(4))
        if layer.kind == "rnn":
            state = tanh(a) if layer.activation == "tanh" else activations.relu(a)
        elif layer.kind == "lstm":
            memory = sigmoid(b) * memory + sigmoid(a) * tanh(c)
            state = sigmoid(d) * tanh(memory)
        else:
            new = tanh(of_x[:, 2 * units :] + sigmoid(a) * of_h[:, 2 * units :])
            state = (1 - sigmoid(b)) * new + sigmoid(b) * state
        found.append(state)
    return mygrad.stack(found, axis=-1) if layer.returned == "sequence" else state


def twin_of_attention(layer: Any, p: dict[str, Any], x: Any) -> Any:
    x = mygrad.moveaxis(x, 1, -1)  # (N, T, C)
    (_, positions, channels), size = x.shape, x.shape[-1] // layer.heads
    every = mygrad.matmul(x, p["weight"]) + p.get("bias", 0)
    later = np.arange(positions) > np.arange(positions)[:, None]
    found = []
    for head in range(layer.heads):
        q, k, v = (every[..., i * channels + head * size : i * channels + (head + 1) * size] for i in range(3))
        scores = mygrad.matmul(q, mygrad.swapaxes(k, 1, 2)) / np.sqrt(size)
        exps = mygrad.exp(scores) * (~later if layer.causal else 1)
        found.append(mygrad.matmul(exps / mygrad.sum(exps, axis=-1, keepdims=True), v))
    y = mygrad.matmul(mygrad.concatenate(found, axis=-1), p["output_weight"]) + p.get("output_bias", 0)
    return mygrad.moveaxis(y, -1, 1)


def twin_of_positional(layer: Any, p: dict[str, Any], x: Any) -> Any:
    """Of each pair of channels a point that goes round a circle, the slower the later the pair."""
    if "weight" in p:
        return x + mygrad.transpose(p["weight"])
    added = np.zeros(x.shape[1:])
    for channel, position in np.ndindex(*added.shape):
        angle = position / 10000 ** (channel // 2 * 2 / len(added))
        added[channel, position] = np.cos(angle) if channel % 2 else np.sin(angle)
    return x + added


# input shape, layers, loss: see test_composed.py
NETS: dict[str, tuple[tuple[int, ...], list[tuple[str, dict[str, Any]]], str]] = {
    "sequence": (
        (5,),
        [
            ("embedding", {"units": 4, "tokens": 3}),
            ("positional", {}),
            ("rnn", {"units": 6, "activation": "relu"}),
            ("attention", {"heads": 2, "causal": True}),
            ("layer_norm", {}),
            ("dense", {"units": 4, "activation": "tanh"}),
            ("lstm", {"units": 4}),
            ("positional", {"encoding": "learned"}),
            ("attention", {"bias": False}),
            ("rnn", {"units": 3}),
            ("gru", {"units": 5, "bias": False}),
            ("gru", {"units": 4, "return": "last"}),
            ("dense", {"units": 3, "activation": "none"}),
        ],
        "cross_entropy",
    ),
    "the last of a sequence": (
        (4, 3),
        [
            ("lstm", {"units": 4, "bias": False}),
            ("rnn", {"units": 2, "return": "last"}),
            ("dense", {"units": 2, "activation": "none"}),
        ],
        "mse",
    ),
}
