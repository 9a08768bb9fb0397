"""Adam (Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1)."""

from typing import Any

from dltrain.backend import array_module, kernels
from dltrain.optim.optimizer import OPTIMIZERS, Optimizer
from dltrain.registry import NonNegative, Positive, Rate

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
        kernels(w).adam(w, g, m, v, self.beta1, self.beta2, lr, step, self.epsilon)

    def rate(self, slots: list[Array], lr: float, step: int) -> Array:
        v = slots[1]
        return lr / (array_module(v).sqrt(v / (1 - self.beta2**step)) + self.epsilon)


@OPTIMIZERS.register("adamw")
class AdamW(Adam):
    """adam, and beside it w ← w - lr · weight_decay · w, of every parameter: biases, scales and slopes too.

    Unlike an L2 penalty, this is not divided by √v̂ (Loshchilov and Hutter, "Decoupled Weight Decay Regularization",
    2019).
    """

    def __init__(
        self,
        *,
        lr: Positive = 1e-3,
        beta1: Rate = 0.9,
        beta2: Rate = 0.999,
        epsilon: Positive = 1e-8,
        weight_decay: NonNegative = 0.01,
    ):
        super().__init__(lr=lr, beta1=beta1, beta2=beta2, epsilon=epsilon)
        self.weight_decay = weight_decay

    def update_one(self, w: Array, g: Array, slots: list[Array], lr: float, step: int) -> None:
        w *= 1 - lr * self.weight_decay
        super().update_one(w, g, slots, lr, step)
