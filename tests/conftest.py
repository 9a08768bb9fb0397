"""Fixtures that all tests share: on which device a test computes, and real data sets where they are at hand."""

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin

from dltrain import backend
from dltrain.backend import Device, Reference, open_device
from dltrain.backend.compiled import load
from dltrain.backend.device import CPU_PIECE
from dltrain.backend.native import NativeKernels
from dltrain.engine import OPS
from dltrain.errors import DeviceError
from dltrain.registry import PLUGINS
from dltrain.spec.schema import REGISTRIES
from dltrain.train import loop

# The strict stand-in for CuPy, and with `pytest -m gpu` CuPy itself on an NVIDIA GPU.
GPUS = ("standin", pytest.param("cuda", marks=pytest.mark.gpu))
DEVICES = ("cpu", *GPUS)


def device_of(dtype: Any = np.float64, name: str = "cpu") -> Device:
    """A device by its name in DEVICES. The stand-in is opened on the very path that opens a GPU."""
    with installed(name):
        return open_device("cpu" if name == "cpu" else "cuda", dtype)


def installed(name: str) -> Any:
    """Inside, `import cupy` gives what this device computes with."""
    return standin.installed() if name == "standin" else nullcontext()


@pytest.fixture(params=DEVICES)
def device_name(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test once on the CPU, once on the stand-in, and on a GPU where that is asked for."""
    with installed(request.param):
        yield request.param


@pytest.fixture
def device(device_name: str) -> Device:
    """A float64 device, each of DEVICES; for another dtype: `device_of(dtype, device_name)`."""
    return device_of(np.float64, device_name)


@pytest.fixture
def chosen_kernels(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Reference]:
    """The kernels that numpy arrays get. What a test chooses is forgotten after it."""
    of = backend.device._kernels_of
    monkeypatch.setitem(of, np.ndarray, of[np.ndarray])
    return lambda: of[np.ndarray]


@pytest.fixture(scope="session")
def native() -> NativeKernels:
    """The C kernels for this processor; tests that need them are skipped where there are none."""
    try:
        return NativeKernels(load(), CPU_PIECE)
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture
def inside_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """During a training step the stand-in refuses to give values to the host."""
    plain = loop.train_step

    def watched(*args: Any) -> Any:
        with standin.inside_step():
            return plain(*args)

    monkeypatch.setattr(loop, "train_step", watched)


@pytest.fixture
def data_dir() -> Path:
    """The folder with the real data sets; tests that need it are skipped where DLTRAIN_DATA does not name one."""
    folder = os.environ.get("DLTRAIN_DATA")
    if not folder:
        pytest.skip("needs real data: set DLTRAIN_DATA")
    return Path(folder)


@pytest.fixture
def scratch_ops() -> Iterator[None]:
    """Ops made inside a test are gone after it."""
    before = dict(OPS)
    yield
    OPS.clear()
    OPS.update(before)


@pytest.fixture
def scratch_registries(scratch_ops: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a plugin registers inside a test is gone after it."""
    for each in REGISTRIES:
        monkeypatch.setattr(each, "_entries", dict(each._entries))
    before = list(PLUGINS)
    yield
    PLUGINS[:] = before
