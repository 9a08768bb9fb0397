"""One step, taken apart: what is penalised, clipped, drawn at random and fed; and what an evaluation counts."""

import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import EVERY_LAYER, SMALL, images, make_job, rows, train, weights_of
from conftest import device_of

from dltrain.backend import Device, to_host
from dltrain.data import AUGMENTATIONS, Split
from dltrain.engine import no_grad
from dltrain.evaluation.evaluate import evaluate, predict
from dltrain.job.job import Job
from dltrain.job.loader import StepKey
from dltrain.job.parallel import ThreadPool
from dltrain.nn import Context, Penalty
from dltrain.ops import dropout, dropout_words
from dltrain.optim import OPTIMIZERS
from dltrain.train.diagnostics import Probes
from dltrain.train.step import penalise, replay_for, train_step
from dltrain.train.step_metrics import StepReport, fetch

MOMENT = StepKey(seed=0, epoch=1, step=1)


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    pool = ThreadPool(3)
    yield pool
    pool.close()


def ready(**settings: Any) -> Job:
    job = make_job(**({"optimizer": OPTIMIZERS["sgd"](lr=1.0)} | settings))
    job.model.initialise(job.seed, job.device)
    return job


def take_step(job: Job, pool: ThreadPool, batch: Any, lr: float = 1.0) -> tuple[StepReport, dict[str, Any]]:
    """The report of one step of plain descent, and the gradients that it used: by how much the weights fell."""
    before = weights_of(job)
    state, replay = job.new_optimizer_state(), replay_for(job)
    step = train_step(job, pool, replay, np.asarray(batch), MOMENT, {"": lr}, state, False)
    (metrics,) = fetch(step.updates, job.device)
    report = metrics.report(Probes(job.model))
    return report, {name: (before[name] - after) / lr for name, after in weights_of(job).items()}


# --- penalty ---------------------------------------------------------------------------------------------------------


PENALTIES: list[dict[str, Any]] = [
    {"l1": 0.3}, {"l2": 0.7}, {"l1": 0.2, "l2": 0.1}, {"norm": 0.5}, {"norm": 0.5, "over": "model"},
    {"norm": 0.5, "p": 1.5, "biases": True}, {"norm": 0.2, "p": 3.0, "over": "model", "l1": 0.1, "biases": True},
]  # fmt: skip


def penalty_of(job: Job) -> tuple[float, dict[str, Any]]:
    terms, gradients = penalise(job.update)
    return sum(float(to_host(term)) for term in terms), gradients


def plain_penalty(
    w: dict[str, Any], *, l1: float = 0, l2: float = 0, norm: float = 0, p: float = 2, over: str = "layer",
    biases: bool = False,
) -> float:  # fmt: skip
    parts: dict[str, list[Any]] = {}
    for name, array in w.items():
        if name.endswith("weight") or (biases and name.endswith("bias")):
            parts.setdefault(name.split(".")[0] if over == "layer" else "", []).append(array.ravel())
    vectors = [np.concatenate(part) for part in parts.values()]
    norms = [(np.abs(v) ** p).sum() ** (1 / p) for v in vectors]
    return sum(l1 * np.abs(v).sum() + l2 * (v**2).sum() for v in vectors) + norm * sum(norms)


def test_the_penalties_hold_every_setting() -> None:
    assert {key for penalty in PENALTIES for key in penalty} | {"method"} == {f.name for f in fields(Penalty)}


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_gradient_of_the_penalty_is_its_finite_difference(penalty: dict[str, Any], device: Device) -> None:
    job = ready(layers=EVERY_LAYER["deep"], splits={"train": images(30)}, device=device, penalty=penalty)
    for parameter in job.model.parameters.values():
        parameter.data += 0.01  # biases are not 0
    value, gradients = penalty_of(job)
    assert value == pytest.approx(plain_penalty(weights_of(job), **penalty), rel=1e-12)
    parameters = job.model.parameters
    kinds = ("weight", "bias") if penalty.get("biases") else ("weight",)
    assert gradients.keys() == {name for name in parameters if name.endswith(kinds)}, "biases are free, slopes always"
    rng = np.random.default_rng(0)
    for name, gradient in gradients.items():
        parameter = parameters[name]
        direction = device.asarray(rng.choice([-1.0, 1.0], parameter.shape))
        epsilon = 1e-6
        values = []
        for sign in (1, -2):
            parameter.data += sign * epsilon * direction
            values.append(penalty_of(job)[0])
        parameter.data += epsilon * direction
        along = float(to_host((gradient * direction).sum()))
        assert (values[0] - values[1]) / (2 * epsilon) == pytest.approx(along, rel=1e-6, abs=1e-7)


