"""What the logs say is what happened: every number of metrics.jsonl and layers.jsonl against plain numpy."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import EVERY_LAYER, Silent, images, make_job, new_run, rows, train, weights_of
from conftest import DEVICES, device_of
from plain_training import plain_training

from dltrain.backend import Device, to_host
from dltrain.engine import no_grad
from dltrain.job.job import Job
from dltrain.job.parallel import ThreadPool
from dltrain.nn import Context, Network
from dltrain.optim import OPTIMIZERS, SCHEDULES
from dltrain.train.callbacks import LayerRows
from dltrain.train.loop import EpochEnded, fit, layer_rows, steps
from dltrain.train.state import initial_state

Row = dict[str, Any]
STEP_ROW = (
    "event", "epoch", "step", "loss", "data_loss", "penalty", "accuracy", "lr", "gradient_norm", "examples_per_second",
)  # fmt: skip
EPOCH_ROW = ("event", "epoch", "step", "train", "validation", "seconds")
LAYER_ROW = (
    "epoch", "layer", "type", "activation", "units", "dead_units", "dead_share", "gradient_norm", "weight_norm",
    "update_ratio", "activation_mean", "activation_std", "saturated_share",
)  # fmt: skip
THREE = [
    ("dense", {"units": 9, "activation": "relu"}),
    ("dense", {"units": 6, "activation": "tanh"}),
    ("dense", {"units": 5, "activation": "sigmoid"}),
    ("dense", {"units": 3, "activation": "none"}),
]


def strict_rows(path: Path) -> list[Row]:
    """Lines of JSON without the NaN and Infinity that JSON does not have."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} in {path.name}")

    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def assert_rows(found: list[Row], expected: list[Row]) -> None:
    """Equal but for rounding and for times."""
    assert len(found) == len(expected)
    for row, right in zip(found, expected, strict=True):
        row = {key: value for key, value in row.items() if key not in ("examples_per_second", "seconds")}
        assert row.keys() == right.keys()
        for key, value in right.items():
            said = f"{key} of {row}"
            if isinstance(value, dict):
                assert row[key] == pytest.approx(value, rel=1e-9, abs=1e-12), said
            else:
                rounded = isinstance(value, float | np.floating)
                assert row[key] == (pytest.approx(value, rel=1e-9, abs=1e-12) if rounded else value), said


@pytest.mark.parametrize("validation", [False, True])
@pytest.mark.parametrize(
    "settings", [{}, {"penalty": {"l1": 2e-3, "l2": 1e-3}}, {"clip_norm": 0.3}], ids=["plain", "penalty", "clipped"]
)
def test_all_numbers_of_a_run(settings: Row, validation: bool, device: Device, tmp_path: Path) -> None:
    """Four uneven batches an epoch, in shards; 70 = 22 + 22 + 22 + 4 examples, so means over steps would be wrong."""
    job = make_job(
        THREE,
        {"train": rows(70)} | ({"validation": rows(31, seed=5)} if validation else {}),
        device=device,
        optimizer=OPTIMIZERS["sgd"](lr=0.5),
        schedule=SCHEDULES["cosine"](),
        update_every=3,
        epochs=3,
        **settings,
    )
    mirror = make_job(
        THREE, {"train": rows(70), "validation": rows(31, seed=5)}, device=device_of(np.float64, "cpu"),
        optimizer=OPTIMIZERS["sgd"](lr=0.5), update_every=3, epochs=3, **settings,
    )  # fmt: skip
    if not validation:
        del mirror.loaders["validation"]
    metrics, layers, weights = plain_training(mirror)
    result, run = train(job, tmp_path, threads=3)
    assert_rows(strict_rows(run.metrics), metrics)
    assert_rows(strict_rows(run.layers), layers)
    for name, array in weights_of(job).items():
        np.testing.assert_allclose(array, weights[name], rtol=1e-9, atol=1e-12, err_msg=name)
    assert result["train"] == pytest.approx(metrics[-1]["train"], rel=1e-9)
    if settings.get("clip_norm"):
        assert any(row["gradient_norm"] > 0.3 for row in metrics if row["event"] == "step"), "nothing was clipped"


