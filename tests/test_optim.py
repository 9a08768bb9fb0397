"""Optimizers against a few plain lines of numpy, schedules at points that can be worked out by hand."""

from collections.abc import Callable
from itertools import pairwise
from math import cos, inf, pi, sqrt
from typing import Any

import numpy as np
import pytest
from builders import make_job, rows
from conftest import device_of
from hypothesis import given
from hypothesis import strategies as st

from dltrain.backend import Device, to_host
from dltrain.engine import Tensor, distinct, gradients
from dltrain.optim import OPTIMIZERS, SCHEDULES, Optimizer

Array = Any
State = dict[str, Any]


def sgd(w: Array, g: Array, s: State, lr: float, t: int) -> Array:
    return w - lr * g


def momentum(w: Array, g: Array, s: State, lr: float, t: int, momentum: float = 0.9) -> Array:
    s["v"] = momentum * s.get("v", 0) + g
    return w - lr * s["v"]


def nesterov(w: Array, g: Array, s: State, lr: float, t: int, momentum: float = 0.9) -> Array:
    s["v"] = momentum * s.get("v", 0) + g
    return w - lr * (g + momentum * s["v"])


def adam(
    w: Array, g: Array, s: State, lr: float, t: int, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
) -> Array:
    s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * g**2
    mean, square = s["m"] / (1 - beta1**t), s["v"] / (1 - beta2**t)
    return w - lr * mean / (np.sqrt(square) + epsilon)


def adamw(w: Array, g: Array, s: State, lr: float, t: int, weight_decay: float = 0.01, **settings: float) -> Array:
    return adam(w, g, s, lr, t, **settings) - lr * weight_decay * w


def adagrad(w: Array, g: Array, s: State, lr: float, t: int, epsilon: float = 1e-8) -> Array:
    s["s"] = s.get("s", 0) + g**2
    return w - lr * g / (np.sqrt(s["s"]) + epsilon)


def rmsprop(w: Array, g: Array, s: State, lr: float, t: int, decay: float = 0.9, epsilon: float = 1e-8) -> Array:
    s["s"] = decay * s.get("s", 0) + (1 - decay) * g**2
    return w - lr * g / (np.sqrt(s["s"]) + epsilon)


Rule = Callable[..., Array]
PLAIN: list[tuple[str, dict[str, Any], Rule]] = [
    ("sgd", {}, sgd),
    ("momentum", {}, momentum),
    ("momentum", {"momentum": 0.5}, momentum),
    ("momentum", {"momentum": 0.0}, sgd),
    ("nesterov", {}, nesterov),
    ("nesterov", {"momentum": 0.5}, nesterov),
    ("nesterov", {"momentum": 0.0}, sgd),
    ("adam", {}, adam),
    ("adam", {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-2}, adam),
    ("adamw", {}, adamw),
    ("adamw", {"beta1": 0.5, "beta2": 0.9, "epsilon": 1e-2, "weight_decay": 0.3}, adamw),
    ("adamw", {"weight_decay": 0.0}, adamw),
    ("adagrad", {}, adagrad),
    ("adagrad", {"epsilon": 0.1}, adagrad),
    ("rmsprop", {}, rmsprop),
    ("rmsprop", {"decay": 0.5, "epsilon": 0.1}, rmsprop),
]
SHAPES = {"conv1.weight": (3, 3, 2, 4), "conv1.bias": (4,), "dense1.weight": (1, 1)}
STEPS = 6


def test_the_table_holds_every_optimizer_and_setting():
    assert {name for name, _, _ in PLAIN} == set(OPTIMIZERS)
    for name in OPTIMIZERS:
        tried = {key for other, settings, _ in PLAIN if other == name for key in settings}
        assert tried | {"lr", *OPTIMIZERS.common} == set(OPTIMIZERS.settings(name)), name


def starting(device: Device) -> dict[str, Array]:
    return {name: device.asarray(distinct(*shape, seed=i)) for i, (name, shape) in enumerate(SHAPES.items())}


