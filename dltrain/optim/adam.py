"""Adam (Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1)."""

from math import sqrt
from typing import Any

from dltrain.backend import array_module
from dltrain.optim.optimizer import OPTIMIZERS, Optimizer
from dltrain.registry import Positive, Rate

Array = Any


@OPTIMIZERS.register("adam")
class Adam(Optimizer):
    """m ← β1 m + (1 - β1) g; v ← β2 v + (1 - β2) g²; w ← w - lr · m̂ / (√v̂ + ε)

    with m̂ = m / (1 - β1^t) and v̂ = v / (1 - β2^t), which undo that m and v start at 0.
    """

    slots = ("mean", "square")

    def __init__(self, *, lr: Positive = 1e-3, beta1: Rate = 0.9, beta2: Rate = 0.999, epsilon: Positive = 1e-8):
        super().__init__(lr)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def update_one(self, w: Array, g: Array, slots: list[Array], lr: float, step: int) -> None:
        m, v = slots
        m *= self.beta1
        m += (1 - self.beta1) * g
        v *= self.beta2
        square = g * g
        square *= 1 - self.beta2
        v += square
        root = array_module(v).sqrt(v)
        root *= 1 / sqrt(1 - self.beta2**step)
        root += self.epsilon
        change = m / root
        change *= lr / (1 - self.beta1**step)
        w -= change
