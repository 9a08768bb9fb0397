"""The kernels in C against plain numpy in double precision, with every instruction set that this machine runs."""

import platform
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_calls import (
    FUNCTIONS,
    REFERENCE,
    RELU,
    SIGMOID,
    TANH,
    WIDTHS,
    Call,
    assert_close,
    bits_of,
    calls,
    pointwise,
    poisoned,
    values,
)  # fmt: skip

from dltrain.backend import Reference
from dltrain.backend import compiled as compiled_module
from dltrain.backend.compiled import INSTRUCTION_SETS, TABLE, Library, load
from dltrain.backend.device import CPU_PIECE
from dltrain.backend.native import NativeKernels
from dltrain.backend.native_arrays import NativeArrays
from dltrain.backend.native_sequence import NativeSequences
from dltrain.errors import DeviceError
from dltrain.ops.activation import FUSED
from dltrain.window import Window

Array = Any
C_FILES = Path(__file__).parent.parent / "dltrain" / "backend" / "c"

table = cache(calls)


@cache
def wanted() -> list[list[Array]]:
    return [call.of_reference() for call in table()]


@pytest.fixture(params=INSTRUCTION_SETS)
def compiled(request: pytest.FixtureRequest) -> Library:
    try:
        return load(request.param)
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture
def kernels(compiled: Library) -> NativeKernels:
    return NativeKernels(compiled, CPU_PIECE)


class Watched:
    """A library that notes which functions are called."""

    def __init__(self, compiled: Library):
        self._functions, self.called, self.instruction_set = compiled.free, list[str](), compiled.instruction_set

    def __call__(self, name: str, work: int) -> Any:
        self.called.append(name)
        return self._functions[name]


# --- the table and the interface --------------------------------------------------------------------------------------


def test_the_table_is_read_whole() -> None:
    """Every kernel and argument of c/table.h; that the functions are as it says is for the C compiler to check."""
    text = re.sub(r"/\*.*?\*/", "", (C_FILES / "table.h").read_text(), flags=re.DOTALL)
    words = re.sub(r"\s", "", text.partition("#undef")[0])
    found = ""
    for name, signature in TABLE.items():
        result = "MAY_FAIL" if signature.may_fail else "NEVER_FAILS"
        arguments = (f"{a.kind}({a.type},{a.name})" if a.type else f"{a.kind}({a.name})" for a in signature.arguments)
        found += f"KERNEL({name},{result},{','.join(arguments)})"
    assert found == words
    assert [signature.number for signature in TABLE.values()] == [*range(len(TABLE))]
    kinds = {a.kind for signature in TABLE.values() for a in signature.arguments}
    assert kinds == {"READ", "WRITTEN", "CHANGED", "WINDOW", "NUMBER", "SCALAR", "THREADS"}


def test_c_and_python_agree_on_the_window() -> None:
    struct = (C_FILES / "kernels.h").read_text().partition("typedef struct {")[2].partition("} Window;")[0]
    struct = re.sub(r"/\*.*?\*/", "", struct).replace("i64", "")
    assert re.findall(r"[a-z]+", struct) == [
        "channels", "filters", "groups", "in", "out", "kernel", "stride", "dilation", "before", "after",
    ]  # fmt: skip


