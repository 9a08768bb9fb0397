"""Every layer's shapes, parameters and arithmetic, settled before any value exists; what does not fit is refused."""

import re
from dataclasses import dataclass, field
from math import prod
from typing import Any, get_args

import numpy as np
import pytest
from builders import AFFINE, BATCH_NORM, LEAVES, build
from conftest import device_of

from dltrain.backend import Device, to_host
from dltrain.engine import Tensor, distinct, gradients
from dltrain.errors import ShapeError
from dltrain.nn import LAYERS, NORMS, ActivationName, Context, Layer, Network, Penalty

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """A layer with these settings on this input gives this output, with these parameters."""

    kind: str
    in_shape: Shape
    settings: dict[str, Any]
    out_shape: Shape
    parameters: dict[str, Shape] = field(default_factory=dict)
    arithmetic: str = ""
    multiply_adds: int = 0
    activation: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.settings} on {self.in_shape}"


def wb(*weight: int, bias: bool = True) -> dict[str, Shape]:
    return {"weight": weight} | ({"bias": weight[-1:]} if bias else {})


def normed(*weight: int) -> dict[str, Shape]:
    return {"weight": weight, "norm.scale": weight[-1:], "norm.shift": weight[-1:]}


def cells(channels: int, units: int, gates: int, bias: bool = True) -> dict[str, Shape]:
    width = gates * units
    return {"weight": (channels, width), "recurrent_weight": (units, width)} | (
        {"bias": (width,), "recurrent_bias": (width,)} if bias else {}
    )


def scaled(channels: int) -> dict[str, Shape]:
    return {"scale": (channels,), "shift": (channels,)}


