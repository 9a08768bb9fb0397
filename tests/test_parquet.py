"""Tables in Parquet files: the same inputs as from a CSV file; and a hint where what reads them is missing."""

import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dltrain.data import prepare
from dltrain.data.tables.rows import read_rows
from dltrain.data.tables.table import Csv
from dltrain.errors import DataError, DltrainError

NOWHERE = Path("nowhere")
COLUMNS: dict[str, list[Any]] = {
    "whole": [1, 2, None, 4],
    "share": [0.5, 1.5, 2.5, 3.5],
    "when": [date(2020, 1, 1), date(2020, 2, 1), None, date(2021, 1, 1)],
    "member": [True, False, True, None],
    "town": ["Rome", "Paris", "Rome", None],
    "cls": ["x", "y", "x", "y"],
}


def as_csv(folder: Path) -> Path:
    rows = [list(COLUMNS), *zip(*COLUMNS.values(), strict=True)]
    lines = [",".join("" if cell is None else str(cell) for cell in row) for row in rows]
    (folder / "a.csv").write_text("\n".join(lines) + "\n")
    return folder / "a.csv"


def as_parquet(folder: Path, **columns: Any) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow, of the extra `parquet`, is not installed")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns or COLUMNS), folder / "a.parquet")
    return folder / "a.parquet"


def test_it_is_read_as_a_csv_file_is(tmp_path: Path) -> None:
    there, here = (Csv(path=str(path), target="cls") for path in (as_csv(tmp_path), as_parquet(tmp_path)))
    assert here.columns == there.columns and here.classes == there.classes and here.notes == there.notes == ()
    np.testing.assert_array_equal(here.load(NOWHERE)["train"].inputs, there.load(NOWHERE)["train"].inputs)
    learned = prepare(here, NOWHERE, seed=0).preprocessing
    np.testing.assert_array_equal(
        read_rows(tmp_path / "a.parquet", learned).inputs, read_rows(tmp_path / "a.csv", learned).inputs
    )


def test_what_is_no_table_of_values(tmp_path: Path) -> None:
    nothing = np.zeros(0)
    for columns, message in (({"a": [[1], [2]]}, "a column of type list"), ({"a": nothing}, "must have rows")):
        with pytest.raises(DataError, match=message):
            Csv(path=str(as_parquet(tmp_path, **columns)), target="a").load(NOWHERE)


def test_damaged_files(tmp_path: Path) -> None:
    path = as_parquet(tmp_path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        raw = bytearray(whole)
        for place in rng.integers(4, len(raw), 3).tolist():
            raw[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(raw[: int(rng.integers(5, len(raw)))] if rng.random() < 0.3 else raw)
        try:
            source = Csv(path=str(path), target="cls")
            source.load(NOWHERE)
        except DltrainError:
            pass


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"is a Parquet file, which pyarrow reads; .*pip install '\.\[parquet\]'"):
        Csv(path=str(tmp_path / "a.parquet"), target="cls").load(NOWHERE)
