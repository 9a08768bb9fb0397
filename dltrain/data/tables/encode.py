"""Columns of a table as the inputs of a network."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.data.tables.cells import Cells, Table
from dltrain.data.tables.columns import BOOLEANS, ZEROS_FIRST, Column, value_of
from dltrain.data.tables.dates import days, read_date, turning
from dltrain.errors import DataError

Array = NDArray[Any]
WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Fault:
    """Cells that are not what their column holds. rows: whether each row has one, (N,). what: what is wrong with the
    first."""

    rows: Array
    what: str

    def told(self, table: Table) -> str:
        return f"{table.path}:{self.line(table)}: {self.what}"

    def line(self, table: Table) -> int:
        """Of the first one."""
        return int(table.lines[int(self.rows.argmax())])


@dataclass(frozen=True)
class Encoded:
    """inputs: float64 (N, sum of the columns' widths). notes: what training never saw. faults: what cannot be read,
    which is 0 or NaN in the inputs."""

    inputs: Array
    notes: tuple[str, ...]
    faults: tuple[Fault, ...]


def encoded(table: Table, columns: Sequence[Column], missing: Collection[str]) -> Encoded:
    """Inputs, without faults. Raises DataError, with a line for each column, for what is no number or date."""
    found = encoded_as_far_as_read(table, columns, missing)
    if found.faults:
        raise DataError("\n".join(fault.told(table) for fault in found.faults))
    return found


def encoded_as_far_as_read(table: Table, columns: Sequence[Column], missing: Collection[str]) -> Encoded:
    """What is missing is NaN in all its inputs; a category that is not in the list is 0 in all of them. Raises
    DataError where a column is not there."""
    table.require(column.name for column in columns)
    inputs = np.zeros((len(table), sum(column.width for column in columns)))
    notes, faults, start = [], list[Fault | None](), 0
    for column in columns:
        part = inputs[:, start : start + column.width]
        start += column.width
        gaps = table.cells(column.name).where(*missing)
        if column.type == "number":
            part[:, 0], fault = _numbers(table, column.name, missing)
            faults.append(fault)
        elif column.type == "date":
            faults.append(_encode_date(table, column, part, gaps))
        elif column.type == "text":
            _encode_text(table.cells(column.name), column, part)
        elif note := _encode_category(table, column, gaps, part):
            notes.append(note)
        if column.type in ("category", "date"):
            part[gaps] = np.nan
    return Encoded(inputs, tuple(notes), tuple(fault for fault in faults if fault))


def numbers(table: Table, name: str, missing: Collection[str]) -> Array:
    """A column as float64 (N,), NaN where a cell is missing. Raises DataError, with the line, for other text."""
    values, fault = _numbers(table, name, missing)
    if fault:
        raise DataError(fault.told(table))
    return values


def _numbers(table: Table, name: str, missing: Collection[str]) -> tuple[Array, Fault | None]:
    cells = table.cells(name)
    gaps = cells.where(*missing)
    values = np.where(gaps, np.nan, cells.values)
    if cells.codes is not None:
        zeros_first = [float(text) if ZEROS_FIRST.fullmatch(text) else np.nan for text in cells.texts]
        said = np.array([*zeros_first, np.nan])[cells.codes]  # the last is for -1, a number
        values = np.where(gaps | np.isnan(said), values, said)
        odd = np.isnan(said) & (cells.codes >= 0) & ~gaps
        if odd.any():
            return values, Fault(odd, f"column {name!r} should be a number, not {cells.text(int(odd.argmax()))!r}")
    large = np.abs(values) > np.finfo(np.float32).max
    return values, Fault(large, f"column {name!r} holds a number too large for float32") if large.any() else None


def _encode_category(table: Table, column: Column, gaps: Array, part: Array) -> str:
    """Fill in 1 for each row's category. What to say where some are none of them."""
    cells = table.cells(column.name)
    places = places_of(cells, column.categories or ())
    known = places >= 0
    part[np.flatnonzero(known), places[known]] = 1
    unknown = ~known & ~gaps
    if not unknown.any():
        return ""
    row = int(unknown.argmax())
    return (
        f"{table.path}: column {column.name!r}: {int(unknown.sum()):,} of {len(table):,} cells hold what training "
        f"never saw, the first {cells.text(row)!r} in line {table.lines[row]}; they count as none of its categories"
    )


def places_of(cells: Cells, categories: Sequence[str]) -> Array:
    """Which of the categories each cell is, int64 (N,), -1 for none: numbers by their value, true as True."""
    by_text = {text: place for place, text in enumerate(categories)}
    by_value = {value: place for text, place in by_text.items() if (value := value_of(text)) is not None}
    by_fold = {text.casefold(): place for text, place in by_text.items()}
    boolean = any(by_fold.keys() <= words for words in BOOLEANS)
    places = np.full(len(cells.values), -1)
    if by_value:
        values = np.array(sorted(by_value))
        place_of_value = np.array([by_value[value] for value in values.tolist()])
        nearest = np.minimum(np.searchsorted(values, cells.values), len(values) - 1)
        places = np.where(values[nearest] == cells.values, place_of_value[nearest], -1)
    if cells.codes is not None:

        def place_of(text: str) -> int:
            value = value_of(text)
            found = by_text.get(text, by_value.get(value, -1) if value is not None else -1)
            return by_fold.get(text.casefold(), -1) if found < 0 and boolean else found

        texts = np.array([*map(place_of, cells.texts), -1])
        places = np.where(cells.codes >= 0, texts[cells.codes], places)
    return places


def _encode_date(table: Table, column: Column, part: Array, gaps: Array) -> Fault | None:
    """Days since 1970, and the sine and cosine of each part that repeats, so that December is beside January."""
    when = days_of(table, column)
    part[:, 0] = when
    turns = turning(when)
    for place, name in enumerate(column.parts):
        angle = 2 * np.pi * turns[name]
        part[:, 1 + 2 * place], part[:, 2 + 2 * place] = np.sin(angle), np.cos(angle)
    wrong = np.isnan(when) & ~gaps
    text = table.cells(column.name).text(int(wrong.argmax()))
    what = f"column {column.name!r} should be a date, {column.order}, not {text!r}"
    return Fault(wrong, what) if wrong.any() else None


def days_of(table: Table, column: Column) -> Array:
    """Days since 1970 (N,), NaN for what is no date in the column's order."""
    cells = table.cells(column.name)
    found = np.full(len(cells.texts) + 1, np.nan)
    for code, text in enumerate(cells.texts):
        if moment := read_date(text, column.order):
            found[code] = days(moment)
    when: Array = np.full(len(table), np.nan) if cells.codes is None else found[cells.codes]
    return when


def _encode_text(cells: Cells, column: Column, part: Array) -> None:
    """1 for each word that occurs in a row."""
    places = {word: place for place, word in enumerate(column.categories or ())}
    for row in range(len(part)):
        for word in words_of(cells.text(row)):
            if word in places:
                part[row, places[word]] = 1


def words_of(text: str) -> tuple[str, ...]:
    """The different words of a text, in lower case."""
    return tuple(dict.fromkeys(WORD.findall(text.lower())))


def facts(table: Table, column: Column, missing: Collection[str]) -> dict[str, Any]:
    """What a column holds: {"name", "type", "inputs", "missing", "first"} and, by its type, "from" and "to" or
    "different". missing: the share of rows without a value; first: the first values."""
    cells = table.cells(column.name)
    gaps = cells.where(*missing)
    there = np.flatnonzero(~gaps)[:3].tolist()
    found: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "inputs": column.width,
        "missing": float(gaps.mean()),
        "first": [cells.text(row) for row in there],
    }
    if column.type == "number":
        values = numbers(table, column.name, missing)
        return found | {"from": float(np.nanmin(values)), "to": float(np.nanmax(values))}
    if column.type == "date":
        when = days_of(table, column)
        ends = np.nanargmin(when), np.nanargmax(when)
        return found | {"from": cells.text(int(ends[0])), "to": cells.text(int(ends[1]))}
    return found | {"different": column.width}
