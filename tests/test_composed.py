"""Whole networks against MyGrad, an engine by other people: the loss and every gradient, in float64.

MyGrad puts channels second, knows no groups and takes only windows that tile their input; the twins below are built
from its own layers.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import mygrad
import numpy as np
import pytest
from builders import AFFINE, LEAVES, build
from mygrad.nnet import activations
from mygrad.nnet.layers import conv_nd, max_pool
from mygrad.nnet.losses import softmax_crossentropy
from twins_of_sequences import NETS, twin_of_attention, twin_of_positional, twin_of_recurrent

from dltrain.backend import Device, to_host
from dltrain.engine import Tensor, distinct, gradients
from dltrain.nn import INPUT, LOSSES, NORMS, Context, Layer

Array = Any
LayerList = list[tuple[str, dict[str, Any]]]

# --- the twins: (layer of ours, its parameters as MyGrad tensors, x) -> y, channels second ----------------------------


def erf(x: Any) -> Any:
    """Its series without alternating signs; MyGrad differentiates every term. Beyond 5.5 it is 1 to 1e-14."""
    x = mygrad.clip(x, -5.5, 5.5)
    term = total = x
    for n in range(1, 120):
        term = term * (2 * x * x / (2 * n + 1))
        total = total + term
    return 2 / np.sqrt(np.pi) * mygrad.exp(-x * x) * total


ACTIVATIONS: dict[str | None, Callable[[Any], Any]] = {
    None: lambda x: x,
    "relu": activations.relu,
    "relu6": lambda x: mygrad.clip(x, 0, 6),
    "leaky_relu": lambda x: activations.leaky_relu(x, 0.01),
    "sigmoid": activations.sigmoid,
    "tanh": activations.tanh,
    "softmax": lambda x: activations.softmax(x, axis=1),
    "elu": lambda x: activations.elu(x, alpha=1.0),
    "selu": activations.selu,
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "silu": lambda x: x * activations.sigmoid(x),
    "hard_swish": lambda x: x * mygrad.clip(x + 3, 0, 6) / 6,
    "softplus": lambda x: mygrad.logaddexp(0, x),
}


def weight_of(layer: Any, p: dict[str, Any]) -> Any:
    if (spectral := layer.spectral_norm) is None:
        return p["weight"]
    u, v = to_host(spectral.u.data), to_host(spectral.v.data)
    matrix = mygrad.moveaxis(p["weight"], spectral.axis, -1).reshape(-1, len(u))
    return p["weight"] / mygrad.sum(matrix * np.outer(v, u))


def finished(layer: Any, p: dict[str, Any], y: Any) -> Any:
    """With the norm and the activation, of a layer with weights."""
    if norm := layer.norm:
        y = TWINS[norm.kind](norm, {name: p[f"norm.{name}"] for name in norm.parameters}, y)
    return ACTIVATIONS[layer.activation](y)


def twin_of_conv(layer: Any, p: dict[str, Any], x: Any) -> Any:
    weight = mygrad.transpose(w := weight_of(layer, p), (w.ndim - 1, w.ndim - 2, *range(w.ndim - 2)))
    padding = [before for before, _ in layer.window.padding]
    settings = {"stride": layer.window.stride, "padding": padding, "dilation": layer.window.dilation}
    inputs, outputs = x.shape[1] // layer.groups, weight.shape[0] // layer.groups
    parts = [
        conv_nd(x[:, i * inputs : (i + 1) * inputs], weight[i * outputs : (i + 1) * outputs], **settings)
        for i in range(layer.groups)
    ]
    y = mygrad.concatenate(parts, axis=1)
    if "bias" in p:
        y = y + p["bias"].reshape(1, -1, *(1,) * (y.ndim - 2))
    return finished(layer, p, y)


def gathered(x: Any, places: Array, axis: int) -> Any:
    return x[(*[slice(None)] * axis, places)]


def twin_of_conv_transpose(layer: Any, p: dict[str, Any], x: Any) -> Any:
    """A convolution of the input with zeros between its positions and around it, with kernels turned round."""
    weight, n = weight_of(layer, p), x.ndim - 2
    kernel, settings = weight.shape[:n], layer.settings
    stride, dilation, padding, more = (
        v if isinstance(v := settings[key], tuple) else (v,) * n
        for key in ("stride", "dilation", "padding", "output_padding")
    )
    for axis, (k, s, d, q, o) in enumerate(zip(kernel, stride, dilation, padding, more, strict=True), 2):
        size, edge = x.shape[axis], d * (k - 1)
        spread = np.full(2 * edge + (size - 1) * s + 1 + o, size)  # where nothing stands: a zero at the end
        spread[edge : edge + (size - 1) * s + 1 : s] = np.arange(size)
        zero = np.zeros([1 if i == axis else m for i, m in enumerate(x.shape)])
        x = gathered(mygrad.concatenate([x, zero], axis=axis), spread[q : len(spread) - q], axis)
    turned = mygrad.transpose(weight[(slice(None, None, -1),) * n], (n, n + 1, *range(n)))
    inputs = x.shape[1] // layer.groups
    parts = [
        conv_nd(
            x[:, i * inputs : (i + 1) * inputs], turned[:, i * inputs : (i + 1) * inputs], stride=1, dilation=dilation
        )
        for i in range(layer.groups)
    ]
    y = mygrad.concatenate(parts, axis=1)
    if "bias" in p:
        y = y + p["bias"].reshape(1, -1, *(1,) * n)
    return finished(layer, p, y)


def twin_of_pad(layer: Any, p: dict[str, Any], x: Any) -> Any:
    for axis, (before, after) in enumerate(layer.padding, 2):
        places = np.arange(-before, (size := x.shape[axis]) + after)
        if layer.mode == "zero":
            x = mygrad.concatenate([x, np.zeros([1 if i == axis else m for i, m in enumerate(x.shape)])], axis=axis)
            places = np.where((places < 0) | (places >= size), size, places)
        elif layer.mode == "replicate":
            places = np.clip(places, 0, size - 1)
        else:
            places = size - 1 - np.abs(size - 1 - np.abs(places))
        x = gathered(x, places, axis)
    return x


def twin_of_upsample(layer: Any, p: dict[str, Any], x: Any) -> Any:
    for axis, out in enumerate(layer.out_shape[:-1], 2):
        size = x.shape[axis]
        places = np.clip((np.arange(out) + 0.5) * size / out - 0.5, 0, size - 1)
        first = np.floor(places).astype(int)
        if layer.mode == "nearest":
            x = gathered(x, np.arange(out) * size // out, axis)
        else:
            share = (places - first).reshape(-1, *(1,) * (x.ndim - axis - 1))
            x = gathered(x, first, axis) * (1 - share) + gathered(x, np.minimum(first + 1, size - 1), axis) * share
    return x


def twin_of_reshape(layer: Any, p: dict[str, Any], x: Any) -> Any:
    y = mygrad.moveaxis(x, 1, -1).reshape(len(x), *layer.out_shape)
    return mygrad.moveaxis(y, -1, 1)


def twin_of_softmax(layer: Any, p: dict[str, Any], x: Any) -> Any:
    y = mygrad.exp(mygrad.moveaxis(x, 1, -1))
    return mygrad.moveaxis(y / mygrad.sum(y, axis=layer.settings["axis"], keepdims=True), -1, 1)


def twin_of_dense(layer: Any, p: dict[str, Any], x: Any) -> Any:
    y = mygrad.matmul(mygrad.moveaxis(x, 1, -1), weight_of(layer, p))
    return finished(layer, p, mygrad.moveaxis(y + p["bias"] if "bias" in p else y, -1, 1))


def twin_of_average_pool(layer: Any, p: dict[str, Any], x: Any) -> Any:
    """A convolution of each channel with equal weights."""
    kernel = np.full((1, 1, *layer.window.kernel), 1 / np.prod(layer.window.kernel))
    channels = [conv_nd(x[:, i : i + 1], kernel, stride=layer.window.stride) for i in range(x.shape[1])]
    return mygrad.concatenate(channels, axis=1)


def twin_of_flatten(layer: Any, p: dict[str, Any], x: Any) -> Any:
    return mygrad.moveaxis(x, 1, -1).reshape(len(x), -1)


def over_everything(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda layer, p, x: function(x, axis=tuple(range(2, x.ndim)))


def at_every_position(xs: Sequence[Any]) -> list[Any]:
    dimensions = max(x.ndim for x in xs)
    return [x.reshape(*x.shape, *(1,) * (dimensions - x.ndim)) for x in xs]


def standardised(x: Any, axes: Any, epsilon: float) -> Any:
    centred = x - mygrad.mean(x, axis=axes, keepdims=True)
    return centred / mygrad.sqrt(mygrad.mean(centred * centred, axis=axes, keepdims=True) + epsilon)


def grouped(x: Any, groups: int, epsilon: float) -> Any:
    return standardised(x.reshape(len(x), groups, -1), 2, epsilon).reshape(*x.shape)


def affine(p: dict[str, Any], x: Any) -> Any:
    """Scaled and shifted by channel, where there is something to do it by."""
    scale, shift = (
        p[name].reshape(1, -1, *(1,) * (x.ndim - 2)) if p else i for i, name in enumerate(("scale", "shift"))
    )
    return x * scale + shift if p else x


TWINS: dict[str, Callable[..., Any]] = {
    "add": lambda layer, p, *xs: sum(at_every_position(xs)),
    "attention": twin_of_attention,
    "average_pool": twin_of_average_pool,
    "concat": lambda layer, p, *xs: mygrad.concatenate(xs, axis=1),
    "conv": twin_of_conv,
    "conv_transpose": twin_of_conv_transpose,
    "dense": twin_of_dense,
    "depthwise_conv": twin_of_conv,
    "dropout": lambda layer, p, x: x,  # not while training
    "embedding": lambda layer, p, x: mygrad.moveaxis(p["weight"][x.data.astype(int)], -1, 1),
    "flatten": twin_of_flatten,
    "global_average_pool": over_everything(mygrad.mean),
    "global_max_pool": over_everything(mygrad.max),
    "batch_norm": lambda layer, p, x: affine(p, x / np.sqrt(1 + layer.epsilon)),  # the statistics it starts with
    "group_norm": lambda layer, p, x: affine(p, grouped(x, layer.groups, layer.epsilon)),
    "gru": twin_of_recurrent,
    "instance_norm": lambda layer, p, x: affine(p, standardised(x, tuple(range(2, x.ndim)), layer.epsilon)),
    "layer_norm": lambda layer, p, x: affine(p, standardised(x, 1, layer.epsilon)),
    "lstm": twin_of_recurrent,
    "max_pool": lambda layer, p, x: max_pool(x, layer.window.kernel, layer.window.stride),
    "multiply": lambda layer, p, *xs: prod(at_every_position(xs)),
    "pad": twin_of_pad,
    "positional": twin_of_positional,
    "prelu": lambda layer, p, x: mygrad.where(x > 0, x, x * p["slope"].reshape(1, -1, *(1,) * (x.ndim - 2))),
    "reshape": twin_of_reshape,
    "rnn": twin_of_recurrent,
    "softmax": twin_of_softmax,
    "upsample": twin_of_upsample,
} | {
    name: (lambda layer, p, x, name=name: ACTIVATIONS[name](x)) for name in ACTIVATIONS if name not in (None, "softmax")
}


# --- networks ---------------------------------------------------------------------------------------------------------

Net = tuple[tuple[int, ...], LayerList, str]  # input shape, layers, loss


def conv(channels: int, activation: str = "none", **settings: Any) -> tuple[str, dict[str, Any]]:
    return "conv", {"channels": channels, "activation": activation} | settings


def dense(units: int, activation: str = "none", **settings: Any) -> tuple[str, dict[str, Any]]:
    return "dense", {"units": units, "activation": activation} | settings


def pool(kind: str, kernel: Any, **settings: Any) -> tuple[str, dict[str, Any]]:
    return f"{kind}_pool", {"kernel": kernel} | settings


FIXED: dict[str, Net] = {
    "dense only": ((6,), [dense(5, "sigmoid"), dense(3)], "cross_entropy"),
    "regression": ((4,), [dense(6, "tanh"), dense(2)], "mse"),
    "LeNet-5 made small": (
        (12, 12, 1),
        [
            conv(2, "tanh", kernel=5, padding=2), pool("average", 2), conv(4, "tanh"), pool("average", 2),
            ("flatten", {}), dense(6, "tanh"), dense(4),
        ],
        "cross_entropy",
    ),
    "two blocks": (
        (8, 8, 3),
        [
            conv(4, "relu", padding="same"), conv(4, "relu", padding="same"), pool("max", 2),
            ("dropout", {"rate": 0.25}), conv(6, padding="same"), ("leaky_relu", {}), pool("max", (2, 4)),
            ("flatten", {}), dense(5), ("relu", {}), dense(3, bias=False),
        ],
        "cross_entropy",
    ),
    "depthwise and pointwise": (
        (7, 6, 4),
        [
            conv(4, groups=4, stride=(2, 1)), conv(6, "leaky_relu", kernel=1),
            conv(6, groups=2, kernel=(3, 2), dilation=(1, 2), bias=False), ("sigmoid", {}),
            ("global_average_pool", {}), ("softmax", {}), dense(3),
        ],
        "mse",
    ),
    "along a line": (
        (15, 2),
        [
            conv(3, "relu", stride=2), pool("max", 3, stride=2), ("tanh", {}),
            ("global_max_pool", {}), dense(4, "softmax"), dense(3),
        ],
        "cross_entropy",
    ),
    "every other activation": (
        (4, 4, 2),
        [
            conv(3, "elu", kernel=2), ("prelu", {}), conv(4, "selu", kernel=2), ("softplus", {}),
            conv(3, "gelu", kernel=1), ("elu", {}), ("flatten", {}), dense(5, "silu"), ("selu", {}),
            dense(4, "softplus"), ("gelu", {}), ("silu", {}), ("prelu", {}), dense(3),
        ],
        "cross_entropy",
    ),
    "larger again": (
        (5, 4, 2),
        [
            ("depthwise_conv", {"kernel": 2, "multiplier": 2, "activation": "tanh"}), ("pad", {"mode": "reflect"}),
            ("conv_transpose", {"channels": 4, "stride": 2, "padding": 1, "output_padding": 1, "groups": 2,
             "activation": "hard_swish"}),
            ("upsample", {"factor": (1, 3), "mode": "bilinear"}), ("softmax", {"axis": 1}),
            ("pad", {"padding": (1, 2), "mode": "replicate"}), ("relu6", {}), ("upsample", {"factor": (2, 1)}),
            ("conv_transpose", {"channels": 2, "kernel": (2, 3), "dilation": (2, 1), "activation": "none"}),
            ("hard_swish", {}), ("pad", {"padding": (0, 1)}), ("reshape", {"shape": (-1, 5)}),
            ("global_average_pool", {}), dense(3),
        ],
        "cross_entropy",
    ),
    "joined": (
        (6, 6, 2),
        [
            conv(3, "tanh", padding=1), conv(3, "relu", padding=1), ("add", {"of": "conv1"}),
            conv(4, "silu", kernel=1, **{"from": "conv1"}), ("concat", {"of": ("add1", "conv3", "input")}),
            ("global_average_pool", {}), dense(9, "sigmoid"), ("multiply", {"of": "concat1"}),
            ("add", {"of": ("dense1", "multiply1", "concat1")}), ("flatten", {}), dense(3),
        ],
        "cross_entropy",
    ),
    "normalised": (
        (6, 5, 2),
        [
            conv(4, kernel=2), ("batch_norm", {"epsilon": 0.2}), ("instance_norm", {}), ("tanh", {}),
            conv(6, "relu", padding=1),
            ("group_norm", {"groups": 3, "epsilon": 0.1}), conv(4, kernel=1), ("layer_norm", {}), ("tanh", {}),
            ("instance_norm", {"affine": False}), ("flatten", {}), dense(6), ("group_norm", {"groups": 2}),
            ("layer_norm", {"epsilon": 0.01}), dense(3),
        ],
        "cross_entropy",
    ),
    "normalised within": (
        (6, 5, 2),
        [
            conv(4, "relu", kernel=2, norm=NORMS["batch_norm"](momentum=0.1, **AFFINE), spectral_norm=True),
            ("depthwise_conv", {"kernel": 2, "norm": NORMS["group_norm"](groups=2, **AFFINE), "spectral_norm": True}),
            ("conv_transpose", {"channels": 4, "groups": 2, "spectral_norm": True, "activation": "tanh"}),
            ("flatten", {}), dense(6, "gelu", norm=NORMS["layer_norm"](**AFFINE), spectral_norm=True), dense(3),
        ], "cross_entropy"),
    "residual dense layers": (
        (5,),
        [
            dense(4, "tanh"), dense(4, "relu"), ("add", {"of": "dense1"}), dense(4, "sigmoid"),
            ("multiply", {"of": ("add1", "dense1", "dense3")}), ("concat", {"of": "input"}), dense(3),
        ],
        "mse",
    ),
    "in space": (
        (5, 4, 5, 1),
        [
            conv(2, "relu", kernel=2, dilation=2), conv(3, kernel=(1, 2, 3), padding=(0, 1, 1)),
            pool("average", (3, 1, 1), stride=1), ("flatten", {}), dense(2),
        ],
        "cross_entropy",
    ),
}  # fmt: skip
FIXED |= NETS


EXAMPLES = 3


@pytest.mark.parametrize("name", FIXED)
def test_agrees_with_mygrad(name: str, device: Device):
    in_shape, layers, loss_name = FIXED[name]
    model = build(layers, in_shape, init="glorot_uniform")
    model.initialise(1, device)
    for i, p in enumerate(model.parameters.values()):
        if p.kind == "bias":
            p.data = device.asarray(distinct(*p.shape, seed=i))
    x = distinct(EXAMPLES, *in_shape)
    x = np.abs(x) // 1 if layers[0][0] == "embedding" else x
    outputs = model.out_shape[0]
    targets = np.arange(EXAMPLES) % outputs if loss_name == "cross_entropy" else distinct(EXAMPLES, outputs, seed=9)

    ours = Tensor(device.asarray(x))
    parameters = model.parameters
    loss = LOSSES[loss_name]()(model(ours, Context()), device.asarray(targets), EXAMPLES)
    found = gradients(loss, [ours, *parameters.values()])

    theirs = mygrad.tensor(np.moveaxis(x, -1, 1) if x.ndim > 2 else x)
    twins = {key: mygrad.tensor(to_host(p.data)) for key, p in parameters.items()}
    values: dict[str, Any] = {INPUT: theirs}
    for layer in model.layers:
        y = TWINS[layer.kind](layer, own(layer, twins), *(values[name] for name in model.sources[layer.name]))
        values[layer.name] = y
    their_loss = softmax_crossentropy(y, targets) if loss_name == "cross_entropy" else mygrad.mean((y - targets) ** 2)
    their_loss.backward()

    np.testing.assert_allclose(float(to_host(loss.data)), their_loss.item(), rtol=1e-12)
    grad = np.zeros(x.shape) if theirs.grad is None else theirs.grad
    expected = [np.moveaxis(grad, 1, -1) if x.ndim > 2 else grad, *(t.grad for t in twins.values())]
    for key, mine, other in zip(["input", *parameters], found, expected, strict=True):
        np.testing.assert_allclose(to_host(mine), other, rtol=1e-8, atol=1e-14, err_msg=f"{key} in {layers}")


def own(layer: Layer, twins: dict[str, Any]) -> dict[str, Any]:
    return {key: twins[f"{layer.name}.{key}"] for key in layer.parameters}


def test_the_networks_hold_every_layer():
    assert {kind for _, layers, _ in FIXED.values() for kind, _ in layers} == set(TWINS) == LEAVES
