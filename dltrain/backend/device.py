"""Where arrays live: numpy on the CPU, CuPy on a GPU."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from dltrain.backend.compiled import load
from dltrain.backend.cuda import CudaKernels, describe, is_installed, usable_cupy
from dltrain.backend.im2col import Im2colKernels
from dltrain.backend.native import NativeKernels
from dltrain.backend.reference import Reference
from dltrain.errors import DeviceError

CPU_PIECE = 7 << 18  # bytes of unrolled input at a time: about the size of a second-level cache
GPU_PIECE = 1 << 30  # bytes

_kernels_of: dict[type, Reference] = {}  # array type -> the kernels that take it; filled as devices are opened


class Device:
    """One kind of array: its module `xp`, its kernels, and the only way in and out.

    dtype: what numbers are computed in; float32 trains, float64 checks.
    note: why `auto` did not take the GPU although CuPy is installed.
    """

    def __init__(self, name: str, xp: ModuleType, dtype: Any = np.float32, note: str = ""):
        self.name = name
        self.xp = xp
        self.dtype = np.dtype(dtype)
        self.note = note

    @property
    def kernels(self) -> Reference:
        return _kernels_of[self.xp.ndarray]

    @property
    def is_cpu(self) -> bool:
        """Whether values are at hand: on a GPU to look at one is to wait for all that was asked for before."""
        return self.xp is np

    def asarray(self, x: Any) -> Any:
        """Bring host values here, C-contiguous. Every float becomes this device's dtype; integers keep theirs.

        Raises DeviceError where the GPU's memory is too small.
        """
        host = np.asarray(x, order="C")
        host = host.astype(self.dtype, copy=False) if host.dtype.kind == "f" else host
        try:
            return self.xp.asarray(host)
        except MemoryError:
            if self.is_cpu:
                raise
        self.release_memory()
        free = self.xp.cuda.runtime.memGetInfo()[0] / 2**30
        raise DeviceError(
            f"out of memory on the GPU: {host.nbytes / 2**30:.1f} GiB are to be kept on it, {free:.1f} GiB are free; "
            f"use --device cpu"
        )

    def release_memory(self) -> None:
        """Give back to the GPU what is kept for new arrays."""
        if not self.is_cpu:
            self.xp.get_default_memory_pool().free_all_blocks()

    def describe(self) -> dict[str, str]:
        """The card and its software; nothing for the CPU."""
        return {} if self.is_cpu else describe(self.xp)

    def __repr__(self) -> str:
        return f"Device({self.name!r}, {self.dtype.name})"


def open_device(name: str, dtype: Any = np.float32) -> Device:
    """`cpu`, `cuda`, or `auto`: a usable GPU if there is one. Raises DeviceError saying what is missing."""
    note = ""
    if name != "cpu":
        try:
            cupy = usable_cupy()
        except DeviceError as error:
            if name == "cuda":
                raise
            note = str(error) if is_installed() else ""
        else:
            _kernels_of.setdefault(cupy.ndarray, CudaKernels(cupy, GPU_PIECE))
            return Device("cuda", cupy, dtype)
    return Device("cpu", np, dtype, note)


def is_array(x: Any) -> bool:
    """Whether this is an array, on the CPU or on a device that is open."""
    return type(x) in _kernels_of or isinstance(x, np.ndarray)


def array_module(x: Any) -> ModuleType:
    """The module (numpy or cupy) whose functions take this array."""
    return kernels(x).xp


def kernels(x: Any) -> Reference:
    """The kernels for this array's type. Raises TypeError for what is no array of an opened device."""
    found = _kernels_of.get(type(x))
    if found is None:
        if not isinstance(x, np.ndarray | np.generic):
            raise TypeError(f"{type(x).__name__} is not an array of a device that is open")
        found = _kernels_of[np.ndarray]
    return found


def choose_kernels(name: str) -> None:
    """What computes on the CPU in this process: `numpy`, `native` (in C), `auto`: native where it was built, or
    `reference`: the specification, which is slow.

    Raises DeviceError where `native` is asked for and absent; with `auto` the reason is kept as `note`.
    """
    chosen: Reference = Reference(np) if name == "reference" else Im2colKernels(np, CPU_PIECE)
    if name in ("native", "auto"):
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


def all_to_host(arrays: Sequence[Any]) -> list[Any]:
    """Each of them `to_host`; from a GPU in one transfer for each dtype, not one for each array."""
    found: list[Any] = [None] * len(arrays)
    together: dict[Any, list[int]] = {}
    for i, x in enumerate(arrays):
        if isinstance(x, np.ndarray | np.generic):
            found[i] = x
        else:
            together.setdefault(x.dtype, []).append(i)
    for places in together.values():
        xp = array_module(arrays[places[0]])
        values = to_host(xp.concatenate([arrays[i].reshape(-1) for i in places]))
        ends = np.cumsum([arrays[i].size for i in places]).tolist()
        for i, start, end in zip(places, [0, *ends], ends, strict=False):
            found[i] = values[start:end].reshape(arrays[i].shape)
    return found


choose_kernels("auto")  # numpy needs no opening
