"""The engine: what a graph is, what `backward` and `gradients` promise, and whether `gradcheck` would notice."""

import gc
import operator
import threading
import weakref
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import numpy as np
import pytest
from conftest import device_of

from dltrain.backend import Device, to_host
from dltrain.engine import OPS, GraphError, Node, Tensor, distinct, gradcheck, gradients, no_grad, op
from dltrain.errors import DltrainError
from dltrain.ops import concatenate, conv, cross_entropy, max_pool, split

Array = Any


def tensor(device: Device, values: Any) -> Tensor:
    return Tensor(device.asarray(np.asarray(values, float)))


def values(x: Any) -> Any:
    return to_host(x).tolist()


# --- backward ---------------------------------------------------------------------------------------------------------


def test_the_example_of_the_lecture(device: Device):
    a, b = tensor(device, 2.0), tensor(device, 3.0)
    c = a * b
    c.backward()
    assert [values(t.grad) for t in (a, b, c)] == [3.0, 2.0, 1.0]


def test_every_node_gets_its_gradient():
    """At a prompt: numbers in, and each step of a longer formula keeps its gradient."""
    a, b = Tensor(2), Tensor(3.0)
    product = a * b
    total = product + a
    square = total**2
    assert a.grad is None
    square.backward()
    # square = (ab + a)² = 64: d/dtotal = 2·8, d/da = 16·(b + 1), d/db = 16·a
    assert [float(t.grad) for t in (square, total, product, a, b)] == [1, 16, 16, 64, 32]
    assert float(square.data) == 64


def test_a_gradient_has_the_shape_of_its_tensor(device: Device):
    x, w = tensor(device, np.ones((4, 3))), tensor(device, np.ones((3, 2)))
    y = x @ w
    loss = (y * y).mean()
    loss.backward()
    for t in (x, w, y, loss):
        assert t.grad.shape == t.shape and t.grad.dtype == np.float64


def test_two_layers_trained_by_hand(device: Device):
    """No layers, no optimizer: exclusive or, from tensors alone."""
    rng = np.random.default_rng(1)
    x = device.asarray(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]))
    wanted = device.asarray(np.array([[0.0], [1.0], [1.0], [0.0]]))
    parameters = [tensor(device, rng.normal(size=shape)) for shape in ((2, 8), (1, 8), (8, 1), (1, 1))]
    w1, b1, w2, b2 = parameters
    for _ in range(200):
        hidden = 2 / (1 + (-2 * (x @ w1 + b1)).exp()) - 1  # the hyperbolic tangent
        error = hidden @ w2 + b2 - wanted
        loss = (error * error).mean()
        loss.backward()
        for p in parameters:
            p.data = p.data - 0.1 * p.grad
    assert float(to_host(loss.data)) < 1e-2


def test_backward_overwrites_what_an_earlier_one_left():
    x = Tensor([1.0, 2.0])
    for _ in range(2):
        (x * 3).sum().backward()
    assert values(x.grad) == [3, 3]


def test_a_tensor_made_by_hand_is_a_graph_of_one():
    x = Tensor(5.0)
    x.backward()
    assert float(x.grad) == 1


# --- sums over paths --------------------------------------------------------------------------------------------------


def test_a_variable_on_several_paths_sums(device: Device):
    x = tensor(device, [1.0, 2.0])
    y = x * x + x.exp() - 3 * x  # four uses
    (g,) = gradients((y * x).sum(), [x])
    at = np.array([1.0, 2.0])
    np.testing.assert_allclose(to_host(g), 3 * at**2 + np.exp(at) * (1 + at) - 6 * at, rtol=1e-14)


def test_one_tensor_as_both_inputs(device: Device):
    x = tensor(device, [3.0])
    assert [values(gradients(f(x).sum(), [x])[0]) for f in (lambda x: x + x, lambda x: x - x, lambda x: x * x)] == [
        [2], [0], [6],
    ]  # fmt: skip


