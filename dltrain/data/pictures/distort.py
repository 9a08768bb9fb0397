"""Augmentations that turn an image or change its light. Whole-number arithmetic, so that every device agrees."""

from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

from dltrain.data.pictures.augment import AUGMENTATIONS, Augmentation, uniform
from dltrain.errors import ShapeError

Degrees = Annotated[float, Interval(gt=0, le=180)]
Strength = Annotated[float, Interval(ge=0, le=1)]
ANGLES = 1024  # a rotation is by one of so many angles
ONE = 1 << 16  # 1 in fixed point, for positions
UNIT = 256  # 1 in fixed point, for brightness and the like
GREY = (77, 150, 29)  # of red, green and blue in 256 parts of their grey (ITU-R BT.601)


@AUGMENTATIONS.register("rotation")
class Rotation(Augmentation):
    """Turn an image around its middle by up to `degrees` either way; between pixels bilinear, 0 where none was."""

    words_each = 1
    moves = True

    def __init__(self, *, degrees: Degrees):
        self.degrees = degrees

    def __call__(self, xp: Any, images: Any, words: Any) -> Any:
        n, height, width, channels = images.shape
        angles = np.radians(np.linspace(-self.degrees, self.degrees, ANGLES))
        chosen = uniform(words[:, 0], ANGLES)
        cos, sin = (xp.asarray((f(angles) * ONE).round().astype(np.int64))[chosen] for f in (np.cos, np.sin))
        down = (2 * xp.arange(height) - (height - 1))[None, :, None]  # from the middle, in halves of a pixel
        right = (2 * xp.arange(width) - (width - 1))[None, None, :]
        cos, sin = cos[:, None, None], sin[:, None, None]
        row = (cos * down - sin * right + (height - 1) * ONE) >> 1  # where a pixel comes from, times ONE
        column = (sin * down + cos * right + (width - 1) * ONE) >> 1
        top, left = row >> 16, column >> 16
        low, aside = (row & (ONE - 1)) >> 8, (column & (ONE - 1)) >> 8  # in 256 parts of a pixel
        pixels, first = images.reshape(-1, channels), xp.arange(n)[:, None, None] * (height * width)
        whole = images.dtype.kind in "iu"
        total = xp.zeros(images.shape, np.int32 if whole else images.dtype)
        for r, share_down in ((top, 256 - low), (top + 1, low)):
            for c, share_right in ((left, 256 - aside), (left + 1, aside)):
                there = (r >= 0) & (r < height) & (c >= 0) & (c < width)
                share = (share_down * share_right * there).astype(total.dtype)
                place = first + xp.clip(r, 0, height - 1) * width + xp.clip(c, 0, width - 1)
                total += xp.take(pixels, place, axis=0) * share[..., None]
        return ((total + (ONE >> 1)) >> 16).astype(images.dtype) if whole else total / ONE


@AUGMENTATIONS.register("colour_jitter")
class ColourJitter(Augmentation):
    """Change brightness, then contrast, then saturation, each by a factor of 1 - its strength to 1 + its strength.

    Brightness is a factor of the values, contrast of their distances from the image's mean grey, saturation of those
    from the pixel's own grey; results stay in the range of the bytes, or above 0.
    """

    words_each = 3

    def __init__(self, *, brightness: Strength = 0.2, contrast: Strength = 0.2, saturation: Strength = 0.2):
        self.strengths = tuple(round(strength * UNIT) for strength in (brightness, contrast, saturation))

    def check(self, input_shape: tuple[int, ...]) -> None:
        super().check(input_shape)
        if input_shape[2] not in (1, 3):
            raise ShapeError(f"colour_jitter needs 1 or 3 channels, but an example has shape {input_shape}")

    def __call__(self, xp: Any, images: Any, words: Any) -> Any:
        whole = images.dtype.kind in "iu"
        values = images.astype(np.int32) if whole else images
        brightness, contrast, saturation = (
            (UNIT - s + uniform(words[:, i], 2 * s + 1)).astype(values.dtype)[:, None, None, None]
            for i, s in enumerate(self.strengths)
        )
        values = self._clipped(xp, _scaled(values, brightness, 0, whole), whole)
        mean = _grey(xp, values, whole).sum(axis=(1, 2, 3), keepdims=True, dtype=np.int64 if whole else None)
        pixels = images.shape[1] * images.shape[2]
        mean = (mean // pixels).astype(values.dtype) if whole else mean / pixels
        values = self._clipped(xp, _scaled(values, contrast, mean, whole), whole)
        values = self._clipped(xp, _scaled(values, saturation, _grey(xp, values, whole), whole), whole)
        return values.astype(images.dtype)

    def _clipped(self, xp: Any, values: Any, whole: bool) -> Any:
        return xp.clip(values, 0, 255) if whole else xp.maximum(values, 0)


def _scaled(values: Any, factor: Any, centre: Any, whole: bool) -> Any:
    """centre + factor · (values - centre); factor in 256 parts."""
    moved = (values - centre) * factor
    return centre + ((moved + UNIT // 2) >> 8 if whole else moved / UNIT)


def _grey(xp: Any, values: Any, whole: bool) -> Any:
    """(n, H, W, 1)"""
    if values.shape[-1] == 1:
        return values
    parts = sum(values[..., i : i + 1] * part for i, part in enumerate(GREY))
    return (parts + UNIT // 2) >> 8 if whole else parts / UNIT
