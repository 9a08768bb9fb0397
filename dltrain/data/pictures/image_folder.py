"""A user's own pictures: a folder for each class."""

import logging
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dltrain.data.ahead import read_all
from dltrain.data.files import MissingPath
from dltrain.data.pictures.images import ENDINGS, REMARKS, Background, Remark, first_look, read_picture
from dltrain.data.pictures.pixels import Pixels
from dltrain.data.source import SOURCES, OnDemand, Source, Split
from dltrain.errors import DataError
from dltrain.registry import Count, FilePath, NonNegativeInt

SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "validation": "validation", "val": "validation", "valid": "validation", "dev": "validation",
}  # name of a folder in small letters -> split  # fmt: skip
HIDDEN = (
    "__macosx",
    "thumbs.db",
    "desktop.ini",
    "@eadir",
    "$recycle.bin",
)  # what systems leave behind, beside names that begin with a dot
LOOKED_AT = 256  # files whose sizes are asked for at the start
warn = logging.getLogger("dltrain").warning


class ImageFiles(OnDemand):
    """Pictures that are decoded when they are asked for."""

    def __init__(self, paths: Sequence[Path], image_shape: tuple[int, ...], background: Background = "white"):
        super().__init__((len(paths), *image_shape), np.uint8)
        self.paths, self.background = paths, background
        self.remarked: dict[Remark, list[int]] = {kind: [] for kind in REMARKS}  # the pictures in question
        self.told = True  # whether each kind of remark is told when it is first met
        self._lock = Lock()

    def example(self, index: int) -> NDArray[np.uint8]:
        picture = read_picture(self.paths[index], self.shape[1:], self.background)
        for kind in picture.remarks:
            with self._lock:
                self.remarked[kind].append(index)
                first = len(self.remarked[kind]) == 1
            if first and self.told:
                warn(f"{self.paths[index]} and perhaps others: {REMARKS[kind]}")
        return picture.pixels

    def take(self, indices: NDArray[Any]) -> "ImageFiles":
        return ImageFiles([self.paths[i] for i in indices], self.shape[1:], self.background)

    def marks(self) -> bytes:
        """Names and lengths of the files."""
        try:
            return "\n".join(f"{path.name} {path.stat().st_size}" for path in self.paths).encode(errors="replace")
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from None

    def read(self) -> NDArray[np.uint8]:
        """All of them; what there is to remark is told by `remarks` alone."""
        self.told = False
        return read_all(self)

    def remarks(self) -> list[str]:
        """What was left out of those that were read, a line for each kind."""
        return [
            f"{len(met):,} of {len(self):,} pictures: {REMARKS[kind]}; the first is {self.paths[min(met)]}"
            for kind, met in self.remarked.items()
            if met
        ]


