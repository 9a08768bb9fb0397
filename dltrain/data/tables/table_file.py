"""A table's file, whatever its format: CSV, or Parquet through pyarrow."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dltrain.data.files import require_file
from dltrain.data.tables.cells import Cells, Table
from dltrain.data.tables.csv_file import read_csv
from dltrain.data.tables.number_format import UNKNOWN, NumberFormat
from dltrain.errors import DataError

HELP = "install it, in the folder of dltrain's source, with: pip install '.[parquet]'"
PARQUET = b"PAR1"  # its first and last four bytes
OTHERS = {
    rb"PK\x03\x04": "a workbook or another zip archive; save the table as CSV",
    rb"\xd0\xcf\x11\xe0": "a workbook; save the table as CSV",
    rb"\x1f\x8b": "packed with gzip; unpack it",
    rb"\xff\xfe(?!\0\0)|\xfe\xff": "a text in UTF-16; save it in UTF-8",
    rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP|BM....\0\0\0\0": "a picture, not a table",
    rb"%PDF-": "a PDF document; save the table as CSV",
    rb"(?i:<!doctype html|<html)": "a web page, not a table; download the file itself",
    rb"\x93NUMPY": "an array of numpy; write it into an npz file, with numpy.savez, for data of type npz",
}  # how a file begins -> what it is, and what to do
LONGEST_START = 15  # bytes


def read_table(
    path: Path,
    *,
    delimiter: str | None = None,
    known: NumberFormat = UNKNOWN,
    formats: Mapping[str, NumberFormat] | None = None,
    skip_ragged: bool = False,
) -> Table:
    """Settings as in `read_csv`; Parquet needs none of them. Raises MissingData, DataError."""
    require_file(path)
    try:
        with path.open("rb") as file:
            first = file.read(LONGEST_START)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if first.startswith(PARQUET):
        return _read_parquet(path)
    for start, what in OTHERS.items():
        if re.match(start, first, re.DOTALL):
            raise DataError(f"{path}: is {what}")
    return read_csv(path, delimiter=delimiter, known=known, formats=formats, skip_ragged=skip_ragged)


def _read_parquet(path: Path) -> Table:
    """Numbers, truth values, dates and text, each column by its type. lines: the rows, from 1."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise DataError(f"{path}: is a Parquet file, which pyarrow reads; {HELP}") from None
    try:
        found = parquet.read_table(path)
        columns = {name: _cells(found.column(name)) for name in found.column_names}
    except (ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {str(error).splitlines()[0][:200]}") from None
    if not columns or not found.num_rows or len(columns) != found.num_columns:
        raise DataError(f"{path}: must have rows, and columns with different names")
    return Table(path, columns, np.arange(1, found.num_rows + 1), {})


def _cells(column: Any) -> Cells:
    from pyarrow import compute, types

    kind = column.type
    if types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind):
        numbers = compute.cast(column, "float64")
        values = np.array(numbers.to_numpy(), np.float64)
        codes = np.where(np.isnan(values), 0, -1).astype(np.int32)
        return Cells(values, codes, ("",)) if (codes == 0).any() else Cells(values)
    if types.is_boolean(kind):
        texts = ["" if value is None else str(value) for value in column.to_pylist()]
    elif types.is_temporal(kind):
        texts = ["" if value is None else str(value)[:19] for value in column.to_pylist()]
    elif types.is_string(kind) or types.is_large_string(kind) or types.is_dictionary(kind):
        texts = ["" if value is None else str(value).strip() for value in column.to_pylist()]
    else:
        raise ValueError(f"a column of type {kind} is neither number, date nor text")
    different = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    codes = np.fromiter((different[text] for text in texts), np.int32, len(texts))
    return Cells(np.full(len(texts), np.nan), codes, tuple(different))
