"""Layers that make one value of several: add, multiply, concat."""

from collections.abc import Callable
from functools import reduce
from typing import Any

from dltrain import ops
from dltrain.backend import array_module
from dltrain.engine import Tensor
from dltrain.errors import ShapeError
from dltrain.nn.layer import LAYERS, Context, Layer
from dltrain.nn.parameter import Shape

Names = str | tuple[str, ...]  # of layers


class Join(Layer):
    """of: what is joined: the name of one earlier layer, beside what the layer takes anyway, or a list of them all."""

    def __init__(self, *in_shapes: Shape, of: Names):
        super().__init__(in_shapes[0], reduce(self.joined, in_shapes))
        self.in_shapes = in_shapes

    def joined(self, a: Shape, b: Shape) -> Shape:
        """The shape of two together. Raises ShapeError."""
        raise NotImplementedError


class _Elementwise(Join):
    function: Callable[..., Any]

    def joined(self, a: Shape, b: Shape) -> Shape:
        if a == b or (len(a) > 1 and b == a[-1:]):
            return a
        if len(b) > 1 and a == b[-1:]:
            return b
        raise ShapeError(f"shapes must be equal, or one a row of as many numbers as channels, not {a} and {b}")

    def __call__(self, *inputs: Tensor, context: Context) -> Tensor:
        y: Tensor = reduce(type(self).function, map(self._at_every_position, inputs))
        return y

    def _at_every_position(self, x: Tensor) -> Tensor:
        missing = len(self.out_shape) + 1 - x.ndim
        if not missing:
            return x
        y: Tensor = ops.reshape(x, shape=(len(x), *[1] * missing, x.shape[-1]))
        return y


@LAYERS.register("add")
class Add(_Elementwise):
    """The sum of the outputs of several layers. A row of numbers (C,) is added at every position of (*size, C)."""

    function = staticmethod(ops.add)


@LAYERS.register("multiply")
class Multiply(_Elementwise):
    """The product of the outputs of several layers, number by number. A row (C,) multiplies at every position."""

    function = staticmethod(ops.multiply)


@LAYERS.register("concat")
class Concat(Join):
    """The outputs of several layers side by side, along the channels. (*size, C), (*size, D) -> (*size, C + D)

    A row of numbers (D,) stands at every position of (*size, C)."""

    def joined(self, a: Shape, b: Shape) -> Shape:
        if not a or not b or (a[:-1] != b[:-1] and len(a) > 1 and len(b) > 1):
            raise ShapeError(f"all but the channels, the last number, must be equal, not {a} and {b}")
        return (*(a if len(a) > 1 else b)[:-1], a[-1] + b[-1])

    def __call__(self, *inputs: Tensor, context: Context) -> Tensor:
        size = next((x.shape[1:-1] for x in inputs if x.ndim > 2), ())
        y: Tensor = ops.concatenate(*(_everywhere(x, size) for x in inputs), axis=-1)
        return y


def _everywhere(x: Tensor, size: Shape) -> Tensor:
    """A row (N, C) at every position, (N, *size, C); anything else as it is."""
    if x.ndim > 2 or not size:
        return x
    row = ops.reshape(x, shape=(len(x), *[1] * len(size), x.shape[-1]))
    y: Tensor = ops.add(row, array_module(x.data).zeros((1, *size, 1), x.data.dtype))
    return y
