"""Averaged weights: what they are, who uses them, and that the training itself knows nothing of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import EVERY_LAYER, images, make_job, train
from commands import dltrain, done

from dltrain.backend import to_host
from dltrain.job.job import Job
from dltrain.nn import Context
from dltrain.run.checkpoint import Checkpoint
from dltrain.run.rundir import RunDir

ALL_STEPS = {"every_steps": 1, "keep": 1000}


def job_of(average: float | None, **settings: Any) -> Job:
    splits = {"train": images(70), "validation": images(27, seed=1), "test": images(25, seed=2)}
    settings = {"checkpoints": ALL_STEPS, "average": average, "shard_size": 22} | settings
    return make_job(EVERY_LAYER["normalised by batches"], splits, **settings)


@pytest.mark.parametrize("decay", [0.0, 0.7, 0.999])
def test_newer_steps_count_more_and_all_shares_add_up_to_1(decay: float, tmp_path: Path) -> None:
    """Of weights and of running statistics, which are averaged too."""
    _, run = train(job_of(decay), tmp_path)
    kept = [run.checkpoint(step) for step in range(1, 9)]
    for last in (1, 2, 8):
        shares = (1 - decay) * np.array([decay ** (last - step) for step in range(1, last + 1)])
        shares /= shares.sum()
        found = kept[last - 1].average
        assert found.keys() == kept[0].weights.keys() and "batch_norm1.running_mean" in found
        for name, average in found.items():
            wanted = sum(share * each.weights[name].astype(float) for share, each in zip(shares, kept, strict=False))
            np.testing.assert_allclose(average, wanted, rtol=2e-5, atol=1e-6, err_msg=name)


def test_the_training_is_the_same_and_only_what_it_is_judged_by_differs(tmp_path: Path) -> None:
    plain, plain_run = train(job_of(None), tmp_path / "plain")
    averaged, run = train(job_of(0.9), tmp_path / "averaged")
    assert averaged["weights_sha256"] == plain["weights_sha256"] and not plain_run.checkpoint("last").average
    for ours, theirs in zip(run.rows(run.metrics), plain_run.rows(plain_run.metrics), strict=True):
        assert ours.get("train") == theirs.get("train") and ours.get("loss") == theirs.get("loss")
        assert ("validation" in ours) == (ours.get("validation") != theirs.get("validation"))
    assert averaged["test"]["loss"] != plain["test"]["loss"]


def test_validation_and_test_are_those_of_a_network_that_holds_the_averages(tmp_path: Path) -> None:
    job = job_of(0.9)
    result, run = train(job, tmp_path)
    trained = {name: np.array(array) for name, array in job.model.weights().items()}
    job.model.load(run.checkpoint("last").average, job.device)
    rows = [row for row in run.rows(run.metrics) if row["event"] == "epoch"]
    for split, said in (("validation", rows[-1]["validation"]), ("test", result["test"])):
        x, targets = job.loaders[split].examples(np.arange(job.loaders[split].size))
        output = job.model(x, Context())
        assert said["loss"] == pytest.approx(float(to_host(job.loss(output, targets, len(targets)).data)), rel=1e-5)
    kept = run.checkpoint("last")
    assert all(np.array_equal(kept.weights[name], array) for name, array in trained.items())


FIT = ("fit", "smoke", "data.validation=64", "train.max_steps=6", "train.average=0.8", "checkpoint.every_steps=3")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return RunDir(Path(done(*FIT, "--runs-dir", tmp_path_factory.mktemp("runs"), "--json").json["run"]))


def test_eval_and_predict_use_them(run: RunDir, tmp_path: Path) -> None:
    """As of a run whose weights they are."""
    said = done("eval", run.path, "--json")
    assert "last checkpoint, averaged weights on the test split" in said.err
    assert said.json["loss"] == pytest.approx(run.result()["test"]["loss"])
    picture = tmp_path / "x.npz"
    np.savez(picture, x=np.random.default_rng(0).integers(0, 17, (3, 8, 8, 1)))
    answers = done("predict", run.path, picture, "--json").json["predictions"]
    path = run.checkpoints / "step-00000006.safetensors"
    before, kept = path.read_bytes(), Checkpoint.read(path)
    replace(kept, weights=kept.average, average={}).write(path)
    assert done("eval", run.path, "--json").json["loss"] == said.json["loss"]
    assert done("predict", run.path, picture, "--json").json["predictions"] == answers
    replace(kept, average={}).write(path)
    assert done("eval", run.path, "--json").json["loss"] != said.json["loss"]
    path.write_bytes(before)


def test_verify_repeats_them(run: RunDir) -> None:
    assert done("verify", run.path, "--json").json["verdict"] == "equal, bit for bit"
    path = run.checkpoints / "step-00000003.safetensors"
    before, kept = path.read_bytes(), Checkpoint.read(path)
    bias = kept.average["dense1.bias"] * np.float32(1.001)
    replace(kept, average=kept.average | {"dense1.bias": bias}).write(path)
    found = dltrain("verify", run.path)
    assert found.code == 1 and "averages after step 3: differ by up to 1.0e-03 of the largest" in found.out
    path.write_bytes(before)


@pytest.mark.parametrize("change", ["missing", "another shape"])
def test_averages_of_another_network_are_refused(change: str, run: RunDir) -> None:
    path = run.checkpoints / "step-00000006.safetensors"
    before, kept = path.read_bytes(), Checkpoint.read(path)
    average = {name: a for name, a in kept.average.items() if change != "missing" or name != "dense1.bias"}
    average |= {"dense1.bias": np.zeros(1, np.float32)} if change != "missing" else {}
    replace(kept, average=average).write(path)
    for command in (("eval", run.path), ("fit", "--resume", run.path, "train.max_steps=8")):
        said = dltrain(*command)
        assert said.code == 1 and "does not fit" in said.errors[0] and "dense1.bias" in said.errors[0], said.err
    path.write_bytes(before)
