"""Tables as people have them: read right, or said in one line what was left out or what to do."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dltrain.data import prepare
from dltrain.data.tables.rows import read_rows
from dltrain.data.tables.table import Csv
from dltrain.errors import DltrainError

NAN = float("nan")
NOWHERE = Path("nowhere")


@dataclass(frozen=True)
class Case:
    """A file and what is read from it: the inputs of its first rows, the classes or first targets, what is said.

    types: of the columns that become inputs. notes: what is said, a part of each line."""

    text: str
    types: dict[str, str]
    inputs: list[list[float]]
    answers: Any
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


def rows(head: str, *cells: str, classes: str = "xy", sign: str = ",") -> str:
    """Lines of the cells, each with a class at its end."""
    lines = [f"{cell}{sign}{classes[i % len(classes)]}" for i, cell in enumerate(cells)]
    return "\n".join([f"{head}{sign}cls", *lines]) + "\n"


NUMBERS = {
    "decimal commas": Case(
        "x;y;cls\n0,5;0,25;x\n1,5;1,25;y\n12,5;2,125;x\n", {"x": "number", "y": "number"},
        [[0.5, 0.25], [1.5, 1.25], [12.5, 2.125]], ("x", "y"),
    ),
    "decimal commas, of which one column could be thousands": Case(
        "x;y;cls\n1,500;0,25;x\n2,500;1,25;y\n", {"x": "number", "y": "number"}, [[1.5, 0.25], [2.5, 1.25]], ("x", "y"),
    ),
    "decimal commas with points between thousands": Case(
        rows("a;b", "1.234,5;1.000", "12,25;2.500", sign=";"), {"a": "number", "b": "number"},
        [[1234.5, 1000], [12.25, 2500]], ("x", "y"),
    ),
    "decimal commas in tabs, with signs": Case(
        rows("a", "-0,5", "+1,5e1", "−2,5", sign="\t"), {"a": "number"}, [[-0.5], [15], [-2.5]], ("x", "y"),
    ),
    "decimal commas, some missing": Case(
        rows("a", "0,5", "", "1,5", "NA", sign=";"), {"a": "number"}, [[0.5], [NAN], [1.5], [NAN]], ("x", "y"),
    ),
    "thousands": Case(
        rows("price", '"1,000"', '"2,037"', "12", '"1,234,567.5"'), {"price": "number"},
        [[1000], [2037], [12], [1234567.5]], ("x", "y"),
    ),
    "thousands with blanks": Case(
        rows("a", "1 000,5", "12 345,0", "7", sign=";"), {"a": "number"}, [[1000.5], [12345], [7]], ("x", "y"),
    ),
    "thousands with narrow blanks": Case(
        rows("a", "1\u202f000", "12\u202f345"), {"a": "number"}, [[1000], [12345]], ("x", "y"),
    ),
    "thousands with apostrophes": Case(
        rows("a", "1'000.5", "12'345"), {"a": "number"}, [[1000.5], [12345]], ("x", "y"),
    ),
    "thousands in one column, so in the others": Case(
        rows("a;b", "1,234;5,678", "2,345;2.5", sign=";"), {"a": "number", "b": "number"},
        [[1234, 5678], [2345, 2.5]], ("x", "y"),
    ),
    "thousands as the config says": Case(
        rows("a", "1,234", "2,500", sign=";"), {"a": "number"}, [[1234], [2500]], ("x", "y"), (), {"thousands": ","},
    ),
    "decimals as the config says": Case(
        rows("a", "1,234", "2,500", sign=";"), {"a": "number"}, [[1.234], [2.5]], ("x", "y"), (), {"decimal": ","},
    ),
    "points between thousands as the config says": Case(
        rows("a", "1.234", "2.500"), {"a": "number"}, [[1234], [2500]], ("x", "y"), (), {"thousands": "."},
    ),
    "dollars": Case(rows("a", "$0.50", "$1.50", "-$2"), {"a": "number"}, [[0.5], [1.5], [-2]], ("x", "y")),
    "euros behind": Case(rows("a", "0,50 €", "1.000,00 €", sign=";"), {"a": "number"}, [[0.5], [1000]], ("x", "y")),
    "per cent": Case(rows("a", "12.5%", "50%"), {"a": "number"}, [[12.5], [50]], ("x", "y")),
    "codes of a currency": Case(rows("a", "CHF 1'200", "CHF 80"), {"a": "number"}, [[1200], [80]], ("x", "y")),
    "months with a zero first": Case(rows("a", "01", "02", "11"), {"a": "number"}, [[1], [2], [11]], ("x", "y")),
    "post codes with a zero first": Case(
        rows("zip", "01067", "10115", "01067"), {"zip": "category"}, [[1, 0], [0, 1], [1, 0]], ("x", "y"),
        ("column 'zip' holds codes such as '01067': taken for categories; data.columns: {zip: number}",),
    ),
    "post codes for numbers": Case(
        rows("zip", "01067", "10115"), {"zip": "number"}, [[1067], [10115]], ("x", "y"), (),
        {"columns": {"zip": "number"}},
    ),
}  # fmt: skip

GAPS = {
    "NA is North America": Case(
        rows("a", "1", "2", "3", "4", classes=["AF", "NA", "EU", "NA"]), {"a": "number"}, [[1], [3]], ("AF", "EU"),
        ("2 of 4 rows left out: cls is missing (first in line 3, where it is 'NA'; if that is a value, say "
         "data.missing_values: [''])",),
    ),
    "NA is a value": Case(
        rows("a", "1", "2", "3", classes=["AF", "NA", "EU"]), {"a": "number"}, [[1], [2], [3]], ("AF", "EU", "NA"), (),
        {"missing_values": ("",)},
    ),
    "nobody is called null": Case(
        rows("name", "Null", "na", "Na", "Null", "na", "Na"), {"name": "category"},
        [[0, 1, 0], [0, 0, 1], [1, 0, 0]], ("x", "y"), ("'Na' and 'na' differ in their case only",),
    ),
    "gaps in the target": Case(
        "a,cls\n1,x\n2,\n3,y\n4,\n", {"a": "number"}, [[1], [3]], ("x", "y"),
        ("2 of 4 rows left out: cls is missing (first in line 3)",),
    ),
    "gaps in a target to predict": Case(
        "a,cls\n1,1.5\n2,\n3,NaN\n", {"a": "number"}, [[1]], [1.5], ("2 of 3 rows left out: cls is missing",),
    ),
    "a number that means missing": Case(
        rows("a,b", "1,-999", "-999,2", "3,z"), {"a": "number", "b": "number"}, [[1, NAN], [NAN, 2], [3, NAN]],
        ("x", "y"), (), {"missing_values": ("-999", "z")},
    ),
    "rows that miss anything": Case(
        rows("a,b", "1,2", ",3", "4,"), {"a": "number", "b": "number"}, [[1, 2]], ("x",),
        ("2 of 3 rows left out: a or b is missing", "is 'x' in all rows: there is nothing to tell apart"),
        {"missing": "drop"},
    ),
    "an index without a name": Case(
        "Unnamed: 0,a,cls\n,1,x\n,2,y\n", {"a": "number"}, [[1], [2]], ("x", "y"),
        ("column 'Unnamed: 0' is empty and left out; data.ignore: [\"Unnamed: 0\"] drops this line",),
    ),
    "an index of pandas": Case(
        ",a,cls\n0,1,x\n1,2,y\n2,2,y\n", {"a": "number"}, [[1], [2]], ("x", "y"),
        ("column 'Unnamed: 0' numbers the rows and is left out; data.columns: {\"Unnamed: 0\": number} keeps it",),
    ),
    "an identifier": Case(
        "customer_id,a,cls\n17,1,x\n4,2,y\n9,2,y\n", {"a": "number"}, [[1], [2]], ("x", "y"),
        ("column 'customer_id' numbers the rows and is left out",),
    ),
    "an identifier in one word": Case(
        "PassengerId,a,cls\n17,1,x\n4,2,y\n9,2,y\n", {"a": "number"}, [[1], [2]], ("x", "y"),
        ("column 'PassengerId' numbers the rows and is left out",),
    ),
    "no identifiers": Case(
        "acid,grid,orderId,cls\n1,5,7,x\n2,6,7,y\n3,7,9,y\n",
        {"acid": "number", "grid": "number", "orderId": "number"}, [[1, 5, 7]], ("x", "y"),
    ),
    "an identifier that is wanted": Case(
        "id,cls\n17,x\n4,y\n9,y\n", {"id": "number"}, [[17], [4]], ("x", "y"), (), {"columns": {"id": "number"}},
    ),
    "names": Case(
        rows("a,name", *(f"{i},person {i}" for i in range(76))), {"a": "number"}, [[0], [1]], ("x", "y"),
        ("column 'name' holds 76 different texts in 76 rows, such as 'person 0', and is left out; data.columns: "
         "{name: text} makes a bag of words of it",),
    ),
    "several at once": Case(
        rows("id,a,e", *(f"{i},{i % 2}," for i in range(5))), {"a": "number"}, [[0], [1]], ("x", "y"),
        ("column 'id' numbers the rows", "column 'e' is empty"),
    ),
}  # fmt: skip

CATEGORIES = {
    "truth in four ways": Case(
        rows("a", *"12345678", classes=["True", "False", "TRUE", "false"]), {"a": "number"}, [[1], [2]],
        ("False", "True"), ("target 'cls': False = false and TRUE = True are read as the same",),
    ),
    "truth as an input": Case(
        rows("a", "yes", "NO", "Yes", "no"), {"a": "category"}, [[0, 1], [1, 0], [0, 1], [1, 0]], ("x", "y"),
        ("column 'a': NO = no and Yes = yes are read as the same",),
    ),
    "other texts in two cases": Case(
        rows("a", *"1234", classes=["Rome", "rome"]), {"a": "number"}, [[1], [2]], ("Rome", "rome"),
        ("'Rome' and 'rome' differ in their case only and are taken for different ones",),
    ),
    "a single class": Case(
        rows("a", "1", "2", classes="x"), {"a": "number"}, [[1], [2]], ("x",),
        ("target 'cls' is 'x' in all rows: there is nothing to tell apart",),
    ),
    "a class for every row": Case(
        "a,cls\n" + "".join(f"{i},c{i:02}\n" for i in range(30)), {"a": "number"}, [[0], [1]],
        tuple(f"c{i:02}" for i in range(30)), ("holds 30 classes in 30 rows: too few of each to learn",),
    ),
    "brackets": Case(
        rows("a", "[red]", "[/b]", classes=["[/b]", "[/i]"]), {"a": "category"}, [[0, 1], [1, 0]], ("[/b]", "[/i]"),
    ),
    "numbers as classes": Case(
        "a,cls\n1,7\n2,10\n3,7\n", {"a": "number"}, [[1], [2]], ("7", "10"), (), {"task": "classification"},
    ),
    "numbers as categories": Case(
        rows("zip", "100", "200.0", "200", "100.0"), {"zip": "category"}, [[1, 0], [0, 1], [0, 1], [1, 0]], ("x", "y"),
        (), {"columns": {"zip": "category"}},
    ),
}  # fmt: skip

DELIMITERS = {
    "commas in names": Case(
        rows("Height (cm, needed);Weight (kg, needed);Width, outer (cm, needed)", "0.5;3;0", "1.5;4;2", sign=";"),
        {"Height (cm, needed)": "number", "Weight (kg, needed)": "number", "Width, outer (cm, needed)": "number"},
        [[0.5, 3, 0], [1.5, 4, 2]], ("x", "y"),
    ),
    "semicolons in quoted names": Case(
        rows('"a;b;c","d;e;f"', "0,1", "1,2"), {"a;b;c": "number", "d;e;f": "number"}, [[0, 1], [1, 2]], ("x", "y"),
    ),
    "commas in tabs": Case(
        rows("a\ttown", "1\tRome, Italy", "2\tParis, France", sign="\t"), {"a": "number", "town": "category"},
        [[1, 0, 1], [2, 1, 0]], ("x", "y"),
    ),
    "bars": Case(rows("a|b", "1|2", "3|4", sign="|"), {"a": "number", "b": "number"}, [[1, 2], [3, 4]], ("x", "y")),
    "lines within quotes": Case(
        rows("a,b", '1,"two\nlines"', '2,"one, line"'), {"a": "number", "b": "category"},
        [[1, 0, 1], [2, 1, 0]], ("x", "y"),
    ),
    "as the config says": Case(
        rows("a~b", "1~2", "3~4", sign="~"), {"a": "number", "b": "number"}, [[1, 2], [3, 4]], ("x", "y"), (),
        {"delimiter": "~"},
    ),
    "as the config says in words": Case(
        rows("a;b", "1;2", "3;4", sign=";"), {"a": "number", "b": "number"}, [[1, 2], [3, 4]], ("x", "y"), (),
        {"delimiter": "semicolon"},
    ),
}  # fmt: skip
TURN = 2 * np.pi
DATES = {
    "days": Case(
        rows("when", "1970-01-02", "1971-01-01", "1970-01-02"), {"when": "date"},
        # Friday and Friday; the month is the same
        [[1], [365]], ("x", "y"),
    ),
    "months and weekdays": Case(
        rows("when", "1970-01-01", "1970-04-06", ""), {"when": "date"},
        [[0, 0, 1, np.sin(TURN * 3 / 7), np.cos(TURN * 3 / 7)], [95, 1, 0, 0, 1], [NAN] * 5], ("x", "y"),
    ),
    "hours": Case(
        rows("when", "1970-01-01 06:00", "1970-01-01T18:00:00Z"), {"when": "date"},
        [[0.25, 1, 0], [0.75, -1, 0]], ("x", "y"),
    ),
    "zones": Case(
        rows("when", "1970-01-01T06:00+06:00", "1970-01-01T00:00-12:00"), {"when": "date"},
        [[0, 0, 1], [0.5, 0, -1]], ("x", "y"),
    ),
    "days first": Case(
        rows("when", "02/01/1970", "31/01/1970"), {"when": "date"},
        [[1, np.sin(TURN * 4 / 7), np.cos(TURN * 4 / 7)], [30, np.sin(TURN * 5 / 7), np.cos(TURN * 5 / 7)]], ("x", "y"),
    ),
    "months first": Case(
        rows("when", "01/02/1970", "01/30/1970"), {"when": "date"}, [[1], [29]], ("x", "y"),
    ),
    "with points": Case(rows("when", "02.01.1970", "01.01.1971"), {"when": "date"}, [[1], [365]], ("x", "y")),
    "as the config says": Case(
        rows("when", "02/01/1970", "02/01/1970"), {"when": "date"}, [[31], [31]], ("x", "y"), (),
        {"columns": {"when": "month/day/year"}},
    ),
}  # fmt: skip

TEXTS = {
    "a bag of words": Case(
        rows("review", "Good good film!", "bad film", "Bad."), {"review": "text"}, [[0, 1], [1, 1], [1, 0]],
        ("x", "y"), (), {"columns": {"review": "text"}},
    ),
    "no text at all": Case(
        rows("a,review", "1,good film", "2,", "3,good"), {"a": "number", "review": "text"}, [[1, 1], [2, 0], [3, 1]],
        ("x", "y"), (), {"columns": {"review": "text"}},
    ),
    "left out": Case(
        rows("a,review", "1,good film", "2,", "3,good"), {"a": "number"}, [[1], [2], [3]], ("x", "y"), (),
        {"columns": {"review": "ignore"}},
    ),
}  # fmt: skip

KINDS = {"numbers": NUMBERS, "gaps": GAPS, "categories": CATEGORIES, "delimiters": DELIMITERS, "dates": DATES}
KINDS["texts"] = TEXTS
CASES = {f"{kind}: {name}": case for kind, cases in KINDS.items() for name, case in cases.items()}


def written(folder: Path, text: str, name: str = "a.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return str(folder / name)


@pytest.mark.parametrize("name", CASES)
def test_reads(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    source = Csv(path=written(tmp_path, case.text), **{"target": "cls"} | case.settings)
    split = source.load(NOWHERE)["train"]
    assert {column.name: column.type for column in source.columns} == case.types
    np.testing.assert_allclose(split.inputs[: len(case.inputs)], case.inputs, rtol=1e-6, atol=1e-6)
    if source.classes is None:
        assert split.targets[:, 0].tolist() == case.answers
    else:
        assert source.classes == case.answers
    assert len(source.notes) == len(case.notes), source.notes
    for note, part in zip(source.notes, case.notes, strict=True):
        assert part in note


REFUSED: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "nothing tells": (
        rows("a;b", "1,234;5,678", "2,345;6,789", sign=";"), {},
        ["column 'a' holds numbers such as '1,234', which may be thousands or decimals; say data.decimal",
         "column 'b'"],
    ),
    "all columns at once": (
        rows("a,b,c", "1,2,3", "one,two,3", "2,3,x"), {},
        ["a.csv:3: column 'a' holds numbers, but also 'one'", "a.csv:3: column 'b' holds numbers, but also 'two'",
         "a.csv:4: column 'c' holds numbers, but also 'x'"],
    ),
    "a day or a month": (
        rows("when", "02/01/1970", "03/04/1970"), {},
        ["column 'when' holds dates such as '02/01/1970'; say which is the day: data.columns: {when: day/month/year}"],
    ),
    "no date": (rows("when", "1970-02-30"), {"columns": {"when": "date"}}, ["should be a date", "'1970-02-30'"]),
    "no number": (rows("a", "1", "b"), {"columns": {"a": "number"}}, ["a.csv:3: column 'a' should be a number"]),
    "a column that is not there": (
        rows("a", "1"), {"columns": {"b": "date"}}, ["data.columns: 'b' is no input column"],
    ),
    "another delimiter": (
        rows("a;b", "1;2", sign=";"), {"delimiter": ","}, ["data.target", "it has a;b;cls", "say data.delimiter"],
    ),
    "cells too many": (
        rows("a,b", "1,2", "3,4,5"), {}, ["a.csv:3: 4 cells, but the first line has 3, with a comma between them"],
    ),
    "no delimiter": (rows("a", "1"), {"delimiter": "none"}, ["data.delimiter", "comma, semicolon, tab, bar"]),
    "letters between thousands": (rows("a", "1"), {"thousands": "00"}, ["data.thousands"]),
    "no moment": (rows("a", "x", "y"), {"time": "a"}, ["data.time", "holds neither dates nor numbers"]),
    "no group": (rows("a", "1"), {"group": "patient"}, ["data.group", "no column 'patient'; it has a, cls"]),
    "labels that are none": (
        "a,b,c\n1,0,1\n2,1,5\n", {"target": ("b", "c"), "task": "multilabel"},
        ["'c' holds '5'", "data.label_separator"],
    ),
    "two columns of labels": (
        "a,b,c\n1,0,1\n", {"target": ("b", "c"), "label_separator": ";"}, ["data.label_separator", "one column"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str, tmp_path: Path) -> None:
    text, settings, parts = REFUSED[name]
    with pytest.raises(DltrainError) as error:
        Csv(path=written(tmp_path, text), **{"target": "cls"} | settings).load(NOWHERE)
    for part in parts:
        assert part in str(error.value)


def learned_from(folder: Path, text: str, **settings: Any) -> Any:
    return prepare(Csv(path=written(folder, text), **{"target": "cls"} | settings), NOWHERE, seed=0).preprocessing


UNSEEN = {
    "numbers by their value": ("zip,cls\n200.0,x\n0100,x\n", [[0, 1], [1, 0]], ()),
    "other text": (
        "zip,cls\n100,x\nfour,x\n500,x\n",
        [[1, 0], [0, 0], [0, 0]],
        ("column 'zip': 2 of 3 cells hold what training never saw, the first 'four' in line 3",),
    ),
    "a gap": ("zip,cls\n,x\n100,x\n", [[0, 0], [1, 0]], ("missing in 2 rows: zip 1; ",)),
    "with other columns, in another order": ("b,zip\n9,100\n8,200\n", [[1, 0], [0, 1]], ()),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_training_never_saw(name: str, tmp_path: Path) -> None:
    learned = learned_from(tmp_path, rows("zip", "100", "200", "100", "200"), columns={"zip": "category"})
    text, inputs, notes = UNSEEN[name]
    found = read_rows(Path(written(tmp_path, text, "new.csv")), learned)
    assert found.inputs.tolist() == inputs and len(found.notes) == len(notes)
    assert all(part in note for part, note in zip(notes, found.notes, strict=True))


def test_other_tables_are_written_as_the_first_one(tmp_path: Path) -> None:
    """A table to predict from need not show how its numbers are written."""
    learned = learned_from(tmp_path, rows("a;b;c", "0,5;$1;1.234,5", "1,5;$2;7", sign=";"))
    again = type(learned).from_json(json.loads(json.dumps(learned.to_json())))
    assert again == learned
    found = read_rows(Path(written(tmp_path, "a;b;c\n1,234;$3;1.000\n", "new.csv")), again)
    np.testing.assert_allclose(found.inputs, [[1.234, 3, 1000]], rtol=1e-6)
    dates = learned_from(tmp_path, rows("when", "02/01/1970", "31/01/1970"))
    assert type(dates).from_json(json.loads(json.dumps(dates.to_json()))) == dates
    found = read_rows(Path(written(tmp_path, "when\n03/01/1970\n", "new.csv")), dates)
    assert found.inputs[0, 0] == 2
    with pytest.raises(DltrainError, match=r"new\.csv:2: column 'when' should be a date, day/month/year, not '01/13"):
        read_rows(Path(written(tmp_path, "when\n01/13/1970\n", "new.csv")), dates)
