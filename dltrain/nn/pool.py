"""Layers that make the picture smaller: pooling over windows, pooling over everything, flatten."""

from collections.abc import Callable
from math import prod
from typing import Any

from dltrain import ops
from dltrain.engine import Tensor
from dltrain.errors import ShapeError
from dltrain.nn.layer import LAYERS, Context, Layer
from dltrain.nn.parameter import Shape
from dltrain.window import Ints, Padding, Window


class _Pool(Layer):
    function: Callable[..., Any]

    def __init__(self, in_shape: Shape, *, kernel: Ints = 2, stride: Ints | None = None, padding: Padding = "valid"):
        """stride: as the kernel unless given, so that windows do not overlap."""
        if not 2 <= len(in_shape) <= 4:
            raise ShapeError(
                f"pooling takes (*size, channels) with 1 to 3 spatial dimensions, but the input is {in_shape}"
            )
        stride = kernel if stride is None else stride
        self.window = Window.of(in_shape[:-1], kernel, stride, padding)
        for k, (_, after) in zip(self.window.kernel, self.window.padding, strict=True):
            if after >= k:  # padding before is never more
                raise ShapeError(
                    f"padding {after} would let a window of {k} see nothing but padding; "
                    f"padding must be below the kernel, at most {k - 1}"
                )
        super().__init__(in_shape, (*self.window.out_size, in_shape[-1]))
        self.settings = {"kernel": kernel, "stride": stride, "padding": padding}

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = type(self).function(x, **self.settings)
        return y


@LAYERS.register("max_pool")
class MaxPool(_Pool):
    """The largest value under each window. (*size, C) -> (*out_size, C)"""

    function = staticmethod(ops.max_pool)


@LAYERS.register("average_pool")
class AveragePool(_Pool):
    """The mean of the inputs under each window. (*size, C) -> (*out_size, C)"""

    function = staticmethod(ops.average_pool)


class _GlobalPool(Layer):
    function: Callable[..., Any]

    def __init__(self, in_shape: Shape):
        if len(in_shape) < 2:
            raise ShapeError(f"global pooling takes (*size, channels), but the input is {in_shape}")
        super().__init__(in_shape, in_shape[-1:])

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = type(self).function(x, axis=tuple(range(1, len(self.in_shape))))
        return y


@LAYERS.register("global_max_pool")
class GlobalMaxPool(_GlobalPool):
    """The largest value of each channel. (*size, C) -> (C,)"""

    function = staticmethod(ops.max)


@LAYERS.register("global_average_pool")
class GlobalAveragePool(_GlobalPool):
    """The mean of each channel. (*size, C) -> (C,)"""

    function = staticmethod(ops.mean)


@LAYERS.register("flatten")
class Flatten(Layer):
    """All numbers of an example in one row. (*size, C) -> (size · C,)"""

    def __init__(self, in_shape: Shape):
        super().__init__(in_shape, (prod(in_shape),))

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = ops.reshape(x, shape=(len(x), *self.out_shape))
        return y
