"""Losses as a config names them."""

from typing import Any

from dltrain.engine import Tensor
from dltrain.ops import cross_entropy, mse
from dltrain.registry import Rate, Registry

Array = Any
LOSSES = Registry("loss")


class Loss:
    """Called with (output, targets, count): the sum over the examples at hand, divided by `count`, those of the batch.

    classification: the output is a logit for each class and a target the number of the right one.
    """

    classification: bool

    def __call__(self, output: Tensor, targets: Array, count: int) -> Tensor:
        raise NotImplementedError


@LOSSES.register("cross_entropy")
class CrossEntropy(Loss):
    """-log of the probability that softmax of the output gives to the right class."""

    classification = True

    def __init__(self, *, label_smoothing: Rate = 0.0):
        self.label_smoothing = label_smoothing

    def __call__(self, output: Tensor, targets: Array, count: int) -> Tensor:
        y: Tensor = cross_entropy(output, targets=targets, count=count, label_smoothing=self.label_smoothing)
        return y


@LOSSES.register("mse")
class MeanSquaredError(Loss):
    """The mean of (output - target)² over examples and numbers."""

    classification = False

    def __init__(self) -> None:
        pass

    def __call__(self, output: Tensor, targets: Array, count: int) -> Tensor:
        y: Tensor = mse(output, targets=targets, count=count)
        return y
