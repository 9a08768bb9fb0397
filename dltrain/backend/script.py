"""What a short step asks of C, written down once and asked again in every later step.

A small network's step is over in a few milliseconds, and Python takes a third of them to find out again what it found
out before: which kernel, how large, where from and where to. So the calls of one step are written down, with the arrays
that they write to as room for those of the later steps. Other examples, other bits of dropout, the same work.

It is the same work only if nothing else happens between the calls. While they are written down that is seen to:
- what C reads is given to the step or was written by a call before,
- what is given or was written is changed by C alone: numpy finds those arrays locked,
- what comes out of the step was written by a call.
Where one of these does not hold there is no script, and Python goes through every step.
"""

from collections.abc import Callable, Hashable, Sequence
from contextvars import ContextVar
from ctypes import c_double, c_int64, c_uint64, c_void_p
from typing import Any, NamedTuple, Optional

import numpy as np

from dltrain.backend import share
from dltrain.backend.compiled import ARRAYS, EPOCH, LR, STEP, THREADS, WRITTEN, address
from dltrain.backend.share import threads_for

Array = Any
Arrays = dict[str, Array]
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
        self._kinds = [(a.shape, a.dtype) for a in given]
        self._spans = [(address(a), a.nbytes) for a in given]
        self._pointers: dict[tuple[int, int], c_void_p] = {}  # into a given array: (which, how many bytes into it)
        self._now: dict[str, float] = dict(zip((STEP, EPOCH, LR), now, strict=True))
        self._numbers: dict[str, Any] = {STEP: c_uint64(), EPOCH: c_uint64(), LR: c_double()}
        self._threads = c_int64(1)  # for calls that are worth sharing
        self._known: dict[int, Array] = {}  # what was written, by id; of a view, whose memory it is
        self._calls: list[tuple[Any, list[Any]]] = []

    # --- writing ----------------------------------------------------------------------------------------------

    def note(self, function: Any, letters: str, arguments: Sequence[Any], work: int) -> None:
        """function was called with these arguments, of the kinds that the letters say (see compiled.py)."""
        passed: list[Any] = []
        for letter, argument in zip(letters, arguments, strict=False):
            if letter in self._numbers:
                self.complete &= argument == self._now[letter]
                passed.append(self._numbers[letter])
            elif letter not in ARRAYS or argument is None:
                passed.append(argument)
            else:
                if letter == WRITTEN:
                    self.constant(argument)
                passed.append(self._pointer(argument))
        if letters[-1] == THREADS:
            passed.append(self._threads if work >= share.WORTH_SHARING else 1)
        self._calls.append((function, passed))

    def _pointer(self, array: Array) -> c_void_p:
        place = address(array)
        for which, (start, size) in enumerate(self._spans):
            if start <= place < start + size:
                return self._pointers.setdefault((which, place - start), c_void_p(place))
        self.complete &= id(_owner(array)) in self._known
        return c_void_p(place)

    def constant(self, array: Array) -> None:
        """Nobody else writes to this array: C may read it in every step."""
        owner = _owner(array)
        self._known[id(owner)] = owner
        array.flags.writeable = owner.flags.writeable = False

    def end(self, results: Arrays) -> None:
        arrays = results.values()
        self.complete &= all(isinstance(a, np.ndarray) and id(_owner(a)) in self._known for a in arrays)
        self.results = results

    # --- following --------------------------------------------------------------------------------------------

    def fits(self, given: Sequence[Array]) -> bool:
        return all(
            a.shape == shape and a.dtype is dtype and a.flags.c_contiguous
            for a, (shape, dtype) in zip(given, self._kinds, strict=True)
        )

    def follow(self, given: Sequence[Array], now: Now) -> Arrays | None:
        """The results, in arrays that the next time overwrites; None where a call could not be done."""
        starts = [address(array) for array in given]
        for (which, offset), pointer in self._pointers.items():
            pointer.value = starts[which] + offset
        for variable, number in zip(self._numbers.values(), now, strict=True):
            variable.value = number
        self._threads.value = threads_for(share.WORTH_SHARING)
        for function, arguments in self._calls:
            if function(*arguments):
                return None
        return dict(self.results)


class Scripts:
    """The scripts of a training, by what they do."""

    def __init__(self) -> None:
        self._scripts: dict[Hashable, Script | None] = {}  # None where there can be none

    def run(self, what: Hashable, given: Sequence[Array], now: Now, work: Callable[[], Arrays]) -> Arrays:
        """work(), or what it would give.

        what: stands for everything that work depends on but these arrays, their shapes and `now`. work: may change the
        arrays by kernels alone, and nothing else.
        """
        key = what, *(a.shape for a in given)
        if key not in self._scripts:
            written = _write(given, now, work)
            self._scripts[key] = written
            return written.results if written else work()
        script = self._scripts[key]
        found = script.follow(given, now) if script and script.fits(given) else None
        return work() if found is None else found


def _write(given: Sequence[Array], now: Now, work: Callable[[], Arrays]) -> Script | None:
    """Do the work and write down how. None, and nothing is done, where that cannot be."""
    script, before, writable = Script(given, now), [a.copy() for a in given], [a.flags.writeable for a in given]
    token = writing.set(script)
    for array in given:
        array.flags.writeable = False
    try:
        script.end(work())
    except ValueError:  # numpy was to change an array
        script.complete = False
    finally:
        writing.reset(token)
        for array, was in zip(given, writable, strict=True):
            array.flags.writeable = was
    if script.complete:
        return script
    for array, old, was in zip(given, before, writable, strict=True):
        if was:
            np.copyto(array, old)
    return None


def _owner(array: Array) -> Array:
    """Whose memory a view looks at."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
