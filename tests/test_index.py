"""`x[key]` for every key that numpy takes: values as numpy has them, gradients as `np.add.at` adds them up."""

from typing import Any

import numpy as np
import pytest
from conftest import device_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, basic_indices, integer_array_indices

from dltrain.backend import Device, to_host
from dltrain.engine import Tensor, distinct, gradcheck, gradients

Array = Any
MAX_SIDE = 4


def by_numpy(x: Array, key: Any, g: Array) -> Array:
    """The gradient: what is named several times gets the sum."""
    dx = np.zeros_like(x)
    np.add.at(dx, key, g)
    return dx


def check(x: Array, key: Any, device: Device) -> None:
    tensor = Tensor(device.asarray(x))
    y = tensor[key]
    expected = x[key]
    assert np.array_equal(to_host(y.data), expected)
    weights = np.random.default_rng(0).normal(size=np.shape(expected))
    found = [gradients((tensor[key] * device.asarray(weights)).sum(), [tensor])[0] for _ in range(2)]
    np.testing.assert_allclose(to_host(found[0]), by_numpy(x, key, weights), rtol=1e-13, atol=1e-15)
    assert to_host(found[0]).tobytes() == to_host(found[1]).tobytes()


@st.composite
def keys(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    """A shape and a key for it: numbers, slices, None, Ellipsis; masks; and up to all axes by arrays or lists, which
    broadcast, among slices and numbers."""
    shape = tuple(draw(st.lists(st.integers(1, MAX_SIDE), min_size=1, max_size=3)))
    kind = draw(st.sampled_from(["basic", "arrays", "mask", "mixed"]))
    if kind == "basic":
        return shape, draw(basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    if kind == "arrays":
        key = draw(integer_array_indices(shape))
        return shape, key if draw(st.booleans()) else tuple(part.tolist() for part in key)
    if kind == "mask":
        axes = draw(st.integers(1, len(shape)))
        mask = draw(arrays(bool, shape[:axes]))
        return shape, mask if draw(st.booleans()) else mask.tolist()
    together = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    parts: list[Any] = []
    for n in shape[: draw(st.integers(1, len(shape)))]:
        places = arrays(np.int64, together, elements=st.integers(-n, n - 1))
        whole = st.sampled_from([slice(None), slice(None, None, -1)])
        parts.append(draw(st.one_of(places, st.integers(-n, n - 1), whole)))
        parts += [None] * (draw(st.integers(0, 5)) == 0)
    return shape, (*parts, Ellipsis) if draw(st.booleans()) else tuple(parts)


@settings(max_examples=200, deadline=None)
@given(keys())
def test_every_key(drawn: tuple[tuple[int, ...], Any]) -> None:
    shape, key = drawn
    check(distinct(*shape), key, device_of(np.float64))


@settings(max_examples=200, deadline=None)
@given(keys())
def test_every_key_on_the_stand_in(drawn: tuple[tuple[int, ...], Any]) -> None:
    shape, key = drawn
    several_masks = isinstance(key, tuple) and sum(np.asarray(p).dtype == bool for p in key if np.ndim(p)) > 1
    if not several_masks:  # which CuPy refuses itself
        check(distinct(*shape), key, device_of(np.float64, "standin"))


def test_an_embedding(device: Device) -> None:
    """Rows of a table by number, a sentence with a word that comes twice and one counted from the end."""
    table = Tensor(device.asarray(np.arange(8.0).reshape(4, 2)))
    words = device.asarray(np.array([[0, 3, 0], [-1, 1, 0]]))
    found = table[words]
    assert found.shape == (2, 3, 2) and to_host(found.data)[1, 0].tolist() == [6, 7]
    (g,) = gradients(found.sum(), [table])
    assert to_host(g).tolist() == [[3, 3], [1, 1], [0, 0], [2, 2]]
    gradcheck(lambda t: t[words], device.asarray(distinct(4, 2)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_many_of_one_place_in_a_fixed_order(dtype: Any, device_name: str) -> None:
    """The same bits on every run, and close to the exact sum."""
    device = device_of(dtype, device_name)
    rng = np.random.default_rng(3)
    places, weights = rng.integers(0, 5, 3000), rng.normal(size=3000).astype(dtype)
    x = Tensor(device.asarray(np.zeros(5, dtype)))
    found = [to_host(gradients((x[places] * device.asarray(weights)).sum(), [x])[0]) for _ in range(3)]
    assert found[0].dtype == dtype and len({g.tobytes() for g in found}) == 1
    exact = by_numpy(np.zeros(5), places, weights.astype(float))
    np.testing.assert_allclose(found[0], exact, rtol=0, atol=1e-4 if dtype == np.float32 else 3)


@pytest.mark.parametrize("key", [[], np.zeros((0, 2), int), [False, False, False], slice(2, 2)], ids=str)
def test_nothing_is_named(key: Any, device: Device) -> None:
    x = Tensor(device.asarray(np.ones((3, 2))))
    assert not to_host(gradients(x[key].sum(), [x])[0]).any()


@pytest.mark.parametrize(
    "key", [3, [0, 3], np.array([-4]), (0, [2]), ([0], [0], [0]), [True, False], [0.5], "rows", Tensor([0.0])], ids=str
)
def test_what_is_not_there_is_refused(key: Any, device: Device) -> None:
    """Also on a GPU, which by itself takes another place in silence."""
    with pytest.raises((IndexError, TypeError)):
        Tensor(device.asarray(np.ones((3, 2))))[key]


@pytest.mark.parametrize("key", [[0, 3], np.array([-4]), (0, [2]), [True, False]], ids=str)
def test_a_gpu_is_not_asked_for_what_is_not_there(key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy wraps around in silence: places that the host knows are looked at before."""
    x = Tensor(device_of(np.float64, "standin").asarray(np.ones((3, 2))))
    monkeypatch.setattr(type(x.data), "__getitem__", lambda *_: pytest.fail("it would have taken another place"))
    with pytest.raises(IndexError):
        x[key]
