"""Points of a plane in two classes, made on the spot: problems small enough to see what a network does with them.

After TensorFlow Playground (Smilkov et al., Direct-Manipulation Visualization of Deep Networks, 2017).
"""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval, MinLen
from numpy.random import Generator
from numpy.typing import NDArray

from dltrain.data.source import SOURCES, Source, Split
from dltrain.random import generator
from dltrain.registry import Count, Seed

Array = NDArray[Any]
Feature = Literal["x", "y", "x2", "y2", "xy", "sin_x", "sin_y"]
Noise = Annotated[float, Interval(ge=0, le=1)]

FEATURES: dict[str, Callable[[Array, Array], Array]] = {
    "x": lambda x, y: x,
    "y": lambda x, y: y,
    "x2": lambda x, y: x * x,
    "y2": lambda x, y: y * y,
    "xy": lambda x, y: x * y,
    "sin_x": lambda x, y: np.sin(x),
    "sin_y": lambda x, y: np.sin(y),
}
RADIUS = 5.0


class Toy(Source):
    """Points of a plane, about 5 to each side of the origin, half of them of each class as far as noise leaves it so.

    examples: points to train on; as many others are there to test.
    noise: 0 for none, to 1.
    features: what a network is given of a point: its coordinates x and y, their squares, their product, their sines.
    seed: of the points; that of the training is another.
    """

    classes: tuple[str, ...]

    def __init__(
        self,
        *,
        examples: Count = 500,
        noise: Noise = 0.0,
        features: Annotated[tuple[Feature, ...], MinLen(1)] = ("x", "y"),
        seed: Seed = 0,
    ):
        self.examples, self.noise, self.features, self.seed = examples, noise, features, seed

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (len(self.features),)

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        return {split: self._draw(split) for split in ("train", "test") if only in (None, split)}

    def _draw(self, split: str) -> Split:
        drawn = generator(self.seed, type(self).__name__.lower(), split)
        points, labels = self.points(drawn, np.arange(self.examples) % 2)
        columns = [FEATURES[name](points[:, 0], points[:, 1]) for name in self.features]
        return Split(np.stack(columns, axis=1).astype(np.float32), labels.astype(np.int64))

    @abstractmethod
    def points(self, drawn: Generator, labels: Array) -> tuple[Array, Array]:
        """Points (n, 2) and their final classes (n,), which noise may have changed. labels: 0 and 1 by turns."""


def _around(drawn: Generator, points: Array, reach: float) -> Array:
    """The points, each moved by up to `reach` along both axes."""
    return points + drawn.uniform(-1, 1, points.shape) * reach


@SOURCES.register("circle")
class Circle(Toy):
    """A disc inside a ring. Noise: the class of a point is that of a place up to `noise` · 5 away from it."""

    classes = ("outer", "inner")

    def points(self, drawn: Generator, labels: Array) -> tuple[Array, Array]:
        low, high = np.where(labels == 1, 0, 0.7 * RADIUS), np.where(labels == 1, 0.5 * RADIUS, RADIUS)
        radius, angle = drawn.uniform(low, high), drawn.uniform(0, 2 * np.pi, len(labels))
        points = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
        seen = _around(drawn, points, self.noise * RADIUS)
        return points, (np.hypot(*seen.T) < 0.5 * RADIUS).astype(int)


@SOURCES.register("xor")
class Xor(Toy):
    """Four quadrants, those that meet in the origin alone of one class; no point is closer than 0.3 to an axis.

    Noise: the class of a point is that of a place up to `noise` · 5 away from it.
    """

    classes = ("different_signs", "same_sign")

    def points(self, drawn: Generator, labels: Array) -> tuple[Array, Array]:
        points = drawn.uniform(-RADIUS, RADIUS, (len(labels), 2))
        points[:, 1] = np.abs(points[:, 1]) * np.where((points[:, 0] > 0) == (labels == 1), 1, -1)
        points += np.where(points > 0, 0.3, -0.3)
        seen = _around(drawn, points, self.noise * RADIUS)
        return points, (seen.prod(axis=1) >= 0).astype(int)


@SOURCES.register("spiral")
class Spiral(Toy):
    """Two arms that wind around each other, 1.75 turns each. Noise: a point is moved by up to `noise` · 5."""

    classes = ("first_arm", "second_arm")

    def points(self, drawn: Generator, labels: Array) -> tuple[Array, Array]:
        along = (np.arange(len(labels)) // 2) / max(1, len(labels) // 2)
        if len(labels) > 2:  # other places for the test points
            along = (along + drawn.uniform(0, 1, len(labels)) * 2 / len(labels)) % 1
        angle = 1.75 * 2 * np.pi * along + np.pi * labels
        points = np.stack([np.sin(angle), np.cos(angle)], axis=1) * (RADIUS * along)[:, None]
        return _around(drawn, points, self.noise * RADIUS), labels


@SOURCES.register("gaussians")
class Gaussians(Toy):
    """Two round clouds around (2, 2) and (-2, -2), of variance 0.5 + 7 · `noise`."""

    classes = ("lower_left", "upper_right")

    def points(self, drawn: Generator, labels: Array) -> tuple[Array, Array]:
        centres = np.where(labels == 1, 2.0, -2.0)[:, None]
        return centres + drawn.normal(0, np.sqrt(0.5 + 7 * self.noise), (len(labels), 2)), labels
