"""Image files as inputs of a trained network."""

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError, _imaging

from dltrain.backend.process import silence_libtiff
from dltrain.data.files import require_file
from dltrain.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP", "TIFF")  # those that bear damage: tests/endurance/damage.py
ENDINGS = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".webp", ".tif",
    ".tiff",
)  # of the files that a folder is searched for  # fmt: skip
COMPRESSIONS = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "jpeg")  # within TIFF
MODES = {1: "L", 3: "RGB"}
GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # modes without colours
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # in EXIF data
DIM = 32  # of 255: what a picture does not reach that has 12 bits in 16, say
LARGE = 1 << 25  # bytes that a picture of any size may unpack to
READ_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, MemoryError,
    AttributeError, AssertionError, RuntimeError, ZeroDivisionError, struct.error, zlib.error,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip

Shade = Annotated[int, Interval(ge=0, le=255)]
Background = Literal["white", "black"] | tuple[Shade, Shade, Shade]  # the latter red, green and blue
Remark = Literal["several", "deep", "dim"]
REMARKS: dict[Remark, str] = {
    "several": "several in one file, of which the first is read",
    "deep": "16 bits a channel, of which the upper 8 are read",
    "dim": "16 bits a channel, of which the upper 3 are never used: nearly black as it is read; spread the range",
}


@dataclass(frozen=True)
class Picture:
    """pixels: uint8, (height, width, channels). size: (height, width) in the file, turned as its EXIF data say.
    coloured: whether the file holds other shades than greys. remarks: what of it was left out."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    coloured: bool
    remarks: frozenset[Remark]


def read_image(path: Path, shape: tuple[int, ...], background: Background = "white") -> NDArray[np.uint8]:
    """The pixels of `read_picture` alone."""
    return read_picture(path, shape, background).pixels


def read_picture(path: Path, shape: tuple[int, ...], background: Background = "white") -> Picture:
    """The picture in a file as (height, width, channels), grey for 1 channel and RGB for 3; of several the first.

    It is turned as its EXIF data say; what is transparent shows the background; of 16 bits a channel the upper 8 stay;
    a picture of another size is stretched to `shape` (bilinear). Raises DataError.
    """
    if len(shape) != 3 or shape[2] not in MODES:
        raise DataError(f"{path}: an image has shape (height, width, 1 or 3), but the network takes {shape}")
    require_file(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # what it thinks of damaged metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _Pieces(path) as pieces, Image.open(pieces, formats=FORMATS) as file:
                return _read(file, pieces.size, shape, background)
    except READ_ERRORS as error:
        what = "its content is not a supported image" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path}: not an image that can be read ({', '.join(FORMATS)}): {what}") from error


def _read(file: Image.Image, stored: int, shape: tuple[int, ...], background: Background) -> Picture:
    """stored: bytes of the file."""
    compression = file.info.get("compression") if file.format == "TIFF" else "raw"
    if file.format == "TIFF":
        silence_libtiff(_imaging.__file__)
    if compression not in COMPRESSIONS:
        raise ValueError(f"its compression is {compression}; save it as PNG")
    unpacked = file.width * file.height * len(file.getbands())
    if unpacked > max(LARGE, 100 * stored):
        raise ValueError(f"it would unpack to {unpacked:,} bytes, far more than its own size; make it smaller")
    mode, remarks = MODES[shape[2]], set[Remark]()
    if ";16" in str(getattr(file, "tile", "")) or file.mode == "I":  # colours come with their upper bits alone
        remarks.add("deep")
    ImageOps.exif_transpose(file, in_place=True)
    picture = _upper_bits(file) if file.mode.startswith(("I", "F")) else file
    if "deep" in remarks and max(np.ravel(picture.getextrema())) < DIM:
        remarks = {"dim"}
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, background), picture.convert("RGBA"))
    coloured = picture.mode not in GREY and _has_colours(picture)
    size = (picture.height, picture.width)
    picture = picture if picture.mode == mode else picture.convert(mode)
    if size != shape[:2]:
        picture = picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    pixels = np.frombuffer(picture.tobytes(), np.uint8).reshape(shape)
    if _holds_another(file):
        remarks.add("several")
    return Picture(pixels, size, coloured, frozenset(remarks))


def _upper_bits(picture: Image.Image) -> Image.Image:
    """A grey picture of 16 bits as one of 8, which may be transparent where it has the value that stands for that."""
    values = np.asarray(picture)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError(
            f"its pixels have more than 16 bits (mode {picture.mode}); save it with 8 or 16 bits a channel"
        )
    grey = Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))
    if isinstance(transparent := picture.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _has_colours(picture: Image.Image) -> bool:
    """Whether there are other shades than greys among 1,024 of its pixels."""
    some = picture.resize((32, 32), Image.Resampling.NEAREST).convert("RGB")
    red, green, blue = np.asarray(some).reshape(-1, 3).astype(np.int16).T
    return bool(max(np.abs(red - green).max(), np.abs(green - blue).max()) > 8)  # JPEG turns greys a little


def _holds_another(file: Image.Image) -> bool:
    if file.format not in ("GIF", "TIFF", "WEBP", "PNG"):
        return False
    try:
        file.seek(1)
    except EOFError:
        return False
    except READ_ERRORS:
        return True
    return True


def first_look(paths: Iterable[Path]) -> tuple[set[tuple[int, int]], bool]:
    """The sizes (height, width) of some files, and whether any may have colours; what cannot be read is left to whoever
    reads it."""
    sizes, coloured = set(), False
    for path in paths:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with _Pieces(path) as pieces, Image.open(pieces, formats=FORMATS) as file:
                    turned = file.getexif().get(ORIENTATION) in SIDEWAYS
                    sizes.add((file.width, file.height) if turned else (file.height, file.width))
                    coloured = coloured or file.mode not in GREY
        except READ_ERRORS:
            continue
    return sizes, coloured


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
