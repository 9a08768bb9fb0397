"""Capture and replay: a step does its work once, and from then on repeats the list of its calls of C.

A small network's step is over in a few milliseconds, and Python takes a third of them to find out again what it found
out before: which kernel, how large, where from and where to. So the calls of one step are captured. Its results stay
where they are, to be overwritten; what comes and goes in between gets memory of its own (arena.py). Other examples,
other bits of dropout, the same work.

It is the same work only if nothing else happens between the calls. While they are captured it is seen to that
- what a kernel reads is given to the step or was written by a kernel before,
- what is given or was written is changed by kernels alone: to numpy those arrays are read-only,
- what comes out of the step was written by a kernel.
Where one of these does not hold nothing is captured: `GraphCache.reasons` says why, and Python goes through every step.
What cannot be seen is trusted: that Python would take the same way in every step and keeps nothing from it. So only
dltrain's own layers, losses and optimizers are captured, which do (`Job.why_not_captured`).
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from ctypes import addressof, c_int64
from functools import cached_property
from struct import pack, pack_into
from time import perf_counter_ns
from traceback import extract_tb
from typing import Any, NamedTuple, Optional
from weakref import ref

import numpy as np

from dltrain import spans
from dltrain.backend import share
from dltrain.backend.arena import Room, plan
from dltrain.backend.compiled import (
    ARRAYS,
    FLOAT32,
    READ,
    SCALAR,
    TABLE,
    THREADS,
    WINDOW,
    WRITTEN,
    Library,
    address,
    on_line,
)
from dltrain.backend.share import threads_for

Array = Any
Arrays = dict[str, Array]
FORMATS = {"i64": "q", "uint64_t": "Q", "int": "i", "float": "f", "double": "d"}  # of struct
WORD_BYTES = 8
capturing: ContextVar[Optional["CapturedGraph"]] = ContextVar("capturing", default=None)  # where calls are noted


class StepScalars(NamedTuple):
    """The numbers that are others in every step."""

    step: int
    epoch: int
    lr: float


class CapturedGraph:
    """Calls of C, and the arrays that they work in.

    given: arrays that may be others in every step, of the same shape and dtype. reason: why it cannot be replayed.
    """

    def __init__(self, given: Sequence[Array], scalars: StepScalars):
        self.reason = ""
        self.results: Arrays = {}
        self._given = [*given]  # as they were the last time
        self._memory = [(address(a), a.nbytes) for a in given]
        self._scalars: dict[str, float] = scalars._asdict()
        self._fixed: dict[int, Array] = {}  # by id: what stays where it is; of a view, whose memory it is
        self._rooms: list[Room] = []
        self._written: dict[int, tuple[ref[Array], Room]] = {}  # by id, as long as Python has it
        self._kept: list[Any] = []  # what calls point at besides
        self._changes = False  # what was given
        self._words = bytearray()  # the calls, see c/library.c
        self._labels: list[spans.Label] = []  # of each call: what it was a part of
        self._places: list[list[tuple[int, int]]] = [[] for _ in given]  # of each: (which word, how many bytes into it)
        self._library: Library | None = None

    # --- capture ----------------------------------------------------------------------------------------------

    def add_call(self, library: Library, name: str, arguments: Sequence[Any], work: int) -> None:
        """This kernel was called with these arguments."""
        self._library = library
        signature = TABLE[name]
        if signature.may_fail and self._changes:
            self.fail(f"{name} may fail after arrays of the training have changed")
        self._labels.append(spans.label())
        self._words += pack("q", signature.number)
        shared = work >= share.WORTH_SHARING
        for (kind, type_, of), argument in zip(signature.arguments, [*arguments, shared], strict=False):
            if kind in ARRAYS:
                word = pack("q", self._place(name, kind, of, argument))
            elif kind == WINDOW:
                self._kept.append(argument)
                word = pack("q", addressof(argument))
            else:
                if kind == SCALAR and argument != self._scalars[of]:
                    self.fail(f"{name} is called with another {of} than the step's")
                word = pack(FORMATS[type_] if kind != THREADS else "q", argument)
            self._words += word.ljust(WORD_BYTES, b"\0")

    def _place(self, name: str, kind: str, of: str, array: Array | None) -> int:
        """Where the array lies; of one that is given, the word that says so is remembered."""
        if array is None:
            return 0
        place = address(array)
        for which, (start, size) in enumerate(self._memory):
            if start <= place < start + size:
                self._places[which].append((len(self._words) // WORD_BYTES, place - start))
                self._changes |= kind != READ
                return place
        owner, call = _owner(array), len(self._labels) - 1
        if kind == WRITTEN and not self._knows(owner):
            self._found(owner, call)
            array.flags.writeable = False
        if id(owner) in self._written:
            room = self._written[id(owner)][1]
            room.last = call
            room.places.append((len(self._words), place - address(owner)))
        elif id(owner) not in self._fixed:
            self.fail(f"{name} takes {of} from numpy")
        return place

    def _found(self, owner: Array, call: int) -> None:
        """A kernel writes to this array, which may go when Python drops it."""
        room, known = Room(owner.nbytes, call, call), id(owner)
        self._rooms.append(room)
        self._written[known] = ref(owner, lambda _: self._written.pop(known)), room
        owner.flags.writeable = False

    def _knows(self, owner: Array) -> bool:
        return id(owner) in self._written or id(owner) in self._fixed

    def fix(self, array: Array) -> None:
        """The same in every step: it may be read, and stays where it is."""
        owner = _owner(array)
        self._fixed[id(owner)] = owner
        array.flags.writeable = owner.flags.writeable = False

    def fail(self, reason: str) -> None:
        """It cannot be replayed. The first reason counts."""
        if not self.reason:
            of = spans.label()
            self.reason = f"{reason}, for {of.layer} {of.what} {of.phase}".strip() if of.layer else reason

    @property
    def calls(self) -> list[spans.Label]:
        """What each call is a part of, in order; known where spans were recorded."""
        return self._labels

    def finish(self, results: Arrays) -> None:
        if self._library is None:
            self.fail("no kernel in C was called")
        stay: set[int] = set()
        for name, array in results.items():
            if not isinstance(array, np.ndarray) or not self._knows(_owner(array)):
                self.fail(f"numpy gives {name}")
            elif id(_owner(array)) in self._written:
                stay.add(id(self._written[id(_owner(array))][1]))
        self.results = results
        if not self.reason:
            self._settle([room for room in self._rooms if id(room) not in stay])
        self._rooms.clear()
        self._written.clear()  # what is called when an array goes holds this graph, and with it its memory

    def _settle(self, rooms: Sequence[Room]) -> None:
        """Memory for what comes and goes."""
        starts, size_bytes = plan(rooms)
        memory = on_line((size_bytes // FLOAT32.itemsize,))
        self._kept.append(memory)
        begin = address(memory)
        for room, start in zip(rooms, starts, strict=True):
            for at, offset in room.places:
                pack_into("q", self._words, at, begin + start + offset)

    # --- replay -----------------------------------------------------------------------------------------------

    def replay(self, given: Sequence[Array], scalars: StepScalars) -> Arrays | None:
        """The results, in arrays that the next time overwrites; None where a call could not be done."""
        words = self._as_numbers
        for which, (array, before) in enumerate(zip(given, self._given, strict=True)):
            if array is not before:
                if array.shape != before.shape or array.dtype is not before.dtype or not array.flags.c_contiguous:
                    return None
                start = address(array)
                for at, offset in self._places[which]:
                    words[at] = start + offset
                self._given[which] = array
        assert self._library is not None
        threads, calls = threads_for(share.WORTH_SHARING), len(self._labels)
        times = (c_int64 * (calls + 1))() if spans.recorder else None
        failed = self._library.replay(self._library.table, calls, addressof(words), *scalars, threads, times)
        if times:
            spans.add_calls(self._labels, times, perf_counter_ns())
        return None if failed else dict(self.results)

    @cached_property
    def _as_numbers(self) -> Any:
        """The same memory as the words."""
        return (c_int64 * (len(self._words) // WORD_BYTES)).from_buffer(self._words)


def capture(
    work: Callable[..., Arrays],
    inputs: Sequence[Array],
    reads: Sequence[Array],
    changes: Sequence[Array],
    scalars: StepScalars,
) -> CapturedGraph:
    """Do the work and capture its calls. Where the graph has a reason, nothing was done.

    What goes wrong in the work is raised, as without capture.
    """
    given = [*inputs, *reads, *changes]
    graph, before = CapturedGraph(given, scalars), [a.copy() for a in changes]
    token = capturing.set(graph)
    try:
        with _read_only(given):
            graph.finish(work(*inputs))
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        graph.fail(f"numpy changes an array in place, {_where(error)}")
    finally:
        capturing.reset(token)
        if graph.reason:
            for array, old in zip(changes, before, strict=True):
                np.copyto(array, old)
    return graph


@contextmanager
def _read_only(arrays: Sequence[Array]) -> Iterator[None]:
    """To numpy; the kernels in C do not ask."""
    writeable = [a.flags.writeable for a in arrays]
    for array in arrays:
        array.flags.writeable = False
    try:
        yield
    finally:
        for array, was in zip(arrays, writeable, strict=True):
            array.flags.writeable = was


def _where(error: BaseException) -> str:
    frame = extract_tb(error.__traceback__)[-1]
    return f"in {frame.name} of {frame.filename.rpartition('/')[2]}:{frame.lineno}"


class GraphCache:
    """What a training has captured, by key and shapes.

    reasons: key -> why it is not replayed.
    """

    def __init__(self) -> None:
        self.graphs: dict[Hashable, CapturedGraph | None] = {}  # None where there can be none
        self.reasons: dict[Hashable, str] = {}

    def replay(
        self,
        key: Hashable,
        work: Callable[..., Arrays],
        inputs: Sequence[Array] = (),
        reads: Iterable[Array] = (),
        changes: Sequence[Array] = (),
        *,
        scalars: StepScalars,
    ) -> Arrays:
        """work(*inputs), or what it would give.

        key: stands for everything that work depends on but these arrays, their shapes and the scalars.
        inputs, reads: what it reads, new arrays in every step and those that stay. changes: arrays that it reads and
        changes; it changes nothing else.
        """
        reads = [*reads]
        given = [*inputs, *reads, *changes]
        known = key, *(a.shape for a in given)
        if known not in self.graphs:
            graph = capture(work, inputs, reads, changes, scalars)
            if not graph.reason:
                self.graphs[known] = graph
                return dict(graph.results)
            self.graphs[known], self.reasons[key] = None, graph.reason
            if spans.watcher is not None:
                spans.watcher.not_captured(key[0] if isinstance(key, tuple) else key, graph.reason)
        captured = self.graphs[known]
        found = captured.replay(given, scalars) if captured else None
        return work(*inputs) if found is None else found


def eager(key: Hashable, work: Callable[..., Arrays], inputs: Sequence[Array] = (), *more: Any, **rest: Any) -> Arrays:
    """`GraphCache.replay` where nothing is captured: does the work each time."""
    return work(*inputs)


Replay = Callable[..., Arrays]  # `GraphCache.replay` or `eager`


def _owner(array: Array) -> Array:
    """Whose memory a view looks at."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
