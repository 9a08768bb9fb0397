"""The kernels in C (folder `c`), for float32 on the CPU: plain numpy's results up to rounding, several times faster.

Each method says when it declines; then plain numpy does the work.
"""

from collections.abc import Callable, Sequence
from math import inf, prod
from typing import Any

import numpy as np

from dltrain.backend.compiled import FLOAT32, address, fit, on_line
from dltrain.backend.layout import described
from dltrain.backend.native_arrays import POINT, fixed
from dltrain.backend.native_sequence import NativeSequences
from dltrain.backend.reference import Activation, Observed
from dltrain.random import BLOCK, label
from dltrain.window import Window

Array = Any

ACTIVATIONS = {"relu": 1, "tanh": 2, "sigmoid": 3, "leaky_relu": 4, "relu6": 5}  # as c/activation.inc has them
NUMBER_LOSSES = ("mse", "mae", "huber", "labels_cross_entropy")  # as in c/pointwise.inc
ON_THE_WAY_OUT = 3  # up to here dense and conv apply them


def _kind(activation: Activation | None, known: int = ON_THE_WAY_OUT) -> int:
    """What C calls it; 0 where there is none, or one that is not among the first `known`."""
    kind = ACTIVATIONS.get(activation.name, 0) if activation else 0
    return kind if kind <= known else 0


