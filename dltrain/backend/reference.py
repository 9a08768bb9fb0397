"""What every kernel computes, in plain array code: the specification, and the oracle of the tests.

A method is here because some backend does it faster; a faster class overrides it and declines with `super()`. Kernels
know no Tensors. They take float32 and float64, of numpy or CuPy. Channels come last everywhere:
    x: (N, *in_size, C)     w: (*kernel, C/groups, K)     y, g: (N, *out_size, K)
with N examples, C input channels, K output channels, and g = dLoss/dy. Those of sequences: reference_sequence.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import inf, prod
from typing import Any

import numpy as np

from dltrain.backend.gelu import gelu
from dltrain.backend.reference_sequence import SequenceReference
from dltrain.backend.updates import Updates
from dltrain.random import example_words
from dltrain.window import Window

Array = Any
Observed = tuple[Array, Array, Array | None]  # what `observe` gives, and None where nothing was counted


@dataclass(frozen=True)
class Activation:
    """What conv and dense can apply to values that are still in the cache.

    forward(xp, y) turns y into f(y) in place; gradient(xp, g, y) is g · f'(x), written in terms of y = f(x).
    name: by which a backend knows those that it applies by itself. slope: below 0, where it has one.
    """

    name: str
    forward: Callable[[Any, Array], None]
    gradient: Callable[[Any, Array, Array], Array]
    slope: float = 0.0


class Reference(Updates, SequenceReference):
    """name: as env.json tells it. note: why there are no faster ones, where somebody may want to know.
    capturable: whether a step's calls can be captured and replayed, see capture.py.
    """

    name = "reference"
    note = ""
    capturable = False

    # --- dense --------------------------------------------------------------------------------------------

    def dense(self, x: Array, w: Array, bias: Array | None, activation: Activation | None) -> Array:
        """activation(x @ w + bias). x: (N, in), w: (in, out), bias: (out,)."""
        y = x @ w
        if bias is not None:
            y += bias
        return self.activate(activation, y)

    def dense_grad(
        self, g: Array, x: Array, w: Array, y: Array, activation: Activation | None, needed: Sequence[bool]
    ) -> tuple[Array | None, Array, Array | None]:
        """dLoss/dx, dLoss/dw and dLoss/dbias; needed: which of them (dw always)."""
        g = self.activate_grad(activation, g, y)
        return g @ w.T if needed[0] else None, x.T @ g, self.column_sums(g) if needed[2] else None

    def column_sums(self, rows: Array) -> Array:
        """(..., C) -> (C,)"""
        return rows.reshape(-1, rows.shape[-1]).sum(axis=0)

    # --- windows: one idea for convolution and pooling ----------------------------------------------------

    def _pad(self, x: Array, window: Window, value: float = 0) -> Array:
        """(N, *in_size, C) -> (N, *padded_size, C); x itself where nothing is to be added."""
        if not any(map(any, window.padding)):
            return x
        padded = self.xp.full((len(x), *window.padded_size, x.shape[-1]), value, x.dtype)
        padded[inside(window)] = x
        return padded

    def _windows(self, x: Array, window: Window, value: float = 0) -> Array:
        """(N, *in_size, C) -> (N, *out_size, *kernel, C): a view of the padded input; only the strides change."""
        padded = self._pad(x, window, value)
        n, *spatial, c = padded.strides
        steps = (s * step for s, step in zip(spatial, window.stride, strict=True))
        taps = (s * step for s, step in zip(spatial, window.dilation, strict=True))
        shape = len(x), *window.out_size, *window.kernel, x.shape[-1]
        return self.xp.lib.stride_tricks.as_strided(padded, shape, (n, *steps, *taps, c))

    def _windows_grad(self, dv: Array, window: Window) -> Array:
        """The adjoint of `windows`: each value is added back to where it was read."""
        dx = self.xp.zeros((len(dv), *window.padded_size, dv.shape[-1]), dv.dtype)
        everywhere = (slice(None),) * (1 + len(window.kernel))
        for position, at in offsets(window):
            dx[at] += dv[(*everywhere, *position)]
        return dx[inside(window)]

    # --- convolution --------------------------------------------------------------------------------------

    def conv(
        self, x: Array, w: Array, window: Window, groups: int, bias: Array | None, activation: Activation | None
    ) -> Array:
        """activation(x ∗ w + bias). Cross-correlation, as everywhere in the field."""
        values, axes = self._windows(x, window), len(window.kernel) + 1
        parts = zip(split(values, groups), split(w, groups), strict=True)
        y = self.xp.concatenate([self.xp.tensordot(v, k, axes) for v, k in parts], axis=-1)
        if bias is not None:
            y += bias
        return self.activate(activation, y)

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
        """dLoss/dx, dLoss/dw and dLoss/dbias; needed: which of them (dw always)."""
        g = self.activate_grad(activation, g, y)
        return (
            self.conv_input_grad(g, w, window, groups) if needed[0] else None,
            self.conv_weight_grad(g, x, window, groups),
            self.column_sums(g) if needed[2] else None,
        )

    def conv_weight_grad(self, g: Array, x: Array, window: Window, groups: int) -> Array:
        """dLoss/dw (*kernel, C/groups, K) of a convolution without activation."""
        over = tuple(range(len(window.kernel) + 1))  # examples and positions
        parts = zip(split(self._windows(x, window), groups), split(g, groups), strict=True)
        return self.xp.concatenate([self.xp.tensordot(v, of, (over, over)) for v, of in parts], axis=-1)

    def conv_input_grad(self, g: Array, w: Array, window: Window, groups: int) -> Array:
        """dLoss/dx (N, *in_size, C) of a convolution without activation."""
        parts = zip(split(g, groups), split(w, groups), strict=True)
        values = self.xp.concatenate([self.xp.tensordot(of, k, ((-1,), (-1,))) for of, k in parts], axis=-1)
        return self._windows_grad(values, window)

    def conv_transpose(
        self, x: Array, w: Array, window: Window, groups: int, bias: Array | None, activation: Activation | None
    ) -> Array:
        """activation(y + bias), y what carries a gradient x (N, *out_size, K) back through a convolution."""
        y = self.conv_input_grad(x, w, window, groups)
        return self.activate(activation, y if bias is None else y + bias)

    # --- pooling ------------------------------------------------------------------------------------------

    def max_pool(self, x: Array, window: Window) -> Array:
        """The largest value under each window; padding never wins."""
        return self._windows(x, window, -inf).max(axis=kernel_axes(window))

    def max_pool_grad(self, g: Array, x: Array, y: Array, window: Window) -> Array:
        """The gradient goes to the first position, in reading order, that holds the maximum."""
        values = self._windows(x, window, -inf)
        flat = values.reshape(*g.shape[:-1], prod(window.kernel), g.shape[-1])
        hit = flat == y[..., None, :]
        first = hit & (hit.cumsum(axis=-2) == 1)
        return self._windows_grad((first * g[..., None, :]).reshape(values.shape), window)

    def average_pool(self, x: Array, window: Window) -> Array:
        """The mean of what lies under each window; padding is not counted."""
        return self._windows(x, window).sum(axis=kernel_axes(window)) / self._counts(x, window)

    def average_pool_grad(self, g: Array, window: Window) -> Array:
        """Each input under a window gets an equal share."""
        share = (g / self._counts(g, window)).reshape(*g.shape[:-1], *[1] * len(window.kernel), g.shape[-1])
        return self._windows_grad(self.xp.broadcast_to(share, (*g.shape[:-1], *window.kernel, g.shape[-1])), window)

    def _counts(self, like: Array, window: Window) -> Array:
        """How many inputs lie under each window: (1, *out_size, 1)."""
        ones = self.xp.ones((1, *window.in_size, 1), like.dtype)
        return self._windows(ones, window).sum(axis=kernel_axes(window))

    # --- normalisation ------------------------------------------------------------------------------------

    def standardise(
        self, x: Array, scale: Array | None, shift: Array | None, groups: int, epsilon: float
    ) -> tuple[Array, Array, Array]:
        """y = scale · (x - mean) / √(variance + epsilon) + shift, and mean and variance, (M, groups), of all rows of an
        example and C/groups neighbouring channels. x: (M, R, C), scale and shift: (C,).

        The mean is taken again of what is left over and corrected by that (Chan, Golub, LeVeque, "Algorithms for
        Computing the Sample Variance", 1983, section 3).
        """
        cut = x.reshape(*x.shape[:2], groups, x.shape[-1] // groups)
        mean = self._means(cut)
        rest = self._means(cut - mean)  # a float32 sum of many numbers far from 0 is off by more than they spread
        centred = cut - mean - rest
        variance = self._means(centred * centred)
        y = (centred / self.xp.sqrt(variance + epsilon)).reshape(x.shape)
        y = y if scale is None else y * scale
        return y if shift is None else y + shift, (mean + rest)[:, 0, :, 0], variance[:, 0, :, 0]

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
        """dLoss/dx, dLoss/dscale and dLoss/dshift by the formula in ops/normalise.py; needed: which of them."""
        cut = x.reshape(*x.shape[:2], mean.shape[1], x.shape[-1] // mean.shape[1])
        inverse = 1 / self.xp.sqrt(variance[:, None, :, None] + epsilon)
        centred = cut - mean[:, None, :, None]
        standard = (centred - self._means(centred)) * inverse
        h = (g if scale is None else g * scale).reshape(cut.shape)
        dx = (h - self._means(h) - standard * self._means(h * standard)) * inverse
        return (
            dx.reshape(x.shape) if needed[0] else None,
            self.column_sums(g * standard.reshape(x.shape)) if needed[1] else None,
            self.column_sums(g) if needed[2] else None,
        )

    def _means(self, x: Array) -> Array:
        """(M, R, G, D) -> (M, 1, G, 1)"""
        return x.mean(axis=(1, 3), keepdims=True)

    # --- number by number ---------------------------------------------------------------------------------

    def activate(self, activation: Activation | None, y: Array) -> Array:
        """y, changed in place."""
        if activation is not None:
            activation.forward(self.xp, y)
        return y

    def activate_grad(self, activation: Activation | None, g: Array, y: Array) -> Array:
        """g · f'(x) in terms of y = f(x), C-contiguous."""
        return self.xp.ascontiguousarray(g) if activation is None else activation.gradient(self.xp, g, y)

    def activated(self, activation: Activation, x: Array) -> Array:
        """f(x), a new array, also of one of numpy's numbers."""
        y = self.xp.empty(x.shape, x.dtype)
        y[...] = x
        return self.activate(activation, y)

    def add(self, a: Array, b: Array) -> Array:
        """a + b, with broadcasting; one of the two may be a number, here and below."""
        return a + b

    def subtract(self, a: Array, b: Array) -> Array:
        return a - b

    def multiply(self, a: Array, b: Array) -> Array:
        return a * b

    def assign(self, y: Array, x: Array) -> None:
        """y[...] = x, which broadcasts; y may be a view."""
        y[...] = x

    def packed(self, x: Array) -> Array:
        """The same numbers, C-contiguous."""
        return self.xp.ascontiguousarray(x)

    def concatenate(self, axis: int, *parts: Array) -> Array:
        """The parts one after the other along an axis."""
        return self.xp.concatenate(parts, axis=axis)

    def sum(self, x: Array, axes: tuple[int, ...], count: int = 1) -> Array:
        """The sum over these axes, which stay with length 1, divided by count."""
        y = x.sum(axis=axes, keepdims=True)
        return y if count == 1 else y / count

    def spread(self, x: Array, shape: tuple[int, ...], count: int = 1) -> Array:
        """x / count at every place of an array of this shape, to which x broadcasts."""
        return self.xp.broadcast_to(x if count == 1 else x / count, shape)

    def one_like(self, x: Array) -> Array:
        """1 for each value: what a gradient begins with."""
        return self.xp.ones_like(x)

    def dropout(self, x: Array, bits: Array, threshold: int, scale: float) -> Array:
        """x · scale where the bits are at least the threshold, 0 elsewhere. bits: (N, values of an example) uint16."""
        return x * (bits >= threshold).reshape(x.shape) * scale

    def normalise(self, images: Array, index: Array | None, scale: Array, shift: Array) -> Array:
        """The images at these places (all where None) times scale plus shift, both as large as an image."""
        return (images if index is None else images[index]).astype(scale.dtype) * scale + shift

    def example_words(
        self, seed: int, purpose: str, layer: str, *, epoch: int, step: int, first: int, examples: int, words_each: int
    ) -> Array:
        """random.example_words, in this kind of array."""
        key = {"epoch": epoch, "step": step, "first": first, "examples": examples, "words_each": words_each}
        return self.xp.asarray(example_words(seed, purpose, layer, **key))

    # --- few numbers of many ------------------------------------------------------------------------------

    def cross_entropy(
        self, logits: Array, targets: Array, count: Array, smoothing: float, weights: Array | None = None
    ) -> tuple[Array, Array]:
        """The loss of ops/loss.py and its gradient. logits: (N, C), targets: (N,)."""
        xp = self.xp
        shifted = logits - logits.max(axis=1, keepdims=True)
        exps = xp.exp(shifted)
        sums = exps.sum(axis=1, keepdims=True)
        surprise = xp.log(sums) - shifted  # -log softmax: infinite where a logit is -∞, so not to be multiplied by 0
        wanted = targets[:, None] == xp.arange(logits.shape[1])
        if smoothing:
            wanted = (wanted * (1 - smoothing) + smoothing / logits.shape[1]).astype(logits.dtype)
        terms = wanted * surprise if smoothing else xp.where(wanted, surprise, 0)
        each = 1 if weights is None else weights[:, None]
        return (each * terms).sum() / count, each * (exps / sums - wanted) / count

    def number_loss(
        self, name: str, prediction: Array, targets: Array, scale: float, delta: float = 1.0
    ) -> tuple[Array, Array]:
        """The loss of ops/loss.py that has this name, and its gradient. prediction, targets: (N, …); or one target."""
        xp, off = self.xp, prediction - targets
        if name == "mse":
            values, slopes = off * off, 2 * off
        elif name == "mae":
            values, slopes = xp.abs(off), xp.sign(off)
        elif name == "huber":
            slopes = xp.maximum(xp.minimum(off, delta), -delta)
            values = slopes * (off - 0.5 * slopes)
        else:
            tail = xp.exp(-xp.abs(prediction))
            values = xp.maximum(prediction, 0) - prediction * targets + xp.log1p(tail)
            slopes = xp.where(prediction > 0, 1, tail) / (1 + tail) - targets
        return values.sum() / scale, slopes / scale

    def gelu(self, x: Array, approximate: bool) -> tuple[Array, Array]:
        """The op of ops/activation.py, and its derivative."""
        return gelu(self.xp, x, approximate)

    def count_right(self, logits: Array, targets: Array) -> Array:
        """How many rows of the logits (N, C) are largest at their target."""
        return (logits.argmax(axis=1) == targets).sum()

    def add_at(self, places: Array, values: Array, size: int) -> Array:
        """For every place below `size` the sum of the values that have it, in their order. places, values: (N,)."""
        y = self.xp.zeros(size, values.dtype)
        self.xp.add.at(y, places, values)
        return y

    def confusion(self, wanted: Array, said: Array, classes: int) -> Array:
        """How many examples of class i were taken for class j, at i · classes + j. wanted, said: (N,), int64."""
        return self.xp.bincount(wanted * classes + said, minlength=classes * classes)

    def square_sum(self, x: Array) -> Array:
        """Σ x²"""
        flat = x.reshape(-1)
        return self.xp.dot(flat, flat)

    def observe(self, y: Array, middle: float = 0.0, limit: float = inf) -> tuple[Array, Array, Array]:
        """The sums by column (last axis), that of all squares, how many values are beyond `limit` from the middle."""
        beyond = 0 if limit == inf else (self.xp.abs(y - middle) > limit).sum()
        return self.column_sums(y), self.square_sum(y), beyond

    def tallying(self, seen: list[Observed], alive: Array, totals: Array) -> Callable[[], None]:
        """A function that adds what was observed of some layers, as these arrays then have it, to an epoch's sums.

        On the host. alive: columns ever above 0, one layer's after the other's. totals: (layers, 3) float64, of x, of
        x² and of how many were beyond the limit.
        """

        def tally() -> None:
            alive[...] |= np.concatenate([columns > 0 for columns, _, _ in seen])
            totals[...] += [(columns.sum(dtype=np.float64), s, 0 if b is None else b) for columns, s, b in seen]

        return tally


def inside(window: Window) -> tuple[slice, ...]:
    """Where the input lies in (N, *padded_size, C)."""
    spatial = (slice(before, before + i) for (before, _), i in zip(window.padding, window.in_size, strict=True))
    return slice(None), *spatial


@lru_cache(maxsize=256)  # a net asks for the same ones in every step
def offsets(window: Window) -> list[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Each position in the kernel, and where in (N, *padded_size, C) it meets all outputs."""
    found = []
    for position in product(*map(range, window.kernel)):
        each = zip(position, window.dilation, window.stride, window.out_size, strict=True)
        at = (slice(p * dilation, p * dilation + (out - 1) * stride + 1, stride) for p, dilation, stride, out in each)
        found.append((position, (slice(None), *at)))
    return found


def split(x: Array, groups: int) -> list[Array]:
    """The parts of the last axis that belong to each group: views."""
    size = x.shape[-1] // groups
    return [x[..., i * size : (i + 1) * size] for i in range(groups)]


def kernel_axes(window: Window) -> tuple[int, ...]:
    """Of what `windows` gives."""
    n = len(window.kernel)
    return tuple(range(n + 1, 2 * n + 1))
