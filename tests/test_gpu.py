"""What only an NVIDIA GPU can prove; docs/gpu.md says when it was last seen.

    pip install -e '.[test,gpu]' && pytest -m gpu -n 4        about as many processes as the card's memory allows

runs these, and once more every test that goes over the devices of conftest.py, there on the stand-in for CuPy.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import EVERY_LAYER, images, make_job, train
from commands import dltrain, done
from conftest import device_of
from test_standin import HOST, REFUSED

from dltrain.data import AUGMENTATIONS
from dltrain.errors import DeviceError
from dltrain.job.job import Job

pytestmark = pytest.mark.gpu
# Where the stand-in is stricter than CuPy.
STRICTER = {"an argument that CuPy lacks", "a numpy function", "a numpy ufunc", "comparing with None"}


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    import cupy

    monkeypatch.setattr("test_standin.cp", cupy)
    return cupy


@pytest.mark.parametrize("what", sorted(REFUSED.keys() - STRICTER))
def test_cupy_refuses_what_the_stand_in_refuses(what: str, cupy: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        REFUSED[what](cupy.asarray(HOST))


def wide(**settings: Any) -> Job:
    """Layers of a size at which cuBLAS has several ways to add up."""
    layers: Any = [
        ("conv", {"channels": 64, "padding": "same", "activation": "relu"}),
        ("max_pool", {"kernel": 2}),
        ("dropout", {"rate": 0.25}),
        ("flatten", {}),
        ("dense", {"units": 512, "activation": "relu"}),
        ("dense", {"units": 10, "activation": "none"}),
    ]
    settings = {"batch_size": 512, "shard_size": 512, "augment": (AUGMENTATIONS["crop"](padding=1),)} | settings
    return make_job(layers, {"train": images(2048), "test": images(300, seed=1)}, **settings)


@pytest.mark.parametrize("kind", ["wide", *EVERY_LAYER])
def test_the_same_run_twice_gives_the_same_bits(kind: str, tmp_path: Path) -> None:
    def job() -> Job:
        device = device_of(np.float32, "cuda")
        if kind == "wide":
            return wide(device=device)
        return make_job(EVERY_LAYER[kind], {"train": images(70)}, device=device)

    assert len({train(job(), tmp_path)[0]["weights_sha256"] for _ in range(3)}) == 1


def test_it_learns_as_the_cpu_does(tmp_path: Path) -> None:
    results = [train(wide(device=device_of(np.float32, name)), tmp_path)[0] for name in ("cpu", "cuda")]
    assert results[1]["train"]["loss"] == pytest.approx(results[0]["train"]["loss"], rel=1e-3)


@pytest.mark.parametrize("config", ["digits_cnn", "volumes_conv", "signals_conv"])
def test_every_layer_agrees(config: str) -> None:
    assert done("check", config, "--backends", "numpy,cupy").out.splitlines()[-1].startswith("all ")


def test_cifar_cnn_agrees(data_dir: Path) -> None:
    assert done("check", "cifar_cnn", "--backends", "numpy,cupy").out.splitlines()[-1].startswith("all ")


def test_out_of_memory_for_real(cupy: Any, tmp_path: Path) -> None:
    """With half of the memory that it takes. The batch that is named does fit."""
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.used_bytes()
    train(wide(device=device_of(np.float32, "cuda")), tmp_path)
    taken = pool.total_bytes() - before
    job = wide(device=device_of(np.float32, "cuda"))
    pool.free_all_blocks()
    pool.set_limit(size=before + taken // 2)
    try:
        with pytest.raises(DeviceError, match=r"^out of memory on the GPU with train\.batch_size 512: tried") as caught:
            train(job, tmp_path)
        (found,) = re.findall(r"train\.batch_size=(\d+) fits", str(caught.value))
        pool.free_all_blocks()
        train(wide(device=device_of(np.float32, "cuda"), batch_size=int(found), shard_size=int(found)), tmp_path)
    finally:
        pool.set_limit(size=0)


def test_the_command_line(tmp_path: Path) -> None:
    """A run of a GPU is evaluated on the CPU; auto takes the GPU; env knows the card."""
    made = done("fit", "smoke", "--runs-dir", tmp_path, "--json")
    assert "device auto: cuda, " in made.err
    there = done("eval", made.json["run"], "--device", "cuda", "--json").json
    here = done("eval", made.json["run"], "--device", "cpu", "--json").json
    assert there["accuracy"] == pytest.approx(here["accuracy"], abs=0.01)
    assert there["loss"] == pytest.approx(here["loss"], rel=1e-4)
    found = done("env", "--json").json
    assert found["device"] == "cuda" and all(found["gpu"].values())
    assert dltrain("verify", made.json["run"]).code == 0
