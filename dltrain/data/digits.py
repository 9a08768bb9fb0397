"""The optical digits: 8x8 images small enough to be shipped, so that a first run needs no download."""

import gzip
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.data.source import SOURCES, Source, Split
from dltrain.errors import DataError

FILES = {"train": "optdigits.tra.gz", "test": "optdigits.tes.gz"}


@SOURCES.register("digits")
class Digits(Source):
    """5,620 digits written by 43 people, as 8x8 counts of dark pixels, 0 to 16; other people wrote the test part.

    E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """

    input_shape = (8, 8, 1)
    classes = tuple("0123456789")
    white = 16.0

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        return {split: _read(name) for split, name in FILES.items() if only in (None, split)}


def _read(name: str) -> Split:
    """Lines of 64 pixels and a class, separated by commas."""
    try:
        packed = files("dltrain.data").joinpath("files", name).read_bytes()
        rows: NDArray[Any] = np.loadtxt(gzip.decompress(packed).splitlines(), np.uint8, delimiter=",")
        return Split(rows[:, :64].reshape(-1, 8, 8, 1).copy(), rows[:, 64].astype(np.int64))
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise DataError(f"{name} inside the package is damaged ({error}); install dltrain again") from error