@SOURCES.register("image_folder")
class ImageFolder(Source):
    """Pictures in one folder for each class, whose name is the folder's; folders within it belong to the same class.

    path: holds the classes' folders, or folders train, test and validation (or val, valid, dev; in any case) that hold
    them; it is taken from the folder where the command runs. Hidden files are not looked at; what is no picture is left
    out, and said. Of 16 bits a channel the upper 8 are read, of several pictures in a file the first.
    size: [height, width] to which every picture is stretched, after it is turned as its EXIF data say.
    channels: 1 for grey, 3 for colours. background: what is transparent becomes white, black or [red, green, blue].
    memory: splits of up to so many megabytes (2^20 bytes) are read at the start; larger ones are decoded while the
    training goes on, a few pictures ahead of it.
    """

    def __init__(
        self,
        *,
        path: FilePath,
        size: tuple[Count, Count],
        channels: Literal[1, 3] = 3,
        background: Background = "white",
        memory: NonNegativeInt = 512,
    ):
        self.path, self.background, self.memory = Path(path), background, memory << 20
        self._shape = (*size, channels)
        self._notes: dict[Path, list[str]] = {}

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(folder.name for folder in _folders(self._places["train"]))

    @cached_property
    def pixels(self) -> Pixels:
        """The files' sizes where all that are looked at have the same."""
        paths = [path for folder in _folders(self._places["train"]) for path in _pictures(folder)[0]]
        sizes, coloured = first_look(paths[:: -(-len(paths) // LOOKED_AT) or 1])
        size = sizes.pop() if len(sizes) == 1 else None
        return Pixels(background=self.background, size=size, coloured=coloured)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(note for notes in self._notes.values() for note in notes)

    @cached_property
    def _places(self) -> dict[str, Path]:
        """The folder of each split that there is."""
        if not self.path.is_dir():
            raise MissingPath(self.path, "folder")
        folders, places = _folders(self.path), dict[str, Path]()
        for folder in folders:
            if split := SPLITS.get(folder.name.lower()):
                if split in places:
                    raise DataError(f"{places[split]} and {folder} are both for {split}; put them into one")
                places[split] = folder
        if "train" not in places:
            if places and len(places) == len(folders):
                raise DataError(
                    f"{self.path}: holds {', '.join(folder.name for folder in folders)}, but no folder train"
                )
            self._notes[self.path / "splits"] = [
                f"{folder} is taken for a class, for there is no folder train beside it" for folder in places.values()
            ]
            places = {"train": self.path}
        elif others := [folder.name for folder in folders if folder not in places.values()]:
            names = ", ".join(others[:5]) + (", …" if len(others) > 5 else "")
            self._notes[self.path / "splits"] = [
                f"{self.path}: left out beside {places['train'].name}: {names}; classes belong into the splits' folders"
            ]
        _require_classes(places["train"])
        return places

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        return {split: self._read(folder) for split, folder in self._places.items() if only in (None, split)}

    def _read(self, place: Path) -> Split:
        paths: list[Path] = []
        labels: list[int] = []
        left_out = [path for path in place.iterdir() if path.is_file() and not is_hidden(path)]
        for folder in _folders(place):
            if folder.name not in self.classes:
                raise DataError(f"{folder}: {folder.name!r} is no class of the training part: {list(self.classes)}")
            inside, others = _pictures(folder)
            if not inside:
                raise DataError(f"{folder}: this class is empty; no file ends in {', '.join(ENDINGS)}")
            paths += inside
            labels += [self.classes.index(folder.name)] * len(inside)
            left_out += others
        files = ImageFiles(paths, self.input_shape, self.background)
        small = len(paths) * files.bytes_each <= self.memory
        inputs = files.read() if small else files
        self._notes[place] = [*_left_out(place, sorted(left_out), len(paths)), *(files.remarks() if small else [])]
        return Split(inputs, np.array(labels, np.int64))


def is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in HIDDEN


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not is_hidden(path))


def _pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures in a class's folder and in those within it, and the other files, in order."""
    pictures, others = list[Path](), list[Path]()
    for path in sorted(folder.rglob("*")):
        if any(map(is_hidden, (path, *(up for up in path.parents if folder in up.parents)))) or path.is_dir():
            continue
        (pictures if path.suffix.lower() in ENDINGS else others).append(path)
    return pictures, others


def _left_out(place: Path, files: list[Path], read: int) -> list[str]:
    if not files:
        return []
    endings = Counter(path.suffix.lower() or "without an ending" for path in files)
    kinds = ", ".join(f"{count:,} {ending}" for ending, count in endings.most_common(4))
    more = " and others" if len(endings) > 4 else ""
    return [
        f"{place}: {len(files):,} of {len(files) + read:,} files are left out, which are no pictures in a class's "
        f"folder ({kinds}{more}; the first is {files[0].relative_to(place)}); save pictures as PNG or JPEG"
    ]


def _require_classes(place: Path) -> None:
    found = _folders(place)
    if len(found) < 2:
        inner = found[0] if found and len(_folders(found[0])) > 1 else None
        remedy = f"; did you mean data.path: {inner}?" if inner else ""
        raise DataError(f"{place}: holds {len(found)} folders; each class has one, and two are needed{remedy}")
