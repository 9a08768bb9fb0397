"""Losses: the sum over the examples at hand, divided by `count`.

count: how many examples the whole batch has. A shard holds only some of them; with the batch's count the
shards' losses and gradients simply add up to those of the batch.
"""

from typing import Any

from dltrain.backend import kernels
from dltrain.engine import op

Array = Any


@op
def cross_entropy(logits: Array, *, targets: Array, count: int, label_smoothing: float = 0.0) -> Any:
    """-Σ q log softmax(logits) / count. logits: (N, C), targets: (N,) whole numbers below C.

    q is 1 for the target; with label smoothing s it is 1 - s + s/C there and s/C elsewhere (Szegedy et al., 2016).
    Stable: log softmax is computed as x - max - log Σ e^(x - max).
    """
    y, gradient = kernels(logits).cross_entropy(logits, targets, count, label_smoothing)
    return y, (lambda g: gradient * g,)


@op
def mse(prediction: Array, *, targets: Array, count: int) -> Any:
    """Σ (prediction - target)² / (count · values each): the mean squared error. Both (N, k)."""
    if prediction.shape != targets.shape:  # numpy would rather broadcast
        raise ValueError(f"mse compares values one by one, but the shapes are {prediction.shape} and {targets.shape}")
    difference = prediction - targets
    scale = count * max(1, difference[0].size)
    return (difference * difference).sum() / scale, (lambda g: difference * (2 * g / scale),)
