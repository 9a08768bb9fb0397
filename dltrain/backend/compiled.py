"""The compiled library of kernels in C, and how arrays are handed to it.

`pip install` builds it where a C compiler is at hand; ctypes loads it. c/table.h says once what the kernels and their
arguments are: the library brings its text, from which is read how to call them.
"""

import ctypes
import re
from collections.abc import Mapping
from ctypes import CFUNCTYPE, PYFUNCTYPE, c_char_p, c_double, c_float, c_int, c_int64, c_uint64, c_void_p
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dltrain.errors import DeviceError

Array = Any
FLOAT32 = np.dtype(np.float32)
REBUILD = "to have them, install a C compiler (gcc or clang) and then dltrain again"
LIBRARY = Path(__file__).parent / "_native.so"  # a plain shared library, on every system called so
INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
CACHE_LINE_BYTES = 64
MAX_WORK_TO_KEEP_GIL = 500_000  # multiplications, which take some 10 microseconds

READ, WRITTEN, CHANGED = "READ", "WRITTEN", "CHANGED"  # the kinds of arguments, see c/table.h
WINDOW, NUMBER, SCALAR, THREADS = "WINDOW", "NUMBER", "SCALAR", "THREADS"
ARRAYS = frozenset({READ, WRITTEN, CHANGED})
_NUMBERS = {"i64": c_int64, "uint64_t": c_uint64, "int": c_int, "float": c_float, "double": c_double}


class Argument(NamedTuple):
    """Of a kernel. type: in C, of a number or of an array's elements."""

    kind: str
    type: str
    name: str


class Signature(NamedTuple):
    """What a kernel is called with. number: its place in the table."""

    number: int
    may_fail: bool
    arguments: tuple[Argument, ...]


def signatures(text: str) -> dict[str, Signature]:
    """What c/table.h says, by kernel."""
    found = {}
    kernels = re.findall(r"^KERNEL\((\w+), (\w+), (.*?)\)$", text, re.MULTILINE | re.DOTALL)
    for number, (name, result, arguments) in enumerate(kernels):
        parsed = re.findall(r"([A-Z]+)\((?:(\w+), )?(\w+)\)", arguments)
        found[name] = Signature(number, result == "MAY_FAIL", tuple(Argument(*argument) for argument in parsed))
    return found


TABLE: Mapping[str, Signature] = signatures((Path(__file__).parent / "c" / "table.h").read_text())


class Library:
    """The kernels for one instruction set by name, in two forms. Those in `free` let other threads run Python
    meanwhile. Those in `brief` do not: in a short call that would take longer than the call itself.

    table: the library's pointers to the kernels.
    """

    def __init__(self, path: str, instruction_set: str | None = None):
        """instruction_set: the best that this machine runs unless given. Raises DeviceError."""
        try:
            self._loaded = ctypes.CDLL(path)
            self._loaded.interface.restype = c_char_p
            if signatures(self._loaded.interface().decode()) != TABLE:
                raise DeviceError(f"the kernels in C are those of another version of dltrain; {REBUILD}")
            runs = INSTRUCTION_SETS[: self._loaded.instruction_sets()]
            self.instruction_set = instruction_set or runs[-1]
            if self.instruction_set not in runs:
                raise DeviceError(f"this machine does not run {instruction_set}, only {', '.join(runs)}")
            self.table = (c_void_p * len(TABLE)).in_dll(self._loaded, self.instruction_set)
            self.replay = self._loaded.replay
        except (OSError, AttributeError) as error:
            raise DeviceError(f"the kernels in C cannot be loaded ({error}); {REBUILD}") from None
        self.replay.argtypes = c_void_p, c_int64, c_void_p, c_uint64, c_uint64, c_double, c_int64, c_void_p
        self.free, self.brief = dict[str, Any](), dict[str, Any]()
        for name, signature in TABLE.items():
            types = [_type_of(argument) for argument in signature.arguments]
            for prototype, functions in ((CFUNCTYPE, self.free), (PYFUNCTYPE, self.brief)):
                of_this_type = prototype(c_int if signature.may_fail else None, *types)
                functions[name] = of_this_type(self.table[signature.number] or 0)

    def __call__(self, name: str, work: int) -> Any:
        """The function to call for so many multiplications."""
        return (self.free if work > MAX_WORK_TO_KEEP_GIL else self.brief)[name]


def _type_of(argument: Argument) -> Any:
    if argument.kind == THREADS:
        return c_int64
    return _NUMBERS[argument.type] if argument.kind in (NUMBER, SCALAR) else c_void_p


def load(instruction_set: str | None = None) -> Library:
    """The library that was built with the package. Raises DeviceError where there is none."""
    if not LIBRARY.exists():
        raise DeviceError(f"the kernels in C were not built when dltrain was installed; {REBUILD}")
    return Library(str(LIBRARY), instruction_set)


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
    numbers, size = CACHE_LINE_BYTES // FLOAT32.itemsize, prod(shape)
    room = np.empty(size + numbers, FLOAT32)
    first = -(address(room) // FLOAT32.itemsize) % numbers
    return room[first : first + size].reshape(shape)


def fit(*arrays: Array | None) -> bool:
    """Whether C can read these: arrays (no numpy scalars) of float32, one number after the other."""
    for a in arrays:
        if a is not None and not (type(a) is np.ndarray and a.dtype is FLOAT32 and a.flags.c_contiguous):
            return False
    return True
