"""CuPy: is there a GPU that can be used, what is it, and the kernels that differ on it.

It is proved on the strict stand-in of the tests, and the CUDA source by compiling it for a GPU and by running it,
compiled for the CPU. `pytest -m gpu` proves the rest where there is a card; docs/gpu.md says when that was.
"""

import importlib
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dltrain.backend.im2col import Im2colKernels
from dltrain.errors import DeviceError
from dltrain.random import BLOCK, label

Array = Any
ON_CPU = "or use --device cpu"
INSTALL = f"install it, in the folder of dltrain's source, with: pip install '.[gpu]', {ON_CPU}"
THREADS = 256  # in a block of threads


def usable_cupy() -> ModuleType:
    """CuPy, if it can compute here. Raises DeviceError saying in one line what is missing and what to do about it."""
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise DeviceError(f"device cuda needs cupy, which is not installed ({_line(error)}); {INSTALL}") from None
    runtime = cupy.cuda.runtime
    driver, made_for = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if not driver:
        raise DeviceError(f"cupy is installed, but this machine has no NVIDIA driver; install one, {ON_CPU}")
    try:
        count = runtime.getDeviceCount()
    except Exception as error:  # CuPy has no public class for these
        if driver // 1000 < made_for // 1000:
            raise DeviceError(
                f"this cupy is made for CUDA {_version(made_for)}, but the NVIDIA driver supports only CUDA "
                f"{_version(driver)}: update the driver, or pip install 'cupy-cuda{driver // 1000}x[ctk]' in place of "
                f"this cupy, {ON_CPU}"
            ) from None
        raise DeviceError(f"cupy is installed, but finds no usable GPU ({_line(error)}); use --device cpu") from None
    if count == 0:
        raise DeviceError("cupy is installed, but this machine has no GPU; use --device cpu")
    try:
        _try(cupy)
    except Exception as error:  # a library that is missing or too old shows only when it is used
        raise DeviceError(
            f"cupy finds a GPU, but cannot compute on it ({_line(error)}); its CUDA libraries come with: "
            f"pip install 'cupy-cuda{made_for // 1000}x[ctk]', {ON_CPU}"
        ) from None
    return cupy


def is_installed() -> bool:
    try:
        importlib.import_module("cupy")
    except ImportError:
        return False
    return True


@cache
def _try(cupy: ModuleType) -> None:
    """A product, a sum and a kernel of its own: what needs cuBLAS and the compiler."""
    x = cupy.ones((2, 2), np.float32)
    if float((x @ x).sum()) != 8:
        raise RuntimeError("a matrix product is wrong")
    CudaKernels(cupy, 1 << 20).example_words(0, "", "", epoch=0, step=0, first=0, examples=1, words_each=1)


def describe(cupy: ModuleType) -> dict[str, str]:
    """The card and the versions that computations on it may depend on."""
    runtime = cupy.cuda.runtime
    card = runtime.getDeviceProperties(runtime.getDevice())
    return {
        "card": card["name"].decode(),
        "compute_capability": f"{card['major']}.{card['minor']}",
        "memory": f"{card['totalGlobalMem'] / 2**30:.1f} GiB",
        "driver": _driver(),
        "driver_supports_cuda": _version(runtime.driverGetVersion()),
        "cuda": _version(runtime.runtimeGetVersion()),
        "cupy": cupy.__version__,
    }


def _driver() -> str:
    """`580.65.06`, as the driver tells it on Linux."""
    try:
        words = Path("/proc/driver/nvidia/version").read_text().split()
    except OSError:
        return "unknown"
    return next((word for word in words if word.replace(".", "").isdigit() and "." in word), "unknown")


def _version(number: int) -> str:
    """CUDA's 13020 is 13.2."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


class CudaKernels(Im2colKernels):
    """What a GPU does otherwise: few large pieces instead of many that fit a cache, and random words on the device.

    No sum here is made by atomic additions, so its order, and with it every bit, is the same in each run.
    """

    def add_at(self, places: Array, values: Array, size: int) -> Array:
        """Sorted by place, then in pairs at doubling distances within a place."""
        xp, every = self.xp, self.xp.arange(size)
        if not len(places):
            return xp.zeros(size, values.dtype)
        order = places.argsort()  # stable
        places, sums, distance = places[order], values[order], 1
        while distance < len(places):
            before = xp.where(places[distance:] == places[:-distance], sums[:-distance], 0)
            sums = xp.concatenate([sums[:distance], sums[distance:] + before])
            distance *= 2
        last = xp.maximum(xp.searchsorted(places, every, side="right") - 1, 0)
        return xp.where(places[last] == every, sums[last], 0)

    def confusion(self, wanted: Array, said: Array, classes: int) -> Array:
        """As a product of one-hot rows: CuPy's bincount would wait for the device. Exact below 2^24 examples."""
        number = self.xp.arange(classes)
        rows, columns = ((classes_of[:, None] == number).astype(np.float32) for classes_of in (wanted, said))
        return (rows.T @ columns).astype(np.int64).reshape(-1)

    def example_words(
        self, seed: int, purpose: str, layer: str, *, epoch: int, step: int, first: int, examples: int, words_each: int
    ) -> Array:
        words = self.xp.empty((examples, words_each), np.uint64)
        blocks = -(-words_each // BLOCK)
        if words.size:
            numbers = (seed, label(purpose, layer), first * blocks, step, epoch, examples, blocks, words_each)
            grid = -(-examples * blocks // THREADS)
            self._example_words((grid,), (THREADS,), (*map(np.uint64, numbers), words))
        return words

    @cached_property
    def _example_words(self) -> Any:
        return self.xp.RawKernel((files("dltrain.backend") / "philox.cu").read_text(), "example_words")
