"""What `predict` is given and gives: folders, patterns, tables, bad files, and pictures unlike the training's."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import dltrain, done
from PIL import Image, ImageOps

from dltrain.api import load_run
from dltrain.cli import predictions
from dltrain.data.pictures.digits import Digits

Row = dict[str, Any]
CONFIG = "model: {layers: [flatten, dense: {units: UNITS, activation: none}]}\noptimizer: {adam: {lr: 1e-2}}\n"
CONFIG += "train: {epochs: 4}\n"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the shipped digits, and pictures of some of them."""
    folder = tmp_path_factory.mktemp("digits")
    run = Path(done("fit", "smoke", "--runs-dir", folder / "runs", "--json").json["run"])
    (folder / "new").mkdir()
    for i, pixels in enumerate(Digits().load(folder)["test"].inputs[:10, :, :, 0]):
        Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8)).save(folder / "new" / f"{i}.png")
    return run


def asked(run: Path, *words: Any) -> list[Row]:
    found: list[Row] = done("predict", run, *words, "--json").json["predictions"]
    return found


def written(path: Path) -> list[Row]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return list(csv.DictReader(path.read_text().splitlines()))


# --- what is given ---------------------------------------------------------------------------------------------------


def test_folders_and_patterns(digits: Path, tmp_path: Path) -> None:
    new = digits.parent.parent / "new"
    singly = asked(digits, *(new / f"{i}.png" for i in range(10)))
    assert asked(digits, new) == asked(digits, f"{new}/*.png") == asked(digits, f"{new.parent}/n*/[0-9].png") == singly
    (tmp_path / "a" / "deep").mkdir(parents=True)
    for name in ("a/0.png", "a/deep/1.PNG"):
        (tmp_path / name).write_bytes((new / f"{name[-5]}.png").read_bytes())
    for name in ("a/._0.png", "a/.DS_Store", "a/notes.md", "a/deep/README"):
        (tmp_path / name).write_text("junk")
    said = done("predict", digits, tmp_path / "a", "--json")
    assert [row["class"] for row in said.json["predictions"]] == [row["class"] for row in singly[:2]]
    assert f"warning: {tmp_path / 'a'}: 2 of 4 files are left out (1 without an ending, 1 .md)\n" in said.err


