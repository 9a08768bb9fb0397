"""What is said of a GPU that is there, is too small or cannot be used, each of it simulated."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin
from builders import make_job, train
from commands import dltrain, done
from conftest import device_of

from dltrain.backend import Device, cuda, open_device
from dltrain.errors import DeviceError
from dltrain.job.job import Job
from dltrain.train import step

cp: Any = standin.cupy

# --- memory ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A GPU that holds no more than so many examples in a step."""

    def install(most: int) -> None:
        plain = step.shard_sums

        def limited(job: Job, update: Any, inputs: Any, shard: int, *more: Any) -> Any:
            if min(len(inputs.batch), job.shard_size) > most:
                raise MemoryError("Out of memory allocating 1,234 bytes (allocated so far: 5,678 bytes).")
            return plain(job, update, inputs, shard, *more)

        monkeypatch.setattr(step, "shard_sums", limited)

    return install


SMALL_GPUS = [
    (40, 12, "train.batch_size 40: tried, and train.batch_size=10 fits; with train.accumulate=4 as well the updates"),
    (40, 39, "train.batch_size 40: tried, and train.batch_size=20 fits; with train.accumulate=2 as well the updates"),
    (39, 20, "train.batch_size 39: tried, and train.batch_size=19 fits"),
    (40, 0, "train.batch_size 40: tried, and not even a batch of 1 fits; --device cpu has more memory"),
]


@pytest.mark.parametrize(("size", "most", "message"), SMALL_GPUS)
def test_out_of_memory_says_what_would_fit(
    size: int, most: int, message: str, small_gpu: Callable[[int], None], tmp_path: Path
) -> None:
    small_gpu(most)
    job = make_job(device=device_of(np.float32, "standin"), batch_size=size)
    with pytest.raises(DeviceError) as caught:
        train(job, tmp_path)
    assert str(caught.value).startswith(f"out of memory on the GPU with {message}")


def test_smaller_batches_are_other_updates_where_their_statistics_count(
    small_gpu: Callable[[int], None], tmp_path: Path
) -> None:
    small_gpu(12)
    layers = [("flatten", {}), ("batch_norm", {}), ("dense", {"units": 10})]
    with pytest.raises(DeviceError, match=r"train\.batch_size=10 fits$"):
        train(make_job(layers, device=device_of(np.float32, "standin"), batch_size=40, shard_size=40), tmp_path)


def test_a_data_set_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(x: Any) -> Any:
        raise MemoryError("Out of memory")

    monkeypatch.setattr(cp, "asarray", full)
    with pytest.raises(DeviceError, match=r"are to be kept on it, 60\.0 GiB are free; use --device cpu$"):
        Device("cuda", cp).asarray(np.zeros(10))


# --- what is missing -------------------------------------------------------------------------------------------------


def refusing(message: str) -> Callable[..., Any]:
    def refuse(*args: Any) -> Any:
        raise RuntimeError(message)

    return refuse


NO_DEVICE = refusing("cudaErrorNoDevice: no CUDA-capable device is detected")
OLD_DRIVER = refusing("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")
# what a machine lacks -> (how CuPy's runtime shows it, what is said)
MISSING: dict[str, tuple[dict[str, Callable[..., Any]], str]] = {
    "a driver": ({"driverGetVersion": lambda: 0, "getDeviceCount": OLD_DRIVER}, "no NVIDIA driver; install one, or"),
    "a driver that is new enough": (
        {"driverGetVersion": lambda: 12040, "getDeviceCount": OLD_DRIVER},
        "this cupy is made for CUDA 13.2, but the NVIDIA driver supports only CUDA 12.4: update the driver, or "
        "pip install 'cupy-cuda12x[ctk]' in place of this cupy, or use --device cpu",
    ),
    "a card": ({"getDeviceCount": NO_DEVICE}, "finds no usable GPU (cudaErrorNoDevice: no CUDA-capable device is de"),
    "any card": ({"getDeviceCount": lambda: 0}, "but this machine has no GPU; use --device cpu"),
}


def check_that_it_says(message: str) -> None:
    """`cuda` refuses in one line; `auto` takes the CPU and knows why."""
    with standin.installed(), pytest.raises(DeviceError) as caught:
        open_device("cuda")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    with standin.installed():
        device = open_device("auto")
    assert device.name == "cpu" and device.note == str(caught.value)


@pytest.mark.parametrize("what", MISSING)
def test_what_a_machine_lacks_is_said_in_one_line(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, message = MISSING[what]
    for name, function in shown.items():
        monkeypatch.setattr(cp.cuda.runtime, name, function)
    check_that_it_says(message)


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Whether CuPy can compute is tried out once in a process."""
    cuda._try.cache_clear()
    yield
    cuda._try.cache_clear()


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("broken", ["ones", "RawKernel", "matmul"])
def test_a_cuda_library_that_is_missing(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if broken == "matmul":
        monkeypatch.setattr(cp.ndarray, "__matmul__", lambda a, b: a)
        found = "a matrix product is wrong"
    else:
        monkeypatch.setattr(cp, broken, refusing("CuPy failed to load libnvrtc.so.13:\n  no such file"))
        found = "CuPy failed to load libnvrtc.so.13: no such file"
    check_that_it_says(f"cannot compute on it ({found}); its CUDA libraries come with: pip install 'cupy-cuda13x[ctk]'")


def test_auto_says_what_it_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU, or why not where CuPy is there; where it is not, nobody expects a GPU."""
    shown = ["fit", "smoke", "--max-steps", 2, "--runs-dir", tmp_path]
    assert "device auto" not in done(*shown).err
    with standin.installed():
        assert "device auto: cuda, Stand-in, 80.0 GiB" in done(*shown).err
        assert "device auto" not in done(*shown, "--device", "cuda").err
        monkeypatch.setattr(cp.cuda.runtime, "driverGetVersion", lambda: 0)
        assert "device auto: cpu, because cupy is installed, but this machine has no NVIDIA driver" in done(*shown).err
        said = dltrain(*shown, "--device", "cuda")
    assert said.code == 1 and len(said.errors) == 1 and MISSING["a driver"][1] in said.errors[0]


def test_env_shows_the_card() -> None:
    with standin.installed():
        found = done("env", "--json").json
        lines = done("env").out
    assert found["device"] == "cuda" and found["kernels"] == "cupy"
    card = {"card": "Stand-in", "compute_capability": "9.0", "memory": "80.0 GiB", "driver_supports_cuda": "13.0"}
    assert found["gpu"] == card | {"cuda": "13.2", "cupy": "14.2.0", "driver": found["gpu"]["driver"]}
    assert "card Stand-in" in lines
    without = done("env", "--json").json
    assert without["device"] == "cpu" and "with: pip install '.[gpu]'" in without["gpu"]


def test_the_driver_is_read_where_linux_tells_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = tmp_path / "version"
    told.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC 12.2")
    monkeypatch.setattr(cuda, "Path", lambda path: told)
    assert cuda._driver() == "580.65.06"
    told.unlink()
    assert cuda._driver() == "unknown"
