"""The resolved config: complete, and itself a config for the same run. And nothing but ConfigError for any text."""

import json
import random
from dataclasses import asdict
from typing import Any

import pytest
import test_init
import test_layers
import test_losses
import test_optim
from builders import LEAVES

from dltrain.data.pictures.augment import Flip
from dltrain.errors import ConfigError, DataError
from dltrain.nn import INITIALIZERS, LAYERS, LOSSES
from dltrain.nn.init import Normal
from dltrain.nn.norm import NormSettings
from dltrain.optim import OPTIMIZERS, SCHEDULES
from dltrain.spec import build_model, find_config, load, loads, shipped_configs
from dltrain.spec.runspec import Component

CONFIGS = shipped_configs()
CONTAINERS = set(LAYERS) - LEAVES  # test_spec_graphs.py has these
OF_PICTURES = {name for name in LOSSES if LOSSES[name].of_pictures}  # type: ignore[attr-defined]  # test_style.py
TEXT = """\
# a comment
data: {npz: "a \\"b\\".npz"}
model:
  init: {normal: 0.01}
  layers:
    - conv: {channels: 4, kernel: [3, 1], activation: none, init: zeros}
    - relu
    - relu
    - max_pool: [2, 1]
    - {type: dense, units: 3, bias: false, name: last, penalty: {l2: 0.5}}
penalty: {l1: 1e-5}
"""


def test_the_long_form_with_every_default() -> None:
    resolved = loads(TEXT).resolved()
    rest = {"norm": 0.0, "p": 2.0, "over": "layer", "biases": False, "method": "gradient"}
    assert resolved["data"] == {
        "type": "npz", "path": 'a "b".npz', "classes": None, "per_class": None,
            "test": 0, "validation": 0, "fold": None, "stratified": False,
        "split_seed": 0, "pixel_range": None, "class_weights": "none", "normalize": "channel",
        "normalize_targets": "auto", "augment": [],
        "mixup": 0.0,
    }  # fmt: skip
    assert resolved["model"] == {
        "input": None,
        "activation": "relu",
        "init": {"type": "normal", "std": 0.01},
        "load": None,
        "trainable": True,
        "layers": [
            {
                "type": "conv", "name": "conv1", "from": None, "channels": 4, "kernel": [3, 1], "stride": 1,
                "padding": "valid", "dilation": 1, "groups": 1, "activation": "none", "init": {"type": "zeros"},
                "bias": None, "norm": None, "spectral_norm": False, "trainable": True, "penalty": None,
            },
            {"type": "relu", "name": "relu1", "from": None},
            {"type": "relu", "name": "relu2", "from": None},
            {
                "type": "max_pool", "name": "max_pool1", "from": None, "kernel": [2, 1], "stride": None,
                "padding": "valid",
            },
            {
                "type": "dense", "name": "last", "from": None, "units": 3, "activation": "relu",
                "init": {"type": "normal", "std": 0.01}, "bias": False, "norm": None,
                "spectral_norm": False, "trainable": True,
                "penalty": {"l1": 0.0, "l2": 0.5} | rest,
            },
        ],
    }  # fmt: skip
    assert resolved["penalty"] == {"l1": 1e-5, "l2": 0.0} | rest
    assert resolved["optimizer"] == {
        "type": "adam",
        "lr": 1e-3,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "lr_factors": None,
    }
    assert resolved["schedule"] == {"type": "constant"}
    assert resolved["loss"] == {"type": "cross_entropy", "label_smoothing": 0.0}
    assert (resolved["version"], resolved["seed"], resolved["device"]) == (1, 0, "auto")


def test_the_short_forms_mean_the_same() -> None:
    forms = ["conv: 4", "conv: {channels: 4}", "{type: conv, channels: 4}", "conv:\n      channels: 4"]
    specs = [loads(f"model:\n  input: [4, 4, 1]\n  layers:\n  - {form}") for form in forms]
    assert all(spec == specs[0] for spec in specs)


