"""Where arrays live: numpy on the CPU, CuPy on a GPU."""

import importlib
from types import ModuleType
from typing import Any

import numpy as np

from dltrain.backend.compiled import load
from dltrain.backend.kernels import Kernels
from dltrain.backend.native import NativeKernels
from dltrain.errors import DeviceError

CUPY_HELP = "install it with: pip install 'dltrain[gpu]', or use --device cpu"
CPU_PIECE = 2 << 20  # bytes of unrolled input worked on at a time: about the size of a second-level cache
GPU_PIECE = 1 << 30

_kernels_of: dict[type, Kernels] = {}  # array type -> the kernels that take it; filled as devices are opened


class Device:
    """One kind of array: its module `xp`, its kernels, and the only way in and out.

    dtype: what numbers are computed in; float32 trains, float64 checks.
    """

    def __init__(self, name: str, xp: ModuleType, piece_bytes: int, dtype: Any = np.float32):
        self.name = name
        self.xp = xp
        self.dtype = np.dtype(dtype)
        _kernels_of.setdefault(xp.ndarray, Kernels(xp, piece_bytes))

    @property
    def kernels(self) -> Kernels:
        return _kernels_of[self.xp.ndarray]

    def asarray(self, x: Any) -> Any:
        """Bring host values here, C-contiguous. Every float becomes this device's dtype; integers keep theirs."""
        host = np.asarray(x, order="C")
        return self.xp.asarray(host.astype(self.dtype, copy=False) if host.dtype.kind == "f" else host)

    def __repr__(self) -> str:
        return f"Device({self.name!r}, {self.dtype.name})"


def open_device(name: str, dtype: Any = np.float32) -> Device:
    """`cpu`, `cuda`, or `auto`: a usable GPU if there is one. Raises DeviceError saying what is missing."""
    if name == "cpu":
        return Device("cpu", np, CPU_PIECE, dtype)
    try:
        cupy = _usable_cupy()
    except DeviceError:
        if name == "auto":
            return Device("cpu", np, CPU_PIECE, dtype)
        raise
    return Device("cuda", cupy, GPU_PIECE, dtype)


def _usable_cupy() -> ModuleType:
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise DeviceError(f"device cuda needs cupy, which is not installed ({error}); {CUPY_HELP}") from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy raises different classes for no driver, an old driver, no device
        raise DeviceError(f"cupy is installed but finds no usable GPU ({error}); use --device cpu") from None
    if count == 0:
        raise DeviceError("cupy is installed but this machine has no GPU; use --device cpu")
    return cupy


def array_module(x: Any) -> ModuleType:
    """The module (numpy or cupy) whose functions take this array."""
    return kernels(x).xp


def kernels(x: Any) -> Kernels:
    """The kernels for this array's type. Raises TypeError for what is no array of an opened device."""
    found = _kernels_of.get(type(x))
    if found is None:
        if not isinstance(x, np.ndarray | np.generic):
            raise TypeError(f"{type(x).__name__} is not an array of a device that is open")
        found = _kernels_of[np.ndarray]
    return found


def choose_kernels(name: str) -> None:
    """What computes on the CPU in this process: `numpy`, `native` (in C), or `auto`: native where it was built.

    Raises DeviceError where `native` is asked for and absent; with `auto` the reason is kept as `note`.
    """
    chosen = Kernels(np, CPU_PIECE)
    if name != "numpy":
        try:
            chosen = NativeKernels(load(), CPU_PIECE)
        except DeviceError as error:
            if name == "native":
                raise
            chosen.note = str(error)
    _kernels_of[np.ndarray] = chosen


def to_host(x: Any) -> Any:
    """A numpy array or scalar with these values."""
    return x if isinstance(x, np.ndarray | np.generic) else x.get()


choose_kernels("auto")  # numpy needs no opening
