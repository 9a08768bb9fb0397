"""The optical digits: 8x8 images small enough to be shipped, so that a first run needs no download."""

import gzip
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.data.pictures.pixels import Pixels
from dltrain.data.source import SOURCES, Source, Split
from dltrain.errors import DataError
from dltrain.random import generator
from dltrain.registry import NonNegative

FILES = {"train": "optdigits.tra.gz", "test": "optdigits.tes.gz"}


@SOURCES.register("digits")
class Digits(Source):
    """5,620 digits written by 43 people, as 8x8 counts of dark pixels, 0 to 16; other people wrote the test part.

    E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.

    noise: standard deviation of what is added to every pixel of both parts, always the same.
    """

    input_shape = (8, 8, 1)
    classes = tuple("0123456789")
    pixels = Pixels(white=16.0, size=(8, 8), coloured=False)

    def __init__(self, *, noise: NonNegative = 0.0):
        self.noise = noise

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        return {split: self._with_noise(_read(name), split) for split, name in FILES.items() if only in (None, split)}

    def _with_noise(self, part: Split, name: str) -> Split:
        if not self.noise:
            return part
        pixels = np.asarray(part.inputs)
        added = generator(0, "digits", name).normal(0, self.noise, pixels.shape)
        return Split((pixels + added).astype(np.float32), part.targets)


def _read(name: str) -> Split:
    """Lines of 64 pixels and a class, separated by commas."""
    try:
        packed = files("dltrain.data").joinpath("files", name).read_bytes()
        rows: NDArray[Any] = np.loadtxt(gzip.decompress(packed).splitlines(), np.uint8, delimiter=",")
        return Split(rows[:, :64].reshape(-1, 8, 8, 1).copy(), rows[:, 64].astype(np.int64))
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise DataError(f"{name} inside the package is damaged ({error}); install dltrain again") from error
