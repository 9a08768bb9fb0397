"""CIFAR-10 from its python version, read without unpickling."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dltrain.data.files import require_files
from dltrain.data.pickle_reader import Call, Global, read_pickle
from dltrain.data.source import SOURCES, Source, Split
from dltrain.errors import DataError

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
FILES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


@SOURCES.register("cifar10")
class Cifar10(Source):
    """60,000 colour images of 32x32 in 10 classes: 50,000 to train on, 10,000 to test.

    A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, University of Toronto, 2009.
    """

    input_shape = (32, 32, 3)
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        wanted = {split: names for split, names in FILES.items() if only in (None, split)}
        folder = require_files(
            data_dir,
            "cifar10",
            "cifar-10-batches-py",
            [name for names in wanted.values() for name in names],
            f"{PAGE} (the archive called CIFAR-10 python version)",
        )
        return {split: _read([folder / name for name in names]) for split, names in wanted.items()}


def _read(paths: list[Path]) -> Split:
    """One split from its batch files, one in memory at a time; planes are turned to channels last on the way."""
    images = np.empty((sum(path.stat().st_size for path in paths) // 3072, 32, 32, 3), np.uint8)  # room enough
    targets: list[int] = []
    for path in paths:
        planes, labels = read_batch(path)
        place = images[len(targets) :][: len(labels)]
        if len(place) < len(labels):
            raise DataError(f"{path}: it has grown while it was read")
        for channel in range(3):  # ten times faster than one transposed copy
            place[..., channel] = planes[:, channel]
        targets += labels
    return Split(images[: len(targets)], np.array(targets, np.int64))


def read_batch(path: Path) -> tuple[NDArray[np.uint8], list[int]]:
    """The images (n, 3, 32, 32) of a batch file, red, green and blue planes, and their n labels. Raises DataError."""
    try:
        batch = read_pickle(path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    match batch:
        case {b"labels": list(labels), b"data": Call() as data} if labels:
            pixels = _byte_rows(data)
            if len(pixels) == len(labels) and all(type(label) is int and 0 <= label < 10 for label in labels):
                return pixels.reshape(-1, 3, 32, 32), labels
    raise DataError(
        f"{path}: damaged: it must hold n labels from 0 to 9 under 'labels' and n rows of 3,072 bytes under 'data'; "
        f"get it again from {PAGE}"
    )


def _byte_rows(array: Call) -> NDArray[np.uint8]:
    """The matrix of bytes (n, 3072) that numpy's pickling describes; of anything else, no rows."""
    byte = Call(Global(b"numpy dtype"), (b"u1", 0, 1), (3, b"|", None, None, None, -1, -1, 0))
    create = Global(b"numpy.core.multiarray _reconstruct"), (Global(b"numpy ndarray"), (0,), b"b")
    rows = np.empty((0, 3072), np.uint8)
    match array.state:
        case (1, (int(n), 3072), described, False, memoryview() as content) if (
            (array.function, array.arguments) == create and described == byte and len(content) == n * 3072
        ):
            rows = np.frombuffer(content, np.uint8).reshape(n, 3072)
    return rows