@pytest.mark.parametrize("name", CONFIGS)
def test_round_trip_of_shipped_configs(name: str) -> None:
    spec = load(name)
    again = loads(spec.to_yaml())
    assert again.resolved() == spec.resolved() and again == spec
    assert "# default" not in again.to_yaml()  # all is written out now
    assert spec.text == CONFIGS[name].read_text()


def components() -> list[tuple[str, str, dict[str, Any]]]:
    """(where it stands, its type, settings) from the tables that hold every one of them."""
    found = [("model.layers.0", row.kind, row.settings) for row in test_layers.ROWS]
    found += [("model.init", name, settings) for name, rows in test_init.TABLE.items() for settings, _ in rows]
    found += [("model.init", "orthogonal", {"gain": 0.5}), ("model.init", "gaussian", {"sigma": 0.6})]
    found += [("model.init", "truncated_normal", {"std": 0.02}), ("model.init", "dirac", {})]
    found += [("loss", name, settings) for name, (settings, _, _) in test_losses.TASKS.items()]
    found += [("optimizer", name, settings) for name, settings, _ in test_optim.PLAIN]
    found += [("schedule", name, settings) for name, settings, _ in test_optim.POINTS]
    found += [("schedule", "reduce_on_plateau", settings) for settings, _, _ in test_optim.PLATEAUS]
    return found


def as_written(setting: Any) -> dict[str, Any]:
    """As a config says it."""
    return {"type": setting.kind} | setting.settings if isinstance(setting, NormSettings) else asdict(setting)


def test_round_trip_of_every_component() -> None:
    named: dict[str, set[str]] = {}
    for path, name, settings in components():
        text = json.dumps({"type": name} | settings, default=as_written)  # JSON is YAML
        spec = loads("model: {input: [8, 8, 2], layers: [relu]}", overrides=[f"{path}={text}"])
        assert loads(spec.to_yaml()) == spec, (path, name, settings)
        value: Any = spec.resolved()
        for key in path.split("."):
            value = value[int(key) if key == "0" else key]
        for key, setting in settings.items():
            assert value[key] == json.loads(json.dumps(setting, default=as_written)), (path, name, key)
        named.setdefault(path, set()).add(name)
    tables = {"model.layers.0": LAYERS, "model.init": INITIALIZERS, "loss": LOSSES, "optimizer": OPTIMIZERS}
    for path, registry in (tables | {"schedule": SCHEDULES}).items():
        assert named[path] == set(registry) - CONTAINERS - OF_PICTURES, path


def test_round_trip_of_words_that_need_quotes() -> None:
    for path in (
        "true",
        "null",
        "3",
        "1e3",
        " a",
        "a: b",
        "a # b",
        "é\t\n\x85\u2028\x1f",
        "'",
        '"',
        "",
        "-",
        "~",
        "*x",
    ):
        spec = loads("data: {type: npz}\nmodel: {layers: [relu]}", overrides=["data.path=x"])
        assert spec.data
        spec.data.settings["path"] = path
        data = loads(spec.to_yaml()).data
        assert data and data.settings["path"] == path


def test_every_line_tells_its_origin() -> None:
    lines = loads(TEXT, "dir/x.yaml").to_yaml().splitlines()
    assert '  path: "a \\"b\\".npz"                     # x.yaml:2' in lines
    assert "    std: 0.01                             # x.yaml:4" in lines
    assert "        type: zeros                       # x.yaml:6" in lines
    assert "      channels: 4                         # x.yaml:6" in lines
    assert "      name: relu2                         # default" in lines
    assert all("  # " in line or line.endswith(":") for line in lines)


def test_a_file_name_cannot_break_the_text() -> None:
    spec = loads(TEXT, "a\nseed: 3\n.yaml")
    assert loads(spec.to_yaml()).resolved() == spec.resolved()


def test_positions() -> None:
    spec = loads(TEXT, "x.yaml", ["train.epochs=3"])
    assert spec.position("model.layers[0].kernel") == "x.yaml:6:35"
    assert spec.position("model.layers[2]") == "x.yaml:8:7"
    assert spec.position("model.layers.last") == "x.yaml:10:7"
    assert spec.position("model.layers[0].stride") == "x.yaml:6:7"  # a default: where it would belong
    assert spec.position("optimizer.lr") == "x.yaml:2:1"
    assert spec.position("train.epochs") == "override 'train.epochs=3'"


