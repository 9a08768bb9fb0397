"""Pictures of the values of a training: what its networks make of fixed noise and of examples."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dltrain.backend import Device, to_host
from dltrain.data import Preprocessing
from dltrain.job.job import Job
from dltrain.job.loader import DataLoader
from dltrain.job.values import compute_values
from dltrain.nn import Applied, Given, Picture, Value, in_order

Array = Any


@dataclass(frozen=True, eq=False)
class Pictures:
    """values: all by name. learned: of the data that they are made of."""

    values: dict[str, Value]
    learned: Preprocessing
    device: Device
    batch_size: int

    def are(self, name: str) -> bool:
        """Whether a value is a picture."""
        return is_picture(self.values[name].shape)

    def need_examples(self, names: Iterable[str]) -> bool:
        """Whether any of these values is of the data, or made of such ones."""
        return any(isinstance(below, Given) for below in in_order(self.values[name] for name in names))

    def source_of(self, name: str) -> str | None:
        """The picture of the data that a value is made of, or that it was at first, and that could stand in its place,
        if there is one."""
        shape = self.values[name].shape
        for below in in_order([self.values[name]]):
            fits = below.shape[:2] == shape[:2] and below.shape[2:] in ((1,), shape[2:])
            if isinstance(below, Given) and below.name != name and is_picture(below.shape) and fits:
                return below.name
            if isinstance(below, Applied):
                starts = [layer.start for layer in below.network.layers if isinstance(layer, Picture)]
                if starts and below.shape == shape:
                    return starts[0]
        return None

    def make(
        self, names: Iterable[str], loader: DataLoader | None, count: int, start: int = 0, seed: int = 0
    ) -> dict[str, Array]:
        """Those of the examples from `start` on, (count, H, W, C) float32 by name: 0 is black, 1 is white.

        loader: of the examples; None where no value needs any. seed: of what is drawn by chance, the same each time.
        """
        names = list(dict.fromkeys(names))
        wanted = [self.values[name] for name in names]
        found: dict[str, list[Array]] = {name: [] for name in names}
        for first in range(0, count, self.batch_size):
            n = min(self.batch_size, count - first)
            given = {} if loader is None else loader.values(loader.rows(start + first, start + first + n))
            made = compute_values(wanted, given, self.device, first, n, seed)
            for name in names:
                found[name].append(self._shades(name, to_host(made[name])))
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def of_inputs(self, name: str, x: Array) -> Array:
        """What is made of inputs that are ready, (N, H, W, C), in shades as those of `make`."""
        inputs, *_ = self.learned.named
        given = {inputs: self.device.asarray(x)}
        made = compute_values([self.values[name]], given, self.device, 0, len(x))
        return self._shades(name, to_host(made[name]))

    def _shades(self, name: str, x: Array) -> Array:
        """What networks get or give -> 0 to 1."""
        black, white = self.learned.black_and_white(self._units(name))
        return np.clip((x - black) / (white - black), 0, 1).astype(np.float32)

    def _units(self, name: str) -> str:
        """The picture of the data whose units a value has: itself, or the first one that has its shape, or as many
        channels, or any."""
        pictures = [v for v in self.values.values() if isinstance(v, Given) and is_picture(v.shape)]
        shape = self.values[name].shape
        own = [v for v in pictures if v.name == name]
        alike = [v for v in pictures if v.shape == shape] + [v for v in pictures if v.shape[2] == shape[2]]
        return [*own, *alike, *pictures][0].name


def pictures_of(job: Job) -> Pictures:
    return Pictures(job.values, job.preprocessing, job.device, job.train.batch_size)


def is_picture(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[2] in (1, 3)
