"""The Python API trains and answers as the command line does."""

import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import done

import dltrain
from dltrain.data import Digits
from dltrain.errors import ConfigError, DataError, Interrupted, RunError
from dltrain.run.rundir import RunDir
from dltrain.spec import shipped_configs
from dltrain.train.callbacks import Callback, LayerRows

CHANGES = ["train.max_steps=20", "seed=3"]


def test_load_fit_predict(tmp_path: Path) -> None:
    run = dltrain.load("smoke", CHANGES).fit(runs_dir=tmp_path, threads=1)
    said = done("fit", "smoke", *CHANGES, "--runs-dir", tmp_path, "--json", "--name", "command").json
    assert run.result == said | {"run": str(run.path)}, "the same bits and scores"
    assert (run.path.parent, run.classes) == (tmp_path, tuple("0123456789"))
    assert [row["event"] for row in run.metrics] == ["step"] * 20 + ["epoch"] and run.layers
    logs = [next(tmp_path.glob(f"*-{name}/train.log")).read_text().split(" · ")[1:-1] for name in ("smoke", "command")]
    assert logs[0] == logs[1] and logs[0][0].startswith("train loss"), "the same log, times aside"
    assert run.report() == run.path / "report.html" and run.report().stat().st_size > 20_000

    test = Digits().load(tmp_path)["test"]
    answers = run.predict(test.inputs)
    assert answers.shape == (1797, 10)
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-5)
    assert (answers.argmax(axis=1) == test.targets).mean() == pytest.approx(run.result["test"]["accuracy"], abs=1e-9)
    np.savez(tmp_path / "x.npz", x=test.inputs[:3])
    printed = done("predict", run.path, tmp_path / "x.npz", "--json").json["predictions"]
    for row, answer in zip(printed, answers[:3], strict=True):
        np.testing.assert_allclose(list(row["probabilities"].values()), answer, rtol=1e-4, atol=1e-7)

    for again in (dltrain.load_run(run.path), dltrain.load_run(run.path.name, runs_dir=tmp_path, checkpoint="best")):
        assert np.array_equal(again.predict(test.inputs[:128].tolist()), answers[:128])


class InterruptsAt(Callback):
    """Ctrl-C while a step runs."""

    def __init__(self, step: int):
        self.step = step

    def stepped(self, row: dict[str, Any], layer_rows: LayerRows) -> None:
        if row["step"] == self.step:
            signal.raise_signal(signal.SIGINT)


def interrupted(folder: Path, step: int) -> Path:
    """A run that somebody interrupted."""
    training = dltrain.load("smoke", CHANGES).training(runs_dir=folder)
    with pytest.raises(Interrupted):
        training.fit(InterruptsAt(step))
    assert training.directory.status()["steps"] == step
    return training.directory.path


def test_resume_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = dltrain.load("smoke", CHANGES).fit(runs_dir=tmp_path / "whole")
    path = interrupted(tmp_path, 7)
    run = dltrain.load_run(path).resume(threads=1)
    assert [entry["step"] for entry in RunDir(path).status()["resumed"]] == [7]
    assert run.path == path and run.result == whole.result | {"run": str(path)}
    logs = [[row | {"seconds": 0, "examples_per_second": 0} for row in r.metrics] for r in (run, whole)]
    assert logs[0] == logs[1] and run.layers == whole.layers

    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert run.resume().result == run.result
    assert before == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}, "it was finished"
    longer = run.resume(["train.max_steps=30"])
    assert longer.result["steps"] == 30
    assert (
        longer.result["weights_sha256"]
        == done("fit", "smoke", "train.max_steps=30", "seed=3", "--runs-dir", tmp_path / "long", "--json").json[
            "weights_sha256"
        ]
    )


def test_a_refused_resume_leaves_the_run_to_others(tmp_path: Path) -> None:
    run = dltrain.load_run(interrupted(tmp_path, 4))
    for wrong, message in (("optimizer.lr=3", "cannot become 3"), ("train.max_steps=2", "has taken 4 steps")):
        with pytest.raises(ConfigError, match=message):
            run.resume([wrong])
    assert dltrain.load_run(run.path).resume().result["status"] == "done"


def test_fit_resumes_the_unfinished_run_of_this_config_alone(tmp_path: Path) -> None:
    path = interrupted(tmp_path, 5)
    other = dltrain.load("smoke", ["train.max_steps=1"]).fit(runs_dir=tmp_path, resume=True)
    assert other.path != path and other.result["steps"] == 1
    again = dltrain.load("smoke", CHANGES).fit(runs_dir=tmp_path, resume=True)
    assert again.path == path and again.result["status"] == "done"
    new = dltrain.load("smoke", CHANGES).fit(runs_dir=tmp_path, resume=True)
    assert new.path != path and new.result["weights_sha256"] == again.result["weights_sha256"]


def test_a_run_is_called_as_its_config(tmp_path: Path) -> None:
    """As from the command line: without what a run's name may not hold."""
    shutil.copy(shipped_configs()["smoke"], tmp_path / "my conf.yaml")
    run = dltrain.load(tmp_path / "my conf.yaml", ["train.max_steps=1"]).fit(runs_dir=tmp_path / "runs")
    said = done("fit", tmp_path / "my conf.yaml", "--max-steps", 1, "--runs-dir", tmp_path / "runs", "--json").json
    names = [Path(path).name.split("-", 2)[2] for path in (run.path, said["run"])]
    assert names[0] == "my-conf" and names[1].startswith("my-conf")


def test_what_is_not_installed_is_said_before_there_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ConfigError, match="tensorboard"):
        dltrain.load("smoke", ["train.max_steps=1", "logging.tensorboard=true"]).fit(runs_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_errors_with_a_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'smoke'"):
        dltrain.load("smok")
    with pytest.raises(ConfigError, match=r"optimizer\.rate: unknown key"):
        dltrain.load("smoke", ["optimizer.rate=3"])
    for config in (5, None, ["smoke"]):
        with pytest.raises(ConfigError, match="load takes the path of a config, or a shipped one's name, not "):
            dltrain.load(config)
    for changes in ("train.epochs=5", 5, None):
        with pytest.raises(ConfigError, match=r"changes are a list of texts, such as \["):
            dltrain.load("smoke", changes)
    with pytest.raises(ConfigError, match=r"a change is a text, such as .* not 5"):
        dltrain.load("smoke", [5])
    with pytest.raises(RunError, match="there is no run in"):
        dltrain.load_run(runs_dir=tmp_path)
    run = dltrain.load("smoke", ["train.max_steps=1"]).fit(runs_dir=tmp_path)
    for wrong in (np.zeros((8, 8, 1)), np.zeros((2, 8, 8)), np.zeros((0, 8, 8, 1)), [["a"]]):
        with pytest.raises(DataError, match=r"predict takes numbers \(N, …\) with \(8, 8, 1\) for each, not"):
            run.predict(wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="predict takes an array of numbers: "):
        run.predict([[1, 2], [3]])  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        dltrain.lod  # noqa: B018
