"""Data that changed since a training began, even where means and deviations are the same, are noticed."""

import os
from pathlib import Path

import numpy as np
import pytest
from builders import Silent, make_job, new_run, rows, train
from commands import dltrain, done, strict
from test_image_folder import NOWHERE, folder_of
from test_text import Text

from dltrain.data.pictures.image_folder import ImageFolder
from dltrain.data.source import Split
from dltrain.errors import RunError
from dltrain.run.rundir import RunDir
from dltrain.train.loop import fit

CONFIG = """\
data: {{type: npz, path: "{path}", validation: 8}}
model: {{layers: [{{dense: {{units: 3, activation: none}}}}]}}
train: {{epochs: 2, batch_size: 16}}
checkpoint: {{every_steps: 1, keep: 9}}
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run that was broken off before its last step."""
    arrays = {f"{letter}_{name}": array for name, split in {"train": rows(40), "test": rows(12, seed=1)}.items()
              for letter, array in (("x", split.inputs), ("y", split.targets))}  # fmt: skip
    np.savez(tmp_path / "data.npz", **arrays)
    (tmp_path / "c.yaml").write_text(CONFIG.format(path=tmp_path / "data.npz"))
    run = RunDir(Path(done("fit", tmp_path / "c.yaml", "--runs-dir", tmp_path / "runs", "--json").json["run"]))
    (run.checkpoints / "step-00000004.safetensors").unlink()
    run.update_status(status="running")
    return run


def swap(path: Path, name: str) -> None:
    """Two examples change places: every mean and deviation stays as it is."""
    with np.load(path) as file:
        arrays = dict(file)
    arrays[name][[2, 3]] = arrays[name][[3, 2]]
    np.savez(path, **arrays)


@pytest.mark.parametrize(("split", "name"), [("train", "training"), ("test", "test")])
def test_a_continued_run_wants_its_own_data(split: str, name: str, run: RunDir) -> None:
    for letter in "xy":
        swap(run.path.parent.parent / "data.npz", f"{letter}_{split}")
    files = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    said = dltrain("fit", "--resume", run.path)
    told = f"the {name} data have changed"
    assert said.code == 1 and said.errors == [f"{run.path}: {told}; bring back the old ones or start a new run"]
    assert dltrain("verify", run.path).errors[0] == told
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == files
    warned = f"warning: the {split} data changed since {run.path} was trained"
    assert warned in " ".join(done("eval", run.path, "--split", split).err.split())
    run.write_json(run.environment, strict(run.environment.read_text()) | {"numpy": "1.0"})
    said = done("fit", "--resume", run.path)
    assert f"promised from here on:\n  numpy: 1.0, now {np.__version__}\n  {told}" in said.err


def test_other_data_have_no_baselines_of_the_old_ones(tmp_path: Path) -> None:
    """A table of one file, whose parts are cut anew when rows come in."""
    rows_of_table = [f"{i},{i * i % 17},{3 * i - i * i % 17}" for i in range(90)]
    table, config = tmp_path / "t.csv", tmp_path / "c.yaml"
    table.write_text("\n".join(["a,b,y", *rows_of_table[:60]]))
    config.write_text(
        f"data: {{type: csv, path: {table}, target: y, task: regression, test: 0.2}}\n"
        "model: {layers: [dense: {units: 1, activation: none}]}\nloss: mse\ntrain: {epochs: 1}\n"
    )
    run = done("fit", config, "--runs-dir", tmp_path / "runs", "--json").json["run"]
    before = done("eval", run, "--json").json
    assert before["same_data"] is True and before["baselines"]["linear"]
    assert "a linear model" in done("eval", run).out
    table.write_text("\n".join(["a,b,y", *rows_of_table]))
    said = done("eval", run)
    assert "the test part may now hold examples of the training" in " ".join(said.err.split())
    assert "no baselines, for the test data changed since the training" in said.out
    assert "a linear model" not in said.out and "always the mean" not in said.out
    for split in ("test", "train"):
        after = done("eval", run, "--split", split, "--json").json
        assert after["same_data"] is False and "baselines" not in after
        kept = strict((Path(run) / "eval" / f"{split}.json").read_text())
        assert kept["same_data"] is False
    assert "may now hold" not in done("eval", run, "--split", "train").err


def test_the_same_data_pass(run: RunDir) -> None:
    assert done("verify", run.path, "--json").json["differences"] == []
    for split in ("train", "validation", "test"):
        assert "warning" not in done("eval", run.path, "--split", split).err
    assert set(run.checkpoint("last").data_sha256) == {"train", "validation", "test"}
    done("fit", "--resume", run.path)


def test_in_the_loop(tmp_path: Path) -> None:
    _, run = train(make_job(data_sha256={"train": "a"}), tmp_path)
    for digests in ({"train": "b"}, {"train": "a", "test": "a"}, {}):
        with pytest.raises(RunError, match="data have changed"):
            fit(make_job(data_sha256=digests), new_run(tmp_path), 1, Silent(), run.checkpoint("last"))


def test_what_is_told_apart(tmp_path: Path) -> None:
    """Arrays, windows of a text and pictures that are not in memory."""

    def all_different(*splits: Split) -> bool:
        assert all(split.sha256() == split.take(np.arange(len(split))).sha256() for split in splits)
        return len({split.sha256() for split in splits}) == len(splits)

    x, y = rows(9).inputs, np.arange(9)
    assert isinstance(x, np.ndarray)
    assert all_different(Split(x, y), Split(x[::-1], y), Split(x, y[::-1]), Split(-x, y), Split(x.reshape(9, 1, 5), y))
    assert Split(np.asfortranarray(x), y).sha256() == Split(x, y).sha256()
    (tmp_path / "a.txt").write_text("abcd" * 99)
    path = str(tmp_path / "a.txt")
    text = [Text(path=path, length=n, stride=s).load(NOWHERE)["train"] for n, s in ((2, 3), (3, 3), (2, 2))]
    place = folder_of(tmp_path / "pictures")
    pictures = ImageFolder(path=str(place), size=(8, 6), memory=0)
    before = pictures.load(NOWHERE)["train"]
    first = before.sha256()
    (place / "red" / "001.png").rename(place / "red" / "0010.png")
    assert first != (renamed := pictures.load(NOWHERE)["train"].sha256())
    with open(place / "red" / "000.png", "ab") as file:
        file.write(b"x")
    assert pictures.load(NOWHERE)["train"].sha256() not in (first, renamed)
    assert all_different(*text)
    os.truncate(tmp_path / "a.txt", 300)
    assert all_different(*text, Text(path=path, length=2).load(NOWHERE)["train"])
