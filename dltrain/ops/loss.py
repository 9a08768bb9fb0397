"""Losses: the sum over the examples at hand, divided by `count`.

count: how many examples the whole batch has. A shard holds only some of them; with the batch's count the
shards' losses and gradients simply add up to those of the batch.
weights: by how much each example counts, (N,); None for 1. `count` is then the sum of the batch's weights.
"""

from typing import Any

from dltrain.backend import array_module, kernels
from dltrain.engine import op

Array = Any
Weights = Any  # an array, or None


@op
def cross_entropy(
    logits: Array, *, targets: Array, count: Array, label_smoothing: float = 0.0, weights: Weights = None
) -> Any:
    """-Σ q log softmax(logits) / count. logits: (N, C), targets: (N,) whole numbers below C.

    q is 1 for the target; with label smoothing s it is 1 - s + s/C there and s/C elsewhere (Szegedy et al., 2016).
    Stable: log softmax is computed as x - max - log Σ e^(x - max).
    """
    k = kernels(logits)
    y, gradient = k.cross_entropy(logits, targets, count, label_smoothing, weights)
    return y, (lambda g: k.times(gradient, g),)


@op
def binary_cross_entropy(logits: Array, *, targets: Array, count: Array, weights: Weights = None) -> Any:
    """-Σ log p / count, p the probability of the right one of two classes. logits: (N, 1), of class 1; targets: (N,).

    -log sigmoid(z) for class 1 and -log sigmoid(-z) for class 0 are both max(z, 0) - z · target + log(1 + e^-|z|),
    which overflows nowhere.
    """
    if logits.shape != (len(targets), 1):  # numpy would rather broadcast
        raise ValueError(f"binary_cross_entropy takes logits (N, 1), not {logits.shape}, for targets {targets.shape}")
    xp, z = array_module(logits), logits[:, 0]
    each = 1 if weights is None else weights
    tail = xp.exp(-xp.abs(z))
    y = (each * (xp.maximum(z, 0) - z * targets.astype(z.dtype) + xp.log1p(tail))).sum() / count

    def back(g: Array) -> Array:
        probability = xp.where(z > 0, 1, tail) / (1 + tail)  # sigmoid(z)
        return (each * (probability - targets.astype(z.dtype)) * (g / count))[:, None]

    return y, (back,)


@op
def hinge(scores: Array, *, targets: Array, count: Array, weights: Weights = None) -> Any:
    """Σ max(0, 1 + score of a wrong class - score of the right one) / count, over examples and their wrong classes.

    scores: (N, C), targets: (N,). The error term of a linear machine for several classes (Weston and Watkins,
    "Support Vector Machines for Multi-Class Pattern Recognition", 1999). On the margin itself the gradient is 0.
    """
    xp = array_module(scores)
    each = 1 if weights is None else weights[:, None]
    wrong = targets[:, None] != xp.arange(scores.shape[1])
    right = xp.where(wrong, 0, scores).sum(axis=1, keepdims=True)
    short = xp.maximum(1 + scores - right, 0) * wrong

    def back(g: Array) -> Array:
        missed = (short > 0).astype(scores.dtype)
        return each * (missed - xp.where(wrong, 0, missed.sum(axis=1, keepdims=True))) * (g / count)

    return (each * short).sum() / count, (back,)


@op
def mse(prediction: Array, *, targets: Array, count: int) -> Any:
    """Σ (prediction - target)² / (count · values each): the mean squared error. Both (N, k)."""
    difference, scale = _difference("mse", prediction, targets, count)
    return (difference * difference).sum() / scale, (lambda g: difference * (2 * g / scale),)


@op
def mae(prediction: Array, *, targets: Array, count: int) -> Any:
    """Σ |prediction - target| / (count · values each): the mean absolute error. Both (N, k). At 0 the gradient is 0."""
    xp = array_module(prediction)
    difference, scale = _difference("mae", prediction, targets, count)
    return xp.abs(difference).sum() / scale, (lambda g: xp.sign(difference) * (g / scale),)


@op
def huber(prediction: Array, *, targets: Array, count: int, delta: float = 1.0) -> Any:
    """With d = prediction - target: d²/2 up to delta, delta · (|d| - delta/2) beyond; mean as in mse. Both (N, k).

    So one wild target pulls no harder than delta (Huber, "Robust Estimation of a Location Parameter", 1964).
    """
    xp = array_module(prediction)
    difference, scale = _difference("huber", prediction, targets, count)
    clipped = xp.maximum(xp.minimum(difference, delta), -delta)
    y = (clipped * (difference - 0.5 * clipped)).sum() / scale
    return y, (lambda g: clipped * (g / scale),)


def _difference(name: str, prediction: Array, targets: Array, count: int) -> tuple[Array, int]:
    """prediction - targets, and the number of values that a mean over the batch divides by."""
    if prediction.shape != targets.shape:  # numpy would rather broadcast
        raise ValueError(
            f"{name} compares values one by one, but the shapes are {prediction.shape} and {targets.shape}"
        )
    return prediction - targets, count * max(1, prediction[0].size)