def test_the_first_argument_may_be_a_folder_of_inputs(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(digits.parent.parent)
    expected = asked(digits, "new")
    assert done("predict", "new", "--json").json["predictions"] == expected, "no run, so the newest is asked"
    assert done("predict", "new/*.png", "--json").json["predictions"] == expected
    assert done("predict", digits.relative_to(Path.cwd()), "new", "--json").json["predictions"] == expected
    said = dltrain("predict", digits)
    assert said.code == 2 and "needs at least one INPUT" in said.errors[0], "a run's folder is no folder of inputs"


TABLE = "name,x,y,kind\n" + "".join(f"n{i},{i % 7},{i % 5},{'ab'[i % 7 > 3]}\n" for i in range(300))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    (folder / "a.csv").write_text(TABLE)
    data = f"data: {{type: csv, path: {folder / 'a.csv'}, target: kind, ignore: [name]}}\n"
    (folder / "c.yaml").write_text(data + CONFIG.replace("UNITS", "2"))
    return Path(done("fit", folder / "c.yaml", "--runs-dir", folder / "runs", "--json").json["run"])


@pytest.mark.parametrize("ending", ["csv", "tsv", "txt"])
def test_tables_whatever_their_ending(ending: str, table: Path, tmp_path: Path) -> None:
    expected = asked(table, table.parent.parent / "a.csv")
    text = TABLE.replace(",", "\t") if ending == "tsv" else TABLE
    (tmp_path / f"b.{ending}").write_text(text)
    found = asked(table, tmp_path)
    assert [row["probabilities"] for row in found] == [row["probabilities"] for row in expected]


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_columns_that_are_kept(name: str, table: Path, tmp_path: Path) -> None:
    words = [table.parent.parent / "a.csv", "--keep", "name", "--keep", "kind", "--output", tmp_path / name]
    shown = asked(table, *words)
    rows = written(tmp_path / name)
    assert len(rows) == len(shown) == 300
    kept = [row["kept"] for row in rows] if name.endswith("jsonl") else rows
    assert [(row["name"], row["kind"]) for row in kept] == [(f"n{i}", "ab"[i % 7 > 3]) for i in range(300)]
    assert [row["class"] for row in rows] == [row["class"] for row in shown]
    if name.endswith("csv"):
        assert list(rows[0]) == ["input", "name", "kind", "class", "a", "b"]
    said = dltrain("predict", table, table.parent.parent / "a.csv", "--keep", "nome")
    assert said.code == 1 and "there is no column 'nome'" in said.errors[-1]


# --- bad files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl"])
def test_it_goes_on_after_bad_files(name: str, digits: Path, tmp_path: Path) -> None:
    new = digits.parent.parent / "new"
    (tmp_path / "bad.png").write_text("junk")
    np.savez(tmp_path / "shape.npz", x=np.ones((2, 3)))
    files = [tmp_path / "bad.png", new / "0.png", tmp_path / "shape.npz", new / "1.png"]
    said = dltrain("predict", digits, *files, "--output", tmp_path / name, "--skip-bad")
    assert said.code == 1 and said.errors[-1] == "2 of 4 inputs failed and are left out"
    assert said.err.count("warning: skipped: ") == 2
    assert [row["input"] for row in written(tmp_path / name)] == [str(new / "0.png"), str(new / "1.png")]
    assert not (tmp_path / f"{name}.part").exists()
    said = dltrain("predict", digits, *files, "--output", tmp_path / name)
    assert said.code == 1 and "bad.png: not an image" in said.errors[-1]
    assert len(written(tmp_path / name)) == 2, "what was there stays"


def test_what_was_answered_before_an_interruption_is_kept(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "x.npz", x=Digits().load(tmp_path)["test"].inputs[:300])
    (tmp_path / "out.csv").write_text("of before")
    plain = predictions.Written.add

    def add(self: Any, row: Row) -> None:
        if self.count == 200:
            raise KeyboardInterrupt
        plain(self, row)

    monkeypatch.setattr(predictions.Written, "add", add)
    said = dltrain("predict", digits, tmp_path / "x.npz", "--output", tmp_path / "out.csv")
    assert said.code == 130 and f"{tmp_path / 'out.csv.part'} holds the 200 predictions that were made" in said.err
    assert (tmp_path / "out.csv").read_text() == "of before"
    assert len((tmp_path / "out.csv.part").read_text().splitlines()) == 201


def test_the_sizes_of_batches_do_not_depend_on_files(digits: Path, tmp_path: Path) -> None:
    x = Digits().load(tmp_path)["test"].inputs[:300]
    np.savez(tmp_path / "all.npz", x=x)
    for i, part in enumerate(np.split(x, [1, 2, 130, 131])):
        np.savez(tmp_path / f"part{i}.npz", x=part)
    whole = [row["probabilities"] for row in asked(digits, tmp_path / "all.npz")]
    assert [row["probabilities"] for row in asked(digits, f"{tmp_path}/part*.npz")] == whole


def test_noise_that_stays_on_is_that_of_the_example_whatever_the_batch(tmp_path: Path) -> None:
    """Equal inputs get noise of their own each, the command and Python give the same."""
    config = tmp_path / "noisy.yaml"
    layers = "flatten, dropout: {rate: 0.5, always: true}, dense: {units: 10, activation: none}"
    config.write_text(f"data: digits\nmodel: {{layers: [{layers}]}}\ntrain: {{batch_size: 4}}\n")
    run = Path(done("fit", config, "--max-steps", 1, "--runs-dir", tmp_path / "runs", "--json").json["run"])
    x = np.repeat(Digits().load(tmp_path)["test"].inputs[:1], 10, axis=0)
    np.savez(tmp_path / "x.npz", x=x)
    found = np.array([list(row["probabilities"].values()) for row in asked(run, tmp_path / "x.npz")])
    assert len(np.unique(found, axis=0)) == len(found)
    np.testing.assert_array_equal(found, load_run(run).predict(x).astype(float))


# --- pictures that are not like those of the training ----------------------------------------------------------------


def unlike(run: Path, *words: Any) -> list[str]:
    said = done("predict", run, *words)
    return [line.removeprefix("warning: ") for line in said.err.splitlines() if line.startswith("warning: ")]


def test_digits_that_are_not_like_the_digits(digits: Path, tmp_path: Path) -> None:
    new = digits.parent.parent / "new"
    assert unlike(digits, new) == []
    for i in range(10):
        with Image.open(new / f"{i}.png") as file:
            ImageOps.invert(file).save(tmp_path / f"{i}.png")
    exchanged = "brighter than the training pictures, as if black and white were exchanged: invert it first"
    assert unlike(digits, tmp_path / "0.png") == [f"{tmp_path / '0.png'}: {exchanged}"]
    both = unlike(digits, new, tmp_path)
    assert both == [f"10 of 20 pictures: {exchanged}; the first is {tmp_path / '0.png'}"]
    with Image.open(new / "3.png") as file:
        ImageOps.colorize(file.resize((20, 10)), "black", "yellow").save(tmp_path / "x.png")
        file.convert("RGB").save(tmp_path / "y.png")
    assert unlike(digits, tmp_path / "x.png") == [
        f"{tmp_path / 'x.png'}: not 8 x 8 pixels, the size of the training pictures",
        f"{tmp_path / 'x.png'}: coloured, unlike the training pictures",
    ]
    assert unlike(digits, tmp_path / "y.png") == [], "three equal channels are no colours"


UNITS = {
    "bytes": lambda x: np.round(x).astype(np.uint8),
    "floats to 255": lambda x: x.astype(np.float32),
    "16 bits": lambda x: np.round(x * 257).astype(np.uint16),
    "0 to 1": lambda x: (x / 255).astype(np.float32),
    "-1 to 1": lambda x: (x / 127.5 - 1).astype(np.float32),
}


@pytest.mark.parametrize("units", UNITS)
def test_the_units_of_training_are_those_of_pictures(units: str, digits: Path, tmp_path: Path) -> None:
    """The same pictures in other units give the same answers, given as files or as arrays."""
    splits = Digits().load(tmp_path)
    train, test = (UNITS[units](splits[name].inputs * (255 / 16)) for name in ("train", "test"))
    np.savez(tmp_path / "a.npz", x_train=train, y_train=splits["train"].targets)
    np.savez(tmp_path / "x.npz", x=test[:10])
    (tmp_path / "c.yaml").write_text(
        f"data: {{type: npz, path: {tmp_path / 'a.npz'}}}\n" + CONFIG.replace("UNITS", "10")
    )
    run = done("fit", tmp_path / "c.yaml", "--runs-dir", tmp_path / "runs", "--json").json["run"]
    by_file = [list(row["probabilities"].values()) for row in asked(run, digits.parent.parent / "new")]
    by_number = [list(row["probabilities"].values()) for row in asked(run, tmp_path / "x.npz")]
    np.testing.assert_allclose(by_file, by_number, atol=0.02)
    right = [int(np.argmax(row)) == target for row, target in zip(by_file, splits["test"].targets[:10], strict=True)]
    assert sum(right) >= 6


def test_units_that_cannot_be_told_are_asked_for(digits: Path, tmp_path: Path) -> None:
    splits = Digits().load(tmp_path)
    np.savez(tmp_path / "a.npz", x_train=splits["train"].inputs, y_train=splits["train"].targets)
    (tmp_path / "c.yaml").write_text(
        f"data: {{type: npz, path: {tmp_path / 'a.npz'}}}\n" + CONFIG.replace("UNITS", "10")
    )
    picture, runs = digits.parent.parent / "new" / "0.png", ["--runs-dir", tmp_path / "runs"]
    done("fit", tmp_path / "c.yaml", *runs)
    said = dltrain("predict", picture, *runs)
    assert said.code == 1 and "numbers from 0 to 16, and it cannot be told" in said.errors[-1]
    done("fit", tmp_path / "c.yaml", "+data.pixel_range=[0, 16]", *runs)
    assert done("predict", picture, *runs, "--json").json["predictions"][0]["class"] == "0"
    said = dltrain("fit", tmp_path / "c.yaml", "+data.pixel_range=[16, 0]", *runs)
    assert said.code == 2 and "data.pixel_range: [BLACK, WHITE] must rise" in said.errors[0]
