"""What a step measured: computed where the arrays are, read and judged on the host, added up over the epoch.

On the CPU that is one place. On a GPU to look at a number is to wait for all the work before it, so there the figures
of several steps are read together.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite, sqrt
from typing import Any

import numpy as np

from dltrain.backend import Device, all_to_host
from dltrain.errors import DivergedError
from dltrain.job.loader import StepKey
from dltrain.job.parallel import Sums
from dltrain.job.update import Update
from dltrain.nn import Network, Networks
from dltrain.train.diagnostics import Mean, Probes

Array = Any
MEANS = ("loss", "data_loss", "penalty", "accuracy")


@dataclass(frozen=True)
class UpdateReport:
    """called: how its figures are called in the logs. data_loss is a mean over the batch, by the examples' weights,
    whose sum is `weight`: their number where all count the same, of sentences that of their tokens. accuracy, a mean
    over `answers`, is None without classes; the norm is before clipping. right: the share of right verdicts of a
    network that is taught to tell apart."""

    called: Callable[[str], str]
    examples: int
    weight: float
    answers: float
    data_loss: float
    penalty: float
    accuracy: float | None
    gradient_norm: float
    lr: float
    right: float | None = None

    @property
    def losses(self) -> dict[str, float]:
        """What is added up over an epoch."""
        values = {"loss": self.data_loss + self.penalty, "data_loss": self.data_loss, "penalty": self.penalty}
        values |= {} if self.accuracy is None else {"accuracy": self.accuracy}
        values |= {} if self.right is None else {"right": self.right}
        return {self.called(key): value for key, value in values.items()}

    @property
    def settings(self) -> dict[str, float]:
        """What a step's row says besides."""
        return {self.called("lr"): self.lr, self.called("gradient_norm"): self.gradient_norm}


@dataclass(frozen=True)
class StepReport:
    """updates: those that were taken, in order."""

    examples: int
    updates: list[UpdateReport]

    @property
    def gradient_norms(self) -> float | dict[str, float]:
        """That of the only update, or each by its name in the logs."""
        norms = {update.called("gradient_norm"): update.gradient_norm for update in self.updates}
        return norms.get("gradient_norm", norms)


@dataclass(frozen=True)
class UpdateMetrics:
    """What an update gave, in numbers of 0 dimensions but for the sums by column.

    batch: its examples, as indices into the training split.
    stats: "loss", "correct" in classification, what diagnostics.observe sums, over the batch, and its "weight" where
    classes count differently; of sentences how many "answers" were asked for. penalty: its terms.
    squares: Σ g² of the gradient of each parameter. update_norms: (Σ w², Σ Δw²) of each weight, where measured.
    """

    update: Update
    key: StepKey
    batch: Array
    lr: float
    stats: Sums
    penalty: list[Array]
    squares: Sums
    update_norms: dict[str, tuple[Array, Array]]

    def arrays(self) -> list[Array]:
        moved = [array for both in self.update_norms.values() for array in both]
        return [*self.stats.values(), *self.penalty, *self.squares.values(), *moved]

    def with_arrays(self, values: Iterator[Array]) -> "UpdateMetrics":
        """The same with the next ones of these in place of `arrays()`."""
        return replace(
            self,
            stats={name: next(values) for name in self.stats},
            penalty=[next(values) for _ in self.penalty],
            squares={name: next(values) for name in self.squares},
            update_norms={name: (next(values), next(values)) for name in self.update_norms},
        )

    # --- on the host ------------------------------------------------------------------------------------------

    @cached_property
    def norm(self) -> float:
        """The joint L2 norm of all gradients."""
        squares = [float(square) for square in self.squares.values()]
        return sqrt(sum(squares)) if all(map(isfinite, squares)) else float("nan")

    def check(self) -> None:
        """Raise DivergedError where the loss, the penalty or a gradient is not finite."""
        if not isfinite(self._data_loss + self._penalty) or not isfinite(self.norm):
            raise self._where_it_broke()

    def report(self, probes: Probes) -> UpdateReport:
        """What to log, after what was seen of the layers has been added to their probes."""
        squares = {name: float(square) for name, square in self.squares.items()}
        probes.add(self.stats, len(self.batch), self.update)
        for layer in self.update.layers:
            if (probe := probes.get(layer.name)) and probe.trained:
                probe.gradient_norm.add(sqrt(sum(squares.get(name, 0) for name in probe.trained)))
        for name, (old, change) in self.update_norms.items():
            size = sqrt(old)
            if size > 0:
                probes[name.rpartition(".")[0]].update_ratio.add(sqrt(change) / size)
        correct = self.stats.get("correct")
        answers = float(self.stats.get("answers", len(self.batch) * self.update.answers))
        return UpdateReport(
            called=self.update.called,
            examples=len(self.batch),
            weight=float(self.stats.get("weight", len(self.batch))),
            answers=answers,
            data_loss=self._data_loss,
            penalty=self._penalty,
            accuracy=None if correct is None else int(correct) / answers,
            gradient_norm=self.norm,
            lr=self.lr,
            right=float(self.stats["right"]) / len(self.batch) if "right" in self.stats else None,
        )

    @property
    def _data_loss(self) -> float:
        return float(self.stats["loss"])

    @property
    def _penalty(self) -> float:
        return sum(map(float, self.penalty), 0.0)

    def _where_it_broke(self) -> DivergedError:
        """Forward, the first layer whose output is not finite; else backward, the last whose gradient is not."""
        of = f" of {self.update.name}" if self.update.name else ""
        at = f"step {self.key.step} (epoch {self.key.epoch})"
        help_ = "try a lower learning rate, train.clip_norm or a smaller init"

        def error(what: str, layer: str | None = None) -> DivergedError:
            return DivergedError(f"diverged at {at}: {what}; {help_}", layer, self.batch)

        for each in self.update.passes.values():
            for layer in each.layers:
                if not isfinite(float(self.stats[f"sum/{layer.name}{each.mark}"].sum())):
                    return error(f"the output of layer {layer.name} is not finite", layer.name)
        if not isfinite(self._data_loss):
            return error(f"the loss{of} is {self._data_loss} although every layer's output is finite")
        for name in reversed(self.squares):
            if not isfinite(self.squares[name]):
                layers = self.update.layers
                owner = next(layer for layer in layers if name.removeprefix(f"{layer.name}.") in layer.parameters)
                return error(f"the gradient of {name} is not finite", owner.name)
        return error(f"the penalty{of} is {self._penalty}")


