"""Targets that a loss takes, and those that it refuses: every shape and dtype, in both precisions, by all kernels.

Values for logits of -∞ by PyTorch 2.13: torch.nn.functional.cross_entropy(logits, targets), and .grad of the logits.
"""

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
import plain
import pytest
from conftest import device_of
from hypothesis import given, settings
from hypothesis import strategies as st

from dltrain.backend import Device, Reference, choose_kernels, to_host
from dltrain.engine import OPS, Tensor, distinct, gradients
from dltrain.nn import LOSSES

Array = Any
OF_CLASSES = ("cross_entropy", "hinge")
OF_NUMBERS = ("mse", "mae", "huber")
DTYPES = (np.float32, np.float64)
FORMULAS: dict[str, Callable[..., float]] = {name: getattr(plain, name) for name in (*OF_CLASSES, *OF_NUMBERS)}
FORMULAS["binary_cross_entropy"] = plain.binary_cross_entropy


def scores(dtype: Any, examples: int = 4, classes: int = 3) -> Array:
    return distinct(examples, classes).astype(dtype)


def test_the_table_holds_every_loss() -> None:
    assert set(FORMULAS) == {name for name in LOSSES if not LOSSES[name].of_pictures}  # test_style.py has these


@pytest.fixture(params=["numpy", "native"])
def kernels_name(request: pytest.FixtureRequest, chosen_kernels: Callable[[], Reference]) -> str:
    if request.param == "native":
        request.getfixturevalue("native")
    choose_kernels(request.param)
    return str(request.param)


# what the other examples have: a whole batch is refused for one of them
BAD: dict[str, Any] = {
    "too large": [0, 1, 2, 3],
    "far too large": [0, 1, 2, 2**40],
    "negative": [0, -1, 2, 1],
    "what PyTorch ignores": [0, -100, 2, 1],
}
EXTRA: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothed": {"label_smoothing": 0.1},
    "weighted": {"weights": np.array([1.0, 2.0, 0.5, 1.0])},
    "of a larger batch": {"count": 8},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("extra", EXTRA)
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", OF_CLASSES)
def test_a_class_that_does_not_exist(name: str, bad: str, extra: str, dtype: Any, kernels_name: str) -> None:
    settings = {k: v.astype(dtype) if k == "weights" else v for k, v in EXTRA[extra].items()}
    if name == "hinge":
        settings.pop("label_smoothing", None)
    for targets in (BAD[bad], np.array(BAD[bad])):
        with pytest.raises(ValueError, match="a target is no class: targets go from 0 to 2"):
            OPS[name](Tensor(scores(dtype)), targets, **settings)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_on_a_gpu_such_a_target_makes_the_loss_no_number(name: str) -> None:
    """To look at targets there is to wait for them; a training stops at a loss that is not finite."""
    device = device_of(np.float64, "standin")
    x = Tensor(device.asarray(scores(float)))
    for targets, finite in (([0, 1, 2, 0], True), ([0, 1, 3, 0], False), ([0, -1, 2, 0], False)):
        y = to_host(OPS[name](x, device.asarray(np.array(targets))).data)
        assert np.isfinite(y) == finite
    z = Tensor(device.asarray(scores(float)[:, :1]))
    for targets, finite in (([0, 1, 1, 0], True), ([0, 2, 1, 0], False)):
        assert np.isfinite(to_host(OPS["binary_cross_entropy"](z, device.asarray(np.array(targets))).data)) == finite


