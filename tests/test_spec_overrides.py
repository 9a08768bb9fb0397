"""Overrides and flags: what they change, what they refuse, and that they are named where they are wrong."""

import pytest

from dltrain.errors import ConfigError
from dltrain.spec import Override, RunSpec, loads, replace

TEXT = """\
data: {type: digits, augment: [flip]}
model:
  layers:
    - conv: {channels: 8}
    - conv: {channels: 8, name: second}
    - flatten
    - dense: {units: 10, activation: none}
train: {epochs: 2}
"""


def read(*overrides: str | Override) -> RunSpec:
    return loads(TEXT, "c.yaml", overrides)


def at(spec: RunSpec, path: str) -> object:
    value: object = spec.resolved()
    for key in path.split("."):
        value = value[int(key)] if isinstance(value, list) else value[key]  # type: ignore[index]
    return value


CHANGES = [
    ("seed=7", "seed", 7),
    ("train.epochs=3", "train.epochs", 3),
    ("train.clip_norm=1e-1", "train.clip_norm", 0.1),
    ("train.early_stopping.patience=2", "train.early_stopping", {"patience": 2, "min_delta": 0.0}),
    ("train.early_stopping={}", "train.early_stopping", {"patience": 5, "min_delta": 0.0}),
    ("optimizer=sgd", "optimizer", {"type": "sgd", "lr": 0.01, "lr_factors": None}),
    ("optimizer.lr=2", "optimizer.lr", 2.0),
    ("optimizer={momentum: {lr: 0.5}}", "optimizer.momentum", 0.9),
    ("loss={type: cross_entropy, label_smoothing: 0.1}", "loss.label_smoothing", 0.1),
    ("schedule={step: 2}", "schedule", {"type": "step", "every": 2, "factor": 0.1}),
    ("model.layers.0.channels=64", "model.layers.0.channels", 64),
    ("model.layers[0].channels=64", "model.layers.0.channels", 64),
    ("model.layers.conv1.channels=64", "model.layers.0.channels", 64),
    ("model.layers.second.channels=64", "model.layers.1.channels", 64),
    ("model.layers.conv1.kernel=[3, 5]", "model.layers.0.kernel", [3, 5]),
    ("model.layers.conv1.init.type=zeros", "model.layers.0.init", {"type": "zeros"}),
    ("model.layers.1=relu", "model.layers.1", {"type": "relu", "name": "relu1", "from": None}),
    ("model.layers.0.conv.channels=64", "model.layers.0.channels", 64),  # as it is written in the file
    ("model.layers[0].conv.init.type=zeros", "model.layers.0.init", {"type": "zeros"}),
    ("model.layers.second.conv.channels=64", "model.layers.1.channels", 64),
    ("+model.layers.0.conv.groups=2", "model.layers.0.groups", 2),
    ("~model.layers.3.dense.activation", "model.layers.3.activation", "relu"),
    ("model.layers.3.dense=7", "model.layers.3.units", 7),
    ("data.augment.0.flip.probability=0.25", "data.augment", [{"type": "flip", "probability": 0.25}]),
    ("data.digits.validation=9", "data.validation", 9),
    ("optimizer.adam.lr=2", "optimizer.lr", 2.0),
    ("optimizer.adam={lr: 2}", "optimizer.lr", 2.0),
    ("model.activation=tanh", "model.layers.0.activation", "tanh"),
    ("+model.layers.2=relu", "model.layers.2.type", "relu"),
    ("+model.layers.4={dropout: 0.5}", "model.layers.4.rate", 0.5),
    (
        "+data.augment.1={crop: 1}",
        "data.augment",
        [{"type": "flip", "probability": 0.5}, {"type": "crop", "padding": 1}],
    ),
    ("+train.max_steps=5", "train.max_steps", 5),
    ("+seed=3", "seed", 3),
    ("~train.epochs", "train.epochs", 10),
    ("~train", "train.epochs", 10),
    ("~model.layers.second", "model.layers.1.type", "flatten"),
    ("~data.augment.0", "data.augment", []),
    ("data={npz: a=b/c.npz}", "data.path", "a=b/c.npz"),
    ("loss=", "loss.type", "cross_entropy"),
]


@pytest.mark.parametrize("override, path, value", CHANGES, ids=[case[0] for case in CHANGES])
def test_changes(override: str, path: str, value: object) -> None:
    assert at(read(override), path) == value


