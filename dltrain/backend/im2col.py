"""Convolution and pooling by few calls on large arrays: for CuPy, and for CPUs without compiled kernels.

im2col: the windows of some examples are unrolled into rows, so that a convolution is a matrix product. Pooling takes
one pass over whole arrays for each position in the kernel.
"""

from collections.abc import Iterator
from functools import lru_cache, reduce
from math import inf, prod
from types import ModuleType

from dltrain.backend.reference import Activation, Array, Reference, inside, offsets, split
from dltrain.window import Window


class Im2colKernels(Reference):
    """piece_bytes: how much is unrolled at a time. On a CPU a piece should stay in the cache."""

    def __init__(self, xp: ModuleType, piece_bytes: int):
        super().__init__(xp)
        self.name = xp.__name__
        self.piece_bytes = piece_bytes

    def column_sums(self, rows: Array) -> Array:
        """As a product with ones: five times faster than `sum` on a CPU. By `dot`, during which other threads run."""
        rows = rows.reshape(-1, rows.shape[-1])
        return self.xp.dot(self.xp.ones(len(rows), rows.dtype), rows)

    def _means(self, x: Array) -> Array:
        """By columns where every channel of all examples is for itself."""
        if len(x) != 1 or x.shape[-1] > 1:
            return super()._means(x)
        return (self.column_sums(x.reshape(x.shape[1:3])) / x.shape[1]).reshape(1, 1, -1, 1)

    # --- convolution --------------------------------------------------------------------------------------

    def _unrolled(self, x: Array, window: Window) -> Iterator[tuple[slice, Array]]:
        """(which examples, their windows (n, *out_size, *kernel, C)), some examples at a time.

        Their number depends on shapes alone, so sums have the same order everywhere.
        """
        each = prod(window.out_size) * prod(window.kernel) * x.shape[-1] * x.dtype.itemsize
        size = max(1, self.piece_bytes // each)
        for start in range(0, len(x), size):
            piece = slice(start, start + size)
            yield piece, self._windows(x[piece], window)

    def conv(
        self, x: Array, w: Array, window: Window, groups: int, bias: Array | None, activation: Activation | None
    ) -> Array:
        y = self.xp.empty((len(x), *window.out_size, w.shape[-1]), x.dtype)
        matrices = [k.reshape(-1, k.shape[-1]) for k in split(w, groups)]
        for piece, windows in self._unrolled(x, window):
            out = y[piece]
            for values, matrix, part in zip(split(windows, groups), matrices, split(out, groups), strict=True):
                rows = values.reshape(-1, len(matrix))
                if groups == 1:
                    self.xp.matmul(rows, matrix, out=part.reshape(-1, matrix.shape[-1]))
                else:
                    part[...] = (rows @ matrix).reshape(part.shape)
            if bias is not None:
                out += bias
            self.activate(activation, out)
        return y

    def conv_weight_grad(self, g: Array, x: Array, window: Window, groups: int) -> Array:
        dw = self.xp.zeros((*window.kernel, x.shape[-1] // groups, g.shape[-1]), x.dtype)
        for piece, windows in self._unrolled(x, window):
            for values, of, part in zip(*(split(a, groups) for a in (windows, g[piece], dw)), strict=True):
                of = of.reshape(-1, of.shape[-1])
                part += self.xp.dot(values.reshape(len(of), -1).T, of).reshape(part.shape)
        return dw

    def conv_input_grad(self, g: Array, w: Array, window: Window, groups: int) -> Array:
        """With stride 1 the adjoint of a convolution is one with flipped kernels."""
        flipped = flipped_window(window)
        if flipped is None:
            return super().conv_input_grad(g, w, window, groups)
        kernel = w[(slice(None, None, -1),) * len(window.kernel)]
        turned = self.xp.concatenate([part.swapaxes(-1, -2) for part in split(kernel, groups)], axis=-1)
        return Im2colKernels.conv(self, g, turned, flipped, groups, None, None)

    # --- pooling ------------------------------------------------------------------------------------------

    def max_pool(self, x: Array, window: Window) -> Array:
        padded = self._pad(x, window, -inf)
        y = self.xp.full((len(x), *window.out_size, x.shape[-1]), -inf, x.dtype)
        for _, at in offsets(window):
            self.xp.maximum(y, padded[at], out=y)
        return y

    def max_pool_grad(self, g: Array, x: Array, y: Array, window: Window) -> Array:
        padded = self._pad(x, window, -inf)
        dx = self.xp.zeros(padded.shape, g.dtype)
        open_ = self.xp.ones(y.shape, bool)  # windows whose maximum has not been found yet
        for _, at in offsets(window):
            hit = padded[at] == y
            hit &= open_
            open_ ^= hit
            dx[at] += g * hit
        return dx[inside(window)]

    def average_pool(self, x: Array, window: Window) -> Array:
        padded = self._pad(x, window)
        return reduce(self.xp.add, (padded[at] for _, at in offsets(window))) / self._counts(x, window)


@lru_cache(maxsize=256)  # a net asks for the same ones in every step
def flipped_window(window: Window) -> Window | None:
    """The window that carries gradients back through one of stride 1; None where there is no such window."""
    padding = tuple(
        (e - 1 - before, e - 1 - after) for e, (before, after) in zip(window.extent, window.padding, strict=True)
    )
    if any(s != 1 for s in window.stride) or any(amount < 0 for pair in padding for amount in pair):
        return None
    return Window(window.out_size, window.in_size, window.kernel, window.stride, padding, window.dilation)
