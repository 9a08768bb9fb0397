"""Nodes of ONNX that normalise, as calls of ours; see onnx_adapter."""

from typing import Any

import numpy as np
from onnx_layout import Array, Attributes, Bring, channels_last, channels_second

from dltrain import ops
from dltrain.backend import to_host
from dltrain.nn import LAYERS, Context


def layer_norm(a: Attributes, inputs: list[Array], bring: Bring) -> list[Any]:
    """Over several axes where ours is over the last one; also the mean and 1/σ that each row was normalised by."""
    x, *affine = inputs
    axis, epsilon = a.get("axis", -1) % x.ndim, a.get("epsilon", 1e-5)
    each, kept = int(np.prod(x.shape[axis:])), (*x.shape[:axis], *(1,) * (x.ndim - axis))
    rows, parts = bring(x.reshape(*x.shape[:axis], each)), [*(bring(part.reshape(each)) for part in affine), None]
    mean = rows.mean(axis=-1, keepdims=True)
    deviation = (((rows - mean) ** 2).mean(axis=-1, keepdims=True) + epsilon).sqrt()
    y = ops.layer_norm(rows, parts[0], parts[1], epsilon=epsilon)
    return [y.reshape(*x.shape), mean.reshape(*kept), (1 / deviation).reshape(*kept)][: a["outputs"]]


def group_norm(a: Attributes, inputs: list[Array], bring: Bring) -> list[Array]:
    """By as many groups as channels where the node does not say: an instance norm."""
    x, scale, shift = inputs
    settings = {"groups": a.get("num_groups", x.shape[1]), "epsilon": a.get("epsilon", 1e-5)}
    return [channels_second(ops.group_norm(bring(channels_last(x)), bring(scale), bring(shift), **settings))]


def batch_norm(a: Attributes, inputs: list[Array], bring: Bring) -> list[Array]:
    """ONNX' momentum is the share of what was before, ours that of what is new; its variance is divided by n."""
    x, scale, shift, *running = inputs
    layer = LAYERS["batch_norm"](channels_last(x).shape[1:], epsilon=a.get("epsilon", 1e-5))
    layer.scale.data, layer.shift.data = (bring(part).data for part in (scale, shift))
    layer.running_mean.data, layer.running_variance.data = (bring(part).data for part in running)
    y = channels_second(layer(bring(channels_last(x)), Context(training=bool(a.get("training_mode")))))
    if not a.get("training_mode"):
        return [y]
    *_, mean, variance = ops.batch_norm(bring(channels_last(x)), None, None)
    kept = np.float32(a.get("momentum", 0.9))
    both = zip(running, (mean, variance), strict=True)
    return [y, *(kept * before + (1 - kept) * to_host(now.data) for before, now in both)]