def test_a_borrowed_gradient_is_never_added_to_in_place(device: Device):
    """`+` hands the same array to both inputs; what one of them gets later is not the other's."""
    p, q = tensor(device, [1.0]), tensor(device, [1.0])
    both = p + q
    loss = (p * 10).sum() + (p * 100).sum() + both.sum() + (both * 1000).sum()
    loss.backward()
    assert [values(t.grad) for t in (both, q, p)] == [[1001], [1001], [1111]]
    x = tensor(device, [1.0])
    doubled = x + x
    doubled.sum().backward()
    assert (values(doubled.grad), values(x.grad)) == ([1], [2])


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow"])
@pytest.mark.parametrize(("a", "b"), [((4, 3), (3,)), ((3,), (4, 3)), ((4, 1), (1, 3)), ((), (2, 2)), ((1, 3), (2, 3))])
def test_broadcasting_is_undone(name: str, a: tuple[int, ...], b: tuple[int, ...], device: Device):
    x, y = distinct(*a, lowest=0.5), distinct(*b, lowest=0.5, seed=1)
    function = getattr(operator, name)
    gradcheck(function, device.asarray(x), device.asarray(y))
    tensors = [tensor(device, x), tensor(device, y)]
    assert [g.shape for g in gradients(function(*tensors).sum(), tensors)] == [a, b]


REFLECTED = ["add", "sub", "mul", "truediv", "pow", "matmul"]


@pytest.mark.parametrize("name", REFLECTED)
def test_operators_with_an_array_on_the_left(name: str, device: Device):
    """The array's own operator stands back: one op on the whole, not one on each element."""
    function = getattr(operator, name)
    left, right = distinct(2, 2, lowest=0.5), distinct(2, 2, seed=1)
    x = tensor(device, right)
    y = function(device.asarray(left), x)
    assert isinstance(y, Tensor) and y.node is not None and y.node.inputs == [None, x]
    np.testing.assert_allclose(to_host(y.data), function(left, right), rtol=1e-14)
    gradcheck(lambda x: function(device.asarray(left), x), device.asarray(right))


@pytest.mark.parametrize("name", REFLECTED[:-1])
@pytest.mark.parametrize("number", [2, 2.5, np.float64(2.5), np.float32(2.5), np.int64(2)])
def test_operators_with_a_number_on_the_left(name: str, number: Any):
    function = getattr(operator, name)
    x = np.array([1.0, 2.0])
    y = function(number, Tensor(x))
    assert isinstance(y, Tensor)
    np.testing.assert_allclose(y.data, function(number, x), rtol=1e-14)


@pytest.mark.parametrize("use", [lambda x: 2 * x, lambda x: 1 / (x + 0.5), lambda x: 2**x, lambda x: 1 - x**2])
def test_a_plain_number_does_not_widen(use: Any, device_name: str):
    x = Tensor(device_of(np.float32, device_name).asarray(np.array([1.0, 2.0])))
    y = use(x)
    (g,) = gradients(y.mean() * 3, [x])
    assert y.data.dtype == g.dtype == np.float32


# --- what cannot be differentiated ------------------------------------------------------------------------------------


def test_a_loss_must_be_one_number(device: Device):
    x = tensor(device, np.ones((2, 3)))
    for ask in (lambda: (x * 2).backward(), lambda: gradients(x * 2, [x])):
        with pytest.raises(GraphError, match=r"one number, but this Tensor has shape \(2, 3\); reduce it first"):
            ask()
    assert issubclass(GraphError, DltrainError)
    assert values(gradients((x * 2).sum().reshape(1, 1), [x])[0]) == [[2, 2, 2], [2, 2, 2]]


