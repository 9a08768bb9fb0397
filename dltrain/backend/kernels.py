"""The array work of the larger ops, in plain array code: the fallback of every device, and the specification.

A method is here because some backend may do it faster; a faster class overrides it and declines with
`super()`. Kernels know no Tensors. Channels come last everywhere:
    x: (N, *in_size, C)     w: (*kernel, C/groups, K)     y, g: (N, *out_size, K)
with N examples, C input channels, K output channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd, inf, prod, sqrt
from types import ModuleType
from typing import Any

import numpy as np

from dltrain.backend import im2col
from dltrain.backend.views import flipped_window, inside, pad, swept, taps
from dltrain.random import example_words
from dltrain.window import Window

Array = Any
CPU_PIECE = 7 << 18  # bytes of unrolled input worked on at a time: about the size of a second-level cache
Observed = tuple[Array, Array, Array | None]  # what `observe` gives, and None where nothing was counted


@dataclass(frozen=True)
class Activation:
    """What conv and dense can apply to values that are still in the cache.

    forward(xp, y) turns y into f(y) in place; gradient(xp, g, y) is g · f'(x), written in terms of y = f(x).
    name: by which a backend knows those that it applies by itself.
    """

    name: str
    forward: Callable[[Any, Array], None]
    gradient: Callable[[Any, Array, Array], Array]


class Kernels:
    """piece_bytes: how much im2col is unrolled at a time. On a CPU a piece should stay in the cache.

    name: as env.json tells it. note: why there are no faster ones, where somebody may want to know.
    """

    note = ""
    capturable = False  # whether a step's calls can be captured and replayed, see script.py
    short_run = 16  # neighbouring numbers under a window that are too few to be copied by themselves
    long_row: float = 24  # values in a row that a matrix product works well with
    long_row_backward: float = 64  # the same where the rows are turned
    large_slice = 1 << 13  # values in the rows of a picture, with which a product is worth its call
    few_filters = 12  # are too few for a product
    line = 1 << 10  # numbers: a shorter bias is repeated until it is worth a call

    def __init__(self, xp: ModuleType, piece_bytes: int):
        self.name = xp.__name__
        self.xp = xp
        self.piece_bytes = piece_bytes

    # --- dense --------------------------------------------------------------------------------------------

    def dense(self, x: Array, w: Array, bias: Array | None, activation: Activation | None) -> Array:
        """activation(x @ w + bias). x: (N, in), w: (in, out)."""
        y = x @ w
        self._add_bias(y, bias)
        self.activate(activation, y)
        return y

    def dense_grad(
        self, g: Array, x: Array, w: Array, y: Array, activation: Activation | None, needed: Sequence[bool]
    ) -> tuple[Array | None, Array, Array | None]:
        """dLoss/dx, dLoss/dw and dLoss/dbias given g = dLoss/dy; needed: which of them (dw always)."""
        g = self.activate_grad(activation, g, y)
        return g @ w.T if needed[0] else None, x.T @ g, self.column_sums(g) if needed[2] else None

    def column_sums(self, rows: Array) -> Array:
        """(..., C) -> (C,). As a product with ones: five times faster than `sum(0)` on a CPU.

        By `dot`, here as everywhere where few numbers come of many: `matmul` would let no other thread run meanwhile.
        """
        rows = rows.reshape(-1, rows.shape[-1])
        return self.xp.dot(self.xp.ones(len(rows), rows.dtype), rows)

    # --- convolution --------------------------------------------------------------------------------------
    #
    # Written as matrix products, see im2col.py.

    def conv(
        self, x: Array, w: Array, window: Window, groups: int, bias: Array | None, activation: Activation | None
    ) -> Array:
        """activation(x ∗ w + bias). Cross-correlation, as everywhere in the field."""
        xp = self.xp
        y = xp.empty((len(x), *window.out_size, w.shape[-1]), x.dtype)
        pieces = im2col.conv(self, x, w, window, groups, y)
        for piece in pieces:
            out = y[piece]
            self._add_bias(out, bias)
            self.activate(activation, out)
        return y

    def _add_bias(self, y: Array, bias: Array | None) -> None:
        """y += bias, by long lines: numpy begins each one anew, and a bias of few channels is a short one."""
        if bias is not None:
            channels = y.shape[-1]
            times = gcd(y.size // channels, 1 << max(0, (self.line // channels).bit_length() - 1))
            lines = y.reshape(-1, times * channels)
            lines += self.xp.tile(self.xp.broadcast_to(bias, (channels,)), times) if times > 1 else bias

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
        """dLoss/dx, dLoss/dw and dLoss/dbias given g = dLoss/dy; needed: which of them (dw always)."""
        g = self.activate_grad(activation, g, y)
        return (
            self.conv_input_grad(g, w, window, groups) if needed[0] else None,
            self.conv_weight_grad(g, x, w, window, groups),
            self.column_sums(g) if needed[2] else None,
        )

    def conv_weight_grad(self, g: Array, x: Array, w: Array, window: Window, groups: int) -> Array:
        """dLoss/dw given g = dLoss/dy."""
        return im2col.weight_grad(self, g, x, w, window, groups)

    def conv_input_grad(self, g: Array, w: Array, window: Window, groups: int) -> Array:
        """dLoss/dx given g = dLoss/dy."""
        flipped = flipped_window(window)
        if flipped is not None:  # with stride 1 the adjoint of a convolution is a convolution with flipped kernels
            return Kernels.conv(self, g, self._flip(w, groups), flipped, groups, None, None)
        xp, channels, inputs = self.xp, w.shape[-1] // groups, w.shape[-2]
        dx = xp.zeros((len(g), *window.padded_size, inputs * groups), g.dtype)
        for i in range(groups):
            matrix = w[..., i * channels : (i + 1) * channels].reshape(-1, channels)
            rows = xp.ascontiguousarray(g[..., i * channels : (i + 1) * channels]).reshape(-1, channels)
            # what im2col gathered is added back where it came from, one kernel position at a time
            columns = (rows @ matrix.T).reshape(len(g), *window.out_size, *window.kernel, inputs)
            for position, where in taps(window):
                dx[(slice(None), *where, slice(i * inputs, (i + 1) * inputs))] += columns[
                    (slice(None), *(slice(None),) * len(where), *position)
                ]
        return inside(dx, window)

    def _flip(self, w: Array, groups: int) -> Array:
        """Kernels reversed in space, inputs and outputs exchanged within each group."""
        spatial = w.ndim - 2
        w = w[(slice(None, None, -1),) * spatial]
        w = w.reshape(*w.shape[:-1], groups, -1)  # (*kernel, C/G, G, K/G)
        w = w.transpose(*range(spatial), -1, -2, -3)  # (*kernel, K/G, G, C/G)
        return self.xp.ascontiguousarray(w).reshape(*w.shape[:-2], -1)

    # --- pooling ------------------------------------------------------------------------------------------

    def max_pool(self, x: Array, window: Window) -> Array:
        """The largest value under each window; padding never wins."""
        return swept(self.xp.maximum, pad(self.xp, x, window, -self.xp.inf), window)

    def max_pool_grad(self, g: Array, x: Array, y: Array, window: Window) -> Array:
        """The gradient goes to the first position, in reading order, that holds the maximum."""
        xp = self.xp
        padded = pad(xp, x, window, -xp.inf)
        dx = xp.zeros(padded.shape, g.dtype)
        disjoint = all(s >= e for s, e in zip(window.stride, window.extent, strict=True))
        open_ = None  # windows whose maximum has not been found yet
        for _, where in taps(window):
            at = (slice(None), *where)
            hit = padded[at] == y
            if open_ is None:
                open_ = ~hit
            else:
                hit &= open_
                open_ ^= hit
            if disjoint:  # no two windows share an input
                xp.multiply(g, hit, out=dx[at])
            else:
                dx[at] += g * hit
        return inside(dx, window)

    def average_pool(self, x: Array, window: Window) -> Array:
        """The mean of what lies under each window; padding is not counted."""
        y = swept(self.xp.add, pad(self.xp, x, window, 0), window)
        y *= self._shares(window, x.dtype)
        return y

    def average_pool_grad(self, g: Array, window: Window) -> Array:
        share = g * self._shares(window, g.dtype)
        if window.tiles:
            for axis in range(len(window.kernel), 0, -1):
                share = self.xp.repeat(share, window.kernel[axis - 1], axis)
            return share
        dx = self.xp.zeros((len(g), *window.padded_size, g.shape[-1]), g.dtype)
        for _, where in taps(window):
            dx[(slice(None), *where)] += share
        return inside(dx, window)

    def _shares(self, window: Window, dtype: Any) -> Array:
        """1 / (inputs under each window): (*out_size, 1), or a number where all have as many."""
        if not any(map(any, window.padding)):
            return 1 / prod(window.kernel)
        ones = self.xp.ones((1, *window.in_size, 1), dtype)
        padded = pad(self.xp, ones, window, 0)
        return 1 / sum(padded[(0, *where)] for _, where in taps(window))

    # --- number by number ---------------------------------------------------------------------------------

    def activate(self, activation: Activation | None, y: Array) -> Array:
        """y, changed in place."""
        if activation is not None:
            activation.forward(self.xp, y)
        return y

    def activate_grad(self, activation: Activation | None, g: Array, y: Array) -> Array:
        """g · f'(x) in terms of y = f(x), C-contiguous."""
        return self.xp.ascontiguousarray(g) if activation is None else activation.gradient(self.xp, g, y)

    def count_right(self, logits: Array, targets: Array) -> Array:
        """How many rows of the logits (N, C) are largest at their target."""
        return (logits.argmax(axis=1) == targets).sum()

    def times(self, x: Array, factor: Array) -> Array:
        """x · factor, one number as an array of 0 dimensions."""
        return x * factor

    def one_like(self, x: Array) -> Array:
        """1 for each value: what a gradient begins with. A kernel, so that a step can do without Python (script.py)."""
        return self.xp.ones_like(x)

    def dropout(self, x: Array, bits: Array, threshold: int, scale: float) -> Array:
        """x · scale where the bits are at least the threshold, 0 elsewhere. bits: (N, values of an example) uint16."""
        masked = x * (bits >= threshold).reshape(x.shape)
        masked *= scale
        return masked

    def normalise(self, images: Array, index: Array | None, scale: Array, shift: Array) -> Array:
        """The images at these places (all where None) times scale plus shift, both as large as an image."""
        y = (images if index is None else images[index]).astype(scale.dtype)
        y *= scale
        y += shift
        return y

    def cross_entropy(
        self, logits: Array, targets: Array, count: Array, smoothing: float, weights: Array | None = None
    ) -> tuple[Array, Array]:
        """The loss of ops/loss.py and its gradient."""
        xp = self.xp
        shifted = logits - logits.max(axis=1, keepdims=True)
        exps = xp.exp(shifted)
        sums = exps.sum(axis=1, keepdims=True)
        wanted = targets[:, None] == xp.arange(logits.shape[1])
        surprise = xp.log(sums) - shifted  # -log softmax: infinite where a logit is -∞, so not to be multiplied by 0
        if smoothing:
            wanted = (wanted * (1 - smoothing) + smoothing / logits.shape[1]).astype(logits.dtype)
            terms = wanted * surprise
        else:
            terms = xp.where(wanted, surprise, 0)
        slopes = exps / sums - wanted
        if weights is not None:
            terms, slopes = weights[:, None] * terms, weights[:, None] * slopes
        return terms.sum() / count, slopes / count

    def add_at(self, places: Array, values: Array, size: int) -> Array:
        """For every place below `size` the sum of the values that have it, in their order. places, values: (N,)."""
        y = self.xp.zeros(size, values.dtype)
        self.xp.add.at(y, places, values)
        return y

    def confusion(self, wanted: Array, said: Array, classes: int) -> Array:
        """How many examples of class i were taken for class j, at i · classes + j. wanted, said: (N,), int64."""
        return self.xp.bincount(wanted * classes + said, minlength=classes * classes)

    def observe(self, y: Array, middle: float = 0.0, limit: float = inf) -> tuple[Array, Array, Array]:
        """The sums by column (last axis), that of all squares, how many values are beyond `limit` from the middle."""
        beyond = 0 if limit == inf else (self.xp.abs(y - middle) > limit).sum()
        return self.column_sums(y), self.square_sum(y), beyond

    def tallying(self, seen: list[Observed], alive: Array, totals: Array) -> Callable[[], None]:
        """A function that adds what was observed of some layers, as these arrays then have it, to an epoch's sums.

        alive: columns ever above 0, one layer's after the other's. totals: (layers, 3) float64, of x, of x² and of how
        many were beyond the limit.
        """
        columns, squares, beyond = zip(*seen, strict=True)
        starts = np.cumsum([0, *(len(c) for c in columns[:-1])])

        def tally() -> None:
            joined = np.concatenate(columns)
            np.logical_or(alive, joined > 0, out=alive)
            totals[:, 0] += np.add.reduceat(joined, starts, dtype=np.float64)
            totals[:, 1:] += [(s, 0 if b is None else b) for s, b in zip(squares, beyond, strict=True)]

        return tally

    def square_sum(self, x: Array) -> Array:
        flat = x.reshape(-1)
        return self.xp.dot(flat, flat)

    def example_words(
        self, seed: int, purpose: str, layer: str, *, epoch: int, step: int, first: int, examples: int, words_each: int
    ) -> Array:
        """random.example_words, in this kind of array."""
        return self.xp.asarray(
            example_words(
                seed, purpose, layer, epoch=epoch, step=step, first=first, examples=examples, words_each=words_each
            )
        )

    # --- updates: the formulas are in optim/ --------------------------------------------------------------

    def sgd(self, w: Array, g: Array, lr: float) -> None:
        w -= lr * g

    def momentum(self, w: Array, g: Array, v: Array, momentum: float, lr: float) -> None:
        v *= momentum
        v += g
        w -= lr * v

    def nesterov(self, w: Array, g: Array, v: Array, momentum: float, lr: float) -> None:
        v *= momentum
        v += g
        w -= lr * (g + momentum * v)

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
        """m, v: the moments. One array for all that is in between; √v̂ + ε is (√v + ε √(1 - β2^t)) / √(1 - β2^t)."""
        late = sqrt(1 - beta2**step)
        m *= beta1
        change = (1 - beta1) * g
        m += change
        v *= beta2
        self.xp.multiply(g, g, out=change)
        change *= 1 - beta2
        v += change
        self.xp.sqrt(v, out=change)
        change += epsilon * late
        self.xp.divide(m, change, out=change)
        change *= lr * late / (1 - beta1**step)
        w -= change
