"""What is learned from the training part and travels with the network: means, deviations, class names."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite, prod
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dltrain.data.ahead import parts
from dltrain.data.columns import Column, encoded, read_table
from dltrain.data.pixels import Pixels, told
from dltrain.data.source import Normalize, OnDemand, Split
from dltrain.errors import DataError

TINY = float(np.finfo(np.float32).tiny)  # a deviation below this has no finite inverse in float32
DAMAGED = "the description of the training data (means, deviations, classes) is damaged"
CHUNK = 1 << 20  # values that are widened to float64 at a time
LARGE = 1 << 29  # bytes of a training part that SAMPLE of its examples stand for
SAMPLE = 4096
LARGEST = 1 << 31  # size of an input along one axis
FEW = 200  # pictures that are decoded to see how bright they are


@dataclass(frozen=True)
class Preprocessing:
    """All that `predict` must know of the training data; every checkpoint holds it.

    mean, std: of each channel (the last axis of an input) over the training part, std at least TINY; over SAMPLE of its
    examples where it is LARGE; 0 and 1 with normalize "none".
    pixels: how a picture file is read as the training inputs were.
    columns: of a table; None for other data.
    fill: what a missing value of each channel becomes, 0 for a category's; None where nothing may be missing.
    class_weights: how much an example of each class counts in a loss; None where all count the same.
    """

    input_shape: tuple[int, ...]
    classes: tuple[str, ...] | None
    normalize: Normalize
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pixels: Pixels
    columns: tuple[Column, ...] | None = None
    fill: tuple[float, ...] | None = None
    class_weights: tuple[float, ...] | None = None

    @classmethod
    def learn(
        cls,
        train: Split,
        *,
        classes: tuple[str, ...] | None,
        normalize: Normalize,
        pixels: Pixels | None = None,
        columns: tuple[Column, ...] | None = None,
        tolerant: bool = False,
    ) -> "Preprocessing":
        """pixels: None where the range of the inputs tells.
        tolerant: whether missing numbers are filled in with the mean of those that are there.
        """
        inputs, channels = train.inputs, train.inputs.shape[-1]
        zeros, ones = np.zeros(channels), np.ones(channels)
        learned = cls(
            inputs.shape[1:], classes, normalize, tuple(zeros.tolist()), tuple(ones.tolist()), Pixels(), columns
        )
        if len(inputs.shape) == 4 and channels in (1, 3):
            learned = replace(learned, pixels=_pixels(inputs, pixels))
        numeric = learned.numeric_channels()  # the 0 and 1 of categories stay
        if tolerant and not isinstance(inputs, OnDemand):
            learned = replace(learned, fill=tuple(np.where(numeric, _means(inputs), zeros).tolist()))
            inputs = learned.completed(inputs)
        if normalize == "none":
            return learned
        mean, std = channel_statistics(inputs)
        return replace(
            learned,
            mean=tuple(np.where(numeric, mean, zeros).tolist()),
            std=tuple(np.where(numeric, std, ones).tolist()),
        )

    def numeric_channels(self) -> list[bool]:
        if self.columns is None:
            return [True] * len(self.mean)
        return [column.categories is None for column in self.columns for _ in range(column.width)]

    def completed(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """The inputs with what is missing filled in; the same array where nothing can be missing."""
        if self.fill is None:
            return inputs
        return np.where(np.isnan(inputs), np.array(self.fill, inputs.dtype), inputs)

    def scale_and_shift(self, dtype: DTypeLike = np.float32) -> tuple[NDArray[Any], NDArray[Any]]:
        """Two arrays (C,) with which (x - mean) / std is x * scale + shift; see `apply`."""
        mean, std = np.array(self.mean), np.array(self.std)
        return (1 / std).astype(dtype), (-mean / std).astype(dtype)

    def to_json(self) -> dict[str, Any]:
        raw = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        raw["pixels"] = self.pixels.to_json()
        if self.columns is not None:
            raw["columns"] = [[c.name, None if c.categories is None else list(c.categories)] for c in self.columns]
        return raw

    @classmethod
    def from_json(cls, raw: object) -> "Preprocessing":
        """The inverse of `to_json`. Raises DataError for anything that `to_json` does not give."""
        match raw:
            case {
                "input_shape": list(shape),
                "classes": None | list() as classes,
                "normalize": normalize,
                "mean": list(mean),
                "std": list(std),
                "columns": None | list() as columns,
                "fill": None | list() as fill,
                **rest,
            } if (
                rest.keys() - {"class_weights"} in ({"pixels"}, {"white"})  # older files have the latter
                and normalize in get_args(Normalize)
                and shape
                and all(type(size) is int and 0 < size <= LARGEST for size in shape)
                and len(mean) == len(std) == shape[-1]
                and all(type(value) is float and isfinite(value) for value in (*mean, *std, *(fill or ())))
                and (fill is None or len(fill) == len(mean))
                and min(std) >= TINY
                and (classes is None or (classes and all(type(name) is str for name in classes)))
                and len(set(classes or ())) == len(classes or ())
            ):  # fmt: skip
                names = None if classes is None else tuple(classes)
                table = None if columns is None else tuple(map(_column, columns))
                values = None if fill is None else tuple(fill)
                weights = _weights(rest.get("class_weights"), len(classes or ()))
                pixels = _pixels_of(rest)
                learned = cls(tuple(shape), names, normalize, tuple(mean), tuple(std), pixels, table, values, weights)
                with np.errstate(over="ignore"):
                    finite = np.isfinite(learned.scale_and_shift()).all()
                if finite and len(learned.numeric_channels()) == len(mean):
                    return learned
        raise DataError(DAMAGED)


def _pixels(inputs: NDArray[Any] | OnDemand, known: Pixels | None) -> Pixels:
    """What is known of the pictures, and what some of them show."""
    step = max(1, len(inputs) // FEW)
    some = inputs[np.arange(0, len(inputs), step)] if isinstance(inputs, OnDemand) else inputs
    return (known or told(some)).measured(some)


def _pixels_of(raw: Mapping[Any, Any]) -> Pixels:
    match raw:
        case {"pixels": pixels}:
            with suppress(ValueError):
                return Pixels.from_json(pixels)
        case {"white": float(white)} if isfinite(white) and white > 0:  # of versions before there was more to say
            return Pixels(white=white)
    raise DataError(DAMAGED)


def _weights(raw: object, classes: int) -> tuple[float, ...] | None:
    match raw:
        case None:
            return None
        case list(values) if len(values) == classes and all(type(w) is float and 0 < w < inf for w in values):
            return tuple(map(float, values))
    raise DataError(DAMAGED)


def _column(raw: object) -> Column:
    match raw:
        case [str(name), None]:
            return Column(name, None)
        case [str(name), list(categories)] if categories and all(type(text) is str for text in categories):
            return Column(name, tuple(categories))
    raise DataError(DAMAGED)


def _means(inputs: NDArray[Any]) -> NDArray[Any]:
    """Of every column of a table (N, C), over what is there; 0 where nothing is."""
    there = ~np.isnan(inputs)
    sums = np.where(there, inputs, 0).sum(axis=0, dtype=np.float64)
    means: NDArray[Any] = sums / np.maximum(there.sum(axis=0), 1)
    return means


def read_rows(path: Path, learned: Preprocessing) -> tuple[list[int], NDArray[Any]]:
    """The rows of a table for `predict`: where each ends in the file, and the inputs (N, C). A column with what is to
    be told may be there or not. Raises DataError."""
    if learned.columns is None or len(learned.input_shape) != 1:
        raise DataError(f"{path}: the network was not trained on a table")
    table = read_table(path)
    inputs = encoded(table, learned.columns)
    if learned.fill is None and (gaps := np.isnan(inputs).any(axis=1)).any():
        line = table.lines[int(gaps.argmax())]
        raise DataError(f"{path}:{line}: a value is missing, but the network was trained without such rows")
    return table.lines, learned.completed(inputs)


def apply(x: Any, scale: Any, shift: Any) -> Any:
    """x (…, C) normalised, as a new array of the type of `scale`. All three belong to the same array module."""
    y = x.astype(scale.dtype)
    y *= scale
    y += shift
    return y


def channel_statistics(inputs: NDArray[Any] | OnDemand) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (1 where a channel is constant) of every channel, the last axis.

    Sums of distances from the first example's first values, in float64: for bytes they are whole numbers
    and exact, and a constant channel gives exactly 0. Of a LARGE set SAMPLE examples at equal distances are
    looked at, whether or not it is in memory.
    """
    channels, width = inputs.shape[-1], prod(inputs.shape[1:])
    pivot, count = np.zeros(0), 0
    sums, squares = np.zeros(width), np.zeros(width)
    for part in _parts(inputs):
        if not count:
            pivot = part.reshape(-1, channels)[0].astype(np.float64)
        distance = part.reshape(len(part), width) - np.tile(pivot, width // channels)
        sums += distance.sum(axis=0)
        squares += np.einsum("ij,ij->j", distance, distance)
        count += len(part) * (width // channels)
    offset = sums.reshape(-1, channels).sum(axis=0) / count
    variance = squares.reshape(-1, channels).sum(axis=0) / count - offset**2
    std = np.sqrt(np.maximum(variance, 0))
    return tuple((pivot + offset).tolist()), tuple(np.where(std < TINY, 1.0, std).tolist())


def _parts(inputs: NDArray[Any] | OnDemand) -> Iterator[NDArray[Any]]:
    bytes_each = prod(inputs.shape[1:]) * inputs.dtype.itemsize
    looked_at = min(len(inputs), SAMPLE) if len(inputs) * bytes_each > LARGE else len(inputs)
    indices = np.arange(looked_at) * len(inputs) // looked_at
    if isinstance(inputs, OnDemand):
        yield from parts(inputs, indices)
        return
    rows = max(1, CHUNK // prod(inputs.shape[1:]))
    for first in range(0, looked_at, rows):
        yield inputs[indices[first : first + rows]]