def test_rows_have_exactly_their_fields(tmp_path: Path) -> None:
    callback = Silent()
    job = make_job(EVERY_LAYER["deep"], {"train": images(70), "validation": images(20), "test": images(10)})
    run = new_run(tmp_path)
    fit(job, run, 2, callback)
    result = run.result()
    metrics, layers = strict_rows(run.metrics), strict_rows(run.layers)
    steps, epochs = ([row for row in metrics if row["event"] == event] for event in ("step", "epoch"))
    assert {tuple(row) for row in steps} == {STEP_ROW}
    assert {tuple(row) for row in epochs} == {EPOCH_ROW}
    assert {tuple(row) for row in layers} == {LAYER_ROW}
    assert {tuple(row["train"]) for row in epochs} == {("loss", "data_loss", "penalty", "accuracy")}
    assert {tuple(row["validation"]) for row in epochs} == {("loss", "accuracy")}
    assert [(row["epoch"], row["step"]) for row in steps] == [(1 + i // 4, 1 + i) for i in range(8)]
    assert callback.plan == (8, 2) and callback.steps == steps and [row for row, _ in callback.epochs] == epochs
    # nothing of pooling, dropout and flatten
    observed = ["conv1", "conv2", "leaky_relu1", "prelu1", "dense1", "tanh1", "gelu1", "dense2"]
    assert [(row["epoch"], row["layer"]) for row in layers] == [(e, name) for e in (1, 2) for name in observed]
    assert tuple(result) == ("run", "status", "epochs", "steps", "train", "validation", "test", "weights_sha256")
    assert {key: value for key, value in run.status().items() if key in result} == {
        key: value for key, value in result.items() if key != "run"
    }


def test_regression_has_no_accuracy(tmp_path: Path) -> None:
    split = rows(70)
    numbers = type(split)(split.inputs, split.inputs[:, :3].copy())
    result, run = train(make_job(splits={"train": numbers, "validation": numbers}, loss="mse"), tmp_path)
    steps = [row for row in strict_rows(run.metrics) if row["event"] == "step"]
    assert {tuple(row) for row in steps} == {tuple(key for key in STEP_ROW if key != "accuracy")}
    assert tuple(result["train"]) == ("loss", "data_loss", "penalty")
    assert tuple(result["validation"]) == ("loss", "mae", "r2")


def test_every_second_step_can_be_logged(tmp_path: Path) -> None:
    _, run = train(make_job(log_every=3), tmp_path)
    assert [row["step"] for row in strict_rows(run.metrics) if row["event"] == "step"] == [3, 6]


def test_fields_without_a_meaning_are_null(tmp_path: Path) -> None:
    null: dict[str, set[str]] = {}
    for layers in EVERY_LAYER.values():
        for row in strict_rows(train(make_job(layers, {"train": images(70)}), tmp_path)[1].layers):
            if row["epoch"] == 1:  # step 1 of 10 measured an update
                null[f"{row['type']} {row['activation']}"] = {key for key, value in row.items() if value is None}
    unit, saturated = {"dead_units", "dead_share"}, {"saturated_share"}
    weights = {"gradient_norm", "weight_norm", "update_ratio"}
    norm = unit | saturated | {"activation", "weight_norm", "update_ratio"}
    assert null == {
        "conv relu": saturated,
        "conv_transpose relu": saturated,
        "conv_transpose gelu": unit | saturated,
        "depthwise_conv relu6": saturated,
        "depthwise_conv tanh": unit,
        "conv tanh": unit,
        "conv leaky_relu": unit | saturated,
        "conv None": unit | saturated | {"activation"},
        "dense sigmoid": unit,
        "dense None": unit | saturated | {"activation"},
        "relu relu": saturated | weights,
        "relu6 relu6": saturated | weights,
        "leaky_relu leaky_relu": unit | saturated | weights,
        "sigmoid sigmoid": unit | weights,
        "tanh tanh": unit | weights,
        "prelu prelu": unit | saturated | {"weight_norm", "update_ratio"},
        "batch_norm None": norm,
        "layer_norm None": norm,
        "group_norm None": norm,
        "instance_norm None": norm,
        "embedding None": unit | saturated | {"activation"},
        "positional None": unit | saturated | {"activation"},
        "attention None": unit | saturated | {"activation"},
        "rnn tanh": unit,
        "lstm None": unit | saturated | {"activation"},
        "gru None": unit | saturated | {"activation"},
        "dense tanh": unit,
    } | {
        f"{name} {name}": unit | saturated | weights
        for name in ("softmax", "elu", "selu", "gelu", "silu", "softplus", "hard_swish")
    }


# --- constant weights: what the whole epoch gave can be computed once more -------------------------------------------

STILL = [
    ("conv", {"channels": 8, "activation": "relu"}),
    ("conv", {"channels": 6, "stride": 2, "activation": "tanh"}),
    ("relu", {}),
    ("flatten", {}),
    ("dense", {"units": 11, "activation": "sigmoid"}),
    ("dense", {"units": 12, "activation": "relu"}),
    ("dense", {"units": 10, "activation": "none"}),
]


def outputs_of(model: Network, x: Any) -> dict[str, np.ndarray]:
    """The output of each layer, with the units in columns."""
    outputs: dict[str, np.ndarray] = {}

    def tap(layer: Any, y: Any) -> None:
        outputs[layer.name] = np.array(to_host(y)).reshape(-1, y.shape[-1])

    with no_grad():
        model(x, Context(tap=tap))
    return outputs


def still_training(device_name: str) -> tuple[Job, list[Row]]:
    """A training whose steps vanish in float32, of a net with units that are nearly dead; its rows of layers."""
    job = make_job(
        STILL,
        {"train": images(70)},
        device=device_of(np.float32, device_name),
        optimizer=OPTIMIZERS["sgd"](lr=1e-300),
        epochs=1,
    )
    state = initial_state(job)
    for weight in (job.model.layers[1].parameters["weight"], job.model.layers[4].parameters["weight"]):
        weight.data *= 3  # so that some values saturate
    for index in (0, 5):
        bring_near_death(job.model, index, job.loaders["train"].examples(np.arange(70))[0])
    before, found = weights_of(job), []
    for event in steps(job, state, ThreadPool(3), lambda step: False):
        if isinstance(event, EpochEnded):
            found, state.epoch = layer_rows(state), None
    after = weights_of(job)
    assert all(np.array_equal(before[name], after[name]) for name in before), "the weights were to stay"
    return job, found


def bring_near_death(model: Network, index: int, x: Any) -> None:
    """Biases that leave unit 0 dead, and units 1 to 3 alive at one position of one example, by next to nothing."""
    layer = model.layers[index]
    layer.fused = None
    highest = outputs_of(model, x)[layer.name].max(0)  # before ReLU; biases are 0
    layer.fused = "relu"
    for unit, margin in enumerate((-1e-5, 1e-5, 1e-5, 1e-5)):
        layer.bias.data[unit] = float(margin - highest[unit])


@pytest.mark.parametrize("device_name", DEVICES)
def test_dead_units_are_counted_exactly(device_name: str) -> None:
    job, found = still_training(device_name)
    expected = outputs_of(job.model, job.loaders["train"].examples(np.arange(70))[0])
    dead = {name: int((y == 0).all(0).sum()) for name, y in expected.items()}
    barely = {name: int(((y > 0).sum(0) == 1).sum()) for name, y in expected.items()}
    assert min(dead["conv1"], dead["dense2"], barely["conv1"], barely["dense2"]) >= 1, "nothing was tested"
    for row in found:
        y = expected[row["layer"]]
        relu = row["activation"] == "relu"
        assert row["units"] == y.shape[1]
        assert row["dead_units"] == (dead[row["layer"]] if relu else None)
        assert row["dead_share"] == (dead[row["layer"]] / y.shape[1] if relu else None)


@pytest.mark.parametrize("device_name", DEVICES)
def test_means_deviations_and_saturation_are_over_all_examples(device_name: str) -> None:
    job, found = still_training(device_name)
    expected = outputs_of(job.model, job.loaders["train"].examples(np.arange(70))[0])
    limits = {"tanh": (-0.95, 0.95), "sigmoid": (0.025, 0.975)}
    shares = []
    for row in found:
        y = expected[row["layer"]].astype(np.float64)
        assert row["activation_mean"] == pytest.approx(y.mean(), rel=1e-4, abs=1e-5)
        assert row["activation_std"] == pytest.approx(y.std(), rel=1e-4)
        if row["activation"] in limits:
            low, high = limits[row["activation"]]
            shares.append(float(((y < low) | (y > high)).mean()))
            assert row["saturated_share"] == shares[-1]
    assert len(shares) == 2 and all(0 < share < 1 for share in shares), "nothing was tested"


def test_looking_in_the_middle_of_an_epoch_changes_nothing(tmp_path: Path) -> None:
    """The live view looks after some steps and not after others; the last look of an epoch is its rows."""
    looks: list[list[Any]] = []

    class Curious(Silent):
        def stepped(self, row: Any, layer_rows: LayerRows) -> None:
            looks.append(layer_rows())

    results, logs = [], []
    for callback in (Silent(), Curious()):
        run = new_run(tmp_path, type(callback).__name__.lower())
        fit(make_job(), run, 2, callback)
        results.append(run.result()["weights_sha256"])
        logs.append(strict_rows(run.layers))
    assert results[0] == results[1] and logs[0] == logs[1]
    layers = len(looks[0])
    assert [row for look in looks[3::4] for row in look] == logs[0] and len(logs[0]) == layers * len(looks) // 4
    assert looks[0] != looks[1] and {row["epoch"] for row in looks[4]} == {2}


def test_norms_too_large_for_float32_are_null(tmp_path: Path) -> None:
    """JSON has no infinity; the last step's weights may be finite although their squares are not."""
    job = make_job(optimizer=OPTIMIZERS["sgd"](lr=1e25), max_steps=1)
    _, run = train(job, tmp_path)
    for row in strict_rows(run.layers):
        assert row["weight_norm"] is None and row["update_ratio"] is None
        assert row["gradient_norm"] > 0 and row["activation_std"] > 0
