"""A training that was broken off anywhere and continued leaves what an unbroken one leaves, to the last byte."""

import random
import shutil
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import EVERY_LAYER, SMALL, Silent, images, make_job, new_run, rows, train
from endurance.harness import remains

from dltrain.data import AUGMENTATIONS
from dltrain.errors import Interrupted, RunError
from dltrain.job.job import Job
from dltrain.optim import OPTIMIZERS, SCHEDULES
from dltrain.run.checkpoint import Checkpoint
from dltrain.run.rundir import RunDir
from dltrain.train import loop
from dltrain.train.loop import fit
from dltrain.train.step_metrics import EpochMetrics

ALL_STEPS = {"every_steps": 1, "keep": 1000}


def go_on(make: Callable[..., Job], run: RunDir, **changes: Any) -> dict[str, Any]:
    """What `fit --resume` does once it knows the config."""
    run.hold()
    checkpoint = run.checkpoint("last") if run.has_checkpoint() else None
    job = make(**changes)
    run.reopen(checkpoint, {}, None, job.checkpoint.keep)
    fit(job, run, 2, Silent(), checkpoint)
    return run.result()


def broken_off(run: RunDir, step: int, folder: Path) -> RunDir:
    """A copy as it was left by a process that was killed some time after it had saved this step: later rows are in the
    logs, the last one torn, and there are leftovers."""
    copy = RunDir(shutil.copytree(run.path, folder / f"broken-{step}"))
    for later in copy.saved_steps():
        if later > step:
            (copy.checkpoints / f"step-{later:08d}.safetensors").unlink()
    copy.metrics.write_bytes(copy.metrics.read_bytes() + b'{"event": "st')
    (copy.checkpoints / ".step-00000099.safetensors.0a0b0c0d.tmp").write_bytes(b"half")
    copy.update_status(status="running", pid=0)
    return copy


TRAININGS: dict[str, dict[str, Any]] = {
    **{name: {"optimizer": OPTIMIZERS[name]} for name in OPTIMIZERS},
    "cosine": {"schedule": SCHEDULES["cosine"](warmup=0.6)},
    "step": {"schedule": SCHEDULES["step"](every=1)},
    "early stopping": {"early_stopping": {"patience": 1, "min_delta": 1e9}, "epochs": 5},
    "averaged weights": {"average": 0.8},
    "no validation": {"splits": {"train": images(70)}},
    "half an epoch": {"max_steps": 6},
    "few rows": {"log_every": 3, "update_every": 2},
}


@pytest.mark.parametrize("name", TRAININGS)
def test_from_any_step_to_the_same_end(name: str, tmp_path: Path) -> None:
    """Two epochs of four steps with dropout, augmentation, penalty and clipping. Adam from every step."""

    def make() -> Job:
        settings = dict(TRAININGS[name])
        settings["optimizer"] = settings.get("optimizer", OPTIMIZERS["adam"])(lr=1e-2)
        splits = {"train": images(70), "validation": images(27, seed=1), "test": images(25, seed=2)}
        augment = (AUGMENTATIONS["flip"](), AUGMENTATIONS["crop"](padding=1))
        others = {"penalty": {"l1": 1e-3, "l2": 1e-3}, "clip_norm": 1.0, "checkpoints": ALL_STEPS}
        return make_job(EVERY_LAYER["deep"], **{"splits": splits, "augment": augment, **others, **settings})

    _, whole = train(make(), tmp_path)
    expected = remains(whole)
    steps = whole.saved_steps()
    assert steps == list(range(1, steps[-1] + 1)) and steps[-1] == {"half an epoch": 6}.get(name, 8)
    for step in steps if name == "adam" else random.Random(name).sample(steps, 3):
        run = broken_off(whole, step, tmp_path)
        go_on(make, run)
        assert remains(run) == expected, f"continued after step {step}"
        assert [path.name for path in run.checkpoints.iterdir() if path.name.startswith(".")] == []


NORMED = [
    name
    for name, layers in EVERY_LAYER.items()
    if any(kind.endswith("_norm") or settings.keys() & {"norm", "spectral_norm"} for kind, settings in layers)
]


@pytest.mark.parametrize("shard_size", [22, 6], ids=["whole batches", "shards"])
@pytest.mark.parametrize("name", NORMED)
def test_norms_leave_the_same_with_any_threads_and_from_any_step(name: str, shard_size: int, tmp_path: Path) -> None:
    """Weights, running statistics, singular vectors, averages, moments, sums and logs."""

    def make() -> Job:
        splits = {"train": images(70), "validation": images(27, seed=1)}
        return make_job(
            EVERY_LAYER[name], splits, average=0.8, shard_size=shard_size, checkpoints={"every_steps": 3, "keep": 9}
        )

    _, whole = train(make(), tmp_path, 1)
    expected = remains(whole)
    kept = whole.checkpoint("last")
    assert kept.average.keys() == kept.weights.keys() == make().model.weights().keys()
    for threads in (1, 2, 3):
        assert remains(train(make(), tmp_path, threads)[1]) == expected, f"{threads} threads"
    for step in (3, 6):
        run = broken_off(whole, step, tmp_path)
        go_on(make, run)
        assert remains(run) == expected, f"continued after step {step}"


