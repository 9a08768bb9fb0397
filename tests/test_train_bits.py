"""The promise: the same config, data and seed give the same weights to the last bit, however the work is spread."""

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import EVERY_LAYER, LEAVES, SMALL, Unordered, images, make_job, train, weights_of
from conftest import GPUS, device_of
from test_losses import TASKS

from dltrain.backend import Device, choose_kernels
from dltrain.backend.compiled import load as load_library
from dltrain.data import AUGMENTATIONS
from dltrain.errors import DeviceError
from dltrain.job import parallel
from dltrain.job.job import Job
from dltrain.optim import OPTIMIZERS
from dltrain.spec import build_job, load, settle
from dltrain.train import step

THREADS = (1, 2, 3, 4)
Delay = Callable[[int], float]


def job_of(net: str, optimizer: str = "adam", **settings: Any) -> Job:
    """70 pictures in batches of 22: three steps of 4 shards, of 6, 6, 6 and 4 examples, and a step of 4 examples."""
    augment = (AUGMENTATIONS["flip"](), AUGMENTATIONS["crop"](padding=1)) if net == "deep" else ()
    splits = {"train": images(70), "validation": images(27, seed=1)}
    settings = {"epochs": 1, "augment": augment, "optimizer": OPTIMIZERS[optimizer](lr=1e-2)} | settings
    return make_job(EVERY_LAYER[net], splits, **settings)


@pytest.fixture
def delay_shards(monkeypatch: pytest.MonkeyPatch) -> Callable[[Delay], None]:
    """Lets each shard of a training step take longer, by seconds that may depend on its index."""
    plain = step.shard_sums

    def install(delay: Delay) -> None:
        def delayed(job: Job, batch: Any, moment: Any, shard: int, *more: Any) -> Any:
            time.sleep(delay(shard) / 2)
            sums = plain(job, batch, moment, shard, *more)
            time.sleep(delay(shard) / 2)
            return sums

        monkeypatch.setattr(step, "shard_sums", delayed)

    return install


@pytest.fixture
def random_delays(delay_shards: Callable[[Delay], None]) -> None:
    rng = random.Random(0)
    delay_shards(lambda shard: rng.random() * 2e-3)


def hashes(job: Job, folder: Path, threads: tuple[int, ...] = THREADS) -> set[str]:
    return {train(job, folder, n)[0]["weights_sha256"] for n in threads}


def test_the_networks_hold_every_type_of_layer() -> None:
    assert {kind for layers in EVERY_LAYER.values() for kind, _ in layers} == LEAVES


NETS_AND_OPTIMIZERS = [(net, "adam") for net in EVERY_LAYER] + [("deep", name) for name in OPTIMIZERS if name != "adam"]
PENALTY = {"l1": 1e-3, "l2": 1e-3, "norm": 1e-3, "p": 1.5, "over": "model", "biases": True, "method": "proximal"}


@pytest.mark.usefixtures("random_delays", "chosen_kernels")
@pytest.mark.parametrize(
    ("net", "kernels", "optimizer"),
    [(net, "numpy", "adam") for net in EVERY_LAYER] + [(net, "auto", name) for net, name in NETS_AND_OPTIMIZERS],
)
def test_bits_do_not_depend_on_threads(net: str, kernels: str, optimizer: str, tmp_path: Path) -> None:
    """auto: in C where they were built."""
    choose_kernels(kernels)
    assert len(hashes(job_of(net, optimizer), tmp_path)) == 1


@pytest.mark.usefixtures("chosen_kernels")
def test_kernels_in_c_and_in_numpy_have_bits_of_their_own(tmp_path: Path) -> None:
    """So that the tests above do test both."""
    try:
        load_library()
    except DeviceError as error:
        pytest.skip(str(error))
    found = set()
    for kernels in ("native", "numpy"):
        choose_kernels(kernels)
        found |= hashes(job_of("deep"), tmp_path, (1,))
    assert len(found) == 2


@pytest.mark.usefixtures("random_delays")
@pytest.mark.parametrize("name", TASKS)
def test_nor_with_any_loss_and_penalty(name: str, tmp_path: Path) -> None:
    settings, outputs, data = TASKS[name]
    layers = [*SMALL[:1], ("dense", {"units": outputs, "activation": "none"})]
    data = {"train": data.take(np.arange(70)), "validation": data.take(np.arange(70, 97))}
    job = make_job(layers, data, loss=name, loss_settings=settings, penalty=PENALTY, epochs=1)
    assert len(hashes(job, tmp_path, (1, 2, 4))) == 1


