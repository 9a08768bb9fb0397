"""The compiled library of kernels in C, and how arrays are handed to it.

`pip install` builds it where a C compiler is at hand; ctypes loads it.
"""

import ctypes
import importlib.util
from ctypes import c_double, c_float, c_int, c_int64, c_uint64, c_void_p
from math import prod
from typing import Any
from zlib import crc32

import numpy as np

from dltrain.errors import DeviceError

Array = Any
FLOAT32 = np.dtype(np.float32)
REBUILD = "to have them, install dltrain again on a machine with a C compiler (gcc or clang)"
INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
LINE = 64  # bytes
BRIEF = 500_000  # multiplications that take some 10 microseconds

# An array: p is read, o only written, c changed. n integer, u unsigned, f float, d double, i int, w a Window, t how
# many threads may compute it. Numbers that are others in every step: s the step's, e the epoch's, l the learning rate.
READ, WRITTEN, CHANGED = "poc"
THREADS, STEP, EPOCH, LR = "tsel"
ARRAYS = READ + WRITTEN + CHANGED
WINDOW = "w"
_TYPES = dict.fromkeys(ARRAYS + WINDOW, c_void_p) | {
    "n": c_int64,
    "u": c_uint64,
    "f": c_float,
    "d": c_double,
    "i": c_int,
}
_TYPES |= {THREADS: c_int64, STEP: c_uint64, EPOCH: c_uint64, LR: c_double}
# In the order of the cases in c/script.inc, where a function has room for 12 arguments; the last two are no cases.
FUNCTIONS: dict[str, tuple[Any, str]] = {
    "conv": (c_int, "wnpppiot"),
    "conv_grad": (c_int, "wnpppipooot"),
    "dense": (c_int, "nnnpppiot"),
    "dense_grad": (c_int, "nnnpppipooot"),
    "outer": (c_int, "nnnpnpot"),
    "max_pool": (c_int, "wnpot"),
    "max_pool_grad": (c_int, "wnpppot"),
    "average_pool": (c_int, "wnpot"),
    "average_pool_grad": (c_int, "wnpot"),
    "activate": (None, "inct"),
    "activate_grad": (None, "inppot"),
    "count_right": (None, "nnppo"),
    "square_sum": (None, "npot"),
    "observe": (c_int, "nnnpffooot"),
    "times": (None, "nppo"),
    "dropout": (None, "nnppnifo"),
    "normalise": (c_int, "nnnppppo"),
    "cross_entropy": (c_int, "nnppdnoo"),
    "sgd": (None, "ncplt"),
    "momentum": (None, "ncpcflt"),
    "nesterov": (None, "ncpcflt"),
    "adam": (None, "ncpccddlsft"),
    "philox": (None, "uunsenot"),
    "tally": (None, "npcc"),
    "follow": (c_int, "npselt"),
}
# What the library must say, so that one of another version is not called with the wrong arguments.
INTERFACE = crc32(" ".join(f"{name}:{letters}" for name, (_, letters) in FUNCTIONS.items()).encode()) & 0x7FFFFFFF


class Library:
    """The C functions for one instruction set by name, twice: those in `free` let other threads run Python meanwhile,
    those in `brief` do not: for short calls, where to hand over the interpreter and to get it back would take longer
    than the call.
    """

    def __init__(self, path: str, instruction_set: str | None = None):
        """instruction_set: the best that this machine runs unless given. Raises DeviceError."""
        self.free, self.brief = dict[str, Any](), dict[str, Any]()
        try:
            found = ctypes.CDLL(path)
            if found.interface() != INTERFACE:
                raise DeviceError(f"the kernels in C are those of another version of dltrain; {REBUILD}")
            runs = INSTRUCTION_SETS[: found.instruction_sets()]
            self.instruction_set = instruction_set or runs[-1]
            if self.instruction_set not in runs:
                raise DeviceError(f"this machine does not run {instruction_set}, only {', '.join(runs)}")
            for loaded, functions in ((found, self.free), (ctypes.PyDLL(path), self.brief)):
                for name, (result, arguments) in FUNCTIONS.items():
                    function = getattr(loaded, name if name == "philox" else f"{name}_{self.instruction_set}")
                    function.restype, function.argtypes = result, [_TYPES[letter] for letter in arguments]
                    functions[name] = function
        except (OSError, AttributeError) as error:
            raise DeviceError(f"the kernels in C cannot be loaded ({error}); {REBUILD}") from None

    def __call__(self, name: str, work: int) -> Any:
        """The function to call for so many multiplications."""
        return (self.free if work > BRIEF else self.brief)[name]


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


def address(array: Array | None) -> int:
    """Where the array's numbers begin; 0 where there is none."""
    pointer = at(array)
    return (pointer and pointer.value) or 0


def on_line(shape: tuple[int, ...]) -> Array:
    """Room for numbers that begin with a line of the cache: a vector is read and written at once."""
    numbers, size = LINE // FLOAT32.itemsize, prod(shape)
    room = np.empty(size + numbers, FLOAT32)
    first = -(address(room) // FLOAT32.itemsize) % numbers
    return room[first : first + size].reshape(shape)


def fit(*arrays: Array | None) -> bool:
    """Whether C can read these: arrays (no numpy scalars) of float32, one number after the other."""
    for a in arrays:
        if a is not None and not (type(a) is np.ndarray and a.dtype is FLOAT32 and a.flags.c_contiguous):
            return False
    return True
