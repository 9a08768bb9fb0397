"""`dltrain fit --folds K`: every example validates once, and the figures of all folds are put together."""

from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
from commands import dltrain, done

from dltrain.data import Cuts, Fold, Penguins, load_split
from dltrain.run.rundir import RunDir
from dltrain.spec import load

CONFIG = """
data: {type: penguins, test: 44, validation: 0.1, stratified: true}
model: {layers: [dense: {units: 3, activation: none}]}
optimizer: {adam: {lr: 0.05}}
train: {epochs: 2, batch_size: 50}
metrics: {report: [f1]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text(CONFIG)
    return tmp_path / "a.yaml"


def test_folds(config: Path, tmp_path: Path) -> None:
    said = done("fit", config, "--folds", 3, "--runs-dir", tmp_path / "runs", "--json").json
    (variant,) = said["variants"]
    assert len(said["runs"]) == 3 and variant["settings"] == {} and said["judged"] is None
    found = {f"test {name}": spread for name, spread in said["test"].items()} | variant["results"]
    for split, name in (("train", "loss"), ("validation", "loss"), ("validation", "f1"), ("test", "accuracy")):
        values = [fold[split][name] for fold in said["runs"]]
        expected = {"mean": pytest.approx(mean(values)), "sd": pytest.approx(stdev(values)), "count": 3}
        assert found[f"{split} {name}"] == expected
    names = sorted(path.name for path in Path(said["group"]).iterdir() if path.is_dir())
    assert [name.rpartition("-")[2] for name in names] == ["fold1", "fold2", "fold3"]
    (row,) = done("compare", said["group"], "--json").json["variants"]
    assert len(row["runs"]) == 3 and row["settings"] == {}, "folds are repetitions, as seeds are"

    held = []
    for number, fold in enumerate(said["runs"], start=1):
        spec = load(Path(fold["run"]) / "config.yaml")
        assert spec.data and spec.data.common["fold"] == Fold(number=number, of=3)
        cuts = Cuts(test=44, fold=Fold(number=number, of=3), stratified=True)
        held.append(load_split(Penguins(), tmp_path, "validation", cuts=cuts, seed=0).inputs)
        evaluated = done("eval", fold["run"], "--split", "validation", "--json").json
        assert evaluated["loss"] == fold["validation"]["loss"] and evaluated["examples"] == 100
    rows = np.concatenate(held)
    assert len(np.unique(np.nan_to_num(rows), axis=0)) > 290, "each fold has others"
    again = done("fit", Path(said["runs"][1]["run"]) / "config.yaml", "--runs-dir", tmp_path / "again", "--json").json
    assert again["weights_sha256"] == said["runs"][1]["weights_sha256"], "the config of a fold repeats it"


def test_seeds_are_measured_on_the_same_parts(config: Path, tmp_path: Path) -> None:
    said = done("fit", config, "--seeds", 2, "--runs-dir", tmp_path / "runs", "--json").json
    first, second = (RunDir(Path(run["run"])).checkpoint("last") for run in said["runs"])
    assert first.data_sha256 == second.data_sha256 and len(first.data_sha256) == 3
    assert said["runs"][0]["weights_sha256"] != said["runs"][1]["weights_sha256"]
    said = done("fit", config, "--vary", "data.split_seed=0,1", "--runs-dir", tmp_path / "others", "--json").json
    other = RunDir(Path(said["runs"][1]["run"])).checkpoint("last").data_sha256
    assert all(other[split] != first.data_sha256[split] for split in other)


def test_in_words(config: Path, tmp_path: Path) -> None:
    said = done("fit", config, "--folds", 2, "--smoke", "--name", "x", "--runs-dir", tmp_path / "runs")
    out = said.out.splitlines()
    header, row, _, titles, first, second = out[:6]
    assert header.split()[:2] == ["runs", "validation"] and row.count(" ± ") >= 4
    assert titles.split()[:2] == ["run", "status"] and first.split()[0].endswith("-fold1")
    assert second.split()[0].endswith("-fold2") and out[-1] == f"group {next((tmp_path / 'runs').iterdir())}"
    assert out[-3].startswith("test (mean ± sd of 2 runs): loss ") and out[-3].count(" ± ") == 4


def test_wrong(config: Path, tmp_path: Path) -> None:
    runs = ["--runs-dir", tmp_path / "runs"]
    assert dltrain("fit", config, "--folds", 1, *runs).code == 2
    said = dltrain("fit", config, "--folds", 301, *runs)
    assert said.code == 2 and "300 training examples cannot be cut into 301 pieces" in said.errors[0]
    assert not (tmp_path / "runs").exists(), "a plan that can never begin is not kept"
    said = dltrain("fit", "vgg16", "--folds", 2, "--runs-dir", tmp_path / "none")
    assert said.code == 2 and not (tmp_path / "none").exists()


def test_what_was_resumed_is_never_removed(config: Path, tmp_path: Path) -> None:
    group = tmp_path / "group"
    group.mkdir()
    (group / "source.yaml").write_bytes(config.read_bytes())
    (group / "group.json").write_text('{"smoke": true, "members": [{"label": "../x", "changes": []}]}')
    before = {path.name: path.read_bytes() for path in group.iterdir()}
    said = dltrain("fit", "--resume", group)
    assert said.code == 2 and "run name '../x'" in said.errors[0]
    assert {path.name: path.read_bytes() for path in group.iterdir()} == before
