"""A text: from some of it a network is to tell what comes next."""

import gzip
import zlib
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from dltrain.data.files import require_file
from dltrain.data.preprocess import Preprocessing
from dltrain.data.source import SOURCES, OnDemand, Source, Split
from dltrain.data.tables.columns import Column
from dltrain.data.tokens import Unit, cut, numbers, vocabulary
from dltrain.data.values import Kind, Value
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
    length: of an example, in characters or words.
    stride: from the start of one example to that of the next; 3, or the length where every position has a target.
    held_out: which shares of the text, at its end, are for validation and, after it, for testing; below 1 in all.
    targets: `last`: what follows the whole example; an example is a 1 among zeros for each character. `every`: what
    follows each of its positions; an example is whole numbers, which an embedding takes.
    unit: what is counted: characters, or words, signs and ends of lines. Words need `targets: every`.
    vocabulary: so many words, the most frequent ones of the training part; one stands for all others.
    """

    def __init__(
        self,
        *,
        path: FilePath | None = None,
        length: Count = 40,
        stride: Count | None = None,
        held_out: tuple[Rate, Rate] = (0.05, 0.05),
        targets: Literal["last", "every"] = "last",
        unit: Unit = "character",
        vocabulary: Annotated[int, Ge(2)] = 5000,
    ):
        if sum(held_out) >= 1:
            raise SettingError("data.held_out", f"{held_out[0]:g} and {held_out[1]:g} leave nothing to train on")
        if unit == "word" and targets == "last":
            raise SettingError("data.unit", "words need `targets: every`")
        self.path = None if path is None else Path(path)
        self.length, self.held_out, self.unit, self.most = length, held_out, unit, vocabulary
        self.every = targets == "every"
        self.stride = stride or (length if self.every else 3)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.length,) if self.every else (self.length, len(self.classes))

    @property
    def classes(self) -> tuple[str, ...]:
        return self._text[0]

    @property
    def values(self) -> tuple[Value, ...]:
        if not self.every:
            return super().values
        kind: Kind = "words" if self.unit == "word" else "characters"
        return tuple(Value(name, kind, (self.length,), self.classes) for name in ("text", "next"))

    @property
    def columns(self) -> tuple[Column, ...] | None:
        return None if self.every else (Column("character", self.classes),)

    @cached_property
    def _text(self) -> tuple[tuple[str, ...], Array]:
        """The different characters in order, and the text as their numbers; or words."""
        text = self._read()
        if self.unit == "word":
            tokens = cut(text, "word")
            known = vocabulary(tokens[: self._ends(len(tokens))[0]], self.most)
            return known, numbers(tokens, known)
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

    def _ends(self, length: int) -> tuple[int, int]:
        """Where the training part ends, and that for validation."""
        validation, test = (round(length * (1 - share)) for share in (sum(self.held_out), self.held_out[1]))
        return validation, test

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        codes = self._text[1]
        validation, test = self._ends(len(codes))
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
                f"{self.path or SHIPPED}: the {name} part has {len(codes):,} {self.unit}s, which is too short for "
                f"{self.length} and the next one"
            )
        if self.every:
            windows = codes[starts[:, None] + np.arange(self.length + 1)]
            return Split(windows[:, :-1].astype(np.int32), windows[:, 1:].astype(np.int64))
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
