"""Values and gradients at the ends of the range, where a formula that is right in the middle can overflow or vanish.

Judged by the same formula in double or extended precision, and by PyTorch 2.13, whose answers stand here as numbers:
    a, b = torch.tensor([a, b], dtype=torch.float64, requires_grad=True); (a**b).backward(); a.grad, b.grad
"""

import warnings
from collections.abc import Callable
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from conftest import device_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dltrain.backend import Device, to_host
from dltrain.engine import OPS, Tensor, gradients
from dltrain.ops import clip, divide, maximum, minimum, power, where
from dltrain.registry import settings_of

Array = Any
Long = np.longdouble  # 64 bits of mantissa here, and a far wider range


def sigma(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


# op -> (value, derivative) as anybody would write them, right in a precision that is wide enough
EXACT: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "sigmoid": (sigma, lambda x: sigma(x) * sigma(-x)),
    "silu": (lambda x: x * sigma(x), lambda x: sigma(x) * (1 + x * sigma(-x))),
    "softplus": (lambda x: np.log1p(np.exp(x)), sigma),
    "log_sigmoid": (lambda x: -np.log1p(np.exp(-x)), lambda x: sigma(-x)),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
}


def of(op: Callable[..., Any], *inputs: Any, **settings: Any) -> tuple[Array, list[Array]]:
    """The value, and the gradients of its sum by the Tensors among the inputs."""
    y = op(*inputs, **settings)
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    return to_host(y.data), [to_host(g) for g in gradients(y.sum(), tensors)]


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=300, deadline=None)
@given(x=st.one_of(st.floats(-104, 89, width=32), st.floats(-20, 20, width=32)))
@example(x=-100.0)
@example(x=-0.0)
@example(x=88.0)
def test_the_tails_in_single_precision(name: str, x: float) -> None:
    """To a few units in the last place, down to the smallest numbers that single precision knows."""
    value, derivative = (f(Long(x)) for f in EXACT[name])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found, (slope,) = of(OPS[name], Tensor(np.array([x], np.float32)))
    assert found.dtype == slope.dtype == np.float32
    np.testing.assert_allclose(found, [float(value)], rtol=2e-6, atol=3e-45 * max(1, abs(x)))
    # 1 - σ(x) and 1 - tanh²(x) are read off a rounded y, as in every framework: right to its last place
    rough = 3e-7 if name in ("sigmoid", "silu", "tanh") else 0
    atol = 3e-45 * max(1, abs(x)) + rough * (abs(x) + 1) * (x > 0 or name == "tanh")
    if name == "silu":  # σ(x) (1 + x σ(-x)) passes through 0 at -1.278: right to the last place of the 1
        atol += rough * float(sigma(Long(x)))
    np.testing.assert_allclose(slope, [float(derivative)], rtol=1e-5, atol=atol)


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=100, deadline=None)
@given(x=st.floats(-700, 700))
def test_the_tails_in_double_precision(name: str, x: float) -> None:
    value = EXACT[name][0](Long(x))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found, _ = of(OPS[name], Tensor(np.array([x])))
    np.testing.assert_allclose(found, [float(value)], rtol=1e-13, atol=1e-320)


def test_the_lower_tail_of_the_sigmoid(device_name: str) -> None:
    """σ(-100) = e^-100 / (1 + e^-100) = 3.7835e-44, which single precision can still hold."""
    x = Tensor(device_of(np.float32, device_name).asarray(np.array([-100.0, -87.0])))
    y, (slope,) = of(OPS["sigmoid"], x)
    np.testing.assert_allclose(y, [3.7835e-44, 1.64581e-38], rtol=1e-2)
    np.testing.assert_allclose(slope, y, rtol=1e-6)
    np.testing.assert_allclose(of(OPS["silu"], x)[0], y * [-100, -87], rtol=1e-2)


# --- powers and quotients ---------------------------------------------------------------------------------------------

# (a, b): a^b, its derivative by a, by b, as PyTorch has them
POWERS: dict[tuple[float, float], tuple[float, float, float]] = {
    (0.0, 0.0): (1.0, 0.0, 0.0),
    (0.0, 1.0): (0.0, 1.0, 0.0),
    (0.0, 2.0): (0.0, 0.0, 0.0),
    (0.0, 0.5): (0.0, inf, 0.0),
    (0.0, -1.0): (inf, -inf, -inf),
    (2.0, 0.0): (1.0, 0.0, 0.6931471805599453),
    (2.0, 0.5): (1.4142135623730951, 0.3535533905932738, 0.9802581434685472),
    (2.0, -1.0): (0.5, -0.25, 0.34657359027997264),
    (-3.0, 0.0): (1.0, 0.0, nan),
    (-3.0, 1.0): (-3.0, 1.0, nan),
    (-3.0, 2.0): (9.0, -6.0, nan),
    (-3.0, -1.0): (-0.3333333333333333, -0.1111111111111111, nan),
}


