"""Networks as graphs of layers: what runs, what is let go, what a part of one is; gradients; where they are drawn."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from builders import EVERY_LAYER, LayerList, build
from conftest import device_of

from dltrain.backend import Device, choose_kernels, to_host
from dltrain.engine import Tensor, distinct, gradcheck, gradients, no_grad
from dltrain.errors import DeviceError, ShapeError
from dltrain.nn import INPUT, LAYERS, Context
from dltrain.nn.summary import summarise
from dltrain.report.lanes import arrange

SAME = {"channels": 4, "padding": "same", "activation": "tanh"}
GRAPHS: dict[str, tuple[tuple[int, ...], LayerList]] = {
    "residual": ((5, 5, 4), [("conv", SAME), ("conv", SAME), ("add", {"of": "conv1"}), ("tanh", {})]),
    "three summands": (
        (3,),
        [("dense", {"units": 3}), ("dense", {"units": 3}), ("add", {"of": ("dense1", "dense2", "input")})],
    ),
    "the same twice": ((3,), [("tanh", {}), ("multiply", {"of": ("tanh1", "tanh1")})]),
    "densely connected": (
        (4, 4, 2),
        [("conv", SAME), ("concat", {"of": "input"}), ("conv", SAME), ("concat", {"of": "concat1"})],
    ),
    "gates": (
        (4, 4, 3),
        [("global_average_pool", {}), ("dense", {"units": 3, "activation": "sigmoid"}), ("multiply", {"of": "input"})],
    ),
    "a row at every position": (
        (4, 4, 3),
        [("global_average_pool", {}), ("add", {"of": ("input", "global_average_pool1")})],
    ),
    "a U of dense layers": (
        (6,),
        [
            ("dense", {"units": 4, "activation": "tanh"}),
            ("dense", {"units": 2, "activation": "tanh"}),
            ("dense", {"units": 4, "activation": "tanh"}),
            ("concat", {"of": "dense1"}),
            ("dense", {"units": 6}),
        ],
    ),
    "side by side": (
        (6, 6, 2),
        [
            ("conv", {"channels": 2, "kernel": 1}),
            ("max_pool", {"kernel": 3, "stride": 1, "padding": 1, "from": "input"}),
            ("concat", {"of": ("conv1", "max_pool1", "input")}),
        ],
    ),
}


def ready(name: str, device: Device) -> tuple[Any, Tensor]:
    in_shape, layers = GRAPHS[name]
    net = build(layers, in_shape)
    net.initialise(0, device)
    return net, Tensor(device.asarray(distinct(3, *in_shape, highest=1.0)))


@pytest.mark.parametrize("name", GRAPHS)
def test_gradients(name: str, device: Device) -> None:
    net, x = ready(name, device)
    parameters = list(net.parameters.values())

    def function(x: Tensor, *values: Tensor) -> Any:
        for layer in net.layers:
            for key in layer.parameters:
                setattr(layer, key, values[list(net.parameters).index(f"{layer.name}.{key}")])
        return net(x, Context())

    gradcheck(function, x.data, *(p.data for p in parameters))


@pytest.mark.parametrize("name", GRAPHS)
def test_native_kernels_against_plain_ones(name: str, chosen_kernels: None) -> None:
    found = []
    for kernels in ("numpy", "native"):
        try:
            choose_kernels(kernels)
        except DeviceError as error:
            pytest.skip(str(error))
        net, x = ready(name, device_of(np.float32))
        y = net(x, Context())
        found.append([y.data, *gradients((y * y).sum(), [x, *net.parameters.values()])])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5)


def test_what_joins_give(device: Device) -> None:
    image, row = (Tensor(device.asarray(distinct(2, *shape))) for shape in ((3, 3, 2), (2,)))
    a, b = to_host(image.data), to_host(row.data)
    add, multiply = (LAYERS[kind]((3, 3, 2), (2,), of=()) for kind in ("add", "multiply"))
    np.testing.assert_array_equal(to_host(add(image, row, context=Context()).data), a + b[:, None, None])
    np.testing.assert_array_equal(to_host(multiply(image, row, context=Context()).data), a * b[:, None, None])
    concat = LAYERS["concat"]((3, 3, 2), (3, 3, 2), of=())
    np.testing.assert_array_equal(to_host(concat(image, image, context=Context()).data), np.concatenate([a, a], -1))
    assert (add.out_shape, add.in_shapes, concat.out_shape) == ((3, 3, 2), ((3, 3, 2), (2,)), (3, 3, 4))


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("add", [(3, 3, 2), (3, 2)]),
        ("add", [(3, 3, 2), (3,)]),
        ("multiply", [(2,), (3,)]),
        ("concat", [(3, 3, 2), (3, 2, 2)]),
        ("concat", [(3, 3, 2), (3, 2)]),
        ("add", [(1, 3, 2), (3, 3, 2)]),
    ],
)
def test_what_does_not_join(kind: str, shapes: Any) -> None:
    with pytest.raises(ShapeError, match=r"must be equal.*, not \("):
        LAYERS[kind](*shapes, of=())


def test_outputs_are_let_go_once_nothing_takes_them() -> None:
    """In evaluation. A shortcut keeps its own end and no more."""
    net, x = ready("residual", device_of(np.float32))
    alive: list[tuple[str, list[str]]] = []
    seen: dict[str, Any] = {}
    with no_grad():
        for layer, y in net.outputs(x, Context()):
            seen[layer.name] = weakref.ref(y)
            del y
            gc.collect()
            alive.append((layer.name, [name for name, ref in seen.items() if ref() is not None]))
    assert alive == [
        ("conv1", ["conv1"]),
        ("conv2", ["conv1", "conv2"]),
        ("add1", ["add1"]),
        ("tanh1", ["tanh1"]),
    ]


def test_a_part_holds_what_it_needs(device: Device) -> None:
    in_shape, layers = (8, 8, 1), EVERY_LAYER["joined"]
    net = build(layers, in_shape)
    net.initialise(0, device)
    x = device.asarray(distinct(2, *in_shape))
    outputs = {layer.name: to_host(y.data) for layer, y in net.outputs(x, Context())}
    for layer in net.layers:
        part = net.until(layer)
        np.testing.assert_array_equal(to_host(part(x, Context()).data), outputs[layer.name])
    assert [layer.name for layer in net.until(net.layers[3]).layers] == ["conv1", "conv3"]


def test_what_a_position_sees() -> None:
    """Through joins the most of all; where one input saw everything, everything."""
    net = build(
        [
            ("conv", SAME),
            ("conv", SAME),
            ("add", {"of": "conv1"}),
            ("global_average_pool", {}),
            ("multiply", {"of": "add1"}),
            ("conv", {"channels": 1, "kernel": 1}),
        ],
        (9, 9, 1),
    )
    seen = {row["name"]: row["receptive_field"] for row in summarise(net, 1)["layers"]}
    assert seen == {
        "conv1": [3, 3],
        "conv2": [5, 5],
        "add1": [5, 5],
        "global_average_pool1": None,
        "multiply1": None,
        "conv3": None,
    }


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_what_a_position_sees_after_it_was_made_of_another(factor: int) -> None:
    """As many positions of the input as one output's gradient reaches, where that is most."""
    along: LayerList = [
        ("conv", {"channels": 1, "stride": 2}),
        ("upsample", {"factor": factor, "mode": "bilinear"}),
        ("conv", {"channels": 1, "kernel": 2, "stride": 5 - factor}),
        ("upsample", {"factor": 3}),
        ("conv", {"channels": 1, "kernel": 2}),
        ("upsample", {"factor": 2, "mode": "bilinear"}),
        ("conv_transpose", {"channels": 1, "kernel": 3, "stride": 2, "padding": 1}),
        ("pad", {"padding": 2}),
        ("conv", {"channels": 1, "kernel": 5}),
        ("reshape", {"shape": (1, -1)}),
    ]
    net = build(along, (41, 1))
    for p in net.parameters.values():
        p.data = np.ones(p.shape)
    x = Tensor(np.ones((1, 41, 1)))
    outputs = {layer.name: y for layer, y in net.outputs(x, Context())}
    for row in summarise(net, 1)["layers"][:-1]:
        y = outputs[row["name"]]
        reached = [gradients(y[0, i, 0], [x], keep_graph=True)[0].ravel().nonzero()[0] for i in range(y.shape[1])]
        assert row["receptive_field"] == [max(int(np.ptp(places)) + 1 for places in reached if len(places))], row[
            "name"
        ]
    assert summarise(net, 1)["layers"][-1]["receptive_field"] is None