@pytest.mark.parametrize("kernel", ["conv", "tally"])
def test_a_library_of_another_version_is_not_called(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose table lacks a kernel, or an argument of it."""
    load()
    signature = TABLE[kernel]
    changed = {kernel: signature._replace(arguments=signature.arguments[1:]), "new": signature}
    for other in (changed, {**TABLE, "new": signature}, {**TABLE, kernel: changed[kernel]}):
        monkeypatch.setattr(compiled_module, "TABLE", other)
        with pytest.raises(DeviceError, match=r"of another version of dltrain; to have them, install"):
            load()


def test_the_table_is_complete(native: NativeKernels) -> None:
    """Every method that is overridden, every function in C, and nothing declined but padding beyond the kernel."""
    watched = Watched(native.compiled)
    kernels, declined = NativeKernels(watched, CPU_PIECE), []  # type: ignore[arg-type]
    seen = set()
    for call in table():
        watched.called.clear()
        call.of(kernels)
        if call.function not in watched.called:
            declined.append(call)
        # conv and dense need these too, plain or not
        assert {call.function} >= {*watched.called} - {"activate", "activate_grad", "observe", "assign"}, call
        seen.update({call.method} if call.function in watched.called else {})
    own = {**vars(NativeArrays), **vars(NativeSequences), **vars(NativeKernels)}
    overridden = {name for name, method in own.items() if callable(method) and not name.startswith("_")}
    overridden -= {"one_like", "tallying"}  # which needs no C, but has to be known to a script; has a test of its own
    assert seen == overridden
    assert {FUNCTIONS.get(method, method) for method in overridden} == set(TABLE) - {"tally"}
    assert {call.method for call in declined} == {"conv_grad", "conv_transpose"}
    for call in declined:
        (window,) = (a for a in call.arguments if isinstance(a, Window))
        assert any(max(p) >= e for p, e in zip(window.padding, window.extent, strict=True)), call


def test_the_table_holds_what_it_says() -> None:
    """Both values of every choice, and every width, beside each other."""
    backward = [call.arguments for call in table() if call.method == "conv_grad"]
    shapes = {(w.shape[-2], w.shape[-1] // groups) for _, _, w, _, _, groups, _, _ in backward}
    assert shapes >= {(c, k) for c in WIDTHS for k in WIDTHS}
    for dimensions in (1, 2, 3):
        of = [a for a in backward if len(a[4].kernel) == dimensions]
        assert {(a[5] > 1, a[6] is RELU, *a[7][::2]) for a in of} == {
            (g, r, dx, b) for g in (False, True) for r in (False, True) for dx in (False, True) for b in (False, True)
        }
        for field in ("stride", "dilation"):
            assert {getattr(a[4], field) for a in of} >= {(1,) * dimensions, (2,) * dimensions}
    assert {a[6] for a in backward} == {None, *FUSED.values()}
    assert {1, 2, 13, 14, 15, 27, 28, 29} <= {a[4].out_size[-1] for a in backward}


# --- values -----------------------------------------------------------------------------------------------------------


def test_every_call_agrees_with_plain_numpy(kernels: NativeKernels) -> None:
    for call, expected in zip(table(), wanted(), strict=True):
        with poisoned():
            found = call.of(kernels)
        assert_close(found, expected, call)
        # squares are added in double precision
        other = call.method in ("square_sum", "observe", "count_right", "example_words")
        assert all(a.dtype == np.float32 or other for a in found), call


def test_avx512_and_avx2_give_the_same_bits() -> None:
    try:
        libraries = [load(name) for name in ("avx2", "avx512")]
    except DeviceError as error:
        pytest.skip(str(error))
    for call, *bits in zip(table(), *(bits_of(compiled, table()) for compiled in libraries), strict=True):
        assert bits[0] == bits[1], call


def test_what_only_moves_or_masks_numbers_equals_plain_numpy_to_the_bit(kernels: NativeKernels) -> None:
    for call in table():
        if call.method in ("max_pool", "dropout", "example_words", "assign", "packed", "concatenate"):
            for found, expected in zip(call.of(kernels), call.of(REFERENCE), strict=True):
                assert found.tobytes() == expected.tobytes(), call


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_not_finite_shows(number: float, kernels: NativeKernels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it shows by the formula, it does in C and in plain numpy. One number of one argument at a time."""
    shown, by_formula = set(), Reference(np)
    tokens = [call for call in table() if call.method.startswith("embedding")]
    for i, call in enumerate([*table()[::5], *tokens, *pointwise()]):
        floats = [a for a in call.arguments if isinstance(a, np.ndarray) and a.dtype == np.float32 and a.size]
        if call.method.startswith("embedding"):  # tokens are places
            floats = floats[:1]
        if not floats:
            continue
        chosen = i % len(floats)
        spoilt = floats[chosen].copy()
        spoilt.flat[i * 7919 % spoilt.size] = number

        def spoil(a: Array, before: Array = floats[chosen], after: Array = spoilt) -> Array:
            return after if a is before else a

        with np.errstate(all="ignore"):
            found, in_numpy = (call.of(k, spoil) for k in (kernels, REFERENCE))
            expected = call.of(by_formula, spoil)
        for f, e, n in zip(found, expected, in_numpy, strict=True):
            here, there = ~np.isfinite(f), ~np.isfinite(e)
            assert not (there & np.isfinite(n)).any(), call
            # numpy multiplies a gradient with the mask of each point of a window, so it shows at all of them
            # and a value that no query sees with 0
            fewer = call.method in ("max_pool_grad", "attention", "attention_grad")
            hidden = there.any() and not here.any() if fewer else (there & ~here).any()
            assert not hidden, f"{call}: float argument {chosen}"
            if there.any():
                shown.add(call.function)
    assert shown == set(TABLE) - {"count_right", "philox", "tally"}  # no floats come out


@pytest.mark.parametrize("scalars", [False, True])
def test_tallying(scalars: bool, kernels: NativeKernels) -> None:
    """Step after step in the same arrays, and in others; sums of several shards are no arrays of 0 dimensions."""
    sizes = 1, 15, 64, 65, 1000
    found = []
    for k in (kernels, REFERENCE):
        rng = np.random.default_rng(0)
        alive, totals = rng.random(sum(sizes)) < 0.1, rng.random((len(sizes), 3)) * 1e3
        columns = [np.empty(size, np.float32) for size in sizes]
        squares, beyond = rng.random((2, len(sizes)))
        seen = [
            (c, s if scalars else squares[i, ...], None if c.size == 64 else beyond[i, ...])
            for i, (c, s) in enumerate(zip(columns, squares, strict=True))
        ]
        tally = k.tallying(seen, alive, totals)
        for _ in range(3):
            for c in columns:
                c[:] = rng.standard_normal(c.size) - 2
            beyond[:] = rng.integers(0, 100, len(sizes))
            if not scalars:
                squares[:] = rng.random(len(sizes))
            tally()
        found.append((alive, totals))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-12)
    assert not found[0][0].all() and found[0][0].mean() > 0.1


