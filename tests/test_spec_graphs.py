"""Networks as graphs in a config: from, joins, containers, blocks; what they mean and what is said of mistakes."""

from textwrap import indent
from typing import Any

import pytest

from dltrain.spec import build_model, loads

BLOCKS = """\
blocks:
  pair:
    channels: 4
    last: none
    layers:
      - conv: {channels: $channels, padding: same}
      - conv: {channels: $channels, padding: same, activation: $last}
"""


def config(layers: str, blocks: str = "") -> str:
    return f"{blocks}model:\n  input: [8, 8, 4]\n  layers:\n{indent(layers, '  ')}"


def network(layers: str, blocks: str = "", *overrides: str) -> Any:
    return build_model(loads(config(layers, blocks), "c.yaml", overrides))


def arrows(net: Any) -> dict[str, tuple[str, ...]]:
    """layer -> what it takes"""
    return dict(net.sources)


CONV = "- conv: {padding: same, channels: 4}\n"
ARROWS: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "a chain": (CONV + "- relu\n- flatten\n", {"conv1": ("input",), "relu1": ("conv1",), "flatten1": ("relu1",)}),
    "from": (CONV + "- relu: {from: input, name: a}\n- add: conv1\n",
             {"conv1": ("input",), "a": ("input",), "add1": ("a", "conv1")}),
    "one name joins the layer before": (CONV + "- multiply: input\n",
                                        {"conv1": ("input",), "multiply1": ("conv1", "input")}),
    "a list names all": (CONV + "- relu\n- tanh\n- concat: [tanh1, conv1, relu1]\n",
                         {"conv1": ("input",), "relu1": ("conv1",), "tanh1": ("relu1",),
                          "concat1": ("tanh1", "conv1", "relu1")}),
    "from and a name": (CONV + "- relu\n- {type: add, from: conv1, of: input}\n- concat: relu1\n",
                        {"conv1": ("input",), "relu1": ("conv1",), "add1": ("conv1", "input"),
                         "concat1": ("add1", "relu1")}),
    "residual": ("- residual: [relu, tanh]\n- relu\n",
                 {"residual1.relu1": ("input",), "residual1.tanh1": ("residual1.relu1",),
                  "residual1": ("residual1.tanh1", "input"), "relu1": ("residual1",)}),
    "branch": ("- relu\n- branch: {join: concat, paths: [[tanh, relu], [], [tanh]]}\n",
               {"relu1": ("input",), "branch1.tanh1": ("relu1",), "branch1.relu1": ("branch1.tanh1",),
                "branch1.tanh2": ("relu1",), "branch1": ("branch1.relu1", "relu1", "branch1.tanh2")}),
    "a chain under a name": ("- relu\n- chain: {name: stage, layers: [relu, tanh]}\n- add: relu1\n",
                             {"relu1": ("input",), "stage.relu1": ("relu1",), "stage.tanh1": ("stage.relu1",),
                              "add1": ("stage.tanh1", "relu1")}),
    "input is that of the list": ("- relu\n- chain: [tanh, {add: input}]\n",
                                  {"relu1": ("input",), "chain1.tanh1": ("relu1",),
                                   "chain1.add1": ("chain1.tanh1", "relu1")}),
    "names around": ("- relu\n- tanh\n- residual: [tanh, {add: relu1}]\n",
                     {"relu1": ("input",), "tanh1": ("relu1",), "residual1.tanh1": ("tanh1",),
                      "residual1.add1": ("residual1.tanh1", "relu1"), "residual1": ("residual1.add1", "tanh1")}),
    "the nearest name": ("- relu\n- tanh\n- chain: [relu, tanh, {add: relu1}]\n- add: relu1\n",
                         {"relu1": ("input",), "tanh1": ("relu1",), "chain1.relu1": ("tanh1",),
                          "chain1.tanh1": ("chain1.relu1",), "chain1.add1": ("chain1.tanh1", "chain1.relu1"),
                          "add1": ("chain1.add1", "relu1")}),
    "repeat": ("- repeat: {times: 2, layers: [relu, {tanh: {name: t}}, {add: relu1}, {multiply: t}]}\n",
               {"repeat1.relu1": ("input",), "repeat1.t1": ("repeat1.relu1",),
                "repeat1.add1": ("repeat1.t1", "repeat1.relu1"), "repeat1.multiply1": ("repeat1.add1", "repeat1.t1"),
                "repeat1.relu2": ("repeat1.multiply1",), "repeat1.t2": ("repeat1.relu2",),
                "repeat1.add2": ("repeat1.t2", "repeat1.relu2"), "repeat1.multiply2": ("repeat1.add2", "repeat1.t2")}),
    "repeat from": ("- relu\n- tanh\n- repeat: {times: 2, from: relu1, layers: [relu]}\n- add: tanh1\n",
                    {"relu1": ("input",), "tanh1": ("relu1",), "repeat1.relu1": ("relu1",),
                     "repeat1.relu2": ("repeat1.relu1",), "add1": ("repeat1.relu2", "tanh1")}),
}  # fmt: skip


@pytest.mark.parametrize("name", ARROWS)
def test_what_each_layer_takes(name: str) -> None:
    layers, wanted = ARROWS[name]
    net = network(layers)
    assert arrows(net) == wanted and [layer.name for layer in net.layers] == list(wanted)


