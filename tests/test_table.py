"""CSV files and the penguins: what becomes an input, what is missing, what is refused, and predicting from a table."""

import csv
import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import dltrain, done

from dltrain.data import Cuts, MissingData, Pixels, Preprocessing, load_split, prepare
from dltrain.data.tables.columns import Column
from dltrain.data.tables.rows import read_rows
from dltrain.data.tables.table import Csv, Penguins
from dltrain.errors import ConfigError, DataError

NOWHERE = Path("nowhere")
SMALL = """colour,size,grade,price,kind
red,1.5,2,10,b
blue,,1,20.5,a
NA,2.5,2,30,b
red,?,1,,a
"""
NAN = float("nan")


def written(folder: Path, text: str | bytes, name: str = "a.csv") -> str:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return str(folder / name)


# settings -> columns, inputs of the training part, classes, targets
ENCODED: dict[str, tuple[dict[str, Any], list[Column], list[list[float]], Any, list[float]]] = {
    "classes": (
        {"target": "kind"},
        [Column("colour", ("blue", "red")), Column("size", None), Column("grade", None), Column("price", None)],
        [[0, 1, 1.5, 2, 10], [1, 0, NAN, 1, 20.5], [NAN, NAN, 2.5, 2, 30], [0, 1, NAN, 1, NAN]],
        ("a", "b"), [1, 0, 1, 0],
    ),
    "numbers": (
        {"target": "price", "ignore": ("size",), "categorical": ("grade",)},
        [Column("colour", ("blue", "red")), Column("grade", ("1", "2")), Column("kind", ("a", "b"))],
        [[0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0], [NAN, NAN, 0, 1, 0, 1]],
        None, [10, 20.5, 30],
    ),
    "classes that are numbers": (
        {"target": "grade", "task": "classification", "ignore": ("colour", "kind")},
        [Column("size", None), Column("price", None)],
        [[1.5, 10], [NAN, 20.5], [2.5, 30], [NAN, NAN]],
        ("1", "2"), [1, 0, 1, 0],
    ),
    "whole rows only": (
        {"target": "kind", "missing": "drop", "ignore": ("size",)},
        [Column("colour", ("blue", "red")), Column("grade", None), Column("price", None)],
        [[0, 1, 2, 10], [1, 0, 1, 20.5]],
        ("a", "b"), [1, 0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("form", ["plain", "quoted, bars, Windows", "BOM, tabs, blanks"])
def test_encoding(name, form, tmp_path):
    settings, columns, inputs, classes, targets = ENCODED[name]
    text = SMALL
    if form.startswith("quoted"):
        text = "\r\n".join("|".join(f'"{cell}"' for cell in line.split(",")) for line in SMALL.split())
    if form.startswith("BOM"):
        text = "\ufeff" + SMALL.replace(",", "\t ").replace("\n", " \n\n")
    source = Csv(path=written(tmp_path, text), **settings)
    assert list(source.columns) == columns and source.classes == classes
    split = source.load(NOWHERE)["train"]
    assert split.inputs.dtype == np.float32 and source.input_shape == split.inputs.shape[1:]
    np.testing.assert_array_equal(split.inputs, np.array(inputs, np.float32))
    assert split.targets.dtype == (np.float32 if classes is None else np.int64)
    np.testing.assert_array_equal(split.targets.reshape(-1), np.array(targets))
    assert source.outputs == (1 if classes is None else len(classes))


def test_what_is_missing_is_filled_in_from_the_training_part(tmp_path):
    test = "kind,colour,size,grade,price\nb,green,,3,NULL\nb,,8,,1\n"
    source = Csv(path=written(tmp_path, SMALL), test_path=written(tmp_path, test, "t.csv"), target="kind")
    prepared = prepare(source, NOWHERE, seed=0)
    learned = prepared.preprocessing
    assert learned.fill == (0, 0, 2, 1.5, pytest.approx(60.5 / 3))
    np.testing.assert_allclose(
        learned.completed(prepared.splits["test"].inputs), [[0, 0, 2, 3, 60.5 / 3], [0, 0, 8, 1.5, 1]], rtol=1e-6
    )
    train = learned.completed(prepared.splits["train"].inputs).astype(float)
    np.testing.assert_allclose(learned.mean[2:], train[:, 2:].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(learned.std[2:], train[:, 2:].std(axis=0), rtol=1e-6)
    assert (learned.mean[:2], learned.std[:2]) == ((0, 0), (1, 1)), "0 and 1 stay"
    assert Preprocessing.from_json(json.loads(json.dumps(learned.to_json()))) == learned
    raw = prepare(source, NOWHERE, normalize="none", seed=0).preprocessing
    assert raw.fill == learned.fill and set(raw.mean) == {0} and set(raw.std) == {1}
    whole = Csv(path=written(tmp_path, SMALL), target="kind", missing="drop")
    assert prepare(whole, NOWHERE, seed=0).preprocessing.fill is None


REFUSED: dict[str, tuple[str | bytes, dict[str, Any], str]] = {
    "nothing": ("", {}, "the file is empty"),
    "a name twice": ("a,a\n1,2\n", {}, "each differently"),
    "a nameless column": ("a,,kind\n1,2,3\n", {}, "must name every column"),
    "no rows": ("a,kind\n", {}, "no row below"),
    "a short row": ("a,kind\n1,x\n2\n", {}, r"a\.csv:3: 1 cells, but the first line has 2"),
    "a long row": ("a,kind\n1,x,3\n", {}, r"a\.csv:2: 3 cells"),
    "bytes": (b"a,kind\n\xff,x\n", {}, "not a text in UTF-8"),
    "an open quote": ('a,kind\n"1,x\n', {}, "cannot be read as comma-separated"),
    "a huge cell": ("a,kind\n" + "x" * 200_000 + ",y\n", {}, "cannot be read as comma-separated"),
    "no such target": ("a,b\n1,2\n", {}, r"data\.target: .*no column 'kind'; it has a, b"),
    "no targets": ("a,kind\n1,NA\n", {}, "every row misses kind"),
    "only empty columns": ("b,kind\n,x\n,y\n", {}, r"no input column is left; column 'b' is empty and left out"),
    "all different": (
        "a,kind\n" + "".join(f"t{i},x\n" for i in range(1001)),
        {"categorical": ("a",)},
        "1,001 different texts such as 't0'",
    ),
    "numbers and text": ("a,kind\n1,x\n?,x\ntwo,x\n", {}, r"a\.csv:4: column 'a' holds numbers, but also 'two'; mend"),
    "too large": ("a,kind\n1e39,x\n", {}, r"a\.csv:2: column 'a' holds a number too large"),
    "text to predict": ("a,kind\n1,2\n1,x\n", {"task": "regression"}, r"a\.csv:3: column 'kind' should be a number"),
    "only the target": ("kind\nx\n", {}, "no input column is left"),
    "ignoring the unknown": ("a,kind\n1,x\n", {"ignore": ("b",)}, r"data\.ignore: 'b' is no input column"),
    "ignoring the target": ("a,kind\n1,x\n", {"ignore": ("kind",)}, r"data\.ignore: 'kind' is no input column"),
    "an unknown category": ("a,kind\n1,x\n", {"categorical": ("b",)}, r"data\.categorical: 'b'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name, tmp_path):
    text, settings, message = REFUSED[name]
    with pytest.raises((DataError, ConfigError), match=message):
        source = Csv(path=written(tmp_path, text), target="kind", **settings)
        assert source.input_shape
        source.load(NOWHERE)


def test_refuses_other_tables_to_test_on(tmp_path):
    train = written(tmp_path, "a,b,kind\n1,x,k\n2,y,l\n")
    for text, message in {
        "a,kind\n1,k\n": "no column 'b'",
        "a,b,kind\none,x,k\n": r"t\.csv:2: column 'a' should be a number, not 'one'",
        "a,b,kind\n1,x,k\n1,x,m\n": r"t\.csv:3: 'm' is no class of the training part: \['k', 'l'\]",
    }.items():
        with pytest.raises(DataError, match=message):
            Csv(path=train, test_path=written(tmp_path, text, "t.csv"), target="kind").load(NOWHERE)
    with pytest.raises(MissingData, match="no such file"):
        assert Csv(path="nowhere.csv", target="kind").input_shape


# The penguins


def test_penguins_are_what_the_file_holds():
    packed = files("dltrain.data").joinpath("files", "penguins.csv").read_text()
    rows = list(csv.DictReader(packed.splitlines()))
    source = Penguins()
    split = source.load(NOWHERE)["train"]
    assert source.input_shape == (9,) and split.inputs.shape == (344, 9)
    assert np.bincount(split.targets).tolist() == [152, 68, 124]
    assert [source.classes[i] for i in split.targets] == [row["species"] for row in rows]
    assert np.isnan(split.inputs).any(axis=1).sum() == 11
    assert len(Penguins(missing="drop").load(NOWHERE)["train"]) == 333
    for row, found in zip(rows, split.inputs, strict=True):
        numbers = [NAN if row[c.name] == "NA" else float(row[c.name]) for c in source.columns if not c.categories]
        sex = [NAN] * 2 if row["sex"] == "NA" else [row["sex"] == "female", row["sex"] == "male"]
        island = [row["island"] == name for name in ("Biscoe", "Dream", "Torgersen")]
        np.testing.assert_array_equal(found, np.array([*island, *numbers, *sex], np.float32))
    assert Csv.columns.fget(source) == source.columns, "the columns are those that the file shows"


@pytest.mark.skipif("DLTRAIN_DATA" not in os.environ, reason="DLTRAIN_DATA is not set")
def test_penguins_are_the_original():
    shipped = files("dltrain.data").joinpath("files", "penguins.csv").read_bytes()
    assert shipped == (Path(os.environ["DLTRAIN_DATA"]) / "penguins" / "penguins.csv").read_bytes()


CONFIG = """
data: {{{data}, test: 0.25, validation: 0.2, stratified: {stratified}}}
model: {{layers: [dense: {{units: 8}}, dense: {{units: {units}, activation: none}}]}}
loss: {loss}
optimizer: {{adam: {{lr: 0.02}}}}
train: {{epochs: 15, batch_size: 16}}
"""


def test_penguins_from_training_to_predicting(tmp_path):
    config = written(
        tmp_path, CONFIG.format(data="type: penguins", stratified="true", units=3, loss="cross_entropy"), "p.yaml"
    )
    fit = done("fit", config, "--runs-dir", tmp_path / "runs", "--json").json
    assert fit["test"]["accuracy"] > 0.9
    evaluated = done("eval", "--runs-dir", tmp_path / "runs", "--json").json
    assert evaluated["accuracy"] == fit["test"]["accuracy"] and evaluated["examples"] == 86
    table = """sex,body_mass_g,island,bill_depth_mm,flipper_length_mm,bill_length_mm
,5500,Biscoe,15,,48
male,3700,Dream,18.5,195,49
"""
    asked = written(tmp_path, table, "P.CSV")
    rows = done("predict", asked, "--runs-dir", tmp_path / "runs", "--json").json["predictions"]
    assert [row["class"] for row in rows] == ["Gentoo", "Chinstrap"]
    assert [row["input"].rpartition(":")[2] for row in rows] == ["2", "3"]
    # the whole file, target included: what predict says agrees with what eval counted
    packed = str(files("dltrain.data").joinpath("files", "penguins.csv"))
    rows = done("predict", packed, "--runs-dir", tmp_path / "runs", "--json").json["predictions"]
    said = np.array([row["class"] for row in rows])
    held = load_split(Penguins(), NOWHERE, "test", cuts=Cuts(test=0.25, validation=0.2, stratified=True), seed=0)
    whole = Penguins().load(NOWHERE)["train"]
    at = [i for i, row in enumerate(whole.inputs) if any(np.array_equal(row, h, equal_nan=True) for h in held.inputs)]
    right = np.mean([Penguins.classes[whole.targets[i]] == said[i] for i in at])
    assert right == pytest.approx(evaluated["accuracy"])


def test_a_regression_from_training_to_predicting(tmp_path):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 200))
    rows = "\n".join(f"{x},{'u' if y > 0 else 'v'},{2 * x + (y > 0)}" for x, y in zip(a, b, strict=True))
    path = written(tmp_path, f"a,b,c\n{rows}\n")
    data = f"type: csv, path: {path}, target: c, missing: drop"
    config = written(tmp_path, CONFIG.format(data=data, stratified="false", units=1, loss="mse"), "r.yaml")
    fit = done("fit", config, "--runs-dir", tmp_path / "runs", "--json").json
    assert fit["test"]["loss"] < 0.1
    asked = written(tmp_path, "b,a\nu,1\nv,-1\n", "asked.csv")
    said = done("predict", asked, "--runs-dir", tmp_path / "runs", "--json").json["predictions"]
    np.testing.assert_allclose([row["values"] for row in said], [[3], [-2]], atol=0.5)
    gap = dltrain("predict", written(tmp_path, "b,a\nu,1\nv,\n", "gap.csv"), "--runs-dir", tmp_path / "runs")
    assert gap.code == 1 and "gap.csv:3: a value is missing" in gap.errors[0]
    with Path(path).open("a") as file:
        file.write("1,w,3\n")
    changed = done("eval", "--split", "train", "--runs-dir", tmp_path / "runs")
    assert "data changed since" in changed.err, "the columns are still those of the training"
    Path(path).unlink()
    assert dltrain("eval", "--runs-dir", tmp_path / "runs").code == 1
    assert done("predict", asked, "--runs-dir", tmp_path / "runs", "--json").json["predictions"] == said


def test_a_network_that_was_not_trained_on_a_table(tmp_path):
    learned = Preprocessing((3,), None, "none", (0.0,) * 3, (1.0,) * 3, Pixels())
    with pytest.raises(DataError, match="not trained on a table"):
        read_rows(Path(written(tmp_path, SMALL)), learned)


def test_rows_that_are_left_out_are_counted_everywhere(tmp_path):
    rows = "".join(f"{i},{'' if i % 5 == 4 else 'xy'[i % 2]}\n" for i in range(100))
    path = written(tmp_path, "a,cls\n" + rows)
    config = written(
        tmp_path,
        CONFIG.format(data=f"type: csv, path: {path}, target: cls", stratified="true", units=2, loss="cross_entropy"),
        "g.yaml",
    )
    note = f"{path}: 20 of 100 rows left out: cls is missing (first in line 6)"
    fit = done("fit", config, "--runs-dir", tmp_path / "runs", "--max-steps", "2")
    assert note in fit.err
    run = next((tmp_path / "runs").iterdir())
    assert json.loads((run / "description.json").read_bytes())["data"]["notes"] == [note]
    assert note in (run / "report.html").read_text()
    found = dltrain("check", config, "--json").json["findings"]
    (reading,) = [finding for finding in found if finding["check"] == "reading"]
    assert reading["status"] == "warning" and note in reading["advice"] and reading["values"]["notes"] == [note]


@pytest.mark.parametrize("targets", [("price",), ("price", "size")])
def test_numbers_predicted_have_the_names_of_their_columns(targets: tuple[str, ...], tmp_path: Path) -> None:
    table = written(tmp_path, SMALL.replace(",,a", ",7,a").replace(",,", ",3,").replace("?", "4"))
    (tmp_path / "net.yaml").write_text(
        f"data: {{type: csv, path: {table}, target: [{', '.join(targets)}], task: regression}}\n"
        f"model: {{layers: [dense: {{units: {len(targets)}, activation: none}}]}}\nloss: mse\ntrain: {{epochs: 1}}\n"
    )
    done("fit", tmp_path / "net.yaml", "--runs-dir", tmp_path / "runs")
    words = ("predict", table, "--runs-dir", tmp_path / "runs")
    for row in done(*words, "--json").json["predictions"]:
        assert row["predicted"] == dict(zip(targets, row["values"], strict=True))
    assert done(*words).out.splitlines()[0].split() == ["input", *targets]
    for name in ("out.csv", "out.jsonl"):
        done(*words, "--keep", "price", "--output", tmp_path / name)
    header, first, *_ = csv.reader((tmp_path / "out.csv").read_text().splitlines())
    assert header == ["input", "price", "predicted price", *targets[1:]] and float(first[1]) == 10
    line = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert list(map(float, first[2:])) == list(line["predicted"].values()) == line["values"]
