"""Rows of tables that are not as the training had them, and the threshold that decides between two classes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Said, dltrain, done

CONFIG = """
data: {type: csv, path: FILE, target: ill, validation: 0.25, test: 0.25}
model: {layers: [{dense: {units: 2, activation: none}}]}
metrics: {positive: "yes"}
optimizer: {adam: {lr: 1e-2}}
train: {epochs: 5, batch_size: 20}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rare illness, which an age tells in part; a colour tells nothing."""
    folder = tmp_path_factory.mktemp("ill")
    draw = np.random.default_rng(0)
    age = draw.normal(50, 10, 400).round(1)
    ill = age + draw.normal(0, 8, 400) > 63
    lines = [f"{age[i]},{'red' if i % 3 else 'blue'},{'yes' if ill[i] else 'no'}" for i in range(400)]
    (folder / "ill.csv").write_text("\n".join(["age,colour,ill", *lines]) + "\n")
    (folder / "c.yaml").write_text(CONFIG.replace("FILE", str(folder / "ill.csv")))
    return Path(done("fit", folder / "c.yaml", "--runs-dir", folder / "runs", "--json").json["run"])


def asked(run: Path, folder: Path, text: str, *words: Any) -> Said:
    (folder / "new.csv").write_text(text)
    return dltrain("predict", run, folder / "new.csv", "--json", *words)


def lines_of(said: Said) -> list[int]:
    return [int(row["input"].rpartition(":")[2]) for row in said.json["predictions"]]


# A table -> lines that are answered with --skip-bad, and what is said of the others.
BAD = {
    "no number": ("age,colour\n50,red\nold,red\n51,red\nvery,red\n", [2, 4],
                  "2 of 4 rows skipped: column 'age' should be a number, not 'old' (line 3)"),
    "too large": ("age,colour\n1e39,red\n50,red\n", [3],
                  "1 of 2 rows skipped: column 'age' holds a number too large for float32 (line 2)"),
    "a cell too few": ("age,colour\n50,red\n51\n52,blue\n", [2, 4],
                       "1 of 3 rows skipped: more or fewer cells than the first line has (line 3)"),
    "a cell too many, of numbers alone": ("colour,age\n1,50\n1,50,2\n1,51\n", [2, 4],
                                          "1 of 3 rows skipped: more or fewer cells than the first line has (line 3)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_rows(name: str, run: Path, tmp_path: Path) -> None:
    text, answered, message = BAD[name]
    refused = asked(run, tmp_path, text)
    assert refused.code == 1 and not refused.out and len(refused.errors) == 1
    skipped = asked(run, tmp_path, text, "--skip-bad")
    assert skipped.code == 1 and lines_of(skipped) == answered
    assert f"warning: {tmp_path / 'new.csv'}: {message}\n" in skipped.err
    rows = len(text.splitlines()) - 1
    assert skipped.errors == [f"{rows - len(answered)} of {rows} inputs failed and are left out"]


def test_a_table_of_which_no_row_can_be_read(run: Path, tmp_path: Path) -> None:
    for text in ("age,colour\nx,red\ny,red\n", "age,colour\n1\n2\n", "age,colour\n"):
        said = asked(run, tmp_path, text, "--skip-bad")
        assert said.code == 1 and not said.out and said.errors == ["no input could be answered"], said.err


# A table -> what is said of it. All rows are answered.
UNLIKE = {
    "as the training": ("ill,age,colour\nno,50,red\n", ""),
    "far away": ("age,colour\n50,red\n1e30,red\n-9e3,red\n",
                 "column 'age': 2 of 3 cells are more than 10 standard deviations from the mean of the training, the "
                 "first '1e+30' in line 3"),
    "missing": ("age,colour\n,red\n50,\n,\n",
                "missing in 3 rows: age 2, colour 2; numbers become the mean of the training, categories none of its "
                "categories"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNLIKE)
def test_rows_unlike_those_of_the_training(name: str, run: Path, tmp_path: Path) -> None:
    text, message = UNLIKE[name]
    said = asked(run, tmp_path, text)
    assert said.code == 0 and lines_of(said) == list(range(2, 1 + len(text.splitlines())))
    warnings = [line for line in said.err.splitlines() if line.startswith("warning: ")]
    assert warnings == ([f"warning: {tmp_path / 'new.csv'}: {message}"] if message else [])


def test_columns_that_are_not_there_or_not_taken(run: Path, tmp_path: Path) -> None:
    said = asked(run, tmp_path, "name,age,ill,colour,size\nJo,50,no,red,3\n", "--keep", "name")
    assert said.code == 0 and "columns that the network does not take: size\n" in said.err
    said = asked(run, tmp_path, "Age,Colour\n50,red\n")
    assert said.code == 1 and "there is no column 'age', 'colour'; there are: Age, Colour" in said.errors[0]


def test_the_threshold_that_validation_examples_chose(run: Path, tmp_path: Path) -> None:
    """`metrics.positive` asks a question of yes or no: the same threshold answers it in `eval` and `predict`."""
    found = json.loads((run / "eval" / "test.json").read_text())["threshold"]
    least = found["probability"]
    ages = "".join(f"{age},red\n" for age in range(20, 90))
    said = asked(run, tmp_path, f"age,colour\n{ages}")
    assert f"yes from a probability of {least:.3g} on, which validation examples chose\n" in said.err
    rows = said.json["predictions"]
    assert all((row["class"] == "yes") == (row["probabilities"]["yes"] >= least) for row in rows)
    assert any((row["class"] == "yes") != (row["probabilities"]["yes"] >= 0.5) for row in rows), (
        "else the test says nothing"
    )
    said = asked(run, tmp_path, f"age,colour\n{ages}", "--checkpoint", "best")
    assert "yes from a probability of 0.5 on: no threshold is kept for the best checkpoint" in said.err
    assert all((row["class"] == "yes") == (row["probabilities"]["yes"] >= 0.5) for row in said.json["predictions"])


def test_a_threshold_where_nothing_tests(tmp_path: Path, run: Path) -> None:
    config = (run.parent.parent / "c.yaml").read_text().replace("test: 0.25", "test: 0")
    (tmp_path / "c.yaml").write_text(config)
    other = Path(done("fit", tmp_path / "c.yaml", "--runs-dir", tmp_path / "runs", "--json").json["run"])
    kept = json.loads((other / "eval" / "validation.json").read_text())["threshold"]["probability"]
    said = asked(other, tmp_path, "age,colour\n50,red\n")
    assert f"yes from a probability of {kept:.3g} on" in said.err
