"""One ONNX node as one call of ours: renames attributes and moves channels from the second axis to the last and back.

`run` raises Unmappable where a node asks for something that no op of ours has a setting for.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
from onnx import NodeProto, helper
from onnx_layout import Array, Attributes, Bring, channels_last, channels_second
from onnx_norms import batch_norm, group_norm, layer_norm
from onnx_sequences import attention, recurrent
from onnx_windows import (
    Unmappable,
    convolution,
    global_pooling,
    padding,
    pooling,
    resizing,
    transposed_convolution,
)  # fmt: skip

from dltrain import ops
from dltrain.backend import Device, to_host
from dltrain.engine import Tensor
from dltrain.nn import LAYERS, Context
from dltrain.optim import OPTIMIZERS, Optimizer


def run(node: NodeProto, inputs: list[Array], device: Device) -> list[Array]:
    """The node's outputs, in ONNX' layout, as numpy arrays."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    attributes = {name: value.decode() if isinstance(value, bytes) else value for name, value in attributes.items()}
    attributes["outputs"] = len(node.output)
    given = iter(inputs)
    inputs = [next(given) if name else None for name in node.input]  # one that is left out has no name
    outputs = ADAPTERS[node.op_type](attributes, inputs, partial(bring_to, device))
    asked = [i for i, name in enumerate(node.output) if name]
    outputs = [outputs[i] for i in asked] if len(outputs) > max(asked) else outputs
    found = [to_host(y.data) if isinstance(y, Tensor) else y for y in outputs]
    if len(found) != len(asked):
        raise Unmappable("a second output: indices of maxima, the mask of dropout")
    return found


def bring_to(device: Device, x: Array, floats: bool = True) -> Any:
    """A Tensor, which holds floats; a plain array of the device where `floats` says that it may be anything."""
    if floats and x.dtype.kind != "f":
        raise Unmappable("whole numbers: a Tensor holds floats")
    if floats and x.dtype != device.dtype:
        raise Unmappable("another precision than the device's")
    return Tensor(device.asarray(x)) if floats else device.asarray(x)