def gradients_of(step: int) -> dict[str, Array]:
    """Some are 0, some tiny: what a dead unit gives, and where epsilon matters."""
    found = {name: distinct(*shape, seed=10 * step + i) for i, (name, shape) in enumerate(SHAPES.items())}
    found["conv1.bias"] = found["conv1.bias"] * [0, 1e-9, 1, 1e3]
    return found


def rate(step: int) -> float:
    return 0.1 / step


def run(optimizer: Optimizer, device: Device) -> tuple[dict[str, Array], dict[str, Array]]:
    parameters = starting(device)
    parameters = {name: p.copy() for name, p in parameters.items()}
    state = optimizer.new_state(parameters)
    for step in range(1, STEPS + 1):
        grads = {name: device.asarray(g) for name, g in gradients_of(step).items()}
        before = {name: to_host(g).copy() for name, g in grads.items()}
        held = dict(parameters)
        optimizer.update(parameters, grads, state, rate(step), step)
        assert all(parameters[name] is held[name] for name in held), "updates are in place"
        assert all(np.array_equal(to_host(grads[name]), before[name]) for name in before), "gradients are borrowed"
    return parameters, state


@pytest.mark.parametrize(("name", "settings", "rule"), PLAIN)
def test_agrees_with_plain_numpy(name: str, settings: dict[str, Any], rule: Rule, device: Device):
    optimizer = OPTIMIZERS[name](lr=1.0, **settings)  # the rate comes with every update
    parameters, state = run(optimizer, device)
    if rule is sgd:
        settings = {}
    for key, w in starting(device_of(np.float64)).items():
        memory: State = {}
        for step in range(1, STEPS + 1):
            w = rule(w, gradients_of(step)[key], memory, rate(step), step, **settings)
        np.testing.assert_allclose(to_host(parameters[key]), w, rtol=1e-12, atol=1e-15)
    assert set(state) == {f"{key}/{slot}" for key in SHAPES for slot in optimizer.slots}
    assert all(array.shape == SHAPES[key.partition("/")[0]] for key, array in state.items())


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_float32_stays_float32(name: str, device_name: str):
    results = [run(OPTIMIZERS[name](), device_of(dtype, device_name)) for dtype in (np.float32, np.float64)]
    for narrow, wide in zip(*results, strict=True):
        for key in wide:
            assert narrow[key].dtype == np.float32
            np.testing.assert_allclose(to_host(narrow[key]), to_host(wide[key]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_it_finds_the_bottom_of_a_bowl(name: str):
    """Descends, that is: the sign is right."""
    optimizer = OPTIMIZERS[name]()
    x = Tensor(np.array([3.0, -2.0]))
    state = optimizer.new_state({"x": x.data})
    for step in range(1, 301):
        loss = ((x - np.array([1.0, 1.0])) ** 2).sum()
        lr = 1.0 if name == "adagrad" else 0.05 if step < 200 else 0.005  # rmsprop never makes smaller steps than lr
        optimizer.update({"x": x.data}, {"x": gradients(loss, [x])[0]}, state, lr, step)
    assert np.abs(x.data - 1).max() < 1e-2


def test_the_default_rate_is_kept():
    assert OPTIMIZERS["adam"]().lr == 1e-3 and OPTIMIZERS["sgd"](lr=0.5).lr == 0.5


def test_adam_without_a_gradient_does_not_move():
    optimizer = OPTIMIZERS["adam"]()
    w = {"w": np.ones(3)}
    optimizer.update(w, {"w": np.zeros(3)}, optimizer.new_state(w), 0.1, 1)
    assert w["w"].tolist() == [1, 1, 1]


# --- schedules --------------------------------------------------------------------------------------------------------

POINTS: list[tuple[str, dict[str, Any], dict[float, float]]] = [
    ("constant", {}, {0: 1, 3.7: 1, 10: 1}),
    ("step", {"every": 3}, {0: 1, 2.999: 1, 3: 0.1, 5.5: 0.1, 6: 0.01, 9.1: 0.001}),
    ("step", {"every": 1, "factor": 0.5}, {0.5: 1, 1: 0.5, 9.99: 0.5**9}),
    ("step", {"every": 2, "factor": 1000.0}, {2: 1e3, 206: inf, 207.5: inf}),
    ("exponential", {}, {0: 1, 1: 0.95, 2.5: 0.95**2.5, 10: 0.95**10}),
    ("exponential", {"factor": 0.5}, {0: 1, 0.5: sqrt(0.5), 3: 0.125}),
    ("exponential", {"factor": 1000.0}, {2: 1e6, 102: 1e306, 103: inf, 1e9: inf}),
    ("linear", {}, {0: 1, 2.5: 0.75, 9: 0.1, 10: 0, 11: 0}),
    ("linear", {"warmup": 2, "lowest": 0.2}, {0: 0, 1: 0.5, 2: 1, 6: 0.6, 10: 0.2, 12: 0.2}),
    ("cosine", {}, {0: 1, 2.5: (1 + sqrt(0.5)) / 2, 5: 0.5, 10: 0, 11: 0}),
    ("cosine", {"lowest": 0.2}, {0: 1, 5: 0.6, 10: 0.2}),
    ("cosine", {"warmup": 2}, {0: 0, 0.5: 0.25, 1: 0.5, 2: 1, 6: 0.5, 4: (1 + cos(pi / 4)) / 2, 10: 0}),
    ("cosine", {"warmup": 10}, {0: 0, 5: 0.5, 9.9: 0.99}),
]


# settings, the watched loss of each epoch, the factor in the epoch after it
PLATEAUS: list[tuple[dict[str, Any], list[float], list[float]]] = [
    ({"patience": 1}, [5, 4, 3, 3, 2, 2], [1, 1, 1, 0.1, 0.1, 0.01]),
    ({"patience": 2, "factor": 0.5}, [5, 5, 5, 5, 5, 5, 5], [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]),
    ({"patience": 2, "factor": 0.5}, [5, 6, 4, 6, 3, 6, 6, 2], [1, 1, 1, 1, 1, 1, 0.5, 0.5]),
    ({"patience": 2, "min_delta": 0.5}, [5, 4.7, 4.6, 4.5], [1, 1, 0.1, 0.1]),
    ({"patience": 2, "min_delta": 0.5}, [5, 4.7, 4.4, 4.1, 3.8], [1, 1, 1, 1, 1]),  # two small gains are one large one
    ({"patience": 1, "lowest": 0.05}, [5, 5, 5, 5], [1, 0.1, 0.05, 0.05]),
    ({}, [5, 5, 5, 5, 5, 5, 5], [1, 1, 1, 1, 1, 0.1, 0.1]),
]


@pytest.mark.parametrize(("settings", "losses", "factors"), PLATEAUS)
def test_reduce_on_plateau(settings: dict[str, Any], losses: list[float], factors: list[float]):
    schedule = SCHEDULES["reduce_on_plateau"](**settings)
    assert schedule(0.5, 10) == 1
    for epoch, factor in enumerate(factors, start=1):
        assert schedule(epoch + 0.5, 10, losses[:epoch]) == pytest.approx(factor, rel=1e-12), epoch


def test_the_points_hold_every_schedule_and_setting():
    tables = [*POINTS, *(("reduce_on_plateau", settings, {}) for settings, _, _ in PLATEAUS)]
    assert {name for name, _, _ in tables} == set(SCHEDULES)
    for name in SCHEDULES:
        tried = {key for other, settings, _ in tables if other == name for key in settings}
        assert tried == set(SCHEDULES.settings(name)), name


@pytest.mark.parametrize(("name", "settings", "points"), POINTS)
def test_schedule(name: str, settings: dict[str, Any], points: dict[float, float]):
    schedule = SCHEDULES[name](**settings)
    for epoch, factor in points.items():
        found = schedule(epoch, 10)
        assert isinstance(found, float) and found == pytest.approx(factor, rel=1e-12, abs=1e-12), epoch


@pytest.mark.parametrize("name", ["linear", "cosine"])
@given(warm=st.integers(1, 60), steps_per_epoch=st.integers(1, 30), after=st.integers(1, 40))
def test_the_first_step_of_a_warm_up_moves(name: str, warm: int, steps_per_epoch: int, after: int) -> None:
    """Step k of W has (k + 1) / (W + 1), as get_lr of nanoGPT since its dc81cb3; step W the whole rate."""
    schedule = SCHEDULES[name](warmup=warm / steps_per_epoch)
    epochs, step = (warm + after) / steps_per_epoch, 1 / steps_per_epoch
    found = [schedule(k / steps_per_epoch, epochs, (), step) for k in range(warm + 1)]
    expected = [(k + 1) / (warm + 1) for k in range(warm)]
    assert found[:-1] == pytest.approx(expected, rel=1e-9) and found[-1] == pytest.approx(1, rel=1e-9)


def test_the_rates_of_a_training_that_warms_up() -> None:
    """Ten steps an epoch, one epoch of warm-up."""
    linear = SCHEDULES["linear"](warmup=1)
    job = make_job([("dense", {"units": 3})], {"train": rows(100)}, batch_size=10, epochs=3, schedule=linear)
    rates = [job.learning_rate(step, []) / job.optimizer.lr for step in range(12)]
    assert rates == pytest.approx([*(k / 11 for k in range(1, 11)), 1, 1 - 1 / 20])


@pytest.mark.parametrize("name", ["cosine", "linear", "exponential", "constant"])
def test_a_schedule_never_jumps(name: str):
    schedule = SCHEDULES[name](**({"warmup": 1.5} if name in ("cosine", "linear") else {}))
    steps = [schedule(i / 100, 10) for i in range(1001)]
    assert max(abs(a - b) for a, b in pairwise(steps)) < 0.01


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_goes_on_from_a_state_that_was_kept(name: str, device: Device):
    """The weights after 5 steps are those of 2 steps, a state that was kept and loaded, and 3 more."""
    shapes = {"a": (3, 3, 2), "b": (40, 3)}

    def descend(weights: dict[str, Any], state: dict[str, Any], steps: range) -> None:
        for step in steps:
            gradients = {n: device.asarray(distinct(*shape, seed=step)) for n, shape in shapes.items()}
            optimizer.update(weights, gradients, state, 0.1 / step, step)

    optimizer = OPTIMIZERS[name]()
    weights = {n: device.asarray(distinct(*shape)) for n, shape in shapes.items()}
    state = optimizer.new_state(weights)
    descend(weights, state, range(1, 3))
    kept, others = [{n: to_host(a).copy() for n, a in arrays.items()} for arrays in (state, weights)]
    descend(weights, state, range(3, 6))

    others = {n: device.asarray(a) for n, a in others.items()}
    loaded = optimizer.new_state(others)
    optimizer.load_state(loaded, kept, device)
    descend(others, loaded, range(3, 6))
    for n, w in weights.items():
        np.testing.assert_array_equal(to_host(others[n]), to_host(w))


def test_a_state_of_other_parameters_is_refused(device: Device):
    optimizer = OPTIMIZERS["momentum"]()
    state = optimizer.new_state({"b": device.asarray(distinct(40, 3))})
    with pytest.raises(KeyError):
        optimizer.load_state(state, {}, device)
    for wrong in (np.zeros((3, 40), np.float32), np.zeros((40, 3), np.int64)):
        with pytest.raises(ValueError, match="b/velocity of the optimizer does not fit"):
            optimizer.load_state(state, {"b/velocity": wrong}, device)
