"""What differs on a GPU, proved without one: on the strict stand-in for CuPy, whose CUDA kernels run on the CPU.

With `pytest -m gpu` the same on an NVIDIA GPU; what the stand-in cannot show at all is in tests/test_gpu.py.
"""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin
from builders import EVERY_LAYER, Silent, images, make_job, new_run, rows, train, weights_of
from commands import dltrain, done, strict
from conftest import GPUS, device_of
from test_nonfinite import PLACES
from test_nonfinite import job as fragile_job
from test_train_bits import assert_close

from dltrain.backend import Device, all_to_host, choose_kernels, to_host
from dltrain.check.verify import verify
from dltrain.errors import DivergedError
from dltrain.evaluation.evaluate import evaluate
from dltrain.job.job import Job
from dltrain.job.loader import StepKey
from dltrain.job.parallel import ThreadPool
from dltrain.random import example_words
from dltrain.spec import build_job, load, settle, shipped_configs
from dltrain.train import loop
from dltrain.train.loop import fit
from dltrain.train.step_metrics import FiniteGuard, UpdateMetrics, fetch, fetch_steps

cp: Any = standin.cupy
WITHOUT_DATA = {"efficientnet_lite0", "vgg16", "lecture_conv_exercise", "weight_sharing"}
SMALLER = {
    "style_network": ["data.size=48"],
    "style_picture": ["data.size=48"],
}  # what takes a large network in double precision long


@pytest.fixture(params=GPUS)
def gpu(request: pytest.FixtureRequest) -> Device:
    return device_of(np.float64, request.param)


# --- kernels ---------------------------------------------------------------------------------------------------------

KEYS = [(0, "order", "", 0, 0), (7, "dropout", "dropout1", 2, 391), (2**64 - 1, "augment", "0", 2**63, 2**40 + 1)]
CUTS = [(0, 1), (0, 33), (5, 7), (2**33, 3), (100, 300)]  # first example, examples


@pytest.mark.parametrize("key", KEYS, ids=lambda key: str(key[0]))
def test_the_words_of_a_gpu_are_those_of_numpy(key: tuple[int, str, str, int, int], gpu: Device) -> None:
    """The CUDA source itself, compiled for the CPU: every index, every block of threads, every end of a row."""
    seed, purpose, layer, epoch, step_ = key
    for (first, examples), words_each in product(CUTS, (1, 2, 3, 4, 5, 8, 17, 1024)):
        place = {"epoch": epoch, "step": step_, "first": first, "examples": examples, "words_each": words_each}
        found = gpu.kernels.example_words(seed, purpose, layer, **place)  # type: ignore[arg-type]
        wanted = example_words(seed, purpose, layer, **place)  # type: ignore[arg-type]
        assert found.flags.c_contiguous and found.dtype == np.uint64 and np.array_equal(found.get(), wanted), place
    none = gpu.kernels.example_words(0, "", "", epoch=0, step=0, first=0, examples=0, words_each=5)
    assert none.shape == (0, 5)


def test_confusion_is_counted_alike(gpu: Device) -> None:
    rng = np.random.default_rng(0)
    wanted, said = rng.integers(0, 7, 500), rng.integers(0, 7, 500)
    with standin.inside_step():
        found = gpu.kernels.confusion(gpu.asarray(wanted), gpu.asarray(said), 7)
    assert found.dtype == np.int64
    assert np.array_equal(to_host(found), device_of().kernels.confusion(wanted, said, 7))


def test_many_arrays_come_to_the_host_in_one_transfer_for_each_dtype(gpu: Device) -> None:
    arrays = [np.arange(6.0).reshape(2, 3), np.arange(4), np.array(2.5), np.zeros((0, 2)), np.array(7), np.arange(2.0)]
    with standin.counting() as reads:
        found = all_to_host([gpu.asarray(a) if i < 5 else a for i, a in enumerate(arrays)])
    assert gpu.xp is not cp or len(reads) == 2
    for a, b in zip(found, arrays, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape) and np.array_equal(a, b)


