"""A rate for each weight, from the squares of the gradients that it has seen."""

from typing import Any

from dltrain.backend import array_module
from dltrain.optim.optimizer import OPTIMIZERS, Optimizer
from dltrain.registry import Positive, Rate

Array = Any


@OPTIMIZERS.register("adagrad")
class Adagrad(Optimizer):
    """s ← s + g²; w ← w - lr · g / (√s + ε): steps get ever smaller.

    Duchi, Hazan, Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", JMLR 2011.
    """

    slots = ("squares",)

    def __init__(self, *, lr: Positive = 0.01, epsilon: Positive = 1e-8):
        super().__init__(lr)
        self.epsilon = epsilon

    def update_one(self, w: Array, g: Array, slots: list[Array], lr: float, step: int) -> None:
        (s,) = slots
        s += g * g
        w -= self.rate(slots, lr, step) * g

    def rate(self, slots: list[Array], lr: float, step: int) -> Array:
        return lr / (array_module(slots[0]).sqrt(slots[0]) + self.epsilon)


@OPTIMIZERS.register("rmsprop")
class RmsProp(Optimizer):
    """s ← decay · s + (1 - decay) g²; w ← w - lr · g / (√s + ε): adagrad that forgets.

    Tieleman and Hinton, "Neural Networks for Machine Learning", lecture 6.5, 2012.
    """

    slots = ("square",)

    def __init__(self, *, lr: Positive = 1e-3, decay: Rate = 0.9, epsilon: Positive = 1e-8):
        super().__init__(lr)
        self.decay, self.epsilon = decay, epsilon

    def update_one(self, w: Array, g: Array, slots: list[Array], lr: float, step: int) -> None:
        (s,) = slots
        s *= self.decay
        s += (1 - self.decay) * (g * g)
        w -= self.rate(slots, lr, step) * g

    def rate(self, slots: list[Array], lr: float, step: int) -> Array:
        return lr / (array_module(slots[0]).sqrt(slots[0]) + self.epsilon)
