"""NaN or infinity anywhere in a training: it stops, says so in strict JSON, and nothing that was saved is spoilt."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Silent, make_job, new_run, rows, train
from commands import strict

from dltrain.errors import DivergedError
from dltrain.job.job import Job
from dltrain.ops.activation import FUSED
from dltrain.random import permutation
from dltrain.run.rundir import RunDir
from dltrain.train.loop import fit

AT = 3  # the step before which, or in which, something breaks; the last one before an epoch of four ends
LAYERS = [("dense", {"units": 7, "activation": "elu"}), ("dense", {"units": 3, "activation": "none"})]
Spoil = Callable[[Job, float, pytest.MonkeyPatch], None]


def job(**settings: Any) -> Job:
    splits = {"train": rows(70), "validation": rows(20, seed=1), "test": rows(20, seed=2)}
    return make_job(LAYERS, splits, checkpoints={"every_steps": 1, "keep": 99}, normalize="none", **settings)


def input_of(split: str) -> Spoil:
    def spoil(job: Job, value: float, patched: pytest.MonkeyPatch) -> None:
        index = permutation(70, 0, "order", epoch=1)[50] if split == "train" else 3
        job.loaders[split]._inputs[index, 2] = value

    return spoil


def array_in(which: int, name: str, at: int = AT) -> Spoil:
    """A value among the weights, gradients or state of the optimizer, as step `at` is about to use them."""

    def spoil(job: Job, value: float, patched: pytest.MonkeyPatch) -> None:
        plain, calls = job.optimizer.update, iter(range(1, 99))

        def update(weights: Any, gradients: Any, state: Any, lr: float, step: int) -> None:
            if next(calls) == at:
                (weights, gradients, state)[which][name].reshape(-1)[1] = value
            plain(weights, gradients, state, lr, step)

        patched.setattr(job.optimizer, "update", update)
        patched.setattr("dltrain.train.step.why_eager", lambda job: "to compare")  # so that every step asks for it

    return spoil


def learning_rate(job: Job, value: float, patched: pytest.MonkeyPatch) -> None:
    plain = job.optimizer.update_one
    patched.setattr(job.optimizer, "update_one", lambda w, g, s, lr, n: plain(w, g, s, value if n == AT else lr, n))


def layer_gradient(job: Job, value: float, patched: pytest.MonkeyPatch) -> None:
    patched.setitem(FUSED, "elu", replace(FUSED["elu"], gradient=lambda xp, g, y: g * value))


def loss(job: Job, value: float, patched: pytest.MonkeyPatch) -> None:
    plain = type(job.loss).__call__
    patched.setattr(type(job.loss), "__call__", lambda *args: plain(*args) * value)


def class_weight(job: Job, value: float, patched: pytest.MonkeyPatch) -> None:
    job.loss.class_weights = job.device.asarray(np.array([1, value, 1], job.device.dtype))


def schedule(job: Job, value: float, patched: pytest.MonkeyPatch) -> None:
    object.__setattr__(job.update, "schedule", lambda *_: value)


def normalising(name: str) -> Spoil:
    def spoil(job: Job, value: float, patched: pytest.MonkeyPatch) -> None:
        getattr(job.loaders["train"], name)[2] = value

    return spoil


def initial_weight(job: Job, value: float, patched: pytest.MonkeyPatch) -> None:
    plain = type(job.model).initialise

    def initialise(model: Any, *args: Any) -> None:
        plain(model, *args)
        model.layers[1].weight.data[0, 0] = value

    patched.setattr(type(job.model), "initialise", initialise)


# place -> (how it is broken, the last step of which there may be a checkpoint)
PLACES: dict[str, tuple[Spoil, int]] = {
    "an input": (input_of("train"), AT - 1),
    "a validation input": (input_of("validation"), 4),
    "a test input": (input_of("test"), 8),
    "an initial weight": (initial_weight, 0),
    "a weight": (array_in(0, "dense1.weight"), AT - 1),
    "a bias": (array_in(0, "dense2.bias"), AT - 1),
    "a gradient": (array_in(1, "dense1.weight"), AT - 1),
    "the optimizer's state": (array_in(2, "dense2.weight/mean"), AT - 1),
    "the learning rate": (learning_rate, AT - 1),
    "a layer's gradient": (layer_gradient, 0),
    "the loss": (loss, 0),
    "a bias's gradient": (array_in(1, "dense2.bias"), AT - 1),
    "the optimizer's squares": (array_in(2, "dense1.bias/square"), AT - 1),
    "a gradient of the first step": (array_in(1, "dense2.weight", 1), 0),
    "a weight in the first step of an epoch": (array_in(0, "dense2.weight", 5), 4),
    "a weight in the last step": (array_in(0, "dense1.bias", 8), 7),
    "the scale of the inputs": (normalising("_scale"), 0),
    "the shift of the inputs": (normalising("_shift"), 0),
    "the weight of a class": (class_weight, 0),
    "the schedule": (schedule, 0),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return train(job(), tmp_path_factory.mktemp("good"))[1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("place", PLACES)
def test_it_stops_and_keeps_what_is_good(
    place: str, value: float, good: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil, last_good = PLACES[place]
    broken, run = job(), new_run(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("dltrain.train.loop.hold_blas_to_one_thread", lambda: None)
        spoil(broken, value, patched)
        with pytest.raises(DivergedError) as caught:
            fit(broken, run, 1, Silent())
    assert caught.value.exit_code == 3 and run.status()["status"] == "diverged"
    steps = run.saved_steps()
    assert steps == [step for step in [0, *good.saved_steps()] if step in steps] and max(steps, default=0) <= last_good
    for step in filter(None, steps):
        kept, right = run.checkpoint(step), good.checkpoint(step)
        for name, array in (kept.weights | kept.optimizer).items():
            assert np.isfinite(array).all()
            assert array.tobytes() == (right.weights | right.optimizer)[name].tobytes()
    told = strict(run.diverged.read_text())
    assert told["message"] == str(caught.value) and set(told["ranges"]) == {"dense1", "dense2"}
    for log in (run.metrics, run.layers):
        for line in log.read_text().splitlines():
            strict(line)
