"""Recurrent layers: position by position, with a state that goes from one to the next."""

from math import sqrt
from typing import Literal

from dltrain import ops
from dltrain.backend import array_module
from dltrain.engine import Tensor
from dltrain.errors import ShapeError
from dltrain.nn.init import Initializer, Uniform
from dltrain.nn.layer import LAYERS, Context, Layer, count_text
from dltrain.nn.parameter import Parameter, Shape
from dltrain.nn.penalty import Penalty
from dltrain.registry import Count

Returned = Literal["sequence", "last"]


class Recurrent(Layer):
    """weight (C, gates · H), recurrent_weight (H, gates · H), bias and recurrent_bias (gates · H,): the weights of
    PyTorch's layer of the same name, transposed, and its biases, with its order of the gates.

    start: the name of a layer or input whose (units,) the layer begins with, in place of zeros; an lstm's cells begin
    with zeros in any case.
    init: of both weights; without one all four start uniformly within ±1/√units, as in PyTorch.
    """

    gates: int
    own_init = mixes = True
    also = "start"

    def __init__(
        self,
        in_shape: Shape,
        start_shape: Shape | None = None,
        *,
        units: Count,
        return_: Returned = "sequence",
        start: str | None = None,
        init: Initializer | None = None,
        bias: bool = True,
        trainable: bool = True,
        penalty: Penalty | None = None,
    ):
        if len(in_shape) != 2:
            raise ShapeError(
                f"a recurrent layer takes a sequence (positions, channels), but the input is {in_shape}"
                + ("; put an embedding before it" if len(in_shape) == 1 else "")
            )
        if start_shape not in (None, (units,)):
            raise ShapeError(f"{start} has shape {start_shape}, but the state that the layer begins with is ({units},)")
        positions, channels = in_shape
        super().__init__(in_shape, (units,) if return_ == "last" else (positions, units))
        self.in_shapes = (in_shape,) if start_shape is None else (in_shape, start_shape)
        width, of_weights = self.gates * units, init or Uniform(limit=1 / sqrt(units))

        def weight(rows: int) -> Parameter:
            return Parameter((rows, width), init=of_weights, fan_in=rows, fan_out=units, trainable=trainable)

        def biases() -> Parameter | None:
            started = of_weights if init is None else None
            return Parameter((width,), init=started, kind="bias", trainable=trainable) if bias else None

        self.weight, self.recurrent_weight = weight(channels), weight(units)
        self.bias, self.recurrent_bias = biases(), biases()
        self.returned, self.penalty = return_, penalty
        rows = channels + units
        self.arithmetic = count_text((rows, width), *([(2, width)] if bias else []))
        self.multiply_adds = positions * rows * width

    def states(self, x: Tensor, *start: Tensor | None) -> tuple[Tensor, ...]:
        """What the layer remembers after each position, (N, T, H): its output first. start: before the first one."""
        raise NotImplementedError

    def __call__(self, x: Tensor, start: Tensor | None = None, *, context: Context) -> Tensor:
        memory = context.memory
        before = (start, None) if memory is None else memory.get(self.name, (start, None))
        states = self.states(x, *before)
        if memory is not None:
            memory[self.name] = tuple(state.data[:, -1] for state in states)
        if self.returned == "sequence":
            return states[0]
        ends = None if context.lengths is None else context.lengths - 1
        where = (slice(None), -1) if ends is None else (array_module(x.data).arange(len(x)), ends)
        y: Tensor = ops.index(states[0], key=where)
        return y

    @property
    def _weights(self) -> tuple[Parameter | None, ...]:
        return self.weight, self.recurrent_weight, self.bias, self.recurrent_bias


@LAYERS.register("rnn")
class Rnn(Recurrent):
    """h[t] = activation(x[t] · weight + bias + h[t-1] · recurrent_weight + recurrent_bias). (positions, channels) ->
    (positions, units), or the last position's (units,)

    Elman, "Finding Structure in Time", 1990.
    """

    gates = 1

    def __init__(
        self,
        in_shape: Shape,
        start_shape: Shape | None = None,
        *,
        units: Count,
        return_: Returned = "sequence",
        start: str | None = None,
        activation: Literal["tanh", "relu"] = "tanh",
        init: Initializer | None = None,
        bias: bool = True,
        trainable: bool = True,
        penalty: Penalty | None = None,
    ):
        super().__init__(
            in_shape, start_shape, units=units, return_=return_, start=start, init=init, bias=bias,
            trainable=trainable, penalty=penalty,
        )  # fmt: skip
        self.activation = activation

    def states(self, x: Tensor, *start: Tensor | None) -> tuple[Tensor, ...]:
        return (ops.rnn(x, *self._weights, start[0], activation=self.activation),)


@LAYERS.register("lstm")
class Lstm(Recurrent):
    """A recurrent layer with cells, and gates that say what enters, stays and leaves. (positions, channels) ->
    (positions, units), or the last position's (units,)

    The gates' order is input, forget, cell, output. Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997; Gers,
    Schmidhuber, Cummins, "Learning to Forget", 2000.
    """

    gates = 4

    def states(self, x: Tensor, *start: Tensor | None) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = ops.lstm(x, *self._weights, *start)
        return found


@LAYERS.register("gru")
class Gru(Recurrent):
    """A recurrent layer whose gates decide how much of the state is replaced. (positions, channels) -> (positions,
    units), or the last position's (units,)

    The gates' order is reset, update, new; reset multiplies after the product with recurrent_weight, as in PyTorch. Cho
    et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014.
    """

    gates = 3

    def states(self, x: Tensor, *start: Tensor | None) -> tuple[Tensor, ...]:
        return (ops.gru(x, *self._weights, start[0]),)
