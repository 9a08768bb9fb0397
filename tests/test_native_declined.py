"""What the kernels in C decline or refuse: they take all arrays to be whole and of the shapes that are described."""

from typing import Any

import numpy as np
import pytest
from native_calls import REFERENCE, RELU, calls, values

from dltrain.backend.compiled import INSTRUCTION_SETS, load
from dltrain.backend.device import CPU_PIECE
from dltrain.backend.im2col import Im2colKernels
from dltrain.backend.native import NativeKernels
from dltrain.errors import DeviceError
from dltrain.window import Window


class Refusing:
    """A library of which nothing may be called."""

    instruction_set = "none"

    def __call__(self, name: str, work: int) -> Any:
        raise AssertionError(f"{name} was called in C")


IM2COL = Im2colKernels(np, CPU_PIECE)  # whose work it is then


def declining() -> NativeKernels:
    return NativeKernels(Refusing(), CPU_PIECE)  # type: ignore[arg-type]


def test_double_precision_is_declined() -> None:
    for call in calls()[::7]:
        if call.method == "example_words":
            continue
        with np.errstate(all="ignore"):
            found, expected = (call.of(k, lambda a: a.astype(np.float64)) for k in (declining(), IM2COL))
        for f, e in zip(found, expected, strict=True):
            assert f.dtype == e.dtype
            np.testing.assert_array_equal(f, e, err_msg=str(call))


def test_other_declined_inputs() -> None:
    kernels, window = declining(), Window.of((4,), 2)
    x, w, one = values(3, 4, 2), values(2, 2, 5, seed=1), values(1, seed=2)
    assert_same(kernels, "conv", x, w, window, 1, one, None)
    assert_same(kernels, "conv", x, w, window, 1, None, None, of=0)
    assert_same(kernels, "dense", x[0], values(2, 5), one, None)
    assert_same(kernels, "dense", x, values(2, 5), None, None)  # a batch of matrices
    assert_same(kernels, "dense", values(3, 0), values(0, 5), values(5), None)
    assert_same(kernels, "dense_grad", values(0, 5), values(0, 2), values(2, 5), values(0, 5), None, [True] * 3)
    assert_same(kernels, "square_sum", np.float32(3))  # a scalar is no array, though it has a dtype and flags
    images, scale = np.zeros((2, 3, 3), np.uint8), values(3, 3)
    assert_same(kernels, "normalise", images.astype(np.float32), None, scale, scale)
    assert_same(kernels, "normalise", images[:, ::2], None, scale[::2].copy(), scale[::2].copy())
    assert_same(kernels, "normalise", images, np.array([1], np.int32), scale, scale)
    assert_same(kernels, "normalise", images, None, values(3), values(3))
    assert_same(kernels, "cross_entropy", values(2, 3), np.array([0, 2], np.int32), 2, 0.0)
    assert_same(kernels, "cross_entropy", values(2, 3), np.array([0, 9, 2])[::2], 2, 0.0)
    assert_same(kernels, "cross_entropy", values(2, 3), np.array([0, 2]), np.float32(2.5), 0.0, values(2))
    for count in (2.5, np.float32(2.5), np.array(2.5, np.float32)):  # of weights that were left out, say
        assert_same(kernels, "cross_entropy", values(2, 3), np.array([0, 2]), count, 0.0)
    nothing, gates = values(0, 4, 2), (values(2, 9), values(3, 9))
    assert_same(kernels, "gru", nothing, *gates, None, None, None)
    y, start = values(0, 4, 3), values(0, 3)
    assert_same(kernels, "gru_grad", y, nothing, *gates, start, y, values(0, 4, 12), [True] * 6)
    assert_same(kernels, "attention", nothing, values(0, 5, 2), values(0, 5, 2), 1, False, None)
    assert_same(kernels, "attention_grad", nothing, *[nothing] * 3, values(0, 1, 4, 4), [True] * 3)
    assert_same(kernels, "attention", x, x, x, 1, True, np.array([1, 2, 3], np.int32))
    assert_same(kernels, "embedding", values(5, 2), np.array([[0, 4]]))
    bits = np.arange(12, dtype=np.uint16).reshape(3, 4)
    assert_same(kernels, "dropout", values(3, 2), bits[:, ::2], 5, 1.5)


def test_arrays_of_different_lengths_do_not_reach_c() -> None:
    """It would read beyond the end of the shorter one; plain numpy refuses them."""
    window, all_ = Window.of((4,), 2), [True] * 3
    x, w, y, g = values(6, 4, 2), values(2, 2, 2), values(6, 3, 2), values(2, 3, 2)
    arguments: dict[str, tuple[Any, ...]] = {
        "cross_entropy": (values(6, 3), np.array([0, 1]), 6, 0.0),
        "dropout": (values(6, 4), np.zeros((6, 2), np.uint16), 5, 1.5),
        "dense_grad": (values(2, 5), values(6, 4), values(4, 5), values(6, 5), RELU, all_),
        "conv_grad": (g, x, w, y, window, 1, RELU, all_),
        "max_pool_grad": (g, x, y, window),
        "average_pool_grad": (values(6, 2, 2), window),
        "embedding_grad": (values(2, 3, 4), np.zeros((3, 3), np.float32), 3),
        "gru": (x, values(2, 9), values(3, 9), values(8), None, None),
        "lstm": (x, values(2, 12), values(3, 12), None, None, values(5, 3), None),
        "rnn_grad": (values(5, 4, 3), x, values(2, 3), values(3, 3), None, values(6, 4, 3), True, [True] * 6),
        "attention": (x, x, x, 1, False, np.array([1, 2])),
        "attention_grad": (values(5, 4, 2), x, x, x, values(6, 1, 4, 4), all_),
    }
    for method, these in arguments.items():
        with pytest.raises(ValueError):
            getattr(declining(), method)(*these)


def assert_same(kernels: NativeKernels, method: str, *arguments: Any, of: int | None = None) -> None:
    """of: how many examples of the first argument; none at all may go to C or not."""
    if of is not None:
        arguments = (arguments[0][:of], *arguments[1:])
        kernels = NativeKernels(load(), CPU_PIECE)
    found, expected = (getattr(k, method)(*arguments) for k in (kernels, REFERENCE))
    for f, e in zip(*(r if isinstance(r, tuple) else (r,) for r in (found, expected)), strict=True):
        np.testing.assert_array_equal(f, e)
        assert f.dtype == e.dtype and f.shape == e.shape


@pytest.fixture(params=INSTRUCTION_SETS)
def kernels(request: pytest.FixtureRequest) -> NativeKernels:
    try:
        return NativeKernels(load(request.param), CPU_PIECE)
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("target", [-1, 3, 1 << 40])
def test_a_target_that_is_no_class(target: int, kernels: NativeKernels) -> None:
    with pytest.raises(ValueError, match="targets go from 0 to 2"):
        kernels.cross_entropy(values(2, 3), np.array([0, target]), 2, 0.1)


@pytest.mark.parametrize("index", [-1, 2, 1 << 40])
def test_an_index_outside(index: int, kernels: NativeKernels) -> None:
    with pytest.raises(IndexError, match="outside 0 to 1"):
        kernels.normalise(np.zeros((2, 3), np.uint8), np.array([0, index]), values(3), values(3))


@pytest.mark.parametrize("token", [-1, 3, 0.5, 1e30, np.nan])
def test_a_token_that_is_no_place(token: float, kernels: NativeKernels) -> None:
    with pytest.raises(IndexError, match="no place in a table of 3"):
        kernels.embedding(values(3, 2), np.array([0, token], np.float32))