def test_relu_keeps_what_is_no_number(kernels: NativeKernels) -> None:
    x, one = np.array([[np.nan], [-np.nan], [-1], [-0.0], [2], [-np.inf], [np.inf]], np.float32), np.ones((1, 1), "f")
    expected = [np.nan, np.nan, 0, 0, 2, 0, np.inf]
    np.testing.assert_array_equal(kernels.dense(x, one, None, RELU)[:, 0], expected)
    window = Window.of((7,), 1)
    np.testing.assert_array_equal(kernels.conv(x[None], one[None], window, 1, None, RELU)[0, :, 0], expected)


def test_tanh_and_sigmoid_are_exact_to_a_few_units_in_the_last_place(kernels: NativeKernels) -> None:
    """From 0 to where they no longer change, and never beyond 1."""
    x = np.concatenate([np.linspace(-25, 25, 200_001), np.logspace(-30, 0, 5001), [np.inf, -np.inf, 1e38]])
    x = x.astype(np.float32)
    for activation, of in ((TANH, np.tanh), (SIGMOID, lambda x: 1 / (1 + np.exp(-x)))):
        found, expected = kernels.activate(activation, x.copy()), of(np.minimum(x, 700).astype(np.float64))
        assert np.abs(found).max() <= 1 and (activation is TANH or found.min() >= 0)
        near_0 = 0.5 if activation is SIGMOID else np.abs(expected)  # sigmoid is half of 1 + tanh
        assert (np.abs(found - expected) <= 5 * 2**-23 * np.maximum(near_0, np.abs(expected))).all()
    assert np.isnan(kernels.activate(TANH, np.array([np.nan], np.float32)))


def test_a_large_offset_costs_a_norm_no_digits(kernels: NativeKernels) -> None:
    """Batch, instance, group and layer normalisation of numbers whose deviation is 1/10,000 of their mean."""
    for shape, groups in [((1, 3000, 20), 20), ((2, 300, 20), 20), ((2, 300, 20), 5), ((30, 1, 200), 1)]:
        x, g, scale = values(*shape) + np.float32(1e4), values(*shape, seed=1), values(shape[-1], seed=2)
        y, *found = kernels.standardise(x, scale, None, groups, 1e-5)
        wide = x.astype(np.float64)
        expected, *exact = REFERENCE.standardise(wide, scale, None, groups, 1e-5)
        np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max(), err_msg=str(shape))
        grads = kernels.standardise_grad(g, x, scale, *found, 1e-5, (True, True, True))
        wanted_grads = REFERENCE.standardise_grad(g, wide, scale, *exact, 1e-5, (True, True, True))
        for f, e in zip(grads, wanted_grads, strict=True):
            np.testing.assert_allclose(f, e, atol=1e-5 * np.abs(e).max(), err_msg=str(shape))


# --- where arrays lie, and none at all --------------------------------------------------------------------------------


def scattered(a: Array) -> Array:
    """The same numbers, not beside each other."""
    return np.repeat(a, 2, axis=-1)[..., ::2]


@pytest.mark.parametrize("change", [scattered, np.asfortranarray], ids=["scattered", "columns first"])
def test_numbers_that_do_not_lie_in_a_row(change: Any, native: NativeKernels) -> None:
    """Copied or declined, whichever of the arguments it is."""
    for call, expected in zip(table()[::11], wanted()[::11], strict=True):
        for only in [a for a in call.arguments if isinstance(a, np.ndarray) and a.dtype == np.float32]:
            assert_close(call.of(native, lambda a, only=only: change(a) if a is only else a), expected, call)


