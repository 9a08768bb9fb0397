"""Pictures in rows, as PNG: examples of a data set, inputs made for a unit, what networks make of noise or examples."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dltrain.data import Preprocessing
from dltrain.errors import DataError
from dltrain.nn import shape_text
from dltrain.run.files import write_output

Array = Any
SMALLEST_SIDE = 72  # pixels of a tile; smaller images are enlarged by a whole factor, without smoothing
GAP, CAPTION, MARGIN = 8, 16, 12
FEWEST_COLUMNS, MOST_COLUMNS = 8, 12  # of pictures of one value, where there are so many; of examples of several
PAPER, INK, FAINT, ACCENT = "#ffffff", "#1a1a1a", "#5c5c5c", "#0b63a5"


@dataclass(frozen=True)
class Tile:
    """image: uint8 (H, W, 3). caption: a few letters below it. marked: framed, to stand out from its row."""

    image: Array
    caption: str = ""
    marked: bool = False


@dataclass(frozen=True)
class Row:
    label: str
    tiles: Sequence[Tile]


def to_pixels(x: Array, preprocessing: Preprocessing) -> Array:
    """Normalised inputs (N, H, W, C) as uint8 (N, H, W, 3). Raises DataError where they are no images."""
    if x.ndim != 4 or x.shape[-1] not in (1, 3):
        raise DataError(f"no picture: examples of shape {shape_text(x.shape[1:])} are no images with 1 or 3 channels")
    values = x * np.array(preprocessing.std) + np.array(preprocessing.mean)
    pixels = preprocessing.pixels.to_pixels(values)
    return np.broadcast_to(pixels, (*pixels.shape[:-1], 3)) if pixels.shape[-1] == 1 else pixels


def to_bytes(shades: Array) -> Array:
    """(N, H, W, 1 or 3) from black (0) to white (1) -> uint8 (N, H, W, 3)."""
    pixels = (np.clip(np.nan_to_num(shades), 0, 1) * 255).round().astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:-1], 3))


def draw_rows(title: str, rows: Sequence[Row]) -> Image.Image:
    """A title, then the rows below each other: the label to the left, the tiles beside it.

    All get the room of the largest one, in which each is as large as a whole factor allows.
    """
    sizes = [tile.image.shape[:2] for row in rows for tile in row.tiles]
    largest = max(max(size) for size in sizes)
    room = largest * max(1, -(-SMALLEST_SIDE // largest))
    height, width = (max(size[i] * (room // max(size)) for size in sizes) for i in range(2))
    heading, small = _font(17), _font(12)
    label_width = max(int(heading.getlength(row.label)) for row in rows) + GAP
    captions = any(tile.caption for row in rows for tile in row.tiles)
    step_x, step_y = width + GAP, height + GAP + (CAPTION if captions else 0)
    columns = max(len(row.tiles) for row in rows)
    top = MARGIN + 30
    total_width = max(2 * MARGIN + label_width + columns * step_x, 2 * MARGIN + int(heading.getlength(title)))
    picture = Image.new("RGB", (total_width, top + len(rows) * step_y + MARGIN - GAP), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, MARGIN), title, fill=INK, font=heading)
    for i, row in enumerate(rows):
        y = top + i * step_y
        draw.text((MARGIN, y + height / 2), row.label, fill=INK, font=heading, anchor="lm")
        for j, tile in enumerate(row.tiles):
            x = MARGIN + label_width + j * step_x
            factor = room // max(tile.image.shape[:2])
            shown = Image.fromarray(tile.image.repeat(factor, axis=0).repeat(factor, axis=1))
            picture.paste(shown, (x + (width - shown.width) // 2, y + (height - shown.height) // 2))
            if tile.marked:
                draw.rectangle((x - 2, y - 2, x + width + 1, y + height + 1), outline=ACCENT, width=2)
            color = ACCENT if tile.marked else FAINT
            draw.text((x + width / 2, y + height + 3), tile.caption, fill=color, font=small, anchor="mt")
    return picture


def draw_values(title: str, values: Mapping[str, Array]) -> Image.Image:
    """Of one value a block of pictures; of several a row for each, the same example below itself, in bands.

    values: name -> uint8 (N, H, W, 3), of the same N. Sizes may differ.
    """
    count = len(next(iter(values.values())))
    if len(values) == 1:
        (pictures,) = values.values()
        columns = max(FEWEST_COLUMNS, ceil(sqrt(count)))
        return draw_rows(title, [Row("", _tiles(pictures[i : i + columns])) for i in range(0, count, columns)])
    bands = range(0, count, MOST_COLUMNS)
    rows = [Row(name, _tiles(pictures[i : i + MOST_COLUMNS])) for i in bands for name, pictures in values.items()]
    return draw_rows(title, rows)


def _tiles(pictures: Array) -> list[Tile]:
    return [Tile(picture) for picture in pictures]


def png(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "PNG", optimize=True)
    return data.getvalue()


def write_picture(path: Path, picture: Image.Image) -> None:
    """As PNG, whatever the name says. Raises DltrainError where it cannot be written."""
    write_output(path, png(picture))


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