@pytest.mark.parametrize("net", EVERY_LAYER)
def test_an_unordered_sum_would_be_noticed(
    net: str, tmp_path: Path, delay_shards: Callable[[Delay], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "Tree", Unordered)
    delay_shards(lambda shard: (3 - shard) * 6e-3)  # with four threads the last shard is the first to be done
    assert len(hashes(job_of(net), tmp_path, (1, 4))) == 2


def test_the_logs_do_not_depend_on_threads(tmp_path: Path) -> None:
    logs = []
    for threads in (1, 4):
        run = train(job_of("deep"), tmp_path, threads)[1]
        metrics = run.rows(run.metrics)
        for row in metrics:
            row.pop("examples_per_second", None), row.pop("seconds", None)
        logs.append((metrics, run.rows(run.layers)))
    assert logs[0] == logs[1]


def test_accumulated_gradients_are_those_of_a_larger_batch(tmp_path: Path) -> None:
    """Three batches of 7 and their update are a batch of 21, to the last bit; a GPU then holds 7 at a time."""
    large, parts = (job_of("deep", **settings) for settings in ({"batch_size": 21}, {"batch_size": 7, "accumulate": 3}))
    assert hashes(large, tmp_path, (2,)) == hashes(parts, tmp_path, (1, 3))
    assert train(parts, tmp_path)[0]["steps"] == 4
    on_gpu = job_of("deep", batch_size=7, accumulate=3, device=device_of(np.float32, "standin"))
    assert on_gpu.shard_size == 7


def test_the_seed_and_the_shard_size_do_change_the_bits(tmp_path: Path) -> None:
    """Otherwise equal hashes would prove nothing."""
    jobs = [job_of("deep"), job_of("deep", seed=1), job_of("deep", shard_size=7)]
    assert len({hash_ for job in jobs for hash_ in hashes(job, tmp_path, (2,))}) == 3


@pytest.mark.usefixtures("chosen_kernels")
@pytest.mark.parametrize("kernels", ["auto", "numpy"])
@pytest.mark.parametrize("net", EVERY_LAYER)
def test_memory_that_was_never_written_has_no_influence(
    net: str, kernels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_kernels(kernels)
    expected = hashes(job_of(net), tmp_path, (2,))
    poisoned = 0
    for name in ("empty", "empty_like"):

        def filled(*args: Any, plain: Any, **settings: Any) -> Any:
            nonlocal poisoned
            array = plain(*args, **settings)
            if array.dtype.kind == "f":
                array.fill(np.nan)
                poisoned += 1
            return array

        monkeypatch.setattr(np, name, partial(filled, plain=getattr(np, name)))
    assert hashes(job_of(net), tmp_path, (2,)) == expected
    assert poisoned, "nothing was tested"


# --- on a GPU -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("inside_step")
@pytest.mark.parametrize("shard_size", [6, None], ids=["shards", "whole batches"])
@pytest.mark.parametrize(("net", "optimizer"), NETS_AND_OPTIMIZERS)
@pytest.mark.parametrize("gpu", GPUS)
def test_a_gpu_agrees_with_the_cpu(
    gpu: str, net: str, optimizer: str, shard_size: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step gives no values to the host before it ends. On a GPU a batch is one shard; several would work too."""
    if shard_size:
        monkeypatch.setattr(Job, "shard_size", property(lambda job: shard_size))
    found = {}
    for name in ("cpu", gpu):
        settings = {"penalty": PENALTY, "clip_norm": 1.0}
        job = job_of(net, optimizer, device=device_of(np.float64, name), **settings)
        result, run = train(job, tmp_path)
        result = {key: result[key] for key in ("train", "validation")}
        found[name] = weights_of(job), [result, *run.rows(run.layers), *run.rows(run.metrics)]
    for weight, expected in found["cpu"][0].items():
        np.testing.assert_allclose(found[gpu][0][weight], expected, rtol=1e-9, atol=1e-15, err_msg=weight)
    for row, expected in zip(found[gpu][1], found["cpu"][1], strict=True):
        assert_close(row, expected)


def assert_close(row: Any, expected: Any) -> None:
    """The same keys and texts, and numbers that differ by rounding only; times may be anything."""
    if isinstance(expected, dict):
        assert row.keys() == expected.keys()
        for key in row.keys() - {"seconds", "examples_per_second"}:
            assert_close(row[key], expected[key])
    else:
        assert row == (pytest.approx(expected, rel=1e-9, abs=1e-12) if isinstance(expected, float) else expected)


# --- real data -------------------------------------------------------------------------------------------------------


def configured(name: str, data_dir: Path, *changes: str, device: Device | None = None) -> Job:
    device = device or device_of(np.float32)
    return build_job(settle(load(name, list(changes)), device), device, data_dir)


@pytest.mark.usefixtures("random_delays")
def test_an_epoch_of_digits(tmp_path: Path) -> None:
    """All training images in batches of 64: 4 shards of 15 and one of 4, and one batch of 49."""
    job = configured("digits_cnn", tmp_path, "train.epochs=1", "train.shard_size=15")
    job.loaders.pop("test")
    assert len(hashes(job, tmp_path)) == 1


@pytest.mark.parametrize("steps", [5, pytest.param(40, marks=pytest.mark.slow)])
def test_steps_of_cifar(steps: int, data_dir: Path, tmp_path: Path) -> None:
    """Batches of 32, a quarter of the config's, in 3 shards of 9 and one of 5."""
    job = configured("cifar_cnn", data_dir, f"train.max_steps={steps}", "train.batch_size=32", "train.shard_size=9")
    job.loaders.pop("test")
    assert len(hashes(job, tmp_path)) == 1


@pytest.mark.usefixtures("inside_step")
def test_a_config_on_the_stand_in(tmp_path: Path) -> None:
    """From YAML to the evaluation of the test split."""
    found = []
    for name in ("cpu", "standin"):
        device = device_of(np.float64, name)
        job = configured("smoke", tmp_path, "train.max_steps=10", "train.shard_size=15", device=device)
        found.append(train(job, tmp_path)[0])
    for key in ("train", "validation", "test"):
        assert_close(found[1][key], found[0][key])
