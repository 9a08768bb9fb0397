"""The update of a training: its optimizer, the state of it, and what is updated in one go."""

from collections.abc import Mapping, Sequence
from typing import Any

from dltrain.backend import Device, array_module, kernels
from dltrain.engine import Tensor
from dltrain.optim import Optimizer

Array = Any
Piece = tuple[Array, Array, list[Array]]  # weights, gradient, slots, as `Optimizer.update_one` takes them


class Updater:
    """However few the numbers, to ask numpy for something takes a microsecond. So parameters of few numbers, and their
    state, are laid side by side in one array and updated as one; `parameter.data` is a part of it from then on.
    """

    def __init__(self, optimizer: Optimizer, parameters: Mapping[str, Tensor]):
        self.optimizer = optimizer
        self.parameters = parameters
        self.state = optimizer.new_state({name: p.data for name, p in parameters.items()})
        few = [name for name, p in parameters.items() if p.data.size <= kernels(p.data).few_to_update]
        self._together = few if len(few) > 1 else []
        self._joined = self._side_by_side() if self._together else []

    def _side_by_side(self) -> list[Array]:
        """The weights and each slot of these parameters, flat, of which the named arrays become parts."""
        names = self._together
        weights, parts = _join([self.parameters[name].data for name in names])
        for name, part in zip(names, parts, strict=True):
            self.parameters[name].data = part
        joined = [weights]
        for slot in self.optimizer.slots:
            of_slot = [f"{name}/{slot}" for name in names]
            flat, parts = _join([self.state[name] for name in of_slot])
            self.state |= dict(zip(of_slot, parts, strict=True))
            joined.append(flat)
        return joined

    def load(self, state: Mapping[str, Array], device: Device) -> None:
        """Copy the state from a checkpoint. Raises KeyError or ValueError where it is that of other parameters."""
        for name, array in self.state.items():
            kept = state[name]
            if (kept.shape, kept.dtype.kind) != (array.shape, "f"):
                raise ValueError(f"{name} of the optimizer does not fit")
            array[...] = device.asarray(kept)

    def pieces(self, gradients: Mapping[str, Array]) -> list[Piece]:
        """All flat, in pieces that may be updated in any order."""
        slots, found = self.optimizer.slots, []
        if self._together:
            weights, *of_slots = self._joined
            found += _cut(weights, _flat([gradients[name] for name in self._together]), of_slots)
        for name, parameter in self.parameters.items():
            if name not in self._together:  # views made anew, for a script looks whether anybody writes to them
                arrays = parameter.data, gradients[name], *(self.state[f"{name}/{slot}"] for slot in slots)
                weights, gradient, *of_slots = (a.reshape(-1) for a in arrays)
                found += _cut(weights, gradient, of_slots)
        return found


def _cut(weights: Array, gradient: Array, slots: Sequence[Array]) -> list[Piece]:
    size = kernels(weights).piece_of_update
    if weights.size <= size:
        return [(weights, gradient, [*slots])]
    ends = [slice(start, start + size) for start in range(0, weights.size, size)]
    return [(weights[part], gradient[part], [slot[part] for slot in slots]) for part in ends]


def _flat(arrays: Sequence[Array]) -> Array:
    return array_module(arrays[0]).concatenate([a.reshape(-1) for a in arrays])


def _join(arrays: Sequence[Array]) -> tuple[Array, list[Array]]:
    """The numbers of all of them, and the part of each in its shape."""
    flat, parts, start = _flat(arrays), [], 0
    for a in arrays:
        parts.append(flat[start : start + a.size].reshape(a.shape))
        start += a.size
    return flat, parts
