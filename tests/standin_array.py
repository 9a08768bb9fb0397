"""The array of the stand-in for CuPy, and what may go into its functions; see standin.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

import numpy as np

_inside_step: ContextVar[bool] = ContextVar("inside_step", default=False)


@contextmanager
def inside_step() -> Iterator[None]:
    """Inside, values stay on the device. Threads started in a copy of this context are inside as well."""
    token = _inside_step.set(True)
    try:
        yield
    finally:
        _inside_step.reset(token)


class HostRead(RuntimeError):
    """A value was asked for on the host inside a step."""


_counted: list[list[str]] = []


@contextmanager
def counting() -> Iterator[list[str]]:
    """A list that gets a word for every time that the host waits for values inside."""
    reads: list[str] = []
    _counted.append(reads)
    try:
        yield reads
    finally:
        _counted.pop()


def wait(what: str) -> None:
    if _inside_step.get():
        raise HostRead(f"{what} reads values to the host inside a step")
    for reads in _counted:
        reads.append(what)


# --- what may go in, and what comes out ------------------------------------------------------------------------------


def operand(x: Any) -> Any:
    """The values of an operand. Raises TypeError for what CuPy takes from nobody."""
    if isinstance(x, ndarray):
        return x._values
    if type(x) in (bool, int, float, complex) or isinstance(x, np.generic):
        return x
    raise TypeError(f"Unsupported type {type(x)}")


def device(x: Any) -> np.ndarray:
    if not isinstance(x, ndarray):
        raise TypeError(f"Argument must be a device array, not {type(x)}")
    return x._values


def setting(x: Any) -> Any:
    """A shape, an axis, a dtype: never an array."""
    if isinstance(x, ndarray | np.ndarray):
        raise TypeError(f"a setting cannot be a {type(x)}")
    return x


def wrap(values: Any) -> "ndarray":
    array = object.__new__(ndarray)
    array._values = np.asarray(values)
    return array


def fresh(values: Any) -> "ndarray":
    """A result of its own: CuPy lays it out in C order whatever its operands look like."""
    return wrap(np.asarray(values, order="C"))


def supported(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "biufc" or values.dtype.itemsize > 16 or values.dtype == np.longdouble:
        raise ValueError(f"Unsupported dtype {values.dtype}")
    return values


class ndarray:
    """Defines what CuPy's defines; made by functions, never by calling the class."""

    __slots__ = ("__weakref__", "_values")
    _values: np.ndarray
    ufuncs: ClassVar[dict[str, Any]] = {}  # filled, as the operators are set, by standin.py
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, *args: Any, **settings: Any):
        raise TypeError("make arrays with empty, zeros, asarray …")

    dtype = property(lambda self: self._values.dtype)
    shape = property(lambda self: self._values.shape)
    strides = property(lambda self: self._values.strides)
    ndim = property(lambda self: self._values.ndim)
    size = property(lambda self: self._values.size)
    nbytes = property(lambda self: self._values.nbytes)
    itemsize = property(lambda self: self._values.itemsize)
    flags = property(lambda self: self._values.flags)
    T = property(lambda self: wrap(self._values.T))

    def __len__(self) -> int:
        return len(self._values)

    # to the host

    def get(self) -> np.ndarray:
        wait(".get()")
        return np.array(self._values, order="C")

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __float__(self) -> float:
        return float(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __bool__(self) -> bool:
        return bool(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __iter__(self) -> Iterator["ndarray"]:
        return (self[i] for i in range(len(self)))

    def nonzero(self) -> tuple["ndarray", ...]:
        return tuple(map(wrap, self.get().nonzero()))

    def __array__(self, *args: Any, **settings: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_function__(self, function: Any, types: Any, args: Any, settings: Any) -> Any:
        raise TypeError(f"numpy's {function.__name__} was called with a device array; call array_module(x)'s")

    def __array_ufunc__(self, function: Any, method: str, *operands: Any, **settings: Any) -> Any:
        """A numpy scalar on the left of an operator comes here."""
        if method != "__call__" or function.__name__ not in self.ufuncs or not isinstance(operands[0], np.generic):
            raise TypeError(f"numpy's {function.__name__} was called with a device array or mixes it with numpy's")
        return self.ufuncs[function.__name__](*operands, **settings)

    # parts

    def __getitem__(self, key: Any) -> "ndarray":
        plain, arrays = _key(key)
        if any(part.dtype == bool for part in arrays):
            wait("a mask as an index")
        return fresh(self._values[plain]) if arrays else wrap(self._values[plain])

    def __setitem__(self, key: Any, value: Any) -> None:
        plain, arrays = _key(key)
        if any(part.dtype != bool for part in arrays):
            hits = np.zeros(self.shape, int)
            np.add.at(hits, plain, 1)
            if hits.max(initial=0) > 1:
                raise ValueError("an entry is assigned more than once: which value it gets is undefined")
        self._values[plain] = operand(value)

    def astype(self, dtype: Any, order: str = "K", copy: bool = True) -> "ndarray":
        if not copy and self.dtype == dtype:
            return self
        with np.errstate(all="ignore"):
            return wrap(supported(self._values.astype(dtype, order=order)))  # type: ignore[call-overload]

    def copy(self) -> "ndarray":
        return wrap(self._values.copy("C"))

    def fill(self, value: Any) -> None:
        self._values.fill(operand(value))

    def view(self, dtype: Any = None) -> "ndarray":
        return wrap(self._values.view() if dtype is None else self._values.view(dtype))

    def flatten(self) -> "ndarray":
        return wrap(self._values.flatten())

    def reshape(self, *shape: Any) -> "ndarray":
        return wrap(self._values.reshape(*map(setting, shape)))

    def transpose(self, *axes: Any) -> "ndarray":
        return wrap(self._values.transpose(*map(setting, axes)))


def _key(key: Any) -> tuple[tuple[Any, ...], list[np.ndarray]]:
    """An index for numpy that gives 0-d arrays instead of numbers, and the arrays in it."""
    parts = key if isinstance(key, tuple) else (key,)
    plain = []
    for part in parts:
        known = isinstance(part, ndarray | int | np.integer | slice) and not isinstance(part, bool)
        if not known and part is not None and part is not Ellipsis:
            raise IndexError(f"an index of type {type(part)} would be copied from the host; use xp.asarray before")
        plain.append(part._values if isinstance(part, ndarray) else part)
    arrays = [part for part in plain if isinstance(part, np.ndarray)]
    if sum(part.dtype == bool for part in arrays) > 1:
        raise IndexError("CuPy takes one boolean array as an index, not several")
    return (tuple(plain) if any(part is Ellipsis for part in plain) else (*plain, Ellipsis)), arrays
