"""A table of calls of the kernels in C: sizes on both sides of every vector, tile, panel and block.

Run as a program, `python native_calls.py LIBRARY`, it makes every call with every instruction set, for builds that have
to run in a process of their own; `beyond` as a second word reads and writes beyond the end of an array.
"""

import sys
from collections.abc import Iterator
from hashlib import sha256
from itertools import product
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
from native_arrays import broadcasts
from native_call import (
    CHANGED,
    FUNCTIONS,
    LEAKY,
    OTHERS,
    REFERENCE,
    RELU,
    SIGMOID,
    TANH,
    Call,
    assert_close,
    outputs,
    values,
)
from native_sequences import sequences

from dltrain.backend import Activation
from dltrain.backend.compiled import INSTRUCTION_SETS, Library, at
from dltrain.backend.device import CPU_PIECE
from dltrain.backend.native import NativeKernels
from dltrain.errors import DeviceError, ShapeError
from dltrain.ops.activation import FUSED
from dltrain.window import Window

__all__ = ["CHANGED", "FUNCTIONS", "REFERENCE", "Call", "assert_close", "bits_of", "calls", "libraries", "values"]
Array = Any
WIDTHS = (1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 64, 65)  # channels around the widths of vectors and panels
# --- convolution ------------------------------------------------------------------------------------------------------


def convolution(
    window: Window,
    examples: int,
    channels: int,
    filters: int,
    groups: int = 1,
    bias: bool = True,
    activation: Activation | None = None,
    dx: bool = True,
) -> Iterator[Call]:
    """Forward and backward. channels, filters: of each group."""
    x = values(examples, *window.in_size, channels * groups)
    w = values(*window.kernel, channels, filters * groups, seed=1)
    b = values(filters * groups, seed=2) if bias else None
    shape = (examples, *window.out_size, filters * groups)
    named = activation.name if activation else "no activation"
    name = f"{examples} examples, {channels} to {filters} channels, {groups} groups, bias {bias}, {named}, {window}"
    taps = int(np.prod(window.kernel))
    yield Call("conv", name, (x, w, window, groups, b, activation), taps * channels)
    yield Call(
        "conv_grad",
        f"dx {dx}, {name}",
        (values(*shape, seed=3), x, w, outputs(*shape), window, groups, activation, [dx, True, bias]),
        max(taps * filters, examples * int(np.prod(window.out_size))),
    )
    b = values(channels * groups, seed=2) if bias else None
    yield Call("conv_transpose", name, (values(*shape, seed=3), w, window, groups, b, activation), taps * filters)


SIZES = {1: [(7,), (8,)], 2: [(5, 6), (1, 7)], 3: [(3, 2, 5), (4, 3, 1)]}
KERNELS = {1: [(1,), (3,)], 2: [(3, 2), (1, 4)], 3: [(2, 1, 2), (1, 3, 1)]}
UNEVEN = {1: (3,), 2: (3, 1), 3: (1, 2, 3)}  # another number for each dimension


def windows(dimensions: int) -> Iterator[Window]:
    uneven = UNEVEN[dimensions]
    for size, kernel, stride, padding, dilation in product(
        SIZES[dimensions], KERNELS[dimensions], (1, 2, uneven), ("valid", "same", 2, uneven), (1, 2, uneven)
    ):
        try:
            yield Window.of(size, kernel, stride, padding, dilation)
        except ShapeError:
            continue


