"""The experiments that come as configs show what they promise: over seeds, not in one lucky run."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build
from conftest import device_of
from test_configs import EXPERIMENTS

import dltrain
from dltrain.api import Run
from dltrain.errors import DivergedError
from dltrain.nn import Context
from dltrain.spec import build_model, load, shipped_configs

SEEDS = (0, 1, 2)
ROOT = Path(__file__).parent.parent


@pytest.fixture
def fit(tmp_path: Path) -> Iterator[Any]:
    def train(config: str, *changes: str, seed: int = 0) -> Run:
        return dltrain.load(config, [*changes, f"seed={seed}"]).fit(runs_dir=tmp_path, threads=1)

    yield train


def accuracy(run: Run) -> float:
    return float(run.result["test"]["accuracy"])


def weights(run: Run) -> dict[str, np.ndarray]:
    return run._directory.checkpoint("last").weights


# --- depth -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_vanish_in_sigmoids_and_not_in_relus(seed: int, fit: Any) -> None:
    norms = {}
    for name, changes in {"sigmoid": (), "relu": ("model.activation=relu", "model.init=he_normal")}.items():
        run = fit("deep_sigmoid", "train.max_steps=15", *changes, seed=seed)
        norms[name] = [row["gradient_norm"] for row in run.layers]
        assert len(norms[name]) == 11
    sigmoid = norms["sigmoid"]
    assert sigmoid == sorted(sigmoid) and sigmoid[0] < 1e-5 * sigmoid[-1], "smaller from layer to layer"
    assert max(norms["relu"]) < 10 * min(norms["relu"])


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_that_start_too_small_or_too_large(seed: int, fit: Any) -> None:
    changes = ("train.max_steps=5", "model.activation=relu", "model.init=normal")
    small = fit("deep_sigmoid", *changes, "model.init.std=0.05", seed=seed).layers
    assert small[-2]["activation_std"] < 0.01 * small[0]["activation_std"]
    assert small[0]["gradient_norm"] < 1e-3 * small[-1]["gradient_norm"]
    with pytest.raises(DivergedError):
        fit("deep_sigmoid", *changes, "model.init.std=0.5", seed=seed)


@pytest.mark.parametrize(
    ("init", "activation"), [("glorot_normal", "none"), ("glorot_uniform", "none"), ("he_normal", "relu")]
)
def test_twenty_layers_keep_mean_and_variance(init: str, activation: str) -> None:
    """Of what goes into the activation, where Glorot and He compute it: mean 0, variance about that of the first layer.
    Means over seeds; a single network of 400 units wanders by some 10 % a layer."""
    layers: Any = [("dense", {"units": 400, "activation": "none"}), (activation, {})] * 20
    layers = [layer for layer in layers if layer[0] != "none"]
    means, variances = [], []
    for seed in range(4):
        model = build(layers, (400,), init=init)
        model.initialise(seed, device_of(np.float32))
        sums: list[Any] = []
        x = np.random.default_rng(seed).normal(size=(50, 400)).astype(np.float32)
        tap = Context(tap=lambda layer, y, into=sums: into.append(y.copy()) if layer.parameters else None)  # type: ignore[misc]
        model(x, tap)
        means.append([y.mean() for y in sums])
        variances.append([y.var() for y in sums])
    mean, variance = np.mean(means, axis=0), np.mean(variances, axis=0)
    assert len(mean) == 20
    assert np.abs(mean / np.sqrt(variance)).max() < 0.1
    assert 0.5 < variance[-1] / variance[0] < 2
    start = 2 if init == "he_normal" else 1  # variance of w times fan_in times the mean square of the input
    assert variance[0] == pytest.approx(start, rel=0.1)


def test_a_learning_rate_kills_relus_but_not_leaky_ones(fit: Any) -> None:
    read: dict[str, list[float]] = {"relu": [], "leaky_relu": []}
    for seed in SEEDS:
        for activation in read:
            run = fit("dying_relu", f"model.activation={activation}", seed=seed)
            read[activation].append(accuracy(run))
            dead = [row["dead_units"] for row in run.layers if row["epoch"] == 2 and row["dead_units"] is not None]
            assert activation == "leaky_relu" or sum(dead) > 0.3 * 128
    assert np.mean(read["leaky_relu"]) > np.mean(read["relu"]) + 0.02, read


# --- optimizers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_steps_through_a_valley(seed: int, fit: Any) -> None:
    steps = {}
    for name, lr in (("sgd", 0.5), ("momentum", 0.1), ("nesterov", 0.1), ("adam", 0.1)):
        run = fit("valley", f"optimizer={{type: {name}, lr: {lr}}}", f"data.seed={seed}", "train.epochs=3", seed=seed)
        losses = [row["loss"] for row in run.metrics if row["event"] == "step"]
        steps[name] = next(i for i, loss in enumerate(losses) if loss < 0.01)
    assert steps["sgd"] > 1.4 * max(steps["momentum"], steps["nesterov"], steps["adam"]), steps
    with pytest.raises(DivergedError):
        fit("valley", "optimizer.lr=1.5", f"data.seed={seed}", seed=seed)


# --- regularisation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_l1_keeps_the_two_features_that_matter_and_l2_all(seed: int, fit: Any) -> None:
    changes = (f"data.seed={seed}", "train.epochs=12")
    kept = weights(fit("playground_circle_l1", *changes, seed=seed))["dense1.weight"].ravel() != 0
    assert kept.tolist() == [False, False, True, True, False, False, False]
    assert weights(fit("playground_circle_l2", *changes, seed=seed))["dense1.weight"].all()


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_dropout_brings_training_and_test_together(seed: int, fit: Any) -> None:
    def losses(*changes: str) -> tuple[float, float]:
        run = fit("few_digits_dropout", *changes, seed=seed)
        return run.result["train"]["loss"], run.result["test"]["loss"]

    with_dropout, without = losses(), losses("model.layers.dropout1.rate=0", "model.layers.dropout2.rate=0")
    assert with_dropout[1] < without[1]
    assert without[1] > 30 * without[0] and with_dropout[1] < 4 * with_dropout[0]


# --- convolution and features ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_convolution_finds_a_shape_anywhere(seed: int, fit: Any) -> None:
    changes = (f"data.seed={seed}", "train.epochs=25")
    dense = "model.layers=[flatten, {dense: 32}, {dense: {units: 3, activation: none}}]"
    conv_run, dense_run = fit("signals_conv", *changes, seed=seed), fit("signals_conv", dense, *changes, seed=seed)
    assert accuracy(conv_run) > 0.9 > 0.8 > accuracy(dense_run)


def test_a_convolution_in_space(fit: Any) -> None:
    assert np.mean([accuracy(fit("volumes_conv", "train.epochs=10", f"data.seed={s}", seed=s)) for s in SEEDS]) > 0.93


def test_a_fixed_blur_makes_noisy_digits_easier(fit: Any) -> None:
    blurred, sharp = (
        [accuracy(fit("noisy_digits_blur", "train.epochs=6", *changes, seed=seed)) for seed in SEEDS]
        for changes in ((), ("~model.layers.conv1",))
    )
    assert np.mean(blurred) > np.mean(sharp) + 0.01, (blurred, sharp)


def test_the_blur_stays_what_it_was(fit: Any) -> None:
    run = fit("noisy_digits_blur", "train.max_steps=3")
    kernel = weights(run)["conv1.weight"][..., 0, 0]
    assert kernel.sum() == pytest.approx(1, rel=1e-6) and kernel[2, 1] / kernel[2, 2] == pytest.approx(
        np.exp(-1 / (2 * 0.6**2)), rel=1e-5
    )


def test_weights_that_are_shared() -> None:
    shared = build_model(load("weight_sharing"))
    assert (shared.out_shape, sum(p.size for p in shared.parameters.values())) == ((32, 1), 8)
    dense = build_model(load("weight_sharing", ["model.layers=[flatten, {dense: {units: 32, bias: false}}]"]))
    assert (dense.out_shape, sum(p.size for p in dense.parameters.values())) == ((32,), 1024)


def test_the_maximum_learns_faster_than_the_average(fit: Any, data_dir: Path) -> None:
    """After a fifth of the first epoch; after two epochs both are equally good, as the config says."""
    quick = ("data.validation=0", "train.max_steps=200", "optimizer.lr=4e-3")
    average = ("model.layers.1.type=average_pool", "model.layers.3.type=average_pool")
    tests = [[fit("mnist_pooling", *quick, *c, seed=s).result["test"] for s in SEEDS] for c in ((), average)]
    for one, other in zip(*tests, strict=True):
        assert one["loss"] < other["loss"], tests
    assert np.mean([t["accuracy"] for t in tests[0]]) > np.mean([t["accuracy"] for t in tests[1]]) + 0.002, tests


def test_penguins(fit: Any) -> None:
    found = [accuracy(fit("penguins_mlp", "train.epochs=12", seed=seed)) for seed in range(10)]
    assert np.mean(found) >= 0.97, found


def test_a_linear_support_vector_machine_reads_digits(fit: Any) -> None:
    assert min(accuracy(fit("digits_svm", "train.epochs=4", seed=seed)) for seed in SEEDS[:2]) > 0.9


def test_features_made_by_hand(fit: Any) -> None:
    for seed in SEEDS[:2]:
        plane = ("data.features=[x, y]", f"data.seed={seed}")
        assert accuracy(fit("circle_by_hand", f"data.seed={seed}", seed=seed)) > 0.97
        assert accuracy(fit("circle_by_hand", *plane, seed=seed)) < 0.7


# --- all of them -----------------------------------------------------------------------------------------------------


def test_every_experiment_is_told_of_tested_and_measured() -> None:
    tested = set(re.findall(r'(?:fit|load)\("(\w+)"', Path(__file__).read_text()))
    text = (ROOT / "docs" / "parts.md").read_text(encoding="utf-8")
    told = re.search(r"\n## Experiments\n.*?\n## ", text, re.S)
    assert told is not None
    named = set(re.findall(r"`(\w+)`", told[0]))
    assert tested == EXPERIMENTS | {"weight_sharing"} and tested <= named <= set(shipped_configs())
    measured = json.loads((ROOT / "benchmarks" / "results" / "experiments.json").read_bytes())["experiments"]
    assert measured.keys() == EXPERIMENTS
    table = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for config, variants in measured.items():
        for variant, found in variants.items():
            (line,) = re.findall(rf"^\| `{config}` \| {re.escape(variant)} \|.*$", table, re.M)
            for name, figure in found["figures"].items():
                assert f"{name} {figure['mean']:.3g} ± {figure['deviation']:.2g}" in line, (
                    "run benchmarks/experiments.py"
                )
