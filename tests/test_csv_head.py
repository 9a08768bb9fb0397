"""What people's CSV files hold beside rows: a line for Excel, comments, commas at the ends of lines, titles."""

from pathlib import Path

import pytest

from dltrain.data.prepare import prepare
from dltrain.data.tables.csv_file import read_csv
from dltrain.data.tables.rows import read_rows
from dltrain.data.tables.table import Csv
from dltrain.errors import DataError, DltrainError

NAMES = ("x", "y", "cls")
ROWS = [["0.5", "1", "a"], ["1.5", "2", "b"]]

# A file -> the lines of its rows, the lines that are said to be left out.
READ = {
    "sep": ("sep=;\nx;y;cls\n0.5;1;a\n1.5;2;b\n", [3, 4], ()),
    "sep in quotes, of Windows": ('"sep=,"\r\nx,y,cls\r\n0.5,1,a\r\n1.5,2,b\r\n', [3, 4], ()),
    "Sep of a tab, after a BOM": ("\ufeffSep=\t\nx\ty\tcls\n0.5\t1\ta\n1.5\t2\tb\n", [3, 4], ()),
    "sep against what most lines look like": ("sep=|\nx|y|cls\n0.5|1|a\n1.5|2|b\n", [3, 4], ()),
    "empty lines above": ("\n\nx,y,cls\n0.5,1,a\n1.5,2,b\n", [4, 5], ()),
    "comments above": ("# by me\n\n# in 2020, twice, for us, all\nx,y,cls\n0.5,1,a\n1.5,2,b\n", [5, 6], (1, 3)),
    "comments below and between": ("x,y,cls\n0.5,1,a\n# half\n1.5,2,b\n#\n", [2, 4], (3, 5)),
    "a comma at the end of each line": ("x,y,cls,\n0.5,1,a,\n1.5,2,b,\n", [2, 3], ()),
    "commas at the end of each line": ("x,y,cls,,,\n0.5,1,a,,,\n1.5,2,b, ,,\n", [2, 3], ()),
    "a comma at the end of each row": ("x,y,cls\n0.5,1,a,\n1.5,2,b,\n", [2, 3], ()),
    "a comma at the end of the first line": ("x,y,cls,\n0.5,1,a\n1.5,2,b\n", [2, 3], ()),
}
REFUSED = {
    "a title above": (
        "Sales\n\nx,y,cls\n0.5,1,a\n", 3,
        "3 cells, but the first line has 1; the first line must name the columns: remove what stands above it",
    ),
    "a value without a name": (
        "x,y,cls,\n0.5,1,a,\n1.5,2,b,good\n", 3,
        "'good' stands in a column without a name; write one into line 1",
    ),
    "a comma at the end of one row": ("x,y,cls\n0.5,1,a\n1.5,2,b,\n", 3, "4 cells, but the first line has 3"),
    "a short row among ids with #": ("id,y,cls\n#1,1,a\n#2,b\n#3,1,a\n", 3, "2 cells, but the first line has 3"),
    "a short row below comments": ("# c\nx,y,cls\n0.5,a\n", 3, "2 cells, but line 2, of columns' names, has 3"),
    "no name between others": ("# c\nx,,cls\n0.5,1,a\n", 2, "the first line must name every column"),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_what_stands_beside_rows(name: str, tmp_path: Path) -> None:
    text, lines, comments = READ[name]
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    table = read_csv(path)
    assert table.names == NAMES
    assert [[table.cells(name).text(row) for name in NAMES] for row in range(len(table))] == ROWS
    assert table.lines.tolist() == lines
    assert table.comments == comments


def test_another_sign_between_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x y cls\n0.5 1 a\n1.5 2 b\n")
    with pytest.raises(DltrainError, match=r"it has x y cls; nothing that is known .*; say data\.delimiter$"):
        Csv(path=str(path), target="cls").load(tmp_path)
    source = Csv(path=str(path), target="cls", delimiter=" ")
    assert source.load(tmp_path)["train"].inputs.tolist() == [[0.5, 1], [1.5, 2]]
    path.write_text("\n")
    with pytest.raises(DataError, match=r"a\.csv: the file is empty$"):
        read_csv(path)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_told(name: str, tmp_path: Path) -> None:
    text, line, message = REFUSED[name]
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(DataError) as refused:
        read_csv(path)
    assert str(refused.value).startswith(f"{path}:{line}: {message}")


def test_names_that_begin_with_a_number_sign(tmp_path: Path) -> None:
    """As numpy.savetxt and genome browsers write them."""
    path = tmp_path / "a.csv"
    path.write_text("## v2\n#x,y,cls\n0.5,1,a\n")
    table = read_csv(path)
    assert (table.names, table.comments, len(table)) == (("#x", "y", "cls"), (1,), 1)


def test_numbers_alone_between_comments(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("# c\nx,y\n1,2\n3,4\n# end\n")
    table = read_csv(path)
    assert table.cells("y").values.tolist() == [2, 4]
    assert (table.lines.tolist(), table.comments) == ([3, 4], (1, 5))


def test_comments_are_said_of_every_file(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("# one\nx,cls\n1,a\n2,b\n")
    test.write_text("x,cls\n1,a\n# two\n# three\n2,b\n")
    source = Csv(path=str(train), test_path=str(test), target="cls")
    prepared = prepare(source, tmp_path, seed=0)
    said = "left out as comments that begin with #"
    assert source.notes == (
        f"{train}: 1 line {said} (the first: line 1)",
        f"{test}: 2 lines {said} (the first: line 3)",
    )
    assert read_rows(test, prepared.preprocessing).notes[0] == source.notes[1]
