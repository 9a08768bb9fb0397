"""Initial weights: their moments over seeds and fans, and what exactly is drawn."""

from collections.abc import Callable
from math import erf, exp, inf, pi, sqrt
from typing import Any

import numpy as np
import pytest
from builders import build
from conftest import device_of

from dltrain.errors import ShapeError
from dltrain.nn import INITIALIZERS, Context
from dltrain.random import generator

# name -> settings, mean, standard deviation and largest absolute value as functions of the fans
Moments = Callable[[int, int], tuple[float, float, float]]
TABLE: dict[str, list[tuple[dict[str, Any], Moments]]] = {
    "zeros": [({}, lambda i, o: (0, 0, 0))],
    "constant": [({"value": -1.5}, lambda i, o: (-1.5, 0, 1.5))],
    "normal": [({}, lambda i, o: (0, 0.05, inf)), ({"std": 2.0}, lambda i, o: (0, 2, inf))],
    "uniform": [({}, lambda i, o: (0, 0.05 / sqrt(3), 0.05)), ({"limit": 3.0}, lambda i, o: (0, sqrt(3), 3))],
    "glorot_uniform": [({}, lambda i, o: (0, sqrt(2 / (i + o)), sqrt(6 / (i + o))))],
    "glorot_normal": [({}, lambda i, o: (0, sqrt(2 / (i + o)), inf))],
    "he_uniform": [({}, lambda i, o: (0, sqrt(2 / i), sqrt(6 / i)))],
    "he_normal": [({}, lambda i, o: (0, sqrt(2 / i), inf))],
    "lecun_normal": [({}, lambda i, o: (0, sqrt(1 / i), inf))],
}
STRUCTURED = {"orthogonal", "gaussian", "dirac", "truncated_normal"}  # not one number like the other
# the first three values of dense1.weight with seed 0, fan_in 30 and fan_out 20: another numpy must draw the same
GOLDEN = {
    "zeros": [0.0, 0.0, 0.0],
    "constant": [0.5, 0.5, 0.5],
    "normal": [0.07038404876650708, -0.07871815897079898, 0.007888005640239535],
    "uniform": [0.02053873631104816, -0.003325747103592701, 0.026786975015830883],
    "glorot_uniform": [0.14229653925598074, -0.023041451826190384, 0.18558560683398884],
    "glorot_normal": [0.28153619506602834, -0.3148726358831959, 0.03155202256095814],
    "he_uniform": [0.18370404225378772, -0.02974638639842525, 0.23958998818794547],
    "he_normal": [0.36346166494844345, -0.40649882498401646, 0.04073348597258385],
    "truncated_normal": [0.07038404876650708, -0.07871815897079898, 0.007888005640239535],
    "orthogonal": [0.9937673582936011, 0.10176943684479672, 0.11137242975763645],
    "lecun_normal": [0.25700620798639723, -0.2874380756905616, 0.02880292415258115],
}


def test_the_tables_hold_every_initialisation():
    assert set(TABLE) | STRUCTURED == set(GOLDEN) | {"gaussian", "dirac"} == set(INITIALIZERS)


@pytest.mark.parametrize("fans", [(10, 500), (300, 20), (64, 64)])
@pytest.mark.parametrize("name", TABLE)
def test_moments(name: str, fans: tuple[int, int]):
    for settings, moments in TABLE[name]:
        mean, std, largest = moments(*fans)
        drawn = np.stack(
            [INITIALIZERS[name](**settings)((40, 50), *fans, generator(seed, "init", "w")) for seed in range(10)]
        )
        assert drawn.dtype == np.float64 and drawn.shape == (10, 40, 50)
        few = 5 / sqrt(drawn.size)  # five standard errors
        assert abs(drawn.mean() - mean) <= few * std
        assert abs(drawn.std() - std) <= few * std
        assert np.abs(drawn).max() <= largest
        if largest < inf and std > 0:
            assert np.abs(drawn).max() > 0.99 * largest
        assert abs((drawn**4).mean() - fourth_moment(mean, std, largest)) <= 0.1 * std**4
        if std > 0:
            assert len(np.unique(drawn)) == drawn.size, "two seeds or two weights share a value"


def fourth_moment(mean: float, std: float, largest: float) -> float:
    """Tells a normal distribution from a uniform one of the same variance."""
    if std == 0:
        return mean**4
    return 3 * std**4 if largest == inf else largest**4 / 5


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(name: str):
    settings = {"value": 0.5} if name == "constant" else {}
    shape = (3, 2) if name in STRUCTURED else (3,)
    drawn = INITIALIZERS[name](**settings)(shape, 30, 20, generator(0, "init", "dense1.weight"))
    np.testing.assert_allclose(drawn.ravel()[:3], GOLDEN[name], rtol=1e-13 if name in STRUCTURED else 1e-15)


@pytest.mark.parametrize("shape", [(7, 7), (9, 4), (4, 9), (3, 3, 2, 5), (2, 2, 1, 30)])
def test_orthogonal(shape: tuple[int, ...]):
    for seed in range(3):
        w = INITIALIZERS["orthogonal"](gain=1.5)(shape, 0, 0, generator(seed, "init", "w"))
        assert w.shape == shape and w.dtype == np.float64
        w = w.reshape(-1, shape[-1]) / 1.5
        product = w.T @ w if len(w) >= shape[-1] else w @ w.T
        np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-12)


