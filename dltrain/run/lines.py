"""Logs of strict JSON: a row a line."""

import json
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from dltrain.run import files

Row = dict[str, Any]
SOON = 0.1  # seconds
_encode = json.JSONEncoder(allow_nan=False).encode


def to_lines(*rows: Row) -> str:
    """Raises ValueError for numbers that JSON has not: not-a-number and infinities."""
    return "".join(_encode(row) + "\n" for row in rows)


def readable(content: bytes) -> tuple[list[Row], int]:
    """The rows of a log before the first line that is torn or damaged, and how many bytes they take."""
    rows, length = [], 0
    for line in BytesIO(content):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict) or not line.endswith(b"\n"):
            break
        rows.append(row)
        length += len(line)
    return rows, length


class Waiting:
    """Rows on their way into a log. To open the file takes longer than many a step: they are written some at a time."""

    def __init__(self, path: Path):
        self._path = path
        self._lines: list[str] = []
        self._written_at = 0.0

    def add(self, row: Row) -> None:
        """It is written now, or with the first one after SOON seconds, or when `write` is called."""
        self._lines.append(to_lines(row))
        if time.monotonic() - self._written_at > SOON:
            self.write()

    def write(self) -> None:
        if self._lines:
            lines, self._lines = "".join(self._lines), []
            files.append(self._path, lines)
            self._written_at = time.monotonic()