ROWS = [
    Row("dense", (5,), {"units": 3}, (3,), wb(5, 3), "5·3 + 3 = 18", 15),
    Row("dense", (1,), {"units": 1, "bias": False}, (1,), wb(1, 1, bias=False), "1·1 = 1", 1),
    Row("dense", (4096,), {"units": 4096, "activation": "relu"}, (4096,), wb(4096, 4096),
        "4096·4096 + 4096 = 16,781,312", 4096**2, "relu"),
    Row("dense", (4,), {"units": 3, "activation": "softmax"}, (3,), wb(4, 3), "4·3 + 3 = 15", 12, "softmax"),
    Row("dense", (4,), {"units": 3, "trainable": False}, (3,), wb(4, 3), "4·3 + 3 = 15", 12),
    Row("dense", (4,), {"units": 3, "penalty": Penalty(l1=1.0)}, (3,), wb(4, 3), "4·3 + 3 = 15", 12),
    Row("conv", (4, 1), {"channels": 1, "trainable": False, "penalty": Penalty()}, (2, 1), wb(3, 1, 1), "3·1·1 + 1 = 4",
        2 * 3),
    Row("dense", (4,), {"units": 3, "activation": "none"}, (3,), wb(4, 3), "4·3 + 3 = 15", 12),
    # a 6x6 image padded to 8x8, 3 kernels of 3x3 without bias: 27 weights
    Row("conv", (6, 6, 1), {"channels": 3, "padding": 1, "bias": False}, (6, 6, 3), wb(3, 3, 1, 3, bias=False),
        "3·3·1·3 = 27", 6 * 6 * 27),
    Row("conv", (32, 32, 32), {"channels": 64, "padding": "same"}, (32, 32, 64), wb(3, 3, 32, 64),
        "3·3·32·64 + 64 = 18,496", 32 * 32 * 18432),
    Row("conv", (28, 28, 1), {"channels": 6, "kernel": 5, "activation": "tanh"}, (24, 24, 6), wb(5, 5, 1, 6),
        "5·5·1·6 + 6 = 156", 24 * 24 * 150, "tanh"),
    Row("conv", (9, 8, 4), {"channels": 6, "kernel": (3, 2), "stride": (2, 3), "padding": (1, 0), "groups": 2},
        (5, 3, 6), wb(3, 2, 2, 6), "3·2·2·6 + 6 = 78", 15 * 72),
    Row("conv", (7, 7, 5), {"channels": 5, "groups": 5, "stride": 2, "padding": "same"}, (4, 4, 5), wb(3, 3, 1, 5),
        "3·3·1·5 + 5 = 50", 16 * 45),
    Row("conv", (11, 2), {"channels": 4, "kernel": 3, "dilation": 2}, (7, 4), wb(3, 2, 4), "3·2·4 + 4 = 28", 7 * 24),
    Row("conv", (4, 5, 6, 1), {"channels": 2, "kernel": (1, 2, 3)}, (4, 4, 4, 2), wb(1, 2, 3, 1, 2),
        "1·2·3·1·2 + 2 = 14", 64 * 12),
    Row("depthwise_conv", (7, 7, 5), {"kernel": 3, "stride": 2, "padding": "same"}, (4, 4, 5), wb(3, 3, 1, 5),
        "3·3·1·5 + 5 = 50", 16 * 45),
    Row("depthwise_conv", (8, 3), {"kernel": 2, "multiplier": 2, "dilation": 2, "bias": False, "activation": "relu6",
        "trainable": False, "penalty": Penalty(l1=1.0)}, (6, 6), wb(2, 1, 6, bias=False), "2·1·6 = 12", 72, "relu6"),
    Row("conv_transpose", (4, 5, 3), {"channels": 2}, (6, 7, 2), {"weight": (3, 3, 2, 3), "bias": (2,)},
        "3·3·2·3 + 2 = 56", 20 * 54),
    Row("conv_transpose", (4, 5, 4), {"channels": 6, "kernel": (4, 3), "stride": 2, "padding": 1,
        "output_padding": (0, 1), "groups": 2, "activation": "hard_swish"}, (8, 10, 6),
        {"weight": (4, 3, 3, 4), "bias": (6,)}, "4·3·3·4 + 6 = 150", 20 * 144, "hard_swish"),
    Row("conv_transpose", (5, 1), {"channels": 1, "kernel": 2, "dilation": 3, "bias": False, "trainable": False,
        "penalty": Penalty(l1=1.0)}, (8, 1), {"weight": (2, 1, 1)}, "2·1·1 = 2", 10),
    Row("conv_transpose", (2, 1, 2, 1), {"channels": 1, "kernel": (1, 2, 1), "stride": (2, 1, 3)}, (3, 2, 4, 1),
        {"weight": (1, 2, 1, 1, 1), "bias": (1,)}, "1·2·1·1·1 + 1 = 3", 8),
    Row("conv", (6, 6, 1), {"channels": 3, "norm": BATCH_NORM, "spectral_norm": True}, (4, 4, 3), normed(3, 3, 1, 3),
        "3·3·1·3 + 2·3 = 33", 16 * 27),
    Row("dense", (5,), {"units": 4, "norm": BATCH_NORM, "bias": True, "activation": "relu", "trainable": False}, (4,),
        {"weight": (5, 4), "bias": (4,), "norm.scale": (4,), "norm.shift": (4,)}, "5·4 + 4 + 2·4 = 32", 20, "relu"),
    Row("dense", (5,), {"units": 4, "spectral_norm": True, "norm": NORMS["layer_norm"](**AFFINE | {"affine": False})},
        (4,), {"weight": (5, 4)}, "5·4 = 20", 20),
    Row("depthwise_conv", (4, 3), {"spectral_norm": True, "norm": NORMS["instance_norm"](**AFFINE)}, (2, 3),
        normed(3, 1, 3), "3·1·3 + 2·3 = 15", 18),
    Row("conv_transpose", (4, 3), {"channels": 2, "norm": NORMS["group_norm"](groups=2, **AFFINE),
        "spectral_norm": True}, (6, 2), {"weight": (3, 2, 3), "norm.scale": (2,), "norm.shift": (2,)},
        "3·2·3 + 2·2 = 22", 72),
    Row("dense", (4, 4, 3), {"units": 2}, (4, 4, 2), wb(3, 2), "3·2 + 2 = 8", 16 * 6),
    Row("embedding", (7,), {"units": 3, "tokens": 5}, (7, 3), {"weight": (5, 3)}, "5·3 = 15"),
    Row("embedding", (), {"units": 3, "tokens": 5, "trainable": False}, (3,), {"weight": (5, 3)}, "5·3 = 15"),
    Row("embedding", (2, 4), {"units": 3, "tokens": 5, "penalty": Penalty(l1=1.0)}, (2, 4, 3), {"weight": (5, 3)},
        "5·3 = 15"),
    Row("positional", (7, 4), {}, (7, 4)),
    Row("positional", (7, 4), {"encoding": "learned", "trainable": False}, (7, 4), {"weight": (7, 4)}, "7·4 = 28"),
    Row("rnn", (7, 4), {"units": 3}, (7, 3), cells(4, 3, 1), "7·3 + 2·3 = 27", 7 * 21, "tanh"),
    Row("rnn", (7, 4), {"units": 3, "return": "last", "activation": "relu", "bias": False, "trainable": False,
        "penalty": Penalty(l1=1.0)}, (3,), cells(4, 3, 1, bias=False), "7·3 = 21", 7 * 21, "relu"),
    Row("lstm", (7, 4), {"units": 3}, (7, 3), cells(4, 3, 4), "7·12 + 2·12 = 108", 7 * 84),
    Row("lstm", (7, 4), {"units": 3, "return": "last", "bias": False, "trainable": False, "penalty": Penalty(l1=1.0)},
        (3,), cells(4, 3, 4, bias=False), "7·12 = 84", 7 * 84),
    Row("gru", (7, 4), {"units": 3}, (7, 3), cells(4, 3, 3), "7·9 + 2·9 = 81", 7 * 63),
    Row("gru", (7, 4), {"units": 3, "return": "last", "bias": False, "trainable": False, "penalty": Penalty(l1=1.0)},
        (3,), cells(4, 3, 3, bias=False), "7·9 = 63", 7 * 63),
    Row("attention", (7, 4), {}, (7, 4), {"weight": (4, 12), "output_weight": (4, 4), "bias": (12,),
        "output_bias": (4,)}, "4·16 + 16 = 80", 7 * 64 + 7 * 7 * 8),
    Row("attention", (7, 4), {"heads": 2, "causal": True, "bias": False, "trainable": False,
        "penalty": Penalty(l1=1.0)}, (7, 4), {"weight": (4, 12), "output_weight": (4, 4)}, "4·16 = 64",
        7 * 64 + 7 * 7 * 8),
    Row("upsample", (4, 5, 3), {}, (8, 10, 3)),
    Row("upsample", (4, 5, 3), {"factor": (3, 1), "mode": "bilinear"}, (12, 5, 3)),
    Row("upsample", (4, 3), {"factor": 3}, (12, 3)),
    Row("pad", (4, 5, 3), {}, (6, 7, 3)),
    Row("pad", (4, 5, 3), {"padding": (3, 0), "mode": "reflect"}, (10, 5, 3)),
    Row("pad", (1, 2, 1, 3), {"padding": 2, "mode": "replicate"}, (5, 6, 5, 3)),
    Row("reshape", (12,), {"shape": (2, 3, -1)}, (2, 3, 2)),
    Row("reshape", (2, 3, 2), {"shape": 12}, (12,)),
    Row("max_pool", (8, 8, 3), {}, (4, 4, 3)),
    Row("max_pool", (7, 5, 3), {"kernel": (3, 2)}, (2, 2, 3)),
    Row("max_pool", (7, 2), {"kernel": 3, "stride": 2, "padding": 1}, (4, 2)),
    Row("max_pool", (5, 5, 5, 1), {"kernel": 2, "padding": "same"}, (3, 3, 3, 1)),
    Row("average_pool", (8, 8, 3), {}, (4, 4, 3)),
    Row("average_pool", (7, 5, 3), {"kernel": 3, "stride": (1, 2)}, (5, 2, 3)),
    Row("average_pool", (4, 4, 4, 2), {"kernel": (2, 1, 4), "stride": 1, "padding": (1, 0, 2)}, (5, 4, 5, 2)),
    Row("global_max_pool", (4, 5, 3), {}, (3,)),
    Row("global_max_pool", (4, 3), {}, (3,)),
    Row("global_average_pool", (2, 4, 5, 3), {}, (3,)),
    Row("global_average_pool", (1, 1, 3), {}, (3,)),
    Row("flatten", (4, 5, 3), {}, (60,)),
    Row("flatten", (7,), {}, (7,)),
    Row("dropout", (4, 5, 3), {}, (4, 5, 3)),
    Row("dropout", (7,), {"rate": 0.25}, (7,)),
    Row("dropout", (7,), {"rate": 0.25, "always": True}, (7,)),
    Row("batch_norm", (4, 3), {}, (4, 3), scaled(3), "2·3 = 6"),
    Row("batch_norm", (5,), {"momentum": 0.2, "epsilon": 0.1, "affine": False, "trainable": False}, (5,)),
    Row("layer_norm", (4, 3), {}, (4, 3), scaled(3), "2·3 = 6"),
    Row("layer_norm", (5,), {"epsilon": 0.1, "affine": False, "trainable": False}, (5,)),
    Row("group_norm", (4, 5, 64), {}, (4, 5, 64), scaled(64), "2·64 = 128"),
    Row("group_norm", (6,), {"groups": 3, "epsilon": 0.1, "affine": True, "trainable": False}, (6,), scaled(6),
        "2·6 = 12"),
    Row("instance_norm", (4, 5, 3), {"epsilon": 0.1}, (4, 5, 3), scaled(3), "2·3 = 6"),
    Row("instance_norm", (4, 3), {"affine": False, "trainable": True}, (4, 3)),
    Row("add", (4, 3), {"of": "input"}, (4, 3)),
    Row("multiply", (4, 5, 3), {"of": ("input", "input", "input")}, (4, 5, 3)),
    Row("concat", (4, 3), {"of": "input"}, (4, 6)),
    Row("concat", (3,), {"of": ("input", "input", "input")}, (9,)),
    Row("relu", (4, 3), {}, (4, 3), activation="relu"),
    Row("relu6", (4, 3), {}, (4, 3), activation="relu6"),
    Row("hard_swish", (4, 3), {}, (4, 3), activation="hard_swish"),
    Row("leaky_relu", (4, 3), {"slope": 0.2}, (4, 3), activation="leaky_relu"),
    Row("prelu", (4, 3), {"slope": 0.1}, (4, 3), {"slope": (3,)}, "3 = 3", activation="prelu"),
    Row("elu", (4, 3), {"alpha": 0.5}, (4, 3), activation="elu"),
    Row("selu", (4, 3), {}, (4, 3), activation="selu"),
    Row("gelu", (4, 3), {"approximate": "tanh"}, (4, 3), activation="gelu"),
    Row("silu", (4, 3), {}, (4, 3), activation="silu"),
    Row("softplus", (4, 3), {}, (4, 3), activation="softplus"),
    Row("sigmoid", (4, 3), {}, (4, 3), activation="sigmoid"),
    Row("tanh", (4, 3), {}, (4, 3), activation="tanh"),
    Row("softmax", (4, 3), {}, (4, 3), activation="softmax"),
    Row("softmax", (4, 5, 3), {"axis": 1}, (4, 5, 3), activation="softmax"),
]  # fmt: skip


