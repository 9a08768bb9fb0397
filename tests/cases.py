"""One table of cases for every op. It drives the checks of tests/test_ops.py, which also prove it complete."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from cases_of_sequences import Tokens, cases_of_sequences
from cases_of_style import cases_of_style

from dltrain.backend import Device
from dltrain.engine import OPS, Tensor, distinct
from dltrain.errors import ShapeError
from dltrain.ops import FUSED, dropout_words
from dltrain.window import Window

Array = Any


@dataclass(frozen=True)
class Case:
    """One call of an op.

    inputs: float64 numpy arrays, which get gradients; arrays of integers or bools, which are brought to the device;
    anything else is handed over as it is, for example None. settings: its numpy arrays are brought to the device.
    """

    op: str
    name: str
    inputs: tuple[Any, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def positions(self) -> list[int]:
        """Which inputs get gradients."""
        given = [(i, x) for i, x in enumerate(self.inputs) if isinstance(x, np.ndarray)]
        return [i for i, x in given if x.dtype.kind == "f" and not isinstance(x, Tokens)]

    def arrays(self, device: Device) -> list[Array]:
        return [device.asarray(self.inputs[i]) for i in self.positions]

    def function(self, device: Device) -> Callable[..., Any]:
        """The op as a function of the arrays alone."""
        settings = {key: _moved(value, device) for key, value in self.settings.items()}
        others = {i: _moved(x, device) for i, x in enumerate(self.inputs) if i not in self.positions}

        def call(*arrays: Any) -> Any:
            given = others | dict(zip(self.positions, arrays, strict=True))
            return OPS[self.op](*(given[i] for i in range(len(self.inputs))), **settings)

        return call

    def __str__(self) -> str:
        return f"{self.op}: {self.name}"


def _moved(value: Any, device: Device) -> Any:
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    return device.asarray(value) if isinstance(value, np.ndarray) else value


def outputs_of(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- arithmetic, activations, sizes -----------------------------------------------------------------------------------

SHAPES = [(), (1,), (5,), (3, 4), (2, 3, 2), (2, 1, 3, 2)]
PAIRS = [
    ((), ()), ((3,), ()), ((), (3,)), ((3,), (3,)), ((1,), (3,)), ((2, 3), (3,)), ((3,), (2, 3)), ((2, 3), (2, 1)),
    ((2, 1), (1, 3)), ((1, 1), (2, 3)), ((4, 2, 3), (2, 1)), ((2, 3), (4, 1, 3)), ((4, 1, 3), (2, 1)),
]  # fmt: skip
POSITIVE = {"lowest": 0.5, "highest": 3.0}


def elementwise() -> Iterator[Case]:
    for op, ranges in {
        "negative": {}, "exp": {}, "log": POSITIVE, "relu": {}, "leaky_relu": {}, "sigmoid": {}, "tanh": {},
        "elu": {}, "selu": {}, "gelu": {}, "silu": {}, "softplus": {}, "absolute_sum": {}, "square_sum": {},
        "sqrt": POSITIVE, "abs": {}, "sin": {}, "cos": {}, "log_sigmoid": {}, "hard_swish": {}, "relu6": {},
    }.items():  # fmt: skip
        for shape in SHAPES:
            yield Case(op, f"{shape}", (distinct(*shape, **ranges),))
    for shape, p in product([(), (5,), (2, 3, 2)], (1.0, 1.5, 2.0, 3.7)):
        yield Case("p_norm", f"{shape}, p {p}", (distinct(*shape),), {"p": p})
    for op in ("relu6", "hard_swish"):
        yield Case(op, "beyond both bends", (distinct(4, 5, lowest=-9.0, highest=9.0),))
    for slope in (0.0, 0.3):
        yield Case("leaky_relu", f"slope {slope}", (distinct(3, 4),), {"slope": slope})
    yield Case("elu", "alpha 0.3", (distinct(3, 4),), {"alpha": 0.3})
    for shape, approximate in product([(), (3, 4), (2, 3, 2)], ("none", "tanh")):
        yield Case("gelu", f"{shape} by {approximate}", (distinct(*shape),), {"approximate": approximate})
    yield Case("gelu", "far out", (distinct(3, 4, lowest=-6.0, highest=6.0),))
    for bounds in ({"min": -0.5}, {"max": 0.7}, {"min": -1.0, "max": 1}):
        yield Case("clip", f"{bounds}", (distinct(3, 4),), bounds)
    for shape, slope in [((8, 2), (2,)), ((2, 8, 3), (3,)), ((2, 3), (1,)), ((5,), ())]:
        yield Case("prelu", f"{shape} and {slope}", (distinct(*shape), distinct(*slope, seed=1)))
    for shape in [(1,), (5,), (2, 3, 4)]:  # a slope that meets no negative number has no gradient to get wrong
        yield Case("prelu", f"negative {shape}", (-distinct(*shape, **POSITIVE), distinct(*shape, seed=1)))
    for shape in [(5,), (3, 4), (2, 3, 4)]:
        yield Case("softmax", f"{shape}", (distinct(*shape),))
    for axis in (0, 1, -2, -1):
        yield Case("softmax", f"along {axis}", (distinct(2, 3, 4),), {"axis": axis})


def binary() -> Iterator[Case]:
    for op, first, second in (
        ("add", {}, {}), ("subtract", {}, {}), ("multiply", {}, {}), ("divide", {}, POSITIVE), ("power", POSITIVE, {}),
        ("maximum", {}, {}), ("minimum", {}, {}),
    ):  # fmt: skip
        for a, b in PAIRS:
            inputs = distinct(*a, **first), distinct(*b, seed=1, **second)
            if op not in ("maximum", "minimum") or len({*np.ravel(inputs[0] > inputs[1])}) == 2:  # each is chosen once
                yield Case(op, f"{a} and {b}", inputs)
        a = distinct(2, 3, **first)
        number = 0.3 if op in ("maximum", "minimum") else 3.0  # between the values
        yield Case(op, "a number on the right", (a, number))
        yield Case(op, "a number on the left", (number - 1, a))
    yield Case("divide", "by negative numbers", (distinct(4), -distinct(4, **POSITIVE)))
    for exponent in (2, 3, -1, 1.0):
        yield Case("power", f"negative numbers to the {exponent}", (distinct(2, 3), exponent))
    for a, b in [
        ((2, 3), (3, 4)), ((1, 3), (3, 1)), ((5, 2, 3), (5, 3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
        ((2, 1, 2, 3), (4, 3, 2)), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((5, 2, 3), (3,)), ((3,), (5, 3, 2)),
    ]:  # fmt: skip
        yield Case("matmul", f"{a} and {b}", (distinct(*a), distinct(*b, seed=1)))
    for condition, a, b in [((3, 4), (3, 4), (3, 4)), ((3, 1), (4,), (3, 4)), ((4,), (3, 4), (1,)), ((2,), (), (2, 1))]:
        holds = np.arange(np.prod(condition)).reshape(condition) % 3 == 0
        yield Case("where", f"{condition} {a} {b}", (holds, distinct(*a), distinct(*b, seed=1)))
    yield Case("where", "numbers", (distinct(3, 4) > 0, distinct(3, 4), 0.0))
    yield Case("where", "a number first", (distinct(3, 4) > 0, 2.0, distinct(3, 4)))


# --- reductions and shapes --------------------------------------------------------------------------------------------


def reductions() -> Iterator[Case]:
    axes: dict[tuple[int, ...], list[Any]] = {
        (): [None],
        (5,): [None, 0, -1],
        (3, 4): [None, 0, 1, -1, (0, 1), (-1, 0)],
        (2, 3, 4): [None, 1, (0, 2), (-1, -3), (1, 2)],
        (2, 1, 3): [1, (0, 1)],
    }
    for op in ("sum", "mean", "max"):
        for shape, choices in axes.items():
            for axis, keepdims in product(choices, (False, True)):
                name = f"{shape} over {axis}" + ", kept" * keepdims
                yield Case(op, name, (distinct(*shape),), {"axis": axis, "keepdims": keepdims})


def shapes() -> Iterator[Case]:
    for old, new in [
        ((6,), (2, 3)), ((2, 3), (6,)), ((2, 3, 4), (2, -1)), ((2, 3, 4), (4, 3, 2)), ((1,), ()), ((), (1, 1)),
    ]:  # fmt: skip
        yield Case("reshape", f"{old} to {new}", (distinct(*old),), {"shape": new})
    for shape, axes in [
        ((3,), None), ((2, 3), None), ((2, 3), (1, 0)), ((2, 3, 4), None), ((2, 3, 4), (2, 0, 1)),
        ((2, 3, 4), (1, 2, 0)), ((2, 3, 4), (-1, 0, 1)), ((2, 3, 4), (0, -1, 1)), ((2, 3, 4, 5), (3, 0, -2, 1)),
    ]:  # fmt: skip
        yield Case("transpose", f"{shape} by {axes}", (distinct(*shape),), {"axes": axes})
    every = slice(None)
    for key in (
        0, -1, slice(1, 3), slice(None, None, 2), slice(None, None, -1), slice(3, 0, -2), (every, 1), (2, 1, 0),
        Ellipsis, None, (Ellipsis, 0), (None, slice(1, None), 2), (slice(0, 3, 2), -1, slice(None, None, -1)),
    ):  # fmt: skip
        yield Case("index", f"{key}", (distinct(4, 3, 2),), {"key": key})
    rows, some = np.array([[0, -1], [2, 0]]), np.array([True, False, True, True])
    for key in (
        [0, 0, 2], rows, (rows, 1), (slice(None), [1, 1]), ([0, 3, 0], [2, 2, 2]), ([[1], [0]], slice(None), [0, 1, 1]),
        (None, [-1, -1], Ellipsis), some, [True, False, False, True], (some, 0), (0, [1, 1]), distinct(4, 3, 2) > 0,
        np.array(1), ([0, -4], -1, None), (Ellipsis, [1, 0, 1]),
    ):  # fmt: skip
        yield Case("index", f"gathered by {key}", (distinct(4, 3, 2),), {"key": key})
    for axis, parts in [
        (0, [(2, 3)]), (0, [(2,), (2,), (2,)]), (1, [(2, 3), (2, 3)]), (-1, [(2,)] * 2), (-2, [(2,)] * 2),
    ]:  # fmt: skip
        inputs = tuple(distinct(*shape, seed=i) for i, shape in enumerate(parts))
        yield Case("stack", f"{parts} along {axis}", inputs, {"axis": axis})
    yield Case("stack", "numbers", (distinct(), distinct(seed=1)))
    for axis, parts in [
        (0, [(2,), (1,), (3,)]), (0, [(2, 3)]), (0, [(2, 3), (1, 3)]), (1, [(2, 3), (2, 1), (2, 2)]),
        (-1, [(2, 3, 1), (2, 3, 2)]), (-2, [(2, 1, 2), (2, 3, 2)]),
    ]:  # fmt: skip
        inputs = tuple(distinct(*shape, seed=i) for i, shape in enumerate(parts))
        yield Case("concatenate", f"{parts} along {axis}", inputs, {"axis": axis})
    yield Case("concatenate", "the first axis by default", (distinct(2, 2), distinct(1, 2, seed=1)))
    for shape, sections, axis in [((6,), 3, 0), ((2, 6), 2, 1), ((4, 3), 4, 0), ((2, 3, 4), 2, -1), ((2, 3), 1, 0)]:
        settings = {"sections": sections, "axis": axis}
        yield Case("split", f"{shape} into {sections} along {axis}", (distinct(*shape),), settings)
    weights = [distinct(3, seed=7), distinct(2, 2, seed=8)]
    yield Case("weigh", "two outputs", (distinct(3), distinct(2, 2, seed=1)), {"weights": weights})


# --- layers -----------------------------------------------------------------------------------------------------------

SIZES = {1: (7,), 2: (6, 5), 3: (3, 2, 4)}
KERNELS = {1: (3,), 2: (3, 2), 3: (2, 1, 2)}
UNEVEN = {1: (2,), 2: (1, 2), 3: (2, 1, 3)}  # another number for each dimension


def dense() -> Iterator[Case]:
    for (n, inputs, units), bias, activation in product(
        [(1, 1, 2), (4, 3, 2), (2, 5, 3)], (False, True), (None, *FUSED)
    ):
        arrays = distinct(n, inputs), distinct(inputs, units, seed=1), distinct(units, seed=2) if bias else None
        yield Case("dense", f"{n}·{inputs}·{units} bias {bias} {activation}", arrays, {"activation": activation})


def conv_case(name: str, size: tuple[int, ...], kernel: tuple[int, ...], bias: bool, **settings: Any) -> Case:
    groups = settings.get("groups", 1)
    channels, units = (2 * groups, 3 * groups) if groups < 3 else (groups, groups)
    x, w = distinct(2, *size, channels), distinct(*kernel, channels // groups, units, seed=1)
    return Case("conv", name, (x, w, distinct(units, seed=2) if bias else None), settings)


def conv() -> Iterator[Case]:
    for n, stride, padding, dilation, groups in product(
        (1, 2, 3), (1, 2, "uneven"), ("valid", "same", "uneven"), (1, 2), (1, 2)
    ):
        settings = {
            "stride": UNEVEN[n] if stride == "uneven" else stride,
            "padding": UNEVEN[n] if padding == "uneven" else padding,
            "dilation": dilation,
            "groups": groups,
        }
        try:
            Window.of(SIZES[n], KERNELS[n], settings["stride"], settings["padding"], dilation)
        except ShapeError:
            continue  # the dilated kernel is larger than the input
        name = f"{n}d stride {settings['stride']} padding {settings['padding']} dilation {dilation} groups {groups}"
        yield conv_case(name, SIZES[n], KERNELS[n], bias=groups == 2, **settings)
    for n in (1, 2, 3):
        yield conv_case(f"{n}d depthwise", SIZES[n], KERNELS[n], True, groups=3, padding="same", stride=n)
    for n, bias, activation in product((1, 2, 3), (False, True), (None, *FUSED)):
        name = f"{n}d bias {bias} {activation}"
        yield conv_case(name, SIZES[n], KERNELS[n], bias, activation=activation, padding="same")
    yield conv_case("1x1", (3, 3), (1, 1), True)
    yield conv_case("a kernel as large as the input", (3, 4), (3, 4), True)
    yield conv_case("more padding than kernel", (3, 4), (2, 1), True, padding=(3, 2))
    yield conv_case("more stride than kernel", (8, 7), (2, 1), True, stride=(3, 4))
    yield conv_case("uneven dilation", (7, 8), (2, 3), True, dilation=(3, 2))


def conv_transpose_case(name: str, size: tuple[int, ...], kernel: tuple[int, ...], bias: bool, **settings: Any) -> Case:
    groups = settings.get("groups", 1)
    x, w = distinct(2, *size, 3 * groups), distinct(*kernel, 2, 3 * groups, seed=1)
    return Case("conv_transpose", name, (x, w, distinct(2 * groups, seed=2) if bias else None), settings)


def conv_transpose() -> Iterator[Case]:
    small = {1: (4,), 2: (3, 2), 3: (2, 2, 2)}
    for n, stride, padded, dilation, groups in product((1, 2, 3), (1, 2, "uneven"), (False, True), (1, 2), (1, 2)):
        padding = tuple(k - 1 for k in KERNELS[n]) if padded else (0,) * n
        steps = UNEVEN[n] if stride == "uneven" else (stride,) * n
        settings = {"stride": steps, "padding": padding, "dilation": dilation, "groups": groups}
        for more in {(0,) * n, tuple(s - 1 for s in steps)}:
            try:
                Window.transposed(small[n], KERNELS[n], steps, padding, more, dilation)
            except ShapeError:
                continue  # nothing would come out
            name = f"{n}d stride {stride} padding {padding} and {more} dilation {dilation} groups {groups}"
            yield conv_transpose_case(name, small[n], KERNELS[n], groups == 2, **settings, output_padding=more)
    for bias, activation in product((False, True), (None, *FUSED)):
        yield conv_transpose_case(f"bias {bias} {activation}", (3, 2), (2, 3), bias, stride=2, activation=activation)
    yield conv_transpose_case("more padding than kernel", (5, 4), (2, 1), True, padding=(2, 1))
    yield conv_transpose_case("more stride than kernel", (3, 2), (2, 1), True, stride=(3, 4))


def resizing() -> Iterator[Case]:
    for mode, (shape, padding) in product(
        ("zero", "reflect", "replicate"),
        [((2, 4, 2), ((1, 3),)), ((2, 3, 4, 2), ((2, 0), (1, 3))), ((1, 2, 3, 4, 1), ((1, 1), (0, 2), (3, 1)))],
    ):
        yield Case("pad", f"{shape} by {padding}, {mode}", (distinct(*shape),), {"padding": padding, "mode": mode})
    yield Case("pad", "one position", (distinct(2, 1, 3),), {"padding": ((2, 1),), "mode": "replicate"})
    for mode, (shape, factor) in product(
        ("nearest", "bilinear"),
        [((2, 4, 2), 2), ((2, 3, 4, 2), (3, 2)), ((1, 2, 3, 2, 1), (4, 1, 2)), ((2, 1, 3), 5)],
    ):
        yield Case("upsample", f"{shape} times {factor}, {mode}", (distinct(*shape),), {"factor": factor, "mode": mode})


def pool() -> Iterator[Case]:
    for op, n, stride, padding, dilation in product(
        ("max_pool", "average_pool"), (1, 2, 3), (1, 2, "uneven"), ("valid", "same", "uneven"), (1, 2)
    ):
        if padding == "uneven" and dilation > 1:
            continue  # a dilated window can lie in the padding alone
        settings = {
            "kernel": KERNELS[n],
            "stride": UNEVEN[n] if stride == "uneven" else stride,
            "padding": tuple(k - 1 for k in KERNELS[n]) if padding == "uneven" else padding,
            "dilation": dilation,
        }
        name = f"{n}d stride {settings['stride']} padding {settings['padding']} dilation {dilation}"
        yield Case(op, name, (distinct(2, *SIZES[n], 3),), settings)
    for op in ("max_pool", "average_pool"):
        yield Case(op, "one number for all", (distinct(1, 4, 5, 1),), {"kernel": 2, "stride": 2})
        yield Case(op, "over everything", (distinct(2, 3, 4, 2),), {"kernel": (3, 4), "stride": 1})
        yield Case(op, "windows with gaps between them", (distinct(2, 8, 2),), {"kernel": 2, "stride": 3})


def norm() -> Iterator[Case]:
    for shape, affine in product([(2, 3), (3, 4), (2, 3, 4), (2, 2, 3, 4), (2, 2, 1, 2, 5)], (True, False)):
        scale, shift = (distinct(shape[-1], seed=1), distinct(shape[-1], seed=2)) if affine else (None, None)
        yield Case("layer_norm", f"{shape} affine {affine}", (distinct(*shape), scale, shift))
    for shape, groups, affine in product([(2, 4), (3, 3, 4), (2, 2, 3, 4), (2, 2, 1, 2, 4)], (1, 2, 4), (True, False)):
        if shape != (2, 4) or groups == 1:
            scale, shift = (distinct(shape[-1], seed=1), distinct(shape[-1], seed=2)) if affine else (None, None)
            name = f"{shape} in {groups} groups, affine {affine}"
            yield Case("group_norm", name, (distinct(*shape), scale, shift), {"groups": groups})
    for shape, affine in product([(4, 3), (3, 3, 4), (2, 2, 3, 2), (2, 2, 1, 2, 1)], (True, False)):
        scale, shift = (distinct(shape[-1], seed=1), distinct(shape[-1], seed=2)) if affine else (None, None)
        yield Case("batch_norm", f"{shape} affine {affine}", (distinct(*shape), scale, shift))
    arrays = distinct(2, 5, 4), distinct(4, seed=1), distinct(4, seed=2)
    yield Case("layer_norm", "epsilon 0.3", arrays, {"epsilon": 0.3})
    yield Case("batch_norm", "epsilon 0.3", arrays, {"epsilon": 0.3})
    yield Case("group_norm", "epsilon 0.3", arrays, {"groups": 2, "epsilon": 0.3})


def spectral() -> Iterator[Case]:
    for shape, axis in product([(3, 4), (5, 2), (1, 3), (3, 2, 2, 4), (2, 3, 1, 5)], (-1, -2)):
        matrix = np.moveaxis(w := distinct(*shape), axis, -1).reshape(-1, shape[axis])
        v = matrix @ (u := matrix.T @ rng(6).normal(size=len(matrix)))
        settings = {"u": u / np.linalg.norm(u), "v": v / np.linalg.norm(v), "axis": axis}
        yield Case("spectral_norm", f"{shape} along {axis}", (w,), settings)


def dropout() -> Iterator[Case]:
    for shape, rate in product([(4, 3), (3, 5), (2, 3, 3, 2)], (0.0, 0.25, 0.5)):
        words = rng(3).integers(0, 2**64, (shape[0], dropout_words(shape[1:])), np.uint64)
        yield Case("dropout", f"{shape} rate {rate}", (distinct(*shape),), {"rate": rate, "words": words})


def sequences() -> Iterator[Case]:
    yield from (Case(*case) for case in (*cases_of_sequences(), *cases_of_style()))


def losses() -> Iterator[Case]:
    for (n, classes), smoothing, share in product([(1, 2), (4, 3), (5, 10)], (0.0, 0.1), (None, 1, 3)):
        settings = {"label_smoothing": smoothing} | ({"count": n * share} if share else {})
        name = f"{n}x{classes} smoothing {smoothing}" + (f", 1/{share} of a batch" if share else ", the mean")
        yield Case("cross_entropy", name, (distinct(n, classes), rng(4).integers(0, classes, n)), settings)
    for (n, classes), share in product([(1, 2), (4, 3), (5, 10)], (1, 3)):
        inputs = distinct(n, classes), rng(4).integers(0, classes, n)
        yield Case("hinge", f"{n}x{classes}, 1/{share} of a batch", inputs, {"count": n * share})
    for n, share in product((1, 2, 7), (1, 3)):
        inputs = distinct(n, 1), rng(4).integers(0, 2, n)
        yield Case("binary_cross_entropy", f"{n}, 1/{share} of a batch", inputs, {"count": n * share})
        inputs = distinct(n, 1), distinct(n, seed=4, lowest=0.0, highest=1.0)
        yield Case("binary_cross_entropy", f"{n}, 1/{share}, between the classes", inputs, {"count": n * share})
    for (n, labels), share in product([(1, 1), (4, 3), (5, 10)], (None, 1, 3)):
        inputs = distinct(n, labels), rng(4).integers(0, 2, (n, labels)).astype(float)
        name = f"{n}x{labels}" + (f", 1/{share} of a batch" if share else ", the mean")
        yield Case("labels_cross_entropy", name, inputs, {"count": n * share} if share else {})
    for op, columns in (("cross_entropy", 3), ("hinge", 3), ("binary_cross_entropy", 1)):
        inputs, weights = (distinct(5, columns), rng(4).integers(0, 2, 5)), rng(5).uniform(0.1, 3, 5)
        yield Case(op, "examples that count more than others", inputs, {"count": 7.5, "weights": weights})
        yield Case(op, "the mean of these", inputs, {"weights": weights})
        yield Case(op, "the mean", inputs)
    for op, shape, share in product(("mse", "mae", "huber"), [(1, 1), (4, 1), (3, 5), (2, 3, 2)], (1, 3)):
        inputs = distinct(*shape), distinct(*shape, seed=5)
        yield Case(op, f"{shape}, 1/{share} of a batch", inputs, {"count": shape[0] * share})
    for op in ("mse", "mae", "huber"):
        yield Case(op, "the mean", (distinct(4, 2), distinct(4, 2, seed=5)))
        yield Case(op, "whole numbers", (distinct(4, 2), rng(4).integers(-3, 4, (4, 2))))
    yield Case("huber", "delta 0.3", (distinct(6, 4), distinct(6, 4, seed=5)), {"count": 6, "delta": 0.3})


CASES = [
    case
    for family in (
        elementwise,
        binary,
        reductions,
        shapes,
        dense,
        conv,
        conv_transpose,
        resizing,
        pool,
        norm,
        spectral,
        dropout,
        sequences,
        losses,
    )
    for case in family()
]


def cases_of(op: str) -> list[Case]:
    return [case for case in CASES if case.op == op]
