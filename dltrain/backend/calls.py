"""The calls of a tape on several threads.

They are a graph: a call comes after those that wrote what it reads, and after those that read or wrote what it
overwrites. A thread goes on with what waited for its last call; where nothing did, it takes, of the calls that lack
nothing, the one on the longest way to the end (T. Hu, "Parallel Sequencing and Assembly Line Problems", 1961). Who does
a call changes no bit: it finds the same numbers.
"""

from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from dltrain.backend.share import Begin

Array = Any
HAND_OVER = 60e-6  # seconds until one thread has seen that another one is done
WORTH_IT = 0.9  # of the time that one thread takes
MOST_WORK = 10_000  # to find out whether two views meet, which may take forever


class Call(NamedTuple):
    """One call of numpy: what it reads and where it writes, and whether that is all it does but for a first filling."""

    again: Callable[[], Any]
    reads: Sequence[Array]
    writes: Array
    fills: bool = False


class Graph:
    """Calls by rank: the longer the way from one to the end, the lower. seconds: what each takes."""

    def __init__(self, calls: Sequence[Call], seconds: Sequence[float]):
        before = order(calls)
        left = list(seconds)  # from the beginning of a call to the end of all that depends on it
        for i in reversed(range(len(calls))):
            for j in before[i]:
                left[j] = max(left[j], seconds[j] + left[i])
        ranked = sorted(range(len(calls)), key=lambda i: -left[i])  # an order in which they may be done
        rank = {i: r for r, i in enumerate(ranked)}
        self._calls = [calls[i].again for i in ranked]
        self._end = len(calls)
        awaited = _nearest([[rank[j] for j in before[i]] for i in ranked])
        awaited.append([one for one in range(self._end) if not any(one in of for of in awaited)])  # by the end
        self._first = [one for one, of in enumerate(awaited) if not of]
        self._after: list[list[int]] = [[] for _ in calls]
        for one, of in enumerate(awaited):
            for other in of:
                self._after[other].append(one)
        # A word for each call that it waits for: who is done takes one, and the last, which is True, sets it free.
        self._words = [[True] + [False] * (len(of) - 1) for of in awaited]
        whole, longest = sum(seconds), max(left, default=0)
        self.is_worth_it = longest < WORTH_IT * whole and whole - longest > 3 * HAND_OVER

    def run(self, begin: Begin, threads: int) -> None:
        """Do all calls, on the calling thread and so many others. Raises the first error of one."""
        work = _Work(self._words)
        for one in self._first:
            work.offer(one)
        for number in range(threads):
            begin(number, partial(self._take_part, work))
        self._take_part(work)
        for _ in range(threads + 1):
            work.finished.get()
        if work.errors:
            raise work.errors[0]

    def _take_part(self, work: "_Work") -> None:
        calls, after, words, one = self._calls, self._after, work.words, -1
        try:
            while not work.errors:
                if one < 0:
                    one = work.take()
                if one == self._end:
                    break
                calls[one]()
                free = [other for other in after[one] if words[other].pop()]
                one = free[0] if free else -1
                for other in free[1:]:
                    work.offer(other)
        except BaseException as error:  # also KeyboardInterrupt: it belongs to the caller
            work.errors.append(error)
        finally:
            work.offer(self._end)  # nobody waits for what will not come
            work.finished.put(None)


class _Work:
    """What the threads of one run share. They need no lock: Python does each of its steps as one."""

    def __init__(self, words: Sequence[Sequence[bool]]):
        self.words = [[*of] for of in words]
        self.errors: list[BaseException] = []
        self.finished: SimpleQueue[None] = SimpleQueue()
        self._ready: list[int] = []  # a heap
        self._offers: SimpleQueue[None] = SimpleQueue()  # as many

    def offer(self, one: int) -> None:
        heappush(self._ready, one)
        self._offers.put(None)

    def take(self) -> int:
        """Waits until there is one."""
        self._offers.get()
        return heappop(self._ready)


def _nearest(before: Sequence[Sequence[int]]) -> list[list[int]]:
    """Without those that are before another one of them."""
    earlier: list[int] = []  # of each, as bits
    found = []
    for ranks in before:
        seen, nearest = 0, []
        for rank in sorted(ranks, reverse=True):
            if not seen >> rank & 1:
                nearest.append(rank)
                seen |= earlier[rank] | 1 << rank
        earlier.append(seen)
        found.append(nearest)
    return found


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
