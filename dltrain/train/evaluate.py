"""Looking without learning: losses and scores over a split, and predictions."""

from functools import partial
from math import isfinite
from typing import Any

import numpy as np

from dltrain.backend import Device, array_module, to_host
from dltrain.engine import no_grad
from dltrain.errors import DivergedError
from dltrain.nn import Context, Loss, Model
from dltrain.ops import softmax
from dltrain.train.feed import Feed
from dltrain.train.shards import Crew, Sums

Array = Any


def evaluate(model: Model, loss: Loss, feed: Feed, crew: Crew, batch_size: int, shard_size: int) -> dict[str, Any]:
    """{"loss", "accuracy", "examples", "per_class", "confusion"} of a split; only loss and examples in regression.

    The loss is the data loss, a mean over examples. confusion[i][j]: how many of class i were taken for class j.
    Raises DivergedError when the loss is not finite.
    """
    total, confusion = 0.0, 0

    def shard_sums(batch: Array, shard: int) -> Sums:
        x, targets = feed.examples(batch[shard * shard_size : (shard + 1) * shard_size])
        output = model(x, Context())
        sums = {"loss": loss(output, targets, 1).data}
        if loss.classification:
            classes = model.out_shape[-1]
            pairs = targets * classes + output.data.argmax(axis=1)  # (n,) one number for (true, predicted)
            sums["confusion"] = array_module(pairs).bincount(pairs, minlength=classes * classes)
        return sums

    with no_grad():
        for start in range(0, feed.size, batch_size):
            batch = np.arange(start, min(feed.size, start + batch_size))
            sums = crew.run(-(-len(batch) // shard_size), partial(shard_sums, batch))
            total += float(to_host(sums["loss"]))
            if loss.classification:
                confusion = confusion + to_host(sums["confusion"])
    if not isfinite(total):
        raise DivergedError(f"the loss over these {feed.size:,} examples is {total}: the weights have grown too large")
    result: dict[str, Any] = {"loss": total / feed.size, "examples": feed.size}
    if loss.classification:
        result |= _from_confusion(np.reshape(confusion, (model.out_shape[-1], -1)))
    return result


def _from_confusion(confusion: Array) -> dict[str, Any]:
    """Rates without a case are null: a class that never occurs has no recall."""
    right = np.diag(confusion)
    occurred, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    per_class = [
        {
            "class": i,
            "examples": int(occurred[i]),
            "recall": float(right[i] / occurred[i]) if occurred[i] else None,
            "precision": float(right[i] / predicted[i]) if predicted[i] else None,
        }
        for i in range(len(confusion))
    ]
    return {
        "accuracy": float(right.sum() / confusion.sum()),
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }


def predict(model: Model, loss: Loss, x: Array, device: Device, batch_size: int) -> Array:
    """Outputs for inputs that are ready for the model, on the host: probabilities in classification. (N, *out_shape)"""
    parts = []
    with no_grad():
        for start in range(0, len(x), batch_size):
            output = model(device.asarray(x[start : start + batch_size]), Context())
            parts.append(to_host((softmax(output) if loss.classification else output).data))
    return np.concatenate(parts)