@pytest.mark.parametrize(
    "targets",
    [
        [0.0, 1.0, 2.0, 0.0], [0.5, 1, 2, 0], [True, False, True, True], ["0", "1", "2", "0"], [1j, 0, 0, 0],
        [[0], [1], [2], [0]], [0, 1, 2], [0, 1, 2, 0, 1], 2, [[1, 0, 0]] * 4, np.eye(4, 3),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("name", OF_CLASSES)
def test_what_are_no_classes(name: str, targets: Any, device: Device) -> None:
    x = Tensor(device.asarray(scores(float)))
    says = r"takes targets that are classes, whole numbers, not|and targets \(N,\), not|Unsupported dtype"
    with pytest.raises(ValueError, match=says):
        OPS[name](x, targets)


@pytest.mark.parametrize(
    "targets",
    [[0.5, 1.2], [-0.1, 0.0], [2, 0], [np.nan, 0.0], [inf, 0.0], ["a", "b"], [1j, 0], [[0], [1]], [0, 1, 1], 1],
    ids=str,
)
def test_what_binary_cross_entropy_refuses(targets: Any) -> None:
    for dtype in DTYPES:
        with pytest.raises(ValueError, match=r"takes targets from 0 to 1|takes logits \(N, 1\)"):
            OPS["binary_cross_entropy"](Tensor(scores(dtype, 2, 1)), targets)


@pytest.mark.parametrize("targets", [[[0]], [0.0, 1.0], [[0, 1]] * 3, "ab", [[1j], [1]], [["a"], ["b"]], 1], ids=str)
@pytest.mark.parametrize("name", OF_NUMBERS)
def test_what_losses_of_numbers_refuse(name: str, targets: Any) -> None:
    says = rf"{name} compares \(N, …\) values one by one|{name} takes targets that are numbers"
    with pytest.raises(ValueError, match=says):
        OPS[name](Tensor(scores(np.float32, 2, 1)), targets)


@pytest.mark.parametrize("name", ["cross_entropy", "hinge", "binary_cross_entropy"])
@pytest.mark.parametrize("shape", [(4, 1), (1,), (), (3,)], ids=str)
def test_a_weight_for_each_example(name: str, shape: tuple[int, ...]) -> None:
    x = Tensor(scores(float, 4, 1 if name == "binary_cross_entropy" else 3))
    with pytest.raises(ValueError, match=r"weights are one for each example, \(4,\), not"):
        OPS[name](x, [0, 1, 1, 0], weights=np.ones(shape))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_without_a_count_it_is_the_mean(data: st.DataObject) -> None:
    """Any loss of any batch, targets of any dtype that can hold them, as a list or an array, weighted or not."""
    name = data.draw(st.sampled_from(sorted(FORMULAS)))
    examples, classes = data.draw(st.integers(1, 6)), data.draw(st.integers(2, 5))
    columns = 1 if name == "binary_cross_entropy" else classes
    x = distinct(examples, columns, seed=data.draw(st.integers(0, 99))).astype(data.draw(st.sampled_from(DTYPES)))
    if name in OF_NUMBERS:
        kinds = [np.float32, np.float64, np.int64, np.int8, np.uint8, bool]
        shape, highest = (examples, columns), 2
    else:
        kinds = [np.int64, np.int32, np.int8, np.uint8, np.uint64]
        kinds += [np.float32, np.float64, bool] if name == "binary_cross_entropy" else []
        shape, highest = (examples,), 2 if columns == 1 else classes
    kind = data.draw(st.sampled_from(kinds))
    targets = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, highest, shape).astype(kind)
    given = targets.tolist() if data.draw(st.booleans()) else targets
    weights = None
    if name not in OF_NUMBERS and data.draw(st.booleans()):
        weights = np.random.default_rng(1).uniform(0.5, 2, examples).astype(x.dtype)
    extra = {} if weights is None else {"weights": weights}
    tensor = Tensor(x)
    y = OPS[name](tensor, given, **extra)
    expected = FORMULAS[name](x.astype(float), targets.astype(float if name in OF_NUMBERS else int), **extra)
    assert y.data.dtype == x.dtype and gradients(y, [tensor])[0].dtype == x.dtype
    assert float(y.data) == pytest.approx(float(expected), rel=1e-5, abs=1e-6)


# --- logits of -∞, by which a network or a mask rules a class out -----------------------------------------------------

RULED_OUT = [[0.0, -inf, 1.0], [2.0, 0.0, -inf]]
BY_TORCH = 0.22009485960006714
BY_TORCH_GRADIENT = [[0.1345, 0.0, -0.1345], [-0.0596, 0.0596, 0.0]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights", [None, np.array([1.0, 1.0])], ids=["plain", "weighted"])
def test_a_class_that_is_ruled_out(dtype: Any, weights: Any, kernels_name: str) -> None:
    x = Tensor(np.array(RULED_OUT, dtype))
    y = OPS["cross_entropy"](x, [2, 0], **({} if weights is None else {"weights": weights.astype(dtype)}))
    assert float(y.data) == pytest.approx(BY_TORCH, rel=1e-6)
    np.testing.assert_allclose(gradients(y, [x])[0], BY_TORCH_GRADIENT, atol=5e-5)
    ruled_out = OPS["cross_entropy"](Tensor(np.array(RULED_OUT, dtype)), [1, 0])
    assert float(ruled_out.data) == inf, "it was the right one"


def test_a_class_that_is_ruled_out_on_the_stand_in() -> None:
    device = device_of(np.float64, "standin")
    y = OPS["cross_entropy"](Tensor(device.asarray(np.array(RULED_OUT))), device.asarray(np.array([2, 0])))
    assert float(to_host(y.data)) == pytest.approx(BY_TORCH, rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_certain_answer_about_two_classes(dtype: Any, device_name: str) -> None:
    """log(1 + e^-∞) = 0 where it is right, ∞ where it is wrong (PyTorch says NaN to the first)."""
    device = device_of(dtype, device_name)
    z = Tensor(device.asarray(np.array([[-inf], [inf]], dtype)))
    for targets, expected in (([0, 1], 0), ([1, 0], inf)):
        y = OPS["binary_cross_entropy"](z, device.asarray(np.array(targets)))
        assert float(to_host(y.data)) == expected
    hinged = OPS["hinge"](Tensor(device.asarray(np.array(RULED_OUT, dtype))), device.asarray(np.array([2, 0])))
    assert float(to_host(hinged.data)) == 0


def test_targets_get_their_gradient(device: Device) -> None:
    """As in PyTorch: what one network says may be what another is to say."""
    x, t = Tensor(device.asarray(distinct(3, 2))), Tensor(device.asarray(distinct(3, 2, seed=1)))
    for name in OF_NUMBERS:
        by_x, by_t = (to_host(g) for g in gradients(OPS[name](x, t), [x, t]))
        assert np.array_equal(by_x, -by_t) and by_t.any()
    z, p = Tensor(device.asarray(distinct(3, 1))), Tensor(device.asarray(distinct(3, lowest=0.0, highest=1.0)))
    np.testing.assert_allclose(
        to_host(gradients(OPS["binary_cross_entropy"](z, p), [p])[0]), -to_host(z.data)[:, 0] / 3, rtol=1e-12
    )
    with pytest.raises(ValueError, match="whole numbers, not float64"):
        OPS["cross_entropy"](x, Tensor(device.asarray(np.array([0, 1, 1]))))
