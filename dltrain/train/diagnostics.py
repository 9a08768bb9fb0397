"""What is seen inside: one row per layer and epoch.

A shard sums what it saw of a layer's output; the sums of a step come here and are added up over the epoch.
"""

from collections.abc import Callable
from itertools import accumulate
from math import isfinite, prod, sqrt
from typing import Any

import numpy as np

from dltrain.backend import kernels, to_host
from dltrain.job.parallel import Sums
from dltrain.job.update import Pass, Update
from dltrain.nn import Layer, Network, Networks
from dltrain.spans import timed

Array = Any
# Beyond 95 % of the way from the middle of the range to its ends: (middle, half the range).
RANGES = {"sigmoid": (0.5, 0.5), "tanh": (0.0, 1.0)}
SATURATED = 0.95


@timed("diagnostics")
def observe(layer: Layer, y: Array) -> Sums:
    """Sums over a shard's output y (n, *out_shape): by column, of the squares, and of saturated values."""
    if layer.activation not in RANGES:
        columns, squares, _ = kernels(y).observe(y)
        return {f"sum/{layer.name}": columns, f"square/{layer.name}": squares}
    middle, half = RANGES[layer.activation]
    seen = kernels(y).observe(y, middle, SATURATED * half)
    return {f"{what}/{layer.name}": value for what, value in zip(("sum", "square", "saturated"), seen, strict=True)}


class Mean:
    """The mean of the numbers given so far; None while there are none."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0.0

    def add(self, value: float, weight: float = 1) -> None:
        self.total += value * weight
        self.count += weight

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None

    def to_array(self) -> Array:
        return np.array([self.total, self.count])

    def restore(self, array: Array) -> None:
        self.total, self.count = array.tolist()


class LayerProbe:
    """One layer over one epoch.

    A unit is the last axis of the output: a channel for conv. With ReLU it is dead in an epoch when its output was
    zero for every example at every position; a sum of values that are never negative is above 0 exactly when
    one of them is, so this is counted, not estimated.
    """

    def __init__(self, layer: Layer, alive: Array, totals: Array):
        """Views of what `Probes` adds up: alive (units), totals (3,)."""
        self.layer = layer
        self.trained = [f"{layer.name}.{name}" for name, p in layer.parameters.items() if p.trainable]
        self.each = prod(layer.out_shape)
        self.alive = alive
        self.totals = totals
        self.values = 0
        self.gradient_norm = Mean()
        self.update_ratio = Mean()

    def to_arrays(self) -> dict[str, Array]:
        """What was added up so far, on the host."""
        return {
            "alive": self.alive.copy(),
            "sums": np.array([*self.totals, self.values]),
            "gradient_norm": self.gradient_norm.to_array(),
            "update_ratio": self.update_ratio.to_array(),
        }

    def restore(self, arrays: dict[str, Array]) -> None:
        """The inverse of `to_arrays`. Raises KeyError or ValueError for anything else."""
        if arrays["alive"].shape != self.alive.shape or arrays["alive"].dtype != bool:
            raise ValueError(f"the units of {self.layer.name} have changed")
        self.alive[:] = arrays["alive"]
        total, squares, saturated, values = arrays["sums"].tolist()
        self.totals[:], self.values = (total, squares, saturated), int(values)
        self.gradient_norm.restore(arrays["gradient_norm"])
        self.update_ratio.restore(arrays["update_ratio"])

    def weight_norm(self) -> float | None:
        """The joint L2 norm of the layer's weights."""
        weights = [p.data.reshape(-1) for p in self.layer.parameters.values() if p.kind == "weight"]
        return float(sum(float(to_host(w @ w)) for w in weights)) ** 0.5 if weights else None

    def row(self, epoch: int) -> dict[str, Any]:
        """The layer's line in layers.jsonl; null where a number has no meaning for it."""
        relu = self.layer.activation in ("relu", "relu6")
        units, dead = len(self.alive), int((~self.alive).sum())
        total, squares, saturated = self.totals.tolist()
        mean = total / self.values
        row = {
            "epoch": epoch,
            "layer": self.layer.name,
            "type": self.layer.kind,
            "activation": self.layer.activation,
            "units": units,
            "dead_units": dead if relu else None,
            "dead_share": dead / units if relu else None,
            "gradient_norm": self.gradient_norm.value,
            "weight_norm": self.weight_norm(),
            "update_ratio": self.update_ratio.value,
            "activation_mean": mean,
            "activation_std": sqrt(max(0.0, squares / self.values - mean * mean)),
            "saturated_share": saturated / self.values if self.layer.activation in RANGES else None,
        }
        # A square may overflow long before the loss does, and JSON has no infinity.
        return {key: None if isinstance(value, float) and not isfinite(value) else value for key, value in row.items()}


class Probes(dict[str, LayerProbe]):
    """A fresh probe for every layer with parameters or an activation, by name, in order.

    A step's sums are added up for all layers at once: a small network's step is short, and Python's part in it counts.
    """

    def __init__(self, model: Network | Networks):
        layers = [layer for layer in model.layers if layer.observed]
        units = [layer.out_shape[-1] for layer in layers]
        self._alive = np.zeros(sum(units), bool)  # whether a unit was ever above 0
        self._totals = np.zeros((len(layers), 3))  # of all values, of their squares, of how many were saturated
        for layer, end, totals in zip(layers, accumulate(units), self._totals, strict=True):
            self[layer.name] = LayerProbe(layer, self._alive[end - layer.out_shape[-1] : end], totals)
        self._ends = dict(zip([layer.name for layer in layers], accumulate(units), strict=True))
        self._first: dict[str, Array] = {}
        self._tallies: dict[str, list[Callable[[], None]]] = {}

    def add(self, sums: Sums, examples: int, update: Update) -> None:
        """The sums of an update, on the host."""
        passes = [each for each in update.passes.values() if each.layers]
        if not passes:
            return
        first = sums[f"sum/{passes[0].layers[0].name}{passes[0].mark}"]
        if first is not self._first.get(update.name):  # a repeated step has everything in the arrays of the last one
            self._first[update.name] = first
            self._tallies[update.name] = [self._tally(sums, each) for each in passes]
        for tally in self._tallies[update.name]:
            tally()
        for each in passes:
            for layer in each.layers:
                probe = self[layer.name]
                probe.values += examples * each.parts * probe.each

    def _tally(self, sums: Sums, each: Pass) -> Callable[[], None]:
        """Of a pass of a network, whose layers follow each other here."""
        names = [layer.name for layer in each.layers]
        marked = [f"{name}{each.mark}" for name in names]
        seen = [(sums[f"sum/{name}"], sums[f"square/{name}"], sums.get(f"saturated/{name}")) for name in marked]
        start, end = self._ends[names[0]] - len(self[names[0]].alive), self._ends[names[-1]]
        row = [*self].index(names[0])
        alive, totals = self._alive[start:end], self._totals[row : row + len(names)]
        return kernels(seen[0][0]).tallying(seen, alive, totals)