@pytest.mark.parametrize(("base", "exponent"), POWERS)
def test_powers(base: float, exponent: float, device: Device) -> None:
    expected = POWERS[base, exponent]
    a, b = (Tensor(device.asarray(np.array([x]))) for x in (base, exponent))
    with np.errstate(divide="ignore", invalid="ignore"):
        y, slopes = of(power, a, b)
        np.testing.assert_allclose([*y, *slopes[0], *slopes[1]], expected, rtol=1e-14)
        for number in {exponent, int(exponent)} if exponent == int(exponent) else {exponent}:
            y, (slope,) = of(power, a, number)
            np.testing.assert_allclose([*y, *slope], expected[:2], rtol=1e-14)
        y, (slope,) = of(power, base, b)
        np.testing.assert_allclose([*y, *slope], [expected[0], expected[2]], rtol=1e-14)


def test_to_the_power_of_zero_warns_of_nothing(device: Device) -> None:
    x = Tensor(device.asarray(np.array([0.0, 2.0, -1.0])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for zero in (0, 0.0, device.asarray(np.zeros(3))):
            assert of(power, x, zero)[1][0].tolist() == [0, 0, 0]
        assert of(power, 0.0, Tensor(device.asarray(np.array([0.0, 3.0]))))[1][0].tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_division_by_large_numbers(dtype: Any, device_name: str) -> None:
    """d(a/b)/db = -(a/b)/b, though b² is beyond the range."""
    large = float(np.finfo(dtype).max) / 4
    device = device_of(dtype, device_name)
    a, b = (Tensor(device.asarray(np.array([x], dtype))) for x in (large, large / 2))
    with np.errstate(over="raise", invalid="raise"):
        y, (by_a, by_b) = of(divide, a, b)
    rtol = 3e-3 if dtype == np.float16 else 1e-6
    np.testing.assert_allclose([*y, *by_a, *by_b], [2, 2 / large, -4 / large], rtol=rtol)


SINGLE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=300, deadline=None)
@given(a=SINGLE, b=SINGLE.filter(bool))
def test_every_quotient_in_single_precision(a: float, b: float) -> None:
    """Value and both gradients as extended precision has them, infinite only where single precision ends."""
    with np.errstate(all="ignore"):
        y, slopes = of(divide, *(Tensor(np.array([x], np.float32)) for x in (a, b)))
        exact = Long(a) / Long(b), 1 / Long(b), -(Long(a) / Long(b)) / Long(b)
        for found, expected in zip((y, *slopes), exact, strict=True):
            rounded = expected.astype(np.float32)
            # a quotient that is too small to be held to all its digits is off by its last one, times 1 / b after that
            slack = 2e-45 * max(1.0, float(abs(1 / Long(b))))
            np.testing.assert_allclose(found, [rounded], rtol=1e-6, atol=min(slack, 3e38))


@settings(max_examples=300, deadline=None)
@given(base=st.just(0.0) | st.floats(1e-3, 1e3), exponent=st.just(0.0) | st.floats(-20, 20))
def test_every_power(base: float, exponent: float) -> None:
    """d(a^b)/da = b a^(b-1) and d(a^b)/db = a^b log a, at 0 as PyTorch says."""
    with np.errstate(all="ignore"):
        y, (by_base, by_exponent) = of(power, *(Tensor(np.array([x])) for x in (base, exponent)))
        a, b = Long(base), Long(exponent)
        slope = b * a ** (b - 1) if b else Long(0)
        growth = Long(0) if not a and b >= 0 else a**b * np.log(a)
        for found, expected in zip((y, by_base, by_exponent), (a**b, slope, growth), strict=True):
            np.testing.assert_allclose(found, [float(expected)], rtol=1e-10, atol=1e-300)


# --- maxima ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "count"), [(np.float16, 3000), (np.float16, 70_000), (np.float32, 70_000)])
def test_the_maximum_of_many_equal_numbers(dtype: Any, count: int, device_name: str) -> None:
    """Halves count to 2048 and end at 65504; the shares of the gradient sum to 1 all the same."""
    x = Tensor(device_of(dtype, device_name).asarray(np.full(count, 0.5, dtype)))
    _, (g,) = of(lambda x: x.max(), x)
    assert g.dtype == dtype and len(np.unique(g)) == 1
    assert g.astype(float).sum() == pytest.approx(1, rel=3e-3)
    assert g.astype(float)[0] == pytest.approx(1 / count, rel=3e-3)


def test_equal_numbers_share_the_gradient(device: Device) -> None:
    """As in PyTorch: half each of two equal ones; a bound passes its gradient."""
    a, b = (Tensor(device.asarray(np.array(x))) for x in ([2.0, 1.0, 5.0], [2.0, 2.0, 4.0]))
    assert [g.tolist() for g in of(maximum, a, b)[1]] == [[0.5, 0, 1], [0.5, 1, 0]]
    assert [g.tolist() for g in of(minimum, a, b)[1]] == [[0.5, 1, 0], [0.5, 0, 1]]
    x = Tensor(device.asarray(np.array([-1.0, 0.0, 1.0, 2.0])))
    assert of(clip, x, min=0, max=1)[1][0].tolist() == [0, 1, 1, 0]


def test_where_keeps_the_infinite_side_out(device: Device) -> None:
    x = Tensor(device.asarray(np.array([0.0, 4.0])))
    safe = where(x > 0, x, 1.0)
    (g,) = gradients(where(x > 0, safe.sqrt(), 0.0).sum(), [x])
    assert to_host(g).tolist() == [0, 0.25]
    with pytest.raises(TypeError, match="where chooses by an array of bools, such as x > 0 gives, not by float64"):
        where(x.data, x, 0.0)
    with pytest.raises(TypeError, match="not by True"):
        where(True, x, 0.0)


# --- axes -------------------------------------------------------------------------------------------------------------

AXES: dict[str, Callable[[Tensor, Any], Any]] = {
    "sum": lambda x, a: OPS["sum"](x, axis=a),
    "mean": lambda x, a: OPS["mean"](x, axis=a),
    "max": lambda x, a: OPS["max"](x, axis=a),
    "softmax": lambda x, a: OPS["softmax"](x, axis=a),
    "concatenate": lambda x, a: OPS["concatenate"](x, x, axis=a),
    "stack": lambda x, a: OPS["stack"](x, x, axis=a),
    "split": lambda x, a: OPS["split"](x, sections=1, axis=a)[0],
}


def test_the_table_holds_every_op_with_an_axis() -> None:
    found = {name for name, op in OPS.items() if "axis" in settings_of(op.__wrapped__)}  # type: ignore[attr-defined]
    assert set(AXES) == found - {"spectral_norm"}  # whose axis is no user's, but that of a layer's weights


@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("axis", [np.int64(1), np.int32(-1), np.uint8(0), np.array(1)], ids=repr)
def test_an_axis_of_numpys_integers(name: str, axis: Any, device: Device) -> None:
    x = Tensor(device.asarray(np.arange(6.0).reshape(2, 3)))
    found, (slope,) = of(lambda x: AXES[name](x, axis), x)
    expected, (wanted,) = of(lambda x: AXES[name](x, int(axis)), x)
    assert np.array_equal(found, expected) and np.array_equal(slope, wanted)


@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("axis", [3, -4, np.int64(3)], ids=repr)
def test_an_axis_that_does_not_exist(name: str, axis: Any, device: Device) -> None:
    x = Tensor(device.asarray(np.ones((2, 3))))
    with pytest.raises(ValueError, match=f"there is no axis {int(axis)} in an array of {3 if name == 'stack' else 2}"):
        AXES[name](x, axis)


@pytest.mark.parametrize("name", ["sum", "mean", "max"])
def test_several_axes(name: str, device: Device) -> None:
    x = Tensor(device.asarray(np.arange(24.0).reshape(2, 3, 4)))
    found = [of(lambda x, a=a: AXES[name](x, a), x) for a in ((0, 2), [0, -1], (np.int64(2), 0))]
    assert all(np.array_equal(y, found[0][0]) and np.array_equal(g[0], found[0][1][0]) for y, g in found)
    for twice in ((0, 0), (0, -3), [1, 1]):
        with pytest.raises(ValueError, match="twice"):
            AXES[name](x, twice)
    with pytest.raises(ValueError, match="there is no axis 3"):
        AXES[name](x, (0, 3))
    with pytest.raises(TypeError):
        AXES[name](x, 1.0)


@pytest.mark.parametrize("axes", [(0, 0, 1), (0, 1, 3)])
def test_transposing_by_axes_that_are_wrong(axes: tuple[int, ...], device: Device) -> None:
    with pytest.raises(ValueError, match=r"twice|there is no axis 3"):
        Tensor(device.asarray(np.ones((2, 3, 4)))).transpose(*axes)


@pytest.mark.parametrize("name", ["concatenate", "stack"])
def test_parts_are_given_one_by_one(name: str) -> None:
    a = Tensor([1.0])
    for wrong in (([a, a],), ((a, a),), ()):
        with pytest.raises(TypeError, match=rf"{name} takes the parts themselves, .*: {name}\(a, b\)"):
            OPS[name](*wrong)