def test_a_type_that_is_called_like_a_setting_of_its_own() -> None:
    first = "optimizer={momentum: {lr: 1}}"
    for path in ("optimizer.momentum", "optimizer.momentum.momentum"):
        found = at(read(first, f"{path}=0.3"), "optimizer")
        assert found == {"type": "momentum", "lr": 1.0, "momentum": 0.3, "lr_factors": None}
    assert at(read(first, "optimizer.momentum.lr=0.5"), "optimizer.lr") == 0.5


def test_the_type_in_the_path_of_a_layer_that_is_repeated() -> None:
    spec = read("+model.layers.2={repeat: {times: 2, layers: [{conv: 4}]}}", "model.layers.2.repeat.times=3")
    assert str(spec.resolved()["model"]).count("'channels': 4") == 3


def test_a_layer_that_is_called_like_the_type_of_its_container() -> None:
    spec = read("+model.layers.3={chain: {layers: [{dense: {units: 3, name: chain}}]}}", "model.layers.3.chain.units=5")
    assert at(spec, "model.layers.3.layers.0.units") == 5


def test_later_overrides_see_what_earlier_ones_did() -> None:
    spec = read(
        "model.layers=[{conv: 4}]", "model.layers.conv1.channels=6", "+model.layers.1=flatten", "seed=1", "seed=2"
    )
    assert [layer.type for layer in spec.model.layers] == ["conv", "flatten"]
    assert spec.model.layers[0].settings["channels"] == 6
    assert spec.seed == 2


HOW = "expected KEY=VALUE, +KEY=VALUE or ~KEY, where KEY is a path such as train.epochs"
TRAIN = "epochs, max_steps, max_time, batch_size, accumulate, shard_size, clip_norm, average, early_stopping"
REFUSED = {
    "optimizer.lr=fast": "optimizer.lr: expected a number above 0, got 'fast'",
    "optimizer.momentum=0.9": (
        "optimizer.momentum: unknown key; adam's is beta1; the optimizers momentum and nesterov have a key `momentum`"
    ),
    "model.layers.0.dense.units=3": (
        "model.layers[0].conv.dense: unknown key; allowed: type, channels, kernel, stride, padding, dilation, groups, "
        "activation, init, bias, norm, spectral_norm, trainable, penalty, name, from"
    ),
    "train.epoch=3": f"train.epoch: unknown key; did you mean 'epochs'? allowed: {TRAIN}",
    "nope.a.b=3": (
        "nope: unknown key; allowed: version, seed, device, data, model, loss, networks, values, updates, penalty, "
        "optimizer, schedule, train, metrics, show, checkpoint, logging, diagnostics, advice, write, blocks"
    ),
    "seed": HOW,
    "=3": HOW,
    "": HOW,
    "a..b=1": HOW,
    "~seed=3": HOW,
    "~": HOW,
    "+train.epochs=3": "'epochs' is already there; leave the + out to change it",
    "~train.max_steps": "there is no 'max_steps' in the config; allowed: epochs",
    "~train.epoch": "there is no 'epoch' in the config; did you mean 'epochs'? allowed: epochs",
    "model.layers.9.units=3": "there is no entry '9' in the list; it has 4 entries, counted from 0",
    "model.layers.4=relu": "there is no entry '4' in the list; it has 4 entries, counted from 0",
    "+model.layers.5=relu": "there is no entry '5' in the list; it has 4 entries, counted from 0",
    "model.layers.sekond.bias=true": (
        "there is no entry 'sekond' in the list; did you mean 'second'? it has 4 entries, counted from 0"
    ),
    "train.epochs.x=3": "there is no 'x' inside of '2'",
    "seed=[1": "not readable as YAML: expected ',' or ']', but got '<stream end>'",
    "seed=&a 3": "the anchor &a is not supported; write the values out",
    "train={epochs: 1, epochs: 2}": "duplicate key 'epochs'",
    "model.layers.0={conv: {kernal: 3, channels: 1}}": (
        "model.layers[0].conv.kernal: unknown key; did you mean 'kernel'? allowed: "
        "type, channels, kernel, stride, padding, dilation, groups, activation, init, bias, norm, "
        "spectral_norm, trainable, penalty, name, from"
    ),
    "~data": "model: 'input' is missing; without `data` a model needs one, such as [28, 28, 1]",
}


