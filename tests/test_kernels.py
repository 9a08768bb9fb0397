"""The specification and im2col, on every device, against the dumbest possible loops, over all that a window can be."""

from functools import cache
from itertools import product
from typing import Any

import numpy as np
import plain
import pytest
from native_calls import assert_close as assert_within_rounding
from native_calls import calls

from dltrain.backend import Activation, Device, Reference, to_host
from dltrain.backend.cuda import CudaKernels
from dltrain.backend.device import CPU_PIECE
from dltrain.backend.im2col import Im2colKernels
from dltrain.backend.native import NativeKernels
from dltrain.backend.native_arrays import NativeArrays
from dltrain.backend.updates import Updates
from dltrain.engine import distinct
from dltrain.errors import ShapeError
from dltrain.window import Window

Array = Any
EXAMPLES = 3
SIZES = {1: [(7,), (8,)], 2: [(5, 6), (1, 7)], 3: [(3, 2, 5), (4, 3, 1)]}
KERNEL_SIZES = {1: [(1,), (3,)], 2: [(3, 2), (1, 4)], 3: [(2, 1, 2), (1, 3, 1)]}
UNEVEN = {1: (3,), 2: (3, 1), 3: (1, 2, 3)}  # another number for each dimension
Geometry = tuple[tuple[int, ...], tuple[int, ...], Any, Any, Any]  # size, kernel, stride, padding, dilation


@cache
def geometries(dimensions: int) -> list[Geometry]:
    found = []
    for size, kernel, stride, padding, dilation in product(
        SIZES[dimensions],
        KERNEL_SIZES[dimensions],
        (1, 2, UNEVEN[dimensions]),
        ("valid", "same", 2, UNEVEN[dimensions]),
        (1, 2, UNEVEN[dimensions]),
    ):
        try:
            Window.of(size, kernel, stride, padding, dilation)
        except ShapeError:
            continue
        found.append((size, kernel, stride, padding, dilation))
    return found


@cache
def pools(dimensions: int) -> list[Geometry]:
    """Those where every window sees something."""

    def sees(geometry: Geometry) -> bool:
        size, *rest = geometry
        return len(plain.windows(np.zeros((1, *size, 1)), *rest)) == np.prod(plain.out_size(size, *rest))

    return [geometry for geometry in geometries(dimensions) if sees(geometry)]


@cache
def expected_conv(geometry: Geometry, groups: int) -> tuple[Array, ...]:
    """x, w, g, then y, dx and dw from loops."""
    size, kernel, *rest = geometry
    x, w = distinct(EXAMPLES, *size, 2 * groups), distinct(*kernel, 2, 3 * groups, seed=1)
    y = plain.conv(x, w, *rest, groups)
    g = distinct(*y.shape, seed=2)
    return x, w, g, y, *plain.conv_grads(g, x, w, *rest, groups)


@cache
def expected_pools(geometry: Geometry) -> tuple[Array, ...]:
    """x, g, then values and gradients of maximum and average. x has ties."""
    size, *rest = geometry
    x = np.round(distinct(EXAMPLES, *size, 2))
    y = plain.max_pool(x, *rest)
    g = distinct(*y.shape, seed=2)
    return x, g, y, plain.max_pool_grad(g, x, *rest), plain.average_pool(x, *rest), plain.average_pool_grad(g, x, *rest)


def assert_close(found: Array, wanted: Array, what: Any) -> None:
    assert found.shape == wanted.shape, what
    np.testing.assert_allclose(to_host(found), wanted, rtol=1e-11, atol=1e-11, err_msg=str(what))


@pytest.fixture(params=["reference", "im2col"])
def kernels(request: pytest.FixtureRequest, device: Device) -> Reference:
    """im2col with pieces of one example, and of several."""
    return Reference(device.xp) if request.param == "reference" else Im2colKernels(device.xp, 3_000)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_conv(dimensions: int, groups: int, device: Device, kernels: Reference):
    for geometry in geometries(dimensions)[:: 1 if groups == 1 else 5]:
        x, w, g, y, dx, dw = expected_conv(geometry, groups)
        size, kernel, *rest = geometry
        window = Window.of(size, kernel, *rest)
        k, (x, w, g) = kernels, map(device.asarray, (x, w, g))
        assert_close(k.conv(x, w, window, groups, None, None), y, geometry)
        assert_close(k.conv_input_grad(g, w, window, groups), dx, geometry)
        assert_close(k.conv_weight_grad(g, x, window, groups), dw, geometry)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_pooling(dimensions: int, device: Device, kernels: Reference):
    for geometry in pools(dimensions):
        x, g, largest, largest_dx, mean, mean_dx = expected_pools(geometry)
        window = Window.of(*geometry)
        k, (x, g) = kernels, map(device.asarray, (x, g))
        y = k.max_pool(x, window)
        assert_close(y, largest, geometry)
        assert_close(k.max_pool_grad(g, x, y, window), largest_dx, geometry)
        assert_close(k.average_pool(x, window), mean, geometry)
        assert_close(k.average_pool_grad(g, window), mean_dx, geometry)


