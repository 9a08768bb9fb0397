"""Networks as graphs in a config: from, joins, containers, blocks; what they mean and what is said of mistakes."""

from textwrap import indent
from typing import Any

import pytest

from dltrain.errors import ConfigError
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


# --- mistakes ---------------------------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[str, str]] = {  # what is wrong -> (the layers, what is said)
    "an unknown name": (
        "- add: conv7\n",
        "4:10  model.layers[0] (add1): there is no layer 'conv7' here; allowed: input",
    ),
    "nearly a name": (
        "- relu\n- concat: [input, rela1]\n",
        "5:21  model.layers[1] (concat1): there is no layer 'rela1' here; did you mean 'relu1'?",
    ),
    "a later name": (
        "- add: relu1\n- relu\n",
        "4:10  model.layers[0] (add1): 'relu1' comes later (c.yaml:5:5); layers take earlier ones",
    ),
    "its own name": (
        "- relu\n- tanh: {from: tanh1}\n",
        "5:18  model.layers[1] (tanh1): takes its own output: a circle",
    ),
    "what it is part of": (
        "- residual: [relu, {add: residual1}]\n",
        "4:28  model.layers[0].layers[1] (residual1.add1): takes the output of 'residual1' (c.yaml:4:5), "
        "of which it is a part: a circle",
    ),
    "inside of another": (
        "- chain: [relu]\n- tanh: {from: relu1}\n",
        "there is no layer 'relu1' here",
    ),
    "shapes to add": (
        CONV + "- conv: 3\n- add: conv1\n",
        "6:5  model.layers[2] (add1): (6, 6, 3) from conv2 (c.yaml:5:5) and (8, 8, 4) from conv1 "
        "(c.yaml:4:5) do not join",
    ),
    "shapes to put side by side": (
        CONV + "- conv: 3\n- concat: conv1\n",
        "6:5  model.layers[2] (concat1): (6, 6, 3) from conv2 (c.yaml:5:5) and (8, 8, 4) from conv1 "
        "(c.yaml:4:5) do not join: all but the channels",
    ),
    "a shortcut": (
        "- residual: [conv: 3]\n",
        "4:5  model.layers[0] (residual1): (6, 6, 3) from residual1.conv1 (c.yaml:4:16) and (8, 8, 4) "
        "from input (c.yaml:2:10) do not join: shapes must be equal",
    ),
    "what to do about it": (
        "- residual: [conv: 3]\n",
        "with other shapes, write `branch: {join: add, paths: ",
    ),
    "ends of paths": (
        "- branch: {join: concat, paths: [[conv: 4], [{conv: {channels: 4, kernel: 1}}]]}\n",
        "4:5  model.layers[0] (branch1): (6, 6, 4) from branch1.conv1 (c.yaml:4:37) and (8, 8, 4) from "
        "branch1.conv2 (c.yaml:4:48) do not join",
    ),
    "one path": (
        "- branch: {join: add, paths: [[relu]]}\n",
        "4:32  model.layers[0] (branch1): a branch has two paths or more",
    ),
    "a path that is no list": (
        "- branch: {join: add, paths: [[], relu]}\n",
        "4:37  model.layers[0].branch.paths[1]: expected a list (each a layer), got 'relu'",
    ),
    "an unknown join": (
        "- branch: {join: ad, paths: [[], []]}\n",
        "join: expected add, concat or multiply, got 'ad'",
    ),
    "an empty container": (
        "- residual: []\n",
        "4:15  model.layers[0].layers: the list is empty",
    ),
    "repeated never": (
        "- repeat: {times: 0, layers: [relu]}\n",
        "4:21  model.layers[0].repeat.times: expected a whole",
    ),
    "repeated too often": (
        "- repeat: {times: 1000000000, layers: [relu]}\n",
        "4:42  blocks and repeat make more than",
    ),
    "an output for nobody": (
        "- relu\n- tanh: {from: input}\n",
        "4:5  model.layers[0] (relu1): no layer takes its output",
    ),
    "a layer called input": (
        "- relu: {name: input}\n",
        "4:18  model.layers[0]: the name 'input' stands for what comes in",
    ),
    "nothing to join": (
        "- add: [input]\n",
        "4:10  model.layers[0] (add1): add joins two outputs or more",
    ),
    "a name in vain": (
        "- {type: add, of: [input, input], from: input}\n",
        "4:43  model.layers[0] (add1): the list names",
    ),
    "a name that is taken": (
        "- branch: {join: add, paths: [[relu: {name: a}], [tanh: {name: a}]]}\n",
        "model.layers[0].paths[1][0]: the name 'a' is taken by model.layers[0].paths[0][0]",
    ),
    "a setting without a block": (
        "- conv: $channels\n",
        "4:11  model.layers[0].conv.channels: expected a whole number",
    ),
}
BLOCK_MISTAKES: dict[str, tuple[str, str, str]] = {  # what is wrong -> (blocks, layers, what is said)
    "a setting that it has not": (
        BLOCKS,
        "- pair: {chanels: 3}\n",
        "11:12  the block 'pair' has no setting 'chanels'; did",
    ),
    "a setting that is missing": (
        BLOCKS.replace("channels: 4", "channels:"),
        "- pair\n",
        "11:5  the block 'pair' needs 'channels', which has no default (c.yaml:3:5)",
    ),
    "a setting that nothing uses": (
        BLOCKS.replace("$last", "relu"),
        "- pair\n",
        "4:5  blocks.pair.last: nothing in the block uses `$last`",
    ),
    "an unknown $name": (
        BLOCKS.replace("$last", "$lost"),
        "- pair\n",
        "7:64  blocks.pair: '$lost': the block has no such setting; did you mean 'last'?",
    ),
    "an expression": (
        BLOCKS.replace("{channels: $channels, padding: same}", "{channels: 2*$channels}"),
        "- pair\n",
        "6:26  blocks.pair: '2*$channels': `$name` stands for a whole value; there are no expressions",
    ),
    "a wrong value": (
        BLOCKS,
        "- pair: x\n",
        "11:11  model.layers[0].chain.layers[0].conv.channels: expected a whole",
    ),
    "a wrong value in the block": (
        BLOCKS.replace("same", "sam"),
        "- pair\n",
        "6:46  model.layers[0].chain.layers[0].conv",
    ),
    "a block that uses itself": (
        "blocks: {a: {layers: [relu, a]}}\n",
        "- a\n",
        "1:29  the block 'a' uses itself: a → a",
    ),
    "blocks in a circle": (
        "blocks:\n  a: {layers: [relu, b]}\n  b: {layers: [a]}\n",
        "- a\n",
        "3:16  the block 'a' uses itself: a → b → a",
    ),
    "a block for nobody": (
        BLOCKS,
        "- relu\n",
        "2:3  blocks.pair: no layer uses this block",
    ),
    "nearly a block": (
        BLOCKS,
        "- pairs: 3\n",
        "11:5  model.layers[0]: unknown layer 'pairs'; did you mean 'pair'?",
    ),
    "a layer's name": (
        BLOCKS.replace("pair", "relu"),
        "- relu\n",
        "2:3  blocks.relu: 'relu' is a layer already",
    ),
    "a block without layers": (
        "blocks: {a: {channels: 3}}\n",
        "- a\n",
        "1:13  blocks.a: a block needs `layers: […]`",
    ),
    "no blocks": (
        "blocks: 3\n",
        "- relu\n",
        "1:9  blocks: expected blocks such as",
    ),
    "a reserved setting": (
        "blocks: {a: {name: 3, layers: [relu]}}\n",
        "- a\n",
        "1:14  blocks.a.name: 'name' cannot be",
    ),
    "a value for a block that takes none": (
        "blocks: {a: {layers: [relu]}}\n",
        "- a: 3\n",
        "5:5  a takes no value",
    ),
    "what does not fit, and where it is used": (
        "blocks: {a: {layers: [{conv: {channels: 3, kernel: 9}}]}}\n",
        "- relu\n- a\n",
        "1:23  model.layers[1].layers[0] (a1.conv1 in the block 'a' used at c.yaml:6:5): does not fit "
        "its input (8, 8, 4)",
    ),
    "a block that looks outside": (
        "blocks: {a: {layers: [relu, {add: out}]}}\n",
        "- relu: {name: out}\n- a\n",
        "1:35  model.layers[1].layers[1] (a1.add1 in the block 'a' used at c.yaml:6:5): there is no layer 'out' here",
    ),
    "a misspelt key": (
        "block: {}\n",
        "- relu\n",
        "1:1  block: unknown key; did you mean 'blocks'?",
    ),
}


