"""A table of text as numbers: a column of numbers as it is, a column of categories as one column for each of them."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.data.files import MissingData
from dltrain.errors import DataError

Array = NDArray[Any]
LONGEST_HEAD = 1_000_000  # letters
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
MISSING = {"", "?", "na", "n/a", "nan", "null"}  # whatever the case
DELIMITERS = ",;\t|"
MOST_CATEGORIES = 1000


@dataclass(frozen=True)
class Column:
    """An input column. categories: None where it holds numbers."""

    name: str
    categories: tuple[str, ...] | None

    @property
    def width(self) -> int:
        """How many inputs of a network it becomes."""
        return 1 if self.categories is None else len(self.categories)


@dataclass(frozen=True)
class Table:
    """A CSV file. rows: cells without the blanks around them, one list each; lines: where each row ends in the file."""

    path: Path
    names: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]

    def cells(self, name: str) -> list[str]:
        """A column. Raises DataError where there is none of this name."""
        if name not in self.names:
            raise DataError(f"{self.path}: there is no column {name!r}; there are: {', '.join(self.names)}")
        index = self.names.index(name)
        return [row[index] for row in self.rows]

    def where(self, keep: Sequence[bool]) -> "Table":
        rows = [row for row, kept in zip(self.rows, keep, strict=True) if kept]
        return Table(self.path, self.names, rows, [line for line, kept in zip(self.lines, keep, strict=True) if kept])


def read_table(path: Path) -> Table:
    """A file of comma-separated values (or semicolons, tabs, bars) with names in the first line. Raises MissingData,
    DataError."""
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline(LONGEST_HEAD + 1)
            if len(head) > LONGEST_HEAD:
                raise DataError(f"{path}:1: the first line, of columns' names, is longer than {LONGEST_HEAD:,} letters")
            file.seek(0)
            reader = csv.reader(file, delimiter=max(DELIMITERS, key=head.count), skipinitialspace=True, strict=True)
            names = tuple(name.strip() for name in next(reader, []))
            for cells in reader:
                if cells:  # not an empty line
                    rows.append([cell.strip() for cell in cells])
                    lines.append(reader.line_num)
                    if len(cells) != len(names):
                        raise DataError(f"{path}:{lines[-1]}: {len(cells)} cells, but the first line has {len(names)}")
    except FileNotFoundError:
        raise MissingData(f"{path}: no such file (a path is taken from the folder where the command runs)") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text in UTF-8 ({error.reason} at byte {error.start})") from None
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: cannot be read as comma-separated values: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if not names or len(set(names)) != len(names) or not all(name and name.isprintable() for name in names):
        said = str(list(names))[:500]
        raise DataError(f"{path}:1: the first line must name every column, each differently; it says {said}")
    if not rows:
        raise DataError(f"{path}: there is no row below the first line")
    return Table(path, names, rows, lines)


def is_missing(cell: str) -> bool:
    return cell.lower() in MISSING


def is_number(cell: str) -> bool:
    return NUMBER.fullmatch(cell) is not None


def described(table: Table, name: str, categorical: bool) -> Column:
    """Numbers or categories, by what is there; categorical: these in any case. Raises DataError, for both together."""
    present = {cell for cell in table.cells(name) if not is_missing(cell)}
    if not present:
        raise DataError(f"{table.path}: column {name!r} is empty; leave it out with data.ignore: [{name}]")
    numeric = sum(map(is_number, present))
    if not categorical and numeric == len(present):
        return Column(name, None)
    if not categorical and numeric:
        line, text = next(
            (line, cell)
            for line, cell in zip(table.lines, table.cells(name), strict=True)
            if not is_missing(cell) and not is_number(cell)
        )
        raise DataError(
            f"{table.path}:{line}: column {name!r} holds numbers, but also {text!r}; mend that, or say "
            f"data.categorical: [{name}] if all of them stand for categories"
        )
    if len(present) > MOST_CATEGORIES:
        text = next(cell for cell in table.cells(name) if not is_missing(cell))
        raise DataError(
            f"{table.path}: column {name!r} holds {len(present):,} different texts such as {text!r}, too many for "
            f"categories; leave it out with data.ignore: [{name}]"
        )
    return Column(name, tuple(in_order(present)))


def in_order(texts: set[str]) -> list[str]:
    """Numbers by their size, before other texts."""
    return sorted(texts, key=lambda text: (not is_number(text), float(text) if is_number(text) else 0, text))


def encoded(table: Table, columns: Sequence[Column]) -> Array:
    """The inputs, float32 (N, sum of the columns' widths). Raises DataError, with the line, for what is no number.

    What is missing is NaN in all its columns; a category that is not in the list is 0 in all of them.
    """
    parts = []
    for column in columns:
        cells = table.cells(column.name)
        if column.categories is None:
            parts.append(numbers(table, column.name)[:, None])
        else:
            places = {category: place for place, category in enumerate(column.categories)}
            found = np.array([places.get(cell, -1) for cell in cells])
            part = (found[:, None] == np.arange(column.width)).astype(np.float32)
            part[list(map(is_missing, cells))] = np.nan
            parts.append(part)
    return np.concatenate(parts, axis=1)


def numbers(table: Table, name: str) -> Array:
    """A column as float32 (N,), NaN where a cell is missing. Raises DataError, with the line, for other text."""
    values = np.full(len(table.rows), np.nan)
    for row, cell in enumerate(table.cells(name)):
        if not is_missing(cell):
            if not is_number(cell):
                raise DataError(f"{table.path}:{table.lines[row]}: column {name!r} should be a number, not {cell!r}")
            values[row] = float(cell)
    with np.errstate(over="ignore"):
        converted = values.astype(np.float32)
    if np.isinf(converted).any():
        row = int(np.flatnonzero(np.isinf(converted))[0])
        raise DataError(f"{table.path}:{table.lines[row]}: column {name!r} holds a number too large for float32")
    return converted