def convolutions() -> Iterator[Call]:
    pick = Random(0).choice
    for dimensions in (1, 2, 3):
        for window in windows(dimensions):
            yield from convolution(
                window, pick((1, 3)), pick((1, 2, 3, 5, 9)), pick((1, 2, 3, 5, 17)), pick((1, 1, 2, 3)),
                pick((True, False)), pick((None, RELU, RELU, TANH, SIGMOID)), pick((True, False)),
            )  # fmt: skip
    square = Window.of((2, 3), 3, 1, "same")
    for channels, filters in product(WIDTHS, WIDTHS):
        yield from convolution(
            square, 2, channels, filters, activation=pick((None, RELU)), dx=pick((True, True, False))
        )
    for groups, channels, filters in product((2, 3), (1, 16, 17, 33), (1, 8, 31, 33)):
        yield from convolution(square, 2, channels, filters, groups, activation=RELU)
    for size, channels, filters, stride, groups in (
        (3, 1, 1, 1, 128),
        (3, 1, 1, 2, 128),
        (3, 160, 16, 2, 1),
        (5, 48, 16, 1, 1),
    ):
        yield from convolution(Window.of((9, 7), size, stride, "same"), 9, channels, filters, groups)  # many weights
    for size in range(1, 31):  # tiles of every height: along a row of the picture, and along the channels
        yield from convolution(Window.of((size,), 1), 2, size, 3)
        for filters in (5, 33):
            yield from convolution(Window.of((size + 1,), 2), 2, 3, filters, activation=OTHERS[size % len(OTHERS)])
    yield from convolution(Window.of((40, 33), 3, 1, "same"), 2, 64, 3)  # more than a strip
    yield from winograd()
    yield from convolution(Window.of((71, 32), (2, 1), 2, "valid"), 1, 65, 2, dx=False)
    yield from convolution(Window.of((1, 1), 1), 1, 1, 1)


def winograd() -> Iterator[Call]:
    """What goes by Winograd's minimal filtering: tiles that reach over the edge, blocks that end within a picture."""
    pick = Random(3).choice
    for size, padding in product([(4, 4), (5, 9), (8, 7), (14, 16)], ("same", "valid", 2, (2, 1), (0, 2))):
        try:
            window = Window.of(size, 3, 1, padding)
        except ShapeError:
            continue
        channels, filters, bias = pick((16, 32, 48)), pick((16, 32, 48)), pick((True, False))
        yield from convolution(
            window,
            pick((1, 2, 5)),
            channels,
            filters,
            1,
            bias,
            pick((None, RELU, RELU, TANH)),
            pick((True, True, False)),
        )
    yield from convolution(Window.of((30, 64), 3, 1, "same"), 1, 16, 16)  # more than a block
    yield from convolution(Window.of((4, 4), 3, 1, "same"), 40, 64, 80)


# --- dense ------------------------------------------------------------------------------------------------------------


def products() -> Iterator[Call]:
    """Around blocks of 256 steps, 384 columns, 48 or 112 rows; in the gradients these are examples and inputs."""
    pick = Random(1).choice
    sizes = (
        [(n, 5, 3) for n in range(1, 30)] + [(3, 5, width) for width in WIDTHS] + [(3, width, 5) for width in WIDTHS]
    )
    sizes += [(1, 1, 1), (47, 300, 17), (113, 256, 33), (115, 257, 31), (225, 3, 384), (260, 9, 385), (50, 513, 401),
              (300, 49, 5), (257, 130, 33), (513, 20, 64), (5, 300, 784), (2, 300, 31)]  # fmt: skip
    for examples, inputs, units in sizes:
        x, w = values(examples, inputs), values(inputs, units, seed=1)
        bias, activation, dx = pick((True, False)), pick((None, RELU, TANH, SIGMOID)), pick((True, True, False))
        bias = bias or units > 384  # another block of columns
        b = values(units, seed=2) if bias else None
        named = activation.name if activation else "no activation"
        name = f"{examples} by {inputs} by {units}, bias {bias}, {named}"
        yield Call("dense", name, (x, w, b, activation), inputs)
        g, y = values(examples, units, seed=3), outputs(examples, units)
        call = (g, x, w, y, activation, [dx, True, bias])
        yield Call("dense_grad", f"dx {dx}, {name}", call, max(examples, units))


# --- pooling ----------------------------------------------------------------------------------------------------------


def pools() -> Iterator[Call]:
    pick = Random(2).choice
    for dimensions in (1, 2, 3):
        for window in windows(dimensions):
            yield from pool(window, pick((1, 2)), pick((1, 3, 5, 16, 19)))
    for channels in (*WIDTHS, 71):
        yield from pool(Window.of((4, 5), 2, 2), 2, channels)
        yield from pool(Window.of((4, 5), 3, 2, "same"), 2, channels)


