"""Schedules: the factor by which the learning rate is multiplied at a point of the training.

Called with (epoch, epochs): how many epochs are done, with the fraction of the running one, and how many there are.
"""

from math import cos, pi

from dltrain.registry import Count, NonNegative, Positive, Rate, Registry

SCHEDULES = Registry("schedule")


class Schedule:
    def __call__(self, epoch: float, epochs: float) -> float:
        raise NotImplementedError


@SCHEDULES.register("constant")
class ConstantRate(Schedule):
    """1 all the time."""

    def __init__(self) -> None:
        pass

    def __call__(self, epoch: float, epochs: float) -> float:
        return 1.0


@SCHEDULES.register("step")
class StepRate(Schedule):
    """Multiplied by `factor` after every `every` epochs."""

    def __init__(self, *, every: Count, factor: Positive = 0.1):
        self.every, self.factor = every, factor

    def __call__(self, epoch: float, epochs: float) -> float:
        return float(self.factor ** int(epoch // self.every))


@SCHEDULES.register("cosine")
class CosineRate(Schedule):
    """Up from 0 in a line during `warmup` epochs, then down to `lowest` on half a cosine (Loshchilov, Hutter, 2017)."""

    def __init__(self, *, warmup: NonNegative = 0.0, lowest: Rate = 0.0):
        self.warmup, self.lowest = warmup, lowest

    def __call__(self, epoch: float, epochs: float) -> float:
        if epoch < self.warmup:
            return epoch / self.warmup
        done = min(1.0, (epoch - self.warmup) / max(epochs - self.warmup, 1e-12))
        return self.lowest + (1 - self.lowest) * (1 + cos(pi * done)) / 2
