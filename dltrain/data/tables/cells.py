"""A table as it stands in its file: columns of numbers and texts."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.data.tables.number_format import PLAIN, NumberFormat
from dltrain.errors import DataError

Array = NDArray[Any]
MOST_LISTED = 30  # names of columns in a message
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null")


@dataclass(frozen=True)
class Cells:
    """A column as it stands in the file.

    values: float64 (N,), NaN where a cell is no number. codes: int32 (N,), for such a cell which of `texts` it is, -1
    for a number; None where all are numbers. texts: each once, without the blanks around it.
    """

    values: Array
    codes: Array | None = None
    texts: tuple[str, ...] = ()

    def take(self, rows: Array) -> "Cells":
        """Those of these rows, by number or by yes and no."""
        return Cells(self.values[rows], None if self.codes is None else self.codes[rows], self.texts)

    def text(self, row: int) -> str:
        if self.codes is None or self.codes[row] < 0:
            return number_text(float(self.values[row]))
        return self.texts[int(self.codes[row])]

    def present(self) -> list[str]:
        """The different texts of these rows, numbers apart, in the order of the file."""
        if self.codes is None:
            return []
        return [self.texts[code] for code in np.unique(self.codes).tolist() if code >= 0]

    def where(self, *texts: str) -> Array:
        """(N,), whether a cell is one of these texts, or a number that one of them says."""
        numbers = _numbers(texts)
        found: Array = np.isin(self.values, numbers) if numbers else np.zeros(len(self.values), bool)
        if self.codes is not None:
            found |= np.isin(self.codes, [code for code, text in enumerate(self.texts) if text in texts])
        return found


@lru_cache(maxsize=64)
def _numbers(texts: tuple[str, ...]) -> list[float]:
    """Those that some of the texts say."""
    return [value for text in texts if (value := PLAIN.number(text)) is not None]


@dataclass(frozen=True)
class Table:
    """A file of rows and columns. columns: name -> its cells, N each; lines: where each row ends in the file, (N,).

    formats: of the columns whose numbers are not written plainly. delimiter: None where a file has none. ragged: lines
    that were skipped, for they have more or fewer cells than the first one. comments: lines that begin with # and are
    no rows.
    """

    path: Path
    columns: dict[str, Cells]
    lines: Array
    formats: dict[str, NumberFormat]
    delimiter: str | None = None
    ragged: tuple[int, ...] = ()
    comments: tuple[int, ...] = ()

    @property
    def delimiter_told(self) -> str:
        """`a comma between them`, nothing where there is none; of a single column, that there may be more."""
        if self.delimiter and len(self.columns) == 1:
            return "nothing that is known stands between columns; say data.delimiter"
        return "" if self.delimiter is None else f"{told(self.delimiter)} between them"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user must know of how the file was read."""
        if not self.comments:
            return ()
        many = "1 line" if len(self.comments) == 1 else f"{len(self.comments):,} lines"
        return (f"{self.path}: {many} left out as comments that begin with # (the first: line {self.comments[0]})",)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns)

    def __len__(self) -> int:
        return len(self.lines)

    def cells(self, name: str) -> Cells:
        """Raises DataError where there is no column of this name."""
        self.require([name])
        return self.columns[name]

    def require(self, names: Iterable[str]) -> None:
        """Raises DataError where there are no columns of these names."""
        if absent := [name for name in names if name not in self.columns]:
            how = f" ({self.delimiter_told})" if self.delimiter else ""
            said = listed(map(repr, absent))
            raise DataError(f"{self.path}: there is no column {said}; there are: {listed(self.columns)}{how}")

    def take(self, rows: Array) -> "Table":
        taken = {name: cells.take(rows) for name, cells in self.columns.items()}
        return replace(self, columns=taken, lines=self.lines[rows])


def listed(names: Iterable[str]) -> str:
    """The first of many names."""
    first = list(names)
    more = f" and {len(first) - MOST_LISTED:,} more" if len(first) > MOST_LISTED else ""
    return ", ".join(first[:MOST_LISTED]) + more


def number_text(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def told(delimiter: str) -> str:
    """A delimiter in words."""
    return next((f"a {name}" for name, sign in DELIMITERS.items() if sign == delimiter), repr(delimiter))
