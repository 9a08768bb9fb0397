"""The ops that hold weights: dense, conv, conv_transpose. All can add a bias and apply an activation on the way out."""

from typing import Any

from dltrain.backend import kernels
from dltrain.engine import op
from dltrain.ops.activation import FUSED
from dltrain.window import Ints, Padding, Window

Array = Any


@op
def dense(x: Array, w: Array, bias: Array | None, *, activation: str | None = None) -> Any:
    """activation(x @ w + bias), at every position. x: (N, *size, in), w: (in, out), bias: (out,)."""
    k, fused = kernels(x), FUSED[activation] if activation else None
    rows = x.reshape(-1, x.shape[-1])  # one for each position of each example
    y = k.dense(rows, w, bias, fused)

    def back(g: Array, needed: list[bool]) -> tuple[Array | None, Array, Array | None]:
        dx, dw, db = k.dense_grad(g.reshape(y.shape), rows, w, y, fused, needed)
        return None if dx is None else dx.reshape(x.shape), dw, db

    return y.reshape(*x.shape[:-1], w.shape[-1]), back


@op
def conv(
    x: Array,
    w: Array,
    bias: Array | None,
    *,
    stride: Ints = 1,
    padding: Padding = "valid",
    dilation: Ints = 1,
    groups: int = 1,
    activation: str | None = None,
) -> Any:
    """activation(x ∗ w + bias) over 1, 2 or 3 spatial dimensions.

    x: (N, *size, C), w: (*kernel, C/groups, K), bias: (K,), y: (N, *out_size, K). With groups, output channels
    k·K/groups … see only input channels k·C/groups … of the same group. Padding as in Window.of.
    """
    if x.shape[-1] != groups * w.shape[-2] or w.shape[-1] % groups:
        raise ValueError(
            f"conv of {x.shape[-1]} channels with weights {w.shape}, (*kernel, C/groups, K), in {groups} groups"
        )
    k, fused = kernels(x), FUSED[activation] if activation else None
    window = Window.of(x.shape[1:-1], w.shape[:-2], stride, padding, dilation)
    y = k.conv(x, w, window, groups, bias, fused)
    return y, lambda g, needed: k.conv_grad(g, x, w, y, window, groups, fused, needed)


@op
def conv_transpose(
    x: Array,
    w: Array,
    bias: Array | None,
    *,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    activation: str | None = None,
) -> Any:
    """activation(y + bias), y what carries a gradient x back through the convolution with these settings (Zeiler et
    al., "Deconvolutional Networks", 2010; Dumoulin and Visin, "A guide to convolution arithmetic", 2016).

    x: (N, *size, C), w: (*kernel, K/groups, C), bias: (K,), y: (N, *out_size, K), with sizes as in
    Window.transposed: those of PyTorch.
    """
    if x.shape[-1] != w.shape[-1] or x.shape[-1] % groups:
        raise ValueError(
            f"conv_transpose of {x.shape[-1]} channels with weights {w.shape}, (*kernel, K/groups, C), in {groups} "
            f"groups"
        )
    k, fused = kernels(x), FUSED[activation] if activation else None
    window = Window.transposed(x.shape[1:-1], w.shape[:-2], stride, padding, output_padding, dilation)
    y = k.conv_transpose(x, w, window, groups, bias, fused)

    def back(g: Array, needed: list[bool]) -> tuple[Array | None, Array | None, Array | None]:
        g = k.activate_grad(fused, g, y)
        return (
            k.conv(g, w, window, groups, None, None) if needed[0] else None,
            k.conv_grad(x, g, w, x, window, groups, None, (False, True, False))[1] if needed[1] else None,
            k.column_sums(g) if needed[2] else None,
        )

    return y, back
