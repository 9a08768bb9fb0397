"""The weights of a run by name: what they are like, and how they look, first beside last."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from dltrain.nn import shape_text
from dltrain.report.grid import Row, Tile, draw_rows

Array = Any
MOST_SIDE = 96  # rows and columns of an array that are drawn


def statistics(array: Array) -> dict[str, Any]:
    """Of all its numbers; the standard deviation is that of these, not an estimate. What is not finite is None."""
    values = np.asarray(array, np.float64)
    with np.errstate(all="ignore"):
        found = {"mean": values.mean(), "sd": values.std(), "min": values.min(), "max": values.max()}
    figures = {name: float(value) if np.isfinite(value) else None for name, value in found.items()}
    return {"shape": list(array.shape), **figures, "zeros": int((values == 0).sum())}


def draw_weights(last: Mapping[str, Array], step: int, first: Mapping[str, Array], first_step: int) -> Image.Image:
    """A row for each array: inputs from top to bottom, outputs from left to right. Blue is positive, orange negative,
    grey exactly zero; white is nearly so. The first and the last of a name have one scale, to its largest number. Of
    what has more than 96 rows or columns the first 96 are drawn."""
    rows = []
    for name, array in last.items():
        known = [(a, s) for a, s in ((first.get(name), first_step), (array, step)) if a is not None]
        known = [(a, s) for a, s in known if a.shape == array.shape]
        largest = max((float(np.abs(a[np.isfinite(a)]).max(initial=0)) for a, _ in known), default=0) or 1.0
        tiles = [Tile(_shades(a, largest), f"step {s:,}") for a, s in known]
        shape = shape_text(array.shape).replace("×", "x")  # the font has no ×
        rows.append(Row(f"{name}  {shape}  ±{largest:.3g}", tiles))
    return draw_rows("Weights: blue positive, orange negative, grey exactly 0", rows)


def _shades(array: Array, largest: float) -> Array:
    """uint8 (rows, columns, 3)"""
    flat = np.asarray(array, np.float64)
    flat = flat.reshape(-1, flat.shape[-1] if flat.ndim else 1)[:MOST_SIDE, :MOST_SIDE]
    share = np.clip(np.nan_to_num(flat / largest), -1, 1)[..., None]
    full = np.where(share < 0, np.array([178, 80, 13]), np.array([36, 90, 146]))  # as in the pages
    shades = 255 + (full - 255) * np.abs(share) ** 0.5
    shades[flat == 0] = 205
    return shades.round().astype(np.uint8)
