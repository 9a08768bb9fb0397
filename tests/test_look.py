"""`dltrain look`: a step again, with the figures that were logged when it was taken."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import dltrain, done

from dltrain.run.rundir import RunDir

BEGIN = ("fit", "smoke", "data.validation=64", "train.batch_size=32", "--threads", 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    words = ["train.max_steps=6", "checkpoint.every_steps=2", "checkpoint.keep=9", "logging.every=1"]
    runs = tmp_path_factory.mktemp("runs")
    return RunDir(Path(done(*BEGIN, *words, "--runs-dir", runs, "--json").json["run"]))


@pytest.mark.parametrize(("step", "start"), [(1, 0), (4, 2), (5, 4), (6, 4)])
def test_the_step_has_the_figures_of_the_log_and_moves_weights_as_it_did(step: int, start: int, run: RunDir) -> None:
    found: dict[str, Any] = done("look", run.path, "--step", step, "--json").json
    (logged,) = [row for row in run.rows(run.metrics) if row["event"] == "step" and row["step"] == step]
    assert found["logged"] and found["start"] == start and found["rows"] == step - start
    assert found["differences"] == [] and found["figures"].items() <= logged.items()
    layers = {row["layer"]: row for row in found["layers"]}
    norms = [row["gradient_norm"] for row in layers.values() if row["gradient_norm"] is not None]
    assert np.linalg.norm(norms) == pytest.approx(logged["gradient_norm"], rel=1e-5), "of the shown gradients"


def test_the_change_is_the_one_between_two_checkpoints(tmp_path: Path) -> None:
    words = ["train.max_steps=2", "checkpoint.every_steps=1", "checkpoint.keep=9", "--runs-dir", tmp_path, "--json"]
    run = RunDir(Path(done(*BEGIN, *words).json["run"]))
    before, after = (run.checkpoint(step).weights for step in (1, 2))
    for row in done("look", run.path, "--step", 2, "--json").json["layers"]:
        names = [name for name in before if name.rpartition(".")[0] == row["layer"]]
        moved = sum(float(((after[name] - before[name]).astype(float) ** 2).sum()) for name in names) ** 0.5
        assert (row["update_norm"] or 0) == pytest.approx(moved, rel=1e-6)


def test_a_log_that_is_not_of_these_bits_is_said(run: RunDir) -> None:
    before = run.metrics.read_text()
    rows = [json.loads(line) for line in before.splitlines()]
    rows[4]["loss"] += 1e-9
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        said = dltrain("look", run.path, "--step", 5)
        assert said.code == 0 and "not the bits of the run: loss of step" in said.err
    finally:
        run.metrics.write_text(before)
    said = dltrain("look", run.path, "--step", 7)
    assert said.code == 2 and "has taken 6 steps" in said.errors[0]


def test_epochs_are_crossed_without_validation(tmp_path: Path) -> None:
    words = ["train.batch_size=512", "train.epochs=3", "--runs-dir", tmp_path, "--json"]
    run = done(*BEGIN, *words).json["run"]
    steps = RunDir(Path(run)).last_status()["steps"]
    for path in sorted(RunDir(Path(run)).checkpoints.glob("*.safetensors"))[:-1]:
        path.unlink()  # what is left is of the last step, so all is repeated
    found = done("look", run, "--step", steps, "--json").json
    assert found["start"] == 0
    layers = {row["layer"] for row in found["layers"] if row["mean"] is not None}
    rows = RunDir(Path(run))
    compared = [row for row in rows.rows(rows.metrics) if row["step"] < steps or row["event"] == "step"]
    assert found["epoch"] == 3 and found["differences"] == []
    assert found["rows"] == len(compared) + 2 * len(layers)