def test_the_penalty_is_added_once_and_logged_apart(pool: ThreadPool, device: Device) -> None:
    batch = range(22)
    plain, gradients = take_step(ready(device=device), pool, batch)
    job = ready(device=device, penalty={"l1": 0.01, "l2": 0.02})
    w = weights_of(job)
    report, penalised = take_step(job, pool, batch)
    weights = {name: array for name, array in w.items() if name.endswith("weight")}
    assert report.data_loss == pytest.approx(plain.data_loss, rel=1e-12)
    expected = sum(0.01 * np.abs(a).sum() + 0.02 * (a**2).sum() for a in weights.values())
    assert report.penalty == pytest.approx(expected, rel=1e-12)
    for name, gradient in gradients.items():
        added = 0.01 * np.sign(w[name]) + 0.04 * w[name] if name in weights else 0
        np.testing.assert_allclose(penalised[name], gradient + added, rtol=1e-9, atol=1e-12)


def test_a_layer_may_have_a_penalty_of_its_own(device: Device) -> None:
    layers: Any = [(kind, dict(settings)) for kind, settings in [*SMALL[:1], *SMALL]]
    layers[1][1]["penalty"] = Penalty(l2=0.25, biases=True)
    job = ready(layers=layers, device=device, penalty={"norm": 2.0, "over": "model"})
    for parameter in job.model.parameters.values():
        parameter.data += 0.01
    value, gradients = penalty_of(job)
    w = weights_of(job)
    shared = {name: array for name, array in w.items() if not name.startswith("dense2")}
    own = 0.25 * sum((array**2).sum() for name, array in w.items() if name.startswith("dense2"))
    assert value == pytest.approx(plain_penalty(shared, norm=2.0, over="model") + own, rel=1e-12)
    assert gradients.keys() == {"dense1.weight", "dense2.weight", "dense2.bias", "dense3.weight"}
    np.testing.assert_allclose(to_host(gradients["dense2.bias"]), 0.5 * w["dense2.bias"], rtol=1e-12)


def test_a_proximal_step_stops_at_zero(pool: ThreadPool, device: Device) -> None:
    """What plain descent gives, and then each weight lr · l1 nearer to 0; the loss is that of the gradient method."""
    plain_job, job = ready(device=device), ready(device=device, penalty={"l1": 0.3, "method": "proximal"})
    before = weights_of(job)
    take_step(plain_job, pool, range(22), lr=0.5)
    report, _ = take_step(job, pool, range(22), lr=0.5)
    assert report.penalty == pytest.approx(plain_penalty(before, l1=0.3), rel=1e-12)
    zeros = 0
    for name, w in weights_of(plain_job).items():
        right = np.sign(w) * np.maximum(np.abs(w) - 0.15, 0) if name.endswith("weight") else w
        np.testing.assert_allclose(weights_of(job)[name], right, rtol=1e-12, atol=1e-15)
        zeros += int((weights_of(job)[name] == 0).sum())
    assert 0 < zeros < sum(w.size for w in before.values())


def test_proximal_steps_keep_only_what_matters(pool: ThreadPool) -> None:
    """Class 1 is where the first of five numbers is above 0; the others are noise."""
    x = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    data = {"train": Split(x, (x[:, 0] > 0).astype(np.int64))}
    layers: Any = [("dense", {"units": 1, "activation": "none"})]
    used = {}
    for method in ("gradient", "proximal"):
        penalty = {"l1": 0.2, "method": method}
        job = ready(layers=layers, splits=data, loss="binary_cross_entropy", penalty=penalty, shard_size=200)
        for _ in range(60):
            take_step(job, pool, range(200), lr=0.3)
        used[method] = (weights_of(job)["dense1.weight"].ravel() != 0).tolist()
    assert used == {"gradient": [True] * 5, "proximal": [True] + [False] * 4}


# --- what is not trained ---------------------------------------------------------------------------------------------


