"""Pooling over windows. x: (N, *size, C) -> (N, *out_size, C). Pooling over everything is `max` or `mean`."""

from typing import Any

from dltrain.backend import kernels
from dltrain.engine import op
from dltrain.window import Ints, Padding, Window

Array = Any


@op
def max_pool(x: Array, *, kernel: Ints, stride: Ints, padding: Padding = "valid", dilation: Ints = 1) -> Any:
    """The largest value under each window; of equal ones the first gets the gradient."""
    window = Window.of(x.shape[1:-1], kernel, stride, padding, dilation)
    y = kernels(x).max_pool(x, window)
    return y, (lambda g: kernels(x).max_pool_grad(g, x, y, window),)


@op
def average_pool(x: Array, *, kernel: Ints, stride: Ints, padding: Padding = "valid", dilation: Ints = 1) -> Any:
    """The mean of the inputs under each window; padding is not counted."""
    window = Window.of(x.shape[1:-1], kernel, stride, padding, dilation)
    return kernels(x).average_pool(x, window), (lambda g: kernels(x).average_pool_grad(g, window),)
