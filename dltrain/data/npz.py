"""A user's own arrays in one npz file."""

from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.data.npz_file import Header, open_npz
from dltrain.data.pictures.pixels import Pixels
from dltrain.data.source import SOURCES, Source, Split, narrowed
from dltrain.errors import DataError, SettingError
from dltrain.registry import FilePath

SPLITS = ("train", "validation", "test")
ARRAYS = (*(f"{letter}_{split}" for split in SPLITS for letter in "xy"), "class_names")
MOST_CLASSES = 100_000


@SOURCES.register("npz")
class Npz(Source):
    """Arrays x_train, y_train and perhaps x_test, y_test, x_validation, y_validation in an npz file.

    x: (N, *input_shape); bytes (uint8) stay so, other numbers become float32.
    y: whole numbers from 0, (N,): classes, named "0", "1", … or by an array `class_names` of text;
    or floats, (N,) or (N, k): numbers to predict.
    path: taken from the folder where the command runs.
    pixel_range: [BLACK, WHITE], the values of x that black and white of a picture file stand for when `predict` is
    given one; only needed where the range of x_train leaves it in doubt.
    """

    def __init__(self, *, path: FilePath, pixel_range: tuple[float, float] | None = None):
        self.path, self._range = Path(path), pixel_range
        if pixel_range is not None and not pixel_range[0] < pixel_range[1]:
            raise SettingError("data.pixel_range", f"[BLACK, WHITE] must rise, not fall as {list(pixel_range)}")

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._headers["x_train"].shape[1:]

    @property
    def outputs(self) -> int:
        return prod(self._headers["y_train"].shape[1:]) if self.classes is None else len(self.classes)

    @property
    def pixels(self) -> Pixels | None:
        return None if self._range is None else Pixels.of(self.input_shape, *self._range)

    @cached_property
    def classes(self) -> tuple[str, ...] | None:
        """Read from class_names, else counted in y_train, which is small."""
        if self._headers["y_train"].dtype.kind == "f":
            return None
        with open_npz(self.path) as file:
            if "class_names" in file.names:
                names = tuple(str(name) for name in file.read("class_names").reshape(-1).tolist())
                if len(set(names)) != len(names) or not all(name and name.isprintable() for name in names):
                    raise DataError(f"{self.path}: class_names must be different, printable names")
                return names
            highest = int(file.read("y_train").max())
        if highest >= MOST_CLASSES:
            raise DataError(f"{self.path}: y_train reaches {highest}; classes are numbered 0, 1, 2, …")
        return tuple(str(i) for i in range(highest + 1))

    @cached_property
    def _headers(self) -> dict[str, Header]:
        """The header of every array, once all of them fit together."""
        with open_npz(self.path) as file:
            unknown = [name for name in file.names if name not in ARRAYS]
            if unknown:
                raise DataError(f"{self.path}: unknown array {unknown[0]!r}; known: {', '.join(ARRAYS)}")
            headers = {name: file.header(name) for name in file.names}
        for split in SPLITS:
            pair = [headers[name] for name in (f"x_{split}", f"y_{split}") if name in headers]
            if pair or split == "train":
                problem = _misfit(pair, [headers[name] for name in ("x_train", "y_train") if name in headers])
                if problem:
                    raise DataError(f"{self.path}: x_{split} and y_{split} {problem}")
        if "class_names" in headers and headers["class_names"].dtype.kind != "U":
            raise DataError(f"{self.path}: class_names must be an array of text")
        return headers

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        with open_npz(self.path) as file:
            return {
                split: Split(
                    _as_inputs(file.read(f"x_{split}"), f"{self.path}: x_{split}"),
                    self._as_targets(file.read(f"y_{split}"), f"{self.path}: y_{split}"),
                )
                for split in SPLITS
                if f"x_{split}" in self._headers and only in (None, split)
            }

    def _as_targets(self, values: NDArray[Any], where: str) -> NDArray[Any]:
        if self.classes is None:
            return _finite(values, where).reshape(len(values), -1)
        if values.min() < 0 or values.max() >= len(self.classes):
            raise DataError(
                f"{where} holds classes {values.min()} to {values.max()}, but there are {len(self.classes)}, from 0"
            )
        return values.astype(np.int64)


def read_inputs(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """The examples (N, *shape) in an npz file for `predict`: array x, else x_test, else the only one. DataError."""
    with open_npz(path) as file:
        name = next((name for name in ("x", "x_test", *file.names) if name in file.names), None)
        if name is None or (name not in ("x", "x_test") and len(file.names) > 1):
            raise DataError(f"{path}: no array is called x, and {len(file.names)} have other names; call the inputs x")
        header = file.header(name)
        if header.dtype.kind == "U" or header.shape[1:] != shape:
            raise DataError(f"{path}: {name} is {header}, but the network takes numbers (N, …) with {shape} for each")
        return _as_inputs(file.read(name), f"{path}: {name}")


def _misfit(pair: list[Header], train: list[Header]) -> str | None:
    """What is wrong with the arrays x and y of a split, beside those of the training part."""
    if len(pair) < 2:
        return "are needed, both"
    x, y = pair
    if x.dtype.kind == "U" or len(x.shape) < 2:
        return f"do not fit: x must be numbers (N, …), not {x}"
    if y.dtype.kind not in "iuf" or len(y.shape) not in ((1, 2) if y.dtype.kind == "f" else (1,)):
        return f"do not fit: y must be whole numbers (N,), or floats (N,) or (N, k), not {y}"
    if x.shape[0] != y.shape[0]:
        return f"must be equally many, not {x.shape[0]} and {y.shape[0]}"
    if any(
        a.shape[1:] != b.shape[1:] or (a.dtype.kind == "f") != (b.dtype.kind == "f")
        for a, b in zip(pair, train, strict=True)
    ):
        return f"({x} and {y}) are of another kind than those of the training part"
    return None


def _as_inputs(values: NDArray[Any], where: str) -> NDArray[Any]:
    return np.ascontiguousarray(values) if values.dtype == np.uint8 else _finite(values, where)


def _finite(values: NDArray[Any], where: str) -> NDArray[Any]:
    """As float32 (float64 where that would lose digits), C-contiguous, once it is sure that training on it can work."""
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(converted).all():
        raise DataError(f"{where} holds values that are not finite in float32 (nan, inf or too large)")
    if values.dtype.kind == "f" and values.dtype.itemsize <= 4:
        return converted
    channels = values.shape[-1] if values.ndim > 1 else 1
    exact = narrowed(values.astype(np.float64).reshape(-1, channels))
    return converted if exact.dtype == np.float32 else exact.reshape(values.shape)