# --- when the host waits for the device ------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 3, 1000])
def test_the_host_waits_once_in_a_logging_interval(every: int, tmp_path: Path) -> None:
    """Twice as many steps cost as many more waits as there are more rows to log; nothing else waits in an epoch."""
    waits = []
    for examples in (200, 400):  # steps of 10 examples in an epoch: 20, 40
        splits = {"train": images(examples), "validation": images(50, seed=1)}
        job = make_job(
            EVERY_LAYER["deep"], splits, device=device_of(np.float32, "standin"), log_every=every, epochs=1,
            batch_size=10, clip_norm=1.0, penalty={"l1": 1e-3, "l2": 1e-3, "method": "proximal"},
        )  # fmt: skip
        run = new_run(tmp_path)
        with standin.counting() as reads:
            fit(job, run, 2, Silent())
        waits.append(len(reads))
        assert [row["step"] for row in run.rows(run.metrics) if row["event"] == "step"] == [
            *range(every, examples // 10 + 1, every)
        ]
    dtypes = 2  # floats, and whole numbers such as counts
    assert waits[1] - waits[0] == dtypes * (40 // every - 20 // every)


def test_figures_do_not_pile_up_where_few_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(steps: list[Any], device: Device) -> list[Any]:
        read.append(len(steps))
        return fetch_steps(steps, device)

    monkeypatch.setattr(loop, "fetch_steps", counted)
    monkeypatch.setattr(loop, "MOST_UNREAD", 30)
    job = make_job(device=device_of(np.float32, "standin"), log_every=10**6, epochs=1, batch_size=1, shard_size=1)
    callback = Silent()
    fit(job, new_run(tmp_path), 1, callback)
    assert [length for length in read if length] == [30, 30, 10]
    assert [row["step"] for row in callback.steps] == [*range(1, 71)]


def test_an_evaluation_waits_at_its_end() -> None:
    waits = []
    for examples in (40, 80):
        job = make_job(splits={"train": rows(examples)}, device=device_of(np.float32, "standin"), batch_size=10)
        job.model.initialise(job.seed, job.device)
        with standin.counting() as reads:
            evaluate(job.model, job.loss, job.loaders["train"], ThreadPool(1), 10, 10, names=("auc", "top_k"))
        waits.append(len(reads))
    assert waits[0] == waits[1] < 6


def test_what_is_verified_is_seen_step_by_step(tmp_path: Path) -> None:
    """Although the training itself read its figures every fifth step only, and when it saved."""
    device = device_of(np.float32, "standin")
    run = train(make_job(device=device, log_every=5, checkpoints={"every_steps": 3, "keep": 99}), tmp_path)[1]
    found = verify(make_job(device=device, log_every=5), run, 1, None, None, False)
    assert [row["step"] for row in found.weights] == [3, 4, 6, 8] and all(row["equal"] for row in found.weights)
    assert not found.differences and found.rows


def test_a_checkpoint_holds_the_figures_so_far(tmp_path: Path) -> None:
    kept = []
    for name in ("cpu", "standin"):
        device = device_of(np.float64, name)
        job = make_job(device=device, log_every=100, checkpoints={"every_steps": 3, "keep": 99})
        kept.append(train(job, tmp_path)[1].checkpoint(3).epoch)
    assert kept[0].keys() == kept[1].keys() and kept[0]["mean/loss"][1] == 66
    for key in kept[0].keys() - {"seconds"}:
        np.testing.assert_allclose(kept[1][key], kept[0][key], rtol=1e-9, err_msg=key)


# --- numbers that are not finite -------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 100])
@pytest.mark.parametrize("place", PLACES)
def test_a_gpu_stops_where_the_cpu_stops(
    gpu: Device, place: str, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the host sees it many steps later: the weights, the position and what is told are the same."""
    told, kept = [], []
    for device in (device_of(np.float64), gpu):
        spoil, _ = PLACES[place]
        settings: Any = {"every_epochs": 99} if every > 1 else {"every_steps": 1, "keep": 99}
        broken = fragile_job(device=device, log_every=every)
        broken = replace(broken, checkpoint=replace(broken.checkpoint, **({"every_steps": None} | settings)))
        run = new_run(tmp_path, device.name)
        with monkeypatch.context() as patched:
            spoil(broken, float("nan"), patched)
            with pytest.raises(DivergedError):
                fit(broken, run, 1, Silent())
        told.append(strict(run.diverged.read_text()))
        status = {key: value for key, value in run.status().items() if key in ("status", "epochs", "steps")}
        kept.append((status, run.saved_steps(), [row.get("step") for row in run.rows(run.metrics)], weights_of(broken)))
    assert kept[0][:3] == kept[1][:3]
    assert told[0].keys() == told[1].keys() and told[0]["message"] == told[1]["message"]
    norms = [row.pop("last_gradient_norms") for row in told]
    assert len(norms[0]) == len(norms[1]) and all(a == pytest.approx(b, rel=1e-9) for a, b in zip(*norms, strict=True))
    for key in told[0].keys() - {"ranges", "replay"}:
        assert told[1][key] == told[0][key], key
    for name, expected in kept[0][3].items():
        np.testing.assert_allclose(kept[1][3][name], expected, rtol=1e-9, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("value", [2.0, 1e30, 0.0, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("where", ["loss", "penalty", "gradient"])
def test_the_guard_judges_as_the_host_does(where: str, value: float, gpu: Device) -> None:
    """Each number by itself, also squares whose sum is beyond float32; and once broken it stays so."""
    numbers = {"loss": 1.0, "penalty": 2.0, "gradient": 3.0} | {where: value}
    loss, penalty, square = (gpu.xp.asarray(np.float32(number)) for number in numbers.values())
    columns = gpu.xp.ones(3, np.float32)
    job = make_job(device=gpu)
    seen = {"loss": loss, **{f"sum/{layer.name}": columns for layer in job.model.layers}}
    squares = {"dense1.weight": square, "dense2.weight": square}
    figures = UpdateMetrics(job.update, StepKey(0, 1, 1), np.arange(4), 0.1, seen, [penalty], squares, {})
    guard = FiniteGuard(gpu)
    norm = guard.judge(figures)
    good = bool(np.isfinite(value))
    assert bool(guard.all_finite) == good
    (host,) = fetch([figures], gpu)
    if good:
        host.check()
        assert float(norm) == pytest.approx(host.norm, rel=1e-12)
    else:
        with pytest.raises(DivergedError):
            host.check()
    guard.judge(replace(figures, stats=seen | {"loss": columns[0]}, penalty=[], squares={}))
    assert bool(guard.all_finite) == good


# --- every config ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("inside_step", "chosen_kernels")
@pytest.mark.parametrize("name", sorted(shipped_configs().keys() - WITHOUT_DATA))
def test_every_config_trains_alike(name: str, gpu: Device, tmp_path: Path) -> None:
    """Two steps of it and the evaluation, on generated data where its own are not at hand."""
    choose_kernels("numpy")
    found = []
    changes = ["train.epochs=1", "train.batch_size=8", "train.shard_size=8", "train.accumulate=1"]
    for device in (device_of(np.float64), gpu):
        job = build_job(settle(load(name, changes + SMALLER.get(name, [])), device), device, tmp_path, smoke=True)
        result, run = train(job, tmp_path)
        found.append(({key: result[key] for key in ("train", "validation", "test")}, run.rows(run.layers), job))
    assert_close(found[1][0], found[0][0])
    for row, expected in zip(found[1][1], found[0][1], strict=True):
        assert_close(row, expected)
    theirs = weights_of(found[0][2])
    for weight, ours in weights_of(found[1][2]).items():
        np.testing.assert_allclose(ours, theirs[weight], rtol=1e-8, atol=1e-12, err_msg=weight)


@pytest.mark.parametrize("to_gpu", [False, True], ids=["from the GPU", "to the GPU"])
def test_a_checkpoint_moves_between_devices(gpu: Device, to_gpu: bool, tmp_path: Path) -> None:
    """Half of a training on one device, the rest on the other; and the evaluation of what came out."""

    def job(device: Device, **settings: Any) -> Job:
        splits = {"train": images(70), "validation": images(27, seed=1)}
        return make_job(EVERY_LAYER["deep"], splits, device=device, epochs=2, **settings)

    first, second = (device_of(np.float64), gpu)[:: 1 if to_gpu else -1]
    whole, run = train(job(device_of(np.float64)), tmp_path)
    half = new_run(tmp_path)
    fit(job(first, max_steps=3), half, 1, Silent())
    half.hold()
    kept = half.checkpoint("last")
    half.reopen(kept, {}, None, 1)
    fit(job(second), half, 1, Silent(), kept)
    result = half.result()
    for key in ("train", "validation"):
        assert_close(result[key], whole[key])
    for name, expected in run.checkpoint("last").weights.items():
        np.testing.assert_allclose(half.checkpoint("last").weights[name], expected, rtol=1e-9, atol=1e-13)


def test_a_run_of_a_gpu_goes_on_anywhere(tmp_path: Path) -> None:
    """Evaluated there and here; continued where there is no GPU, which is told."""
    with standin.installed():
        made = done("fit", "smoke", "--max-steps", 10, "--device", "cuda", "--runs-dir", tmp_path, "--json").json
        there = done("eval", made["run"], "--device", "cuda", "--json").json
    here = done("eval", made["run"], "--device", "cpu", "--json").json
    assert there["accuracy"] == here["accuracy"] and there["loss"] == pytest.approx(here["loss"], rel=1e-5)
    said = dltrain("fit", "--resume", made["run"], "--max-steps", 12)
    assert said.code == 1 and said.errors[0].endswith("or use --device cpu")
    said = done("fit", "--resume", made["run"], "--max-steps", 12, "--device", "cpu", "--json")
    assert said.json["steps"] == 12 and "  device: cuda, now cpu" in said.err.splitlines()


def test_lr_find_on_a_gpu() -> None:
    with standin.installed():
        found = [done("lr-find", "smoke", "--device", name, "--json").json for name in ("cpu", "cuda")]
    assert found[1]["losses"][:20] == pytest.approx(found[0]["losses"][:20], rel=1e-4)
