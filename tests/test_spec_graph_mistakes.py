"""What is said of mistakes in graphs: names, shapes that do not join, circles, blocks; and of damaged configs."""

import random
from pathlib import Path

import pytest
from test_spec_graphs import BLOCKS, CONV, NESTED, config
from test_spec_resolved import mutated

from dltrain.errors import ConfigError
from dltrain.spec import build_model, loads

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


# --- damaged ----------------------------------------------------------------------------------------------------------

FILES = [
    (Path(__file__).parent.parent / name).read_text()
    for name in ("configs/cifar_residual.yaml", "docs/networks/resnet18.yaml")
]
WORDS = [
    "$channels",
    "$x",
    "from: conv1",
    "- residual: ",
    "repeat: ",
    "times: 3",
    "blocks:",
    "layers: ",
    "[]",
    "- pair",
    "add: input",
    "paths",
    "join: concat",
    "input",
    "- chain: [relu]",
    "999999",
    "- add: [conv1, input]",
]


@pytest.mark.parametrize("seed", range(500))
def test_damaged_graphs_give_success_or_a_config_error(seed: int) -> None:
    choose = random.Random(seed)
    text = "".join(line for line in choose.choice(FILES).splitlines(keepends=True) if not line.startswith("#"))
    for _ in range(choose.randint(1, 3)):
        words = text.split(" ")
        words[choose.randrange(len(words))] = choose.choice(WORDS if choose.random() < 0.6 else words)
        text = " ".join(words)
    if choose.random() < 0.5:
        text = mutated(text, choose)
    try:
        spec = loads(text, "m.yaml")
        network, again = build_model(spec), loads(spec.to_yaml())
        assert again.resolved() == spec.resolved()
        assert build_model(again).sources == network.sources
    except ConfigError as error:
        assert error.problems and all(problem.startswith("m.yaml") for problem in error.problems)


def test_a_key_that_repeat_does_not_have() -> None:
    """It was written out and forgotten."""
    with pytest.raises(ConfigError, match="4:16  repeat has no setting 'nmae'; did you mean 'name'"):
        loads("model:\n  input: [4]\n  layers:\n    - repeat: {nmae: x, times: 2, layers: [dense: 3]}\n")
