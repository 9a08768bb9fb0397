"""Mistakes in a config that is readable YAML: the message and the exact position of each kind."""

from dataclasses import fields

import pytest
from pydantic import BaseModel

from dltrain.errors import ConfigError
from dltrain.nn import LAYERS, LOSSES
from dltrain.spec import RunSpec, loads
from dltrain.spec.schema import REGISTRIES, Section

LAYER_NAMES = ", ".join(LAYERS)
TOP = ", ".join([*(field.name for field in fields(RunSpec) if field.name not in ("text", "nodes")), "blocks"])
CONV = "type, channels, kernel, stride, padding, dilation, groups, activation, init, bias, norm, "
CONV += "spectral_norm, trainable, penalty, name, from"
OK = "model: {input: [4, 4, 1], layers: [conv: 2]}\n"  # one line; what a case adds starts in line 2

SECTIONS = {
    "seed: 8.0": "2:7  seed: expected a whole number from 0 to 18446744073709551615, got '8.0'; write 8",
    "seed: -1": "2:7  seed: expected a whole number from 0 to 18446744073709551615, got '-1'",
    "seed: 18446744073709551616": (
        "2:7  seed: expected a whole number from 0 to 18446744073709551615, got '18446744073709551616'"
    ),
    "version: 2": "2:10  version: expected 1, got '2'",
    "device: gpu": "2:9  device: expected auto, cpu or cuda, got 'gpu'; here it is `cuda`",
    "optimzer: sgd": f"2:1  optimzer: unknown key; did you mean 'optimizer'? allowed: {TOP}",
    '"a\\n\\x07": 1': f"2:1  a\\n\\x07: unknown key; allowed: {TOP}",
    "zzz: 1": f"2:1  zzz: unknown key; allowed: {TOP}",
    "batch_size: 8": f"2:1  batch_size: unknown key; it belongs to `train`; allowed here: {TOP}",
    "lr: 0.1": f"2:1  lr: unknown key; it belongs to `optimizer`; allowed here: {TOP}",
    "train: 5": (
        "2:8  train: expected settings (epochs, max_steps, max_time, batch_size, accumulate, shard_size, clip_norm, "
        "average, early_stopping), got '5'"
    ),
    "train: {batchsize: 8}": (
        "2:9  train.batchsize: unknown key; did you mean 'batch_size'? "
        "allowed: epochs, max_steps, max_time, batch_size, accumulate, shard_size, clip_norm, average, early_stopping"
    ),
    "train: {epochs: big}": "2:17  train.epochs: expected a whole number above 0, got 'big'",
    "train: {epochs: [3]}": "2:17  train.epochs: expected a whole number above 0, got the list [3]",
    "train: {epochs: {a: 3}}": "2:17  train.epochs: expected a whole number above 0, got the keys a",
    "train: {epochs: }": "2:16  train.epochs: expected a whole number above 0, got nothing",
    "train: {clip_norm: -1}": "2:20  train.clip_norm: expected a number above 0 or null, got '-1'",
    "train: {shard_size: aut}": (
        "2:21  train.shard_size: expected a whole number above 0 or auto, got 'aut'; did you mean 'auto'?"
    ),
    "train:\n  early_stopping: {patience: 0}": (
        "3:30  train.early_stopping.patience: expected a whole number above 0, got '0'"
    ),
    "train: {early_stopping: 5}": (
        "2:25  train.early_stopping: expected settings (patience, min_delta) or null, got '5'"
    ),
    "penalty: {l2: inf}": "2:15  penalty.l2: expected a number of at least 0, got 'inf'",
    "penalty: {l2: .nan}": "2:15  penalty.l2: expected a number of at least 0, got '.nan'",
    "penalty: {l2: 1e999}": "2:15  penalty.l2: expected a number of at least 0, got '1e999'",
    "penalty: [l2]": "2:10  penalty: expected settings (l1, l2, norm, p, over, biases, method), got the list [l2]",
    "optimizer: adm": (
        "2:12  optimizer: unknown optimizer 'adm'; did you mean 'adam'? "
        "allowed: adam, adamw, adagrad, rmsprop, sgd, momentum, nesterov"
    ),
    "optimizer: {type: sgd, lr: 0}": "2:28  optimizer.lr: expected a number above 0, got '0'",
    "optimizer: {lr: 0.1}": (
        "2:12  optimizer: 'type' is missing; write `type: NAME`; "
        "allowed: adam, adamw, adagrad, rmsprop, sgd, momentum, nesterov"
    ),
    "optimizer: {adam: {type: sgd}}": "2:12  optimizer: says its type twice, 'adam' and `type`; keep one",
    "optimizer: [adam]": (
        "2:12  optimizer: expected an optimizer, got the list [adam]; "
        "allowed: adam, adamw, adagrad, rmsprop, sgd, momentum, nesterov"
    ),
    "schedule: {type: step}": "2:11  schedule: 'every' is missing; expected a whole number above 0",
    "schedule: {constant: 3}": "2:11  schedule: constant takes no value; write `constant` alone",
    "loss: {cross_entropy: {label_smoothing: 1}}": (
        "2:41  loss.label_smoothing: expected a number of at least 0 and below 1, got '1'"
    ),
    "loss: {type: [mse]}": (
        f"2:14  loss: unknown loss the list [mse]; allowed: {', '.join(LOSSES)}"
    ),
}

