"""Photographs and a painting, for networks that paint the ones in the style of the other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dltrain.data.files import MissingData
from dltrain.data.pictures.images import first_look, read_image
from dltrain.data.source import SOURCES, Source, Split
from dltrain.data.values import Value
from dltrain.random import generator
from dltrain.registry import Count, FilePath

Array = NDArray[Any]
FOLDERS = {"content": Path("pictures", "content"), "style": Path("pictures", "style")}  # below the data folder
LARGER = 2  # times as large as a crop is what it is cut from


@SOURCES.register("pictures")
class Pictures(Source):
    """Photographs as the value `content` and a painting as the value `style`, squares in colour; the class is the
    photograph.

    content, style: picture files, taken from the folder where the command runs, or else from pictures/content and
    pictures/style in the data folder. size: of the squares, in pixels. They are cut from the middle.
    crops: so many squares of random places of all photographs are trained on, each with one of the
    painting. times: without crops, how often each photograph comes in an epoch. test_content: photographs to test on.
    """

    input_name = "content"

    def __init__(
        self,
        *,
        content: tuple[FilePath, ...],
        style: FilePath,
        size: Count = 192,
        crops: Count | None = None,
        times: Count = 1,
        test_content: tuple[FilePath, ...] = (),
    ):
        self.content, self.style, self.size, self.crops = content, style, size, crops
        self.times, self.tested = times, test_content

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.size, self.size, 3)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(Path(name).stem for name in (*self.content, *self.tested)))

    @property
    def further(self) -> tuple[Value, ...]:
        return (Value("style", "picture", self.input_shape),)

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        parts = {"train": self.content} | ({"test": self.tested} if self.tested else {})
        painting = _find(data_dir, "style", self.style)
        found = {}
        for part, names in parts.items():
            if only not in (None, part):
                continue
            files = [_find(data_dir, "content", name) for name in names]
            labels = np.array([self.classes.index(Path(name).stem) for name in names], np.int64)
            if self.crops and part == "train":
                found[part] = self._crops(files, labels, painting, self.crops)
                continue
            times = self.times if part == "train" else 1
            pixels = np.stack([_middle(file, self.size) for file in files] * times)
            style = np.broadcast_to(_middle(painting, self.size), pixels.shape)
            found[part] = Split(pixels, np.tile(labels, times), values={"style": style})
        return found

    def _crops(self, files: Sequence[Path], labels: Array, painting: Path, count: int) -> Split:
        draw = generator(0, "pictures", "crops")
        whole = [_larger(file, round(self.size * LARGER)) for file in files]
        paint = _larger(painting, round(self.size * LARGER))
        which = np.arange(count) % len(files)
        content = np.stack([_crop(whole[number], self.size, draw) for number in which.tolist()])
        style = np.stack([_crop(paint, self.size, draw) for _ in range(count)])
        return Split(content, labels[which], values={"style": style})


def _find(data_dir: Path, kind: str, name: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    if (there := data_dir / FOLDERS[kind] / name).is_file():
        return there
    raise MissingData(f"{name}: no such file, neither here nor in {data_dir / FOLDERS[kind]}; data.{kind} names it")


def _larger(path: Path, size: int) -> Array:
    """With a shorter side of `size` pixels."""
    sizes, _ = first_look([path])
    height, width = next(iter(sizes), (size, size))
    shorter = min(height, width)
    return read_image(path, (max(size, height * size // shorter), max(size, width * size // shorter), 3))


def _middle(path: Path, size: int) -> Array:
    pixels = _larger(path, size)
    top, left = ((side - size) // 2 for side in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]


def _crop(pixels: Array, size: int, draw: Generator) -> Array:
    """A square from a random place, in one of two turns."""
    top, left = (int(draw.integers(0, side - size + 1)) for side in pixels.shape[:2])
    found = pixels[top : top + size, left : left + size]
    return found[:, ::-1] if draw.integers(0, 2) else found
