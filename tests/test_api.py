"""The Python API trains and answers as the command line does."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import done

import dltrain
from dltrain.data import Digits
from dltrain.errors import ConfigError, DataError, RunError
from dltrain.spec import shipped_configs

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
    with pytest.raises(RunError, match="there is no run in"):
        dltrain.load_run(runs_dir=tmp_path)
    run = dltrain.load("smoke", ["train.max_steps=1"]).fit(runs_dir=tmp_path)
    for wrong in (np.zeros((8, 8, 1)), np.zeros((2, 8, 8)), np.zeros((0, 8, 8, 1)), [["a"]]):
        with pytest.raises(DataError, match=r"predict takes numbers \(N, …\) with \(8, 8, 1\) for each, not"):
            run.predict(wrong)  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        dltrain.lod  # noqa: B018