@dataclass(frozen=True)
class StepMetrics:
    """What the updates of a step gave, in order."""

    key: StepKey
    batch: Array
    updates: list[UpdateMetrics]

    def check(self) -> None:
        """Raise DivergedError where one of them did not stay finite."""
        for update in self.updates:
            update.check()

    def report(self, probes: Probes) -> StepReport:
        """What to log, after what was seen of the layers has been added to their probes."""
        return StepReport(len(self.batch), [update.report(probes) for update in self.updates])


def fetch(updates: list[UpdateMetrics], device: Device) -> list[UpdateMetrics]:
    """The figures of all these on the host, from a GPU in one transfer for each dtype."""
    if device.is_cpu:
        return updates
    values = iter(all_to_host([array for update in updates for array in update.arrays()]))
    return [update.with_arrays(values) for update in updates]


def fetch_steps(steps: list[StepMetrics], device: Device) -> list[StepMetrics]:
    """The same of whole steps."""
    fetched = iter(fetch([update for step in steps for update in step.updates], device))
    return [replace(step, updates=[next(fetched) for _ in step.updates]) for step in steps]


class FiniteGuard:
    """Lets a GPU go on without the host: what must not happen after a number that is not finite happens to nothing.

    `all_finite` is true as long as all was, and what a step changed stays. From the first step that was not so on
    every change is undone, on the device, until the host reads the figures and sees that step.
    """

    def __init__(self, device: Device):
        self._xp = device.xp
        self.all_finite = device.xp.ones((), bool)

    def judge(self, figures: UpdateMetrics) -> Array:
        """Look at the numbers that `UpdateMetrics.check` looks at. Returns the norm of the gradients, a number."""
        xp = self._xp
        norm = xp.sqrt(xp.stack([xp.zeros((), "float64"), *figures.squares.values()]).sum())  # in float64
        self.all_finite &= xp.isfinite(xp.stack([norm, figures.stats["loss"], *figures.penalty])).all()
        return norm

    def keep(self, arrays: list[Array]) -> list[tuple[Array, Array]]:
        """Copies, for `undo`."""
        return [(array, array.copy()) for array in arrays]

    def undo(self, kept: list[tuple[Array, Array]]) -> None:
        """Put the old values back unless all is intact."""
        for array, before in kept:
            array[...] = self._xp.where(self.all_finite, array, before)


class EpochMetrics:
    """What adds up over an epoch: the means of its losses, and what is seen of each layer.

    A checkpoint in the middle of an epoch holds all of this as arrays, so that its rows come out the same.
    """

    def __init__(self, model: Network | Networks, updates: Iterable[Update] = ()):
        self.probes = Probes(model)
        self.means = {
            update.called(key): Mean()
            for update in updates
            for key in (*MEANS, *(["right"] if update.verdicts else []))
        }
        self.seconds = 0.0

    def add(self, report: StepReport, seconds: float) -> dict[str, float]:
        """Count a step; what its row says of losses and scores."""
        values: dict[str, float] = {}
        for update in report.updates:
            counts = {update.called("accuracy"): update.answers, update.called("right"): update.examples}
            for key, value in update.losses.items():
                self.means[key].add(value, counts.get(key, update.weight))
                values[key] = value
        self.seconds += seconds
        return values

    def averages(self) -> dict[str, float]:
        """The means over the examples so far, those of losses by the examples' weights."""
        return {key: mean.value for key, mean in self.means.items() if mean.value is not None}

    def to_arrays(self) -> dict[str, Array]:
        arrays = {f"mean/{key}": mean.to_array() for key, mean in self.means.items()}
        for name, probe in self.probes.items():
            arrays |= {f"layer/{name}/{key}": array for key, array in probe.to_arrays().items()}
        return arrays | {"seconds": np.array([self.seconds])}

    def restore(self, arrays: dict[str, Array]) -> None:
        """The inverse of `to_arrays`. Raises KeyError or ValueError where these are of another model."""
        for key, mean in self.means.items():
            mean.restore(arrays[f"mean/{key}"])
        for name, probe in self.probes.items():
            start = f"layer/{name}/"
            probe.restore({key.removeprefix(start): a for key, a in arrays.items() if key.startswith(start)})
        (self.seconds,) = arrays["seconds"].tolist()
