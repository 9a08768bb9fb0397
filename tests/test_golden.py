"""Runs of earlier versions are read, evaluated, asked and continued by this one.

`golden/format-N` is a run as the first version with checkpoint format N left it, `golden/format-N.json` what that
version answered. None is ever removed or changed; who raises FORMAT adds one.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import done

from dltrain.backend import open_device
from dltrain.run.checkpoint import FORMAT, OLDEST
from dltrain.run.environment import differences, environment
from dltrain.run.rundir import RunDir
from dltrain.spec import load, loads

GOLDEN = Path(__file__).parent / "golden"
RUNS = [GOLDEN / f"format-{number}" for number in range(OLDEST, FORMAT + 1)]


@pytest.fixture(params=RUNS, ids=lambda path: path.name)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(request.param, tmp_path / request.param.name))


def made_here(run: Path) -> bool:
    """Whether nothing but the version of dltrain has changed since: these runs hold what no version may change."""
    others = differences(RunDir(run).recorded_environment(), environment(open_device("cpu"), 1, sys.argv))
    return [other.split(":")[0] for other in others] in ([], ["dltrain"])


def test_it_answers_as_it_did(run: Path, tmp_path: Path) -> None:
    """To the bit in the environment that the run was made in, within 1e-5 elsewhere."""
    expected = json.loads((GOLDEN / f"{run.name}.json").read_text())
    x = np.random.default_rng(0).integers(0, 17, (4, 8, 8, 1)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", x=x)
    answers = done("predict", run, tmp_path / "x.npz", "--json").json["predictions"]
    found = [list(row["probabilities"].values()) for row in answers]
    evaluated = done("eval", run, "--json").json
    if made_here(run):
        assert found == expected["predictions"] and evaluated["loss"] == expected["loss"]
    np.testing.assert_allclose(found, expected["predictions"], rtol=0, atol=1e-5)
    assert evaluated["loss"] == pytest.approx(expected["loss"], abs=1e-5)
    assert evaluated["accuracy"] == expected["accuracy"]


def test_it_goes_on(run: Path) -> None:
    """In the middle of an epoch, whose sums are in the checkpoint."""
    found = done("fit", "--resume", run, "train.max_steps=52", "--json").json
    assert (found["status"], found["steps"]) == ("done", 52)
    assert [row["step"] for row in RunDir(run).rows(run / "metrics.jsonl")] == [*range(1, 53), 52]


def test_the_middle_of_an_epoch_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """`golden/middle-of-an-epoch` is a run with mixup, crops, accumulated batches, clipping and a penalty, of November
    2026; its .json what the version that began it found at the end."""
    run = Path(shutil.copytree(GOLDEN / "middle-of-an-epoch", tmp_path / "run"))
    expected = json.loads((GOLDEN / "middle-of-an-epoch.json").read_text())
    same_bits = made_here(run)
    found = done("fit", "--resume", run, "train.max_steps=70", "--json").json
    epochs = [row for row in RunDir(run).rows(run / "metrics.jsonl") if row["event"] == "epoch"]
    if same_bits:
        assert found == expected["result"] | {"run": str(run), "status": "done"}
        assert [{key: row[key] for key in row if key != "seconds"} for row in epochs] == expected["epochs"]
        assert RunDir(run).rows(run / "layers.jsonl") == expected["layers"]
    for row, then in zip(epochs, expected["epochs"], strict=True):
        assert row["validation"]["loss"] == pytest.approx(then["validation"]["loss"], rel=1e-2)


def test_where_the_seed_cut_the_data_set(tmp_path: Path) -> None:
    """`golden/seeded` is a run of before there was data.split_seed, trained with seed 3."""
    run = Path(shutil.copytree(GOLDEN / "seeded", tmp_path / "seeded"))
    expected = RunDir(run).status()["validation"]
    said = done("eval", run, "--split", "validation", "--json")
    assert "data changed since" not in said.err, "the same examples validate"
    assert said.json["loss"] == pytest.approx(expected["loss"], abs=1e-5)
    said = done("fit", "--resume", run, "train.max_steps=9", "--json")
    assert said.json["steps"] == 9 and "data have changed" not in said.err
    again = load(run / "config.yaml", ["seed=4"])
    assert again.data and again.data.common["split_seed"] == 3, "trained again with another seed, on the same parts"
    assert loads((run / "source.yaml").read_text()).data.common["split_seed"] == 0, "what a person wrote is read anew"


def test_a_table_of_which_every_column_was_an_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`golden/table` is a run of before columns were left out and targets normalised; its table lies beside it."""
    run = Path(shutil.copytree(GOLDEN / "table", tmp_path / "table"))
    expected = json.loads((GOLDEN / "table.json").read_text())
    monkeypatch.chdir(run)
    answers = done("predict", run, "table.csv", "--json").json["predictions"]
    np.testing.assert_allclose([row["values"][0] for row in answers], expected["values"], rtol=1e-5)
    said = done("eval", run, "--json")
    assert said.json["mae"] == pytest.approx(expected["mae"], rel=1e-5) and "data changed since" not in said.err
    assert said.json["loss"] == pytest.approx(expected["loss"], rel=1e-5), "of targets as they are"
    said = done("fit", "--resume", run, "train.max_steps=5", "--json")
    assert said.json["steps"] == 5 and "data have changed" not in said.err and "left out" not in said.err
    assert "weights     after step 4" in done("verify", run).out, "within its tolerance, or this is an error"