def make(kind: str, in_shape: Shape, **settings: Any) -> Layer:
    return build([(kind, settings)], in_shape).layers[0]


def test_the_table_holds_every_layer_and_setting():
    assert {row.kind for row in ROWS} == LEAVES
    for kind in LEAVES:
        tried = {key for row in ROWS if row.kind == kind for key in row.settings}
        assert tried | {"init", "start"} >= set(LAYERS.settings(kind)) - set(LAYERS.common), kind


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_what_a_layer_says_before_it_computes(row: Row):
    layer = make(row.kind, row.in_shape, **row.settings)
    assert (layer.in_shape, layer.out_shape) == (row.in_shape, row.out_shape)
    assert {name: p.shape for name, p in layer.parameters.items()} == row.parameters
    ends = {name: re.split(r"[._]", name)[-1] for name in row.parameters}
    kinds = {name: "weight" if row.kind == "positional" else end for name, end in ends.items()}
    assert {name: p.kind for name, p in layer.parameters.items()} == kinds
    assert (layer.arithmetic, layer.multiply_adds) == (row.arithmetic, row.multiply_adds)
    assert layer.activation == row.activation
    assert layer.observed == bool(row.parameters or row.activation)
    assert all(p.trainable == row.settings.get("trainable", True) for p in layer.parameters.values())
    assert layer.penalty == row.settings.get("penalty")
    assert all(p.data is None for p in layer.parameters.values()), "weights are allocated when asked for"
    if row.arithmetic:
        formula, _, total = row.arithmetic.partition(" = ")
        count = sum(prod(map(int, term.split("·"))) for term in formula.split(" + "))
        assert count == int(total.replace(",", "")) == sum(p.size for p in layer.parameters.values())