def test_a_layer_that_is_not_trainable_stays(tmp_path: Path, device: Device) -> None:
    layers: Any = [("dense", {"units": 7, "activation": "relu", "trainable": False}), *SMALL]
    penalty = {"l1": 0.001, "norm": 0.1, "biases": True, "method": "proximal"}
    job = make_job(layers, device=device, penalty=penalty)
    job.model.initialise(job.seed, job.device)
    before, value = weights_of(job), penalty_of(job)[0]
    assert value == pytest.approx(
        plain_penalty({n: w for n, w in before.items() if "dense1" not in n}, l1=0.001, norm=0.1, biases=True), rel=1e-9
    )
    _, run = train(job, tmp_path)
    for name, w in weights_of(job).items():
        assert np.array_equal(w, before[name]) == name.startswith("dense1"), name
    kept = run.checkpoint("last")
    assert kept.weights.keys() == before.keys()
    assert kept.optimizer.keys() == {f"{n}/{s}" for n in before if "dense1" not in n for s in ("mean", "square")}
    first, *others = [row for row in run.rows(run.layers) if row["epoch"] == 1]
    assert (first["gradient_norm"], first["update_ratio"]) == (None, None)
    assert all(row["gradient_norm"] > 0 and row["update_ratio"] > 0 for row in others)


# --- clipping --------------------------------------------------------------------------------------------------------


def norm_of(gradients: dict[str, Any]) -> float:
    return math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))


@pytest.mark.parametrize("share", [0.3, 1.0, 2.0])
def test_gradients_are_clipped_to_a_joint_norm(share: float, pool: ThreadPool, device: Device) -> None:
    plain, gradients = take_step(ready(device=device), pool, range(22))
    norm = norm_of(gradients)
    assert plain.gradient_norm == pytest.approx(norm, rel=1e-9)
    report, clipped = take_step(ready(device=device, clip_norm=share * norm), pool, range(22))
    assert report.gradient_norm == pytest.approx(norm, rel=1e-9), "the norm is logged as it was before clipping"
    assert norm_of(clipped) == pytest.approx(min(1, share) * norm, rel=1e-9)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(clipped[name], min(1, share) * gradient, rtol=1e-9, atol=1e-15)


# --- shards ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [net for net in EVERY_LAYER if "by batches" not in net])
def test_cutting_a_batch_changes_gradients_by_rounding_only(net: str, pool: ThreadPool) -> None:
    """Dropout and augmentation draw by an example's place in the batch, so shards see what the whole batch saw."""
    found = []
    for shard_size in (22, 6, 1):
        settings = {"device": device_of(np.float64), "augment": (AUGMENTATIONS["crop"](padding=2),)}
        job = ready(layers=EVERY_LAYER[net], splits={"train": images(30)}, shard_size=shard_size, **settings)
        found.append(take_step(job, pool, range(3, 25)))
    for report, gradients in found[1:]:
        assert report.data_loss == pytest.approx(found[0][0].data_loss, rel=1e-12)
        assert report.accuracy == found[0][0].accuracy
        for name, gradient in gradients.items():
            np.testing.assert_allclose(gradient, found[0][1][name], rtol=1e-9, atol=1e-13, err_msg=name)


def test_random_numbers_depend_on_seed_epoch_step_and_place(device: Device) -> None:
    augment = (AUGMENTATIONS["crop"](padding=2), AUGMENTATIONS["flip"]())
    loader = make_job([("flatten", {}), *SMALL], {"train": images(40)}, device=device, augment=augment).loaders["train"]

    def seen(indices: range, first: int, seed: int = 0, epoch: int = 1, step: int = 1) -> bytes:
        x, _ = loader.examples(np.array(indices), first, StepKey(seed, epoch, step))
        return bytes(np.ascontiguousarray(to_host(x)).tobytes())

    whole = seen(range(20), 0)
    assert seen(range(12), 0) + seen(range(12, 20), 12) == whole
    others = [seen(range(20), 1), *(seen(range(20), 0, **{key: 7}) for key in ("seed", "epoch", "step"))]
    assert len({whole, *others}) == 5
    plain, targets = loader.examples(np.arange(20))
    assert bytes(to_host(plain).tobytes()) != whole, "without a moment nothing is augmented"
    assert np.array_equal(to_host(targets), images(40).targets[:20])


@pytest.mark.parametrize("rate", [1e-6, 0.5, 0.99999, 0.9999999])
def test_dropout_rates_at_the_ends(rate: float, device: Device) -> None:
    """A rate so near to 1 that it rounds to it: CuPy cannot compare 16-bit lanes with 65536."""
    words = device.asarray(np.random.default_rng(0).integers(0, 2**64, (4, dropout_words((50,))), np.uint64))
    y = to_host(dropout(device.asarray(np.ones((4, 50))), rate=rate, words=words).data)
    assert np.isfinite(y).all() and len(set(y.ravel().tolist()) - {0.0}) <= 1


