"""`dltrain check`: quiet about healthy networks, and each planted fault is found by the check that is for it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import standin
from commands import dltrain, done
from PIL import Image

from dltrain.check import CHECKS, checks, examples, leaks, start
from dltrain.check.checks import Check
from dltrain.check.learn import one_batch_by_heart
from dltrain.check.numeric import gradient_check
from dltrain.job.settings import Check as CheckName
from dltrain.ops.activation import FUSED
from dltrain.spec import load, shipped_configs

Arrays = dict[str, Any]

CONFIG = """
data: {type: npz, path: data.npz}
model:
  layers:
    - conv: {channels: 8, padding: same}
    - max_pool: 2
    - flatten
    - dense: 16
    - dense: {units: 3, activation: none}
optimizer: {type: adam, lr: 1e-3}
train: {batch_size: 64}
"""
DEEP = "model.layers=[flatten, {dense: 16}, {dense: 16}, {dense: 16}, {dense: 16}, {dense: 16}, {dense: 16}, \
{dense: 16}, {dense: 16}, {dense: {units: 3, activation: none}}]"


def arrays(seed: int = 0) -> Arrays:
    """Three classes, each a bright stripe at its own height in noise."""
    rng = np.random.default_rng(seed)
    found: Arrays = {}
    for split, size in (("train", 480), ("test", 90)):
        y = np.arange(size) % 3
        x = rng.integers(0, 120, (size, 6, 6, 1))
        for i, label in enumerate(y):
            x[i, 2 * label] += 130
        found |= {f"x_{split}": x.astype(np.uint8), f"y_{split}": y}
    return found


def numbers(data: Arrays) -> None:
    for split in ("train", "test"):
        data[f"y_{split}"] = data[f"y_{split}"].astype(np.float32)[:, None] / 2


def few_of_a_class(data: Arrays) -> None:
    kept = np.flatnonzero((data["y_train"] != 2) | (np.arange(480) % 40 == 2))
    data |= {"x_train": data["x_train"][kept], "y_train": data["y_train"][kept]}


def none_of_a_class(data: Arrays) -> None:
    kept = data["y_train"] != 1
    data |= {"x_train": data["x_train"][kept], "y_train": data["y_train"][kept]}


def few_test_examples(data: Arrays) -> None:
    data |= {"x_test": data["x_test"][:20], "y_test": data["y_test"][:20]}


def leaked_number(data: Arrays) -> None:
    numbers(data)
    for split in ("train", "test"):
        x = data[f"x_{split}"].reshape(-1, 36).astype(np.float32)
        data[f"y_{split}"] = data[f"y_{split}"] + x[:, :1] / 50
        x[:, 7] = 3 * data[f"y_{split}"][:, 0] + 1
        data[f"x_{split}"] = x


def leaked_class(data: Arrays) -> None:
    for split in ("train", "test"):
        x = data[f"x_{split}"].reshape(-1, 36).astype(np.float32)
        x[:, 7] = data[f"y_{split}"] == 2
        data[f"x_{split}"] = x


def single_class(data: Arrays) -> None:
    data["y_train"][:] = 1
    data["y_test"] %= 2


def channels_first(data: Arrays) -> None:
    for split in ("train", "test"):
        data[f"x_{split}"] = data[f"x_{split}"].transpose(0, 3, 1, 2)


def test_from_train(data: Arrays) -> None:
    data |= {"x_test": data["x_train"][:90], "y_test": data["y_train"][:90]}


test_from_train.__test__ = False  # type: ignore[attr-defined]


def darker_from_train(data: Arrays) -> None:
    for split in ("train", "test"):
        data[f"x_{split}"] = np.tile(data[f"x_{split}"], (1, 3, 3, 1))
    data["x_test"][5:10] = data["x_train"][5:10] * 0.7 + 9


def shuffled_labels(data: Arrays) -> None:
    np.random.default_rng(1).shuffle(data["y_train"])


def contradictions(data: Arrays) -> None:
    data["x_train"][1:60:3] = data["x_train"][0:60:3]


def constant_inputs(data: Arrays) -> None:
    data["x_train"][:] = 7


def constant_targets(data: Arrays) -> None:
    numbers(data)
    data["y_train"][:] = 0.5


def negative_targets(data: Arrays) -> None:
    numbers(data)
    data["y_train"] -= 1


def all_zero(data: Arrays) -> None:
    numbers(data)
    data["y_train"][:] = 0


def large_numbers(data: Arrays) -> None:
    numbers(data)
    for split in ("train", "test"):
        data[f"y_{split}"] = 5e5 + 1e5 * data[f"y_{split}"]


def floats_far_out(data: Arrays) -> None:
    for split in ("train", "test"):
        data[f"x_{split}"] = data[f"x_{split}"].astype(np.float32)
    data["x_train"][3, 0, 0, 0] = 1e5


@dataclass(frozen=True)
class Fault:
    """overrides and change plant it; check must answer with status."""

    check: Check
    status: str
    overrides: tuple[str, ...] = ()
    change: Callable[[Arrays], None] | None = None


HUGE = "model.init={normal: {std: 1e30}}"
ONE_ROW = ("loss=mse", "model.layers=[dense: 8, {dense: {units: 1, activation: none}}]")
ONE_ROW_OF_CLASSES = ("model.layers=[dense: 8, {dense: {units: 3, activation: none}}]",)
MSE = ("loss=mse", "model.layers.4.units=1")
FAULTS = {
    "more in a batch than there is": Fault(start.shapes, "warning", ("train.batch_size=1000",)),
    "more in a step than there is": Fault(start.shapes, "warning", ("train.accumulate=8",)),
    "relu on the output": Fault(start.output, "failed", ("model.layers.4.activation=relu",)),
    "softmax before cross_entropy": Fault(start.output, "failed", ("model.layers.4.activation=softmax",)),
    "sigmoid for negative numbers": Fault(
        start.output, "failed", (*MSE, "model.layers.4.activation=sigmoid"), negative_targets
    ),
    "a class without examples": Fault(examples.classes, "failed", (), none_of_a_class),
    "a rare class": Fault(examples.classes, "warning", (), few_of_a_class),
    "one target for all": Fault(examples.classes, "failed", MSE, constant_targets),
    "the test part is from the training part": Fault(leaks.duplicates, "failed", (), test_from_train),
    "one input, two labels": Fault(leaks.duplicates, "failed", (), contradictions),
    "test pictures are training pictures, darker": Fault(leaks.near_duplicates, "warning", (), darker_from_train),
    "channels first": Fault(examples.layout, "warning", ("model.layers.1={max_pool: 1}",), channels_first),
    "relu on numbers above 0": Fault(
        start.output, "warning", (*MSE, "model.layers.4.activation=relu", "data.normalize_targets=none"), numbers
    ),
    "softmax on a number": Fault(start.output, "failed", (*MSE, "model.layers.4.activation=softmax"), numbers),
    "a single class": Fault(examples.classes, "failed", ("model.layers.4.units=2",), single_class),
    "few test examples": Fault(examples.parts, "warning", (), few_test_examples),
    "an input made from the target": Fault(examples.leaks, "warning", ONE_ROW, leaked_number),
    "an input made from the class": Fault(examples.leaks, "warning", ONE_ROW_OF_CLASSES, leaked_class),
    "labels in another order": Fault(examples.labels, "warning", (), shuffled_labels),
    "bytes as they are": Fault(examples.value_range, "failed", ("data.normalize=none",)),
    "all inputs are the same": Fault(examples.value_range, "failed", (), constant_inputs),
    "an outlier": Fault(examples.value_range, "warning", (), floats_far_out),
    "weights too large": Fault(start.loss_at_start, "failed", ("model.init={normal: {std: 3}}",)),
    "weights that make values grow": Fault(start.activations, "failed", (DEEP, "model.init={normal: {std: 3}}")),
    "weights that let values fade": Fault(start.activations, "failed", (DEEP, "model.init={normal: {std: 0.02}}")),
    "units dead from the start": Fault(start.dead_units, "failed", ("model.layers.3.init={constant: -0.1}",)),
    "weights that are all zero": Fault(start.gradients_arrive, "failed", ("model.init=zeros",)),
    "weights that are all equal": Fault(start.gradients_arrive, "failed", ("model.init={constant: 0.1}",)),
    "too many sigmoids": Fault(start.gradient_depth, "warning", (DEEP, "model.activation=sigmoid")),
    "a learning rate too high": Fault(start.first_update, "failed", ("optimizer.lr=10",)),
    "a learning rate too low": Fault(start.first_update, "failed", ("optimizer.lr=1e-8",)),
    "a learning rate that learns nothing": Fault(one_batch_by_heart, "failed", ("optimizer={type: sgd, lr: 1e-7}",)),
    "weights of 1e30 before an update": Fault(start.first_update, "failed", (HUGE,)),
    "weights of 1e30 to be learnt from": Fault(one_batch_by_heart, "failed", (HUGE,)),
    "a penalty of weights of 1e30": Fault(start.penalty, "failed", (HUGE, "penalty.l2=1e-20")),
    "a penalty beside a loss of 0": Fault(
        start.penalty, "failed", (*MSE, "+model.layers.4.init=zeros", "penalty.l2=1e-3"), all_zero
    ),
    "all about the penalty": Fault(start.penalty, "failed", ("penalty.l2=10",)),
    "a penalty by proximal steps": Fault(start.penalty, "failed", ("penalty={l1: 1, method: proximal}",)),
    "a penalty of a norm": Fault(start.penalty, "failed", ("penalty={norm: 10, p: 3, over: model}",)),
    "a layer's own penalty": Fault(start.penalty, "failed", ("+model.layers.dense1.penalty={l2: 10}",)),
}


def check(folder: Path, overrides: tuple[str, ...], change: Callable[[Arrays], None] | None) -> Any:
    """What `dltrain check --json` says of the network above with these changes; its exit code tells the same."""
    data = arrays()
    if change:
        change(data)
    np.savez(folder / "data.npz", **data)
    (folder / "net.yaml").write_text(CONFIG)
    said = dltrain("check", folder / "net.yaml", f"data.path={folder / 'data.npz'}", *overrides, "--json")
    assert said.err == ""
    assert said.code == (1 if said.json["failed"] else 0)
    return said.json


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_planted_fault_is_found(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECKS", (fault.check,))
    (finding,) = check(tmp_path, fault.overrides, fault.change)["findings"]
    assert finding["status"] == fault.status and finding["advice"]


def test_the_names_of_checks_may_be_muted(tmp_path: Path) -> None:
    names = [finding["check"] for loss, change in (((), None), (MSE, numbers))
             for finding in check(tmp_path, loss, change)["findings"]]  # fmt: skip
    assert set(names) == set(get_args(CheckName)), "whoever muted one must not hear it again"


def test_every_check_has_a_fault() -> None:
    """`reading` looks at tables; tests/test_table.py has what it finds."""
    assert {fault.check for fault in FAULTS.values()} | {gradient_check, examples.reading} == set(CHECKS)


SMALL_PICTURES = {"leaks", "near_duplicates"}  # what does not look at pictures of 6 pixels


@pytest.mark.parametrize(
    ("loss", "change", "skipped"),
    [((), None, SMALL_PICTURES), (MSE, numbers, SMALL_PICTURES | {"labels"})],
    ids=["classes", "numbers"],
)
def test_a_healthy_network_passes(loss: tuple[str, ...], change: Any, skipped: set[str], tmp_path: Path) -> None:
    """And what was not looked at does not."""
    found = check(tmp_path, loss, change)
    assert {finding["check"] for finding in found["findings"] if finding["status"] != "passed"} == skipped
    assert found["skipped"] == len(skipped) and found["passed"] + found["skipped"] == len(CHECKS)


def test_a_wrong_derivative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(FUSED["relu"], gradient=lambda xp, g, y: g * (y >= 0))
    monkeypatch.setitem(FUSED, "relu", wrong)
    monkeypatch.setattr(checks, "CHECKS", (gradient_check,))
    (finding,) = check(tmp_path, (), None)["findings"]
    assert finding["status"] == "failed"
    assert [text.split(":")[0] for text in finding["values"]["wrong"]] == ["conv1", "dense1"]
    assert set(finding["values"]["errors"]) == {"max_pool1", "flatten1", "dense2", "loss"}


@pytest.mark.parametrize(
    ("overrides", "change"),
    [((HUGE,), None), (("model.init=zeros",), None), (MSE, large_numbers)],
    ids=["huge", "zeros", "large targets"],
)
def test_right_derivatives_pass_whatever_the_numbers(
    overrides: tuple[str, ...], change: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "CHECKS", (gradient_check,))
    (finding,) = check(tmp_path, overrides, change)["findings"]
    assert finding["status"] == "passed" and finding["values"]["wrong"] == []


@pytest.mark.parametrize("std", ["1e15", "1e30"])
def test_what_is_not_finite_is_judged(std: str, tmp_path: Path) -> None:
    """The loss, all after it, and JSON knows no nan."""
    found = check(tmp_path, (f"model.init={{normal: {{std: {std}}}}}", "penalty.l2=1e9"), None)["findings"]
    failed = {finding["check"]: finding for finding in found if finding["status"] == "failed"}
    assert {"loss_at_start", "gradients", "first_update", "penalty", "learns_by_heart"} <= failed.keys()
    assert failed["loss_at_start"]["values"]["loss"] is None
    assert failed["penalty"]["values"]["penalty"] is None
    assert None in failed["first_update"]["values"]["ratios"].values()
    assert failed["learns_by_heart"]["found"] == "the loss is not finite"


def test_balanced_classes_are_not_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECKS", (examples.classes,))
    (finding,) = check(tmp_path, (), None)["findings"]
    assert finding["found"] == "3; each has 160 training examples"


def test_the_steps_of_an_epoch_are_those_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECKS", (start.shapes,))
    (finding,) = check(tmp_path, ("train.accumulate=4",), None)["findings"]
    assert finding["values"]["steps_per_epoch"] == 2 and "480 examples, 2 steps an epoch" in finding["found"]


@pytest.mark.parametrize("rate", [0, 0.1])
def test_a_network_that_gives_back_its_input(rate: float, tmp_path: Path) -> None:
    """At evaluation, or always: the checks judge it, and it is trained, evaluated and asked like others."""
    points = {f"x_{split}": np.random.default_rng(0).normal(size=(60, 3)) for split in ("train", "test")}
    np.savez(tmp_path / "points.npz", **points, y_train=np.arange(60) % 3, y_test=np.arange(60) % 3)
    (tmp_path / "net.yaml").write_text(CONFIG)
    config = (tmp_path / "net.yaml", f"data.path={tmp_path / 'points.npz'}", f"model.layers=[dropout: {rate}]")
    findings = dltrain("check", *config, "--json").json["findings"]
    found = {finding["check"]: finding["status"] for finding in findings}
    assert (found["activations"], found["learns_by_heart"]) == ("skipped", "failed") and len(found) == len(CHECKS)
    run = done("fit", *config, "--max-steps", 2, "--runs-dir", tmp_path, "--json").json
    assert dltrain("eval", run["run"], "--json").code == 0
    np.savez(tmp_path / "x.npz", x=np.log([[0.5, 0.3, 0.2]]))
    (answer,) = done("predict", run["run"], tmp_path / "x.npz", "--json").json["predictions"]
    assert answer["class"] == "0" and sum(answer["probabilities"].values()) == pytest.approx(1)


def test_on_a_gpu(tmp_path: Path) -> None:
    with standin.installed():
        found = check(tmp_path, ("device=cuda",), None)
    assert found["passed"] + found["skipped"] == len(CHECKS) and found["skipped"] == len(SMALL_PICTURES)


def test_for_people(tmp_path: Path) -> None:
    """A line for each check, what to do below it, and the picture that was asked for."""
    said = done("check", "digits_cnn", "--samples", tmp_path / "samples.png")
    lines = {line.split()[1]: line.split()[0] for line in said.out.splitlines()[:-1]}
    assert set(lines.values()) == {"passed", "skipped"} and len(lines) == len(CHECKS)
    assert {check for check, status in lines.items() if status == "skipped"} == SMALL_PICTURES
    assert said.out.splitlines()[-1] == f"{len(CHECKS) - 2} passed, 2 skipped"
    picture = np.asarray(Image.open(tmp_path / "samples.png"))
    assert picture.shape[0] > 600 and picture.std() > 50
    said = dltrain("check", "smoke", "optimizer.lr=10")
    assert said.code == 1
    failed = [i for i, line in enumerate(said.out.splitlines()) if line.startswith("failed")]
    assert failed and all(said.out.splitlines()[i + 1].lstrip().startswith("→ ") for i in failed)


# What is wrong with the shipped configs that show a fault; all others are healthy.
SICK = {
    "deep_sigmoid": {"activations", "gradient_depth", "learns_by_heart"},
    "dying_relu": {"first_update"},
    "digit_codes_reader": {"dead_units"},  # a sixth of its units see nothing in 64 noisy digits
    "digit_codes_lexicon": {"duplicates"},  # a lexicon is known by heart: its codes are those of the test
}


ALONE = [n for n, path in shipped_configs().items() if (s := load(path)).data and s.model and not s.model.load]


@pytest.mark.parametrize("name", ALONE)
def test_the_healthy_shipped_configs_pass(name: str, request: pytest.FixtureRequest) -> None:
    if load(shipped_configs()[name]).data.type in ("cifar10", "mnist"):  # type: ignore[union-attr]
        request.getfixturevalue("data_dir")
    findings = dltrain("check", name, "--json").json["findings"]
    assert len(findings) == len(CHECKS)
    found = {finding["check"] for finding in findings if finding["status"] in ("warning", "failed")}
    assert found == SICK.get(name, set())
