"""A CSV file read once, from its start to its end, into columns of numbers and of texts."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from dltrain.data.files import require_file
from dltrain.data.tables.cells import MISSING, Cells, Table, told
from dltrain.data.tables.head import COMMENT, Head, read_head
from dltrain.data.tables.number_format import PLAIN, UNKNOWN, AmbiguousNumbers, NumberFormat, guess
from dltrain.errors import DataError

Array = NDArray[Any]
LONGEST_HEAD = 1_000_000  # letters
SAMPLE = 1000  # rows, for the way numbers are written
BLOCK_BYTES = 1 << 22
BLOCK_CELLS = 1 << 18
LEADING_ZERO = re.compile(rb"\n[+-]?0[0-9]")  # 007 at the start of a cell
NUMERIC = b"0123456789+-.eE"


def read_csv(
    path: Path,
    *,
    delimiter: str | None = None,
    known: NumberFormat = UNKNOWN,
    formats: Mapping[str, NumberFormat] | None = None,
    skip_ragged: bool = False,
) -> Table:
    """A file of values between commas (or semicolons, tabs, bars) with names in the first line.

    delimiter: None to find out. known: how its numbers are written as far as a user said so, "" where not. formats: of
    columns whose numbers are written as those of another file. skip_ragged: whether rows with more or fewer cells than
    the first line are left out, instead of refused. Raises MissingData, DataError.
    """
    require_file(path)
    with _opened(path) as file:
        head = read_head(file.readlines(1 << 16), delimiter)
        file.seek(0)
        reader = _Reader(path, file, head, skip_ragged)
        return reader.table(known, formats)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline(LONGEST_HEAD + 1)
            if len(head) > LONGEST_HEAD:
                raise DataError(f"{path}:1: the first line, of columns' names, is longer than {LONGEST_HEAD:,} letters")
            file.seek(0)
            yield file
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text in UTF-8 ({error.reason} at byte {error.start}); save it so") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


class _Reader:
    """Rows of plain numbers are left to numpy's parser in blocks; from the first other one on Python's csv reads."""

    def __init__(self, path: Path, file: TextIO, head: Head, skip_ragged: bool):
        self.path, self.file, self.delimiter, self.skip_ragged = path, file, head.delimiter, skip_ragged
        self.ragged, self.comments = list[int](), [*head.comments]
        self.line = len([*islice(file, head.lines)])  # the last one that was read
        cells, self.names_line = next(self._rows(file), ([], 1))
        self.names = self._names(cells)
        self.nameless = len(cells) - len(self.names)  # cells at the end of each row in which nothing may stand

    def table(self, known: NumberFormat, formats: Mapping[str, NumberFormat] | None) -> Table:
        plain = known in (UNKNOWN, PLAIN) and not formats
        blocks: list[Array] = []
        lines: list[Array] = []
        rest: list[str] = []
        while not rest and (block := self.file.readlines(BLOCK_BYTES)):
            numbers = _plain_numbers(block, self.delimiter, len(self.names)) if plain else None
            if numbers is None:
                rest = block
            else:
                blocks.append(numbers)
                lines.append(np.arange(self.line + 1, self.line + 1 + len(block)))
                self.line += len(block)
        columns, written = self._others(rest, blocks, lines, known, formats) if rest else (self._all(blocks), {})
        if not lines:
            raise DataError(f"{self.path}: there is no {'whole ' if self.ragged else ''}row below the first line")
        return Table(
            self.path, columns, np.concatenate(lines), written, self.delimiter, tuple(self.ragged), tuple(self.comments)
        )

    def _all(self, blocks: list[Array]) -> dict[str, Cells]:
        if not blocks:
            return {}
        whole = np.concatenate(blocks)
        return {name: Cells(whole[:, place]) for place, name in enumerate(self.names)}

    def _others(
        self,
        rest: list[str],
        blocks: list[Array],
        lines: list[Array],
        known: NumberFormat,
        formats: Mapping[str, NumberFormat] | None,
    ) -> tuple[dict[str, Cells], dict[str, NumberFormat]]:
        """The columns of a file that has not only plain numbers. blocks: what was read of it before; rest: the lines
        after these."""
        rows, ends = self._rows(chain(rest, self.file)), list[Array]()
        size = max(SAMPLE, BLOCK_CELLS // len(self.names))
        builders: list[_Builder] = []
        while chunk := list(islice(rows, size)):
            chunk = self._whole(chunk, first=not blocks and not ends)
            if not chunk:
                continue
            columns = list(zip(*(row for row, _ in chunk), strict=True))
            ends.append(np.array([end for _, end in chunk]))
            if not builders:
                builders = self._builders(columns, blocks, known, formats)
            for builder, cells in zip(builders, columns, strict=True):
                builder.add(cells)
        lines += ends
        if not builders:  # no row was left
            return self._all(blocks), {}
        written = {name: b.form for name, b in zip(self.names, builders, strict=False) if b.form != PLAIN}
        return {name: b.cells() for name, b in zip(self.names, builders, strict=False)}, written

    def _whole(self, chunk: list[tuple[list[str], int]], *, first: bool) -> list[tuple[list[str], int]]:
        """The rows that have as many cells as there are names. Comments are left out, and so are empty cells at the end
        of each row for which there is no name. first: whether these are the first rows. Raises DataError for others,
        unless they are skipped."""
        width, whole = len(self.names), list[tuple[list[str], int]]()
        if all(len(row) == width for row, _ in chunk):
            return chunk
        if first and not any(map(str.strip, chunk[0][0][width:])):
            self.nameless = max(self.nameless, len(chunk[0][0]) - width)
        comments = not any(row[0].startswith(COMMENT) for row, _ in chunk if len(row) == width)
        for row, end in chunk:
            if len(row) == width or (len(row) == width + self.nameless and not any(map(str.strip, row[width:]))):
                whole.append((row[:width], end))
            elif comments and row[0].startswith(COMMENT):
                self.comments.append(end)
            elif self.skip_ragged:
                self.ragged.append(end)
            else:
                raise DataError(f"{self.path}:{end}: {self._unlike_names(row)}")
        return whole

    def _unlike_names(self, row: list[str]) -> str:
        cells, width, between = len(row), len(self.names), told(self.delimiter)
        if cells == width + self.nameless:
            text = next(cell for cell in row[width:] if cell.strip())
            return f"{text!r} stands in a column without a name; write one into line {self.names_line}"
        first = "the first line has" if self.names_line == 1 else f"line {self.names_line}, of columns' names, has"
        if width == 1:
            return f"{cells} cells, but {first} 1; the first line must name the columns: remove what stands above it"
        return f"{cells} cells, but {first} {width}, with {between} between them (data.delimiter says another)"

    def _builders(
        self,
        columns: list[tuple[str, ...]],
        blocks: list[Array],
        known: NumberFormat,
        formats: Mapping[str, NumberFormat] | None,
    ) -> list["_Builder"]:
        if formats is None:
            formats = self._guessed([column[:SAMPLE] for column in columns], known)
        plain = NumberFormat(known.decimal or ".", known.thousands)
        return [
            _Builder(formats.get(name, plain), [block[:, place] for block in blocks])
            for place, name in enumerate(self.names)
        ]

    def _guessed(self, columns: list[tuple[str, ...]], known: NumberFormat) -> dict[str, NumberFormat]:
        """How numbers are written, of the columns that hold some and not plainly. What one column says of the decimal
        mark holds for another that says nothing. Raises DataError for all columns that cannot be told."""
        said: dict[str, list[str]] = {}
        for name, column in zip(self.names, columns, strict=True):
            if known == UNKNOWN and _floats(column) is not None:
                continue
            texts = dict.fromkeys(cell.strip() for cell in column)
            present = [text for text in texts if text not in MISSING]
            if any(PLAIN.number(text) is None for text in present) or known != UNKNOWN:
                said[name] = present
        found: dict[str, NumberFormat] = {}
        unclear: dict[str, str] = {}
        for name, present in said.items():
            try:
                if form := guess(present, known):
                    found[name] = form
            except AmbiguousNumbers as error:
                unclear[name] = str(error)
        marks = {form.decimal for form in found.values() if form.thousands or form.decimal == ","}
        marks = marks or ({"."} if self.delimiter == "," else set())
        for name in [*unclear]:
            try:
                found[name] = guess(said[name], known, marks) or PLAIN
                del unclear[name]
            except AmbiguousNumbers:
                pass
        if unclear:
            raise DataError("\n".join(
                f"{self.path}: column {name!r} holds numbers such as {text!r}, which may be thousands or decimals; say "
                f'data.decimal: "," or data.thousands: ","' for name, text in unclear.items()
            ))  # fmt: skip
        if "," in marks and "." not in marks:
            self._without_points(columns, known, found)
        return found

    def _without_points(
        self, columns: list[tuple[str, ...]], known: NumberFormat, found: dict[str, NumberFormat]
    ) -> None:
        """In a file with decimal commas 1.234 is above a thousand, where all numbers with a point may be read so."""
        for name, column in zip(self.names, columns, strict=True):
            texts = [text for cell in column if "." in (text := cell.strip())]
            grouped = NumberFormat(",", ".")
            if name not in found and texts and all(grouped.number(text) is not None for text in texts):
                found[name] = grouped

    def _rows(self, lines: Iterable[str]) -> Iterator[tuple[list[str], int]]:
        """The rows, each with the line where it ends."""
        before = self.line
        reader = csv.reader(lines, delimiter=self.delimiter, skipinitialspace=True, strict=True)
        try:
            for row in reader:
                self.line = before + reader.line_num
                if row:  # not an empty line
                    yield row, self.line
        except csv.Error as error:
            line = before + reader.line_num
            raise DataError(f"{self.path}:{line}: cannot be read as comma-separated values: {error}") from None

    def _names(self, cells: list[str]) -> list[str]:
        """Raises DataError where not every column has a name of its own; a first one without is a table's index."""
        if not cells:
            raise DataError(f"{self.path}: the file is empty")
        names = [cell.strip() for cell in cells]
        while len(names) > 2 and not names[-1]:
            names.pop()
        if len(names) > 1 and not names[0]:
            names[0] = "Unnamed: 0"
        if len(set(names)) != len(names) or not all(name and name.isprintable() for name in names):
            said = str(names)[:500]
            raise DataError(
                f"{self.path}:{self.names_line}: the first line must name every column, each differently; it says "
                f"{said}, with {told(self.delimiter)} between them"
            )
        return names


