"""Several networks that are trained together, and the values that they make of a batch and of each other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from dltrain import ops
from dltrain.backend import array_module
from dltrain.engine import Tensor
from dltrain.nn.activation import ActivationName
from dltrain.nn.layer import Context
from dltrain.nn.loss import Loss
from dltrain.nn.network import Composite, Network
from dltrain.nn.parameter import Shape
from dltrain.nn.values import Distribution

Array = Any


class Networks(Composite):
    """networks: by name; each of their layers is called `NETWORK.LAYER`."""

    def __init__(self, networks: dict[str, Network]):
        self.networks = networks
        self.layers = [layer for network in networks.values() for layer in network.layers]
        self.multiply_adds = sum(network.multiply_adds for network in networks.values())


@dataclass(frozen=True, eq=False)
class Value:
    """name: in the config; of an expression its text. shape: of one example. below: the values it is computed from."""

    name: str
    shape: Shape

    @property
    def below(self) -> tuple["Value", ...]:
        return ()


@dataclass(frozen=True, eq=False)
class Given(Value):
    """What the data set has. classes: how many there are, where it is the number of a class, or of one at each
    position. ends: whether it is -1 from some position on, where nothing is asked."""

    classes: int | None = None
    ends: bool = False


@dataclass(frozen=True, eq=False)
class Drawn(Value):
    """Random numbers: others in every step, the same for every update of a step."""

    distribution: Distribution


@dataclass(frozen=True, eq=False)
class OneHot(Value):
    """Of the number of a class: 1 at its place, 0 at those of the others."""

    of: Given

    @property
    def below(self) -> tuple[Value, ...]:
        return (self.of,)

    def __call__(self, classes: Array, dtype: Any) -> Array:
        """classes: (N,) -> (N, *shape)"""
        return array_module(classes).eye(*self.shape, dtype=dtype)[classes]


@dataclass(frozen=True, eq=False)
class Applied(Value):
    """What a network makes of other values.

    over: the network is applied to each of so many parts, the first axis of what it takes. then: an activation after
    it. key: what its random numbers are keyed by, beside the layer: a network in two values draws twice.
    statistics: whether batch_norm uses those of the batch also in evaluation.
    """

    network: Network
    of: tuple[Value, ...]
    over: int | None = None
    then: ActivationName = "none"
    key: str = ""
    batch_statistics: bool = False

    @property
    def below(self) -> tuple[Value, ...]:
        return self.of

    def __call__(
        self, inputs: Sequence[Any], context: Context, inside: dict[str, Tensor], whole: bool = True
    ) -> Tensor | None:
        """inputs: (N, *shape) each. inside: the outputs of the layers that it names are put there. whole: else the
        layers after the last of these are left out, and there is no result."""
        x = [value if isinstance(value, Tensor) else Tensor(value) for value in inputs]
        if self.over is not None:  # (N, over, …) -> (N · over, …)
            x = [ops.reshape(value, shape=(len(value) * self.over, *value.shape[2:])) for value in x]
        alone = len(self.network.inputs) == 1
        taken: Any = tuple(x) if not alone else x[0] if len(x) == 1 else ops.concatenate(*x, axis=-1)
        missing = len(inside)
        for layer, y in self.network.outputs(taken, context):
            if layer.name in inside:
                inside[layer.name] = y
                missing -= 1
            if not (whole or missing):
                return None
        if self.then != "none":
            y = getattr(ops, self.then)(y)
        if self.over is not None:
            y = ops.reshape(y, shape=(len(y) // self.over, self.over, *y.shape[1:]))
        return y


@dataclass(frozen=True, eq=False)
class Inside(Value):
    """The output of a layer within a value."""

    whole: Applied
    layer: str

    @property
    def below(self) -> tuple[Value, ...]:
        return (self.whole,)


@dataclass(frozen=True, eq=False)
class Term:
    """A part of what an update makes small: weight · the loss of each pair of what is compared, (of, target).

    A target is a constant: no gradient flows into it.
    """

    loss: Loss
    pairs: tuple[tuple[Value, Value | float | None], ...]
    weight: float = 1.0

    @property
    def is_sequence(self) -> bool:
        """Whether a class is told at every position."""
        _, target = self.pairs[0]
        return self.loss.classification and isinstance(target, Value) and target.shape != ()

    @property
    def target(self) -> str:
        """The name of what the first value is compared with; "" of a number."""
        _, target = self.pairs[0]
        return target.name if isinstance(target, Value) else ""

    @property
    def ends(self) -> bool:
        """Whether more is asked of one example than of another."""
        _, target = self.pairs[0]
        return isinstance(target, Given) and target.ends

    @property
    def answers(self) -> int:
        """How many are judged in an example: of a class one, at every position of a sequence;
        at most where it ends."""
        _, target = self.pairs[0]
        return prod(target.shape) if self.loss.classification and isinstance(target, Value) else 1


def in_order(wanted: Iterable[Value]) -> list[Value]:
    """The values and all that they are computed from, each after what is below it."""
    found: dict[str, Value] = {}
    stack = [(value, False) for value in reversed([*wanted])]
    while stack:
        value, done = stack.pop()
        if done:
            found.setdefault(value.name, value)
        elif value.name not in found:
            stack.append((value, True))
            stack += [(below, False) for below in reversed(value.below)]
    return [*found.values()]


def taken_whole(wanted: Iterable[Value]) -> set[str]:
    """The names of the values, and of all they are computed from, of which more is taken than layers within."""
    wanted = [*wanted]
    below = (b for value in in_order(wanted) if not isinstance(value, Inside) for b in value.below)
    return {value.name for value in (*wanted, *below)}


def side_by_side(shapes: Sequence[Shape]) -> Shape | None:
    """The shape of values beside each other along the channels; None where they do not fit."""
    if any(not shape or shape[:-1] != shapes[0][:-1] for shape in shapes):
        return None
    return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))
