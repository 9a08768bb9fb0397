"""The kernels in C (folder `c`), for float32 on the CPU: plain numpy's results up to rounding, several times faster.

Each method says when it declines; then plain numpy does the work.
"""

from ctypes import c_int64
from functools import lru_cache
from typing import Any

import numpy as np

from dltrain.backend.compiled import FLOAT32, Library, at, fit
from dltrain.backend.kernels import Activation, Kernels
from dltrain.backend.late import Late, Needed
from dltrain.backend.share import threads_for
from dltrain.random import BLOCK, label
from dltrain.window import Window

Array = Any
POINT = 8  # multiplications that take as long as to read a number from the second-level cache and write one

ACTIVATIONS = {"relu": 1, "tanh": 2, "sigmoid": 3}


def _succeed(status: int) -> None:
    if status:
        raise MemoryError("not enough memory for a kernel's workspace")


@lru_cache(maxsize=256)
def _described(window: Window, channels: int, filters: int, groups: int) -> Any:
    """The struct Window of c/shapes.h."""

    def three(values: tuple[int, ...], first: int) -> tuple[int, ...]:
        return (first,) * (3 - len(values)) + values

    before, after = zip(*window.padding, strict=True)
    numbers: tuple[int, ...] = (channels, filters, groups)
    for values in (window.in_size, window.out_size, window.kernel, window.stride, window.dilation):
        numbers += three(values, 1)
    numbers += three(before, 0) + three(after, 0)
    return (c_int64 * len(numbers))(*numbers)


def _kind(activation: Activation | None) -> int:
    """What C calls it; 0 where there is none, or one that numpy computes."""
    return ACTIVATIONS.get(activation.name, 0) if activation else 0


