"""Schedules: the factor by which the learning rate is multiplied at a point of the training.

Called with (epoch, epochs, losses, step): how many epochs are done, with the fraction of the running one, how many
there are, the watched loss of each one that is done, and how long a step is, in epochs. A schedule remembers nothing
itself.
"""

from collections.abc import Sequence
from math import cos, inf, pi
from typing import Annotated

from annotated_types import Interval

from dltrain.registry import Count, NonNegative, Positive, Rate, Registry

SCHEDULES = Registry("schedule")


class Schedule:
    def __call__(self, epoch: float, epochs: float, losses: Sequence[float] = (), step: float = 0.0) -> float:
        raise NotImplementedError


@SCHEDULES.register("constant")
class ConstantRate(Schedule):
    """1 all the time."""

    def __init__(self) -> None:
        pass

    def __call__(self, epoch: float, epochs: float, losses: Sequence[float] = (), step: float = 0.0) -> float:
        return 1.0


@SCHEDULES.register("step")
class StepRate(Schedule):
    """Multiplied by `factor` after every `every` epochs."""

    def __init__(self, *, every: Count, factor: Positive = 0.1):
        self.every, self.factor = every, factor

    def __call__(self, epoch: float, epochs: float, losses: Sequence[float] = (), step: float = 0.0) -> float:
        return _power(self.factor, epoch // self.every)


@SCHEDULES.register("exponential")
class ExponentialRate(Schedule):
    """Multiplied by `factor` in the course of every epoch, a little at every step."""

    def __init__(self, *, factor: Positive = 0.95):
        self.factor = factor

    def __call__(self, epoch: float, epochs: float, losses: Sequence[float] = (), step: float = 0.0) -> float:
        return _power(self.factor, epoch)


@SCHEDULES.register("linear")
class LinearRate(Schedule):
    """Up during `warmup` epochs, then down to `lowest` at the end of the training, both in a line.

    Of W steps of warm-up the first has the rate lr / (W + 1), not 0, at which it would be in vain.
    """

    def __init__(self, *, warmup: NonNegative = 0.0, lowest: Rate = 0.0):
        self.warmup, self.lowest = warmup, lowest

    def __call__(self, epoch: float, epochs: float, losses: Sequence[float] = (), step: float = 0.0) -> float:
        if epoch < self.warmup:
            return _warm(epoch, self.warmup, step)
        return 1 - (1 - self.lowest) * _done(epoch - self.warmup, epochs - self.warmup)


@SCHEDULES.register("reduce_on_plateau")
class ReduceOnPlateau(Schedule):
    """Multiplied by `factor` whenever the watched loss has not fallen by `min_delta` for `patience` epochs.

    The watched loss is that of validation, or of training without one, as for early stopping. After a reduction as
    many epochs are waited for before the next one. Never below `lowest`.
    """

    def __init__(
        self,
        *,
        factor: Annotated[float, Interval(gt=0, lt=1)] = 0.1,
        patience: Count = 5,
        min_delta: NonNegative = 0.0,
        lowest: Rate = 0.0,
    ):
        self.factor, self.patience, self.min_delta, self.lowest = factor, patience, min_delta, lowest

    def __call__(self, epoch: float, epochs: float, losses: Sequence[float] = (), step: float = 0.0) -> float:
        rate, waited, beaten = 1.0, 0, inf
        for loss in losses:
            if loss < beaten - self.min_delta:
                beaten, waited = loss, 0
            else:
                waited += 1
            if waited == self.patience:
                rate, waited = rate * self.factor, 0
        return max(rate, self.lowest)


@SCHEDULES.register("cosine")
class CosineRate(Schedule):
    """Up in a line during `warmup` epochs, then down to `lowest` on half a cosine (Loshchilov, Hutter, 2017).

    Of W steps of warm-up the first has the rate lr / (W + 1), not 0, at which it would be in vain.
    """

    def __init__(self, *, warmup: NonNegative = 0.0, lowest: Rate = 0.0):
        self.warmup, self.lowest = warmup, lowest

    def __call__(self, epoch: float, epochs: float, losses: Sequence[float] = (), step: float = 0.0) -> float:
        if epoch < self.warmup:
            return _warm(epoch, self.warmup, step)
        done = _done(epoch - self.warmup, epochs - self.warmup)
        return self.lowest + (1 - self.lowest) * (1 + cos(pi * done)) / 2


def _warm(epoch: float, warmup: float, step: float) -> float:
    """Of step k of W, from 0: (k + 1) / (W + 1), as in nanoGPT; so step W is the first with the whole rate."""
    return (epoch + step) / (warmup + step)


def _power(factor: float, times: float) -> float:
    try:
        return float(factor**times)
    except OverflowError:
        return inf


def _done(epochs: float, of: float) -> float:
    """The share that is done, from 0 to 1."""
    return min(1.0, epochs / max(of, 1e-12))
