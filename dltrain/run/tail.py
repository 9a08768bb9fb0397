"""Reading a log while a training writes it: what came since the last time, a piece at a time."""

import os
from pathlib import Path
from typing import Any

from dltrain.run.reader import LOG_FILE, LONGEST_LINE, readable

Row = dict[str, Any]
PIECE = 1 << 20  # bytes that are read at once, the longest line among them
PROOF = 256  # bytes before the place reached: whether they are still the same tells a log that was cut and grew again


class Tail:
    """The rows of a log, each of them once.

    A training that goes on from a checkpoint cuts its logs: then all rows come once more, from the first one on. A torn
    last line waits until it is whole; what follows a damaged line, or goes beyond LOG_FILE bytes, is never read.
    """

    def __init__(self, path: Path):
        self.path = path
        self.offset = 0
        self.damaged = False
        self._proof = b""

    def read(self) -> tuple[list[Row], bool]:
        """The next rows, none where there are no new ones, and whether the log began anew before them."""
        try:
            with open(self.path, "rb") as file:
                anew = self._is_other(file.fileno())
                if anew:
                    self.offset, self._proof = 0, b""
                file.seek(self.offset)
                piece = file.read(min(PIECE, max(0, LOG_FILE - self.offset)) + LONGEST_LINE)
        except OSError:
            return [], False
        whole = piece if len(piece) <= PIECE else piece[: piece.find(b"\n", PIECE - 1) + 1]
        rows, length = readable(whole)
        left = len(piece) - length
        self.damaged = b"\n" in piece[length:] if length < len(whole) else left > LONGEST_LINE and not rows
        self.offset += length
        if length:
            self._proof = (self._proof + piece[max(0, length - PROOF) : length])[-PROOF:]
        return rows, anew

    def _is_other(self, descriptor: int) -> bool:
        if os.fstat(descriptor).st_size < self.offset:
            return True
        start = self.offset - len(self._proof)
        os.lseek(descriptor, start, os.SEEK_SET)
        return os.read(descriptor, len(self._proof)) != self._proof