class NativeKernels(Kernels):
    """Kernels in C where they fit, plain numpy elsewhere."""

    shares = True
    piece_of_product = 1 << 62  # every array in one piece
    piece_of_update = 1 << 18  # for the rules that numpy computes here too; the others go over them in one pass

    def __init__(self, compiled: Library, piece_bytes: int):
        super().__init__(np, piece_bytes)
        self.name = f"native {compiled.instruction_set}"
        self.compiled = compiled

    # --- dense and convolution ----------------------------------------------------------------------------

    def dense(self, x: Array, w: Array, bias: Array | None, activation: Activation | None) -> Array:
        if not fit(x, w, bias) or x.ndim != 2 or not x.size or x.shape[1:] != w.shape[:1] or not _a_row(bias, w):
            return super().dense(x, w, bias, activation)
        y = np.empty((len(x), w.shape[1]), FLOAT32)
        kind = _kind(activation)
        work = len(x) * w.size
        c, threads = self.compiled(work), threads_for(work)
        _succeed(c.dense(len(x), *w.shape, at(x), at(w), at(bias), kind, at(y), threads))
        return y if kind else self.activate(activation, y)

    def dense_grad(
        self, g: Array, x: Array, w: Array, y: Array, activation: Activation | None, needed: Needed
    ) -> tuple[Array | None, Array, Array | None]:
        if not fit(x, w, y) or x.ndim != 2 or g.dtype is not FLOAT32 or g.shape != y.shape or not len(x):
            return super().dense_grad(g, x, w, y, activation, needed)
        late = self.waits(needed, w)
        kind = 0 if late else _kind(activation)
        g = np.ascontiguousarray(g) if kind else self.activate_grad(activation, g, y)
        dx, dw, db = _gradients(x, w, needed, late)
        work = 2 * len(x) * w.size
        y_ = y if kind else None
        c, threads = self.compiled(work), threads_for(work)
        _succeed(c.dense_grad(len(x), *w.shape, at(g), at(x), at(w), kind, at(y_), at(dx), at(dw), at(db), threads))
        return dx, Late(self, (x, g)) if late else dw, db

    def outer(self, dw: Array, xs: list[Array], g: Array) -> None:
        x = xs[0] if len(xs) == 1 else np.concatenate(xs)
        if not fit(dw, g) or len(x) != len(g) or x.dtype is not FLOAT32 or x.strides[1] != 4 or not len(x):
            return super().outer(dw, xs, g)
        work = len(x) * dw.size
        c, threads = self.compiled(work), threads_for(work)
        _succeed(c.outer(len(x), *dw.shape, at(x), x.strides[0] // 4, at(g), at(dw), threads))

    def conv(
        self, x: Array, w: Array, window: Window, groups: int, bias: Array | None, activation: Activation | None
    ) -> Array:
        if not fit(x, w, bias) or not _a_row(bias, w):
            return super().conv(x, w, window, groups, bias, activation)
        y = np.empty((len(x), *window.out_size, w.shape[-1]), FLOAT32)
        kind = _kind(activation)
        shape = _described(window, x.shape[-1], w.shape[-1], groups)
        work = y.size * w.size // w.shape[-1]
        c, threads = self.compiled(work), threads_for(work)
        _succeed(c.conv(shape, len(x), at(x), at(w), at(bias), kind, at(y), threads))
        return y if kind else self.activate(activation, y)

    def conv_grad(
        self,
        g: Array,
        x: Array,
        w: Array,
        y: Array,
        window: Window,
        groups: int,
        activation: Activation | None,
        needed: Needed,
    ) -> tuple[Array | None, Array, Array | None]:
        """Declines padding that reaches beyond the kernel."""
        within = all(max(pads) < e for pads, e in zip(window.padding, window.extent, strict=True))
        if not fit(x, w, y) or g.dtype is not FLOAT32 or g.shape != y.shape or not within:
            return super().conv_grad(g, x, w, y, window, groups, activation, needed)
        kind = _kind(activation)
        g = np.ascontiguousarray(g) if kind else self.activate_grad(activation, g, y)
        dx, dw, db = _gradients(x, w, needed)
        shape = _described(window, x.shape[-1], w.shape[-1], groups)
        work = 2 * y.size * w.size // w.shape[-1]
        y_ = y if kind else None
        c, threads = self.compiled(work), threads_for(work)
        _succeed(c.conv_grad(shape, len(x), at(g), at(x), at(w), kind, at(y_), at(dx), at(dw), at(db), threads))
        return dx, dw, db

    # --- pooling ------------------------------------------------------------------------------------------

    def max_pool(self, x: Array, window: Window) -> Array:
        if not fit(x):
            return super().max_pool(x, window)
        y = np.empty((len(x), *window.out_size, x.shape[-1]), FLOAT32)
        shape, work = _described(window, x.shape[-1], 0, 1), x.size * POINT
        _succeed(self.compiled(work).max_pool(shape, len(x), at(x), at(y), threads_for(work)))
        return y

    def max_pool_grad(self, g: Array, x: Array, y: Array, window: Window) -> Array:
        if not fit(x, y) or g.dtype is not FLOAT32 or g.shape != y.shape:
            return super().max_pool_grad(g, x, y, window)
        g, dx = np.ascontiguousarray(g), np.empty_like(x)
        shape, work = _described(window, x.shape[-1], 0, 1), x.size * POINT
        _succeed(self.compiled(work).max_pool_grad(shape, len(x), at(g), at(x), at(y), at(dx), threads_for(work)))
        return dx

    def average_pool(self, x: Array, window: Window) -> Array:
        if not fit(x):
            return super().average_pool(x, window)
        y = np.empty((len(x), *window.out_size, x.shape[-1]), FLOAT32)
        shape, work = _described(window, x.shape[-1], 0, 1), x.size * POINT
        _succeed(self.compiled(work).average_pool(shape, len(x), at(x), at(y), threads_for(work)))
        return y

    def average_pool_grad(self, g: Array, window: Window) -> Array:
        if g.dtype is not FLOAT32 or g.shape[1:-1] != window.out_size:
            return super().average_pool_grad(g, window)
        g, dx = np.ascontiguousarray(g), np.empty((len(g), *window.in_size, g.shape[-1]), FLOAT32)
        shape, work = _described(window, g.shape[-1], 0, 1), dx.size * POINT
        _succeed(self.compiled(work).average_pool_grad(shape, len(g), at(g), at(dx), threads_for(work)))
        return dx

    # --- number by number ---------------------------------------------------------------------------------

    def activate(self, activation: Activation | None, y: Array) -> Array:
        kind = _kind(activation)
        if not kind or not fit(y):
            return super().activate(activation, y)
        work = y.size * POINT
        self.compiled(work).activate(kind, y.size, at(y), threads_for(work))
        return y

    def activate_grad(self, activation: Activation | None, g: Array, y: Array) -> Array:
        kind = _kind(activation)
        if not kind or not fit(y) or g.dtype is not FLOAT32 or g.shape != y.shape:
            return super().activate_grad(activation, g, y)
        g, dx = np.ascontiguousarray(g), np.empty_like(y)
        work = y.size * POINT
        self.compiled(work).activate_grad(kind, y.size, at(g), at(y), at(dx), threads_for(work))
        return dx

    def count_beyond(self, y: Array, middle: float, limit: float) -> Array:
        if not fit(y):
            return super().count_beyond(y, middle, limit)
        return np.int64(self.compiled(y.size * POINT).count_beyond(y.size, at(y), middle, limit))

    def dropout(self, x: Array, bits: Array, threshold: int, scale: float) -> Array:
        each = x.size // max(1, len(x))
        if not fit(x) or bits.shape != (len(x), each) or bits.strides[1] != 2:
            return super().dropout(x, bits, threshold, scale)
        y = np.empty_like(x)
        self.compiled(x.size * POINT).dropout(
            len(x), each, at(x), at(bits), bits.strides[0] // 2, threshold, scale, at(y)
        )
        return y

    def normalise(self, images: Array, index: Array | None, scale: Array, shift: Array) -> Array:
        """Declines all but bytes."""
        whole = images.dtype == np.uint8 and images.flags.c_contiguous
        whole = whole and scale.shape == shift.shape == images.shape[1:]
        if not whole or not fit(scale, shift) or (index is not None and index.dtype != np.int64):
            return super().normalise(images, index, scale, shift)
        index = None if index is None else np.ascontiguousarray(index)
        y = np.empty((len(images if index is None else index), *images.shape[1:]), FLOAT32)
        c = self.compiled(y.size * POINT)
        if c.normalise(len(y), scale.size, len(images), at(images), at(index), at(scale), at(shift), at(y)):
            raise IndexError(f"an index is outside 0 to {len(images) - 1}")
        return y

    def cross_entropy(
        self, logits: Array, targets: Array, count: Array, smoothing: float, weights: Array | None = None
    ) -> tuple[Array, Array]:
        whole = targets.dtype == np.int64 and targets.flags.c_contiguous and targets.shape == logits.shape[:1]
        if weights is not None or not fit(logits) or not whole:
            return super().cross_entropy(logits, targets, count, smoothing, weights)
        dx = np.empty_like(logits)
        c = self.compiled(logits.size * 8 * POINT)  # an exponential takes long
        loss = c.cross_entropy(*logits.shape, at(logits), at(targets), smoothing, count, at(dx))
        if loss == -1:
            raise ValueError(f"a target is no class: targets go from 0 to {logits.shape[1] - 1}")
        return FLOAT32.type(loss), dx

    def observe(self, y: Array) -> tuple[Array, Array]:
        if not fit(y):
            return super().observe(y)
        sums = np.empty(y.shape[-1], FLOAT32)
        return sums, np.float64(
            self.compiled(y.size * POINT).observe(y.size // y.shape[-1], y.shape[-1], at(y), at(sums))
        )

    def square_sum(self, x: Array) -> Array:
        if not fit(x):
            return super().square_sum(x)
        work = x.size * POINT
        return np.float64(self.compiled(work).square_sum(x.size, at(x), threads_for(work)))

    def example_words(
        self, seed: int, purpose: str, layer: str, *, epoch: int, step: int, first: int, examples: int, words_each: int
    ) -> Array:
        each = -(-words_each // BLOCK)  # blocks
        words = np.empty((examples, each * BLOCK), np.uint64)
        philox = self.compiled(words.size * 4 * POINT).philox
        philox(seed, label(purpose, layer), first * each, step, epoch, examples * each, at(words))
        return words[:, :words_each]

    # --- updates ------------------------------------------------------------------------------------------

    def sgd(self, w: Array, g: Array, lr: float) -> None:
        if not fit(w, g):
            return super().sgd(w, g, lr)
        work = w.size * POINT
        self.compiled(work).sgd(w.size, at(w), at(g), lr, threads_for(work))

    def momentum(self, w: Array, g: Array, v: Array, momentum: float, lr: float) -> None:
        if not fit(w, g, v):
            return super().momentum(w, g, v, momentum, lr)
        work = w.size * POINT
        self.compiled(work).momentum(w.size, at(w), at(g), at(v), momentum, lr, threads_for(work))

    def nesterov(self, w: Array, g: Array, v: Array, momentum: float, lr: float) -> None:
        if not fit(w, g, v):
            return super().nesterov(w, g, v, momentum, lr)
        work = w.size * POINT
        self.compiled(work).nesterov(w.size, at(w), at(g), at(v), momentum, lr, threads_for(work))

    def adam(
        self,
        w: Array,
        g: Array,
        m: Array,
        v: Array,
        beta1: float,
        beta2: float,
        rate: float,
        correction: float,
        epsilon: float,
    ) -> None:
        if not fit(w, g, m, v):
            return super().adam(w, g, m, v, beta1, beta2, rate, correction, epsilon)
        work = 4 * w.size * POINT
        c, threads = self.compiled(work), threads_for(work)
        c.adam(w.size, at(w), at(g), at(m), at(v), beta1, beta2, rate, correction, epsilon, threads)


def _a_row(bias: Array | None, w: Array) -> bool:
    return bias is None or bias.shape == w.shape[-1:]


def _gradients(x: Array, w: Array, needed: Needed, late: bool = False) -> tuple[Array | None, Array, Array | None]:
    """Room for dx where it is wanted, dw unless it comes late, and db where there is a bias."""
    return (
        np.empty_like(x) if needed[0] else None,
        None if late else np.empty_like(w),
        np.empty(w.shape[-1], FLOAT32) if needed[2] else None,
    )
