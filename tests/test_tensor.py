"""What a Tensor is made of, what it holds, and what it refuses."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, boolean_dtypes, floating_dtypes, integer_dtypes
from hypothesis.extra.numpy import unsigned_integer_dtypes as unsigned

import dltrain
from dltrain.backend import Device, to_host
from dltrain.engine import Tensor, gradients
from dltrain.ops import stack

Array = Any
Made = tuple[Any, list[float]]


@pytest.mark.parametrize(
    "data",
    [2, -3, True, 2.5, [1, 2], (1, 2), [[1, 2], [3, 4]], [True, False], np.int64(3), np.bool_(1), np.uint8(9)],
    ids=repr,
)
def test_numbers_and_lists_become_float64(data: Any) -> None:
    x = Tensor(data)
    assert x.data.dtype == np.float64 and np.array_equal(x.data, np.asarray(data, float))
    (g,) = gradients((x * x).sum(), [x])
    assert np.array_equal(g, 2 * np.asarray(data, float))


@given(arrays(st.one_of(integer_dtypes(), unsigned(), boolean_dtypes()), array_shapes(max_side=4)))
def test_whole_numbers_become_float64(values: Array) -> None:
    """Half of a whole number is no whole number: an integer gradient would be cut off."""
    x = Tensor(values)
    assert x.data.dtype == np.float64 and np.array_equal(x.data, values.astype(float))
    (g,) = gradients(x.mean(), [x])
    np.testing.assert_allclose(g, np.full(values.shape, 1 / values.size))


@given(arrays(floating_dtypes(endianness="=", sizes=(16, 32, 64)), array_shapes(max_side=4), elements=st.just(0.5)))
def test_floats_keep_their_precision(values: Array) -> None:
    assert Tensor(values).data is values
    assert Tensor(values.ravel()[0]).data.dtype == values.dtype


def test_on_a_device(device: Device) -> None:
    x = Tensor(device.xp.asarray(np.array([3, 4])))
    assert x.data.dtype == np.float64 and type(x.data) is device.xp.ndarray
    assert to_host(gradients((x / 2).sum(), [x])[0]).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (1j, "complex128 values"),
        (np.ones(2, np.complex64), "complex64 values"),
        ("text", "<U4 values"),
        ([object()], "object values"),
        (None, "object values"),
        ({"a": 1}, "object values"),
        (np.array(["2026-11-30"], "datetime64[D]"), r"datetime64\[D\] values"),
        (np.array([(1.0, 2)], "f4,i4"), r"\[.*\] values"),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), "MaskedArray"),
        (Tensor(1.0), "Tensor"),
        ([Tensor(1.0), Tensor(2.0)], "Tensors, which ops.stack joins"),
        ([Tensor([1.0])], "Tensors, which ops.stack joins"),
    ],
)
def test_refused(data: Any, what: str) -> None:
    with pytest.raises(TypeError, match=f"made of floats, or of integers or bools, which become floats; not of {what}"):
        Tensor(data)


def test_an_op_gives_floats_or_nothing() -> None:
    """A product with a complex number would be one."""
    x = Tensor([1.0, 2.0])
    for call in (lambda: x * 1j, lambda: x + np.array([1j, 2]), lambda: x + np.array(["a", "b"], object)):
        with pytest.raises(TypeError):
            call()


class Sub(np.ndarray):
    """As np.matrix, whose `*` is a matrix product."""

    def __mul__(self, other: Any) -> Any:
        raise AssertionError


def test_a_kind_of_array_of_its_own_is_taken_as_a_plain_one() -> None:
    x = Tensor(np.ones((2, 2)).view(Sub))
    assert type(x.data) is np.ndarray and (x * x).data.tolist() == [[1, 1], [1, 1]]


def test_a_tensor_is_no_setting() -> None:
    """Its gradient would be lost in silence."""
    x = Tensor([[1.0, 2.0]])
    for call in (
        lambda: dltrain.ops.cross_entropy(x, [0], weights=Tensor([1.0])),
        lambda: dltrain.ops.clip(x, min=Tensor(0.0)),
        lambda: x.sum(axis=Tensor(0)),
    ):
        with pytest.raises(TypeError, match=r"takes no gradient of its .*: give an array, not a Tensor"):
            call()


def test_arrays_may_be_given_by_name() -> None:
    a, b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    assert [g.tolist() for g in gradients(dltrain.ops.multiply(a, b=b).sum(), [a, b])] == [[3, 4], [1, 2]]
    prediction, wanted = Tensor([[1.0]]), Tensor([[3.0]])
    assert gradients(dltrain.ops.mse(prediction, targets=wanted), [wanted])[0].tolist() == [[4.0]]
    with pytest.raises(TypeError, match="'w'"):
        dltrain.ops.dense(Tensor([[1.0]]), bias=np.ones(1))


# --- arrays that change between forward and backward ------------------------------------------------------------------


def test_an_array_is_held_and_a_list_is_copied() -> None:
    values, numbers = np.ones(2), [1.0, 1.0]
    held, copied = Tensor(values), Tensor(numbers)
    values[0] = numbers[0] = 5.0
    assert held.data is values and copied.data.tolist() == [1, 1]


def test_what_is_written_into_an_array_before_the_gradient_is_seen_by_it() -> None:
    """As the docstring of Tensor and the tutorial say: d(x²) is taken at the new value."""
    x = Tensor(np.array([3.0]))
    y = x * x
    x.data[0] = 5.0
    assert float(y.data[0]) == 9 and gradients(y.sum(), [x])[0].tolist() == [10]
    assert "whoever writes into such an array" in str(Tensor.__doc__)


def test_a_new_array_leaves_a_standing_graph_alone() -> None:
    """So `w.data = w.data - lr * w.grad` is safe at any time."""
    w = Tensor(np.array([3.0]))
    loss = (w * w).sum()
    w.data = w.data - 100.0
    assert gradients(loss, [w])[0].tolist() == [6]


# --- comparisons, and the operators of numpy --------------------------------------------------------------------------


def test_comparisons_give_bools(device: Device) -> None:
    x, y = Tensor(device.asarray(np.array([1.0, 2.0, 3.0]))), Tensor(device.asarray(np.array([2.0, 2.0, 2.0])))
    found = [x < y, x <= y, x > y, x >= y, x > 1.5, x < 2]
    assert all(f.dtype == bool for f in found)
    assert [to_host(f).astype(int).tolist() for f in found] == [
        [1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1], [0, 1, 1], [1, 0, 0],
    ]  # fmt: skip
    assert to_host(x[x > 1.5].data).tolist() == [2, 3]


def test_methods_that_numpy_users_expect(device: Device) -> None:
    x = Tensor(device.asarray(np.array([-4.0, 9.0])))
    for found, wanted in (
        (abs(x), [4, 9]), (x.abs(), [4, 9]), (x.clip(-1, 2), [-1, 2]), (x.clip(max=0), [-4, 0]),
        (x.clip(min=0), [0, 9]), (abs(x).sqrt(), [2, 3]), ((x * 0).sin(), [0, 0]), ((x * 0).cos(), [1, 1]),
        (x @ x, 97), (stack(x, x)[1], [-4, 9]),
    ):  # fmt: skip
        assert to_host(found.data).tolist() == wanted


# --- `import dltrain` alone -------------------------------------------------------------------------------------------

ALONE = """
import dltrain, sys
assert "numpy" not in sys.modules, "it must stay light"
x = dltrain.Tensor([3.0, 4.0])
loss = dltrain.ops.sqrt((x * x).sum())
loss.backward()
assert x.grad.round(9).tolist() == [0.6, 0.8]
with dltrain.no_grad():
    assert (x * 2).node is None
assert dltrain.gradcheck(lambda a: a * a, x.data) < 1e-6
assert dltrain.gradients((x * x).sum(), [x])[0].tolist() == [6, 8]
assert {"Tensor", "ops", "no_grad", "gradcheck", "load"} <= set(dir(dltrain))
from dltrain import Tensor, ops
"""


def test_everything_is_there_after_import_dltrain() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", ALONE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", dltrain.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(dltrain, name) is not None


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'dltrain' has no attribute 'Tensr'"):
        dltrain.Tensr  # noqa: B018