LAYER_MISTAKES = {
    "conv: {channels: 16, kernal: 3}": (
        f"3:26  model.layers[0].conv.kernal: unknown key; did you mean 'kernel'? allowed: {CONV}"
    ),
    "conv: {channels: 16, lr: 3}": (
        f"3:26  model.layers[0].conv.lr: unknown key; it belongs to `optimizer`; allowed here: {CONV}"
    ),
    "{type: conv, channels: -3}": "3:28  model.layers[0].conv.channels: expected a whole number above 0, got '-3'",
    "conv: big": "3:11  model.layers[0].conv.channels: expected a whole number above 0, got 'big'",
    'conv: "3"': (
        '3:11  model.layers[0].conv.channels: expected a whole number above 0, got the quoted text "3"; write 3'
    ),
    "conv: {channels: 3, kernel: [3, x]}": (
        "3:33  model.layers[0].conv.kernel: expected a whole number or a list (each a whole number), "
        "got the list [3, x]"
    ),
    "conv: {channels: 3, padding: sane}": (
        "3:34  model.layers[0].conv.padding: expected same or valid or a whole number or a list (each a whole number), "
        "got 'sane'; did you mean 'same'?"
    ),
    "conv: {channels: 3, bias: no}": (
        "3:31  model.layers[0].conv.bias: expected true or false or null, got 'no'; write false"
    ),
    "conv:": "3:5  model.layers[0].conv: 'channels' is missing; expected a whole number above 0",
    "conv:\n  channels: 3": (
        "3:5  model.layers[0]: channels must be indented below conv, or in braces: `conv: {channels: …}`"
    ),
    "softmaxx": f"3:5  model.layers[0]: unknown layer 'softmaxx'; did you mean 'softmax'? allowed: {LAYER_NAMES}",
    "zzz: 3": f"3:5  model.layers[0]: unknown layer 'zzz'; allowed: {LAYER_NAMES}",
    "relu: 3": "3:5  model.layers[0]: relu takes no value; write `relu` alone",
    "{units: 3, bias: true}": (f"3:5  model.layers[0]: 'type' is missing; write `type: NAME`; allowed: {LAYER_NAMES}"),
    "[relu]": f"3:5  model.layers[0]: expected a layer, got the list [relu]; allowed: {LAYER_NAMES}",
    "": f"3:4  model.layers[0]: expected a layer, got nothing; allowed: {LAYER_NAMES}",
    "dense: {units: 3, norm: batch_nrm}": (
        "3:29  model.layers[0].dense.norm: unknown norm 'batch_nrm'; did you mean 'batch_norm'? allowed: "
        "batch_norm, layer_norm, group_norm, instance_norm"
    ),
    "dense: {units: 3, norm: batchnorm}": (
        "3:29  model.layers[0].dense.norm: unknown norm 'batchnorm'; here it is `batch_norm`"
    ),
    "dense: {units: 3, norm: {batch_norm: {momentun: 0.2}}}": (
        "3:43  model.layers[0].dense.norm.momentun: unknown key; did you mean 'momentum'? "
        "allowed: type, momentum, epsilon, affine, trainable"
    ),
    "dense: {units: 3, norm: {group_norm: 0}}": (
        "3:42  model.layers[0].dense.norm.groups: expected a whole number above 0, got '0'"
    ),
    "dense: {units: 3, init: he_norml}": (
        "3:29  model.layers[0].dense.init: unknown initialisation 'he_norml'; did you mean 'he_normal'? allowed: "
        "constant, zeros, normal, uniform, glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_normal, "
        "orthogonal, truncated_normal, dirac, gaussian"
    ),
    "dense: {units: 3, init: {normal: {std: 0}}}": (
        "3:44  model.layers[0].dense.init.std: expected a number above 0, got '0'"
    ),
    "dense: {units: 3, activation: rellu}": (
        "3:35  model.layers[0].dense.activation: expected none, relu, relu6, leaky_relu, elu, selu, gelu, silu, "
        "hard_swish, softplus, sigmoid, tanh or softmax or null, got 'rellu'; did you mean 'relu'?"
    ),
    "dense: {units: 3, name: a-b}": "3:29  model.layers[0]: the name 'a-b' may hold letters, digits and _ only",
    "dense: {units: 3, name: relu1}\n- relu": "4:5  model.layers[1]: the name 'relu1' is taken by model.layers[0]",
    "dropout: 1": "3:14  model.layers[0].dropout.rate: expected a number of at least 0 and below 1, got '1'",
}


