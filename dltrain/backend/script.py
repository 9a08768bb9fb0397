"""What a short step asks of C, written down once and asked again in every later step.

A small network's step is over in a few milliseconds, and Python takes a third of them to find out again what it found
out before: which kernel, how large, where from and where to. So the calls of one step are written down, with the arrays
that they write to as room for those of the later steps. Other examples, other bits of dropout, the same work.

It is the same work only if nothing else happens between the calls. While they are written down it is seen to that
- what C reads is given to the step or was written by a call before,
- what is given or was written is changed by C alone: numpy finds those arrays locked,
- what comes out of the step was written by a call.
Where one of these does not hold there is no script, and Python goes through every step. What cannot be seen is trusted:
that Python would take the same way in every step and keeps nothing from it. So only dltrain's own layers, losses and
optimizers are repeated, which do (`Job.repeatable`).
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextvars import ContextVar
from ctypes import addressof, c_int64
from functools import cached_property
from struct import pack
from typing import Any, NamedTuple, Optional

import numpy as np

from dltrain.backend import share
from dltrain.backend.compiled import ARRAYS, READ, SCALAR, TABLE, THREADS, WINDOW, WRITTEN, Library, address
from dltrain.backend.share import threads_for

Array = Any
Arrays = dict[str, Array]
FORMATS = {"i64": "q", "uint64_t": "Q", "int": "i", "float": "f", "double": "d"}  # of struct
WORD = 8  # bytes
writing: ContextVar[Optional["Script"]] = ContextVar("writing", default=None)  # the script that calls are noted in


class Now(NamedTuple):
    """The numbers that are others in every step."""

    step: int
    epoch: int
    lr: float


class Script:
    """Calls of C, and the arrays that they work in.

    given: arrays that may be others in every step, of the same shape and dtype.
    """

    def __init__(self, given: Sequence[Array], now: Now):
        self.complete = True
        self.results: Arrays = {}
        self._given = [*given]  # as they were the last time
        self._spans = [(address(a), a.nbytes) for a in given]
        self._now: dict[str, float] = now._asdict()
        self._known: dict[int, Array] = {}  # what was written, by id; of a view, whose memory it is
        self._kept: list[Any] = []  # what calls point at besides
        self._changes = False  # what was given
        self._words = bytearray()  # the calls, see c/library.c
        self._calls = 0
        self._places: list[list[tuple[int, int]]] = [[] for _ in given]  # of each: (which word, how many bytes into it)
        self._library: Library | None = None

    # --- writing ----------------------------------------------------------------------------------------------

    def note(self, library: Library, name: str, arguments: Sequence[Any], work: int) -> None:
        """This function was called with these arguments."""
        self._library = library
        signature = TABLE[name]
        self.complete &= not (signature.may_fail and self._changes)  # Python would do the first changes once more
        self._calls += 1
        self._words += pack("q", signature.number)
        shared = work >= share.WORTH_SHARING
        for (kind, type_, of), argument in zip(signature.arguments, [*arguments, shared], strict=False):
            if kind in ARRAYS:
                word = pack("q", self._place(kind, argument, len(self._words)))
            elif kind == WINDOW:
                self._kept.append(argument)
                word = pack("q", addressof(argument))
            else:
                self.complete &= kind != SCALAR or argument == self._now[of]
                word = pack(FORMATS[type_] if kind != THREADS else "q", argument)
            self._words += word.ljust(WORD, b"\0")

    def _place(self, kind: str, array: Array | None, at: int) -> int:
        """Where the array lies; of one that is given, the word that says so is remembered."""
        if array is None:
            return 0
        place = address(array)
        for which, (start, size) in enumerate(self._spans):
            if start <= place < start + size:
                self._places[which].append((at // WORD, place - start))
                self._changes |= kind != READ
                return place
        if kind == WRITTEN:
            self.own(array)
        self.complete &= id(_owner(array)) in self._known
        return place

    def own(self, array: Array) -> None:
        """C alone writes to this array, or nobody: it may be read in every step."""
        owner = _owner(array)
        self._known[id(owner)] = owner
        array.flags.writeable = owner.flags.writeable = False

    def end(self, results: Arrays) -> None:
        arrays = results.values()
        self.complete &= self._library is not None and all(
            isinstance(a, np.ndarray) and id(_owner(a)) in self._known for a in arrays
        )
        self.results = results

    # --- following --------------------------------------------------------------------------------------------

    def follow(self, given: Sequence[Array], now: Now) -> Arrays | None:
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
        threads = threads_for(share.WORTH_SHARING)
        failed = self._library.replay(self._library.table, self._calls, addressof(words), *now, threads)
        return None if failed else dict(self.results)

    @cached_property
    def _as_numbers(self) -> Any:
        """The same memory as the words."""
        return (c_int64 * (len(self._words) // WORD)).from_buffer(self._words)


def write(
    data: Sequence[Array], fixed: Sequence[Array], changed: Sequence[Array], now: Now, work: Callable[..., Arrays]
) -> Script | None:
    """Do the work and write down how. None, and nothing is done, where that cannot be."""
    given = [*data, *fixed, *changed]
    script, before, writable = Script(given, now), [a.copy() for a in changed], [a.flags.writeable for a in given]
    token = writing.set(script)
    for array in given:
        array.flags.writeable = False
    try:
        script.end(work(*data))
    except ValueError:  # numpy was to change an array
        script.complete = False
    finally:
        writing.reset(token)
        for array, was in zip(given, writable, strict=True):
            array.flags.writeable = was
    if script.complete:
        return script
    for array, old in zip(changed, before, strict=True):
        np.copyto(array, old)
    return None


class Scripts:
    """What a training repeats, by what it does."""

    def __init__(self) -> None:
        self.learned: dict[Hashable, Script | None] = {}  # None where there can be none

    def run(
        self,
        what: Hashable,
        given: Iterable[Array],
        now: Now,
        work: Callable[..., Arrays],
        changed: Sequence[Array] = (),
        data: Sequence[Array] = (),
    ) -> Arrays:
        """work(*data), or what it would give.

        what: stands for everything that work depends on but these arrays, their shapes and `now`. data, given: what it
        reads, new arrays in every step and those that stay. changed: arrays that are given too and that work changes,
        by kernels alone; it changes nothing else.
        """
        given = [*given]
        every = [*data, *given, *changed]
        key = what, *(a.shape for a in every)
        if key not in self.learned:
            written = write(data, given, changed, now, work)
            self.learned[key] = written
            return dict(written.results) if written else work(*data)
        script = self.learned[key]
        found = script.follow(every, now) if script else None
        return work(*data) if found is None else found


def eager(
    what: Hashable, given: Iterable[Array], *, work: Callable[..., Arrays], data: Sequence[Array] = (), **rest: Any
) -> Arrays:
    """`Scripts.run` where nothing is captured: does the work each time."""
    return work(*data)


Replay = Callable[..., Arrays]  # `Scripts.run` or `eager`


def _owner(array: Array) -> Array:
    """Whose memory a view looks at."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
