"""Problems made on the spot, each to show one thing: a shape somewhere in a sequence or a volume, a narrow valley."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dltrain.data.source import SOURCES, Source, Split
from dltrain.random import generator
from dltrain.registry import Count, NonNegative, Positive, Seed

Array = NDArray[Any]


class Synthetic(Source):
    """`examples` to train on and as many others to test, from a seed that is not that of the training."""

    examples: int
    seed: int

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        return {split: self._draw(split) for split in ("train", "test") if only in (None, split)}

    def _draw(self, split: str) -> Split:
        inputs, targets = self.draw(generator(self.seed, type(self).__name__.lower(), split))
        return Split(inputs.astype(np.float32), targets)

    @abstractmethod
    def draw(self, rng: Generator) -> tuple[Array, Array]:
        """All inputs and targets of a split."""


@SOURCES.register("signals")
class Signals(Synthetic):
    """Noise of the given standard deviation, and somewhere in it one of three shapes of 8 steps: (length, 1).

    Which shape it is, and not where, is the class.
    """

    classes = ("up_down", "down_up", "bump")

    def __init__(self, *, examples: Count = 300, length: Count = 64, noise: NonNegative = 0.3, seed: Seed = 0):
        self.examples, self.length, self.noise, self.seed = examples, max(length, 8), noise, seed

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.length, 1)

    def draw(self, rng: Generator) -> tuple[Array, Array]:
        t = (np.arange(8) + 0.5) / 8 * 2 * np.pi
        shapes = np.stack([np.sin(t), -np.sin(t), 1 - np.cos(t)])
        classes = rng.integers(0, 3, self.examples)
        starts = rng.integers(0, self.length - 7, self.examples)
        x = rng.normal(0, self.noise, (self.examples, self.length))
        x[np.arange(self.examples)[:, None], starts[:, None] + np.arange(8)] += shapes[classes]
        return x[..., None], classes


@SOURCES.register("volumes")
class Volumes(Synthetic):
    """Noise in a cube, and somewhere in it a ball, a rod or a plate that goes right through: (size, size, size, 1)."""

    classes = ("ball", "rod", "plate")

    def __init__(self, *, examples: Count = 300, size: Count = 10, noise: NonNegative = 0.3, seed: Seed = 0):
        self.examples, self.size, self.noise, self.seed = examples, max(size, 9), noise, seed

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.size, self.size, self.size, 1)

    def draw(self, rng: Generator) -> tuple[Array, Array]:
        classes = rng.integers(0, 3, self.examples)
        centres = rng.uniform(2.5, self.size - 3.5, (self.examples, 3))
        grid = np.stack(np.meshgrid(*[np.arange(self.size)] * 3, indexing="ij"), axis=-1)
        away = np.abs(grid - centres[:, None, None, None])  # (N, size, size, size, 3)
        axis = np.arange(3) == rng.integers(0, 3, self.examples)[:, None]  # along a rod, across a plate
        rod, plate = (np.where(thin, 1.0, self.size)[:, None, None, None] for thin in (~axis, axis))
        inside = np.stack([(away**2).sum(-1) < 2.5**2, (away < rod).all(-1), (away < plate).all(-1)], axis=1)
        x = inside[np.arange(self.examples), classes] + rng.normal(0, self.noise, (self.examples, *inside.shape[2:]))
        return x[..., None], classes


@SOURCES.register("valley")
class Valley(Synthetic):
    """A linear function of a few numbers to be learned, where one number is `condition` times as large as another.

    The squared error then is a valley, condition² times as curved across as along. `normalize: none` leaves it so.
    """

    classes = None
    outputs = 1

    def __init__(
        self,
        *,
        examples: Count = 100,
        dimensions: Count = 5,
        condition: Positive = 10.0,
        seed: Seed = 0,
    ):
        self.examples, self.dimensions, self.condition, self.seed = examples, dimensions, condition, seed

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.dimensions,)

    def draw(self, rng: Generator) -> tuple[Array, Array]:
        sizes = np.geomspace(1, 1 / self.condition, self.dimensions)
        x = rng.normal(size=(self.examples, self.dimensions))
        targets = x.sum(axis=1, keepdims=True)  # every direction matters alike, however small its numbers are
        return x * sizes, targets.astype(np.float32)