@pytest.mark.parametrize("override, message", REFUSED.items(), ids=REFUSED)
def test_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(override)
    place = "c.yaml:3:3" if override == "~data" else f"override '{override}'"
    assert caught.value.problems == [f"{place}  {message}"]


GAME = """
data: {plain: {type: digits, normalize: signed}}
networks: {maker: [dense: {units: 64, activation: tanh}, reshape: [8, 8, 1]], judge: [flatten, dense: 1]}
values: {noise: {normal: 4}}
updates: {judging: [mse: {of: {judge: plain}, target: 1}], making: [mse: {of: {maker: noise}, target: plain}]}
"""


@pytest.mark.parametrize(
    ("override", "meant", "all_names"),
    [
        ("data.plane.noise=2", "plain", "plain"),
        ("+data.plane.noise=2", "plain", "plain"),
        ("data.plane.nois=2", "plain", "plain"),
        ("networks.juge.layers.dense1.units=3", "judge", "maker, judge"),
        ("networks.juge.activation=relu", "judge", "maker, judge"),
        ("updates.makin.optimizer.lr=3", "making", "judging, making"),
        ("updates.makin.every=3", "making", "judging, making"),
    ],
)
def test_a_name_that_is_misspelt_makes_no_second_one(override: str, meant: str, all_names: str) -> None:
    name = override.split(".")[1]
    with pytest.raises(ConfigError) as caught:
        loads(GAME, "c.yaml", [override])
    said = f"there is no '{name}' in the config; did you mean '{meant}'? allowed: {all_names}"
    assert caught.value.problems == [f"override '{override}'  {said}"]


def test_a_new_name_begins_with_what_it_is() -> None:
    overrides = ["data.other.type=digits", "data.other.noise=2", "data.third.digits.noise=1", "values.more.normal=3",
                 "networks.second.layers=[dense: 3]", "updates.last.minimise=[mse: {of: {second: more}, target: 0}]",
                 "updates.last.every=2", "values.faked.maker=noise"]  # fmt: skip
    spec = loads(GAME, "c.yaml", overrides)
    assert [(name, source.settings["noise"]) for name, source in spec.sources.items()] == [
        ("plain", 0.0), ("other", 2.0), ("third", 1.0)
    ]  # fmt: skip
    assert spec.networks and "second" in spec.networks and spec.updates and spec.updates["last"].every == 2


def test_a_flag_is_named_instead_of_its_override() -> None:
    with pytest.raises(ConfigError) as caught:
        read(Override("seed=x", "--seed"), "train.epochs=y")
    assert caught.value.problems == [
        "--seed  seed: expected a whole number from 0 to 18446744073709551615, got 'x'",
        "override 'train.epochs=y'  train.epochs: expected a whole number above 0, got 'y'",
    ]


def test_the_resolved_config_says_where_values_come_from() -> None:
    spec = read("optimizer.lr=2e-3", Override("seed=5", "--seed"), Override("train.max_steps=9", "--max-steps"))
    spec = replace(spec, {"train.shard_size": 32, "device": "cpu", "train.clip_norm": None})
    origins = dict(line.split("  # ") for line in spec.to_yaml().splitlines() if "  # " in line)
    origins = {key.strip(): value for key, value in origins.items()}
    assert origins["seed: 5"] == "--seed"
    assert origins["max_steps: 9"] == "--max-steps"
    assert origins["lr: 0.002"] == "override"
    assert origins["epochs: 2"] == "c.yaml:8"
    assert origins["beta1: 0.9"] == "default"
    assert origins["shard_size: 32"] == "auto"
    assert origins["device: cpu"] == "auto"
    assert origins["clip_norm: null"] == "auto"
    assert spec.train.shard_size == 32 and spec.device == "cpu" and spec.seed == 5


def test_replace_leaves_the_old_spec_alone() -> None:
    spec = read()
    other = replace(spec, {"train.epochs": 9, "model.layers.conv1.bias": False})
    assert (spec.train.epochs, other.train.epochs) == (2, 9)
    assert other.model.layers[0].settings["bias"] is False
    assert spec == read() and spec != other
    with pytest.raises(ConfigError, match=r"^auto  train\.shard_size: expected"):
        replace(spec, {"train.shard_size": 0})
