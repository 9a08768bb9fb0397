"""The dumbest possible loops and formulas, channels last: what the kernels and ops have to agree with."""

from collections.abc import Iterator
from itertools import product
from math import erf, sqrt
from typing import Any

import numpy as np

Array = Any
Ints = tuple[int, ...]


def each(value: Any, n: int) -> Ints:
    return tuple(value) if isinstance(value, tuple) else (value,) * n


def ends(size: Ints, kernel: Ints, stride: Ints, padding: Any, dilation: Ints) -> list[tuple[int, int]]:
    """Zeros (before, after) in each dimension."""
    if padding == "valid":
        return [(0, 0)] * len(size)
    if padding != "same":
        return [(p, p) for p in each(padding, len(size))]
    found = []
    for i, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        outputs = -(-i // s)
        missing = max(0, (outputs - 1) * s + (k - 1) * d + 1 - i)
        found.append((missing // 2, missing - missing // 2))
    return found


def out_size(size: Ints, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Ints:
    """How many windows fit in each dimension, by trying every place."""
    n = len(size)
    kernel, stride, dilation = each(kernel, n), each(stride, n), each(dilation, n)
    pads = ends(size, kernel, stride, padding, dilation)
    return tuple(
        sum(start + (k - 1) * d < i + before + after for start in range(0, i + before + after, s))
        for i, k, s, d, (before, after) in zip(size, kernel, stride, dilation, pads, strict=True)
    )


def meetings(size: Ints, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Iterator[tuple[Ints, Ints, Ints]]:
    """(output position, kernel position, input position) wherever a window meets the input, in reading order."""
    outputs, n = out_size(size, kernel, stride, padding, dilation), len(size)
    kernel, stride, dilation = each(kernel, n), each(stride, n), each(dilation, n)
    pads = ends(size, kernel, stride, padding, dilation)
    for o in product(*map(range, outputs)):
        for t in product(*map(range, kernel)):
            where = tuple(
                a * s + b * d - before for a, b, s, d, (before, _) in zip(o, t, stride, dilation, pads, strict=True)
            )
            if all(0 <= p < i for p, i in zip(where, size, strict=True)):
                yield o, t, where


def conv(x: Array, w: Array, stride: Any = 1, padding: Any = "valid", dilation: Any = 1, groups: int = 1) -> Array:
    size, kernel = x.shape[1:-1], w.shape[:-2]
    y = np.zeros((len(x), *out_size(size, kernel, stride, padding, dilation), w.shape[-1]))
    for o, t, i in meetings(size, kernel, stride, padding, dilation):
        for c, k in of_groups(x.shape[-1], w.shape[-1], groups):
            y[:, *o, k] += x[:, *i, c] @ w[*t, :, k]
    return y


def conv_grads(
    g: Array, x: Array, w: Array, stride: Any = 1, padding: Any = "valid", dilation: Any = 1, groups: int = 1
) -> tuple[Array, Array]:
    """(dLoss/dx, dLoss/dw) given g = dLoss/dy."""
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for o, t, i in meetings(x.shape[1:-1], w.shape[:-2], stride, padding, dilation):
        for c, k in of_groups(x.shape[-1], w.shape[-1], groups):
            dx[:, *i, c] += g[:, *o, k] @ w[*t, :, k].T
            dw[*t, :, k] += x[:, *i, c].T @ g[:, *o, k]
    return dx, dw


def conv_transpose(
    x: Array, w: Array, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Array:
    """Each input position is stamped onto the output, whose edges are cut off by the padding."""
    n = x.ndim - 2
    stride, padding, more, dilation = (each(v, n) for v in (stride, padding, output_padding, dilation))
    steps = zip(x.shape[1:-1], w.shape[:-2], stride, padding, more, dilation, strict=True)
    size = tuple((i - 1) * s - 2 * p + d * (k - 1) + o + 1 for i, k, s, p, o, d in steps)
    y = np.zeros((len(x), *size, w.shape[-2] * groups))
    for i in product(*map(range, x.shape[1:-1])):
        for t in product(*map(range, w.shape[:-2])):
            where = tuple(a * s + b * d - p for a, b, s, d, p in zip(i, t, stride, dilation, padding, strict=True))
            if all(0 <= p < s for p, s in zip(where, size, strict=True)):
                for c, k in of_groups(x.shape[-1], y.shape[-1], groups):
                    y[:, *where, k] += x[:, *i, c] @ w[*t, :, c].T
    return y


def upsample(x: Array, factor: Any, mode: str = "nearest") -> Array:
    """Position by position: (o + 1/2) / factor - 1/2 in the input, kept within it."""
    factor = each(factor, x.ndim - 2)
    size = tuple(n * f for n, f in zip(x.shape[1:-1], factor, strict=True))
    y = np.zeros((len(x), *size, x.shape[-1]))
    for o in product(*map(range, size)):
        if mode == "nearest":
            y[:, *o] = x[:, *(p // f for p, f in zip(o, factor, strict=True))]
            continue
        places = [min(max((p + 0.5) / f - 0.5, 0), n - 1) for p, f, n in zip(o, factor, x.shape[1:-1], strict=True)]
        for corner in product((0, 1), repeat=len(places)):
            share = np.prod([p % 1 if c else 1 - p % 1 for p, c in zip(places, corner, strict=True)])
            if share:
                y[:, *o] += share * x[:, *(int(p) + c for p, c in zip(places, corner, strict=True))]
    return y


def of_groups(inputs: int, outputs: int, groups: int) -> Iterator[tuple[slice, slice]]:
    c, k = inputs // groups, outputs // groups
    for i in range(groups):
        yield slice(i * c, (i + 1) * c), slice(i * k, (i + 1) * k)


def windows(x: Array, kernel: Any, stride: Any, padding: Any, dilation: Any) -> dict[Ints, list[Ints]]:
    """Output position -> the input positions under its window, in reading order."""
    found: dict[Ints, list[Ints]] = {}
    for o, _, i in meetings(x.shape[1:-1], kernel, stride, padding, dilation):
        found.setdefault(o, []).append(i)
    return found


def max_pool(x: Array, kernel: Any, stride: Any, padding: Any = "valid", dilation: Any = 1) -> Array:
    y = np.zeros((len(x), *out_size(x.shape[1:-1], kernel, stride, padding, dilation), x.shape[-1]))
    for o, inputs in windows(x, kernel, stride, padding, dilation).items():
        y[:, *o] = np.max([x[:, *i] for i in inputs], axis=0)
    return y


def max_pool_grad(g: Array, x: Array, kernel: Any, stride: Any, padding: Any = "valid", dilation: Any = 1) -> Array:
    dx = np.zeros(x.shape)
    for o, inputs in windows(x, kernel, stride, padding, dilation).items():
        for n, c in product(range(len(x)), range(x.shape[-1])):
            first = max(inputs, key=lambda i: x[n, *i, c])  # max takes the first of equals
            dx[n, *first, c] += g[n, *o, c]
    return dx


def average_pool(x: Array, kernel: Any, stride: Any, padding: Any = "valid", dilation: Any = 1) -> Array:
    y = np.zeros((len(x), *out_size(x.shape[1:-1], kernel, stride, padding, dilation), x.shape[-1]))
    for o, inputs in windows(x, kernel, stride, padding, dilation).items():
        y[:, *o] = np.mean([x[:, *i] for i in inputs], axis=0)
    return y


def average_pool_grad(g: Array, x: Array, kernel: Any, stride: Any, padding: Any = "valid", dilation: Any = 1) -> Array:
    dx = np.zeros(x.shape)
    for o, inputs in windows(x, kernel, stride, padding, dilation).items():
        for i in inputs:
            dx[:, *i] += g[:, *o] / len(inputs)
    return dx


# --- formulas ---------------------------------------------------------------------------------------------------------

ACTIVATIONS = {
    None: lambda x: x,
    "relu": lambda x: np.where(x > 0, x, 0),
    "relu6": lambda x: np.where(x > 6, 6, np.where(x > 0, x, 0)),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(x) - 1)),
    "softplus": lambda x: np.log(1 + np.exp(x)),
}


def gelu(x: Array, approximate: str = "none") -> Array:
    if approximate == "tanh":
        return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2
    return x * np.vectorize(lambda v: (1 + erf(v / sqrt(2))) / 2)(x)


def softmax(x: Array, axis: int = -1) -> Array:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


def mean_by(count: float | None, examples: int, weights: Array | None = None) -> float:
    """What a loss divides by: the count, or what makes a mean of the sum."""
    return count if count is not None else examples if weights is None else sum(weights)


def cross_entropy(
    logits: Array,
    targets: Array,
    count: float | None = None,
    label_smoothing: float = 0.0,
    weights: Array | None = None,
) -> float:
    if logits.ndim > 2:  # each position is an example, if something is asked there
        there = targets != -1
        logits, targets = logits[there], targets[there]
    total = 0.0
    for i, (row, target) in enumerate(zip(softmax(logits), targets, strict=True)):
        for k, p in enumerate(row):
            q = label_smoothing / len(row) + (1 - label_smoothing if k == target else 0)
            total -= q * np.log(p) * (1 if weights is None else weights[i])
    return total / mean_by(count, len(logits), weights)


def binary_cross_entropy(
    logits: Array, targets: Array, count: float | None = None, weights: Array | None = None
) -> float:
    total = 0.0
    for i, ((z,), t) in enumerate(zip(logits, targets, strict=True)):
        p = 1 / (1 + np.exp(-z))
        total -= (t * np.log(p) + (1 - t) * np.log(1 - p)) * (1 if weights is None else weights[i])
    return total / mean_by(count, len(logits), weights)


def hinge(scores: Array, targets: Array, count: float | None = None, weights: Array | None = None) -> float:
    total = 0.0
    for i, (row, target) in enumerate(zip(scores, targets, strict=True)):
        short = sum(max(0.0, 1 + score - row[target]) for k, score in enumerate(row) if k != target)
        total += short * (1 if weights is None else weights[i])
    return total / mean_by(count, len(scores), weights)


def labels_cross_entropy(logits: Array, targets: Array, count: int | None = None) -> float:
    """-log of how probable each label is to be as it is, mean over the labels."""
    total = 0.0
    for z, t in zip(logits.ravel().tolist(), targets.ravel().tolist(), strict=True):
        p = 1 / (1 + np.exp(-z))
        total -= np.log(p if t else 1 - p)
    return total / logits.shape[1] / mean_by(count, len(logits))


def mae(prediction: Array, targets: Array, count: int | None = None) -> float:
    sizes = [abs(p - t) for p, t in zip(prediction.ravel(), targets.ravel(), strict=True)]
    return sum(sizes) / (len(sizes) / len(prediction)) / mean_by(count, len(prediction))


def huber(prediction: Array, targets: Array, count: int | None = None, delta: float = 1.0) -> float:
    sizes = [abs(p - t) for p, t in zip(prediction.ravel(), targets.ravel(), strict=True)]
    parts = [d * d / 2 if d <= delta else delta * (d - delta / 2) for d in sizes]
    return sum(parts) / (len(sizes) / len(prediction)) / mean_by(count, len(prediction))


def mse(prediction: Array, targets: Array, count: int | None = None) -> float:
    squares = [(p - t) ** 2 for p, t in zip(prediction.ravel(), targets.ravel(), strict=True)]
    return sum(squares) / (len(squares) / len(prediction)) / mean_by(count, len(prediction))


def dropout(x: Array, rate: float, words: Array) -> Array:
    """Little-endian: the lowest 16 bits of a word decide about the first of four values."""
    y = np.zeros(x.shape)
    for row, out, drawn in zip(x.reshape(len(x), -1), y.reshape(len(x), -1), words, strict=True):
        lanes = [int(word) >> shift & 0xFFFF for word in drawn for shift in (0, 16, 32, 48)]
        for i, value in enumerate(row):
            out[i] = value / (1 - rate) if lanes[i] >= rate * 65536 else 0
    return y


def standardised(values: Array, epsilon: float) -> Array:
    return (values - np.mean(values)) / np.sqrt(np.var(values) + epsilon)


def batch_norm(x: Array, scale: Array | None, shift: Array | None, epsilon: float = 1e-5) -> list[Array]:
    channels = np.moveaxis(x, -1, 0)
    y = np.moveaxis(np.array([standardised(channel, epsilon) for channel in channels]), 0, -1)
    y = y * (1 if scale is None else scale) + (0 if shift is None else shift)
    return [y, np.array([c.mean() for c in channels]), np.array([c.var() for c in channels])]


def layer_norm(x: Array, scale: Array | None, shift: Array | None, epsilon: float = 1e-5) -> Array:
    y = np.array([standardised(row, epsilon) for row in x.reshape(-1, x.shape[-1])]).reshape(x.shape)
    return y * (1 if scale is None else scale) + (0 if shift is None else shift)


def group_norm(x: Array, scale: Array | None, shift: Array | None, groups: int, epsilon: float = 1e-5) -> Array:
    parts = [[standardised(part, epsilon) for part in np.split(example, groups, -1)] for example in x]
    y = np.array([np.concatenate(example, -1) for example in parts])
    return y * (1 if scale is None else scale) + (0 if shift is None else shift)