def pool(window: Window, examples: int, channels: int) -> Iterator[Call]:
    """Of whole numbers, so that the largest is often there twice."""
    name, terms = f"{examples} examples, {channels} channels, {window}", int(np.prod(window.kernel))
    x = np.round(values(examples, *window.in_size, channels) * 2) + np.float32(0)  # no -0
    with np.errstate(all="ignore"):
        y = REFERENCE.max_pool(x, window)
        seen = np.isfinite(REFERENCE.average_pool(x, window)).all()
    g = values(*y.shape, seed=1)
    yield Call("max_pool", name, (x, window))
    yield Call("max_pool_grad", name, (g, x, y, window), terms)
    if seen:  # the mean of nothing is not asked for
        yield Call("average_pool", name, (x, window), terms)
        yield Call("average_pool_grad", name, (g, window), terms)


# --- normalisation ----------------------------------------------------------------------------------------------------


def norms() -> Iterator[Call]:
    """(examples, rows, channels, groups): few numbers, lines of several rows, the last of which are left over, several
    blocks; whole rows by themselves."""
    pick = Random(4).choice
    shapes = [(1, rows, c, c) for rows, c in product((5, 8, 500), (1, 3, 16, 33, 96))]
    shapes += [(1, 40, 700, 700), (1, 9000, 5, 5), (3, 5, 6, 6), (2, 300, 33, 33), (2, 3, 6, 2), (3, 900, 24, 8)]
    shapes += [(rows, 1, c, 1) for rows, c in product((1, 5, 130), (5, 31, 32, 33, 300))]
    shapes += [(4, 1, 12, 3), (3, 5, 6, 1)]
    for examples, rows, channels, groups in shapes:
        x = values(examples, rows, channels) * 3 + pick((0, 1, 100))
        scale = values(channels, seed=1) if pick((True, False)) else None
        shift = values(channels, seed=2) if pick((True, False)) else None
        needed = [pick((True, True, False)), scale is not None, shift is not None]
        _, mean, variance = REFERENCE.standardise(x.astype(np.float64), scale, shift, groups, 1e-5)
        name = f"{examples} by {rows} by {channels} in {groups}, scale {needed[1]}, shift {needed[2]}"
        numbers = rows * channels // groups
        yield Call("standardise", name, (x, scale, shift, groups, 1e-5), numbers)
        g, statistics = values(examples, rows, channels, seed=3), (mean.astype(np.float32), variance.astype(np.float32))
        yield Call("standardise_grad", f"{name}, dx {needed[0]}", (g, x, scale, *statistics, 1e-5, needed), x.size)


# --- number by number -------------------------------------------------------------------------------------------------