def problems_of(text: str, **options: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text, "c.yaml", **options)  # type: ignore[arg-type]
    return caught.value.problems


@pytest.mark.parametrize("line, message", SECTIONS.items(), ids=SECTIONS)
def test_sections(line: str, message: str) -> None:
    assert problems_of(f"{OK}{line}\n") == [f"c.yaml:{message}"]


@pytest.mark.parametrize("layer, message", LAYER_MISTAKES.items(), ids=LAYER_MISTAKES)
def test_layers(layer: str, message: str) -> None:
    layers = "".join(f"  {line}\n" for line in f"- {layer}".splitlines())
    assert problems_of(f"model:\n  layers:\n{layers}data: digits\n") == [f"c.yaml:{message}"]


def test_what_a_model_needs() -> None:
    assert problems_of("seed: 1") == [
        "c.yaml:1:1  'model' is missing; expected settings (input, activation, init, load, trainable, layers)"
    ]
    assert problems_of("model: {input: [4]}") == [
        "c.yaml:1:8  model: 'layers' is missing; expected a list (each a layer)"
    ]
    assert problems_of("model: {input: [4], layers: []}") == [
        "c.yaml:1:29  model.layers: the list is empty; a model has at least one layer"
    ]
    assert problems_of("model: {input: [4], layers: relu}") == [
        f"c.yaml:1:29  model.layers: expected a list (each a layer), got 'relu'; allowed: {LAYER_NAMES}"
    ]
    assert problems_of("model: {layers: [relu]}") == [
        "c.yaml:1:8  model: 'input' is missing; without `data` a model needs one, such as [28, 28, 1]"
    ]
    assert problems_of("data: digits\nmodel: {input: [4], layers: [relu]}") == [
        "c.yaml:2:9  model.input: remove it; the data set says the shape of the input"
    ]


MODEL = "input, activation, init, load, trainable, layers"
MISSPELT = {
    "data: digits\nmodel:\n  layrs: [relu]": [
        f"c.yaml:3:3  model.layrs: unknown key; did you mean 'layers'? allowed: {MODEL}",
        "c.yaml:3:3  model: 'layers' is missing; expected a list (each a layer)",
    ],
    "data: digits\nmodel: {layrs: [relu]}": [
        "c.yaml:2:8  model: 'layers' is missing; expected a list (each a layer)",
        f"c.yaml:2:9  model.layrs: unknown key; did you mean 'layers'? allowed: {MODEL}",
    ],
    "model:\n  inptu: [4]\n  layers: [relu]": [
        "c.yaml:2:3  model: 'input' is missing; without `data` a model needs one, such as [28, 28, 1]",
        f"c.yaml:2:3  model.inptu: unknown key; did you mean 'input'? allowed: {MODEL}",
    ],
    "modle:\n  layers: [relu]": [
        f"c.yaml:1:1  modle: unknown key; did you mean 'model'? allowed: {TOP}",
        "c.yaml:1:1  'model' is missing; expected settings (input, activation, init, load, trainable, layers)",
    ],
}


@pytest.mark.parametrize("text, messages", MISSPELT.items(), ids=MISSPELT)
def test_a_key_that_is_missing_because_it_is_misspelt(text: str, messages: list[str]) -> None:
    assert problems_of(text) == messages


