"""A user's own pictures: a folder for each class."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dltrain.data.ahead import read_all
from dltrain.data.files import MissingPath
from dltrain.data.images import read_image
from dltrain.data.source import SOURCES, OnDemand, Source, Split
from dltrain.errors import DataError
from dltrain.registry import Count, FilePath, NonNegativeInt

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm"}
SPLITS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}  # folder -> split


class ImageFiles(OnDemand):
    """Pictures that are decoded when they are asked for."""

    def __init__(self, paths: Sequence[Path], image_shape: tuple[int, ...]):
        super().__init__((len(paths), *image_shape), np.uint8)
        self.paths = paths

    def example(self, index: int) -> NDArray[np.uint8]:
        return read_image(self.paths[index], self.shape[1:])

    def take(self, indices: NDArray[Any]) -> "ImageFiles":
        return ImageFiles([self.paths[i] for i in indices], self.shape[1:])

    def marks(self) -> bytes:
        """Names and lengths of the files."""
        try:
            return "\n".join(f"{path.name} {path.stat().st_size}" for path in self.paths).encode(errors="replace")
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None


@SOURCES.register("image_folder")
class ImageFolder(Source):
    """Pictures in one folder for each class, whose name is the folder's; folders within it belong to the same class.

    path: holds the classes' folders, or folders train, test and validation that hold them; it is taken from the folder
    where the command runs. size: [height, width] to which every picture is stretched, after it is turned as its EXIF
    data say. channels: 1 for grey, 3 for colours; what is transparent becomes white.
    memory: splits of up to so many megabytes (2^20 bytes) are read at the start; larger ones are decoded while the
    training goes on, a few pictures ahead of it.
    """

    def __init__(
        self, *, path: FilePath, size: tuple[Count, Count], channels: Literal[1, 3] = 3, memory: NonNegativeInt = 512
    ):
        self.path, self.memory = Path(path), memory << 20
        self._shape = (*size, channels)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(folder.name for folder in _folders(self._places["train"]))

    @cached_property
    def _places(self) -> dict[str, Path]:
        """The folder of each split that there is."""
        if not self.path.is_dir():
            raise MissingPath(self.path, "folder")
        inside = {SPLITS[folder.name]: folder for folder in _folders(self.path) if folder.name in SPLITS}
        places = inside if "train" in inside else {"train": self.path}
        classes = _folders(places["train"])
        if len(classes) < 2:
            raise DataError(f"{places['train']}: holds {len(classes)} folders; each class has one, and two are needed")
        return places

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        return {split: self._read(folder) for split, folder in self._places.items() if only in (None, split)}

    def _read(self, place: Path) -> Split:
        paths: list[Path] = []
        labels: list[int] = []
        for folder in _folders(place):
            if folder.name not in self.classes:
                raise DataError(f"{folder}: {folder.name!r} is no class of the training part: {list(self.classes)}")
            inside = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in ENDINGS]
            if not inside:
                raise DataError(f"{folder}: this class is empty; no file ends in {', '.join(sorted(ENDINGS))}")
            paths += inside
            labels += [self.classes.index(folder.name)] * len(inside)
        files = ImageFiles(paths, self.input_shape)
        small = len(paths) * files.bytes_each <= self.memory
        return Split(read_all(files) if small else files, np.array(labels, np.int64))


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
