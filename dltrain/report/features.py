"""Feature visualisation: an input made for a unit, beside the examples that excite it most.

The input is found by gradient ascent on the unit's activation (Erhan et al., "Visualizing Higher-Layer Features of a
Deep Network", 2009) with the usual regularisers: small shifts at every step, a blur now and then, and a pull towards
the mean (Yosinski et al., "Understanding Neural Networks Through Deep Visualization", 2015; Olah et al., "Feature
Visualization", Distill, 2017). Values stay within those of the training data, so that inputs can be compared.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dltrain import progress
from dltrain.backend import Device, to_host
from dltrain.data import Preprocessing
from dltrain.engine import Tensor, gradients, no_grad
from dltrain.job.loader import DataLoader
from dltrain.nn import Connected, Context, Layer, Network
from dltrain.ops import mean, multiply
from dltrain.ops import sum as sum_of
from dltrain.random import generator
from dltrain.report.grid import Row, Tile, draw_rows, to_pixels

Array = Any
STEPS = 160
STEP_SIZE = 0.03  # of the range of the inputs, on average over the pixels, falling to a tenth
BLUR_EVERY = 12
PULL = 0.005  # towards the mean, in each step
TOP = 8  # examples shown
SHOWN = 6  # units, where none is named
BATCH = 256


@dataclass(frozen=True)
class Feature:
    """A unit, the input made for it and what that gives; the examples that give most, best first, and what.

    Inputs are normalised, (H, W, C); activation: see Probe.
    """

    unit: int
    made: Array
    activation: float
    examples: list[int]
    activations: list[float]

    def to_json(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "activation": self.activation,
            "examples": self.examples,
            "activations": self.activations,
        }


class Probe:
    """The model up to a layer, seen from one of its units.

    Where a unit looks at one position of many, what counts is the mean of what it passes on, after the activation
    function: before it, a blank image is the best for a relu unit that most of an image speaks against. Otherwise the
    activation function is left out: where it is flat, as relu is for an inactive unit, there is nothing to follow, and
    a higher value before it never means a lower one after it.
    """

    def __init__(self, model: Network, layer: Layer, sign: float):
        part = model.until(layer)
        last = layer
        if isinstance(layer, Connected) and (sign < 0 or len(layer.out_shape) == 1):
            last = layer.without_activation()
        self.model = Network([*part.layers[:-1], last], part.in_shape, part.sources)
        self.sign = sign
        self.units = layer.out_shape[-1]

    def __call__(self, x: Tensor | Array) -> Tensor:
        """(N, units): of each unit the mean over its positions, negative where the smallest is looked for."""
        y = self.model(x, Context())
        if y.ndim > 2:
            y = mean(y, axis=tuple(range(1, y.ndim - 1)))
        signed: Tensor = multiply(y, self.sign)
        return signed

    def answers(self, x: Array) -> Array:
        """The same on the host, (N, units)."""
        with no_grad():
            found: Array = to_host(self(x).data)
        return found

    def own(self, x: Array, units: Array) -> Array:
        """What input i gives at unit units[i], (N,)."""
        return self.answers(x)[np.arange(len(units)), units]


def visualise(
    model: Network,
    layer: Layer,
    loader: DataLoader,
    device: Device,
    seed: int,
    threads: int,
    units: Sequence[int] | None = None,
    minimise: bool = False,
) -> list[Feature]:
    """loader: the examples to look among, images (H, W, C). units: None for those that tell examples apart most."""
    probe = Probe(model, layer, -1.0 if minimise else 1.0)
    seen = _look(probe, loader, threads)
    answers, low, high = np.concatenate(seen[0]), np.min(seen[1], axis=0), np.max(seen[2], axis=0)
    chosen = np.argsort(-answers.std(axis=0), kind="stable")[:SHOWN] if units is None else np.array(units)

    starts = generator(seed, "visualise", layer.name).normal(0, 0.1, (len(chosen), *model.in_shape))
    best = answers[:, chosen].argmax(axis=0)
    climb = Climb(probe, low, high, seed, device)
    made = climb(np.clip(starts, low, high), chosen, regularised=True)
    reached = probe.own(device.asarray(made), chosen)
    # Where that is not yet more than any example gives, without regularisers, and if need be from the best example.
    for again in (made, to_host(loader.examples(best)[0])):
        poor = np.flatnonzero(reached <= answers[best, chosen])
        if len(poor):
            made[poor] = climb(again[poor], chosen[poor], regularised=False)
            reached[poor] = probe.own(device.asarray(made[poor]), chosen[poor])
    reached = reached * probe.sign
    features = []
    for i, unit in enumerate(chosen.tolist()):
        top = np.argsort(-answers[:, unit], kind="stable")[:TOP]
        values = (answers[top, unit] * probe.sign).tolist()
        features.append(Feature(unit, made[i], float(reached[i]), top.tolist(), values))
    return features


@dataclass(frozen=True)
class Climb:
    """Follows the gradients of units in the space of inputs. low, high: the bounds of each channel, (C,)."""

    probe: Probe
    low: Array
    high: Array
    seed: int
    device: Device

    def __call__(self, x: Array, units: Array, regularised: bool) -> Array:
        """From x (N, H, W, C), one input for each unit, to where it gives most; regularised: to where it ends up."""
        mask = np.zeros((len(units), self.probe.units))
        mask[np.arange(len(units)), units] = 1
        wanted = self.device.asarray(mask)
        shifts = generator(self.seed, "visualise", "jitter").integers(-2, 3, (STEPS, 2)).tolist()
        best, reached = x, np.full(len(units), -np.inf)
        for step in progress.over(range(STEPS + 1), "inputs made"):
            shift = tuple(shifts[step]) if regularised and step < STEPS else (0, 0)
            moved = Tensor(self.device.asarray(np.roll(x, shift, axis=(1, 2))))
            values = multiply(self.probe(moved), wanted)
            now = to_host(values.data.sum(axis=1))
            better = now > reached
            best = np.where(better.reshape(-1, 1, 1, 1), x, best)
            reached = np.where(better, now, reached)
            (g,) = gradients(sum_of(values), [moved])
            x = self._step(x, np.roll(to_host(g), [-s for s in shift], axis=(1, 2)), step, regularised)
        return x if regularised else best

    def _step(self, x: Array, g: Array, step: int, regularised: bool) -> Array:
        g = g.astype(np.float64)
        g /= np.abs(g).mean(axis=(1, 2, 3), keepdims=True) + 1e-30
        x = x + STEP_SIZE * (1 - 0.9 * step / STEPS) * (self.high - self.low) * g
        if regularised:
            x *= 1 - PULL
            if step % BLUR_EVERY == 0:
                x = _blur(x)
        return np.clip(x, self.low, self.high)


def _blur(x: Array) -> Array:
    """Each pixel averaged with its neighbours, 1-2-1 in both directions."""
    for axis in (1, 2):
        padded = np.pad(x, [(1, 1) if a == axis else (0, 0) for a in range(4)], "edge")
        first, middle, last = (np.take(padded, np.arange(i, i + x.shape[axis]), axis) for i in range(3))
        x = (first + 2 * middle + last) / 4
    return x


def _look(probe: Probe, loader: DataLoader, threads: int) -> tuple[list[Array], list[Array], list[Array]]:
    """For each batch of all examples: the answers of all units, the smallest and largest value of each channel."""

    def one(start: int) -> tuple[Array, Array, Array]:
        x = loader.examples(np.arange(start, min(start + BATCH, loader.size)))[0]
        values = to_host(x).reshape(-1, x.shape[-1]).astype(np.float64)
        return probe.answers(x), values.min(axis=0), values.max(axis=0)

    loader.expect(np.arange(loader.size))
    with ThreadPoolExecutor(threads) as pool:
        starts = range(0, loader.size, BATCH)
        found = progress.over(pool.map(one, starts), "examples", len(starts))
        answers, low, high = zip(*found, strict=True)
    return list(answers), list(low), list(high)


def feature_grid(
    title: str, features: Sequence[Feature], loader: DataLoader, preprocessing: Preprocessing, names: Sequence[str]
) -> Image.Image:
    """A row for each unit: the input made for it, framed, then the examples. names: of all units of the layer.

    Raises DataError for what is no image.
    """
    rows = []
    for feature in features:
        made = to_pixels(feature.made[None], preprocessing)[0]
        images = to_pixels(to_host(loader.examples(np.array(feature.examples))[0]), preprocessing)
        tiles = [Tile(np.ascontiguousarray(made), f"{feature.activation:.3g}", marked=True)]
        tiles += [
            Tile(np.ascontiguousarray(image), f"{value:.3g}")
            for image, value in zip(images, feature.activations, strict=True)
        ]
        rows.append(Row(names[feature.unit], tiles))
    return draw_rows(title, rows)