def _plain_numbers(lines: list[str], delimiter: str, width: int) -> Array | None:
    """Lines as float64 (lines, width); None where anything but plain numbers is there: gaps, names, 007."""
    text = "".join(lines)
    if not text.isascii():
        return None
    raw = text.encode("ascii")
    if raw.translate(None, NUMERIC + delimiter.encode() + b"\r\n") or _has_leading_zero(raw, delimiter):
        return None
    try:
        found = np.loadtxt(lines, np.float64, comments=None, delimiter=delimiter, ndmin=2)
    except ValueError:
        return None
    return found if found.shape == (len(lines), width) and np.isfinite(found).all() else None


def _has_leading_zero(raw: bytes, delimiter: str) -> bool:
    """Whether a cell begins with 0 and another digit, perhaps after a sign."""
    b = np.frombuffer(b"\n\n" + raw, np.uint8)
    zero = 2 + np.flatnonzero((b[2:-1] == ord("0")) & (b[3:] >= ord("0")) & (b[3:] <= ord("9")))
    ends = np.zeros(256, bool)
    ends[list(f"{delimiter}\n\r".encode())] = True
    signs = np.zeros(256, bool)
    signs[list(b"+-")] = True
    return bool((ends[b[zero - 1]] | (signs[b[zero - 1]] & ends[b[zero - 2]])).any())


