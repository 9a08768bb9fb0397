"""What people bring from other tools leads to our words: in configs, in overrides and on the command line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from commands import dltrain

from dltrain.cli import app
from dltrain.errors import ConfigError
from dltrain.registry import settings_of
from dltrain.spec import RunSpec, foreign, loads
from dltrain.spec.schema import REGISTRIES
from dltrain.spec.types import is_section, words_of

OK = "data: digits\nmodel: {layers: [flatten, dense: 32, dense: {units: 10, activation: none}]}\n"

# A change of a config as users of other tools write it -> what the message ends with.
CHANGES = {
    "device=gpu": "got 'gpu'; here it is `cuda`",
    "device=cuda:0": "got 'cuda:0'; here it is `cuda`",
    "learning_rate=0.1": "learning_rate: unknown key; here it is `optimizer.lr`",
    "optimizer.learning_rate=0.1": "optimizer.learning_rate: unknown key; here it is `lr`",
    "weight_decay=1e-4": "weight_decay: unknown key; here it is `penalty.l2`",
    "optimizer.weight_decay=0.1": "write penalty: {l2: …}, or optimizer: {type: adamw, weight_decay: …}",
    "optimizer.momentum=0.9": "adam's is beta1; the optimizers momentum and nesterov have a key `momentum`",
    "optimizer={type: rmsprop, momentum: 0.9}": "rmsprop has none, but momentum and nesterov; allowed: ",
    "optimizer.betas=[0.9, 0.99]": "unknown key; write beta1 and beta2",
    "optimizer=AdamW": "unknown optimizer 'AdamW'; here it is `adamw`",
    "optimizer=torch.optim.SGD": "here it is `sgd`",
    "loss=nn.CrossEntropyLoss": "here it is `cross_entropy`",
    "loss=sparse_categorical_crossentropy": "here it is `cross_entropy`",
    "loss=BCEWithLogitsLoss": "here it is `binary_cross_entropy`",
    "schedule=CosineAnnealingLR": "here it is `cosine`",
    "schedule={cosine: {T_max: 10}}": "leave it out: the schedule ends with the training",
    "+model.layers[1]={conv: {filters: 3}}": "conv.filters: unknown key; here it is `channels`",
    "+model.layers[1]={conv: {out_channels: 3}}": "conv.out_channels: unknown key; here it is `channels`",
    "+model.layers[1]={conv: {channels: 3, kernel_size: 3}}": "conv.kernel_size: unknown key; here it is `kernel`",
    "model.layers[1]={linear: 10}": "unknown layer 'linear'; here it is `dense`",
    "model.layers[1]=Linear:10": "write `dense: 10`, with a space after the colon",
    "model.layers[1]={dense: {out_features: 3}}": "dense.out_features: unknown key; here it is `units`",
    "model.layers[1].activation=Swish": "here it is `silu`",
    "model.layers[1].activation=linear": "here it is `none`",
    "model.init=xavier": "here it is `glorot_uniform`",
    "+model.layers[1]={dropout: {p: 0.5}}": "dropout.p: unknown key; here it is `rate`",
    "max_epochs=3": "max_epochs: unknown key; here it is `train.epochs`",
    "train.patience=3": "train.patience: unknown key; here it is `train.early_stopping.patience`",
    "data.validation_split=0.1": "data.validation_split: unknown key; here it is `validation`",
    "data.shuffle=true": "leave it out: training examples are shuffled in every epoch",
    "metrics.best=val_loss": "here it is `loss`",
    "metrics.best=roc_auc": "here it is `auc`",
    "train.epochs=1e3": "expected a whole number above 0, got '1e3'; write 1000",
    "train.epochs=1,000": "write 1000",
    'train.epochs="8"': "write 8",
    "train.batch_size=32.0": "write 32",
    "data.test=20%": "write 0.2",
    "optimizer.lr=0,1": "write 0.1",
    "model.layers[1].bias=False": "write false",
    "train.clip_norm=None": "write null",
    "train.epochs=0.0": "expected a whole number above 0, got '0.0'",
}

# What is typed behind `dltrain` -> the message.
COMMANDS = {
    ("train", "c.yaml"): "there is no command 'train'; here it is `dltrain fit`",
    ("evaluate",): "there is no command 'evaluate'; here it is `dltrain eval`",
    ("tune", "c.yaml"): "there is no command 'tune'; here it is `dltrain sweep`",
    ("fit", "c.yaml", "--epochs", "5"): "`dltrain fit` has no option --epochs; write train.epochs=5 after the config",
    ("fit", "c.yaml", "--lr=0.1"): "`dltrain fit` has no option --lr; write optimizer.lr=0.1 after the config",
    ("fit", "c.yaml", "--batch-size", "8"): "write train.batch_size=8 after the config",
    ("fit", "c.yaml", "--learning-rate", "--smoke"): "write optimizer.lr=VALUE after the config",
    ("fit", "c.yaml", "--patience", "5"): "write train.early_stopping.patience=5 after the config",
    ("fit", "c.yaml", "--optimizer", "sgd"): "write optimizer=sgd after the config",
    ("fit", "c.yaml", "--workers", "5"): "here it is --threads",
    ("fit", "c.yaml", "--gpus", "1"): "here it is --device cuda",
    ("fit", "--config", "c.yaml"): "the config is given without --config: dltrain fit c.yaml",
    ("fit", "c.yaml", "--device", "cuda:0"): "--device cuda:0: here it is --device cuda",
    ("fit", "c.yaml", "--device=gpu"): "--device gpu: here it is --device cuda",
    ("report", "run", "--batch-size", "8"): "it belongs in the config, as train.batch_size",
}


@pytest.mark.parametrize(("change", "message"), CHANGES.items())
def test_words_of_others_in_a_config(change: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(OK, overrides=[change])
    assert any(message in problem for problem in caught.value.problems), caught.value


@pytest.mark.parametrize(("words", "message"), COMMANDS.items())
def test_words_of_others_on_the_command_line(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(OK)
    said = dltrain(*words)
    assert (said.code, len(said.errors)) == (2, 1) and said.errors[0].endswith(message)
    assert list(tmp_path.iterdir()) == [tmp_path / "c.yaml"], "nothing was begun"


def test_a_word_that_nobody_uses_is_left_to_the_parser(tmp_path: Path) -> None:
    assert dltrain("zork").err.endswith("No such command 'zork'.\n")
    assert "No such option: --zork" in dltrain("fit", "smoke", "--zork", "3").err


def places(section: Any = RunSpec, above: str = "") -> Iterator[str]:
    """Every path of a config that there may be."""
    for key, setting in settings_of(section).items():
        yield above + key
        parts = {setting.annotation, *get_args(setting.annotation)}
        for part in filter(is_section, parts):
            yield from places(part, f"{above}{key}.")
        for registry in REGISTRIES:
            if registry in {extra for part in parts for extra in (part, *getattr(part, "__metadata__", ()))}:
                yield from (f"{above}{key}.{own}" for name in registry for own in registry.settings(name))


def test_whatever_is_led_to_exists() -> None:
    known = set(places())
    assert set(foreign.PLACES) - known == set()
    keys = {key for registry in REGISTRIES for name in registry for key in registry.settings(name)}
    assert set(foreign.SETTINGS) - keys == set()
    words = {name for registry in REGISTRIES for name in registry} | {path.rpartition(".")[2] for path in known}
    components = [settings_of(registry[name]) for registry in REGISTRIES for name in registry]
    sections = [settings_of(part) for setting in settings_of(RunSpec).values()
                for part in (setting.annotation, *get_args(setting.annotation)) if is_section(part)]  # fmt: skip
    for settings in [settings_of(RunSpec), *sections, *components, *(registry.common for registry in REGISTRIES)]:
        words |= {word for setting in settings.values() for word in words_of(setting.annotation)}
    assert set(foreign.WORDS) - words == set()
    commands: Any = typer.main.get_command(app)
    options = {o[2:] for command in commands.commands.values() for p in command.params for o in p.opts}
    assert {ours.split()[0] for ours in foreign.COMMANDS} - commands.commands.keys() == set()
    assert set(foreign.OPTIONS) - options == set()
    taken = {word for theirs in foreign.COMMANDS.values() for word in theirs.split()} & commands.commands.keys()
    assert not taken, "ours are no words of others"