def test_orthogonal_prefers_no_direction():
    """Entries of a random rotation of n dimensions have mean 0, variance 1/n and fourth moment 3 / (n (n + 2)), and
    the trace has variance 1; QR without its signs fails this."""
    drawn = np.stack([INITIALIZERS["orthogonal"]()((4, 4), 4, 4, generator(seed, "init", "w")) for seed in range(2000)])
    few = 5 / sqrt(2000)
    assert np.abs(drawn.mean(0)).max() < few * 0.5 and np.abs((drawn**2).mean(0) - 1 / 4).max() < few * 0.25
    assert np.abs((drawn**4).mean(0) - 3 / 24).max() < few * 0.25
    assert abs(np.trace(drawn, axis1=1, axis2=2).var() - 1) < few * 1.5


def test_orthogonal_keeps_lengths_through_many_layers():
    model = build([("dense", {"units": 30, "activation": "none", "bias": False})] * 20, (30,), init="orthogonal")
    model.initialise(0, device_of(np.float64))
    x = np.linspace(-1, 1, 60).reshape(2, 30)
    np.testing.assert_allclose((model(x, Context()).data ** 2).sum(1), (x**2).sum(1), rtol=1e-10)


def test_truncated_normal():
    """Of a normal distribution what lies within two standard deviations: variance 1 - 4 φ(2) / (2 Φ(2) - 1)."""
    drawn = INITIALIZERS["truncated_normal"](std=0.5)((300, 200), 1, 1, generator(0, "init", "w")) / 0.5
    density, within = exp(-2) / sqrt(2 * pi), erf(sqrt(2))
    variance = 1 - 4 * density / within
    assert 1.99 < np.abs(drawn).max() <= 2
    assert abs(drawn.mean()) <= 5 * sqrt(variance / drawn.size)
    assert abs(drawn.var() - variance) <= 0.01
    assert abs((drawn**4).mean() - (3 * variance - 16 * density / within)) <= 0.05
    assert len(np.unique(drawn)) == drawn.size


def test_dirac_passes_its_input_on():
    layers: Any = [("conv", {"channels": 6, "kernel": (3, 1), "padding": "same", "activation": "none"})]
    model = build(layers, (5, 4, 3), init="dirac")
    model.initialise(0, device_of(np.float64))
    x = np.arange(60.0).reshape(1, 5, 4, 3)
    assert np.array_equal(model(x, Context()).data, np.concatenate([x, x], axis=-1))
    with pytest.raises(ShapeError, match="init dirac passes positions on, so it is for conv; a dense layer has none"):
        build([("dense", {"units": 3})], (3,), init="dirac")


def test_gaussian_blurs_each_channel():
    """Against one position after the other; a bell of σ has variance σ² as far as the kernel reaches."""
    layers: Any = [("conv", {"channels": 3, "kernel": (5, 3), "padding": "same", "activation": "none", "bias": False})]
    layers[0][1]["init"] = INITIALIZERS["gaussian"](sigma=0.6)
    model = build(layers, (9, 8, 3))
    model.initialise(0, device_of(np.float64))
    x = np.zeros((1, 9, 8, 3))
    x[0, 4, 4] = 1, 10, 100
    y = model(x, Context()).data[0]
    np.testing.assert_allclose(y.sum((0, 1)), [1, 10, 100], rtol=1e-12)
    np.testing.assert_allclose(y[..., 1], 10 * y[..., 0], rtol=1e-12)
    np.testing.assert_allclose(y, y[::-1], rtol=1e-12)
    assert y[4, 4, 0] / y[4, 3, 0] == pytest.approx(np.exp(1 / (2 * 0.36)), rel=1e-12)
    assert y[2, 3, 0] / y[4, 4, 0] == pytest.approx(np.exp(-(4 + 1) / (2 * 0.36)), rel=1e-12)
    depthwise = INITIALIZERS["gaussian"]()((3, 1, 4), 0, 0, generator(0, "init", "w"))
    assert (depthwise == depthwise[..., :1]).all() and depthwise.sum() == pytest.approx(4)


@pytest.mark.parametrize(
    ("kind", "in_shape", "settings", "says"),
    [
        ("dense", (3,), {"units": 3}, "it is for conv; a dense layer has none"),
        ("conv", (5, 5, 2), {"channels": 3}, "3 output channels see 2 input channels; give as many channels"),
    ],
)
def test_gaussian_is_refused(kind: str, in_shape: tuple[int, ...], settings: dict[str, Any], says: str):
    with pytest.raises(ShapeError, match=says):
        build([(kind, settings)], in_shape, init="gaussian")


@pytest.mark.parametrize(
    ("kind", "in_shape", "settings", "fans"),
    [
        ("dense", (7,), {"units": 3}, (7, 3)),
        ("conv", (8, 8, 4), {"channels": 6}, (3 * 3 * 4, 3 * 3 * 6)),
        ("conv", (8, 8, 4), {"channels": 6, "groups": 2, "kernel": (3, 2)}, (3 * 2 * 2, 3 * 2 * 3)),
        ("conv", (8, 4), {"channels": 4, "groups": 4, "kernel": 5}, (5, 5)),
        ("depthwise_conv", (8, 4), {"kernel": 5, "multiplier": 2}, (5, 10)),
        ("conv_transpose", (8, 4), {"channels": 6, "kernel": 4, "groups": 2}, (8, 12)),
        ("conv_transpose", (8, 8, 4), {"channels": 6, "kernel": (4, 3), "stride": 2}, (2 * 2 * 4, 4 * 3 * 6)),
    ],
)
def test_fans(kind: str, in_shape: tuple[int, ...], settings: dict[str, Any], fans: tuple[int, int]):
    """fan_in: inputs that an output sums over; fan_out: outputs that an input feeds. Biases start at 0."""
    layer = build([(kind, settings)], in_shape).layers[0]
    weight, bias = layer.parameters["weight"], layer.parameters["bias"]
    assert (weight.fan_in, weight.fan_out) == fans
    assert not bias.draw(generator(0, "init", "bias")).any()
