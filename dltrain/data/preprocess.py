"""What is learned from the training part and travels with the network: means, deviations, class names."""

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dltrain.data.source import Normalize, Split
from dltrain.errors import DataError

TINY = float(np.finfo(np.float32).tiny)  # a deviation below this has no finite inverse in float32
CHUNK = 1 << 20  # values that are widened to float64 at a time


@dataclass(frozen=True)
class Preprocessing:
    """All that `predict` must know of the training data; every checkpoint holds it.

    mean, std: of each channel (the last axis of an input) over the training part, std at least TINY;
    0 and 1 with normalize "none".
    white: the input value that the brightest pixel of an image file stands for.
    """

    input_shape: tuple[int, ...]
    classes: tuple[str, ...] | None
    normalize: Normalize
    mean: tuple[float, ...]
    std: tuple[float, ...]
    white: float

    @classmethod
    def learn(
        cls, train: Split, *, classes: tuple[str, ...] | None, normalize: Normalize, white: float = 255.0
    ) -> "Preprocessing":
        channels = train.inputs.shape[-1]
        mean, std = (0.0,) * channels, (1.0,) * channels
        if normalize == "channel":
            mean, std = channel_statistics(train.inputs)
        return cls(train.inputs.shape[1:], classes, normalize, mean, std, white)

    def scale_and_shift(self, dtype: DTypeLike = np.float32) -> tuple[NDArray[Any], NDArray[Any]]:
        """Two arrays (C,) with which (x - mean) / std is x * scale + shift; see `apply`."""
        mean, std = np.array(self.mean), np.array(self.std)
        return (1 / std).astype(dtype), (-mean / std).astype(dtype)

    def from_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """The pixels of an image file (0 to 255) in the units of the training inputs."""
        return pixels if self.white == 255 else (pixels * (self.white / 255)).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, raw: object) -> "Preprocessing":
        """The inverse of `to_json`. Raises DataError for anything that `to_json` does not give."""
        match raw:
            case {
                "input_shape": list(shape),
                "classes": None | list() as classes,
                "normalize": normalize,
                "mean": list(mean),
                "std": list(std),
                "white": float(white),
                **rest,
            } if (
                not rest
                and normalize in get_args(Normalize)
                and shape
                and all(type(size) is int and size > 0 for size in shape)
                and len(mean) == len(std) == shape[-1]
                and all(type(value) is float and isfinite(value) for value in (*mean, *std))
                and min(std) >= TINY
                and isfinite(white) and white > 0
                and (classes is None or (classes and all(type(name) is str for name in classes)))
                and len(set(classes or ())) == len(classes or ())
            ):  # fmt: skip
                names = None if classes is None else tuple(classes)
                learned = cls(tuple(shape), names, normalize, tuple(mean), tuple(std), white)
                with np.errstate(over="ignore"):
                    if np.isfinite(learned.scale_and_shift()).all():
                        return learned
        raise DataError("the description of the training data (means, deviations, classes) is damaged")


def apply(x: Any, scale: Any, shift: Any) -> Any:
    """x (…, C) normalised, as a new array of the type of `scale`. All three belong to the same array module."""
    y = x.astype(scale.dtype)
    y *= scale
    y += shift
    return y


def channel_statistics(inputs: NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (1 where a channel is constant) of every channel, the last axis.

    Sums of distances from the first example's first values, in float64: for bytes they are whole numbers
    and exact, and a constant channel gives exactly 0.
    """
    channels = inputs.shape[-1]
    pivot = inputs.reshape(-1, channels)[0].astype(np.float64)
    flat = inputs.reshape(len(inputs), -1)
    pivots = np.tile(pivot, flat.shape[1] // channels)
    sums, squares = np.zeros(flat.shape[1]), np.zeros(flat.shape[1])
    rows = max(1, CHUNK // flat.shape[1])
    for first in range(0, len(flat), rows):
        distance = flat[first : first + rows] - pivots
        sums += distance.sum(axis=0)
        squares += np.einsum("ij,ij->j", distance, distance)
    count = flat.size // channels
    offset = sums.reshape(-1, channels).sum(axis=0) / count
    variance = squares.reshape(-1, channels).sum(axis=0) / count - offset**2
    std = np.sqrt(np.maximum(variance, 0))
    return tuple((pivot + offset).tolist()), tuple(np.where(std < TINY, 1.0, std).tolist())
