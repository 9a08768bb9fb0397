"""What stands above the names of a CSV file's columns, and the sign between its cells."""

import csv
import re
from collections.abc import Sequence
from typing import NamedTuple

from dltrain.data.tables.cells import DELIMITERS

LOOKED_AT = 20  # rows, for the delimiter
SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # a first line that is meant for Excel
COMMENT = "#"


class Head(NamedTuple):
    """lines: how many stand above the columns' names. comments: those of them, from 1, that begin with #."""

    lines: int
    delimiter: str
    comments: tuple[int, ...]


def read_head(lines: Sequence[str], delimiter: str | None) -> Head:
    """lines: the first ones of a file. delimiter: what a user said, None to find out."""
    start = 0
    if lines and (said := SEPARATOR.fullmatch(lines[0].rstrip("\r\n"))):
        start, delimiter = 1, delimiter or said[1]
    first = next((place for place in range(start, len(lines)) if not _is_apart(lines[place])), start)
    sign = delimiter or _delimiter(lines[first : first + LOOKED_AT])
    above = [place for place in range(start, first) if lines[place].strip()]
    if above and _width(lines[above[-1]], sign) == _width(lines[first], sign) > 1:
        first = above.pop()  # names that begin with #
    return Head(first, sign, tuple(place + 1 for place in above if place < first))


def _is_apart(line: str) -> bool:
    return not line.strip() or line.startswith(COMMENT)


def _width(line: str, sign: str) -> int:
    """The number of cells, without empty ones at the end."""
    try:
        return len(next(csv.reader([line.rstrip(f"\r\n{sign}")], delimiter=sign, skipinitialspace=True)))
    except csv.Error:  # longer than any cell may be
        return 0


def _delimiter(lines: Sequence[str]) -> str:
    """The sign at which most of the first rows fall into as many cells as the first one, and these are the most."""

    def fit(sign: str) -> tuple[float, int]:
        try:
            rows = [row for row in csv.reader(lines, delimiter=sign, skipinitialspace=True) if row]
        except csv.Error:
            return 0.0, 0
        width = len(rows[0]) if rows else 0
        return (sum(len(row) == width for row in rows) / len(rows) if width > 1 else 0.0), width

    return max(DELIMITERS.values(), key=fit)
