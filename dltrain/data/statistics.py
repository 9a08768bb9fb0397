"""Mean and standard deviation of every channel, or the range of pictures, by which inputs are normalised."""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.data.ahead import parts
from dltrain.data.pictures.pixels import Pixels
from dltrain.data.source import CHUNK, Normalize, OnDemand
from dltrain.data.values import is_picture
from dltrain.errors import SettingError

TINY = float(np.finfo(np.float32).tiny)  # a deviation below this has no finite inverse in float32
LARGE = 1 << 29  # bytes of a training part that is not in memory, for which SAMPLE of its examples stand
SAMPLE = 4096


def scale_of(
    inputs: NDArray[Any] | OnDemand, normalize: Normalize, pixels: Pixels
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """mean and std of each channel for (x - mean) / std. Raises SettingError."""
    channels = inputs.shape[-1]
    if normalize == "none":
        return (0.0,) * channels, (1.0,) * channels
    if normalize == "channel":
        return channel_statistics(inputs)
    if not is_picture(inputs.shape[1:]):
        raise SettingError("data.normalize", f"{normalize} is for pictures, not for examples of {inputs.shape[1:]}")
    if not pixels.known:
        raise SettingError("data.normalize", f"{normalize} needs black and white; say them with data.pixel_range")
    half = (pixels.white - pixels.black) / 2
    low, span = (pixels.black + half, half) if normalize == "signed" else (pixels.black, 2 * half)
    return (low,) * channels, (span,) * channels


def means(inputs: NDArray[Any]) -> NDArray[Any]:
    """Of every column of a table (N, C), over what is there; 0 where nothing is."""
    there = ~np.isnan(inputs)
    sums = np.where(there, inputs, 0).sum(axis=0, dtype=np.float64)
    found: NDArray[Any] = sums / np.maximum(there.sum(axis=0), 1)
    return found


def channel_statistics(inputs: NDArray[Any] | OnDemand) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation (1 where a channel is constant) of every channel, the last axis.

    Sums of distances from the first example's first values, in float64: for bytes they are whole numbers
    and exact, and a constant channel gives exactly 0. Of a LARGE set that is not in memory SAMPLE examples at equal
    distances are looked at.
    """
    channels, width = inputs.shape[-1], prod(inputs.shape[1:])
    pivot, count = np.zeros(0), 0
    sums, squares = np.zeros(width), np.zeros(width)
    for part in _parts(inputs):
        if not count:
            pivot = part.reshape(-1, channels)[0].astype(np.float64)
        distance = part.reshape(len(part), width) - np.tile(pivot, width // channels)
        sums += distance.sum(axis=0)
        squares += np.einsum("ij,ij->j", distance, distance)
        count += len(part) * (width // channels)
    offset = sums.reshape(-1, channels).sum(axis=0) / count
    variance = squares.reshape(-1, channels).sum(axis=0) / count - offset**2
    std = np.sqrt(np.maximum(variance, 0))
    return tuple((pivot + offset).tolist()), tuple(np.where(std < TINY, 1.0, std).tolist())


def measured(inputs: NDArray[Any] | OnDemand) -> int:
    """Of how many examples `channel_statistics` takes means and deviations."""
    large = isinstance(inputs, OnDemand) and len(inputs) * inputs.bytes_each > LARGE
    return min(len(inputs), SAMPLE) if large else len(inputs)


def _parts(inputs: NDArray[Any] | OnDemand) -> Iterator[NDArray[Any]]:
    if isinstance(inputs, OnDemand):
        looked_at = measured(inputs)
        yield from parts(inputs, np.arange(looked_at) * len(inputs) // looked_at)
        return
    rows = max(1, CHUNK // prod(inputs.shape[1:]))
    for first in range(0, len(inputs), rows):
        yield inputs[first : first + rows]