class _Builder:
    """A column that grows."""

    def __init__(self, form: NumberFormat, before: list[Array]):
        self.form = form
        self.values = before
        self.codes = [np.full(len(values), -1, np.int32) for values in before]
        self.index: dict[str, int] = {}

    def add(self, cells: Sequence[str]) -> None:
        values = _floats(cells) if self.form == PLAIN else None
        if values is not None:
            self.values.append(values)
            self.codes.append(np.full(len(cells), -1, np.int32))
            return
        found, codes, index, number = [], [], self.index, self.form.number
        for cell in cells:
            code, value = index.get(cell, -1), np.nan
            if code < 0:
                stripped = cell.strip()
                if (parsed := number(stripped)) is None:
                    code = index.setdefault(stripped, len(index))
                else:
                    value = parsed
            found.append(value)
            codes.append(code)
        self.values.append(np.array(found, np.float64))
        self.codes.append(np.array(codes, np.int32))

    def cells(self) -> Cells:
        values = np.concatenate(self.values)
        self.values = []
        return Cells(values, np.concatenate(self.codes), tuple(self.index)) if self.index else Cells(values)


def _floats(cells: Sequence[str]) -> Array | None:
    """None where not all are plain numbers."""
    text = "\n".join(["", *cells])
    if not text.isascii():
        return None
    raw = text.encode("ascii")
    if raw.translate(None, NUMERIC + b"\n") or LEADING_ZERO.search(raw):
        return None
    try:
        values = np.array(list(map(float, cells)))
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None