def test_a_graph_is_walked_once():
    x = Tensor([1.0, 2.0])
    middle = x * 3
    loss = (middle * middle).sum()
    gradients(loss, [x])
    for again in (loss, middle.sum()):
        with pytest.raises(GraphError, match=r"already freed .* keep_graph=True"):
            gradients(again, [x])
    with pytest.raises(GraphError, match="already freed"):
        loss.backward()


def test_keep_graph_keeps_it():
    x = Tensor([1.0, 2.0])
    loss = (x * x).sum()
    first, second = gradients(loss, [x], keep_graph=True), gradients(loss, [x], keep_graph=True)
    assert values(first[0]) == values(second[0]) == [2, 4]
    loss.backward(keep_graph=True)
    loss.backward()
    with pytest.raises(GraphError):
        loss.backward()


def test_a_target_that_the_loss_does_not_depend_on_gets_zeros(device: Device):
    x, other = tensor(device, [1.0, 2.0]), tensor(device, np.ones((2, 3)))
    found = gradients((x * 2).sum(), [other, x])
    assert (values(found[0]), values(found[1])) == ([[0, 0, 0], [0, 0, 0]], [2, 2])


def test_any_tensor_can_be_a_target():
    """The loss itself, an intermediate, the same one twice."""
    x = Tensor([1.0, 2.0])
    middle = x * 3
    loss = (middle * middle).sum()
    found = gradients(loss, [middle, loss, middle, x])
    assert [values(g) for g in found] == [[6, 12], 1, [6, 12], [18, 36]]


# --- ops with several outputs -----------------------------------------------------------------------------------------


def test_an_unused_output_gets_zeros(device: Device):
    x = tensor(device, [[1.0, 2.0, 3.0, 4.0]])
    _, second = split(x, sections=2, axis=1)
    assert values(gradients((second * second).sum(), [x])[0]) == [[0, 0, 6, 8]]


def test_several_outputs_come_together_again(device: Device):
    x = tensor(device, np.arange(6.0).reshape(2, 3))
    a, b, c = split(x, sections=3, axis=1)
    loss = (concatenate(c, a * 2, axis=1) * b).sum() + b.sum()
    b_grad, x_grad = gradients(loss, [b, x])
    assert values(b_grad) == [[2 + 0 + 1], [5 + 6 + 1]]
    assert values(x_grad) == [[2, 3, 1], [8, 12, 4]]


def test_a_tuple_of_one_output_is_still_a_tuple(device: Device):
    x = tensor(device, [1.0, 2.0])
    (whole,) = split(x, sections=1)
    assert values(gradients((whole * 3).sum(), [x])[0]) == [3, 3]


# --- recording --------------------------------------------------------------------------------------------------------


def test_no_grad_records_nothing():
    x = Tensor([1.0, 2.0])
    with no_grad():
        assert (x * 2).node is None
        with no_grad():
            assert (x * 2).node is None
        assert (x * 2).node is None, "the inner block ended the outer one"
    assert (x * 2).node is not None
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (x * 2).node is not None, "an error must end the block too"


def test_no_grad_reaches_threads_that_run_in_the_context_of_the_caller():
    found: list[Node | None] = []
    with no_grad():
        context = copy_context()
        thread = threading.Thread(target=lambda: found.append(context.run(lambda: (Tensor([1.0]) * 2).node)))
        thread.start()
        thread.join()
    assert found == [None]


def test_ops_of_constants_are_not_recorded(device: Device):
    result = OPS["add"](device.asarray(np.ones(2)), device.asarray(np.ones(2)))
    assert isinstance(result, Tensor) and result.node is None


# --- pruning, long chains, memory -------------------------------------------------------------------------------------


