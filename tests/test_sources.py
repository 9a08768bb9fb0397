"""Every data set in a config: it survives a round trip, trains to the same bits on any threads, and on the stand-in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from builders import train, weights_of
from conftest import device_of
from PIL import Image

from dltrain.backend import Device
from dltrain.data import AUGMENTATIONS, SOURCES
from dltrain.errors import ConfigError
from dltrain.job.job import Job
from dltrain.spec import build_job, loads, settle


@dataclass(frozen=True)
class Case:
    """data: the section of a config. outputs: of the last layer. files: what makes the files it needs, in a folder
    that the test runs in; a data set that is to be downloaded is left to `--smoke`, which makes up examples."""

    data: str
    outputs: int
    loss: str = "cross_entropy"
    files: Callable[[], None] | None = None


def _npz() -> None:
    x = np.random.default_rng(0).normal(size=(60, 4))
    np.savez("a.npz", x_train=x, y_train=x[:, :2], x_test=x, y_test=x[:, :2])


def _csv() -> None:
    cells = np.random.default_rng(0).normal(size=(60, 2)).round(3)
    rows = [f"{a},{'uvw'[i % 3] if i % 5 else ''},{b}" for i, (a, b) in enumerate(cells)]
    Path("a.csv").write_text("a,b,c\n" + "\n".join(rows))


def _text() -> None:
    Path("a.txt").write_text("".join("abcd\n"[i * i % 7 % 5] for i in range(400)))


def _pictures() -> None:
    for i, name in enumerate(f"pictures/{name}/{i}.png" for name in "abc" for i in range(20)):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (5, 5, 3), np.uint8)).save(name)


EVERY_AUGMENTATION = "[flip, {crop: 1}, {cutout: 3}, random_erasing, {rotation: 15}, colour_jitter]"
FOLDER = "{type: image_folder, path: pictures, size: [4, 5], memory: 0, channels: 1, test: 0.2, augment: [flip]}"
FOLD = "fold: {number: 2, of: 5}, stratified: true"
CASES = {
    "image_folder": Case(FOLDER, 3, files=_pictures),
    "digits": Case(f"{{type: digits, noise: 2, validation: 0.1, augment: {EVERY_AUGMENTATION}, mixup: 0.4}}", 10),
    "faces": Case("{type: faces, pairs: parts, target: [hair, shirt], only: {hat: no}}", 23, "binary_cross_entropy"),
    "openmoji": Case("{type: openmoji, augment: [flip], normalize: unit}", 8),
    "digit_codes": Case("{type: digit_codes, noise: 0.5, examples: 60}", 100),
    "mnist_photographs": Case("{type: mnist_photographs, normalize: signed, augment: [{crop: 2}]}", 10),
    "mnist": Case("{type: mnist, augment: [{crop: {padding: 2}}]}", 10),
    "fashion_mnist": Case("{type: fashion_mnist, augment: [{random_erasing: {probability: 1.0}}]}", 10),
    "text": Case("{type: text, path: a.txt, length: 5, stride: 2, held_out: [0.2, 0.2]}", 4, files=_text),
    "cifar10": Case("{type: cifar10, normalize: none, augment: [{flip: 0.3}]}", 10),
    "npz": Case("{npz: a.npz}", 2, "mse", _npz),
    "csv": Case("{type: csv, path: a.csv, target: c, validation: 0.2, test: 0.2, ignore: []}", 1, "mse", _csv),
    "penguins": Case(f"{{type: penguins, test: 0.2, {FOLD}, missing: drop, class_weights: balanced}}", 3),
    "circle": Case("circle", 2),
    "xor": Case("{type: xor, noise: 0.2, features: [xy, x, sin_y], normalize: none}", 2),
    "spiral": Case("{spiral: {examples: 100, seed: 3}, }", 2),
    "gaussians": Case("{gaussians: 50}", 2),
    "signals": Case("{type: signals, length: 20, noise: 0.1}", 3),
    "volumes": Case("{type: volumes, size: 9, examples: 60}", 3),
    "valley": Case("{type: valley, condition: 5, dimensions: 3, normalize: none}", 1, "mse"),
}
MODEL = "model: {layers: [flatten, dense: 6, dense: {units: %d, activation: none}]}"
TRAIN = "train: {epochs: 1, batch_size: 24, shard_size: 7}"  # shards of 7, 7, 7 and 3


def test_every_data_set_and_augmentation_has_a_case() -> None:
    assert set(CASES) == set(SOURCES) - {"pictures"}  # without targets: tests/test_style.py trains on it
    assert all(name in EVERY_AUGMENTATION for name in AUGMENTATIONS)


@pytest.fixture
def spec(request, tmp_path, monkeypatch):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    case = CASES[request.param]
    if case.files:
        case.files()
    return loads(f"data: {case.data}\n{MODEL % case.outputs}\nloss: {case.loss}\n{TRAIN}")


def job(spec, device: Device) -> Job:  # type: ignore[no-untyped-def]
    return build_job(settle(spec, device), device, Path("nowhere"), smoke=True)


@pytest.mark.parametrize("spec", CASES, indirect=True)
def test_round_trip(spec) -> None:  # type: ignore[no-untyped-def]
    again = loads(spec.to_yaml())
    assert again.resolved() == spec.resolved() and again == spec


@pytest.mark.parametrize("name", [name for name in SOURCES if "seed" in SOURCES.settings(name)])
def test_any_seed_that_is_accepted_will_do(name: str) -> None:
    assert len(SOURCES[name](seed=2**64 - 1).load(Path("nowhere"))["train"])
    with pytest.raises(ConfigError, match="seed: expected a whole number from 0 to 18446744073709551615"):
        loads(f"data: {{type: {name}, seed: {2**64}}}\n{MODEL % 2}")


@pytest.mark.parametrize("spec", CASES, indirect=True)
def test_bits_do_not_depend_on_threads(spec, tmp_path) -> None:  # type: ignore[no-untyped-def]
    hashes = {train(job(spec, device_of(np.float32)), tmp_path, n)[0]["weights_sha256"] for n in (1, 2, 4)}
    assert len(hashes) == 1


@pytest.mark.usefixtures("inside_step")
@pytest.mark.parametrize("spec", CASES, indirect=True)
def test_the_stand_in_agrees_with_the_cpu(spec, tmp_path) -> None:  # type: ignore[no-untyped-def]
    found = []
    for name in ("cpu", "standin"):
        trained = job(spec, device_of(np.float64, name))
        result = train(trained, tmp_path)[0]
        found.append((weights_of(trained), result["test"]))
    assert found[1][1] == pytest.approx(found[0][1], rel=1e-9)
    for name, weight in found[0][0].items():
        np.testing.assert_allclose(found[1][0][name], weight, rtol=1e-9, atol=1e-14)
