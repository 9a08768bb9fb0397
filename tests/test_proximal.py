"""Proximal L1 under every optimizer: the weights at which it rests are those of scikit-learn's Lasso, zeros and all.

Lasso minimises ‖y - Xw‖² / 2N + alpha ‖w‖₁. Half of our mean squared error is the first term, so l1 = 2 · alpha. The
solutions below are scikit-learn 1.9's:
    Lasso(alpha=ALPHA, fit_intercept=False, tol=1e-14, max_iter=10**6).fit(*problem(seed)).coef_
"""

from typing import Any

import numpy as np
import pytest
from builders import make_job
from conftest import device_of

from dltrain.backend import Device, to_host
from dltrain.data import Split
from dltrain.job.loader import StepKey
from dltrain.job.parallel import ThreadPool
from dltrain.optim import OPTIMIZERS
from dltrain.train.step import replay_for, train_step

Array = Any
ALPHA = 0.1
EXAMPLES, FEATURES = 60, 8


def problem(seed: int) -> tuple[Array, Array]:
    """Features of different sizes, few of which matter; drawn by numpy's own generator, whose stream is fixed."""
    rng = np.random.RandomState(seed)
    x = rng.normal(size=(EXAMPLES, FEATURES)) * np.linspace(1, 0.4, FEATURES)
    w = np.where(rng.uniform(size=FEATURES) < 0.4, 2 * rng.normal(size=FEATURES), 0)
    return x, x @ w + 0.3 * rng.normal(size=EXAMPLES)


LASSO: dict[int, list[float]] = {
    1: [2.03255892, 0.0, 0.0, 1.06604688, 0.0, 0.0, 0.0, 0.0],
    2: [0.0, 0.0, -2.50096593, 0.0, 0.0, -1.89937756, 0.0, 1.37564283],
    5: [0.875665321, 0.0220355122, 0.0, 0.0, 0.0, 0.0, 0.0, -3.17537663],
}

# optimizer -> (its settings, steps that are enough)
DESCENTS: dict[str, tuple[dict[str, Any], int]] = {
    "sgd": ({"lr": 0.3}, 400),
    "momentum": ({"lr": 0.1}, 400),
    "momentum of 0.5": ({"lr": 0.3, "momentum": 0.5}, 400),
    "nesterov": ({"lr": 0.1}, 400),
    "adam": ({"lr": 0.02}, 1500),
    "adamw": ({"lr": 0.02, "weight_decay": 0.0}, 1500),
    "adagrad": ({"lr": 1.0}, 1000),
    "rmsprop": ({"lr": 0.005}, 2000),
}


def test_the_table_holds_every_optimizer() -> None:
    assert {name.split()[0] for name in DESCENTS} == set(OPTIMIZERS)


def objective(x: Array, y: Array, w: Array) -> float:
    return float(((y - x @ w) ** 2).mean() / 2 + ALPHA * np.abs(w).sum())


def rested(name: str, seed: int, device: Device) -> Array:
    """The weights after a training on the whole of the problem at every step."""
    x, y = problem(seed)
    settings, steps = DESCENTS[name]
    job = make_job(
        [("dense", {"units": 1, "activation": "none", "bias": False})],
        {"train": Split(x, y[:, None])},
        device=device,
        loss="mse",
        normalize="none",
        optimizer=OPTIMIZERS[name.split()[0]](**settings),
        penalty={"l1": 2 * ALPHA, "method": "proximal"},
        batch_size=EXAMPLES,
        shard_size=EXAMPLES,
    )
    job.model.initialise(seed, device)
    pool, state, replay = ThreadPool(1), job.new_optimizer_state(), replay_for(job)
    for step in range(1, steps + 1):
        train_step(job, pool, replay, np.arange(EXAMPLES), StepKey(0, 1, step), {"": job.optimizer.lr}, state, False)
    pool.close()
    return np.asarray(to_host(next(iter(job.model.trainable_parameters.values())).data), float).ravel()


@pytest.mark.parametrize("seed", LASSO)
@pytest.mark.parametrize("name", DESCENTS)
def test_it_rests_where_lasso_does(name: str, seed: int) -> None:
    best = np.array(LASSO[seed])
    w = rested(name, seed, device_of(np.float64))
    x, y = problem(seed)
    assert objective(x, y, w) == pytest.approx(objective(x, y, best), abs=1e-4)
    assert (w == 0).tolist() == (best == 0).tolist(), "exactly the same zeros"
    np.testing.assert_allclose(w, best, atol=1e-2)


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
@pytest.mark.parametrize("device_name", ["cpu", "standin"])
def test_in_single_precision(name: str, device_name: str) -> None:
    best = np.array(LASSO[1])
    w = rested(name, 1, device_of(np.float32, device_name))
    assert (w == 0).tolist() == (best == 0).tolist()
    np.testing.assert_allclose(w, best, atol=1e-4)
