"""What the numbers of a training part have to do with the pixels of picture files."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.data.pictures.images import Background, Picture
from dltrain.errors import DataError

Array = NDArray[Any]
SLACK = 1e-3  # of a range: resizing may go a little beyond it
LOOKED_AT, VALUES = 2000, 1 << 24  # examples whose brightness is asked for; so many values of them at most
BRIGHT = 0.1  # a picture is otherwise than those of the training if its mean is further from theirs


@dataclass(frozen=True)
class Pixels:
    """What `predict` must know to read a picture file as those of the training part were.

    black, white: the input values that the darkest pixel of a file (0) and the brightest (255) stand for; they are
    ends of the values that occur where `known` is false, which will do to show a picture but not to read one.
    background: what is transparent becomes this. size: (height, width) that all training pictures had before they were
    stretched; None where they differed. coloured: whether they had other shades than greys; None where nobody knows.
    brightness: the mean, 0 to 1, of the darkest training picture but 1 %, and of the brightest; None if not measured.
    """

    black: float = 0.0
    white: float = 255.0
    known: bool = True
    background: Background = "white"
    size: tuple[int, int] | None = None
    coloured: bool | None = None
    brightness: tuple[float, float] | None = None

    @classmethod
    def of(cls, input_shape: tuple[int, ...], black: float = 0.0, white: float = 255.0, known: bool = True) -> "Pixels":
        """Those of a data set whose pictures were never stretched."""
        size = (input_shape[0], input_shape[1]) if len(input_shape) == 3 else None
        return cls(black, white, known, size=size, coloured=False)

    def to_inputs(self, picture: Array) -> Array:
        """The pixels of a file (0 to 255) in the units of the training inputs. Raises DataError where these are not
        known."""
        if not self.known:
            raise DataError(
                f"the network was trained on numbers from {self.black:.4g} to {self.white:.4g}, and it cannot be told "
                "which of them are black and white; give arrays (npz), or train with data.pixel_range: [BLACK, WHITE]"
            )
        if (self.black, self.white) == (0, 255):
            return picture
        return (picture * ((self.white - self.black) / 255) + self.black).astype(np.float32)

    def to_pixels(self, inputs: Array) -> NDArray[np.uint8]:
        """Inputs as pixels of a picture that can be shown."""
        scaled = (np.nan_to_num(inputs.astype(np.float64)) - self.black) * (255 / (self.white - self.black))
        return np.clip(scaled, 0, 255).round().astype(np.uint8)

    def measured(self, inputs: Array) -> "Pixels":
        """The same with what pictures (N, height, width, channels) of the training part show."""
        number = max(1, min(LOOKED_AT, VALUES // inputs[0].size))
        some = inputs[:: -(-len(inputs) // number)]
        means = self.to_pixels(some).reshape(len(some), -1).mean(axis=1) / 255
        coloured = self.coloured
        if inputs.shape[-1] == 3:
            coloured = bool((some.max(axis=-1) != some.min(axis=-1)).any())
        low, high = np.quantile(means, [0.01, 0.99]).tolist()
        return replace(self, brightness=(low, high), coloured=coloured)

    def differences(self, picture: Picture) -> list[str]:
        """In what a picture is not like those of the training part, in words."""
        found = []
        if self.brightness is not None:
            mean, (low, high) = float(picture.pixels.mean()) / 255, self.brightness
            what = "darker" if mean < low else "brighter"
            if mean < low - BRIGHT or mean > high + BRIGHT:
                exchanged = low - BRIGHT <= 1 - mean <= high + BRIGHT
                remedy = ", as if black and white were exchanged: invert it first" if exchanged else ""
                found.append(f"{what} than the training pictures{remedy}")
        if self.size is not None and picture.size != self.size:
            height, width = self.size
            found.append(f"not {width} x {height} pixels, the size of the training pictures")
        if self.coloured is not None and picture.coloured != self.coloured:
            found.append(f"{'coloured' if picture.coloured else 'grey'}, unlike the training pictures")
        return found

    @classmethod
    def described(cls, data: dict[str, Any]) -> "Pixels":
        """Those of a run's description of its data; of older and damaged ones as much as can be known."""
        with suppress(ValueError):
            return cls.from_json(data.get("pixels"))
        white = data.get("white")
        return cls(white=white) if isinstance(white, float) and isfinite(white) and white > 0 else cls()

    def to_json(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, raw: object) -> "Pixels":
        """The inverse of `to_json`. Raises ValueError for anything that it does not give."""
        match raw:
            case {
                "black": float(black),
                "white": float(white),
                "known": bool(known),
                "background": ("white" | "black" | [int(), int(), int()]) as background,
                "size": (None | [int(), int()]) as size,
                "coloured": (None | bool()) as coloured,
                "brightness": (None | [float(), float()]) as brightness,
                **rest,
            } if not rest and isfinite(white - black) and black < white and _small(background, size, brightness):
                colour = tuple(background) if isinstance(background, list) else background
                return cls(
                    black, white, known, colour, size and tuple(size), coloured, brightness and tuple(brightness)
                )  # fmt: skip
        raise ValueError("what is known of the pixels is damaged")


def _small(*numbers: Any) -> bool:
    """Whether the numbers in these lists can be those of a picture."""
    return all(0 <= number <= 1 << 20 for some in numbers if isinstance(some, list) for number in some)


def told(inputs: Array) -> Pixels:
    """What black and white are in inputs (N, height, width, channels), where that is beyond doubt: bytes, 0 to 1, -1 to
    1 or 16 bits, of which more than the lower half occurs."""
    low, high, shape = float(inputs.min()), float(inputs.max()), inputs.shape[1:]
    usual: Sequence[tuple[float, float]] = ((0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5), (0.0, 255.0), (0.0, 65535.0))
    for black, white in usual:
        span = white - black
        inside = black - SLACK * span <= low and high <= white + SLACK * span
        if inside and high > black + span / 2 and (black == 0 or low < black + span / 4):
            return Pixels.of(shape, black, white)
    return Pixels.of(shape, low, high if high > low else low + 1, known=False)
