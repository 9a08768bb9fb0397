"""Would `gradcheck` notice?"""

from typing import Any

import numpy as np
import pytest

from dltrain.backend import Device
from dltrain.engine import GradientMismatch, distinct, gradcheck, op
from dltrain.ops import split

Array = Any


def wrong_square(spoil: Any) -> Any:
    """x · x with something wrong about its gradient."""

    @op
    def square(x: Array) -> Any:
        return x * x, (lambda g: spoil(2 * g * x),)

    return square


SPOILED = {
    "times 2.001": lambda g: g * 2.001,
    "times 1.001": lambda g: g * 1.001,
    "times 1.00001": lambda g: g * 1.00001,
    "negated": lambda g: -g,
    "zeroed": lambda g: g * 0,
    "not a number": lambda g: g * np.nan,
    "one entry forgotten": lambda g: g * (np.arange(g.size).reshape(g.shape) != 3),
    "one entry negated": lambda g: g * np.where(np.arange(g.size).reshape(g.shape) == 5, -1, 1),
    "off by one": lambda g: np.roll(g, 1, axis=-1),
    "turned round": lambda g: g[::-1],
    "a constant too much": lambda g: g + 1e-3,
    "the mean instead of the sum": lambda g: g / g.size,
    "broadcasting not undone": lambda g: np.stack([g / 2, g / 2]),
    "summed too far": lambda g: g.sum(axis=0),
}


@pytest.mark.parametrize("how", SPOILED)
def test_gradcheck_catches(how: str, scratch_ops: None):
    with pytest.raises(GradientMismatch):
        gradcheck(wrong_square(SPOILED[how]), distinct(3, 4))


def test_gradcheck_accepts_what_is_right(device: Device, scratch_ops: None):
    x = device.asarray(distinct(3, 4))
    assert gradcheck(wrong_square(lambda g: g), x) < 1e-8
    gradcheck(lambda a, b: split(a * b, sections=2, axis=1), x, device.asarray(distinct(3, 4, seed=1)))
    gradcheck(lambda a, b: a * 2, x, device.asarray(distinct(2)))  # nothing depends on b
    gradcheck(lambda a: 1e-9 * a, x)
    gradcheck(lambda a: 1e9 * a, x)


def test_gradcheck_says_where(scratch_ops: None):
    @op
    def lopsided(a: Array, b: Array) -> Any:
        return a * b, (lambda g: g * b, lambda g: g * a * 1.5)

    with pytest.raises(GradientMismatch, match=r"input 1 of shape \(2,\): the gradient says .* finite differences say"):
        gradcheck(lopsided, distinct(2), distinct(2, seed=1))


def test_gradcheck_refuses_float32():
    with pytest.raises(TypeError, match="works in float64, not float32"):
        gradcheck(lambda x: x * 2, distinct(3).astype(np.float32))


@pytest.mark.parametrize("shape", [(), (1,), (2,), (7,), (30, 40)])
def test_distinct_stays_away_from_kinks(shape: tuple[int, ...]):
    x = distinct(*shape)
    assert x.shape == shape and x.dtype == np.float64
    with_zero = np.sort(np.append(x.ravel(), 0))
    assert np.diff(with_zero).min() > 1e-4
    assert np.abs(x).max() <= 2
    assert np.array_equal(x, distinct(*shape)) and not np.array_equal(x, distinct(*shape, seed=1))
