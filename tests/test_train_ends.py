"""Every way in which a training ends: done, early, diverged, interrupted or failed; what it says and what it keeps."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from builders import EVERY_LAYER, SMALL, Silent, images, make_job, new_run, rows, train
from conftest import device_of

from dltrain.backend import Device
from dltrain.data import Split
from dltrain.errors import DivergedError, Interrupted, RunError
from dltrain.job.job import Job
from dltrain.nn import INITIALIZERS
from dltrain.ops.activation import FUSED
from dltrain.optim import OPTIMIZERS, SCHEDULES
from dltrain.random import permutation
from dltrain.run.checkpoint import weights_sha256
from dltrain.run.rundir import RunDir
from dltrain.train import loop, state
from dltrain.train.callbacks import LayerRows
from dltrain.train.loop import fit

Row = dict[str, Any]


# --- done ------------------------------------------------------------------------------------------------------------


def test_a_whole_training(tmp_path: Path) -> None:
    job = make_job(splits={"train": rows(70), "validation": rows(20), "test": rows(30)}, epochs=3)
    result, run = train(job, tmp_path)
    assert (result["status"], result["epochs"], result["steps"]) == ("done", 3, 12)
    assert result["test"].keys() == {"loss", "accuracy"}
    assert run.status()["status"] == "done" and run.status()["last"] == "step-00000012.safetensors"
    assert not run.diverged.exists()


@pytest.mark.parametrize(("max_steps", "epochs"), [(1, 1), (4, 1), (6, 2), (8, 2), (100, 2)])
def test_max_steps(max_steps: int, epochs: int, tmp_path: Path) -> None:
    result, run = train(make_job(max_steps=max_steps), tmp_path)
    steps = min(8, max_steps)
    assert (result["status"], result["steps"], result["epochs"]) == ("done", steps, epochs)
    metrics = run.rows(run.metrics)
    assert [row["step"] for row in metrics if row["event"] == "step"] == list(range(1, steps + 1))
    last = metrics[-1]
    assert (last["event"], last["epoch"], last["step"]) == ("epoch", epochs, steps)
    in_epoch = [row for row in metrics[:-1] if row["event"] == "step" and row["epoch"] == epochs]
    sizes = [22, 22, 22, 4][: len(in_epoch)]
    mean = sum(n * row["loss"] for n, row in zip(sizes, in_epoch, strict=True)) / sum(sizes)
    assert last["train"]["loss"] == pytest.approx(mean)
    assert run.checkpoint("last").position.step == steps


def losses_of(epochs: list[float], job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Row, RunDir]:
    """Train with these validation losses."""
    given = iter(epochs)
    monkeypatch.setattr(loop, "validate", lambda *_: {"loss": next(given)})
    return train(job, folder)


@pytest.mark.parametrize(
    ("losses", "settings", "stops_after"),
    [
        ([5, 4, 3, 2, 1, 0], {"patience": 1}, 6),
        ([5, 4, 4, 4, 1, 0], {"patience": 2}, 4),
        ([5, 4, 6, 3, 6, 6, 6], {"patience": 2}, 6),
        ([5, 5, 5, 5, 5, 5], {"patience": 3}, 4),
        ([5, 4.9, 4.8, 4.7, 4.6, 4.5], {"patience": 2, "min_delta": 0.5}, 3),
        ([5, 4.7, 4.4, 4.1, 3.8, 3.5], {"patience": 2, "min_delta": 0.5}, 6),  # two small gains are one large one
    ],
)
def test_early_stopping(
    losses: list[float], settings: Row, stops_after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(early_stopping=settings, epochs=len(losses), checkpoints={"every_epochs": 10})
    result, run = losses_of(losses, job, tmp_path, monkeypatch)
    assert (result["status"], result["epochs"]) == ("done", stops_after)
    assert run.checkpoint("last").position.epoch == stops_after, "the end of the training is kept"
    best = losses[:stops_after].index(min(losses[:stops_after])) + 1
    assert run.checkpoint("best").position.epoch == best
    assert run.status()["best_loss"] == losses[best - 1]


def test_without_validation_the_training_loss_is_watched(tmp_path: Path) -> None:
    job = make_job(early_stopping={"patience": 2}, epochs=30, optimizer=OPTIMIZERS["sgd"](lr=1e-300))
    result, _ = train(job, tmp_path)
    assert result["epochs"] < 30  # the weights stay, so the loss changes by rounding alone


def test_max_time_ends_a_training_like_any_other(tmp_path: Path) -> None:
    job = make_job(splits={"train": rows(70), "validation": rows(20), "test": rows(30)}, max_time=1e-9, epochs=5)
    result, run = train(job, tmp_path)
    assert (result["status"], result["epochs"], result["steps"]) == ("done", 1, 1)
    assert result["validation"] and result["test"] and run.checkpoint("last").position.step == 1
    unlimited, _ = train(make_job(max_time=1e9), tmp_path)
    assert unlimited["steps"] == 8


@pytest.mark.parametrize("jump", range(18))
def test_time_may_run_out_at_any_moment(jump: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch that has begun has a step, and the end is kept. jump: which look at the clock finds it late."""
    looks = count()
    times = SimpleNamespace(
        perf_counter=lambda: (number := next(looks)) * 1e-3 + (100 if number > jump else 0), monotonic=time.monotonic
    )
    monkeypatch.setattr(state, "time", times)
    settings: Row = {"optimizer": OPTIMIZERS["sgd"](lr=1e-30), "metrics": {"best": "accuracy"}, "max_time": 50}
    result, run = train(make_job(checkpoints={"every_epochs": 10}, epochs=5, **settings), tmp_path)
    assert result["status"] == "done" and run.checkpoint("last").position.step == result["steps"]
    assert result["steps"] < 16 and 4 * (result["epochs"] - 1) < result["steps"] <= 4 * result["epochs"]