def pointwise() -> Iterator[Call]:
    rng = np.random.default_rng(3)
    for activation, size in product((RELU, TANH, SIGMOID, LEAKY, FUSED["relu6"]), (1, 15, 16, 17, 1000)):
        x, y = values(size) * 4, values(size)
        activation.forward(np, y)
        x.flat[-1] = 0
        yield Call("activate", f"{activation.name} of {size}", (activation, x))
        yield Call("activated", f"{activation.name} of {size}", (activation, x))
        yield Call("activate_grad", f"{activation.name} of {size}", (activation, values(size, seed=1), y))
    for examples, each, first in product((0, 1, 5), (1, 4, 7), (0, 3)):
        settings = {"epoch": 2, "step": 1 << 33, "first": first, "examples": examples, "words_each": each}
        yield Call("example_words", f"{settings}", ((1 << 64) - 3, "dropout", "layer"), settings=settings)
    yield from broadcasts()
    for kind, shape in product(("mse", "mae", "huber", "labels_cross_entropy"), [(1, 1), (5, 3), (2, 3, 4, 5)]):
        x, targets, terms = values(*shape) * 3, np.abs(outputs(*shape)), int(np.prod(shape))
        for wanted in (targets, 0.9):
            yield Call("number_loss", f"{kind} of {shape}", (kind, x, wanted, 3.0 * terms, 0.7), terms)
    for size in (1, 3, 63, 64, 65, 100, 4095, 4096, 4097, 9000):
        yield Call("square_sum", f"{size} numbers", (values(size),), size)
        w, g, m, v = (values(size, seed=seed) for seed in range(4))
        yield Call("sgd", f"{size} weights", (w, g, 0.1), 2)
        yield Call("momentum", f"{size} weights", (w, g, v, 0.9, 0.1), 3)
        yield Call("nesterov", f"{size} weights", (w, g, v, 0.9, 0.1), 4)
        yield Call("adam", f"{size} weights", (w, g, m, v * v, 0.9, 0.999, 0.01, 1000, 1e-8), 8)
        yield Call("adam", f"{size} weights, first step", (w, g, 0 * m, 0 * v, 0.9, 0.999, 0.01, 1, 1e-8), 8)
    for shape in [
        (1,),
        (5, 1),
        (300, 3),
        (4, 3, 31),
        (257, 32),
        (9, 33),
        (2, 150, 64),
        (3, 65),
        (2, 2, 2, 200),
        (5, 513),
        (3, 300, 1),
        (2, 60, 33),
        (2, 20, 20, 32),
    ]:
        yield Call("column_sums", f"{shape}", (values(*shape),), int(np.prod(shape)))
        for middle, limit in ((0.0, np.inf), (0.0, 0.9), (0.5, 1.1)):
            yield Call("observe", f"{shape} about {middle}", (values(*shape), middle, limit), int(np.prod(shape)))
    for shape in [(1, 1), (3, 5), (4, 3, 7), (5, 64), (2, 3, 5, 31)]:
        each = int(np.prod(shape[1:]))
        bits = rng.integers(0, 1 << 64, (shape[0], -(-each // 4)), np.uint64).view(np.uint16)[:, :each]
        for threshold in (0, 1, 16384, 65535, int(bits[0, 0])):
            scale = 65536 / (65536 - threshold)
            yield Call("dropout", f"{shape} below {threshold}", (values(*shape), bits, threshold, scale))
    for shape in [(1, 1), (4, 5, 3), (3, 4, 4, 17)]:
        images, index = rng.integers(0, 256, shape, np.uint8), rng.integers(0, shape[0], 7)
        for places in (None, index, index[::2]):
            scale, shift = values(*shape[1:]), values(*shape[1:], seed=1)
            yield Call("normalise", f"{shape} at {places}", (images, places, scale, shift), 2)
    for (n, classes), smoothing in product([(1, 1), (5, 2), (7, 10), (3, 33), (33, 100)], (0.0, 0.1)):
        logits, targets = values(n, classes) * 4, rng.integers(0, classes, n)
        targets[0], targets[-1] = 0, classes - 1
        yield Call("cross_entropy", f"{n} of {classes}, {smoothing}", (logits, targets, 2 * n, smoothing), n * classes)
        yield Call("count_right", f"{n} of {classes}", (np.round(logits) if smoothing else logits, targets))
    alike = (values(40, 5) > 0).astype(np.float32)  # several that are largest, before the target and after it
    yield Call("count_right", "alike", (alike, np.arange(40) % 5))


def calls() -> list[Call]:
    return [*convolutions(), *products(), *pools(), *norms(), *pointwise(), *sequences()]


# --- running them -----------------------------------------------------------------------------------------------------


def poisoned() -> Any:
    """New arrays hold NaN, so that what a kernel does not write shows."""

    def empty(shape: Any, dtype: Any = float) -> Array:
        return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 77, dtype)

    return patch.multiple(np, empty=empty, empty_like=lambda a: empty(a.shape, a.dtype))


def libraries(path: str | Path) -> list[Library]:
    """Of all the instruction sets that this machine runs."""
    found = []
    for name in INSTRUCTION_SETS:
        try:
            found.append(Library(str(path), name))
        except DeviceError as error:
            if "does not run" not in str(error):
                raise
    return found


def bits_of(compiled: Any, table: list[Call]) -> list[str]:
    """A hash of what each call gives, to the last bit; every not-a-number is the same one."""
    kernels = NativeKernels(compiled, CPU_PIECE)

    def hashed(arrays: list[Array]) -> str:
        return sha256(
            b"".join((np.where(np.isnan(a), np.nan, a) if a.dtype.kind == "f" else a).tobytes() for a in arrays)
        ).hexdigest()

    with poisoned():
        return [hashed(call.of(kernels)) for call in table]


if __name__ == "__main__":
    for compiled in libraries(sys.argv[1]):
        if "beyond" in sys.argv[2:]:
            w, g = values(1000), values(1001)
            compiled.free["sgd"](1001, at(w), at(g), 0.1, 1)
        bits_of(compiled, calls())
        print(compiled.instruction_set)