def test_updates_of_views_reach_the_weights(kernels: NativeKernels) -> None:
    w, g, v = scattered(values(9)), values(9, seed=1), values(9, seed=2)
    expected = (w - np.float32(0.1) * g).copy()
    kernels.sgd(w, g, 0.1)
    np.testing.assert_allclose(w, expected, 1e-6)
    for name, settings in {"momentum": (0.9, 0.1), "nesterov": (0.9, 0.1)}.items():
        found, wanted_ = [scattered(values(9)), scattered(v)], [values(9), v.copy()]
        getattr(kernels, name)(found[0], g, found[1], *settings)
        getattr(REFERENCE, name)(wanted_[0], g, wanted_[1], *settings)
        np.testing.assert_allclose(found, wanted_, 1e-5, err_msg=name)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="others compute with tiny numbers as fast")
def test_tiny_moments_become_0_and_nothing_else_does(kernels: NativeKernels) -> None:
    w, m, v = (np.full(100_003, start, np.float32) for start in (1, 1e-40, 1e-40))
    kernels.adam(w, np.zeros_like(w), m, v, 0.9, 0.999, 0.1, 3, 1e-8)
    assert not m.any() and not v.any() and (w == 1).all()
    assert (np.full(1000, 1e-40, np.float32) * np.float32(0.5)).all(), "the mode is this kernel's alone"


def test_adams_average_of_squares_forgets(kernels: NativeKernels) -> None:
    """A large gradient of long ago must not cost the digits of a small one."""
    w, g, m, large = values(1000), values(1000, seed=1), np.zeros(1000, np.float32), np.full(1000, 1e6, np.float32)
    for beta2 in (0.0, 1e-9):
        v = large.copy()
        kernels.adam(w.copy(), g, m.copy(), v, 0.9, beta2, 0.1, 3, 1e-8)
        np.testing.assert_allclose(v, beta2 * 1e6 + (1 - beta2) * g.astype(np.float64) ** 2, 1e-6)


def test_no_examples(kernels: NativeKernels) -> None:
    """The last shard of a batch may be small, but shapes hold down to none; sums over nothing are 0."""
    window, w, b = Window.of((4,), 2), values(2, 2, 5), values(5)
    x, y, pooled = values(0, 4, 2), values(0, 3, 5), values(0, 3, 2)
    flat, all_ = values(0, 4), [True, True, True]
    empty = {
        "conv": (x, w, window, 1, b, RELU), "conv_grad": (y, x, w, y, window, 1, RELU, all_),
        "conv_transpose": (y, w, window, 1, None, RELU),
        "dense": (flat, values(4, 5), b, RELU), "dense_grad": (y[:, 0], flat, values(4, 5), y[:, 0], RELU, all_),
        "max_pool": (x, window),
        "max_pool_grad": (pooled, x, pooled, window), "average_pool": (x, window),
        "average_pool_grad": (pooled, window), "square_sum": (flat,), "observe": (flat,),
        "dropout": (flat, np.zeros((0, 4), np.uint16), 5, 1.5),
        "normalise": (np.zeros((3, 4), np.uint8), np.zeros(0, np.int64), values(4), values(4)),
        "activate": (TANH, flat), "activate_grad": (TANH, flat, flat),
        "sgd": (b[:0], b[:0], 0.1), "momentum": (b[:0], b[:0], b[:0], 0.9, 0.1),
        "nesterov": (b[:0], b[:0], b[:0], 0.9, 0.1), "adam": (*[b[:0]] * 4, 0.9, 0.999, 0.1, 3, 1e-8),
        "count_right": (x[:, 0], np.zeros(0, np.int64)), "number_loss": ("mse", flat, flat, 3.0),
        "standardise": (x, None, None, 2, 1e-5),
        "standardise_grad": (x, x, None, flat[:, :2].copy(), flat[:, :2].copy(), 1e-5, all_),
        "embedding": (values(3, 5), x[..., 0].copy()), "embedding_grad": (x, x[..., 0].copy(), 3), "gelu": (x, False),
    }  # fmt: skip
    never_asked_for = {"cross_entropy", "philox", "tally", "sum_middle", "assign"} | {"combine"}  # is in the table
    never_asked_for |= {"recurrent", "recurrent_grad", "attention", "attention_grad"}  # declined, see there
    assert {*empty} == set(TABLE) - never_asked_for
    for method, arguments in empty.items():
        call = Call(method, "no examples", arguments)
        with poisoned():
            found = call.of(kernels)
        for f, e in zip(found, call.of(REFERENCE), strict=True):
            np.testing.assert_array_equal(f, e, err_msg=method)
