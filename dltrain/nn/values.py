"""What a config may write where a value may stand. Random sources are settled here; `networks.py` has what they become.

In a file `fake` is short for `{type: value, name: fake}`, `0.9` for `{type: number, value: 0.9}` and
`{generator: noise}` for `{type: network, network: generator, of: [noise]}`.
"""

from math import pi, prod
from typing import Any

from dltrain.backend import array_module
from dltrain.nn.activation import ActivationName
from dltrain.nn.loss import LOSSES
from dltrain.nn.parameter import Shape
from dltrain.registry import Count, NonNegative, Positive, Registry

Array = Any
VALUES = Registry("value")
HALF = 2.0**32  # a word of 64 bits is two numbers of 32


class Expression:
    """Marks a setting that takes a value."""


def term(
    *, of: Expression, target: Expression | None = None, weight: NonNegative = 1.0, at: tuple[str, ...] = ()
) -> None:
    """What a loss says where it is a part of what an update makes small.

    of: the value that is judged. target: what it should be, a value or a number; a constant, into which no gradient
    flows. weight: by how much the loss is multiplied. at: layers of the network that `of` and `target` are made by,
    whose outputs are compared instead.
    """


TERMS = LOSSES.within(term)


@VALUES.register("value")
def named(*, name: str) -> str:
    """A value by its name."""
    return name


@VALUES.register("number")
def number(*, value: float) -> float:
    """The same number everywhere."""
    return value


@VALUES.register("network")
def applied(
    *, network: str, of: tuple[Expression, ...] = (), over: Count | None = None, then: ActivationName = "none"
) -> str:
    """What a network makes of one value, or of several: by the names of its inputs, or side by side along the channels.

    over: of each of so many parts, the first axis of the value. then: an activation after it.
    """
    return network


@VALUES.register("one_hot")
def one_hot(*, of: Expression) -> None:
    """The number of a class as numbers that networks take: 1 at the place of the class, 0 at those of the others.

    of: a value of the data set that is a class, such as `label`. A `dense` layer on it learns a row for each class.
    """


class Distribution:
    """Random numbers of which a value is drawn. size: how many, or their shape with the channels last."""

    per_word = 2

    def __init__(self, size: int | tuple[int, ...]):
        self.shape: Shape = (size,) if isinstance(size, int) else size

    @property
    def words_each(self) -> int:
        """Random words of 64 bits for an example."""
        return -(-prod(self.shape) // self.per_word)

    def draw(self, words: Array, dtype: Any) -> Array:
        """words: (N, words_each) uint64 -> (N, *shape)."""
        n = len(words)
        low, high = (words & (2**32 - 1)) / HALF, (words >> 32) / HALF  # from 0 to 1, without 1
        numbers = array_module(words).stack(self.numbers(low, high), axis=-1).reshape(n, -1)[:, : prod(self.shape)]
        return numbers.astype(dtype).reshape(n, *self.shape)

    def numbers(self, u: Array, v: Array) -> tuple[Array, Array]:
        """Two of them from two that are uniform in [0, 1), in float64."""
        raise NotImplementedError


@VALUES.register("normal")
class Normal(Distribution):
    """Normally distributed, with mean 0 and the given standard deviation (Box and Muller, 1958)."""

    def __init__(self, *, size: Count | tuple[Count, ...], std: Positive = 1.0):
        super().__init__(size)
        self.std = std

    def numbers(self, u: Array, v: Array) -> tuple[Array, Array]:
        xp = array_module(u)
        radius = self.std * xp.sqrt(-2 * xp.log(1 - u))
        return radius * xp.cos(2 * pi * v), radius * xp.sin(2 * pi * v)


@VALUES.register("uniform")
class Uniform(Distribution):
    """All numbers from `low` up to `high` are equally probable."""

    def __init__(self, *, size: Count | tuple[Count, ...], low: float = -1.0, high: float = 1.0):
        super().__init__(size)
        self.low, self.high = low, high

    def numbers(self, u: Array, v: Array) -> tuple[Array, Array]:
        return self.low + (self.high - self.low) * u, self.low + (self.high - self.low) * v