def gemm(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
    x, w = bring(inputs[0]), bring(inputs[1])
    x, w = x.T if a.get("transA") else x, w.T if a.get("transB") else w
    alpha, beta = a.get("alpha", 1.0), a.get("beta", 1.0)
    if len(inputs) == 2:
        return [alpha * ops.dense(x, w, None)]
    c = inputs[2]
    if alpha == beta == 1 and c.shape[-1:] == w.shape[1:] and c.size == w.shape[1]:
        return [ops.dense(x, w, bring(c.reshape(-1)))]
    return [alpha * (x @ w) + beta * bring(c)]


def soft_maximum(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
    return [ops.softmax(bring(inputs[0]), axis=a.get("axis", -1))]


def loss(a: Attributes, inputs: list[Array], bring: Bring) -> list[Any]:
    if a["reduction"] == "none":
        raise Unmappable("a loss for each example")
    last, targets = channels_last(inputs[0]), inputs[1].reshape(-1)
    logits = bring(last.reshape(-1, last.shape[-1]))
    settings: dict[str, Any] = {"count": len(targets)}
    if len(inputs) > 2 or "ignore_index" in a:
        counted = targets != a.get("ignore_index")
        targets = np.where(counted, targets, 0)
        classes = inputs[2] if len(inputs) > 2 else np.ones(last.shape[-1], last.dtype)
        weights = bring(np.where(counted, classes[targets], 0).astype(last.dtype)).data
        settings = {"weights": weights, "count": weights.sum()}
    if a["reduction"] == "sum":
        settings["count"] = 1
    y = ops.cross_entropy(logits, bring(targets, floats=False), **settings)
    return [y, channels_second(ops.log(ops.softmax(bring(last))))][: a["outputs"]]


def simple(op: Callable[..., Any], **names: str) -> Callable[..., Any]:
    """Inputs as they are; names: ONNX' attribute -> our setting."""

    def call(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
        return [op(*map(bring, inputs), **{ours: a[theirs] for theirs, ours in names.items() if theirs in a})]

    return call


def scaled_elu(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
    x = bring(inputs[0])
    return [a["gamma"] * ops.elu(x, alpha=a["alpha"]) if "gamma" in a else ops.selu(x)]


def binary(op: Callable[..., Any]) -> Callable[..., Any]:
    def call(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
        x, y = inputs
        return [op(bring(x), bring(y))]

    return call


def of_many(op: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, inputs, bring: [reduce(op, map(bring, inputs))]


def clipping(a: Attributes, inputs: list[Any], bring: Bring) -> list[Tensor]:
    x, *bounds = inputs
    low, high = (None if b is None else float(b) for b in (*bounds, None, None)[:2])
    return [ops.clip(bring(x), min=low, max=high)]


def choosing(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
    condition, *both = inputs
    return [ops.where(bring(condition, floats=False), *map(bring, both))]


def gathering(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
    """Rows along an axis."""
    x, places = inputs
    if x.ndim == 2 and not a.get("axis", 0) and (places >= 0).all():
        return [ops.embedding(bring(x), bring(places, floats=False))]
    return [ops.index(bring(x), key=(*(slice(None),) * (a.get("axis", 0) % x.ndim), bring(places, floats=False)))]


def gathering_each(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
    """Along one axis the given place, along the others each its own."""
    x, places = inputs
    key = [*np.indices(places.shape)]
    key[a.get("axis", 0)] = places
    return [ops.index(bring(x), key=tuple(bring(k, floats=False) for k in key))]


def gathering_tuples(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
    x, places = inputs
    if a.get("batch_dims"):
        raise Unmappable("batch_dims: places that differ from example to example")
    return [ops.index(bring(x), key=tuple(bring(k, floats=False) for k in np.moveaxis(places, -1, 0)))]


def reduction(op: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
        axes = tuple(map(int, inputs[1])) if len(inputs) > 1 else ()
        axis = axes if axes or a.get("noop_with_empty_axes") else None
        return [op(bring(inputs[0]), axis=axis, keepdims=bool(a.get("keepdims", 1)))]

    return reduce


def size_of_all(op: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
        if len(inputs) > 1 and inputs[1].size:
            raise Unmappable("over some axes: ours is over all")
        return [ops.reshape(op(bring(inputs[0])), shape=(1,) * inputs[0].ndim)]

    return reduce


def reshaping(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
    x, wanted = inputs
    keep = not a.get("allowzero")
    shape = tuple(x.shape[i] if n == 0 and keep else int(n) for i, n in enumerate(wanted))
    return [ops.reshape(bring(x), shape=shape)]


def flatten(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
    shape = inputs[0].shape[: a.get("axis", 1)]
    return [ops.reshape(bring(inputs[0]), shape=(int(np.prod(shape)), -1))]


def splitting(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
    if len(inputs) > 1 and len(set(inputs[1].tolist())) > 1:
        raise Unmappable("parts of different sizes")
    return list(ops.split(bring(inputs[0]), sections=a["outputs"], axis=a.get("axis", 0)))


def slicing(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
    x, starts, ends, *rest = inputs
    axes = rest[0] if rest else np.arange(len(starts))
    steps = rest[1] if len(rest) > 1 else np.ones(len(starts), int)
    key = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        key[axis] = slice(int(start), int(end), int(step))
    return [ops.index(bring(x), key=tuple(key))]


def squeeze(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
    x, axes = inputs
    gone = {int(i) % x.ndim for i in axes}
    return [ops.index(bring(x), key=tuple(0 if i in gone else slice(None) for i in range(x.ndim)))]


def unsqueeze(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
    x, axes = inputs
    dimensions = x.ndim + len(axes)
    new = {int(i) % dimensions for i in axes}
    return [ops.index(bring(x), key=tuple(None if i in new else slice(None) for i in range(dimensions)))]


def dropout(a: Attributes, inputs: list[Array], bring: Bring) -> list[Tensor]:
    x, *rest = inputs
    rate = float(rest[0]) if rest else a.get("ratio", 0.5)
    training = bool(rest[1]) if len(rest) > 1 else False
    if training and rate > 0:
        raise Unmappable("the mask is numpy's, of a certain seed")
    return [LAYERS["dropout"](x.shape[1:], rate=rate)(bring(x), Context(training=training))]


def updating(make: Callable[[Attributes], tuple[Optimizer, float]]) -> Callable[..., Any]:
    """One update: rate R, step T, weights, gradients and state arrays -> new weights and state arrays.

    make: attributes -> (optimizer, factor of the rate). norm_coefficient · x is the gradient of a squared penalty. At
    step 0 nothing is said about a start; here that is a step so late that the start no longer counts.
    """

    def update(a: Attributes, inputs: list[Array], bring: Bring) -> list[Array]:
        lr, step, *rest = inputs
        a["step"] = int(step)
        optimizer, factor = make(a)
        count = len(rest) // (2 + len(optimizer.slots))
        weights, grads, *state = (rest[i * count : (i + 1) * count] for i in range(2 + len(optimizer.slots)))
        found = []
        for x, g, *slots in zip(weights, grads, *state, strict=True):
            w, regularised = bring(x.copy()).data, bring(g + x.dtype.type(a["norm_coefficient"]) * x).data
            arrays = {f"w/{name}": bring(s.copy()).data for name, s in zip(optimizer.slots, slots, strict=True)}
            optimizer.update({"w": w}, {"w": regularised}, arrays, float(lr) * factor, a["step"] or 10**9)
            found.append([w, *arrays.values()])
        return [to_host(array) for arrays in zip(*found, strict=True) for array in arrays]

    return update


def momentum(a: Attributes) -> tuple[Optimizer, float]:
    if a["step"] and a["beta"] != 1:
        raise Unmappable("a gradient that counts less from the second step on")
    return OPTIMIZERS["nesterov" if a["mode"] == "nesterov" else "momentum"](momentum=a["alpha"]), 1.0


def adagrad(a: Attributes) -> tuple[Optimizer, float]:
    return OPTIMIZERS["adagrad"](epsilon=a["epsilon"]), 1 / (1 + a["step"] * a["decay_factor"])


def adam(a: Attributes) -> tuple[Optimizer, float]:
    """Theirs adds epsilon before the correction of the start, ours after it, as the paper does."""
    late = 1 - a["beta"] ** (a["step"] or 10**9)
    return OPTIMIZERS["adam"](beta1=a["alpha"], beta2=a["beta"], epsilon=a["epsilon"] / late**0.5), 1.0


ADAPTERS: dict[str, Callable[..., Any]] = {
    "Abs": simple(ops.abs),
    "Adagrad": updating(adagrad),
    "Adam": updating(adam),
    "Add": binary(lambda x, y: x + y),
    "Attention": attention,
    "AveragePool": pooling(ops.average_pool),
    "BatchNormalization": batch_norm,
    "Clip": clipping,
    "Concat": simple(ops.concatenate, axis="axis"),
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "Cos": simple(ops.cos),
    "Div": binary(lambda x, y: x / y),
    "Dropout": dropout,
    "Elu": simple(ops.elu, alpha="alpha"),
    "Exp": simple(ops.exp),
    "Flatten": flatten,
    "Gather": gathering,
    "GatherElements": gathering_each,
    "GatherND": gathering_tuples,
    "GRU": recurrent("GRU"),
    "Gelu": simple(ops.gelu, approximate="approximate"),
    "Gemm": gemm,
    "GlobalAveragePool": global_pooling("global_average_pool"),
    "GlobalMaxPool": global_pooling("global_max_pool"),
    "GroupNormalization": group_norm,
    "HardSwish": simple(ops.hard_swish),
    "InstanceNormalization": group_norm,
    "LSTM": recurrent("LSTM"),
    "LayerNormalization": layer_norm,
    "LeakyRelu": simple(ops.leaky_relu, alpha="slope"),
    "Log": simple(ops.log),
    "MatMul": simple(ops.matmul),
    "Max": of_many(ops.maximum),
    "MaxPool": pooling(ops.max_pool),
    "Min": of_many(ops.minimum),
    "Momentum": updating(momentum),
    "Mul": binary(lambda x, y: x * y),
    "Neg": simple(ops.negative),
    "PRelu": simple(ops.prelu),
    "Pad": padding,
    "Pow": binary(lambda x, y: x**y),
    "RNN": recurrent("RNN"),
    "ReduceL1": size_of_all(ops.absolute_sum),
    "ReduceL2": size_of_all(ops.p_norm),
    "ReduceMax": reduction(ops.max),
    "ReduceMean": reduction(ops.mean),
    "ReduceSum": reduction(ops.sum),
    "ReduceSumSquare": size_of_all(ops.square_sum),
    "Relu": simple(ops.relu),
    "Reshape": reshaping,
    "Resize": resizing,
    "Selu": scaled_elu,
    "Sigmoid": simple(ops.sigmoid),
    "Sin": simple(ops.sin),
    "Slice": slicing,
    "Softplus": simple(ops.softplus),
    "Split": splitting,
    "Sqrt": simple(ops.sqrt),
    "Softmax": soft_maximum,
    "SoftmaxCrossEntropyLoss": loss,
    "Squeeze": squeeze,
    "Sub": binary(lambda x, y: x - y),
    "Swish": simple(ops.silu),
    "Tanh": simple(ops.tanh),
    "Transpose": simple(ops.transpose, perm="axes"),
    "Unsqueeze": unsqueeze,
    "Where": choosing,
}
