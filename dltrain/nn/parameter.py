"""A parameter: what training may change."""

from collections.abc import Iterable
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.random import Generator

from dltrain.engine import Tensor
from dltrain.nn.init import Initializer

Array = Any
Shape = tuple[int, ...]


def shape_text(shape: Iterable[int | str]) -> str:
    """`32×32×3`"""
    return "×".join(map(str, shape))


class Buffer:
    """An array of a layer's that training keeps up to date without a gradient, such as running statistics. Checkpoints
    hold it beside the parameters. start: what it holds at first, a number or drawn. momentum: the share of a step's
    value (see `Context.record`) in what it holds after it; 1 takes that value alone."""

    def __init__(self, shape: Shape, *, start: float | Initializer, momentum: float):
        self.shape, self.start, self.momentum = shape, start, momentum
        self.data: Array = None  # until it is initialised

    def draw(self, rng: Generator) -> Array:
        """What it holds at first, float64 on the CPU."""
        if isinstance(self.start, Initializer):
            return self.start(self.shape, 0, 0, rng)
        return np.full(self.shape, self.start)


class Parameter(Tensor):
    """A Tensor that training changes, if it is trainable: declared with its shape, given values by `initialise`.

    kind: "weight" (penalised), "bias" (starts at 0, penalised on request only), "scale" and "shift" (of a
    normalisation, penalised with biases) or "slope" (never penalised).
    """

    __slots__ = ("_shape", "fan_in", "fan_out", "init", "kind", "trainable")

    def __init__(
        self,
        shape: Shape,
        *,
        init: Initializer | None = None,
        fan_in: int = 0,
        fan_out: int = 0,
        kind: Literal["weight", "bias", "scale", "shift", "slope"] | None = None,
        trainable: bool = True,
    ):
        super().__init__(0.0)
        self.data = None  # until it is initialised
        self._shape = shape
        self.init, self.fan_in, self.fan_out = init, fan_in, fan_out
        self.kind = kind or ("bias" if init is None else "weight")
        self.trainable = trainable

    @property
    def shape(self) -> Shape:
        return self._shape

    @property
    def size(self) -> int:
        return prod(self._shape)

    def draw(self, rng: Generator) -> Array:
        """Initial values, float64 on the CPU."""
        if self.init is None:
            return np.zeros(self._shape)
        return self.init(self._shape, self.fan_in, self.fan_out, rng)