def test_all_mistakes_at_once_in_the_order_of_the_file() -> None:
    text = """\
seed: x
data: {type: digits, augment: [flip, crop], validation: 1.5}
model:
  layers:
  - conv: {chanels: 3, kernel: x}
  - dense: {units: 0, units: 3}
loss: mes
"""
    assert problems_of(text, overrides=["train.epochs=0", "nope=1"]) == [
        "c.yaml:1:7  seed: expected a whole number from 0 to 18446744073709551615, got 'x'",
        "c.yaml:2:38  data.augment[1].crop: 'padding' is missing; expected a whole number above 0",
        "c.yaml:2:57  data.validation: expected a whole number of at least 0 or a number of at least 0 and below 1, "
        "got '1.5'",
        "c.yaml:5:5  model.layers[0].conv: 'channels' is missing; expected a whole number above 0",
        f"c.yaml:5:12  model.layers[0].conv.chanels: unknown key; did you mean 'channels'? allowed: {CONV}",
        "c.yaml:5:32  model.layers[0].conv.kernel: expected a whole number or a list (each a whole number), got 'x'",
        "c.yaml:6:20  model.layers[1].dense.units: expected a whole number above 0 or vocabulary, got '0'",
        "c.yaml:6:23  duplicate key 'units', first in line 6",
        f"c.yaml:7:7  loss: unknown loss 'mes'; did you mean 'mse'? allowed: {', '.join(LOSSES)}",
        "override 'train.epochs=0'  train.epochs: expected a whole number above 0, got '0'",
        f"override 'nope=1'  nope: unknown key; allowed: {TOP}",
    ]


WHOLE = {"0": 0, "7": 7, "+7": 7, "-0": 0, "18446744073709551615": 2**64 - 1}
NO_WHOLE = ["1_000", "0x10", "0o17", "010", "8.0", "1e3", "３", "٣", '"3"', "'3'", "yes", "true", "12:30", "2024-01-01"]
NUMBERS = {"1e-3": 1e-3, "1E-3": 1e-3, "1e3": 1e3, ".5": 0.5, "5.": 5.0, "1.e+3": 1e3, "3": 3.0, "0.10": 0.1}
NO_NUMBERS = ["1_0.0", "inf", "-.inf", "nan", "1e400", "1,5", "0x1p3", '"0.5"', "e3", ".", "true", "1 000", "٣.٥"]


@pytest.mark.parametrize("text, value", WHOLE.items())
def test_whole_numbers(text: str, value: int) -> None:
    assert loads(f"{OK}seed: {text}").seed == value


@pytest.mark.parametrize("text", NO_WHOLE)
def test_not_whole_numbers(text: str) -> None:
    assert len(problems_of(f"{OK}seed: {text}")) == 1


@pytest.mark.parametrize("text, value", NUMBERS.items())
def test_numbers(text: str, value: float) -> None:
    read = loads(f"{OK}penalty: {{l2: {text}}}").penalty.l2
    assert read == value and isinstance(read, float)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_not_numbers(text: str) -> None:
    assert problems_of(f"{OK}penalty:\n  l2: {text}")[0].startswith("c.yaml:3:7  penalty.l2: expected a number")


@pytest.mark.parametrize("text", ["no", "on", "true", "null", "3", "1e3", "~", "2024-01-01", "a=b"])
def test_words_stay_words(text: str) -> None:
    quoted = f'"{text}"' if text in ("null", "~") else text
    spec = loads(f"data: {{type: npz, path: {quoted}}}\nmodel: {{layers: [relu]}}")
    assert spec.data and spec.data.settings["path"] == text


def test_a_path_is_asked_for_as_one() -> None:
    with pytest.raises(ConfigError, match=r"c.yaml:1:25  data.path: expected a path, got the list \[a\]"):
        loads("data: {type: npz, path: [a]}\nmodel: {layers: [relu]}\n", "c.yaml")


def test_booleans_are_true_and_false_only() -> None:
    text = "model: {{input: [4, 4, 1], layers: [conv: {{channels: 2, bias: {}}}]}}"
    assert loads(text.format("true")).model.layers[0].settings["bias"] is True
    assert loads(text.format("false")).model.layers[0].settings["bias"] is False
    for wrong in ("yes", "no", "on", "off", "True", "FALSE", "1", "0", '"true"'):
        assert len(problems_of(text.format(wrong))) == 1


def test_null_is_none() -> None:
    for null in ("null", "~", ""):
        assert loads(f"{OK}train: {{max_steps: {null}}}").train.max_steps is None
    assert len(problems_of(f"{OK}train: {{max_steps: 'null'}}")) == 1


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_no_setting_has_a_name_of_pydantic(registry: object) -> None:
    for entry in registry:  # type: ignore[attr-defined]
        for name in registry.settings(entry):  # type: ignore[attr-defined]
            assert not hasattr(Section, name) and not hasattr(BaseModel, name), f"{entry}.{name}"
            assert name != "type" and not name.startswith(("_", "model_")), f"{entry}.{name}"


def test_the_top_level_keys() -> None:
    left_out = {"networks", "values", "updates", "write", "blocks"}  # where a config says nothing of them
    assert list(loads(OK).resolved()) == [key for key in TOP.split(", ") if key not in left_out]
    assert RunSpec.__dataclass_fields__.keys() >= set(TOP.split(", ")) - {"blocks"}
