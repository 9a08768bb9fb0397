"""Reads npz files (a zip of .npy members) without numpy's loader.

np.load believes headers, lets the last of two equal names win and fails in ten different ways; these few
lines check a member's size against its header before reading it and fail in one way, DataError.
"""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from lzma import LZMAError
from math import prod
from pathlib import Path
from typing import IO, Any, Literal
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from dltrain.data.files import require_file
from dltrain.errors import DataError

HEADER = re.compile(
    rb"\{'descr': '([<>|](?:f[248]|[iu][1248]|U[1-9]\d{0,3}))', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,15}, ?)*(?:\d{1,15})?)\), \} *\n"
)
LARGE = 1 << 26  # bytes that a file of any size may unpack to
LONGEST_LIST = 1 << 16  # bytes of a zip's list of members
SMALLEST_ENTRY = 46  # bytes of an entry in a zip's list of members
READ_ERRORS = (
    BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError,
    zlib.error, LZMAError, struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What a .npy member says of itself."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]

    def __str__(self) -> str:
        return f"{self.dtype.name} {self.shape}"


class NpzFile:
    """The arrays of an open npz file. Methods raise READ_ERRORS for damage; `open_npz` turns them into DataError."""

    def __init__(self, path: Path, archive: ZipFile):
        self._archive = archive
        members = archive.infolist()
        self._members = {member.filename.removesuffix(".npy"): member for member in members}
        if len(self._members) != len(members) or not all(member.filename.endswith(".npy") for member in members):
            raise ValueError("it holds something other than arrays of different names")
        if any(len(member.extra) + len(member.comment) >= SMALLEST_ENTRY for member in members):
            raise ValueError("the remarks on an array could hide another array")
        unpacked, limit = sum(member.file_size for member in members), max(LARGE, 100 * path.stat().st_size)
        if unpacked > limit:
            raise ValueError(f"it would unpack to {unpacked:,} bytes, far more than its own size")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._members)

    def header(self, name: str) -> Header:
        with self._archive.open(self._members[name]) as file:
            return self._header(name, file)

    def read(self, name: str) -> NDArray[Any]:
        with self._archive.open(self._members[name]) as file:
            header = self._header(name, file)
            values = np.frombuffer(file.read(), header.dtype)  # to the end, where zip compares its checksum
        return values.reshape(header.shape, order=header.order)

    def _header(self, name: str, file: IO[bytes]) -> Header:
        start = file.read(10)
        length = int.from_bytes(start[8:], "little")
        match = HEADER.fullmatch(file.read(length))
        if start[:8] != b"\x93NUMPY\x01\x00" or match is None:
            raise ValueError(f"{name} is not an array of numbers or of text as numpy.savez writes it")
        dtype = np.dtype(match[1].decode())
        shape = tuple(int(size) for size in match[3].split(b",") if size.strip())
        if prod(shape) * dtype.itemsize + 10 + length != self._members[name].file_size or 0 in shape:
            raise ValueError(f"{name} has no room for the shape {shape} that it claims, or is empty")
        return Header(dtype, shape, "F" if match[2] == b"True" else "C")


class ListedFile(io.FileIO):
    """A file whose list of members, which `ZipFile` reads in one piece and then in a slow loop, must be short."""

    opening = True

    def __init__(self, path: Path, longest: int = LONGEST_LIST):
        super().__init__(path)
        self.longest = longest

    def read(self, size: int | None = -1, /) -> Any:
        if self.opening and size is not None and size > self.longest:
            raise ValueError(f"its list of members has {size:,} bytes")
        return super().read(size)


@contextmanager
def open_npz(path: Path) -> Iterator[NpzFile]:
    """The arrays of a file, read one by one when asked for. Raises MissingData and DataError."""
    require_file(path)
    try:
        with ListedFile(path) as file, ZipFile(file) as archive:
            file.opening = False
            yield NpzFile(path, archive)
    except READ_ERRORS as error:
        raise DataError(f"{path}: not an npz file that can be read: {error}") from error