def test_the_tables_hold_what_they_say():
    """So that no condition above empties them by accident."""
    assert [len(geometries(n)) for n in (1, 2, 3)] == [144, 126, 120]
    assert [len(pools(n)) for n in (1, 2, 3)] == [102, 72, 42]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("finish", [False, True])
def test_bias_and_activation_come_last(bias: bool, finish: bool, device: Device, kernels: Reference):
    """The same in conv and dense: product, bias, then what is to be done in place."""

    def square(xp: Any, y: Array) -> None:
        assert xp is device.xp
        y *= y

    activation = Activation("square", square, lambda xp, g, y: g) if finish else None
    k, b = kernels, distinct(3, seed=2) if bias else np.zeros(3)
    given = device.asarray(b) if bias else None
    x, w = distinct(4, 2), distinct(2, 3, seed=1)
    wanted = x @ w + b
    y = k.dense(device.asarray(x), device.asarray(w), given, activation)
    assert_close(y, wanted**2 if finish else wanted, "dense")
    window = Window.of((1,), 1)
    y = k.conv(device.asarray(x[:, None]), device.asarray(w[None]), window, 1, given, activation)
    assert_close(y[:, 0], wanted**2 if finish else wanted, "conv")


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (2, 3, 4), (2, 3, 2, 3)])
def test_column_sums(shape: tuple[int, ...], device: Device, kernels: Reference):
    rows = distinct(*shape)
    assert_close(kernels.column_sums(device.asarray(rows)), rows.reshape(-1, shape[-1]).sum(0), shape)


@pytest.mark.parametrize("channels", [4, 128])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_size_of_a_piece_changes_nothing_but_rounding(channels: int, groups: int, stride: int, device: Device):
    """Unroll one example at a time, some (the last piece is smaller), all at once."""
    x, w = device.asarray(distinct(5, 6, 5, channels)), device.asarray(distinct(3, 2, channels // groups, 6, seed=1))
    window = Window.of((6, 5), (3, 2), stride, "same")
    g = device.asarray(distinct(5, *window.out_size, 6, seed=2))
    results = []
    pieces = (1, 12_000, 24_000, 800_000, 1 << 30)
    for piece_bytes in pieces:
        k = Im2colKernels(device.xp, piece_bytes)
        y = k.conv(x, w, window, groups, None, None)
        results.append((y, k.conv_input_grad(g, w, window, groups), k.conv_weight_grad(g, x, window, groups)))
    assert_close(results[0][0], plain.conv(to_host(x), to_host(w), stride, "same", 1, groups), "loops")
    for arrays in zip(*results, strict=True):
        for array in arrays[1:]:
            assert_close(array, to_host(arrays[0]), "pieces")


def test_no_examples(device: Device, kernels: Reference):
    """The last shard of a batch may be small, but shapes hold down to none."""
    window, w = Window.of((4,), 2), device.asarray(distinct(2, 3, 5))
    x, g = device.asarray(np.zeros((0, 4, 3))), device.asarray(np.zeros((0, 3, 5)))
    k = kernels
    assert k.conv(x, w, window, 1, None, None).shape == (0, 3, 5)
    assert k.conv_input_grad(g, w, window, 1).shape == x.shape
    assert not to_host(k.conv_weight_grad(g, x, window, 1)).any()
    dense, wide = device.asarray(distinct(3, 70)), device.asarray(np.zeros((0, 70)))
    assert k.dense(x[:, 0], dense, None, None).shape == (0, 70)
    assert k.dense_grad(wide, x[:, 0], dense, wide, None, [True, True, True])[0].shape == (0, 3)
    assert k.max_pool(x, window).shape == k.average_pool(x, window).shape == (0, 3, 3)


# --- every method -----------------------------------------------------------------------------------------------------


def overridden(*kinds: type) -> set[str]:
    own = {name: value for kind in kinds for name, value in vars(kind).items()}
    return {name for name, value in own.items() if callable(value) and not name.startswith("_")}


def test_a_method_is_there_because_some_backend_does_it_faster():
    faster = overridden(Im2colKernels, NativeArrays, NativeKernels, CudaKernels)
    assert overridden(Updates, Reference) == faster


def test_im2col_computes_what_the_reference_does(monkeypatch: pytest.MonkeyPatch):
    """In single precision, against double: every call of the table, and with them every method of its own."""
    seen, kernels = set(), Im2colKernels(np, CPU_PIECE)
    for name in overridden(Im2colKernels):
        own = getattr(kernels, name)
        monkeypatch.setattr(kernels, name, lambda *of, name=name, own=own: [seen.add(name), own(*of)][1])
    for call in calls():
        assert_within_rounding(call.of(kernels), call.of_reference(), call)
    assert seen == overridden(Im2colKernels)
