"""Losses as a training uses them: what they count, what they answer, and that descending them solves the task."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import LayerList, make_job, rows, train

from dltrain.backend import Device, to_host
from dltrain.data import Split
from dltrain.engine import Tensor, distinct, gradients
from dltrain.evaluation.evaluate import evaluate, predict
from dltrain.job.parallel import ThreadPool
from dltrain.nn import LOSSES
from dltrain.ops import dense, matmul, square_sum
from dltrain.optim import OPTIMIZERS


def numbers(examples: int) -> Split:
    """Two numbers to predict, which a dense layer can."""
    split = rows(examples)
    return Split(split.inputs, (split.inputs[:, :2] - split.inputs[:, 2:4]).astype(np.float32))


# loss -> its settings, outputs of the network, data
TASKS: dict[str, tuple[dict[str, Any], int, Split]] = {
    "cross_entropy": ({"label_smoothing": 0.05}, 3, rows(140)),
    "binary_cross_entropy": ({}, 1, rows(140, classes=2)),
    "hinge": ({"C": 0.5}, 3, rows(140)),
    "mse": ({}, 2, numbers(140)),
    "mae": ({}, 2, numbers(140)),
    "huber": ({"delta": 0.5}, 2, numbers(140)),
}


def test_the_table_holds_every_loss_and_setting() -> None:
    of_pictures = {name for name in LOSSES if LOSSES[name].of_pictures}  # test_style.py has these
    assert set(TASKS) == set(LOSSES) - of_pictures
    for name in TASKS:
        assert set(TASKS[name][0]) == set(LOSSES.settings(name)), name


@pytest.mark.parametrize("name", TASKS)
def test_it_can_be_learned(name: str, tmp_path: Path, device: Device) -> None:
    settings, outputs, data = TASKS[name]
    layers: LayerList = [("dense", {"units": outputs, "activation": "none"})]
    splits = {"train": data.take(np.arange(100)), "test": data.take(np.arange(100, 140))}
    optimizer = OPTIMIZERS["adam"](lr=0.05)
    job = make_job(
        layers, splits, loss=name, loss_settings=settings, optimizer=optimizer, device=device, epochs=15, batch_size=20
    )
    result, run = train(job, tmp_path)
    losses = [row["train"]["loss"] for row in run.rows(run.metrics) if row["event"] == "epoch"]
    assert losses[-1] < 0.4 * losses[0]
    if job.loss.classification:
        assert result["test"]["accuracy"] >= 0.9
    else:
        assert result["test"].keys() == {"loss", "mae", "r2"}


@pytest.mark.parametrize("name", TASKS)
def test_the_parts_of_a_batch_add_up(name: str, device: Device) -> None:
    settings, outputs, data = TASKS[name]
    loss = LOSSES[name](**settings)
    output, targets = distinct(12, outputs), device.asarray(data.targets[:12])

    def over(first: int, last: int) -> float:
        return float(to_host(loss(Tensor(device.asarray(output[first:last])), targets[first:last], 12).data))

    assert over(0, 5) + over(5, 12) == pytest.approx(over(0, 12), rel=1e-12)


def test_one_logit_is_as_good_as_two(device: Device) -> None:
    """softmax of (0, z) is sigmoid of z, so both losses, accuracies and answers agree."""
    data = rows(30, classes=2)
    found = []
    for name, outputs in (("binary_cross_entropy", 1), ("cross_entropy", 2)):
        layers: LayerList = [("dense", {"units": outputs, "activation": "none"})]
        job = make_job(layers, {"train": data}, loss=name, device=device)
        job.model.initialise(0, device)
        w = np.linspace(-1, 1, 5)[:, None]
        weights = {"dense1.weight": w, "dense1.bias": np.array([0.3])}
        if outputs == 2:
            weights = {key: np.concatenate([0 * a, a], axis=-1) for key, a in weights.items()}
        job.model.load(weights, device)
        pool = ThreadPool(1)
        seen = evaluate(job.model, job.loss, job.loaders["train"], pool, 7, 3)
        x = to_host(job.loaders["train"].examples(np.arange(30))[0])
        found.append((seen, predict(job.model, job.loss, x, device, 8)))
    (one, answers), (two, expected) = found
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-12)
    assert one["confusion"] == two["confusion"] and one["accuracy"] == two["accuracy"]
    assert answers.shape == (30, 2)
    np.testing.assert_allclose(answers, expected, rtol=1e-12)


def test_the_hinge_makes_a_support_vector_machine() -> None:
    """One number, two classes: the widest margin between -1 and 3 has its middle at 1 and a difference of slopes of
    1/2; the far points play no part. What is minimised is Σw²/2 + C · error."""
    x = np.array([[-1.0], [-4.0], [-9.0], [3.0], [5.0], [20.0]])
    targets, loss = np.array([0, 0, 0, 1, 1, 1]), LOSSES["hinge"](C=10.0)
    w, b = Tensor(np.zeros((1, 2))), Tensor(np.zeros(2))
    for step in range(3000):
        penalised = loss(dense(x, w, b), targets, 6) + square_sum(w) * 0.5
        for parameter, gradient in zip((w, b), gradients(penalised, [w, b]), strict=True):
            parameter.data -= 0.02 / (1 + step / 100) * gradient
    slope, offset = w.data[0, 1] - w.data[0, 0], b.data[1] - b.data[0]
    assert slope == pytest.approx(0.5, abs=0.01)
    assert -offset / slope == pytest.approx(1.0, abs=0.05)


# C -> the weights of scikit-learn 1.9's LinearSVC(loss="hinge", C=2 * C / N, fit_intercept=False, tol=1e-12,
# max_iter=10**7).fit(*two_clouds()).coef_[0]
MACHINES = {0.5: [0.37887844, -0.1812259], 5.0: [0.69111954, -0.54242823]}


def two_clouds() -> tuple[Any, Any]:
    rng = np.random.RandomState(0)
    x = rng.normal(size=(40, 2))
    return x, (x @ [1.0, -0.5] + 0.3 + 0.5 * rng.normal(size=40) > 0).astype(int)


@pytest.mark.parametrize("C", MACHINES)
def test_for_two_classes_c_counts_twice(C: float) -> None:
    """‖w‖² is half the square of the difference of two opposite rows; so C here is 2C / N of a machine with one row."""
    (x, targets), svm = two_clouds(), np.array(MACHINES[C])
    loss = LOSSES["hinge"](C=C)

    def objective(w: Tensor) -> Tensor:
        y: Tensor = loss(matmul(x, w), targets, len(x)) + square_sum(w) * 0.5
        return y

    w, late = Tensor(np.zeros((2, 2))), []
    for step in range(4000):  # 1 / (step + 2): the loss is strongly convex
        w.data = w.data - gradients(objective(w), [w])[0] / (step + 2)
        late += [w.data] if step >= 2000 else []
    found, theirs = np.mean(late, axis=0), np.stack([-svm / 2, svm / 2], axis=1)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], svm, atol=1e-3)
    assert float(objective(Tensor(found)).data) == pytest.approx(float(objective(Tensor(theirs)).data), abs=1e-4)
