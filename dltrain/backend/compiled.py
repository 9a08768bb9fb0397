"""The compiled library of kernels in C, and how arrays are handed to it.

`pip install` builds it where a C compiler is at hand; ctypes loads it.
"""

import ctypes
import importlib.util
from ctypes import c_double, c_float, c_int, c_int64, c_uint64, c_void_p
from types import SimpleNamespace
from typing import Any

import numpy as np

from dltrain.errors import DeviceError

Array = Any
FLOAT32 = np.dtype(np.float32)
REBUILD = "to have them, install dltrain again on a machine with a C compiler (gcc or clang)"
INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
BRIEF = 500_000  # multiplications that take some 10 microseconds

# p pointer to an array or NULL, n integer, u unsigned, f float, d double, i int
_TYPES = {"p": c_void_p, "n": c_int64, "f": c_float, "d": c_double, "i": c_int, "u": c_uint64}
FUNCTIONS: dict[str, tuple[Any, str]] = {
    "conv": (c_int, "pnpppipn"),
    "conv_grad": (c_int, "pnpppippppn"),
    "dense": (c_int, "nnnpppipn"),
    "dense_grad": (c_int, "nnnpppippppn"),
    "outer": (c_int, "nnnpnppn"),
    "max_pool": (c_int, "pnppn"),
    "max_pool_grad": (c_int, "pnppppn"),
    "average_pool": (c_int, "pnppn"),
    "average_pool_grad": (c_int, "pnppn"),
    "activate": (None, "inpn"),
    "activate_grad": (None, "inpppn"),
    "count_beyond": (c_int64, "npff"),
    "square_sum": (c_double, "npn"),
    "observe": (c_double, "nnpp"),
    "dropout": (None, "nnppnifp"),
    "normalise": (c_int, "nnnppppp"),
    "cross_entropy": (c_double, "nnppdnp"),
    "sgd": (None, "nppfn"),
    "momentum": (None, "npppffn"),
    "nesterov": (None, "npppffn"),
    "adam": (None, "nppppddfffn"),
    "philox": (None, "uunuunp"),
}


class Library:
    """The C functions for one instruction set, twice: as attributes of `free`, which let other threads run Python
    meanwhile, and of `brief`, which do not: for short calls, where to hand over the interpreter and to get it back
    would take longer than the call.
    """

    def __init__(self, path: str, instruction_set: str | None = None):
        """instruction_set: the best that this machine runs unless given. Raises DeviceError."""
        self.free, self.brief = SimpleNamespace(), SimpleNamespace()
        try:
            found = ctypes.CDLL(path)
            runs = INSTRUCTION_SETS[: found.instruction_sets()]
            self.instruction_set = instruction_set or runs[-1]
            if self.instruction_set not in runs:
                raise DeviceError(f"this machine does not run {instruction_set}, only {', '.join(runs)}")
            for loaded, functions in ((found, self.free), (ctypes.PyDLL(path), self.brief)):
                for name, (result, arguments) in FUNCTIONS.items():
                    function = getattr(loaded, name if name == "philox" else f"{name}_{self.instruction_set}")
                    function.restype, function.argtypes = result, [_TYPES[letter] for letter in arguments]
                    setattr(functions, name, function)
        except (OSError, AttributeError) as error:
            raise DeviceError(f"the kernels in C cannot be loaded ({error}); {REBUILD}") from None

    def __call__(self, work: int) -> SimpleNamespace:
        """The functions to call for so many multiplications."""
        return self.free if work > BRIEF else self.brief


def load(instruction_set: str | None = None) -> Library:
    """The library that was built with the package. Raises DeviceError where there is none."""
    spec = importlib.util.find_spec("dltrain.backend._native")  # found, never imported: it is no Python module
    if spec is None or spec.origin is None:
        raise DeviceError(f"the kernels in C were not built when dltrain was installed; {REBUILD}")
    return Library(spec.origin, instruction_set)


# An array's data pointer is the first thing after the header that every Python object has, as numpy's C interface
# lays down. To read it there is five times faster than `array.ctypes.data`, which counts where a step takes half a
# millisecond.
_HEADER = object.__basicsize__
_probe = np.empty(1, np.float32)
_FAST = c_void_p.from_address(id(_probe) + _HEADER).value == _probe.ctypes.data


def at(array: Array | None) -> c_void_p | None:
    """A pointer to the array's numbers. The caller keeps the array alive during the call."""
    if array is None:
        return None
    return c_void_p.from_address(id(array) + _HEADER) if _FAST else c_void_p(array.ctypes.data)


def fit(*arrays: Array | None) -> bool:
    """Whether C can read these: arrays (no numpy scalars) of float32, one number after the other."""
    for a in arrays:
        if a is not None and not (type(a) is np.ndarray and a.dtype is FLOAT32 and a.flags.c_contiguous):
            return False
    return True