# --- where layers stand in the picture --------------------------------------------------------------------------------

PICTURES: dict[str, tuple[dict[str, tuple[str, ...]], dict[str, tuple[int, int]]]] = {
    # sources -> (row, lane)
    "a chain": ({INPUT: (), "a": (INPUT,), "b": ("a",)}, {INPUT: (0, 0), "a": (1, 0), "b": (2, 0)}),
    "a shortcut": ({INPUT: (), "a": (INPUT,), "b": ("a", INPUT)}, {INPUT: (0, 0), "a": (1, 0), "b": (2, 0)}),
    "branches": (
        {INPUT: (), "a": (INPUT,), "a2": ("a",), "b": (INPUT,), "c": (INPUT,), "all": ("a2", "b", "c"), "d": ("all",)},
        {INPUT: (0, 0), "a": (1, 0), "a2": (2, 0), "b": (1, 1), "c": (1, 2), "all": (3, 0), "d": (4, 0)},
    ),
    "branches of a branch": (
        {INPUT: (), "a": (INPUT,), "b": (INPUT,), "b1": ("b",), "b2": ("b",), "bb": ("b1", "b2"), "all": ("a", "bb")},
        {INPUT: (0, 0), "a": (1, 0), "b": (1, 1), "b1": (2, 1), "b2": (2, 2), "bb": (3, 1), "all": (4, 0)},
    ),
    "lanes are used again": (
        {INPUT: (), "a": (INPUT,), "b": (INPUT,), "c": ("a", "b"), "d": ("c",), "e": ("c",), "f": ("d", "e")},
        {INPUT: (0, 0), "a": (1, 0), "b": (1, 1), "c": (2, 0), "d": (3, 0), "e": (3, 1), "f": (4, 0)},
    ),
    "a lane is kept for whom is taken later": (
        {
            INPUT: (),
            "a": (INPUT,),
            "b": (INPUT,),
            "c": ("a",),
            "d": ("c",),
            "e": ("c",),
            "f": ("d", "e"),
            "g": ("f", "b"),
        },
        {INPUT: (0, 0), "a": (1, 0), "b": (1, 1), "c": (2, 0), "d": (3, 0), "e": (3, 2), "f": (4, 0), "g": (5, 0)},
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_branches_stand_side_by_side(name: str) -> None:
    sources, wanted = PICTURES[name]
    found = {layer: (spot.row, spot.lane) for layer, spot in arrange(sources).items()}
    assert found == wanted and len(set(found.values())) == len(found)
