"""Gradient descent, and with a memory of where it was going."""

from typing import Any

from dltrain.backend import kernels
from dltrain.optim.optimizer import OPTIMIZERS, Optimizer
from dltrain.registry import Positive, Rate

Array = Any


@OPTIMIZERS.register("sgd")
class Sgd(Optimizer):
    """w ← w - lr · g"""

    def __init__(self, *, lr: Positive = 0.01):
        super().__init__(lr)

    def update_one(self, w: Array, g: Array, slots: list[Array], lr: float, step: int) -> None:
        kernels(w).sgd(w, g, lr)


@OPTIMIZERS.register("momentum")
class Momentum(Optimizer):
    """v ← momentum · v + g; w ← w - lr · v (Polyak, 1964)"""

    slots = ("velocity",)

    def __init__(self, *, lr: Positive = 0.01, momentum: Rate = 0.9):
        super().__init__(lr)
        self.momentum = momentum

    def update_one(self, w: Array, g: Array, slots: list[Array], lr: float, step: int) -> None:
        (v,) = slots
        kernels(w).momentum(w, g, v, self.momentum, lr)

    def rate(self, slots: list[Array], lr: float, step: int) -> Array:
        return lr / (1 - self.momentum)


@OPTIMIZERS.register("nesterov")
class Nesterov(Momentum):
    """v ← momentum · v + g; w ← w - lr · (g + momentum · v): the gradient as if the step were already taken.

    Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013, written for the
    looked-ahead weights, as all frameworks do.
    """

    def update_one(self, w: Array, g: Array, slots: list[Array], lr: float, step: int) -> None:
        (v,) = slots
        kernels(w).nesterov(w, g, v, self.momentum, lr)
