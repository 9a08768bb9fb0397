"""How kernels in C are called, and what they do with arrays as such: arithmetic with broadcasting, sums, copies."""

from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from dltrain.backend.capture import capturing
from dltrain.backend.compiled import ARRAYS, FLOAT32, TABLE, THREADS, Library, at, fit
from dltrain.backend.im2col import Im2colKernels
from dltrain.backend.layout import broadcast, steps, strided
from dltrain.backend.share import threads_for

Array = Any
POINT = 8  # multiplications that take as long as to read a number from the second-level cache and write one
ADD, SUBTRACT, MULTIPLY = range(3)  # as in c/combine.inc


class NativeArrays(Im2colKernels):
    """Calls of the library in C, and what it does with arrays as such."""

    capturable = True

    def __init__(self, compiled: Library, piece_bytes: int):
        super().__init__(np, piece_bytes)
        self.name = f"native {compiled.instruction_set}"
        self.compiled = compiled

    def _call(self, name: str, work: int, *arguments: Any) -> int:
        """A function in C, with arrays as they are and without its last argument, the threads for so many
        multiplications. Returns what it does: 0, or 1 when it could not be done.
        """
        signature = TABLE[name].arguments
        passed = [at(a) if of.kind in ARRAYS else a for of, a in zip(signature, arguments, strict=False)]
        if signature[-1].kind == THREADS:
            passed.append(threads_for(work))
        status: int = self.compiled(name, work)(*passed) or 0
        graph = capturing.get()
        if graph is not None:
            graph.add_call(self.compiled, name, arguments, work)
        return status

    def _run(self, name: str, work: int, *arguments: Any) -> None:
        """The same for a function that needs room to work in. Raises MemoryError."""
        if self._call(name, work, *arguments):
            raise MemoryError("not enough memory for a kernel's workspace")

    def add(self, a: Array, b: Array) -> Array:
        y = self._combine(ADD, a, b)
        return super().add(a, b) if y is None else y

    def subtract(self, a: Array, b: Array) -> Array:
        y = self._combine(SUBTRACT, a, b)
        return super().subtract(a, b) if y is None else y

    def multiply(self, a: Array, b: Array) -> Array:
        y = self._combine(MULTIPLY, a, b)
        return super().multiply(a, b) if y is None else y

    def _combine(self, operation: int, a: Array, b: Array) -> Array | None:
        """None where C cannot."""
        a, b = (
            fixed(np.full((), x, FLOAT32))
            if type(x) in (int, float)
            else self.packed(x)
            if type(x) is np.ndarray
            else x
            for x in (a, b)
        )
        plan = broadcast(a.shape, b.shape) if fit(a, b) else None
        if plan is None:
            return None
        shape, sizes, a_steps, b_steps = plan
        y = np.empty(shape, FLOAT32)
        self._call("combine", y.size * POINT, operation, *sizes, a, *a_steps, b, *b_steps, y)
        return y

    def spread(self, x: Array, shape: tuple[int, ...], count: int = 1) -> Array:
        plan = broadcast(x.shape, shape) if fit(x) and count else None
        if plan is None:
            return super().spread(x, shape, count)
        y, by = np.empty(shape, FLOAT32), fixed(np.full((), 1 / count, FLOAT32))
        self._call("combine", y.size * POINT, MULTIPLY, *plan[1], x, *plan[2], by, 0, 0, 0, y)
        return y

    def assign(self, y: Array, x: Array) -> None:
        """Declines what has more than 5 axes that cannot be taken together."""
        plan = strided(y.shape, *(steps(a, y.shape) for a in (x, y)))
        if plan is None or not y.size:
            return super().assign(y, x)
        if y.base is not None:
            fixed(y)  # numpy may have put something beside it
        self._call("assign", y.size * POINT, fixed(np.array(plan)), x, y)

    def packed(self, x: Array) -> Array:
        if x.flags.c_contiguous:
            return np.asarray(x)  # an array, also of one of numpy's numbers
        y = np.empty(x.shape, x.dtype)
        self.assign(y, x)
        return y

    def concatenate(self, axis: int, *parts: Array) -> Array:
        if not all(part.dtype is FLOAT32 for part in parts):
            return super().concatenate(axis, *parts)
        ends = [*accumulate(part.shape[axis] for part in parts)]
        y = np.empty((*parts[0].shape[:axis], ends[-1], *parts[0].shape[axis + 1 :]), FLOAT32)
        for part, end in zip(parts, ends, strict=True):
            self.assign(y[(*[slice(None)] * axis, slice(end - part.shape[axis], end))], part)
        return y

    def sum(self, x: Array, axes: tuple[int, ...], count: int = 1) -> Array:
        """Declines axes that do not lie beside each other."""
        first, last, x = min(axes, default=0), max(axes, default=-1) + 1, self.packed(x)
        if not fit(x) or not x.size or last - first != len(axes):
            return super().sum(x, axes, count)
        y = np.empty((*x.shape[:first], *[1] * len(axes), *x.shape[last:]), FLOAT32)
        sizes = (prod(x.shape[part]) for part in (slice(first), slice(first, last), slice(last, None)))
        self._call("sum_middle", x.size * POINT, *sizes, x, count, y)
        return y


def fixed(array: Array) -> Array:
    """What numpy has put into it is the same in every step, and it stays where it is: a captured graph may read it."""
    graph = capturing.get()
    if graph is not None:
        graph.fix(array)
    return array