@pytest.mark.parametrize("row", [row for row in ROWS if prod(row.in_shape) < 4096], ids=str)
def test_the_output_has_the_shape_that_was_said(row: Row, device: Device):
    model = build([(row.kind, row.settings)], row.in_shape)
    model.initialise(0, device)
    x = np.abs(distinct(2, *row.in_shape)) // 1 if row.kind == "embedding" else distinct(2, *row.in_shape)
    y = model(Tensor(device.asarray(x)), Context())
    assert y.shape == (2, *row.out_shape)
    assert np.isfinite(to_host(y.data)).all()


# kind, input, settings, what the message must say
MISFITS: list[tuple[str, Shape, dict[str, Any], str]] = [
    ("dense", (), {"units": 2}, "the input is ()"),
    ("gru", (5,), {"units": 2}, "a sequence (positions, channels), but the input is (5,); put an embedding before it"),
    ("lstm", (5, 4, 3), {"units": 2}, "a sequence (positions, channels), but the input is (5, 4, 3)"),
    ("attention", (5,), {}, "attention takes a sequence (positions, channels), but the input is (5,)"),
    ("attention", (5, 4), {"heads": 3}, "4 channels cannot be cut into 3 heads: 4 / 3 is not whole"),
    ("positional", (5,), {}, "positional takes a sequence (positions, channels), but the input is (5,)"),
    ("conv", (5,), {"channels": 2}, "1 to 3 spatial dimensions, but the input is (5,)"),
    ("conv", (1, 1, 1, 1, 5), {"channels": 2}, "1 to 3 spatial dimensions, but the input is (1, 1, 1, 1, 5)"),
    ("conv", (6, 6, 7), {"channels": 4, "groups": 2}, "7 input channels cannot be cut into 2 groups: 7 / 2 is not"),
    ("conv", (6, 6, 4), {"channels": 3, "groups": 2}, "3 output channels cannot be cut into 2 groups: 3 / 2 is not"),
    ("conv", (3, 3, 1), {"channels": 1, "kernel": 5}, "covers 5 positions but the input has only 3 + 0 + 0 = 3"),
    ("conv", (3, 8, 1), {"channels": 1, "kernel": 5, "padding": (1, 0), "dilation": 2},
     "covers 9 positions but the input has only 3 + 1 + 1 = 5"),
    ("conv", (8, 8, 1), {"channels": 1, "kernel": (3,)}, "kernel [3] has 1 numbers, but the input has 2 spatial"),
    ("conv", (8, 8, 1), {"channels": 1, "stride": 0}, "stride [0, 0] must be at least 1"),
    ("conv", (8, 8, 1), {"channels": 1, "padding": -1}, "padding [-1, -1] must be at least 0"),
    ("conv", (8, 8, 1), {"channels": 1, "dilation": (1, 1, 1)}, "dilation [1, 1, 1] has 3 numbers"),
    ("depthwise_conv", (5,), {}, "depthwise_conv takes (*size, channels) with 1 to 3 spatial dimensions"),
    ("conv_transpose", (5,), {"channels": 2}, "conv_transpose takes (*size, channels) with 1 to 3 spatial dimensions"),
    ("conv_transpose", (6, 7), {"channels": 4, "groups": 2}, "7 input channels cannot be cut into 2 groups"),
    ("conv_transpose", (6, 4), {"channels": 3, "groups": 2}, "3 output channels cannot be cut into 2 groups"),
    ("conv_transpose", (6, 4), {"channels": 3, "stride": 2, "output_padding": 2},
     "output_padding 2 must be below the stride, at most 1"),
    ("conv_transpose", (2, 4), {"channels": 3, "padding": 2},
     "(2 - 1) · 1 - 2 · 2 + 3 + 0 = 0 positions would come out; use less padding"),
    ("conv_transpose", (2, 4), {"channels": 3, "kernel": (1, 1)}, "kernel [1, 1] has 2 numbers, but the input has 1"),
    ("upsample", (5,), {}, "upsample takes (*size, channels) with 1 to 3 spatial dimensions, but the input is (5,)"),
    ("upsample", (5, 2), {"factor": 0}, "factor [0] must be at least 1"),
    ("pad", (5,), {}, "pad takes (*size, channels) with 1 to 3 spatial dimensions, but the input is (5,)"),
    ("pad", (5, 3, 2), {"padding": 3, "mode": "reflect"}, "padding 3 must be below 3, the positions that reflect"),
    ("pad", (5, 3), {"padding": -1}, "padding [-1] must be at least 0"),
    ("reshape", (4, 4, 3), {"shape": (5, 10)},
     "the input has 4·4·3 = 48 numbers, which do not go into shape [5, 10]: 5·10 = 50"),
    ("reshape", (4, 4, 3), {"shape": (5, -1)}, "which do not go into shape [5, -1]: 5"),
    ("reshape", (4,), {"shape": (-1, -1)}, "shape [-1, -1] must be of numbers above 0; one may be -1"),
    ("reshape", (4,), {"shape": (0, 4)}, "shape [0, 4] must be of numbers above 0; one may be -1"),
    ("softmax", (4, 3), {"axis": 2}, "axis 2 of an input of shape (4, 3): it goes from 0 to 1, or from -1 to -2"),
    ("max_pool", (5,), {}, "1 to 3 spatial dimensions, but the input is (5,)"),
    ("max_pool", (1, 1, 3), {}, "covers 2 positions but the input has only 1 + 0 + 0 = 1"),
    ("max_pool", (8, 8, 3), {"padding": 2}, "padding 2 would let a window of 2 see nothing but padding; .* at most 1"),
    ("average_pool", (8, 8, 3), {"kernel": (3, 1), "padding": 1}, "padding 1 would let a window of 1"),
    ("average_pool", (8, 3), {"stride": (1, 1)}, "stride [1, 1] has 2 numbers, but the input has 1 spatial"),
    ("global_max_pool", (8,), {}, "(*size, channels), but the input is (8,)"),
    ("layer_norm", (4, 4, 1), {}, "layer_norm of a single number gives 0 whatever comes in"),
    ("batch_norm", (), {}, "batch_norm takes (*size, channels), but the input is ()"),
    ("layer_norm", (), {}, "layer_norm of a single number"),
    ("group_norm", (4, 4, 48), {}, "the channels of (4, 4, 48) cannot be cut into 32 groups; set groups"),
    ("group_norm", (32,), {}, "group_norm of a single number gives 0"),
    ("instance_norm", (1, 1, 3), {}, "each is by itself in (1, 1, 3)"),
    ("global_average_pool", (), {}, "(*size, channels), but the input is ()"),
    ("conv", (6, 6, 3), {"channels": 48, "norm": NORMS["group_norm"](groups=32, **AFFINE)},
     "norm: the channels of (4, 4, 48) cannot be cut into 32 groups; set groups"),
    ("dense", (6,), {"units": 1, "norm": NORMS["layer_norm"](**AFFINE)}, "norm: layer_norm of a single number gives 0"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "in_shape", "settings", "says"), MISFITS)
