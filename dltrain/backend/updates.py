"""One step of an optimizer, in place: the specification; the formulas are in optim/."""

from types import ModuleType
from typing import Any

Array = Any


class Updates:
    """w: weights, g: their gradient; the others are an optimizer's slots."""

    def __init__(self, xp: ModuleType):
        self.xp = xp

    def sgd(self, w: Array, g: Array, lr: float) -> None:
        w -= lr * g

    def momentum(self, w: Array, g: Array, v: Array, momentum: float, lr: float) -> None:
        v *= momentum
        v += g
        w -= lr * v

    def nesterov(self, w: Array, g: Array, v: Array, momentum: float, lr: float) -> None:
        v *= momentum
        v += g
        w -= lr * (g + momentum * v)

    def adam(
        self, w: Array, g: Array, m: Array, v: Array, beta1: float, beta2: float, lr: float, step: int, epsilon: float
    ) -> None:
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * (g * g)
        w -= lr * (m / (1 - beta1**step)) / (self.xp.sqrt(v / (1 - beta2**step)) + epsilon)