def said(text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        build_model(loads(text, "c.yaml", overrides))
    return str(caught.value).splitlines()


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    layers, message = MISTAKES[name]
    (line, *_) = said(config(layers))
    assert message in line and line.startswith("c.yaml:")


@pytest.mark.parametrize("name", BLOCK_MISTAKES)
def test_mistakes_with_blocks(name: str) -> None:
    blocks, layers, message = BLOCK_MISTAKES[name]
    assert any(message in line for line in said(config(layers, blocks)))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.layers.stage.residual3.relu1=tanh", "there is no 'residual3' in the config; did you mean 'residual2'?"),
        ("model.layers.stage.residual1.pair1.conv1.chanels=3", "unknown key; did you mean 'channels'?"),
        ("~model.layers.stage.relu3", "there is no 'relu3' in the config; did you mean 'relu2'?"),
        ("blocks.pair.chanels=3", "blocks.pair.chanels: nothing in the block uses `$chanels`"),
        ("model.layers.stage.times=many", "expected a whole number above 0, got 'many'"),
    ],
)
def test_overrides_that_lead_nowhere(override: str, message: str) -> None:
    assert any(message in line for line in said(config(NESTED, BLOCKS), override))


def test_a_short_file_makes_no_huge_network() -> None:
    doubling = "".join(f"  b{i}: {{layers: [b{i + 1}, b{i + 1}]}}\n" for i in range(30))
    blocks = f"blocks:\n{doubling}  b30: {{layers: [relu]}}\n"
    assert "blocks and repeat make more than 1,000 layers" in said(config("- b0\n", blocks))[0]
    nested = "".join(f"  c{i}: {{layers: [c{i + 1}]}}\n" for i in range(200))
    assert "levels deep" in said(config("- c0\n", f"blocks:\n{nested}  c200: {{layers: [relu]}}\n"))[0]