@pytest.mark.parametrize(("best", "loss"), [("auc", "cross_entropy"), ("r2", "mse")])
def test_a_figure_that_does_not_exist_decides_nothing(best: str, loss: str, tmp_path: Path) -> None:
    """All validation targets are alike, so neither is defined."""
    splits = {name: rows(20, classes=2) for name in ("train", "validation")}
    splits["validation"].targets[:] = 1
    if loss == "mse":
        splits = {name: Split(split.inputs, split.targets[:, None] * [1.0, 1.0]) for name, split in splits.items()}
    layers = [("dense", {"units": 2, "activation": "none"})]
    early, schedule = {"patience": 1}, SCHEDULES["reduce_on_plateau"](patience=1, factor=0.5)
    job = make_job(layers, splits, loss=loss, metrics={"best": best}, early_stopping=early, schedule=schedule, epochs=4)
    result, run = train(job, tmp_path)
    assert (result["status"], result["epochs"], result["validation"][best]) == ("done", 4, None)
    assert f"best_{best}" not in run.status() and run.checkpoint("last").position.epoch == 4
    with pytest.raises(RunError, match="this run has no best checkpoint yet"):
        run.checkpoint("best")


def test_the_rate_is_reduced_on_a_plateau(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = SCHEDULES["reduce_on_plateau"](patience=2, factor=0.5)
    job = make_job(schedule=schedule, epochs=6, optimizer=OPTIMIZERS["sgd"](lr=0.08))
    _, run = losses_of([5, 4, 4, 4, 4, 4], job, tmp_path, monkeypatch)
    rates = {row["epoch"]: row["lr"] for row in run.rows(run.metrics) if row["event"] == "step"}
    assert list(rates.values()) == [0.08, 0.08, 0.08, 0.08, 0.04, 0.04]


# --- diverged --------------------------------------------------------------------------------------------------------


def diverge(job: Job, folder: Path, kept: bool = True) -> tuple[str, RunDir]:
    """Train until it breaks; its message, and the run. kept: whether there is something worth keeping."""
    run = new_run(folder)
    with pytest.raises(DivergedError) as caught:
        fit(job, run, 2, Silent())
    assert caught.value.exit_code == 3
    status = run.status()
    assert status["status"] == "diverged"
    assert run.has_checkpoint() == kept
    if kept:
        last = run.checkpoint("last")
        assert last.position.step == status["steps"] and weights_sha256(last.weights) == status["weights_sha256"]
    told = json.loads(run.diverged.read_text())
    assert told["message"] == str(caught.value)
    assert told["step"] == status["steps"] == sum(row["event"] == "step" for row in run.rows(run.metrics))
    return str(caught.value), run


def test_nan_in_an_input_stops_before_the_update(device: Device, tmp_path: Path) -> None:
    split = rows(70)
    split.inputs[permutation(70, 0, "order", epoch=1)[50], 2] = np.nan  # it comes in the third batch of 22
    settings: Row = {"device": device, "normalize": "none"}
    said, run = diverge(make_job(splits={"train": split}, **settings), tmp_path)
    assert "step 3 (epoch 1): the output of layer dense1 is not finite" in said
    good, _ = train(make_job(splits={"train": split}, max_steps=2, **settings), tmp_path)
    assert run.status()["weights_sha256"] == good["weights_sha256"], "the weights are those of the step before"


@pytest.mark.parametrize(("index", "name"), [(0, "conv1"), (1, "conv2"), (7, "dense1"), (10, "dense2")])
def test_nan_in_a_weight_names_its_layer(index: int, name: str, tmp_path: Path, device_name: str) -> None:
    layers = [(kind, dict(settings)) for kind, settings in EVERY_LAYER["deep"]]
    layers[index][1]["init"] = INITIALIZERS["constant"](value=float("nan"))
    job = make_job(layers, {"train": images(70)}, device=device_of(np.float32, device_name))
    said, run = diverge(job, tmp_path, kept=False)
    assert f"diverged at step 1 (epoch 1): the output of layer {name} is not finite" in said
    assert run.status()["steps"] == 0


def test_nan_in_a_gradient_names_the_last_layer_that_has_one(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(FUSED["relu"], gradient=lambda xp, g, y: g * float("nan"))
    monkeypatch.setitem(FUSED, "relu", broken)
    job = make_job([*SMALL[:1], *SMALL], device=device)
    job.model.initialise(job.seed, job.device)
    said, run = diverge(job, tmp_path)
    assert "the gradient of dense2." in said and "is not finite" in said
    assert run.status()["steps"] == 0


def test_a_loss_that_overflows(tmp_path: Path) -> None:
    split = rows(70)
    far = Split(split.inputs, np.full((70, 3), 1e25, np.float32))
    said, _ = diverge(make_job(splits={"train": far}, loss="mse"), tmp_path)
    assert "the loss is inf although every layer's output is finite" in said


def test_a_penalty_that_overflows(tmp_path: Path) -> None:
    layers = [("dense", {"units": 3, "activation": "none", "init": INITIALIZERS["constant"](value=1e20)})]
    split = Split(np.zeros((70, 5), np.float32), rows(70).targets)
    said, _ = diverge(make_job(layers, {"train": split}, normalize="none", penalty={"l2": 1e-30}), tmp_path)
    assert "the penalty is inf" in said


@pytest.mark.parametrize("split", ["validation", "test"])
def test_an_evaluation_that_is_not_finite(split: str, tmp_path: Path) -> None:
    bad = rows(20)
    bad.inputs[3] = np.nan
    diverge(make_job(splits={"train": rows(70), split: bad}, normalize="none"), tmp_path)


def test_any_learning_rate_ends_in_words(tmp_path: Path) -> None:
    """Weights that grow by themselves, from a bit too fast to absurdly fast: a result or DivergedError."""
    for lr in (1.0, 1e3, 1e10, 1e19, 1e25, 1e38, 1e300):
        for layers in (SMALL, SMALL[1:]):
            job = make_job(
                layers, {"train": rows(70), "validation": rows(20)}, optimizer=OPTIMIZERS["sgd"](lr=lr), epochs=3
            )
            run = new_run(tmp_path)
            try:
                fit(job, run, 1, Silent())
                assert run.status()["status"] == "done"
            except DivergedError:
                assert run.status()["status"] == "diverged"


def test_a_rate_that_overflows(tmp_path: Path) -> None:
    schedule = SCHEDULES["exponential"](factor=1000.0)
    said, _ = diverge(make_job(schedule=schedule, optimizer=OPTIMIZERS["sgd"](lr=1e-310), epochs=105), tmp_path)
    assert "(epoch 104): the learning rate is inf; try another schedule" in said


def test_another_error_is_a_failure(tmp_path: Path) -> None:
    class Broken(Silent):
        def stepped(self, row: Row, layer_rows: LayerRows) -> None:
            raise OSError("the disk is full")

    run = new_run(tmp_path)
    with pytest.raises(OSError, match="the disk is full"):
        fit(make_job(), run, 2, Broken())
    assert run.status()["status"] == "failed" and run.status()["steps"] == 1


# --- interrupted -----------------------------------------------------------------------------------------------------


class Interrupts(Silent):
    """Sends a signal to this very process while a step is running."""

    def __init__(self, number: int, step: int):
        super().__init__()
        self.number, self.step = number, step

    def stepped(self, row: Row, layer_rows: LayerRows) -> None:
        if row["step"] == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("step", [3, 4, 8])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_saves_and_ends(number: int, code: int, step: int, tmp_path: Path) -> None:
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    run = new_run(tmp_path)
    with pytest.raises(Interrupted) as caught:
        fit(make_job(), run, 2, Interrupts(number, step))
    assert caught.value.exit_code == code and str(run.path) in str(caught.value)
    status = run.status()
    assert (status["status"], status["steps"]) == ("interrupted", step)
    kept = run.checkpoint("last")
    assert kept.position.step == step
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    good, other = train(make_job(max_steps=step), tmp_path)
    assert status["weights_sha256"] == good["weights_sha256"]
    for name, array in other.checkpoint("last").weights.items():
        assert np.array_equal(kept.weights[name], array)


SLOW_STEP = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # as at a terminal, wherever this test runs
sys.path.insert(0, sys.argv[1])
from builders import Silent, make_job, new_run
from dltrain.errors import Interrupted
from dltrain.train import step
from dltrain.train.loop import fit
plain = step.shard_sums
def slow(job, update, inputs, shard, *more):
    if inputs.key.step == 2 and shard == 0:
        print("slow", flush=True)
        time.sleep(float(sys.argv[3]))
    return plain(job, update, inputs, shard, *more)
step.shard_sums = slow
try:
    fit(make_job(), new_run(Path(sys.argv[2])), 2, Silent())
except Interrupted as error:
    sys.exit(error.exit_code)
"""


def slow_training(folder: Path, seconds: float) -> "subprocess.Popen[str]":
    """Another process, in the middle of its second step."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_STEP, str(Path(__file__).parent), str(folder), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "slow\n", process.communicate()[1]
    return process


def only_run(folder: Path) -> RunDir:
    (path,) = (folder / "runs").iterdir()
    return RunDir(path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_of_a_step_lets_it_end(number: int, code: int, tmp_path: Path) -> None:
    process = slow_training(tmp_path, seconds=0.5)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    run = only_run(tmp_path)
    assert run.status()["status"] == "interrupted" and run.checkpoint("last").position.step == 2


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_acts_at_once(second: int, tmp_path: Path) -> None:
    process = slow_training(tmp_path, seconds=60)
    process.send_signal(signal.SIGINT)
    while process.poll() is None:  # until the first one is noted, the second one would be the first
        try:
            process.wait(timeout=1.5)
        except subprocess.TimeoutExpired:
            process.send_signal(second)
    _, said = process.communicate(timeout=30)
    assert process.returncode == -second
    assert ("KeyboardInterrupt" in said) == (second == signal.SIGINT)
    status = only_run(tmp_path).status()["status"]
    assert status == ("crashed" if second == signal.SIGTERM else "interrupted")
