"""What a short step asks of numpy, written down once and asked again in every later step.

Without kernels in C a small network's step is some hundred calls of numpy. To find out which takes Python long, and as
it holds the interpreter meanwhile, a second thread can do little. So the first step is computed with arrays that note
what is done to them. Later ones repeat the calls, from and to the same memory: same functions, same shapes, same bits.

`Recorded` is a kind of array of its own, beside numpy's and CuPy's, with kernels of its own: what it does not know
raises an error, and so does an array from elsewhere. Then there is no tape, and Python goes through every step. What
cannot be seen is trusted, as in script.py: that Python would take the same way in every step, and that numbers, which
are no arrays, are the same in every step.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import cached_property, partial
from time import perf_counter
from types import SimpleNamespace
from typing import Any, Optional

import numpy as np

from dltrain.backend.calls import Call, Graph
from dltrain.backend.kernels import CPU_PIECE, Kernels
from dltrain.backend.late import Late
from dltrain.backend.script import Arrays, Now
from dltrain.backend.share import idle

Array = Any
recording: ContextVar[Optional["Tape"]] = ContextVar("recording", default=None)  # what is being noted, and where
PLAIN = Kernels(np, CPU_PIECE)
MEASUREMENTS = 3  # of which the shortest counts: in others the thread had to wait for the processor
UNKNOWN = (TypeError, AttributeError, IndexError, ValueError)  # what comes of something that cannot be noted


class Tape:
    """Calls of numpy, and the arrays that they work in.

    data: arrays that are others in every step, of the same shape and dtype. fixed: arrays whose values may change.
    """

    def __init__(self, data: Sequence[Array], fixed: Sequence[Array], now: Now):
        self.now = now
        self.data = [Recorded(self, a.copy()) for a in data]
        self._fixed = [*fixed]
        self._calls: list[Call] = []
        self._steps: list[Call] = []  # those that are repeated
        self._seconds: list[list[float]] = []  # of each step, in every measurement
        self.results: Arrays = {}

    # --- writing ----------------------------------------------------------------------------------------------

    def call(self, function: Callable[..., Any], *arguments: Any, out: Any = None, **settings: Any) -> Any:
        """A function that takes `out`: done, and noted with the result as its `out`."""
        values = [self.values(a) for a in arguments]
        if out is None:
            out = Recorded(self, np.asarray(function(*values, **settings)))
        else:
            function(*values, out=self.own(out), **settings)
        self.note(partial(function, *values, out=out.values, **settings), values, out.values)
        return out

    def anew(self, function: Callable[..., Any], *arguments: Any, **settings: Any) -> "Recorded":
        """A function that always makes a new array."""
        values = [self.values(a) for a in arguments]
        made = np.asarray(function(*values, **settings))
        self.note(lambda: np.copyto(made, function(*values, **settings)), values, made)
        return Recorded(self, made)

    def fill(self, values: Array, with_what: Any) -> "Recorded":
        """A new array, with what it holds before anything is done to it."""
        self.note(partial(np.copyto, values, with_what, casting="unsafe"), [], values, fills=True)
        return Recorded(self, values)

    def put(self, to: Array, what: Any) -> None:
        """Copy into an array of this tape."""
        values = self.values(what)
        again = partial(np.copyto, to, values, casting="unsafe")
        again()
        self.note(again, [values], to)

    def copied(self, values: Array, dtype: Any) -> "Recorded":
        """In C order."""
        made = np.empty(values.shape, dtype)
        self.put(made, Recorded(self, values))
        return Recorded(self, made)

    def note(self, again: Callable[[], Any], reads: Sequence[Any], writes: Array, fills: bool = False) -> None:
        self._calls.append(Call(again, [x for x in reads if isinstance(x, np.ndarray)], writes, fills))

    def values(self, x: Any) -> Any:
        """What numpy is to be given for an argument. Raises TypeError for what may be another one in another step."""
        if isinstance(x, Recorded):
            return self.own(x)
        if x is None or type(x) in (bool, int, float):
            return x
        if isinstance(x, np.ndarray) and any(np.may_share_memory(x, a) for a in self._fixed):
            return x
        raise TypeError(f"a tape does not know this {type(x).__name__}")

    def own(self, x: Any) -> Array:
        """Raises TypeError for what is no array of this tape."""
        if not isinstance(x, Recorded) or x.tape is not self:
            raise TypeError("this array is not the tape's")
        return x.values

    def end(self, results: Arrays, kernels: Kernels) -> None:
        def plain(x: Any) -> Any:
            if isinstance(x, Late):
                return Late(kernels, *((self.own(a), self.own(g)) for a, g in x.parts))
            return self.own(x)

        self.results = {name: plain(x) for name, x in results.items()}
        self._steps = [call for i, call in enumerate(self._calls) if not (call.fills and self._lasts(i))]

    def _lasts(self, i: int) -> bool:
        """Whether what a call fills an array with is there in later steps, too, where it is not overwritten before
        anybody reads: nothing is written after something was read.
        """
        read, filled = False, self._calls[i].writes
        for call in self._calls[i + 1 :]:
            read = read or any(np.may_share_memory(x, filled) for x in call.reads)
            if read and np.may_share_memory(call.writes, filled):
                return False
        return True

    # --- following --------------------------------------------------------------------------------------------

    def follow(self, given: Sequence[Array], now: Now) -> Arrays | None:
        """The results, in arrays that the next time overwrites; None where other arrays are to be read."""
        data, fixed = given[: len(self.data)], given[len(self.data) :]
        if any(a is not before for a, before in zip(fixed, self._fixed, strict=True)):
            return None
        if any(a.dtype != kept.dtype for a, kept in zip(data, self.data, strict=True)):
            return None
        self.now = now
        for array, kept in zip(data, self.data, strict=True):
            np.copyto(kept.values, array)
        others = idle.get()
        begin = others.begin if others.threads else None
        if begin and len(self._seconds) < MEASUREMENTS:
            self._seconds.append([_seconds_of(step.again) for step in self._steps])
        elif begin and self._graph.is_worth_it:
            self._graph.run(begin, others.threads)
        else:
            for step in self._steps:
                step.again()
        return dict(self.results)

    @cached_property
    def _graph(self) -> Graph:
        return Graph(self._steps, [min(seconds) for seconds in zip(*self._seconds, strict=True)])


def _seconds_of(work: Callable[[], Any]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def record(
    data: Sequence[Array], fixed: Sequence[Array], changed: Sequence[Array], now: Now, work: Callable[..., Arrays]
) -> Tape | None:
    """Do the work and write down how, for `Scripts`. None where that cannot be, or without data is not worth it."""
    if changed or not data:
        return None
    tape = Tape(data, fixed, now)
    token = recording.set(tape)
    try:
        tape.end(work(*tape.data), PLAIN)
    except UNKNOWN:
        return None
    finally:
        recording.reset(token)
    return tape


def _running() -> Tape:
    tape = recording.get()
    if tape is None:
        raise TypeError("nothing is recorded")
    return tape


# --- the array --------------------------------------------------------------------------------------------------------


class Recorded:
    """An array of numpy's, whose every use is noted on a tape."""

    __slots__ = ("tape", "values")
    __array_ufunc__ = None  # numpy leaves `array + recorded` to __radd__

    def __init__(self, tape: Tape, values: Array):
        self.tape, self.values = tape, values

    shape = property(lambda self: self.values.shape)
    dtype = property(lambda self: self.values.dtype)
    ndim = property(lambda self: self.values.ndim)
    size = property(lambda self: self.values.size)
    strides = property(lambda self: self.values.strides)
    T = property(lambda self: Recorded(self.tape, self.values.T))

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise TypeError("a recorded array does not leave its tape")

    def __bool__(self) -> bool:
        raise TypeError("a recorded array decides nothing: it may be another one in another step")

    def __len__(self) -> int:
        return len(self.values)

    # --- views: nothing is computed, so nothing is noted ------------------------------------------------------

    def __getitem__(self, key: Any) -> "Recorded":
        return Recorded(self.tape, self._at(key))

    def _at(self, key: Any) -> Array:
        view = self.values[key]
        if not isinstance(view, np.ndarray) or (view.size and not np.may_share_memory(view, self.values)):
            raise TypeError("not a view")
        return view

    def transpose(self, *axes: Any) -> "Recorded":
        return Recorded(self.tape, self.values.transpose(*axes))

    def swapaxes(self, one: int, other: int) -> "Recorded":
        return Recorded(self.tape, self.values.swapaxes(one, other))

    def view(self, dtype: Any) -> "Recorded":
        return Recorded(self.tape, self.values.view(dtype))

    def reshape(self, *shape: Any) -> "Recorded":
        other = self.values.reshape(*shape)
        if not np.may_share_memory(other, self.values):  # numpy had to copy
            self.tape.note(partial(np.copyto, other.reshape(self.shape), self.values), [self.values], other)
        return Recorded(self.tape, other)

    # --- copies -----------------------------------------------------------------------------------------------

    def __setitem__(self, key: Any, value: Any) -> None:
        to = self._at(key)
        there = isinstance(value, Recorded) and value.values.__array_interface__ == to.__array_interface__
        if not there:  # after `x[key] += …` Python puts it where it is
            self.tape.put(to, value)

    def astype(self, dtype: Any) -> "Recorded":
        return self.tape.copied(self.values, dtype)

    def copy(self) -> "Recorded":
        return self.tape.copied(self.values, self.dtype)

    # --- over some axes ---------------------------------------------------------------------------------------

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        return self.tape.call(np.ndarray.sum, self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        return self.tape.call(np.ndarray.mean, self, axis=axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        return self.tape.call(np.ndarray.max, self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: Any = None) -> Any:
        return self.tape.call(np.ndarray.argmax, self, axis=axis)


def _operators(name: str, function: Any) -> None:
    setattr(Recorded, f"__{name}__", lambda self, other: self.tape.call(function, self, other))
    setattr(Recorded, f"__r{name}__", lambda self, other: self.tape.call(function, other, self))
    setattr(Recorded, f"__i{name}__", lambda self, other: self.tape.call(function, self, other, out=self))


for _name, _function in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "matmul": np.matmul, "pow": np.power,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
}.items():  # fmt: skip
    _operators(_name, _function)
for _name, _function in {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}.items():  # fmt: skip
    setattr(Recorded, f"__{_name}__", lambda self, other, f=_function: self.tape.call(f, self, other))
for _name, _function in {"neg": np.negative, "invert": np.invert, "abs": np.absolute}.items():
    setattr(Recorded, f"__{_name}__", lambda self, f=_function: self.tape.call(f, self))


# --- the functions that take it ---------------------------------------------------------------------------------------


class RecordedNumpy:
    """What of numpy the kernels and ops ask for."""

    __name__ = "numpy"
    inf = np.inf

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)
        if not isinstance(function, np.ufunc):
            raise AttributeError(f"a tape does not know {name}")
        return lambda *arguments, **settings: _running().call(function, *arguments, **settings)

    def dot(self, a: Any, b: Any) -> Any:
        return _running().call(np.dot, a, b)

    def empty(self, shape: Any, dtype: Any) -> Recorded:
        return Recorded(_running(), np.empty(shape, dtype))

    def zeros(self, shape: Any, dtype: Any) -> Recorded:
        return _running().fill(np.zeros(shape, dtype), 0)

    def ones(self, shape: Any, dtype: Any = float) -> Recorded:
        return _running().fill(np.ones(shape, dtype), 1)

    def full(self, shape: Any, value: float, dtype: Any) -> Recorded:
        return _running().fill(np.full(shape, value, dtype), value)

    def zeros_like(self, x: Any) -> Recorded:
        return _running().fill(np.zeros_like(_running().values(x)), 0)

    def ones_like(self, x: Any) -> Recorded:
        return _running().fill(np.ones_like(_running().values(x)), 1)

    def arange(self, stop: int) -> Recorded:
        return _running().fill(np.arange(stop), np.arange(stop))

    def copyto(self, to: Recorded, x: Any) -> None:
        _running().put(_running().own(to), x)

    def ascontiguousarray(self, x: Any) -> Any:
        values = _running().values(x)
        return x if values.flags.c_contiguous else _running().copied(values, values.dtype)

    def broadcast_to(self, x: Any, shape: Any) -> Recorded:
        return Recorded(_running(), np.broadcast_to(_running().values(x), shape))

    def tile(self, x: Any, times: int) -> Recorded:
        """x: (n,) -> (times · n,)"""
        row = _running().values(x)
        made = np.empty((times, *row.shape), row.dtype)
        _running().put(made, Recorded(_running(), row))
        return Recorded(_running(), made.reshape(times * len(row)))

    def where(self, condition: Any, one: Any, other: Any) -> Recorded:
        return _running().anew(np.where, condition, one, other)

    def repeat(self, x: Any, times: int, axis: int) -> Recorded:
        return _running().anew(np.repeat, x, times, axis)

    def concatenate(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        return _running().call(lambda *of, **settings: np.concatenate(of, **settings), *arrays, axis=axis)

    @property
    def lib(self) -> Any:
        return SimpleNamespace(stride_tricks=SimpleNamespace(as_strided=_as_strided))


def _as_strided(x: Recorded, shape: Any, strides: Any) -> Recorded:
    return Recorded(x.tape, np.lib.stride_tricks.as_strided(x.values, shape, strides))


class RecordedKernels(Kernels):
    """Plain numpy's, with random words that are others in every step."""

    at_once = True

    def example_words(
        self, seed: int, purpose: str, layer: str, *, epoch: int, step: int, first: int, examples: int, words_each: int
    ) -> Array:
        tape, sizes = _running(), {"first": first, "examples": examples, "words_each": words_each}
        if (step, epoch) != tape.now[:2]:
            raise ValueError("words of another step")

        def draw() -> Array:
            return PLAIN.example_words(seed, purpose, layer, epoch=tape.now.epoch, step=tape.now.step, **sizes)

        words = np.ascontiguousarray(draw())
        tape.note(lambda: np.copyto(words, draw()), [], words)
        return Recorded(tape, words)
