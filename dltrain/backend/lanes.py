"""The calls of a tape on several threads.

They are a graph: a call comes after those that wrote what it reads, and after those that read or wrote what it
overwrites. Every call in turn goes to the thread, here a lane, on which it begins first (list scheduling; R. Graham,
"Bounds on Multiprocessing Timing Anomalies", 1969), those on the longest way to the end before others (T. Hu, "Parallel
Sequencing and Assembly Line Problems", 1961). Who does a call changes no bit: it finds the same numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from dltrain.backend.share import Begin

Array = Any
Lane = list[Callable[[], Any]]
HAND_OVER = 60e-6  # seconds until one thread has seen that another one is done
WORTH_IT = 0.9  # of the time of one lane
MOST_WORK = 10_000  # to find out whether two views meet, which may take forever


class Call(NamedTuple):
    """One call of numpy: what it reads and where it writes, and whether that is all it does but for a first filling."""

    again: Callable[[], Any]
    reads: Sequence[Array]
    writes: Array
    fills: bool = False


class Lanes:
    """One lane is for the calling thread. Not to be used again after an error.

    before: as `order` has it. lanes: of each call, in an order in which they may be done.
    """

    def __init__(self, calls: Sequence[Call], before: Sequence[Sequence[int]], lanes: Mapping[int, int]):
        place = {i: at for at, i in enumerate(lanes)}
        waits: list[Lane] = [[] for _ in calls]  # before a call, for those of other lanes
        tells: list[Lane] = [[] for _ in calls]  # after it, those who wait for it
        self._locks: list[Any] = []
        met: dict[tuple[int, int], int] = {}  # where the last call is of another lane that a lane has waited for
        for i in lanes:
            last = {lanes[j]: j for j in sorted(before[i], key=place.__getitem__) if lanes[j] != lanes[i]}
            for other, j in last.items():
                if place[j] > met.get((lanes[i], other), -1):
                    met[lanes[i], other] = place[j]
                    lock = Lock()
                    lock.acquire()
                    self._locks.append(lock)
                    waits[i].append(lock.acquire)
                    tells[j].append(lock.release)
        self._lanes: list[Lane] = [[] for _ in range(max(lanes.values()) + 1)]
        for i, lane in lanes.items():
            self._lanes[lane] += [*waits[i], calls[i].again, *tells[i]]

    def run(self, begin: Begin) -> None:
        """Do all calls. Raises the first error of one."""
        errors: list[BaseException] = []
        finished: SimpleQueue[None] = SimpleQueue()
        own, *others = self._lanes
        for number, lane in enumerate(others):
            begin(number, partial(self._follow, lane, errors, finished))
        self._follow(own, errors, finished)
        for _ in self._lanes:
            finished.get()
        if errors:
            raise errors[0]

    def _follow(self, lane: Lane, errors: list[BaseException], finished: "SimpleQueue[None]") -> None:
        try:
            for step in lane:
                step()
        except BaseException as error:  # also KeyboardInterrupt: it belongs to the caller
            errors.append(error)
            for lock in self._locks:  # nobody waits for what will not come
                with suppress(RuntimeError):
                    lock.release()
        finally:
            finished.put(None)


def plan(before: Sequence[Sequence[int]], seconds: Sequence[float], count: int) -> dict[int, int]:
    """The lane of each call, in an order in which they may be done; the first of all where others bring little.

    before: as `order` has it. seconds: what each call takes.
    """
    calls = range(len(before))
    left = list(seconds)  # from the beginning of a call to the end of all that depends on it
    for i in reversed(calls):
        for j in before[i]:
            left[j] = max(left[j], seconds[j] + left[i])
    free, lanes, ends = [0.0] + [3 * HAND_OVER] * (count - 1), dict[int, int](), dict[int, float]()  # others wake first
    for i in sorted(calls, key=lambda i: -left[i]):
        begins = list(free)
        for j in before[i]:
            for lane in range(count):
                begins[lane] = max(begins[lane], ends[j] + (HAND_OVER if lanes[j] != lane else 0))
        lanes[i] = begins.index(min(begins))
        ends[i] = free[lanes[i]] = min(begins) + seconds[i]
    return lanes if max(ends.values()) < WORTH_IT * sum(seconds) else dict.fromkeys(calls, 0)


def order(calls: Sequence[Call]) -> list[list[int]]:
    """Which earlier calls each call comes after."""
    spans = {id(a): np.lib.array_utils.byte_bounds(a) for call in calls for a in (*call.reads, call.writes)}

    def meet(one: Array, other: Array) -> bool:
        (first, end), (other_first, other_end) = spans[id(one)], spans[id(other)]
        return first < other_end and other_first < end and _share(one, other)  # most are far apart

    def needs(i: int, j: int) -> bool:
        return (
            meet(calls[i].writes, calls[j].writes)
            or any(meet(read, calls[j].writes) for read in calls[i].reads)
            or any(meet(calls[i].writes, read) for read in calls[j].reads)
        )

    return [[j for j in range(i) if needs(i, j)] for i in range(len(calls))]


def _share(one: Array, other: Array) -> bool:
    """Whether they have a number in common; columns side by side have none, though they lie between each other."""
    try:
        return np.shares_memory(one, other, max_work=MOST_WORK)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