def test_a_block_is_a_chain_with_settings() -> None:
    net = network("- pair\n- pair: 6\n- {pair: {last: tanh, name: p}}\n- residual: [pair]\n", BLOCKS)
    assert [layer.name for layer in net.layers] == [
        "pair1.conv1", "pair1.conv2", "pair2.conv1", "pair2.conv2", "p.conv1", "p.conv2",
        "residual1.pair1.conv1", "residual1.pair1.conv2", "residual1",
    ]  # fmt: skip
    assert [layer.out_shape[-1] for layer in net.layers] == [4, 4, 6, 6, 4, 4, 4, 4, 4]
    assert [layer.activation for layer in net.layers[:6]] == ["relu", None, "relu", None, "relu", "tanh"]
    assert list(net.parameters)[:2] == ["pair1.conv1.weight", "pair1.conv1.bias"]


def test_blocks_of_blocks() -> None:
    blocks = (
        BLOCKS + "  stage:\n    width: 3\n    times: 2\n    layers:\n    - repeat: {times: $times, layers: "
        "[{pair: $width}, {residual: [{pair: {channels: $width, last: tanh}}]}]}\n"
    )
    net = network("- stage: {times: 1}\n- stage: {name: s, width: 5}\n", blocks)
    assert [layer.name for layer in net.layers if layer.kind == "residual"] == [
        "stage1.repeat1.residual1", "s.repeat1.residual1", "s.repeat1.residual2",
    ]  # fmt: skip
    assert {layer.out_shape[-1] for layer in net.layers if layer.name.startswith("s.")} == {5}


def test_null_is_a_value_of_a_block_that_has_a_default() -> None:
    block = "blocks:\n  b: {norm: batch_norm, layers: [{conv: {channels: 4, norm: $norm}}]}\n"
    norms = [net.layers[0].norm for net in (network("- b\n", block), network("- b: {norm: null}\n", block))]
    assert norms[0] is not None and norms[1] is None


def test_a_value_of_a_block_may_be_any_value() -> None:
    blocks = (
        "blocks:\n  b:\n    first: relu\n    init: {normal: 0.5}\n    kernel: [3, 1]\n    layers:\n"
        "    - $first\n    - conv: {channels: 4, kernel: $kernel, init: $init}\n"
    )
    net = network("- b\n- b: {first: {elu: {alpha: 2}}, init: zeros, kernel: 1}\n", blocks)
    assert [layer.kind for layer in net.layers] == ["relu", "conv", "elu", "conv"]
    assert net.layers[1].weight.shape[:2] == (3, 1) and net.layers[3].weight.shape[:2] == (1, 1)


NESTED = "- repeat: {name: stage, times: 2, layers: [{residual: [pair]}, relu]}\n"
OVERRIDES: dict[str, tuple[tuple[str, ...], dict[str, int]]] = {
    # overrides -> channels of some layers
    "a layer of a block": (("model.layers.stage.residual2.pair1.conv1.channels=7",),
                           {"stage.residual1.pair1.conv1": 4, "stage.residual2.pair1.conv1": 7}),
    "the block": (("blocks.pair.layers.conv1.channels=6",),
                  {"stage.residual1.pair1.conv1": 6, "stage.residual2.pair1.conv1": 6}),
    "how often": (("model.layers.stage.times=3", "model.layers.stage.residual3.pair1.conv1.channels=5"),
                  {"stage.residual2.pair1.conv1": 4, "stage.residual3.pair1.conv1": 5}),
    "in any order": (("model.layers.stage.residual3.pair1.conv1.channels=5", "model.layers.stage.times=3"),
                     {"stage.residual2.pair1.conv1": 4, "stage.residual3.pair1.conv1": 5}),
    "what is repeated": (("model.layers.stage.layers.0.layers.pair1.last=tanh", "blocks.pair.channels=4"),
                         {"stage.residual1.pair1.conv2": 4}),
    "another layer": (("model.layers.stage.residual1.pair1.conv1={conv: {channels: 9, kernel: 1, name: new}}",),
                      {"stage.residual1.pair1.new": 9, "stage.residual2.pair1.conv1": 4}),
    "one more": (("+model.layers.stage.layers.2=tanh",), {"stage.tanh2": 4}),
    "one less": (("~model.layers.stage.residual1.pair1.conv1",), {"stage.residual1.pair1.conv1": 4}),
}  # fmt: skip


@pytest.mark.parametrize("name", OVERRIDES)
def test_overrides_by_nested_names(name: str) -> None:
    overrides, wanted = OVERRIDES[name]
    channels = {layer.name: layer.out_shape[-1] for layer in network(NESTED, BLOCKS, *overrides).layers}
    assert {name: channels.get(name) for name in wanted} == wanted


@pytest.mark.parametrize("layers", [*(layers for layers, _ in ARROWS.values()), NESTED, "- pair\n- stage: 3\n"])
def test_the_resolved_config_is_the_same_network(layers: str) -> None:
    blocks = BLOCKS if "pair" in layers else ""
    blocks += "  stage:\n    c: 3\n    layers: [pair: $c]\n" if "stage: 3" in layers else ""
    spec = loads(config(layers, blocks))
    again = loads(spec.to_yaml())
    assert again == spec and "# default" not in again.to_yaml()
    one, other = build_model(spec), build_model(again)
    assert arrows(one) == arrows(other)
    assert {n: p.shape for n, p in one.parameters.items()} == {n: p.shape for n, p in other.parameters.items()}