class NativeKernels(NativeSequences):
    """Kernels in C where they fit, plain numpy elsewhere."""

    # --- dense and convolution ----------------------------------------------------------------------------

    def dense(self, x: Array, w: Array, bias: Array | None, activation: Activation | None) -> Array:
        if not fit(x, w, bias) or x.ndim != 2 or not x.size or x.shape[1:] != w.shape[:1] or not _a_row(bias, w):
            return super().dense(x, w, bias, activation)
        y = np.empty((len(x), w.shape[1]), FLOAT32)
        kind = _kind(activation)
        self._run("dense", len(x) * w.size, len(x), *w.shape, x, w, bias, kind, y)
        return y if kind else self.activate(activation, y)

    def dense_grad(
        self, g: Array, x: Array, w: Array, y: Array, activation: Activation | None, needed: Sequence[bool]
    ) -> tuple[Array | None, Array, Array | None]:
        if not fit(x, w, y) or x.ndim != 2 or g.dtype is not FLOAT32 or g.shape != y.shape or not len(x):
            return super().dense_grad(g, x, w, y, activation, needed)
        kind = _kind(activation)
        g = self.packed(g) if kind else self.activate_grad(activation, g, y)
        dx, dw, db = _gradients(x, w, needed)
        y_, work = y if kind else None, 2 * len(x) * w.size
        self._run("dense_grad", work, len(x), *w.shape, g, x, w, kind, y_, dx, dw, db)
        return dx, dw, db

    def conv(
        self, x: Array, w: Array, window: Window, groups: int, bias: Array | None, activation: Activation | None
    ) -> Array:
        if not fit(x, w, bias) or not _a_row(bias, w):
            return super().conv(x, w, window, groups, bias, activation)
        y = on_line((len(x), *window.out_size, w.shape[-1]))
        kind = _kind(activation)
        shape = described(window, x.shape[-1], w.shape[-1], groups)
        self._run("conv", y.size * w.size // w.shape[-1], shape, len(x), x, w, bias, kind, y)
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
        needed: Sequence[bool],
    ) -> tuple[Array | None, Array, Array | None]:
        """Declines padding that reaches beyond the kernel."""
        if not fit(x, w, y) or g.dtype is not FLOAT32 or g.shape != y.shape or not _within(window):
            return super().conv_grad(g, x, w, y, window, groups, activation, needed)
        kind = _kind(activation)
        g = self.packed(g) if kind else self.activate_grad(activation, g, y)
        dx, dw, db = _gradients(x, w, needed)
        shape = described(window, x.shape[-1], w.shape[-1], groups)
        y_, work = y if kind else None, 2 * y.size * w.size // w.shape[-1]
        self._run("conv_grad", work, shape, len(x), g, x, w, kind, y_, dx, dw, db)
        return dx, dw, db

    def conv_transpose(
        self, x: Array, w: Array, window: Window, groups: int, bias: Array | None, activation: Activation | None
    ) -> Array:
        """Declines padding that reaches beyond the kernel."""
        channels = w.shape[-2] * groups
        if not fit(x, w, bias) or not (bias is None or bias.shape == (channels,)) or not _within(window):
            return super().conv_transpose(x, w, window, groups, bias, activation)
        y, kind = on_line((len(x), *window.in_size, channels)), _kind(activation)
        shape = described(window, channels, w.shape[-1], groups)
        self._run("conv_transpose", x.size * w.size // w.shape[-1], shape, len(x), x, w, bias, kind, y)
        return y if kind else self.activate(activation, y)

    # --- pooling ------------------------------------------------------------------------------------------

    def max_pool(self, x: Array, window: Window) -> Array:
        if not fit(x):
            return super().max_pool(x, window)
        y = np.empty((len(x), *window.out_size, x.shape[-1]), FLOAT32)
        self._run("max_pool", 2 * x.size * POINT, described(window, x.shape[-1], 0, 1), len(x), x, y)
        return y

    def max_pool_grad(self, g: Array, x: Array, y: Array, window: Window) -> Array:
        if not fit(x, y) or g.dtype is not FLOAT32 or g.shape != y.shape:
            return super().max_pool_grad(g, x, y, window)
        g, dx = self.packed(g), np.empty_like(x)
        self._run("max_pool_grad", 4 * x.size * POINT, described(window, x.shape[-1], 0, 1), len(x), g, x, y, dx)
        return dx

    def average_pool(self, x: Array, window: Window) -> Array:
        if not fit(x):
            return super().average_pool(x, window)
        y = np.empty((len(x), *window.out_size, x.shape[-1]), FLOAT32)
        self._run("average_pool", 4 * x.size * POINT, described(window, x.shape[-1], 0, 1), len(x), x, y)
        return y

    def average_pool_grad(self, g: Array, window: Window) -> Array:
        if g.dtype is not FLOAT32 or g.shape[1:-1] != window.out_size:
            return super().average_pool_grad(g, window)
        g, dx = self.packed(g), np.empty((len(g), *window.in_size, g.shape[-1]), FLOAT32)
        self._run("average_pool_grad", 4 * dx.size * POINT, described(window, g.shape[-1], 0, 1), len(g), g, dx)
        return dx

    # --- normalisation ------------------------------------------------------------------------------------

    def standardise(
        self, x: Array, scale: Array | None, shift: Array | None, groups: int, epsilon: float
    ) -> tuple[Array, Array, Array]:
        if not fit(x, scale, shift) or not x.size:
            return super().standardise(x, scale, shift, groups, epsilon)
        y, mean, variance = np.empty_like(x), *(np.empty((len(x), groups), FLOAT32) for _ in range(2))
        self._run("standardise", 8 * x.size * POINT, *x.shape, groups, x, scale, shift, epsilon, y, mean, variance)
        return y, mean, variance

    def standardise_grad(
        self,
        g: Array,
        x: Array,
        scale: Array | None,
        mean: Array,
        variance: Array,
        epsilon: float,
        needed: Sequence[bool],
    ) -> tuple[Array | None, Array | None, Array | None]:
        if not fit(x, scale, mean, variance) or g.dtype is not FLOAT32 or g.shape != x.shape or not x.size:
            return super().standardise_grad(g, x, scale, mean, variance, epsilon, needed)
        g, channels = self.packed(g), x.shape[-1]
        dx = np.empty_like(x) if needed[0] else None
        dscale, dshift = (np.empty(channels, FLOAT32) if wanted else None for wanted in needed[1:])
        sizes, given = (*x.shape, mean.shape[1]), (g, x, scale, mean, variance, epsilon)
        self._run("standardise_grad", 12 * x.size * POINT, *sizes, *given, dx, dscale, dshift)
        return dx, dscale, dshift

    # --- number by number ---------------------------------------------------------------------------------

    def activate(self, activation: Activation | None, y: Array) -> Array:
        if not activation or not _kind(activation, len(ACTIVATIONS)) or not fit(y):
            return super().activate(activation, y)
        return self._activate(activation, y, y)

    def activated(self, activation: Activation, x: Array) -> Array:
        if not _kind(activation, len(ACTIVATIONS)) or not fit(x):
            return super().activated(activation, x)
        return self._activate(activation, x, np.empty_like(x))

    def _activate(self, activation: Activation, x: Array, y: Array) -> Array:
        kind = _kind(activation, len(ACTIVATIONS))
        self._call("activate", y.size * POINT, kind, activation.slope, y.size, x, y)
        return y

    def activate_grad(self, activation: Activation | None, g: Array, y: Array) -> Array:
        kind = _kind(activation, len(ACTIVATIONS))
        if not activation or not kind or not fit(y) or g.dtype is not FLOAT32 or g.shape != y.shape:
            return super().activate_grad(activation, g, y)
        g, dx = self.packed(g), np.empty_like(y)
        self._call("activate_grad", y.size * POINT, kind, activation.slope, y.size, g, y, dx)
        return dx

    def gelu(self, x: Array, approximate: bool) -> tuple[Array, Array]:
        if not fit(x):
            return super().gelu(x, approximate)
        y, slope = np.empty_like(x), np.empty_like(x)
        self._call("gelu", 8 * x.size * POINT, approximate, x.size, x, y, slope)
        return y, slope

    def count_right(self, logits: Array, targets: Array) -> Array:
        if not fit(logits) or not _a_class_each(targets, logits) or not logits.size:
            return super().count_right(logits, targets)
        count = np.empty((), np.int64)
        self._call("count_right", logits.size * POINT, *logits.shape, logits, targets, count)
        return count

    def dropout(self, x: Array, bits: Array, threshold: int, scale: float) -> Array:
        each = x.size // max(1, len(x))
        if not fit(x) or bits.shape != (len(x), each) or bits.strides[1] != 2:
            return super().dropout(x, bits, threshold, scale)
        y = np.empty_like(x)
        self._call("dropout", x.size * POINT, len(x), each, x, bits, bits.strides[0] // 2, threshold, scale, y)
        return y

    def one_like(self, x: Array) -> Array:
        return fixed(super().one_like(x))

    def normalise(self, images: Array, index: Array | None, scale: Array, shift: Array) -> Array:
        """Declines all but bytes."""
        whole = images.dtype == np.uint8 and images.flags.c_contiguous
        whole = whole and scale.shape == shift.shape == images.shape[1:]
        if not whole or not fit(scale, shift) or (index is not None and index.dtype != np.int64):
            return super().normalise(images, index, scale, shift)
        index = None if index is None else np.ascontiguousarray(index)
        y = np.empty((len(images if index is None else index), *images.shape[1:]), FLOAT32)
        sizes = len(y), scale.size, len(images)
        if self._call("normalise", y.size * POINT, *sizes, images, index, scale, shift, y):
            raise IndexError(f"an index is outside 0 to {len(images) - 1}")
        return y

    def cross_entropy(
        self, logits: Array, targets: Array, count: Array, smoothing: float, weights: Array | None = None
    ) -> tuple[Array, Array]:
        counted = weights is None and isinstance(count, int | np.integer)
        if not counted or not fit(logits) or not _a_class_each(targets, logits):
            return super().cross_entropy(logits, targets, count, smoothing, weights)
        loss, dx = np.empty((), FLOAT32), np.empty_like(logits)
        work = logits.size * 8 * POINT  # an exponential takes long
        if self._call("cross_entropy", work, *logits.shape, logits, targets, smoothing, count, loss, dx):
            raise ValueError(f"a target is no class: targets go from 0 to {logits.shape[1] - 1}")
        return loss, dx

    def number_loss(
        self, name: str, prediction: Array, targets: Array, scale: float, delta: float = 1.0
    ) -> tuple[Array, Array]:
        one = isinstance(targets, float)
        wanted = fixed(np.full((), targets, FLOAT32)) if one else targets
        if not fit(prediction, wanted) or not (one or wanted.shape == prediction.shape):
            return super().number_loss(name, prediction, targets, scale, delta)
        loss, dx = np.empty((), FLOAT32), np.empty_like(prediction)
        given = (NUMBER_LOSSES.index(name), dx.size, prediction, wanted, 0 if one else 1, scale, delta)
        self._call("number_loss", dx.size * 8 * POINT, *given, loss, dx)
        return loss, dx

    def observe(self, y: Array, middle: float = 0.0, limit: float = inf) -> tuple[Array, Array, Array]:
        if not fit(y):
            return super().observe(y, middle, limit)
        columns = y.shape[-1]
        examples, rows = (len(y), prod(y.shape[1:-1])) if y.ndim > 2 else (1, y.size // columns)
        sums, squares, beyond = np.empty(columns, FLOAT32), np.empty((), np.float64), np.empty((), np.float64)
        self._run("observe", y.size * POINT, examples, rows, columns, y, middle, limit, sums, squares, beyond)
        return sums, squares, beyond

    def tallying(self, seen: list[Observed], alive: Array, totals: Array) -> Callable[[], None]:
        columns, *figures = zip(*seen, strict=True)
        if not fit(*columns) or sum(c.size for c in columns) != alive.size:
            return super().tallying(seen, alive, totals)
        squares, beyond = ([None if a is None else np.asarray(a, np.float64) for a in those] for those in figures)
        kept = list(zip(columns, squares, beyond, strict=True))
        table = np.array([[c.size, address(c), address(s), address(b)] for c, s, b in kept])
        function, places = self.compiled("tally", alive.size), [*map(address, (table, alive, totals))]

        def tally(_: Any = (kept, table, alive, totals)) -> None:  # they stay, for C has their addresses alone
            function(len(kept), *places)

        return tally

    def column_sums(self, rows: Array) -> Array:
        return self.observe(rows)[0] if fit(rows) and rows.size else super().column_sums(rows)

    def square_sum(self, x: Array) -> Array:
        if not fit(x):
            return super().square_sum(x)
        total = np.empty((), np.float64)
        self._call("square_sum", x.size * POINT, x.size, x, total)
        return total

    def example_words(
        self, seed: int, purpose: str, layer: str, *, epoch: int, step: int, first: int, examples: int, words_each: int
    ) -> Array:
        each = -(-words_each // BLOCK)  # blocks
        words = np.empty((examples, each * BLOCK), np.uint64)
        work = 32 * words.size * POINT
        self._call("philox", work, seed, label(purpose, layer), first * each, step, epoch, examples * each, words)
        return words[:, :words_each]

    # --- updates ------------------------------------------------------------------------------------------

    def sgd(self, w: Array, g: Array, lr: float) -> None:
        if not fit(w, g):
            return super().sgd(w, g, lr)
        self._call("sgd", w.size * POINT, w.size, w, g, lr)

    def momentum(self, w: Array, g: Array, v: Array, momentum: float, lr: float) -> None:
        if not fit(w, g, v):
            return super().momentum(w, g, v, momentum, lr)
        self._call("momentum", w.size * POINT, w.size, w, g, v, momentum, lr)

    def nesterov(self, w: Array, g: Array, v: Array, momentum: float, lr: float) -> None:
        if not fit(w, g, v):
            return super().nesterov(w, g, v, momentum, lr)
        self._call("nesterov", w.size * POINT, w.size, w, g, v, momentum, lr)

    def adam(
        self,
        w: Array,
        g: Array,
        m: Array,
        v: Array,
        beta1: float,
        beta2: float,
        lr: float,
        step: int,
        epsilon: float,
    ) -> None:
        if not fit(w, g, m, v):
            return super().adam(w, g, m, v, beta1, beta2, lr, step, epsilon)
        self._call("adam", 8 * w.size * POINT, w.size, w, g, m, v, beta1, beta2, lr, step, epsilon)


def _within(window: Window) -> bool:
    """Whether no padding reaches beyond the kernel."""
    return all(max(pads) < e for pads, e in zip(window.padding, window.extent, strict=True))


def _a_row(bias: Array | None, w: Array) -> bool:
    return bias is None or bias.shape == w.shape[-1:]


def _a_class_each(targets: Array, logits: Array) -> bool:
    return targets.dtype == np.int64 and bool(targets.flags.c_contiguous) and targets.shape == logits.shape[:1]


def _gradients(x: Array, w: Array, needed: Sequence[bool]) -> tuple[Array | None, Array, Array | None]:
    """Room for dx where it is wanted, dw, and db where there is a bias."""
    return (
        np.empty_like(x) if needed[0] else None,
        np.empty_like(w),
        np.empty(w.shape[-1], FLOAT32) if needed[2] else None,
    )