def test_components_build_what_they_name() -> None:
    spec = loads("data: {type: digits, augment: [flip]}\nmodel: {layers: [dense: {units: 2, init: {normal: 0.5}}]}")
    layer = spec.model.layers[0]
    assert (layer.registry, layer.type, layer.path) == (LAYERS, "dense", "model.layers[0]")
    assert layer.own == {"units": 2, "activation": "relu", "init": Normal(std=0.5), "bias": None} | {
        "norm": None, "spectral_norm": False, "trainable": True, "penalty": None,
    }  # fmt: skip
    assert layer.common == {"name": "dense1", "from": None}
    assert layer.settings["init"] == Component(INITIALIZERS, "normal", {"std": 0.5}, "model.layers[0].init")
    assert spec.data and isinstance(spec.data.common["augment"][0], Flip)
    assert layer.build((3,)).weight.shape == (3, 2)
    assert spec.optimizer.build().lr == 1e-3


def test_find_config(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    assert find_config("digits_cnn").name == "digits_cnn.yaml"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smoke").mkdir()
    assert find_config("smoke").suffix == ".yaml"  # a folder of that name is in nobody's way
    (tmp_path / "own.yaml").write_text("model: {input: [1], layers: [relu]}")
    assert load("own.yaml").model.input == (1,)
    assert load(tmp_path / "own.yaml").position("model") == f"{tmp_path}/own.yaml:1:8"
    shipped = ", ".join(CONFIGS)
    for name, message in {
        "digit_cnn": f"digit_cnn: no such config file; did you mean 'digits_cnn'? shipped: {shipped}",
        "configs/smok.yaml": f"configs/smok.yaml: no such config file; did you mean 'smoke'? shipped: {shipped}",
        ".": f".: is a folder, not a config file; shipped: {shipped}",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load(name)
        assert caught.value.problems == [message]


PIECES = [
    *(
        "[",
        "]",
        "{",
        "}",
        ":",
        "- ",
        "\n",
        "\t",
        "  ",
        "#",
        "&a ",
        "*a",
        "!!int ",
        "<<: ",
        "---\n",
        "? ",
        "| ",
        "%",
        "@",
    ),
    *("null", "yes", "1e-3", "'", '"', "0x1", "-1", "é", "\x00", "type", "conv", "relu", "9" * 400, "٣"),
]


def mutated(text: str, choose: random.Random) -> str:
    for _ in range(choose.randint(1, 6)):
        at = choose.randrange(len(text) + 1)
        lines = text.splitlines(keepends=True)
        row, other = choose.randrange(len(lines)), choose.randrange(len(lines))
        words = text.split(" ")
        word = choose.randrange(len(words))
        match choose.randrange(7):
            case 0:
                text = text[:at] + text[at + choose.randint(1, 4) :]
            case 1:
                text = text[:at] + choose.choice(PIECES) + text[at:]
            case 2:
                text = text[:at] + text[at : at + 2][::-1] + text[at + 2 :]
            case 3:
                text = "".join([*lines[:row], lines[row], *lines[row:]])
            case 4:
                lines[row], lines[other] = lines[other], lines[row]
                text = "".join(lines)
            case 5:
                text = " ".join([*words[:word], choose.choice(PIECES), *words[word + 1 :]])
            case 6:
                text = " ".join([*words[:word], choose.choice(words), *words[word + 1 :]])
        if not text:
            return text
    return text


@pytest.mark.parametrize("seed", range(500))
def test_mutated_configs_give_success_or_a_config_error(seed: int) -> None:
    choose = random.Random(seed)
    text = mutated(choose.choice(list(CONFIGS.values())).read_text(), choose)
    try:
        spec = loads(text, "m.yaml")
        assert loads(spec.to_yaml()).resolved() == spec.resolved()
        build_model(spec)
    except ConfigError as error:
        assert error.problems and all(problem.startswith("m.yaml") for problem in error.problems)
        assert all("\n" not in problem for problem in error.problems)
    except DataError:
        pass  # an npz file that is not there
