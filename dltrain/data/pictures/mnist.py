"""MNIST from its original idx files."""

import gzip
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
GZIPPED = b"\x1f\x8b"  # how such files begin
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
        files = {split: _names(data_dir / self.folder, prefix) for split, prefix in wanted.items()}
        every = [name for names in files.values() for name in names]
        folder = require_files(data_dir, self.folder, self.folder, every, self.page)
        return {split: _read_split(folder, wanted[split], names, self.page) for split, names in files.items()}


def _names(folder: Path, prefix: str) -> tuple[str, ...]:
    """Of the files with images and labels: as they are published, or as people have them who unpacked them."""
    names = []
    for kind in ("images-idx3", "labels-idx1"):
        plain = f"{prefix}-{kind}-ubyte"
        known = (f"{plain}.gz", plain, plain.replace("-idx", ".idx"))
        names.append(next((name for name in known if (folder / name).is_file()), known[0]))
    return tuple(names)


def _read_split(folder: Path, prefix: str, names: tuple[str, ...], page: str) -> Split:
    images, labels = (
        read_idx(folder / name, dimensions=size, page=page) for name, size in zip(names, (3, 1), strict=True)
    )
    if images.shape[1:] != (28, 28) or len(images) != len(labels) or labels.max() > 9:
        raise DataError(
            f"{folder}: the {prefix} files hold images {images.shape} and labels {labels.shape} up to {labels.max()}, "
            f"but must hold (n, 28, 28) and (n,) up to 9; get them again from {page}"
        )
    return Split(images[..., None], labels.astype(np.int64))


def read_idx(path: Path, *, dimensions: int, page: str = PAGE) -> NDArray[np.uint8]:
    """The array in an idx file of unsigned bytes, gzipped or not.

    Bytes 0, 0, 8 (unsigned byte) and the number of dimensions; then each size, four bytes, the highest
    first; then the values, the last dimension running fastest. Raises DataError.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(LARGEST)
        if not packed.startswith(GZIPPED):  # as it would be had somebody packed it
            packed = gzip.compress(packed, compresslevel=0)
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
