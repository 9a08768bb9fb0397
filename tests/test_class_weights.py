"""Classes that count more than others: their weights, and that a training follows them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import make_job, rows, train, weighed
from commands import done
from conftest import device_of
from test_train_step import ready, take_step

from dltrain.backend import Device
from dltrain.data import Preprocessing, Split, class_weights
from dltrain.errors import ConfigError, DataError
from dltrain.evaluation.evaluate import evaluate
from dltrain.job.parallel import ThreadPool
from dltrain.nn import LOSSES
from dltrain.spec import build_job, loads, settle

CLASSES = ("a", "b", "c")


def test_balanced_weights() -> None:
    found = class_weights("balanced", np.array([0] * 6 + [1] * 3 + [2]), CLASSES)
    assert found == (10 / (3 * 6), 10 / (3 * 3), 10 / 3)
    one_missing = class_weights("balanced", np.array([0, 0, 0, 2]), CLASSES)
    assert one_missing is not None and (one_missing[0], one_missing[2]) == (4 / 6, 4 / 2)
    assert class_weights((1.0, 2.0, 0.5), np.zeros(3, int), CLASSES) == (1.0, 2.0, 0.5)
    assert class_weights("none", np.zeros(3, int), CLASSES) is None


def test_refuses() -> None:
    with pytest.raises(ConfigError, match=r"data\.class_weights: 2 weights, but there are 3 classes"):
        class_weights((1.0, 2.0), np.zeros(3, int), CLASSES)
    with pytest.raises(ConfigError, match="is for examples of one class each"):
        class_weights("balanced", np.zeros((3, 1)), None)


WEIGHABLE = ("cross_entropy", "binary_cross_entropy", "hinge")


def test_every_loss_says_whether_examples_can_count_more() -> None:
    assert {name for name in LOSSES if LOSSES[name].weighable} == set(WEIGHABLE)  # type: ignore[attr-defined]


@pytest.mark.parametrize("loss", WEIGHABLE)
def test_a_weight_counts_an_example_several_times(loss: str, device: Device) -> None:
    """With whole weights loss and gradient are those of a batch that holds each example so many times."""
    binary = loss == "binary_cross_entropy"
    weights, data = np.array([2, 3] if binary else [2, 1, 3]), rows(70, classes=2 if binary else 3)
    settings: dict[str, Any] = {"device": device, "loss": loss, "splits": {"train": data}}
    settings["layers"] = [("dense", {"units": 1 if binary else 3, "activation": "none"})]
    pool, batch = ThreadPool(2), np.arange(22)
    report, gradients = take_step(weighed(ready(**settings), weights), pool, batch)
    repeated = np.repeat(batch, weights[data.targets[batch]])
    expected, slopes = take_step(ready(**settings), pool, repeated)
    assert (report.examples, report.weight) == (22, len(repeated))
    assert report.data_loss == pytest.approx(expected.data_loss, rel=1e-12)
    for name, gradient in slopes.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-9, atol=1e-14)
    pool.close()


@pytest.mark.parametrize("loss", WEIGHABLE)
def test_an_evaluation_weighs_like_the_training(loss: str, device: Device) -> None:
    outputs, data = (1, rows(70, classes=2)) if loss == "binary_cross_entropy" else (3, rows(70))
    weights = np.array([2, 5, 3])
    layers: Any = [("dense", {"units": outputs, "activation": "none"})]
    found = []
    for split in (data, data.take(np.repeat(np.arange(70), weights[data.targets]))):
        job = ready(layers=layers, splits={"train": split}, loss=loss, normalize="none", device=device)
        if split is data:
            weighed(job, weights[: len(set(data.targets))])
        pool = ThreadPool(2)
        found.append(evaluate(job.model, job.loss, job.loaders["train"], pool, 20, 6)["loss"])
        pool.close()
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_bits_do_not_depend_on_threads(tmp_path: Path) -> None:
    job = weighed(make_job(), [2, 1, 3])
    assert len({train(job, tmp_path, threads)[0]["weights_sha256"] for threads in (1, 2, 4)}) == 1
    assert train(job, tmp_path)[0]["weights_sha256"] != train(make_job(), tmp_path)[0]["weights_sha256"]


def test_a_rare_class_is_found(tmp_path: Path) -> None:
    """One example in thirty is of class 1, and the two overlap: only with weights is it worth saying 1."""
    rng = np.random.default_rng(0)
    targets = (np.arange(900) % 30 == 0).astype(np.int64)
    split = Split((rng.normal(size=(900, 2)) + 1.2 * targets[:, None]).astype(np.float32), targets)
    np.savez(tmp_path / "a.npz", x_train=split.inputs, y_train=targets, x_test=split.inputs, y_test=targets)
    config = """
data: {type: npz, path: %s, class_weights: %s}
model: {layers: [dense: {units: 2, activation: none}]}
optimizer: {adam: {lr: 0.05}}
train: {epochs: 10, batch_size: 100}
"""
    recall: dict[str, Any] = {}
    for weights in ("none", "balanced", "[1, 30]"):
        (tmp_path / "a.yaml").write_text(config % (tmp_path / "a.npz", weights))
        result = done("fit", tmp_path / "a.yaml", "--runs-dir", tmp_path / "runs", "--json").json
        found = done("eval", "--runs-dir", tmp_path / "runs", "--json").json
        assert found["loss"] == pytest.approx(result["test"]["loss"], rel=1e-6), "the checkpoint knows the weights"
        recall[weights] = found["per_class"][1]["recall"]
    assert recall["none"] < 0.2 and recall["balanced"] > 0.6 and recall["[1, 30]"] > 0.6


def test_a_loss_that_cannot_weigh_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOSSES["cross_entropy"], "weighable", False)
    device = device_of(np.float32)
    text = "data: {type: penguins, class_weights: balanced}\nmodel: {layers: [dense: {units: 3, activation: none}]}"
    with pytest.raises(ConfigError, match=r":1:39  data\.class_weights: the loss cross_entropy cannot weigh examples"):
        build_job(settle(loads(text), device), device, Path("nowhere"))


@pytest.mark.parametrize("weights", [[], [1.0, 2.0], [1.0, 2.0, 0.0], [1.0, 2.0, float("inf")], [1, 2, 3], "abc", 1.0])
def test_a_damaged_checkpoint_has_no_weights(weights: Any) -> None:
    """One of an older version says nothing of them."""
    learned = replace(Preprocessing.learn(rows(9), classes=CLASSES, normalize="none"), class_weights=(1.0, 2.0, 0.5))
    raw = learned.to_json()
    assert Preprocessing.from_json(raw) == learned
    with pytest.raises(DataError, match="damaged"):
        Preprocessing.from_json(raw | {"class_weights": weights})
    del raw["class_weights"]
    assert Preprocessing.from_json(raw) == replace(learned, class_weights=None)


def test_mistakes_in_a_config() -> None:
    text = "data: {type: penguins, class_weights: %s}\nmodel: {layers: [dense: {units: 3, activation: none}]}"
    with pytest.raises(ConfigError, match=r"data\.class_weights: expected none or balanced or a list \(each a number"):
        loads(text % "some")
    device = device_of(np.float32)
    with pytest.raises(ConfigError, match="2 weights, but there are 3 classes"):
        build_job(settle(loads(text % "[1, 2]"), device), device, Path("nowhere"))
