"""Losses: the sum over the examples at hand, divided by `count`: without a count their mean.

count: how many examples the whole batch has. A shard holds only some of them; with the batch's count the
shards' losses and gradients simply add up to those of the batch.
weights: by how much each example counts, (N,); None for 1. `count` is then the sum of the batch's weights.

All raise ValueError for targets of another shape or kind than they take. Targets that are no class, or outside of what
they may be, are a ValueError as well; on a GPU, where to look at values is to wait for them, the loss is NaN.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from dltrain.backend import array_module, is_array, kernels
from dltrain.engine import op

Array = Any
Weights = Any  # an array, or None


@op
def cross_entropy(
    logits: Array,
    targets: Array,
    *,
    count: Array | None = None,
    label_smoothing: float = 0.0,
    weights: Weights = None,
) -> Any:
    """-Σ q log softmax(logits) / count. logits: (N, C), targets: (N,) whole numbers below C; or (N, *size, C) and
    (N, *size), where each position is an example and at a target of -1 nothing is asked: it adds nothing to the loss,
    no gradient comes from there, and without a count it is not counted.

    q is 1 for the target; with label smoothing s it is 1 - s + s/C there and s/C elsewhere (Szegedy et al., 2016).
    Stable: log softmax is computed as x - max - log Σ e^(x - max).
    """
    k = kernels(logits)
    targets, shape = _like(logits, targets), logits.shape
    if logits.ndim > 2 and targets.shape == shape[:-1]:  # one after the other
        logits, targets = logits.reshape(-1, shape[-1]), targets.reshape(-1)
        weights = None if weights is None else weights.reshape(-1)
        targets, weights = _asked(targets, weights, logits.dtype)
    targets, valid = _classes("cross_entropy", logits, targets)
    y, gradient = k.cross_entropy(logits, targets, _count(targets, count, weights), label_smoothing, weights)
    return _if(valid, y), (lambda g: k.multiply(gradient, g).reshape(shape), None)


@op
def binary_cross_entropy(logits: Array, targets: Array, *, count: Array | None = None, weights: Weights = None) -> Any:
    """-Σ (t log p + (1 - t) log(1 - p)) / count, p = sigmoid(logit). logits: (N, 1), targets: (N,) from 0 to 1.

    With z the logit, -log p = log(1 + e^-|z|) + max(-z, 0) and -log(1 - p) = log(1 + e^-|z|) + max(z, 0), which
    overflow nowhere.
    """
    xp = array_module(logits)
    targets = _like(logits, targets)
    if targets.ndim != 1 or logits.shape != (len(targets), 1):  # numpy would rather broadcast
        raise ValueError(f"binary_cross_entropy takes logits (N, 1), not {logits.shape}, for targets {targets.shape}")
    if targets.dtype.kind not in "fiub":
        raise ValueError(f"binary_cross_entropy takes targets from 0 to 1, not {targets.dtype}")
    valid = _all((targets >= 0) & (targets <= 1), "binary_cross_entropy takes targets from 0 to 1")
    count = _count(targets, count, weights)
    each = 1 if weights is None else weights
    z, t = logits[:, 0], targets.astype(logits.dtype)
    size = xp.abs(z)
    tail, wrong = xp.exp(-size), xp.where(z > 0, 1 - t, t)  # by how much the side on which z lies is wrong
    y = (each * (wrong * xp.where(wrong == 0, 0, size) + xp.log1p(tail))).sum() / count  # 0 · ∞ is 0 here

    def of_logits(g: Array) -> Array:
        probability = xp.where(z > 0, 1, tail) / (1 + tail)  # sigmoid(z)
        return (each * (probability - t) * (g / count))[:, None]

    return _if(valid, y), (of_logits, lambda g: -each * z * (g / count))


@op
def labels_cross_entropy(logits: Array, targets: Array, *, count: int | None = None) -> Any:
    """The mean over labels of -log p, as in `mse`; p: how probable sigmoid(logit) makes it that a label is as it is.

    Both (N, …), targets from 0 to 1, or one for all. As stable as `binary_cross_entropy`.
    """
    y, back, scale = _of_numbers("labels_cross_entropy", logits, targets, count)
    return y, (back, lambda g: -logits * (g / scale))


@op
def hinge(scores: Array, targets: Array, *, count: Array | None = None, weights: Weights = None) -> Any:
    """Σ max(0, 1 + score of a wrong class - score of the right one) / count, over examples and their wrong classes.

    scores: (N, C), targets: (N,) whole numbers below C. The error term of a linear machine for several classes (Weston
    and Watkins, "Support Vector Machines for Multi-Class Pattern Recognition", 1999). On the margin the gradient is 0.
    """
    xp = array_module(scores)
    targets, valid = _classes("hinge", scores, targets)
    count = _count(targets, count, weights)
    each = 1 if weights is None else weights[:, None]
    wrong = targets[:, None] != xp.arange(scores.shape[1])
    right = xp.where(wrong, 0, scores).sum(axis=1, keepdims=True)
    short = xp.maximum(xp.where(wrong, 1 + scores - right, 0), 0)

    def back(g: Array) -> Array:
        missed = (short > 0).astype(scores.dtype)
        return each * (missed - xp.where(wrong, 0, missed.sum(axis=1, keepdims=True))) * (g / count)

    return _if(valid, (each * short).sum() / count), (back, None)


@op
def mse(prediction: Array, targets: Array, *, count: int | None = None) -> Any:
    """Σ (prediction - target)² / (count · values each): the mean squared error. Both (N, …), or one target for all."""
    y, back, _ = _of_numbers("mse", prediction, targets, count)
    return y, _both(back)


@op
def mae(prediction: Array, targets: Array, *, count: int | None = None) -> Any:
    """Σ |prediction - target| / (count · values each): the mean absolute error. Both (N, …). At 0 the gradient is 0."""
    y, back, _ = _of_numbers("mae", prediction, targets, count)
    return y, _both(back)


@op
def huber(prediction: Array, targets: Array, *, count: int | None = None, delta: float = 1.0) -> Any:
    """With d = prediction - target: d²/2 up to delta, delta · (|d| - delta/2) beyond; mean as in mse. Both (N, …).

    So one wild target pulls no harder than delta (Huber, "Robust Estimation of a Location Parameter", 1964).
    """
    y, back, _ = _of_numbers("huber", prediction, targets, count, delta)
    return y, _both(back)


# --- what they check --------------------------------------------------------------------------------------------------


def _like(x: Array, targets: Any) -> Array:
    return targets if is_array(targets) else array_module(x).asarray(np.asarray(targets))


def _count(targets: Array, count: Array | None, weights: Weights) -> Array:
    """What makes a mean of the sum."""
    if weights is not None and weights.shape != targets.shape:
        raise ValueError(f"weights are one for each example, {targets.shape}, not {weights.shape}")
    return count if count is not None else len(targets) if weights is None else weights.sum()


def _asked(targets: Array, weights: Weights, dtype: Any) -> tuple[Array, Weights]:
    """Weights of 0 where the target is -1, and some class in its place. Where the batch has as many targets as it has
    positions nothing changes: a count that is a plain number says so, one that is an array keeps a step from being
    captured."""
    there = targets != -1
    if isinstance(found := there.all(), np.generic) and found:
        return targets, weights
    xp = array_module(targets)
    return xp.where(there, targets, 0), (there.astype(dtype) if weights is None else weights * there)


def _classes(name: str, scores: Array, targets: Any) -> tuple[Array, Any]:
    """The targets, (N,) classes of scores (N, C), and whether they are; see `_all`."""
    targets = _like(scores, targets)
    if scores.ndim != 2 or targets.shape != scores.shape[:1]:  # numpy would rather broadcast
        raise ValueError(f"{name} takes scores (N, C) and targets (N,), not {scores.shape} and {targets.shape}")
    if targets.dtype.kind not in "iu":
        raise ValueError(f"{name} takes targets that are classes, whole numbers, not {targets.dtype}")
    classes = scores.shape[1]
    return targets, _all(
        (targets >= 0) & (targets < classes), f"a target is no class: targets go from 0 to {classes - 1}"
    )


def _all(right: Array, says: str) -> Any:
    """Whether all are right, for `_if`. Raises ValueError where values are at hand and one is not."""
    found = right.all()
    if isinstance(found, np.generic) and not found:
        raise ValueError(says)
    return found


def _if(valid: Any, y: Array) -> Array:
    """The loss, or NaN where targets on a GPU are not what they may be."""
    return y if isinstance(valid, np.generic) else array_module(y).where(valid, y, np.nan)


def _of_numbers(
    name: str, prediction: Array, targets: Any, count: int | None, delta: float = 1.0
) -> tuple[Array, Callable[[Array], Array], int]:
    """The loss, what carries its gradient back to the prediction, and the number of values that a mean over the batch
    divides by."""
    if not (isinstance(targets, float) and prediction.ndim):
        targets = _like(prediction, targets)
        if prediction.shape != targets.shape or not prediction.ndim:  # numpy would rather broadcast
            raise ValueError(
                f"{name} compares (N, …) values one by one, but the shapes are {prediction.shape} and {targets.shape}"
            )
        if targets.dtype.kind not in "fiub":
            raise ValueError(f"{name} takes targets that are numbers, not {targets.dtype}")
        targets = targets.astype(prediction.dtype, copy=False)
    k, scale = kernels(prediction), (len(prediction) if count is None else count) * max(1, prod(prediction.shape[1:]))
    y, gradient = k.number_loss(name, prediction, targets, scale, delta)
    return y, lambda g: k.multiply(gradient, g), scale


def _both(back: Callable[[Array], Array]) -> tuple[Callable[[Array], Array], ...]:
    """What is symmetric but for the sign."""
    return back, lambda g: -back(g)
