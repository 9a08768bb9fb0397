"""Layers for sequences that know no time but places: embedding, positional, attention."""

from math import log
from typing import Any, Literal

import numpy as np

from dltrain import ops
from dltrain.backend import array_module
from dltrain.engine import Tensor
from dltrain.errors import ShapeError
from dltrain.nn.init import GLOROT_UNIFORM, Initializer, Normal
from dltrain.nn.layer import LAYERS, Context, Layer, count_text, counted
from dltrain.nn.parameter import Parameter, Shape
from dltrain.nn.penalty import Penalty
from dltrain.registry import VOCABULARY, Count, Size


@LAYERS.register("embedding")
class Embedding(Layer):
    """A row of numbers for each token, learned. (*size,) of whole numbers below `tokens` -> (*size, units)

    tokens: how many different ones there are; `vocabulary`: as many as the text of the data set has.
    init: of the rows; without one normal with standard deviation 1, as in PyTorch.
    """

    own_init = True

    def __init__(
        self,
        in_shape: Shape,
        *,
        units: Count,
        tokens: Size = VOCABULARY,
        init: Initializer | None = None,
        trainable: bool = True,
        penalty: Penalty | None = None,
    ):
        super().__init__(in_shape, (*in_shape, units))
        rows, start = counted(tokens), init or Normal(std=1.0)
        self.weight = Parameter((rows, units), init=start, fan_in=1, fan_out=units, trainable=trainable)
        self.penalty = penalty
        self.arithmetic = count_text((rows, units))

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = ops.embedding(self.weight, x)
        return y


def _sequence(kind: str, in_shape: Shape) -> Shape:
    if len(in_shape) != 2:
        raise ShapeError(f"{kind} takes a sequence (positions, channels), but the input is {in_shape}")
    return in_shape


@LAYERS.register("positional")
class Positional(Layer):
    """Adds to every position what tells it from others, since attention sees a set. The shape stays.

    encoding: sinusoidal: channel 2i of position p gets sin(p / 10000^(2i / channels)), channel 2i + 1 the cosine;
    learned: a parameter, which starts normal with standard deviation 0.02. Vaswani et al., "Attention Is All You
    Need", 2017, section 3.5; Gehring et al., "Convolutional Sequence to Sequence Learning", 2017.
    """

    def __init__(
        self, in_shape: Shape, *, encoding: Literal["sinusoidal", "learned"] = "sinusoidal", trainable: bool = True
    ):
        super().__init__(_sequence("positional", in_shape), in_shape)
        self.weight = None
        if encoding == "learned":
            self.weight = Parameter(in_shape, init=Normal(std=0.02), trainable=trainable)
            self.arithmetic = count_text(in_shape)

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = ops.add(x, self._added(x))
        return y

    def _added(self, x: Tensor) -> Any:
        """(positions, channels) for as many positions as there are."""
        positions, channels = x.shape[1:]
        if self.weight is None:
            return array_module(x.data).asarray(_waves(positions, channels), x.data.dtype)
        return self.weight if positions == len(self.weight) else ops.index(self.weight, key=slice(positions))


def _waves(positions: int, channels: int) -> Any:
    """(positions, channels)"""
    number = np.arange(channels)
    angles = np.arange(positions)[:, None] * np.exp(-log(10000) / channels * (number - number % 2))
    return np.where(number % 2, np.cos(angles), np.sin(angles))


@LAYERS.register("attention")
class Attention(Layer):
    """Every position asks all others, each head by itself, and takes the mean of what they hold, weighed by how well
    they answer. (positions, channels) -> (positions, channels)

    causal: no position sees those after it. weight (C, 3 C) and bias make queries, keys and values, output_weight
    (C, C) and output_bias one row of what the heads found: PyTorch's MultiheadAttention, transposed.
    init: of both weights; without one glorot_uniform. Vaswani et al., "Attention Is All You Need", 2017.
    """

    own_init = mixes = True

    def __init__(
        self,
        in_shape: Shape,
        *,
        heads: Count = 1,
        causal: bool = False,
        init: Initializer | None = None,
        bias: bool = True,
        trainable: bool = True,
        penalty: Penalty | None = None,
    ):
        positions, channels = _sequence("attention", in_shape)
        if channels % heads:
            raise ShapeError(f"{channels} channels cannot be cut into {heads} heads: {channels} / {heads} is not whole")
        super().__init__(in_shape, in_shape)

        def weight(parts: int) -> Parameter:
            shape, start = (channels, parts * channels), init or GLOROT_UNIFORM
            return Parameter(shape, init=start, fan_in=channels, fan_out=channels, trainable=trainable)

        self.weight, self.output_weight = weight(3), weight(1)
        self.bias, self.output_bias = (
            Parameter((parts * channels,), trainable=trainable) if bias else None for parts in (3, 1)
        )
        self.heads, self.causal, self.penalty = heads, causal, penalty
        self.arithmetic = count_text((channels, 4 * channels), *([(4 * channels,)] if bias else []))
        self.multiply_adds = positions * channels * (4 * channels + 2 * positions)

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        q, k, v = ops.split(ops.dense(x, self.weight, self.bias), sections=3, axis=-1)
        found = ops.attention(q, k, v, heads=self.heads, causal=self.causal, lengths=context.lengths)
        y: Tensor = ops.dense(found, self.output_weight, self.output_bias)
        return y