# --- evaluation ------------------------------------------------------------------------------------------------------


def test_an_evaluation_counts_every_example_once(pool: ThreadPool, device: Device) -> None:
    split = rows(70, seed=3)
    split.targets[split.targets == 2] = 1  # class 2 never occurs
    job = ready(splits={"train": rows(70), "test": split}, device=device)
    for parameter in job.model.parameters.values():
        parameter.data *= 0.5
    loader = job.loaders["test"]
    found = evaluate(job.model, job.loss, loader, pool, 22, 6)
    x, targets = loader.examples(np.arange(70))
    with no_grad():
        logits = to_host(job.model(x, Context()).data)
    targets, taken = to_host(targets), logits.argmax(1)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(70), targets]
    confusion = [[int(((targets == i) & (taken == j)).sum()) for j in range(3)] for i in range(3)]
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-12)
    assert (found["accuracy"], found["examples"], found["confusion"]) == ((taken == targets).mean(), 70, confusion)
    for i, row in enumerate(found["per_class"]):
        occurred, predicted = sum(confusion[i]), sum(line[i] for line in confusion)
        assert (row["class"], row["examples"]) == (i, occurred)
        assert row["recall"] == (confusion[i][i] / occurred if occurred else None)
        assert row["precision"] == (confusion[i][i] / predicted if predicted else None)
    assert found["per_class"][2]["recall"] is None


def test_an_evaluation_in_regression(pool: ThreadPool, device: Device) -> None:
    split = rows(70)
    numbers = Split(split.inputs, split.inputs[:, :3].copy())
    job = ready(splits={"train": numbers}, loss="mse", device=device)
    found = evaluate(job.model, job.loss, job.loaders["train"], pool, 22, 6)
    x, targets = job.loaders["train"].examples(np.arange(70))
    expected = ((to_host(job.model(x, Context()).data) - to_host(targets)) ** 2).mean()
    assert found == {"loss": pytest.approx(expected, rel=1e-12), "examples": 70}


@pytest.mark.parametrize("net", EVERY_LAYER)
def test_evaluations_depend_neither_on_threads_nor_on_random_numbers(net: str) -> None:
    job = ready(layers=EVERY_LAYER[net], splits={"train": images(70)}, augment=(AUGMENTATIONS["flip"](),))
    found = []
    for threads in (1, 2, 4):
        pool = ThreadPool(threads)
        found.append(evaluate(job.model, job.loss, job.loaders["train"], pool, 22, 6))
        pool.close()
    assert found[0] == found[1] == found[2]


def test_dropout_that_is_always_on_depends_on_no_cut(device: Device, pool: ThreadPool) -> None:
    """Batches and shards of any size, in evaluation and prediction; without it the answers are others."""
    layers: Any = [SMALL[0], ("dropout", {"always": True}), *SMALL[1:]]
    job, plain = ready(layers=layers, device=device), ready(device=device)
    losses = [
        evaluate(job.model, job.loss, job.loaders["train"], pool, *sizes)["loss"] for sizes in ((70, 70), (22, 5))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    x = to_host(job.loaders["train"].examples(np.arange(70))[0])
    answers = [predict(job.model, job.loss, x, device, size) for size in (70, 9)]
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-9)
    assert not np.allclose(answers[0], predict(plain.model, job.loss, x, device, 70), atol=1e-3)


def test_predictions_are_probabilities(device: Device) -> None:
    job = ready(device=device)
    x = to_host(job.loaders["train"].examples(np.arange(70))[0])
    found = predict(job.model, job.loss, x, device, 32)
    assert isinstance(found, np.ndarray) and found.shape == (70, 3)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)
    logits = to_host(job.model(device.asarray(x), Context()).data)
    np.testing.assert_allclose(found, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-9)


@pytest.mark.parametrize("penalty", [{}, {"l2": 0.7}])
def test_the_norm_of_gradients_is_that_of_all_of_each(penalty: dict[str, Any], pool: ThreadPool) -> None:
    """Also where a penalty is added."""
    job = ready(batch_size=12, penalty=penalty, device=device_of(np.float64, "cpu"))
    report, gradients = take_step(job, pool, np.arange(12))
    assert report.gradient_norm == pytest.approx(np.sqrt(sum((g**2).sum() for g in gradients.values())), rel=1e-9)