def test_only_what_lies_between_targets_and_loss_is_walked(scratch_ops: None):
    calls: list[str] = []

    @op
    def watched(a: Array, b: Array, *, name: str) -> Any:
        return a + b, tuple((lambda g, k=k: calls.append(f"{name}.{k}") or g) for k in "ab")

    @op
    def watched_together(a: Array, b: Array, *, name: str) -> Any:
        return a + b, lambda g, needed: calls.append(f"{name} {needed}") or [g, g]

    x, y, z = Tensor(1.0), Tensor(2.0), Tensor(3.0)
    aside = watched(y, z, name="aside")
    first = watched(x, aside, name="first")
    second = watched_together(first, y, name="second")
    after = watched(second, 5.0, name="after")
    unrelated = watched(x, y, name="unrelated")
    assert [float(g) for g in gradients(after, [x], keep_graph=True)] == [1]
    assert calls == ["after.a", "second [True, False]", "first.a"]
    calls.clear()
    assert [float(g) for g in gradients(after, [y], keep_graph=True)] == [2]
    assert calls == ["after.a", "second [True, True]", "first.b", "aside.a"]
    calls.clear()
    assert [float(g) for g in gradients(after, [first, unrelated], keep_graph=True)] == [1, 0]
    assert calls == ["after.a", "second [True, False]"]
    calls.clear()
    assert float(gradients(second, [unrelated])[0]) == 0
    assert not calls


def test_a_wrong_number_of_vjps_is_noticed(scratch_ops: None):
    @op
    def careless(a: Array, b: Array) -> Any:
        return a + b, (lambda g: g,)

    x = Tensor(1.0)
    with pytest.raises(ValueError, match="zip"):
        gradients(careless(x, x), [x])


def alive() -> int:
    return sum(type(thing) in (Tensor, Node) for thing in gc.get_objects())


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_chain_of_100_000_ops(no_collector: None):
    """Forward, backward, and dropped while its graph still stands: nothing recurses, in Python or in C."""
    x = Tensor(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    assert float(y.data) == 100_001
    assert float(gradients(y, [x], keep_graph=True)[0]) == 1
    first = weakref.ref(x)
    del x, y
    assert first() is None


def test_no_tensor_outlives_its_step_without_the_collector(no_collector: None, device: Device):
    x, targets = device.asarray(distinct(4, 6, 6, 1)), device.asarray(np.array([0, 1, 2, 0]))
    w1, w2 = tensor(device, distinct(3, 3, 1, 2)), tensor(device, distinct(8, 3))
    before = alive()
    for _ in range(3):
        hidden = max_pool(conv(x, w1, None, activation="relu"), kernel=2, stride=2)
        parts = split(hidden.reshape(4, 8) @ w2, sections=1)
        loss = cross_entropy(parts[0], targets=targets, count=4) + (w1 * w1).sum()
        for w, g in zip((w1, w2), gradients(loss, [w1, w2]), strict=True):
            w.data = w.data - 0.1 * g
        with pytest.raises(GraphError):
            gradients(hidden, [w1])  # an error on the way
        del hidden, parts, loss, w, g
        assert alive() == before
        gradcheck(lambda a: (a * a).sum(), device.asarray(distinct(3)))
        (w1 * w1).sum().backward()
        assert alive() == before
        (w1 * 2 + w1).mean()  # dropped without a walk
        assert alive() == before


def test_the_walk_frees_the_graph_behind_it():
    x = Tensor([1.0])
    middle = x * 3
    seen = weakref.ref(middle)
    loss = (middle * middle).sum()
    del middle
    assert seen() is not None
    gradients(loss, [x])
    assert seen() is None, "the loss still holds the graph"


# --- the object itself ------------------------------------------------------------------------------------------------


def test_a_tensor_shows_what_it_is():
    x = Tensor([[1.0, 2.0]])
    assert (x.shape, x.ndim, len(x), x.T.shape) == ((1, 2), 2, 1, (2, 1))
    assert repr(x) == "Tensor(array([[1., 2.]]))"
    assert "made by multiply" in repr(x * 2)
    assert x.reshape(2).shape == x.reshape((2,)).shape == (2,)
    assert x.transpose(1, 0).shape == x.transpose().shape == (2, 1)
    assert x[0, 1].shape == ()