def test_it_would_be_noticed_if_something_were_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these breaks one part of what a checkpoint holds, one step of four rows before the end."""

    def make() -> Job:
        return make_job(SMALL, checkpoints=ALL_STEPS)

    _, whole = train(make(), tmp_path)
    expected = remains(whole)
    plain = Checkpoint.read
    for number, part in enumerate(("weights", "optimizer", "epoch")):
        for name in getattr(whole.checkpoint(7), part):
            if name == "seconds" or "/alive" in name:  # a time; see the next test
                continue

            def forgetful(path: Path, part: str = part, name: str = name) -> Checkpoint:
                found = plain(path)
                array = getattr(found, part)[name]
                getattr(found, part)[name] = array + 1
                return found

            run = broken_off(whole, 7, tmp_path / f"{number}-{name.replace('/', '-')}")
            with monkeypatch.context() as patched:
                patched.setattr(Checkpoint, "read", forgetful)
                go_on(make, run)
            assert remains(run) != expected, f"{part}/{name} has no influence"


def test_the_sums_of_an_epoch_come_back() -> None:
    rng = np.random.default_rng(0)
    sums, again = (EpochMetrics(job.model, job.updates) for job in (make_job(SMALL), make_job(SMALL)))
    random_ones = {
        name: rng.integers(0, 2, a.shape).astype(a.dtype) if a.dtype == bool else rng.integers(0, 9, a.shape) / 1.0
        for name, a in sums.to_arrays().items()
    }
    again.restore(random_ones)
    assert {name: a.tolist() for name, a in again.to_arrays().items()} == {
        name: a.tolist() for name, a in random_ones.items()
    }


def test_a_longer_training_is_as_if_it_had_been_so_from_the_start(tmp_path: Path) -> None:
    """max_steps ended it in the middle of an epoch, whose row goes and comes again when the epoch is whole."""

    def make(**settings: Any) -> Job:
        splits = {"train": rows(70), "validation": rows(20)}
        return make_job(splits=splits, checkpoints={"keep": 1}, **{"epochs": 3, **settings})

    expected = remains(train(make(), tmp_path)[1])
    for short in ({"max_steps": 2}, {"max_steps": 4}, {"max_steps": 6}, {"epochs": 1}, {"epochs": 2}):
        _, run = train(make(**short), tmp_path)
        for _ in range(2):  # that a finished run is continued without need changes nothing
            go_on(make, run)
            assert remains(run) == expected, f"after {short}"


def signal_in_evaluation(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process gets a signal when it evaluates for the nth time."""
    evaluations = count(1)
    for name in ("validate", "test"):
        plain = getattr(loop, name)

        def watched(*args: Any, plain: Any = plain) -> Any:
            if next(evaluations) == at:
                signal.raise_signal(signal.SIGTERM)
            return plain(*args)

        monkeypatch.setattr(loop, name, watched)


@pytest.mark.parametrize("max_steps", [6, 8])
def test_a_signal_during_an_evaluation_ends_it(max_steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the validation of the first or second epoch, or in the final test."""
    splits = {"train": rows(70), "validation": rows(20), "test": rows(30)}

    def make() -> Job:
        return make_job(splits=splits, max_steps=max_steps)

    expected = remains(train(make(), tmp_path)[1])
    for at in (1, 2, 3):
        run = new_run(tmp_path)
        with monkeypatch.context() as patched:
            signal_in_evaluation(at, patched)
            with pytest.raises(Interrupted) as caught:
                fit(make(), run, 2, Silent())
        assert caught.value.exit_code == 143 and run.status()["status"] == "interrupted"
        assert run.checkpoint("last").position.step == [4, max_steps, max_steps][at - 1]
        go_on(make, run)
        assert remains(run) == expected, f"interrupted in evaluation {at}"


def test_without_a_checkpoint_it_starts_again(tmp_path: Path) -> None:
    _, whole = train(make_job(), tmp_path)
    run = new_run(tmp_path)
    run.append(run.metrics, {"step": 1})
    run.release()
    go_on(make_job, run)
    assert remains(run) == remains(whole)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    _, whole = train(make_job(), tmp_path)
    others = {
        "the training data have changed": {"splits": {"train": rows(70, seed=1)}},
        "dense2": {"layers": EVERY_LAYER["deep"][-1:]},
        "the sums of the running epoch are missing": {"batch_size": 10},
    }
    for said, settings in others.items():
        with pytest.raises(RunError, match=said):
            go_on(make_job, whole, **settings)
        assert whole.status()["status"] == "failed"


def test_loading_a_model_copies(tmp_path: Path) -> None:
    job, run = make_job(), train(make_job(), tmp_path)[1]
    kept = run.checkpoint("last")
    job.model.load(kept.weights, job.device)
    for name, array in job.model.weights().items():
        assert not np.shares_memory(array, kept.weights[name])
