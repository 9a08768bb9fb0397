"""Feature visualisation: an input made for a unit, beside the examples that excite it most.

The input is found by gradient ascent on the unit's activation (Erhan et al., "Visualizing Higher-Layer Features of a
Deep Network", 2009) with the usual regularisers: small shifts at every step, a blur now and then, and a pull towards
the mean (Yosinski et al., "Understanding Neural Networks Through Deep Visualization", 2015; Olah et al., "Feature
Visualization", Distill, 2017). Values stay within those of the training data, so that inputs can be compared.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dltrain.backend import Device, to_host
from dltrain.data import Preprocessing, apply
from dltrain.engine import Tensor, gradients, no_grad
from dltrain.nn import Context, Layer, Model
from dltrain.ops import mean, multiply
from dltrain.ops import sum as sum_of
from dltrain.random import generator
from dltrain.report.grid import Row, Tile, draw_rows, to_pixels
from dltrain.train.feed import Feed

Array = Any
STEPS, POLISH = 240, 80  # the last ones without regularisers, so that what they cost is won back
STEP_SIZE = 0.05  # of the range of the inputs, falling to a tenth
BLUR_EVERY = 8
PULL = 0.01  # towards the mean, in each step
TOP = 8  # examples shown
SHOWN = 6  # units, where none is named
BATCH = 256


@dataclass(frozen=True)
class Feature:
    """A unit, the input made for it and what that gives; the examples that give most, best first, and what.

    Inputs are normalised, (H, W, C); activation: before the layer's activation function, mean over positions.
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

    The activation function is left out: where it is flat, as relu is for an inactive unit, there is nothing to follow,
    and a higher value before it never means a lower one after it.
    """

    def __init__(self, model: Model, layer: Layer, sign: float):
        at = next(i for i, known in enumerate(model.layers) if known is layer)
        last = copy(layer)
        if layer.parameters and layer.activation is not None:
            last.fused, last.finish = None, lambda y: y  # type: ignore[attr-defined]
        self.model = Model([*model.layers[:at], last], model.in_shape)
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
    model: Model,
    layer: Layer,
    feed: Feed,
    preprocessing: Preprocessing,
    device: Device,
    seed: int,
    units: Sequence[int] | None = None,
    minimise: bool = False,
) -> list[Feature]:
    """feed: the examples to look among, images (H, W, C). units: None for those that tell examples apart most."""
    probe = Probe(model, layer, -1.0 if minimise else 1.0)
    low, high = _range(feed, preprocessing)
    batches = [np.arange(i, min(i + BATCH, feed.size)) for i in range(0, feed.size, BATCH)]
    answers = np.concatenate([probe.answers(feed.examples(batch)[0]) for batch in batches])
    chosen = np.argsort(-answers.std(axis=0), kind="stable")[:SHOWN] if units is None else np.array(units)

    starts = generator(seed, "visualise", layer.name).normal(0, 0.1, (len(chosen), *feed.inputs.shape[1:]))
    made = _climb(probe, np.clip(starts, low, high), chosen, low, high, seed, device)
    # A start in noise may end in a poor valley: where an example is better, climb on from there.
    best = answers[:, chosen].argmax(axis=0)
    rival = _climb(probe, to_host(feed.examples(best)[0]), chosen, low, high, seed, device, regularised=False)
    good = probe.own(device.asarray(made), chosen) > answers[best, chosen]
    made = np.where(good.reshape(-1, 1, 1, 1), made, rival)
    reached = probe.own(device.asarray(made), chosen) * probe.sign
    features = []
    for i, unit in enumerate(chosen.tolist()):
        top = np.argsort(-answers[:, unit], kind="stable")[:TOP]
        values = (answers[top, unit] * probe.sign).tolist()
        features.append(Feature(unit, made[i], float(reached[i]), top.tolist(), values))
    return features


def _climb(
    probe: Probe, x: Array, units: Array, low: Array, high: Array, seed: int, device: Device,
    regularised: bool = True,
) -> Array:  # fmt: skip
    """Follow the gradient of each unit from x (N, H, W, C), one input for one unit."""
    mask = np.zeros((len(units), probe.units))
    mask[np.arange(len(units)), units] = 1
    wanted = device.asarray(mask)
    shifts = generator(seed, "visualise", "jitter").integers(-2, 3, (STEPS, 2))
    x = x.astype(np.float64)
    best, reached = x, probe.own(device.asarray(x), units)
    for step in range(STEPS):
        rough = regularised and step < STEPS - POLISH
        shift = tuple(shifts[step]) if rough else (0, 0)
        moved = Tensor(device.asarray(np.roll(x, shift, axis=(1, 2))))
        (g,) = gradients(sum_of(multiply(probe(moved), wanted)), [moved])
        g = np.roll(to_host(g).astype(np.float64), tuple(-s for s in shift), axis=(1, 2))
        size = np.abs(g).mean(axis=(1, 2, 3), keepdims=True)
        x = x + STEP_SIZE * (1 - 0.9 * step / STEPS) * (high - low) * g / (size + 1e-12) / 3
        if rough:
            x *= 1 - PULL
            if step % BLUR_EVERY == 0:
                x = _blur(x)
        x = np.clip(x, low, high)
        if not rough:
            now = probe.own(device.asarray(x), units)
            best = np.where((now > reached).reshape(-1, 1, 1, 1), x, best)
            reached = np.maximum(now, reached)
    return best


def _blur(x: Array) -> Array:
    """Each pixel averaged with its neighbours, 1-2-1 in both directions."""
    for axis in (1, 2):
        padded = np.pad(x, [(1, 1) if a == axis else (0, 0) for a in range(4)], "edge")
        first, middle, last = (np.take(padded, np.arange(i, i + x.shape[axis]), axis) for i in range(3))
        x = (first + 2 * middle + last) / 4
    return x


def _range(feed: Feed, preprocessing: Preprocessing) -> tuple[Array, Array]:
    """The smallest and largest normalised value of each channel, (C,)."""
    channels = feed.inputs.reshape(-1, feed.inputs.shape[-1])
    ends = np.stack([to_host(channels.min(axis=0)), to_host(channels.max(axis=0))])
    low, high = apply(ends, *preprocessing.scale_and_shift(np.float64))
    return low, high


def feature_grid(
    title: str, features: Sequence[Feature], feed: Feed, preprocessing: Preprocessing, names: Sequence[str]
) -> Image.Image:
    """A row for each unit: the input made for it, framed, then the examples. names: of all units of the layer.

    Raises DataError for what is no image.
    """
    rows = []
    for feature in features:
        made = to_pixels(feature.made[None], preprocessing)[0]
        images = to_pixels(to_host(feed.examples(np.array(feature.examples))[0]), preprocessing)
        tiles = [Tile(np.ascontiguousarray(made), f"{feature.activation:.3g}", marked=True)]
        tiles += [
            Tile(np.ascontiguousarray(image), f"{value:.3g}")
            for image, value in zip(images, feature.activations, strict=True)
        ]
        rows.append(Row(names[feature.unit], tiles))
    return draw_rows(title, rows)
