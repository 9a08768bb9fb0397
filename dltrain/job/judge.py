"""A judge: the network of another run, asked about pictures that nobody showed it in its training."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dltrain.backend import Device, to_host
from dltrain.data import Preprocessing
from dltrain.engine import no_grad
from dltrain.errors import did_you_mean
from dltrain.metrics.figures import Opinion
from dltrain.nn import Context, Layer, Loss, Network
from dltrain.ops import sigmoid, softmax
from dltrain.run.checkpoint import weights_sha256

Array = Any


@dataclass(frozen=True, eq=False)
class Judge:
    """`judge(pixels)`; pixels: (N, H, W, C), 0 for black and 1 for white.

    name: by which a config knows its run. The rest is the run's.
    """

    name: str
    run: Path
    network: Network
    loss: Loss
    learned: Preprocessing
    device: Device
    batch_size: int

    def problem_with_layers(self, shape: tuple[int, ...], at: tuple[str, ...]) -> str | None:
        """Why these of its layers cannot look at pictures of this shape, (H, W, C), which may be of any size where all
        layers below slide over it; None where they can."""
        known = {layer.name: layer for layer in self.network.layers if len(layer.out_shape) == 3}
        if len(self.network.in_shape) != 3 or shape[2] not in (1, self.network.in_shape[2]):
            return f"the network of {self.run} takes {self.network.in_shape}, no pictures of {shape[2]} channels"
        for name in at:
            if name not in known:
                there = f"{did_you_mean(name, known) or ';'} allowed: {', '.join(known)}"
                return f"the network of {self.run} has no such layer of positions {name!r}{there}"
            below = self.network.until(known[name]).layers
            if shape[:2] != self.network.in_shape[:2] and any(len(x.out_shape) != 3 or x.mixes for x in below):
                return f"below {name!r} the network of {self.run} takes {self.network.in_shape} only, not {shape}"
        return None

    def problem_with(self, shape: tuple[int, ...]) -> str | None:
        """Why it cannot judge pictures of this shape, (H, W, C); None where it can."""
        height, width, channels = (*self.network.in_shape, 0, 0, 0)[:3]
        if shape[:2] != (height, width) or shape[2] not in (1, channels):
            return f"the network of {self.run} takes {self.network.in_shape}, no pictures of shape {shape}"
        if not (self.loss.classification or self.loss.multilabel):
            return f"the network of {self.run} tells no classes, so it is no judge of pictures"
        return None

    def __call__(self, pixels: Array) -> Opinion:
        x = self._inputs(pixels)
        say = softmax if self.loss.classification else sigmoid
        features, probabilities = [], []
        with no_grad():
            for start in range(0, len(x), self.batch_size):
                inside, output = self._asked(self.device.asarray(x[start : start + self.batch_size]), start)
                features.append(to_host(inside).reshape(len(inside), -1))
                probabilities.append(to_host(say(self.loss.logits(output)).data))
        seen, said = (np.concatenate(part).astype(np.float64) for part in (features, probabilities))
        return Opinion(seen, said, exclusive=self.loss.classification)

    def seen(self, pixels: Array, at: tuple[str, ...]) -> list[Array]:
        """What some of its layers make of them, (N, H, W, C) each, in the order of `at`."""
        found: dict[str, Array] = {}
        with no_grad():
            for layer, y in self.network.outputs(self.device.asarray(self._inputs(pixels)), Context()):
                if layer.name in at:
                    found[layer.name] = to_host(y.data)
                if len(found) == len({*at}):
                    break
        return [found[name] for name in at]

    def _inputs(self, pixels: Array) -> Array:
        if pixels.shape[3] < self.network.in_shape[2]:  # grey, for who knows colours
            pixels = np.broadcast_to(pixels, (*pixels.shape[:3], self.network.in_shape[2]))
        return self.learned.ready(self.learned.pixels.to_inputs(pixels * 255), self.device.dtype)

    def _asked(self, x: Array, first: int) -> tuple[Array, Array]:
        """What its last layer gets, and what comes out."""
        wanted = self.network.sources[self._last.name][0]
        found = x
        for layer, y in self.network.outputs(x, Context(first=first)):
            found = y.data if layer.name == wanted else found
        return found, y.data

    @cached_property
    def _last(self) -> Layer:
        """With weights."""
        return [layer for layer in self.network.layers if layer.parameters][-1]

    def number_of(self, name: str) -> int | None:
        """Of a class or label; None where it has no such one."""
        classes = self.learned.classes or ()
        return classes.index(name) if name in classes else None

    @cached_property
    def weights_sha256(self) -> str:
        return weights_sha256({name: to_host(array) for name, array in self.network.weights().items()})
