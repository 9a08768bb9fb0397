"""A strict stand-in for CuPy 14: arrays that behave as if they were on a GPU, made of numpy arrays that nobody sees.

Code that passes its tests on it is code that can run on CuPy. Everything was looked up in CuPy's v14 sources:
- An array is not converted by itself: `np.asarray(x)` raises, and so does mixing with numpy arrays.
- Operands are device arrays, Python numbers and numpy scalars; Python numbers are weak in promotion (NEP 50).
- Results are device arrays down to 0 dimensions, never numbers, and C-contiguous; views are views.
- `.get()` and `asnumpy` give values to the host; `float`, `int`, `bool`, `.item()`, `bincount`, `nonzero` and masks
  as an index wait for the device. Inside a step, as marked by `inside_step`, all of these raise.
- Only functions that CuPy has are here, with the arguments that it takes. A name that is missing is to be looked up
  there and added to the lists below.
Where CuPy goes on in silence with something else than numpy, this raises: indices out of range (CuPy wraps around),
one entry assigned twice (undefined), a comparison with an integer out of the dtype's range (OverflowError there too).
Stricter than CuPy: host arrays and lists as an index or as a value to be assigned (copied to the device each time),
and numpy functions called with device arrays. Memory from `empty` holds garbage, NaN if it can.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import cuda_on_cpu
import numpy as np
from standin_array import (
    HostRead,
    counting,
    device,
    fresh,
    inside_step,
    ndarray,
    operand,
    setting,
    supported,
    wait,
    wrap,
)

__all__ = ["HostRead", "counting", "cupy", "inside_step", "installed"]

# --- functions -------------------------------------------------------------------------------------------------------

COMPARISONS = ("equal", "greater", "greater_equal", "less", "less_equal", "not_equal")
UFUNCS = (
    *COMPARISONS, "absolute", "add", "bitwise_and", "bitwise_or", "bitwise_xor", "ceil", "cos", "divide", "exp",
    "expm1", "floor", "floor_divide", "invert", "isfinite", "isinf", "isnan", "left_shift", "log", "log1p",
    "logical_and", "logical_not", "logical_or", "logical_xor", "maximum", "minimum", "multiply", "negative", "power",
    "reciprocal", "remainder", "right_shift", "sign", "sin", "sqrt", "square", "subtract", "tanh", "true_divide",
)  # fmt: skip
REDUCTIONS = ("all", "any", "argmax", "argmin", "max", "mean", "min", "prod", "std", "sum", "var")
VIEWS = ("broadcast_to", "expand_dims", "flip", "moveaxis", "ravel", "reshape", "squeeze", "swapaxes", "transpose")
COPIES = ("clip", "cumsum", "repeat", "roll", "sort", "tile")


def _ufunc(name: str) -> Callable[..., "ndarray"]:
    function = getattr(np, name)

    def call(*operands: Any, out: Any = None, dtype: Any = None) -> "ndarray":
        values = [operand(x) for x in operands]
        if len(values) != function.nin:
            raise TypeError(f"{name} takes {function.nin} operands, not {len(values)}")
        if name in COMPARISONS:
            for number, other in (values, values[::-1]):
                if type(number) is int and np.asarray(other).dtype.kind in "iu":
                    np.array(number, np.asarray(other).dtype)  # OverflowError: CuPy casts the number, numpy does not
        with np.errstate(all="ignore"):  # a GPU warns of nothing
            if out is None:
                return fresh(function(*values, dtype=dtype, order="C"))
            function(*values, out=device(out), dtype=dtype)
            return out

    return call


def _reduction(name: str) -> Callable[..., "ndarray"]:
    def call(a: Any, axis: Any = None, *, dtype: Any = None, keepdims: bool = False) -> "ndarray":
        settings = {"axis": setting(axis), "keepdims": keepdims} | ({} if dtype is None else {"dtype": dtype})
        with np.errstate(all="ignore"):
            return fresh(getattr(np, name)(device(a), **settings))

    return call


def _moved(name: str, finish: Callable[[Any], "ndarray"]) -> Callable[..., "ndarray"]:
    def call(a: Any, *args: Any, **settings: Any) -> "ndarray":
        function = getattr(np, name)
        return finish(
            function(device(a), *map(setting, args), **{key: setting(value) for key, value in settings.items()})
        )

    return call


def array(x: Any, dtype: Any = None) -> "ndarray":
    """To the device: always a copy."""
    values = x._values if isinstance(x, ndarray) else np.asarray(x)
    return wrap(np.array(supported(values), dtype, order="F" if values.flags.fnc else "C"))


def asarray(x: Any, dtype: Any = None) -> "ndarray":
    if isinstance(x, ndarray) and dtype in (None, x.dtype):
        return x
    return array(x, dtype)


def ascontiguousarray(a: Any) -> "ndarray":
    return a if device(a).flags.c_contiguous and a.ndim else wrap(np.ascontiguousarray(a._values))


def asnumpy(x: Any) -> np.ndarray:
    return x.get() if isinstance(x, ndarray) else np.asarray(x)


def full(shape: Any, value: Any, dtype: Any = None) -> "ndarray":
    return wrap(supported(np.full(setting(shape), operand(value), dtype)))


def empty(shape: Any, dtype: Any = float) -> "ndarray":
    return full(shape, np.nan if np.dtype(dtype).kind in "fc" else 77, dtype)


def zeros(shape: Any, dtype: Any = float) -> "ndarray":
    return full(shape, 0, dtype)


def ones(shape: Any, dtype: Any = float) -> "ndarray":
    return full(shape, 1, dtype)


def _like(make: Callable[..., "ndarray"]) -> Callable[..., "ndarray"]:
    return lambda a, dtype=None: make(device(a).shape, dtype or a.dtype)


def arange(*args: Any, dtype: Any = None) -> "ndarray":
    return wrap(np.arange(*map(setting, args), dtype=dtype))


def eye(N: int, M: int | None = None, dtype: Any = float) -> "ndarray":
    return wrap(np.eye(N, M, dtype=dtype))


def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return condition.nonzero()
    return fresh(np.where(device(condition), operand(x), operand(y)))


def copyto(target: Any, source: Any) -> None:
    np.copyto(device(target), operand(source))


def matmul(a: Any, b: Any, out: Any = None) -> "ndarray":
    with np.errstate(all="ignore"):
        if out is None:
            return fresh(np.matmul(device(a), device(b)))
        np.matmul(device(a), device(b), out=device(out))
        return out


def dot(a: Any, b: Any) -> "ndarray":
    with np.errstate(all="ignore"):
        return fresh(np.dot(device(a), device(b)))


def tensordot(a: Any, b: Any, axes: Any = 2) -> "ndarray":
    with np.errstate(all="ignore"):
        return fresh(np.tensordot(device(a), device(b), axes))


def einsum(subscripts: str, *operands: Any) -> "ndarray":
    return fresh(np.einsum(subscripts, *map(device, operands)))


def concatenate(parts: Any, axis: int | None = 0) -> "ndarray":
    return fresh(np.concatenate([device(part) for part in parts], axis))


def stack(parts: Any, axis: int = 0) -> "ndarray":
    return fresh(np.stack([device(part) for part in parts], axis))


def take(a: Any, indices: Any, axis: int | None = None) -> "ndarray":
    return fresh(np.take(device(a), indices if isinstance(indices, int) else device(indices), axis))


def argsort(a: Any, axis: int = -1) -> "ndarray":
    return fresh(np.argsort(device(a), axis, kind="stable"))  # CuPy knows no other


def searchsorted(a: Any, v: Any, side: str = "left") -> "ndarray":
    return fresh(np.searchsorted(device(a), device(v), side))


def bincount(x: Any, weights: Any = None, minlength: int | None = None) -> "ndarray":
    wait("bincount")
    return wrap(np.bincount(device(x), None if weights is None else device(weights), minlength or 0))


def as_strided(x: Any, shape: Any = None, strides: Any = None) -> "ndarray":
    return wrap(np.lib.stride_tricks.as_strided(device(x), shape, strides))


class RawKernel:
    """A kernel in CUDA C++, run on the CPU. CuPy compiles it when it is first called."""

    def __init__(self, code: str, name: str):
        self.code, self.name = code, name

    def __call__(self, grid: tuple[int], block: tuple[int], args: tuple[Any, ...]) -> None:
        plain = (x._values if isinstance(x, ndarray) else x for x in args)
        cuda_on_cpu.compiled(self.code, self.name)(grid, block, tuple(plain))


class _Pool:
    def free_all_blocks(self) -> None:
        """Nothing is kept for later here."""


# --- the module ------------------------------------------------------------------------------------------------------

CARD = {"name": b"Stand-in", "major": 9, "minor": 0, "totalGlobalMem": 80 << 30}

OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "lshift": "left_shift", "rshift": "right_shift", "and": "bitwise_and",
    "or": "bitwise_or", "xor": "bitwise_xor", "matmul": "matmul",
}  # fmt: skip


def _operator(function: Callable[..., Any], turned: bool = False) -> Callable[[Any, Any], Any]:
    def apply(self: Any, other: Any) -> Any:
        if getattr(type(other), "__array_ufunc__", self) is None:
            return NotImplemented  # a class that handles arrays itself, as Tensor does
        return function(other, self) if turned else function(self, other)

    return apply


def _in_place(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: function(self, other, out=self)


def _module() -> ModuleType:
    """All of it together, as `import cupy` would give it."""
    module: Any = ModuleType("cupy")
    functions = [
        arange, argsort, array, as_strided, asarray, ascontiguousarray, asnumpy, bincount, concatenate, copyto, dot,
        einsum, empty, eye, full, matmul, ones, searchsorted, stack, take, tensordot, where, zeros,
    ]  # fmt: skip
    vars(module).update({function.__name__: function for function in functions})
    ndarray.ufuncs.update({name: _ufunc(name) for name in UFUNCS})
    vars(module).update(ndarray.ufuncs)
    vars(module).update({name: _reduction(name) for name in REDUCTIONS})
    vars(module).update({name: _moved(name, wrap) for name in VIEWS})
    vars(module).update({name: _moved(name, fresh) for name in COPIES})
    vars(module).update({f"{make.__name__}_like": _like(make) for make in (empty, ones, zeros)})
    for name in ("float32", "float64", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool_", "dtype"):
        setattr(module, name, getattr(np, name))
    module.inf, module.nan, module.pi, module.newaxis = np.inf, np.nan, np.pi, None
    module.abs, module.ndarray = module.absolute, ndarray
    module.lib = SimpleNamespace(stride_tricks=SimpleNamespace(as_strided=as_strided))
    module.cuda = SimpleNamespace(
        runtime=SimpleNamespace(
            getDeviceCount=lambda: 1,
            getDevice=lambda: 0,
            getDeviceProperties=lambda number: CARD,
            driverGetVersion=lambda: 13000,
            runtimeGetVersion=lambda: 13020,
            memGetInfo=lambda: (60 << 30, 80 << 30),
        )
    )
    module.__version__, module.RawKernel, module.get_default_memory_pool = "14.2.0", RawKernel, _Pool
    del module.as_strided

    for name in (*REDUCTIONS, "argsort", "clip", "cumsum", "dot", "ravel", "repeat", "squeeze", "swapaxes", "take"):
        setattr(ndarray, name, getattr(module, name))
    for name, function in OPERATORS.items():
        setattr(ndarray, f"__{name}__", _operator(getattr(module, function)))
        setattr(ndarray, f"__r{name}__", _operator(getattr(module, function), turned=True))
        if name != "matmul":  # CuPy has no @=
            setattr(ndarray, f"__i{name}__", _in_place(getattr(module, function)))
    for name, function in zip(("eq", "gt", "ge", "lt", "le", "ne"), COMPARISONS, strict=True):
        setattr(ndarray, f"__{name}__", _operator(getattr(module, function)))
    for name, function in (("neg", "negative"), ("abs", "absolute"), ("invert", "invert")):
        setattr(ndarray, f"__{name}__", getattr(module, function))

    def missing(name: str) -> Any:
        raise AttributeError(f"the stand-in has no cupy.{name}; where CuPy 14 has it, add it to tests/standin.py")

    module.__getattr__ = missing
    return module


cupy = _module()


@contextmanager
def installed() -> Iterator[ModuleType]:
    """Inside, `import cupy` gives the stand-in."""
    before = sys.modules.get("cupy")
    sys.modules["cupy"] = cupy
    try:
        yield cupy
    finally:
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before
