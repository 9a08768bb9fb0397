"""im2col: windows of the input unrolled into rows, so that a convolution is a matrix product.

Not of the whole kernel but of one of its slices along the first spatial dimension at a time, where these fill a
product. A 3x3 kernel then costs three products over the same rows, which are copied once instead of three times.

Few filters do not fill a product either. Then neighbouring outputs are computed as if they were one of more filters,
each of which sees but a part of a wider kernel: more multiplications, but less to copy and a better product.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

from dltrain.backend.views import along_first, evenly, inside, sliding
from dltrain.window import Window

Array = Any
MANY = 16  # small products, which one call makes quicker than a loop


def conv(kernels: Any, x: Array, w: Array, window: Window, groups: int, y: Array) -> Iterator[slice]:
    """Fill y with x ∗ w, some examples at a time: which ones. x: (N, *in, C), w: (*kernel, C/G, K), y: (N, *out, K)."""
    xp, n = kernels.xp, neighbours(window, groups, w, kernels.few_filters, kernels.short_run)
    wide_w, wide = widened(xp, w, window, n)
    outputs = y.reshape(len(x), *wide.out_size, wide_w.shape[-1])
    for piece, of_groups in unrolled(kernels, x, wide, groups, kernels.long_row):
        for group, slices in enumerate(of_groups):
            part = channels_of(outputs[piece], group, groups)
            for i, (rows, of_kernel) in enumerate(slices):
                matrix = channels_of(wide_w[of_kernel], group, groups).reshape(rows.shape[-1], -1)
                if i == 0 and groups == 1:  # straight into y
                    xp.matmul(rows, matrix, out=part.reshape(*rows.shape[:2], -1))
                elif i == 0:
                    part[...] = xp.matmul(rows, matrix).reshape(part.shape)
                else:
                    part += xp.matmul(rows, matrix).reshape(part.shape)
        yield piece


def weight_grad(kernels: Any, g: Array, x: Array, w: Array, window: Window, groups: int) -> Array:
    """dLoss/dw (*kernel, C/G, K) given g = dLoss/dy (N, *out, K)."""
    xp, n = kernels.xp, neighbours(window, groups, w, kernels.few_filters, kernels.short_run)
    wide_w, wide = widened(xp, w, window, n)
    g = g.reshape(len(x), *wide.out_size, wide_w.shape[-1])
    total = xp.zeros(wide_w.shape, x.dtype)
    for piece, of_groups in unrolled(kernels, x, wide, groups, kernels.long_row_backward):
        for group, slices in enumerate(of_groups):
            outputs = xp.ascontiguousarray(channels_of(g[piece], group, groups))
            for rows, of_kernel in slices:
                part = channels_of(total[of_kernel], group, groups)
                of_rows = outputs.reshape(*rows.shape[:2], -1)
                if len(rows) >= MANY and part.size * len(rows) <= rows.size + of_rows.size:  # both fit the cache
                    part += xp.matmul(rows.transpose(0, 2, 1), of_rows).sum(axis=0).reshape(part.shape)
                    continue
                for r, o in zip(rows, of_rows, strict=True):
                    part += xp.dot(r.T, o).reshape(part.shape)
    return narrowed(total, w, window, n)


def neighbours(window: Window, groups: int, w: Array, least: int, run: int) -> int:
    """How many outputs along the last dimension to compute as one, 1 where they are filters enough.

    least: filters that fill a product. run: neighbouring numbers that are worth copying by themselves.
    """
    if groups > 1 or w.shape[-1] >= least:
        return 1
    out, kernel, stride, extent = window.out_size[-1], window.kernel[-1], window.stride[-1], window.extent[-1]
    for n in range(2, out + 1):
        span = (n - 1) * stride + extent
        if out % n == 0 and n * w.shape[-1] >= least and span * w.shape[-2] >= run:
            return n if span <= 4 * kernel else 1
    return 1


def widened(xp: Any, w: Array, window: Window, n: int) -> tuple[Array, Window]:
    """Weights (*kernel, C, K) and window of n neighbouring outputs as one: (*kernel[:-1], span, C, n · K)."""
    if n == 1:
        return w, window
    *kernel, channels, filters = w.shape
    wide = xp.zeros((*kernel[:-1], (n - 1) * window.stride[-1] + window.extent[-1], channels, n, filters), w.dtype)
    for i in range(n):
        wide[..., _seen(window, i), :, i, :] = w
    return wide.reshape(*wide.shape[:-2], n * filters), replace(
        window,
        out_size=(*window.out_size[:-1], window.out_size[-1] // n),
        kernel=wide.shape[:-3],
        stride=(*window.stride[:-1], window.stride[-1] * n),
        dilation=(*window.dilation[:-1], 1),
    )


def narrowed(wide: Array, w: Array, window: Window, n: int) -> Array:
    """The adjoint of `widened`: of the wide kernel's gradient that of w."""
    if n == 1:
        return wide
    wide = wide.reshape(*wide.shape[:-1], n, w.shape[-1])
    return sum(wide[..., _seen(window, i), :, i, :] for i in range(n))


