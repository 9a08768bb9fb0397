"""What the wheels of the extra `gpu` (2 GB) can prove on a machine without a GPU: `tools/outside --gpu`.

What every test run proves of it is in test_cuda.py and test_standin.py.
"""

import inspect
import re
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import standin

from dltrain.backend import cuda, open_device
from dltrain.errors import DeviceError

pytestmark = [
    pytest.mark.outside,
    pytest.mark.skipif(find_spec("cupy") is None, reason="needs CuPy, which comes with the extra `gpu`"),
]
KERNELS = sorted(path.name for path in files("dltrain.backend").iterdir() if path.name.endswith(".cu"))
NOT_FUNCTIONS = {"cuda", "lib", "inf", "nan", "pi", "newaxis", "ndarray", "dtype"}


def test_there_are_kernels_to_compile() -> None:
    assert KERNELS == ["philox.cu"]


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_120"])
@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_compiles(name: str, architecture: str) -> None:
    """To machine code: no later step of the compiler is left to fail on a card of that kind."""
    from cupy_backends.cuda.libs import nvrtc

    source = (files("dltrain.backend") / name).read_text()
    program = nvrtc.createProgram(source, name, (), ())
    try:
        nvrtc.compileProgram(program, (f"--gpu-architecture={architecture}", "-std=c++17", "-default-device"))
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    machine_code = nvrtc.getCUBIN(program)
    for declared in re.findall(r"__global__ void (\w+)\(", source):
        assert machine_code.startswith(b"\x7fELF") and declared.encode() in machine_code


def settings(function: Any, optional: bool) -> set[str] | None:
    """The names of a function's parameters, or of the optional ones only; None where it does not tell them."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        return None
    return {p.name for p in parameters if not optional or p.default is not p.empty}


def test_cupy_has_all_that_the_stand_in_has() -> None:
    """So what runs on the stand-in names nothing that CuPy lacks, and no argument either."""
    import cupy

    names = [name for name in vars(standin.cupy) if not name.startswith("_")]
    assert len(names) > 90 and [name for name in names if not hasattr(cupy, name)] == []
    methods = [name for name in vars(standin.cupy.ndarray) if name not in ("_values", "ufuncs", "__weakref__")]
    assert len(methods) > 80 and [name for name in methods if not hasattr(cupy.ndarray, name)] == []
    checked = 0
    for name in names:
        ours, theirs = settings(getattr(standin.cupy, name), True), settings(getattr(cupy, name), False)
        if name in NOT_FUNCTIONS or ours is None or theirs is None:
            continue
        checked += 1
        refused = {"dtype"} - (settings(getattr(np, name, None), False) or {"dtype"})  # by numpy, within the stand-in
        assert ours - refused <= theirs, f"cupy.{name} takes {sorted(theirs)}"
    assert checked > 10
    assert hasattr(cupy.lib.stride_tricks, "as_strided")
    for name in vars(standin.cupy.cuda.runtime):
        assert hasattr(cupy.cuda.runtime, name), name
    assert issubclass(cupy.cuda.memory.OutOfMemoryError, MemoryError)


def test_ufuncs_take_the_same_number_of_operands() -> None:
    import cupy

    for name in standin.cupy.ndarray.ufuncs:
        theirs = getattr(cupy, name)
        assert isinstance(theirs, cupy.ufunc) and theirs.nin == getattr(np, name).nin, name


def test_without_a_driver_it_says_so() -> None:
    """CuPy's own words, not simulated ones. On a machine with a driver there is nothing to say."""
    import cupy

    if cupy.cuda.runtime.driverGetVersion():
        pytest.skip("this machine has a driver")
    with pytest.raises(DeviceError, match=r"^cupy is installed, but this machine has no NVIDIA driver; install one,"):
        open_device("cuda")
    device = open_device("auto")
    assert device.is_cpu and "no NVIDIA driver" in device.note and cuda.is_installed()
