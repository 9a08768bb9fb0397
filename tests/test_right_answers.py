"""Inputs as people have them by mistake, each of a kind, with the line that `fit` answers them with: refused before
anything is allocated, or trained with a warning that says what is wrong and what to do. Never silently."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import dltrain

from dltrain.backend import process

Arrays = dict[str, Any]
CONFIG = """
data: {type: npz, path: data.npz}
model: {layers: [flatten, dense: 8, {dense: {units: 3, activation: none}}]}
train: {epochs: 1, batch_size: 16}
"""
NUMBERS = ("loss=mse", "model.layers.2.units=1")


def arrays(shape: tuple[int, ...] = (5,)) -> Arrays:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, *shape)).astype(np.float32)
    return {"x_train": x, "y_train": np.arange(60) % 3, "x_test": x[:9] + 1, "y_test": np.arange(9) % 3}


def numbers(low: float, high: float) -> Arrays:
    y = np.linspace(low, high, 60, dtype=np.float32)[:, None]
    return arrays() | {"y_train": y, "y_test": y[:9]}


def labels(*classes: int) -> Arrays:
    y = np.resize(classes, 60)
    return arrays() | {"y_train": y, "y_test": y[:9]}


# What is wrong -> the data, changes of the config, and the warning of `fit`; "" where it is right to say nothing.
WARNED: dict[str, tuple[Arrays, tuple[str, ...], str]] = {
    "nothing": (arrays(), (), ""),
    "numbers, nothing wrong": (numbers(-2, 2), NUMBERS, ""),
    "softmax before cross_entropy": (
        arrays(), ("+model.layers.3=softmax",),
        "softmax1 ends in softmax; remove softmax1: the loss wants numbers of any size",
    ),
    "softmax as the activation": (
        arrays(), ("model.layers.2.activation=softmax",),
        "dense2 ends in softmax; give dense2 `activation: none`",
    ),
    "relu on logits, by default": (
        arrays(), ("model.layers.2={dense: 3}",), "dense2 ends in relu; give dense2 `activation: none`"
    ),
    "a relu layer on logits": (arrays(), ("+model.layers.3=relu",), "relu1 ends in relu; remove relu1"),
    "sigmoid before binary_cross_entropy": (
        labels(0, 1), ("loss=binary_cross_entropy", "model.layers.2={dense: {units: 1, activation: sigmoid}}"),
        "dense2 ends in sigmoid; give dense2 `activation: none`",
    ),
    "a regression that ends in relu": (
        numbers(1, 9), (*NUMBERS, "model.layers.2.activation=relu"), "dense2 ends in relu, targets from "
    ),
    "a regression that ends in softmax": (
        numbers(0, 1), (*NUMBERS, "model.layers.2.activation=softmax"), "for a single number softmax is always 1"
    ),
    "a regression that ends in sigmoid": (
        numbers(-3, 3), (*NUMBERS, "model.layers.2.activation=sigmoid"), "sigmoid gives numbers from 0 to 1 only"
    ),
    "a regression that ends in tanh": (
        numbers(-90, 90), (*NUMBERS, "model.layers.2.activation=tanh"), "tanh gives numbers from -1 to 1 only"
    ),
    "labels from 1": (
        labels(*range(1, 11)), ("model.layers.2.units=11",), "labels seem to count from 1, but 0 is a class: subtract 1"
    ),
    "a gap in the labels": (
        labels(0, 1, 3), ("model.layers.2.units=4",), "4; the rarest, 2, has 0 training examples"
    ),
    "a single class": (
        labels(0), ("model.layers.2.units=1",),
        "all training examples are of one class: nothing can be learnt",
    ),
    "one number for all": (
        numbers(4, 4), NUMBERS, "target 0 is the same for all examples: nothing can be learnt"
    ),
    "a class that only the test part lacks": (
        arrays() | {"y_test": np.arange(9) % 2}, (), "test has no 2: its figures say nothing about them"
    ),
    "a rare class": (
        labels(*[0] * 28, 1, 2), (), "accuracy hides the rare classes: look at recall"
    ),
    "grey pictures, channels first": (
        arrays((1, 8, 8)), (), "pictures 1 high and 8 wide, with 8 channels; if they are 8 x 8 with 1 channel,"
    ),
    "colour pictures, channels first": (
        arrays((3, 12, 16)), (), "if they are 12 x 16 with 3 channels, channels come first in them"
    ),
    "pictures, channels last": (arrays((8, 8, 3)), (), ""),
    "small colour pictures, channels last": (arrays((3, 3, 3)), (), ""),
}  # fmt: skip

# What is asked for and cannot be -> changes of the config or words behind it, and the error; no run is begun.
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "units, 1e9": (("model.layers.1.units=1000000000",), "the weights and gradients take "),
    "units, 1e20": (("model.layers.1.units=100000000000000000000",), "make the layer smaller"),
    "channels": (
        ("model.layers=[conv: {channels: 100000000000, kernel: 1, bias: false}, flatten, dense: 3]",),
        "make the layer smaller",
    ),
    "padding": (
        ("model.layers=[{conv: {channels: 1, padding: 100000000000}}, global_max_pool, flatten, "
         "{dense: {units: 3, activation: none}}]",),
        "the outputs and gradients of a single example take ",
    ),
    "examples of a generator": (
        ("data={spiral: {examples: 1000000000000}}", "model.layers.2.units=2"), "the data take "
    ),
    "size of a generator": (("data={volumes: {size: 10000000}}",), "this machine has "),
    "folds": (("--folds", 100000), "--folds 100000: 60 training examples cannot be cut into 100000 pieces"),
    "folds, one too many": (("--folds", 61), "60 training examples cannot be cut into 61 pieces"),
    "seeds": (("--seeds", 10**9), "that would be a group of 1,000,000,000 runs; it may have at most 1,000"),
    "settings": (
        ("--vary", "seed=" + ",".join(map(str, range(40))), "--vary", "optimizer.lr=" + ",".join(["1"] * 40)),
        "that would be a group of 1,600 runs",
    ),
    "seeds and folds": (("--seeds", 50, "--folds", 50), "that would be a group of 2,500 runs"),
}  # fmt: skip


def fit(folder: Path, data: Arrays, *words: Any) -> Any:
    np.savez(folder / "data.npz", **data)
    (folder / "c.yaml").write_text(CONFIG.replace("data.npz", str(folder / "data.npz")))
    return dltrain("fit", folder / "c.yaml", *words, "--runs-dir", folder / "runs", "--threads", 1)


@pytest.mark.parametrize("name", WARNED)
def test_what_check_knows_fit_says_in_a_line(name: str, tmp_path: Path) -> None:
    """And `validate`, as far as that needs no data."""
    data, changes, message = WARNED[name]
    said = fit(tmp_path, data, *changes)
    assert said.code == 0, said.err
    warnings = [line for line in said.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == bool(message) and all(message in line for line in warnings)
    if message:
        found = dltrain("check", tmp_path / "c.yaml", *changes, "--json").json["findings"]
        check = warnings[0].rpartition("[")[2].rstrip("]")
        assert next(f["advice"] for f in found if f["check"] == check) in warnings[0], "as `check` does"
    alone = [line for line in dltrain("validate", tmp_path / "c.yaml", *changes).err.splitlines() if "[output]" in line]
    needs_no_targets = [line for line in warnings if "[output]" in line and " only  [" not in line]
    assert len(alone) == len(needs_no_targets) or " only  [" in message + warnings[0]
    assert all(warnings[0].startswith(line.partition(";")[0]) for line in alone)


@pytest.mark.parametrize("name", [name for name in REFUSED if name.startswith(("units", "channels", "padding"))])
def test_what_fit_refuses_validate_warns_of(name: str, tmp_path: Path) -> None:
    words, message = REFUSED[name]
    np.savez(tmp_path / "data.npz", **arrays((4, 4, 1)))
    (tmp_path / "c.yaml").write_text(CONFIG.replace("data.npz", str(tmp_path / "data.npz")))
    said = dltrain("validate", tmp_path / "c.yaml", *words)
    assert said.code == 0 and "warning: `fit` refuses this here: " in said.err and message in said.err


def test_a_smoke_run_says_what_it_takes_for_validation(tmp_path: Path) -> None:
    line = "warning: data: there is no validation part; --smoke takes training examples for it\n"
    assert line in fit(tmp_path, arrays(), "--smoke").err
    assert line not in fit(tmp_path, arrays(), "--smoke", "data.validation=0.2").err


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_before_it_is_begun(name: str, tmp_path: Path) -> None:
    words, message = REFUSED[name]
    said = fit(tmp_path, arrays((4, 4, 1)), *words)
    assert said.code == 2 and len(said.errors) == 1 and message in said.errors[0], said.err
    assert not (tmp_path / "runs").exists()


def test_what_needs_just_more_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and gradients of 5 · 8 + 8 and 8 · 3 + 3 numbers of 4 bytes: 600 bytes."""
    monkeypatch.setattr("dltrain.spec.memory.available_memory", lambda: 600)
    assert fit(tmp_path, arrays()).code == 0
    monkeypatch.setattr("dltrain.spec.memory.available_memory", lambda: 599)
    said = fit(tmp_path, arrays())
    assert said.code == 2 and "c.yaml:3:27  dense1: the weights and gradients take" in said.errors[0]


def test_the_memory_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = process.available_memory()
    assert machine and machine > 2**28
    for text, expected in (("max\n", None), ("1048576\n", 2**20)):
        (tmp_path / "memory.max").write_text(text)
        monkeypatch.setattr(process, "CGROUP_MEMORY", tmp_path / "memory.max")
        found = process.available_memory()
        assert found == expected or (expected is None and found and found >= machine)


def test_fit_says_what_is_missing_and_filled(tmp_path: Path) -> None:
    rows = [f"{'' if i % 4 == 0 else i},{'NA' if i % 10 == 0 else 'red'},{'xy'[i % 2]}" for i in range(40)]
    (tmp_path / "a.csv").write_text("\n".join(["a,b,cls", *rows]))
    (tmp_path / "c.yaml").write_text(CONFIG.replace("npz, path: data.npz", f"csv, path: {tmp_path}/a.csv, target: cls"))
    said = dltrain("fit", tmp_path / "c.yaml", "model.layers.2.units=2", "--runs-dir", tmp_path / "runs")
    assert "missing values, filled with the mean (categories: with none of them): a 25.0%, b 10.0%\n" in said.err