def test_what_does_not_fit_is_refused_with_the_arithmetic(kind: str, in_shape: Shape, settings: Any, says: str):
    with pytest.raises(ShapeError, match=re.escape(says).replace(r"\.\*", ".*")):
        make(kind, in_shape, **settings)


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("activation", [name for name in get_args(ActivationName) if name != "none"])
def test_an_activation_as_a_setting_is_the_layer_after(kind: str, activation: str, device: Device):
    in_shape = (6,) if kind == "dense" else (4, 4, 2)
    width = {"units": 5} if kind == "dense" else {"channels": 5}
    together = build([(kind, width | {"activation": activation})], in_shape)
    apart = build([(kind, width), (activation, {})], in_shape)
    x = Tensor(device.asarray(distinct(3, *in_shape)))
    results = []
    for model in (together, apart):
        model.initialise(3, device)
        y = model(x, Context())
        parameters = model.parameters.values()
        results.append([y.data, *gradients((y * y).sum(), [x, *parameters])])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(to_host(a), to_host(b), rtol=1e-13, atol=1e-13)


# --- the model --------------------------------------------------------------------------------------------------------

SMALL = [("conv", {"channels": 2}), ("relu", {}), ("flatten", {}), ("dense", {"units": 3, "bias": False})]


def test_a_model_names_its_parameters_in_order():
    model = build(SMALL, (4, 4, 1))
    assert list(model.parameters) == ["conv1.weight", "conv1.bias", "dense1.weight"]
    assert (model.in_shape, model.out_shape) == ((4, 4, 1), (3,))


