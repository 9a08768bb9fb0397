"""A text: from some characters a network is to tell the next one."""

import gzip
import zlib
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.data.files import require_file
from dltrain.data.preprocess import Preprocessing
from dltrain.data.source import SOURCES, OnDemand, Source, Split
from dltrain.data.tables.columns import Column
from dltrain.errors import DataError, SettingError
from dltrain.registry import Count, FilePath, Rate

Array = NDArray[Any]
SHIPPED = "shakespeare.txt.gz"
MOST_CHARACTERS = 1000  # different ones


class Windows(OnDemand):
    """Characters `starts[i]` … `starts[i]` + length of a text, each as one 1 among zeros, (length, characters)."""

    quick = True

    def __init__(self, codes: Array, starts: Array, length: int, characters: int):
        super().__init__((len(starts), length, characters), np.uint8)
        self.codes, self.starts = codes, starts

    def example(self, index: int) -> Array:
        only: Array = self[np.array([index])][0]
        return only

    def __getitem__(self, indices: Array) -> Array:
        _, length, characters = self.shape
        codes = self.codes[self.starts[indices][:, None] + np.arange(length)]
        return one_hot(codes, characters)

    def take(self, indices: Array) -> "Windows":
        return Windows(self.codes, self.starts[indices], *self.shape[1:])

    def marks(self) -> bytes:
        return self.codes.tobytes() + self.starts.tobytes()


def one_hot(codes: Array, characters: int) -> Array:
    """uint8 (…, characters): 1 at each code, else 0."""
    hot: Array = np.zeros((*codes.shape, characters), np.uint8)
    np.put_along_axis(hot, codes[..., None].astype(np.intp), 1, axis=-1)
    return hot


@SOURCES.register("text")
class Text(Source):
    """The characters of a text file in UTF-8: the classes are the different ones, an example is `length` in a row.

    path: taken from the folder where the command runs; without it 40,000 lines of Shakespeare, which come along.
    stride: characters from the start of one example to that of the next.
    held_out: which shares of the text, at its end, are for validation and, after it, for testing; below 1 in all.
    """

    def __init__(
        self,
        *,
        path: FilePath | None = None,
        length: Count = 40,
        stride: Count = 3,
        held_out: tuple[Rate, Rate] = (0.05, 0.05),
    ):
        if sum(held_out) >= 1:
            raise SettingError("data.held_out", f"{held_out[0]:g} and {held_out[1]:g} leave nothing to train on")
        self.path = None if path is None else Path(path)
        self.length, self.stride, self.held_out = length, stride, held_out

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.length, len(self.classes))

    @property
    def classes(self) -> tuple[str, ...]:
        return self._text[0]

    @property
    def columns(self) -> tuple[Column, ...]:
        return (Column("character", self.classes),)

    @cached_property
    def _text(self) -> tuple[tuple[str, ...], Array]:
        """The different characters in order, and the text as their numbers."""
        text = self._read()
        points, codes = np.unique(np.frombuffer(text.encode("utf-32-le"), np.uint32), return_inverse=True)
        if not 2 <= len(points) <= MOST_CHARACTERS:
            raise DataError(
                f"{self.path}: holds {len(points):,} different characters; 2 to {MOST_CHARACTERS:,} can be told apart"
            )
        return tuple(map(chr, points)), codes.astype(np.int16)

    def _read(self) -> str:
        try:
            if self.path is None:
                packed = files("dltrain.data").joinpath("files", SHIPPED).read_bytes()
                return gzip.decompress(packed).decode()
            require_file(self.path)
            return self.path.read_text(encoding="utf-8")
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise DataError(f"{self.path or SHIPPED}: not a text in UTF-8 that can be read: {error}") from None

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        codes = self._text[1]
        validation, test = (round(len(codes) * (1 - share)) for share in (sum(self.held_out), self.held_out[1]))
        pieces = {
            "train": codes[:validation],
            "validation": codes[validation:test],
            "test": codes[test:],
        }
        splits = {name: self._windows(piece, name) for name, piece in pieces.items() if len(piece) or name == "train"}
        return {name: split for name, split in splits.items() if only in (None, name)}

    def _windows(self, codes: Array, name: str) -> Split:
        starts = np.arange(0, len(codes) - self.length, self.stride)
        if not len(starts):
            raise DataError(
                f"{self.path or SHIPPED}: the {name} part has {len(codes):,} characters, which is too short for "
                f"{self.length} and the next one"
            )
        targets = codes[starts + self.length].astype(np.int64)
        return Split(Windows(codes, starts, self.length, len(self.classes)), targets)


def read_ending(path: Path, learned: Preprocessing) -> Array:
    """The last characters of a text, (1, length, characters), for `predict` to tell the next one. Raises DataError."""
    if learned.classes is None or len(learned.input_shape) != 2 or learned.columns is None:
        raise DataError(f"{path}: the network was not trained on a text")
    length = learned.input_shape[0]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a text in UTF-8 that can be read: {error}") from None
    if len(text) < length:
        raise DataError(f"{path}: has {len(text)} characters, but the network needs {length}")
    places = {character: place for place, character in enumerate(learned.classes)}
    unknown = sorted(set(text[-length:]) - places.keys())
    if unknown:
        raise DataError(f"{path}: {unknown[0]!r}, among the last {length} characters, is none that the network knows")
    return one_hot(np.array([[places[character] for character in text[-length:]]]), len(places))
