"""What a layer is: its shapes and parameters are settled when it is built, its values come later."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

from dltrain.engine import Tensor
from dltrain.errors import ShapeError
from dltrain.nn.parameter import Buffer, Parameter, Shape
from dltrain.nn.penalty import Penalty
from dltrain.registry import Registry, Size
from dltrain.window import Window

Array = Any


def _common(*, name: str | None = None, from_: str | None = None) -> None:
    """Keys that every layer takes. from: whose output it takes, instead of that of the layer before it."""


LAYERS = Registry("layer", common=_common)


@dataclass(frozen=True)
class Context:
    """What a forward pass needs besides its input.

    training: whether dropout is on.
    words: (purpose, layer, words_each) -> random uint64 (N, words_each) for the examples at hand.
    examples: N, for layers that take no input.
    record: called with (layer, {buffer: its new value by these examples}) by layers that have buffers, in training
        passes; without it they leave their buffers alone.
    tap: called with (layer, its output array) after every layer that has parameters or an activation.
    first: outside training, the position of the first example among all that are evaluated.
    batch_statistics: whether batch_norm takes those of the batch outside training as well.
    lengths: how many positions of each example are no padding, (N,), at least 1; None where all are.
    memory: layer -> what it remembers of the positions before these, (N, H) each: recurrent layers begin with it and
        put in it what they end with. None: they begin anew.
    """

    training: bool = False
    words: Callable[[str, str, int], Array] | None = None
    examples: int = 1
    record: Callable[["Layer", dict[str, Array]], None] | None = None
    tap: Callable[["Layer", Array], None] | None = None
    first: int = 0
    batch_statistics: bool = False
    lengths: Array | None = None
    memory: dict[str, tuple[Array, ...]] | None = None

    @property
    def by_batch(self) -> bool:
        """Whether batch_norm takes the statistics of the batch rather than the running ones."""
        return self.training or self.batch_statistics

    def within(self, layer: "Layer", part: str) -> "Context":
        """For a part of this layer, whose buffers are recorded as the layer's own."""
        record = self.record
        if record is None:
            return self
        return replace(self, record=lambda _, new: record(layer, {f"{part}.{name}": a for name, a in new.items()}))


class Layer:
    """One entry of `model.layers`.

    A subclass's constructor takes the input shape (without N) and keyword-only settings, which are its YAML keys.
    It sets `out_shape` and raises ShapeError when the input does not fit.

    name: in its network, such as `conv1` or `stage1.residual2.conv1`. kind: what the config calls it, such as `conv`.
    activation: what the output went through, None without one. window: how it looks at its input, where it does.
    enlarges: where one position becomes several, for each dimension: how many it has a part in, and how many it makes.
    mixes: whether a position of the output depends on others in a way that neither says. own_init: whether it starts in
    a way of its own where the config says no init. penalty: its own, in place of the model's. arithmetic: the parameter
    count as a sum for people to follow. multiply_adds: for one example. trainable: whether training changes anything
    about it. in_shapes: of all that it takes; of most layers that is one. takes_input: a layer that takes none, called
    with the context alone, begins a network without an input. also: the setting that names another layer whose output
    it takes beside the one before it, where there is one.

    An attribute that is a layer is a part of this one: `norm` of conv1 brings `conv1.norm.scale`.
    """

    name = ""
    kind = ""
    activation: str | None = None
    window: Window | None = None
    enlarges: tuple[tuple[int, int], ...] | None = None
    mixes = False
    own_init = False
    penalty: Penalty | None = None
    arithmetic = ""
    multiply_adds = 0
    trainable = True
    takes_input = True
    also = ""

    def __init__(self, in_shape: Shape, out_shape: Shape):
        self.in_shape, self.out_shape = in_shape, out_shape
        self.in_shapes: tuple[Shape, ...] = (in_shape,) if self.takes_input else ()

    def __call__(self, *inputs: Any, **context: Any) -> Tensor:
        """`layer(x, context)`, x (N, *in_shape); a layer that joins several takes them all before the context."""
        raise NotImplementedError

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Attribute name -> Parameter, its own before those of its parts."""
        own = {name: value for name, value in vars(self).items() if isinstance(value, Parameter)}
        return own | {f"{part}.{name}": p for part, layer in self._parts for name, p in layer.parameters.items()}

    @cached_property
    def buffers(self) -> dict[str, Buffer]:
        """Attribute name -> Buffer, its own before those of its parts."""
        own = {name: value for name, value in vars(self).items() if isinstance(value, Buffer)}
        return own | {f"{part}.{name}": b for part, layer in self._parts for name, b in layer.buffers.items()}

    @property
    def _parts(self) -> list[tuple[str, "Layer"]]:
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Layer)]

    def freeze(self) -> None:
        """From now on nothing about it is trained."""
        self.trainable = False
        for parameter in self.parameters.values():
            parameter.trainable = False
        for _, part in self._parts:
            part.freeze()

    @property
    def mixes_examples(self) -> bool:
        """Whether in training an example's output depends on the others of its shard, as it does where statistics over
        them are kept."""
        return bool(self.buffers)

    def computing_with(self, values: dict[str, Tensor]) -> "Layer":
        """A copy with these in place of its parameters, by their names."""
        twin = copy(self)
        for name, value in values.items():
            part, dot, rest = name.partition(".")
            setattr(twin, part, getattr(twin, part).computing_with({rest: value}) if dot else value)
        return twin

    def begin(self) -> None:
        """Whatever is to be done once parameters and buffers have their initial values."""

    @property
    def observed(self) -> bool:
        """Whether the diagnostics have a row for this layer."""
        return bool(self.parameters) or self.activation is not None


def counted(size: Size) -> int:
    """The number. Raises ShapeError where nothing says what `vocabulary` stands for."""
    if isinstance(size, str):
        raise ShapeError(f"{size} stands for the different tokens of a text, but the data set has none; give a number")
    return size


def count_text(*shapes: Shape) -> str:
    """`3·3·32·64 + 64 = 18,496` of (3, 3, 32, 64) and (64,)"""
    return " + ".join("·".join(map(str, shape)) for shape in shapes) + f" = {sum(map(prod, shapes)):,}"
