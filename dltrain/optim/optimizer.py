"""What an optimizer is: a rule for one array, applied to all of them."""

from collections.abc import Mapping
from typing import Any

from dltrain.backend import Device, array_module
from dltrain.registry import Positive, Registry

Array = Any


def _common(*, lr_factors: dict[str, Positive] | None = None) -> None:
    """The key that every optimizer takes. lr_factors: NAME: FACTOR, by which the learning rate of the layers of that
    name is multiplied, with `*` for any text; of several that fit the first counts."""


OPTIMIZERS = Registry("optimizer", common=_common)


class Optimizer:
    """A subclass names its state arrays in `slots`, each of the parameter's shape and starting at 0, and writes
    `update_one`. The only other state is the number of the step, so a checkpoint needs nothing else.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, lr: float):
        self.lr = lr

    def new_state(self, parameters: dict[str, Array]) -> dict[str, Array]:
        """Zeros for each parameter and slot, named `conv1.weight/velocity`."""
        return {
            f"{name}/{slot}": array_module(p).zeros_like(p) for name, p in parameters.items() for slot in self.slots
        }

    def update(
        self, parameters: dict[str, Array], gradients: dict[str, Array], state: dict[str, Array], lr: float, step: int
    ) -> None:
        """Change these parameters and their state in place. step counts from 1."""
        for name, parameter in parameters.items():
            arrays = parameter, gradients[name], *(state[f"{name}/{slot}"] for slot in self.slots)
            w, g, *slots = (a.reshape(-1) for a in arrays)
            self.update_one(w, g, slots, lr, step)

    def load_state(self, state: dict[str, Array], kept: Mapping[str, Array], device: Device) -> None:
        """Copy the state from a checkpoint. Raises KeyError or ValueError where it is that of other parameters."""
        for name, array in state.items():
            if (kept[name].shape, kept[name].dtype.kind) != (array.shape, "f"):
                raise ValueError(f"{name} of the optimizer does not fit")
            array[...] = device.asarray(kept[name])

    def rate(self, slots: list[Array], lr: float, step: int) -> Array:
        """How far a step moves each weight under a gradient of 1 that has been there for long: what an L1 penalty of 1
        takes off in a proximal step after this update. A number, or an array of the weights' shape.
        """
        return lr

    def update_one(self, w: Array, g: Array, slots: list[Array], lr: float, step: int) -> None:
        """w: weights, g: their gradient, slots: the state arrays in order. Changes w and slots in place, never g."""
        raise NotImplementedError