def test_initial_values_depend_on_the_seed_and_the_name_alone(device: Device):
    model, other = build(SMALL, (4, 4, 1)), build([("flatten", {}), ("dense", {"units": 3})], (2, 2, 2))
    model.initialise(4, device)
    other.initialise(4, device)
    again, later = build(SMALL, (4, 4, 1)), build(SMALL, (4, 4, 1))
    again.initialise(4, device)
    later.initialise(5, device)
    first, same, new = ({name: to_host(x) for name, x in m.weights().items()} for m in (model, again, later))
    assert all(np.array_equal(first[name], same[name]) for name in first)
    assert not np.array_equal(first["conv1.weight"], new["conv1.weight"])
    assert not first["conv1.bias"].any()
    assert np.array_equal(first["dense1.weight"], to_host(other.weights()["dense1.weight"])), "the layers before matter"


def test_two_layers_of_one_shape_start_differently(device: Device):
    model = build([("dense", {"units": 5}), ("dense", {"units": 5})], (5,))
    model.initialise(0, device)
    first, second = (to_host(model.weights()[f"dense{i}.weight"]) for i in (1, 2))
    assert not np.isclose(first, second).any()


def test_initial_values_are_those_of_float64_rounded(device_name: str):
    narrow, wide = (build(SMALL, (4, 4, 1)) for _ in range(2))
    narrow.initialise(0, device_of(np.float32, device_name))
    wide.initialise(0, device_of(np.float64, device_name))
    for name, x in narrow.weights().items():
        assert x.dtype == np.float32
        assert np.array_equal(to_host(x), to_host(wide.weights()[name]).astype(np.float32))


