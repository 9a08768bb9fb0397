"""What gives every example one answer that can be looked at: a network, or several between the inputs and a class."""

from collections.abc import Sequence
from typing import Any

from dltrain.backend import Device
from dltrain.engine import Tensor
from dltrain.job.update import Update
from dltrain.job.values import compute_values
from dltrain.nn import Context, Drawn, Given, Network, Networks, Value, in_order

Array = Any


class Answering:
    """inputs: what the data set gives. output: what is made of it, one number for each class."""

    def __init__(self, inputs: Given, output: Value, device: Device):
        self.inputs, self.output, self._device = inputs, output, device
        self.in_shape, self.out_shape = inputs.shape, output.shape

    def __call__(self, x: Array, context: Context) -> Tensor:
        """x: (N, *in_shape) -> (N, *out_shape), with the networks as they are asked and not trained."""
        given = {self.inputs.name: x}
        found = compute_values([self.output], given, self._device, context.first, len(x))
        return Tensor(found[self.output.name])


def answering(
    model: Network | Networks, updates: Sequence[Update], named: Sequence[str], device: Device
) -> Network | Answering | None:
    """None where there are several answers or none: several updates or losses, an answer at every position, or
    networks that take more than the inputs. named: the values of the data set, inputs and targets first."""
    term, *more = updates[0].terms
    if term.is_sequence:
        return None
    if isinstance(model, Network):
        return model
    (output, target), *further = term.pairs
    leaves = [value for value in in_order([output]) if isinstance(value, Given | Drawn)]
    alone = not (updates[1:] or more or further) and term.weight == 1 and term.loss.classification
    if not alone or [term.target, *(value.name for value in leaves)] != [named[1], named[0]]:
        return None
    (inputs,) = leaves
    assert isinstance(inputs, Given) and target is not None
    return Answering(inputs, output, device)