def _seen(window: Window, output: int) -> slice:
    """The part of a wide kernel, along its last dimension, through which one of the outputs sees."""
    first = output * window.stride[-1]
    return slice(first, first + window.extent[-1], window.dilation[-1])


def unrolled(
    kernels: Any, x: Array, window: Window, groups: int, long_row: float
) -> Iterator[tuple[slice, list[list[tuple[Array, slice]]]]]:
    """Unroll some examples at a time: (which examples, for each group its (rows, slice of the kernel)).

    kernels: whose piece_bytes and short_run say what is fast. long_row: values in a row that fill a product. rows:
    (batches, positions, values under a window), overwritten by the next piece.
    The size of a piece and the slices depend on shapes alone, so sums have the same order everywhere.
    """
    xp, channels, half = kernels.xp, x.shape[-1] // groups, x.ndim - 1
    # Slices of the kernel only where they fill a matrix product; a whole kernel otherwise.
    row = prod(window.kernel[1:]) * channels
    sliced = row >= long_row and row * prod(window.out_size) >= kernels.large_slice
    view_of = along_first(window) if sliced else window
    sizes = *view_of.out_size, *view_of.kernel, channels
    by_lines = view_of.kernel[-1] * channels < kernels.short_run  # of positions, then: (*kernel, C, n, *out_size)
    most = max(1, kernels.piece_bytes // (prod(sizes) * groups * x.dtype.itemsize))
    pieces = list(evenly(len(x), most))
    size = max((piece.stop - piece.start for piece in pieces), default=0)

    def room() -> tuple[Array, list[Array]]:
        padded = xp.zeros((size, *window.padded_size, x.shape[-1]), x.dtype)
        if not by_lines:
            return padded, [xp.empty((size, *sizes), x.dtype) for _ in range(groups)]
        turned = [xp.empty((*sizes[half - 1 :], size, *sizes[: half - 1]), x.dtype) for _ in range(groups)]
        return padded, [copy.transpose(*range(half, 2 * half), *range(half)) for copy in turned]

    padded, copies = room()
    for piece in pieces:
        n = piece.stop - piece.start
        xp.copyto(inside(padded, window)[:n], x[piece])
        views = sliding(xp, padded[:n], view_of)  # (n, *out_size, *kernel, C)
        for group, copy in enumerate(copies):
            xp.copyto(copy[:n], channels_of(views, group, groups))
        shape = n, *view_of.out_size, prod(sizes[half - 1 :])
        yield piece, [_slices(copy[:n].reshape(shape), window, sliced) for copy in copies]


def _slices(unrolled: Array, window: Window, sliced: bool) -> list[tuple[Array, slice]]:
    """The rows that each slice of the kernel (or the whole of it) meets, and which slice that is.

    unrolled: (n, *positions, values) -> rows: (n, positions, values), or (1, n · positions, values) where all n
    examples make one matrix.
    """
    values = unrolled.shape[-1]
    if not sliced:
        return [(unrolled.reshape(1, -1, values), slice(None))]
    stride, dilation, out = window.stride[0], window.dilation[0], window.out_size[0]
    return [
        (
            unrolled[:, i * dilation : i * dilation + (out - 1) * stride + 1 : stride].reshape(
                len(unrolled), prod(window.out_size), values
            ),
            slice(i, i + 1),
        )
        for i in range(window.kernel[0])
    ]


def channels_of(x: Array, group: int, groups: int) -> Array:
    """The part of the last axis that belongs to a group."""
    size = x.shape[-1] // groups
    return x[..., group * size : (group + 1) * size]
