"""MNIST from its original idx files."""

import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dltrain.data.files import require_files
from dltrain.data.source import SOURCES, Source, Split
from dltrain.errors import DataError

PAGE = "http://yann.lecun.com/exdb/mnist/"
PREFIXES = {"train": "train", "test": "t10k"}
GZIP = 31  # zlib's number for "with gzip's header", which its C code skips, however long
LARGEST = 48_000_000  # bytes in one file; the real ones hold up to 47,040,000


@SOURCES.register("mnist")
class Mnist(Source):
    """70,000 handwritten digits, 28x28 grey: 60,000 to train on, 10,000 to test.

    LeCun, Bottou, Bengio, Haffner, Gradient-based learning applied to document recognition, Proc. IEEE, 1998.
    """

    input_shape = (28, 28, 1)
    classes: tuple[str, ...] = tuple("0123456789")
    folder = "mnist"
    page = PAGE

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        wanted = {split: prefix for split, prefix in PREFIXES.items() if only in (None, split)}
        names = [f"{p}-{kind}-ubyte.gz" for p in wanted.values() for kind in ("images-idx3", "labels-idx1")]
        folder = require_files(data_dir, self.folder, self.folder, names, self.page)
        return {split: _read_split(folder, prefix, self.page) for split, prefix in wanted.items()}


def _read_split(folder: Path, prefix: str, page: str) -> Split:
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", dimensions=3, page=page)
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", dimensions=1, page=page)
    if images.shape[1:] != (28, 28) or len(images) != len(labels) or labels.max() > 9:
        raise DataError(
            f"{folder}: the {prefix} files hold images {images.shape} and labels {labels.shape} up to {labels.max()}, "
            f"but must hold (n, 28, 28) and (n,) up to 9; get them again from {page}"
        )
    return Split(images[..., None], labels.astype(np.int64))


def read_idx(path: Path, *, dimensions: int, page: str = PAGE) -> NDArray[np.uint8]:
    """The array in a gzipped idx file of unsigned bytes.

    Bytes 0, 0, 8 (unsigned byte) and the number of dimensions; then each size, four bytes, the highest
    first; then the values, the last dimension running fastest. Raises DataError.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(LARGEST)
        content = zlib.decompressobj(wbits=GZIP)
        if content.decompress(packed, 4) != bytes((0, 0, 8, dimensions)):
            raise ValueError(f"it does not begin like an idx file of bytes in {dimensions} dimensions")
        sizes = struct.unpack(f">{dimensions}I", content.decompress(content.unconsumed_tail, 4 * dimensions))
        if not 0 < prod(sizes) <= LARGEST:
            raise ValueError(f"its header promises {sizes} values")
        values = content.decompress(content.unconsumed_tail, prod(sizes) + 1)  # one more, to reach the checksum
        if len(values) != prod(sizes) or not content.eof or content.unused_data:
            raise ValueError(f"it holds {len(values)} values and does not end where the {sizes} promised ones do")
    except (OSError, zlib.error, struct.error, ValueError) as error:
        raise DataError(f"{path}: damaged: {error}; get it again from {page}") from error
    return np.frombuffer(values, np.uint8).reshape(sizes)
