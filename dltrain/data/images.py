"""Image files as inputs of a trained network."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dltrain.data.files import require_file
from dltrain.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM")  # old and plain: their decoders have seen the most
MODES = {1: "L", 3: "RGB"}
LARGE = 1 << 25  # bytes that a picture of any size may unpack to
READ_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, MemoryError,
    struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip


def read_image(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The picture in a file as (height, width, channels), grey for 1 channel and RGB for 3.

    It is turned as its EXIF data say; what is transparent becomes white; a picture of another size is stretched to
    `shape` (bilinear). Raises DataError.
    """
    if len(shape) != 3 or shape[2] not in MODES:
        raise DataError(f"{path}: an image has shape (height, width, 1 or 3), but the network takes {shape}")
    require_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _Pieces(path) as pieces, Image.open(pieces, formats=FORMATS) as file:
                twice = 2 * max(shape[:2])
                file.draft(MODES[shape[2]], (twice, twice))  # a JPEG far larger than needed is not decoded in full
                unpacked = file.width * file.height * len(file.getbands())
                if unpacked > max(LARGE, 100 * pieces.size):
                    raise ValueError(
                        f"it would unpack to {unpacked:,} bytes, far more than its own size; make it smaller"
                    )
                picture = _converted(file, MODES[shape[2]])
                if picture.size != (shape[1], shape[0]):
                    picture = picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
                pixels = np.frombuffer(picture.tobytes(), np.uint8)
    except READ_ERRORS as error:
        what = "it begins otherwise" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path}: not an image that can be read ({', '.join(FORMATS)}): {what}") from error
    return pixels.reshape(shape)


class _Pieces(io.FileIO):
    """A file that is read in few pieces: Pillow spends 10 us on each part of a picture, were it empty."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.size = os.fstat(self.fileno()).st_size
        self.left = 10_000 + self.size // 64

    def read(self, size: int | None = -1, /) -> Any:
        self.left -= 1
        if self.left < 0:
            raise ValueError("it is cut into far too many parts")
        return super().read(size)


def _converted(picture: Image.Image, mode: str) -> Image.Image:
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode.startswith(("I", "F")):
        raise ValueError(f"its pixels have more than 8 bits (mode {picture.mode}); save it with 8 bits a channel")
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return picture if picture.mode == mode else picture.convert(mode)