def test_weights_taken_from_another_model(device: Device):
    model, other = build(SMALL, (4, 4, 1)), build(SMALL, (4, 4, 1))
    model.initialise(0, device)
    weights = {name: np.asfortranarray(to_host(x)) for name, x in model.weights().items()}
    other.load(weights, device)
    for name, x in other.weights().items():
        assert np.array_equal(to_host(x), weights[name]) and x.flags.c_contiguous
    with pytest.raises(
        ValueError, match=r"dense1.weight is float64 of shape \(3, 8\), the model wants floats of shape \(8, 3\)"
    ):
        other.load(weights | {"dense1.weight": weights["dense1.weight"].T}, device)
    with pytest.raises(ValueError, match=r"conv1\.bias is in one of checkpoint and model only"):
        other.load({name: x for name, x in weights.items() if name != "conv1.bias"}, device)


def test_the_tap_sees_every_layer_with_parameters_or_an_activation():
    model: Network = build(SMALL, (4, 4, 1))
    model.initialise(0, device_of(np.float64))
    seen: list[tuple[str, Shape]] = []
    y = model(Tensor(distinct(2, 4, 4, 1)), Context(tap=lambda layer, y: seen.append((layer.name, y.shape))))
    assert seen == [("conv1", (2, 2, 2, 2)), ("relu1", (2, 2, 2, 2)), ("dense1", (2, 3))]
    assert y.shape == (2, 3)


def test_a_layer_with_weights_needs_an_init():
    with pytest.raises(TypeError, match="needs an init"):
        LAYERS["dense"]((3,), units=2)
