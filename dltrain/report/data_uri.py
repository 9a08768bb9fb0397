"""Arrays as small PNG pictures inside the page."""

import base64
from typing import Any

import numpy as np
from PIL import Image

from dltrain.data import Pixels
from dltrain.report.grid import png

Array = Any
GAP = 3  # transparent pixels between two tiles
LARGEST = 64  # filters shown


def image_uri(inputs: Array, pixels: Pixels) -> str | None:
    """A data URI of an input (H, W, 1 or 3); None for what is no image."""
    if inputs.ndim != 3 or inputs.shape[-1] not in (1, 3):
        return None
    values = pixels.to_pixels(inputs)
    return _uri(Image.fromarray(values[:, :, 0] if values.shape[-1] == 1 else values))


def filters_uri(kernels: Array) -> tuple[str, int, int] | None:
    """A picture of first-layer weights (H, W, C, filters), its width and height in pixels; None where C is not 1 or 3.

    Each filter is scaled by its own largest weight: 0 is mid grey, positive weights are lighter.
    """
    if kernels.ndim != 4 or kernels.shape[2] not in (1, 3) or not np.isfinite(kernels).all():
        return None
    tiles = np.moveaxis(kernels, -1, 0)[:LARGEST].astype(np.float64)  # (filters, H, W, C)
    largest = np.abs(tiles).max(axis=(1, 2, 3), keepdims=True)
    levels = (127.5 + 127.5 * tiles / np.where(largest > 0, largest, 1)).round().astype(np.uint8)
    zoom = max(1, round(40 / levels.shape[1]))
    levels = np.repeat(np.repeat(np.broadcast_to(levels, (*levels.shape[:3], 3)), zoom, axis=1), zoom, axis=2)
    count, height, width = levels.shape[:3]
    columns = min(count, 16)
    rows = -(-count // columns)
    sheet = np.zeros((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 4), np.uint8)
    for i, tile in enumerate(levels):
        top, left = (i // columns) * (height + GAP), (i % columns) * (width + GAP)
        sheet[top : top + height, left : left + width, :3] = tile
        sheet[top : top + height, left : left + width, 3] = 255
    return _uri(Image.fromarray(sheet)), sheet.shape[1], sheet.shape[0]


def png_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _uri(image: Image.Image) -> str:
    return png_uri(png(image))
