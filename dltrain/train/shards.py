"""A batch is computed in shards, on several threads, and gives the same bits whatever their number.

A shard is a fixed run of examples whose size comes from the config, never from the number of cores. Its results enter a
binary tree by the shard's index, so every sum has one order: shard i is added to i^1, their sum to that of the next
pair, and so on; where a sibling is missing the value passes up unchanged. The tree adds as soon as both siblings
are there, so only about log2(shards) + 1 results are alive.
"""

import itertools
import queue
import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from dltrain.backend import Idle, idle, kernels
from dltrain.nn import Conv, Model
from dltrain.ops.total import meeting

Array = Any
Sums = dict[str, Array]
T = TypeVar("T")
WORTH_A_THREAD = 1 << 18  # numbers
WORTH_A_SHARD = 50_000_000  # multiplications forward, some milliseconds of work with the way back


def auto_shard_size(model: Model, batch_size: int, shares: bool, taped: bool) -> int:
    """A function of the model, the batch and the kind of kernels: 32 images fit the caches, wide matrix products want
    more rows.

    shares: whether the kernels share out a lone shard's work by themselves. Then small convolutional networks get
    larger shards, for on 32 of their images Python would be busier than the kernels, and so do dense ones, whose
    weights are packed once for each shard. taped: whether plain numpy's calls are shared out to threads (calls.py).
    """
    if not any(isinstance(layer, Conv) for layer in model.layers):
        return batch_size if taped else min(batch_size, max(256 if shares else 64, -(-batch_size // 2)))
    size = 32
    while shares and size * model.multiply_adds < WORTH_A_SHARD:
        size *= 2
    return min(batch_size, size)


class Tokens:
    """So many of something, as a semaphore has them; that of `threading` is in Python and takes ten times as long."""

    def __init__(self, count: int):
        self._queue: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(count):
            self._queue.put(None)
        self.release = partial(self._queue.put, None)
        self.acquire = self._queue.get


def add(a: Sums, b: Sums) -> Sums:
    """New arrays, never in place: a gradient may be the very array that another name holds."""
    return {name: a[name] + b[name] for name in a}


class Tree:
    """Adds results by index as they come in. `root` is the sum of all once the last one is in."""

    def __init__(self, count: int):
        self.count = count
        self.root: Sums | None = None
        self._waiting: dict[tuple[int, int], Sums] = {}
        self._lock = threading.Lock()

    def enter(self, index: int, value: Sums) -> None:
        level, width = 0, self.count
        while width > 1:
            sibling = index ^ 1
            if sibling < width:
                with self._lock:
                    other = self._waiting.pop((level, sibling), None)
                    if other is None:
                        self._waiting[level, index] = value
                        return
                value = add(value, other) if index < sibling else add(other, value)
            level, index, width = level + 1, index >> 1, (width + 1) >> 1
        self.root = value


class GaveUp(Exception):
    """A shard stops because another one failed or ended; that one's own error says why."""


class Meeting:
    """Where the shards of one step wait for each other's part of a `total`."""

    def __init__(self, count: int, permits: Tokens):
        self.problem: str | None = None
        self._permits = permits
        self._count = count
        self._parts: list[tuple[str, Array]] = [("", None)] * count
        self._changed = threading.Condition()
        self._entered = 0  # over all totals so far
        self._closed = self._broken = False
        self._complete = 0  # totals that every shard entered; whoever entered one of these gets its result
        self._result: Array = None

    def total(self, shard: int, name: str, value: Array) -> Array:
        """The sum over shards, in tree order. Gives up the permit while it waits, so that others can get here."""
        with self._changed:
            if self._closed:
                self.abort(f"shard {shard} asks for the total of {name!r}, which another shard never reached")
            if self._broken:
                raise GaveUp
            mine = self._entered // self._count
            self._parts[shard] = (name, value)
            self._entered += 1
            if self._entered % self._count == 0:
                self._result = self._sum()
                self._complete += 1
                self._changed.notify_all()
                return self._result
        self._permits.release()
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._complete > mine or self._broken)
                if self._complete <= mine:
                    raise GaveUp
                return self._result  # the next total is not complete before this shard enters it
        finally:
            self._permits.acquire()

    def leave(self) -> None:
        """A shard is done: nobody may wait for it any more."""
        with self._changed:
            self._closed = True
            if self._entered % self._count:
                self.abort("a shard ended while others wait for a total")

    def abort(self, problem: str | None = None) -> None:
        with self._changed:
            self.problem = self.problem or problem
            self._broken = True
            self._changed.notify_all()

    def _sum(self) -> Array:
        names = sorted({name for name, _ in self._parts})
        if len(names) > 1:
            raise RuntimeError(f"shards disagree about which total comes next: {', '.join(names)}")
        tree = Tree(self._count)
        for i, (_, value) in enumerate(self._parts):
            tree.enter(i, {"": value})
        assert tree.root is not None
        return tree.root[""]


class Crew:
    """Threads that compute shards; at most `threads` of them at the same time."""

    def __init__(self, threads: int):
        self.threads = threads
        self._workers: list[queue.SimpleQueue[Callable[[], None] | None]] = []

    def run(self, count: int, work: Callable[[int], Sums]) -> Sums:
        """work(0) … work(count - 1), summed by the tree. Raises the error of the lowest shard that failed by itself.

        Shards start in the order of their index, each in a copy of the caller's context (`no_grad`, `np.errstate`).
        """
        if count == 1:
            return self.lent(partial(work, 0))
        permits = Tokens(self.threads)
        meet = Meeting(count, permits)
        tree = Tree(count)
        errors: list[BaseException | None] = [None] * count
        finished = Tokens(0)
        rest, running = Idle(0), itertools.count(count - 1, -1)  # next() is atomic

        def compute(shard: int) -> None:
            try:
                idle.set(rest)
                meeting.set(partial(meet.total, shard))
                tree.enter(shard, work(shard))
                meet.leave()
            except BaseException as error:  # also KeyboardInterrupt: it belongs to the caller
                errors[shard] = error
                meet.abort()
            finally:
                rest.threads = max(0, self.threads - next(running))  # who has no shard left helps with the others'
                permits.release()
                finished.release()

        for shard in range(count):
            permits.acquire()
            begin: Callable[[], None] = partial(copy_context().run, compute, shard)
            if shard < count - 1:
                self._worker(shard).put(begin)
            else:  # nobody has to be woken for the last one
                begin()
        for _ in range(count):
            finished.acquire()
        own = [e for e in errors if e is not None and not isinstance(e, GaveUp)]
        if own:
            raise own[0]
        if tree.root is None or any(errors):
            raise RuntimeError(meet.problem or "a shard gave up waiting for the others")
        return tree.root

    def each(self, items: Sequence[Any], work: Callable[[Any], Any], worth: int = WORTH_A_THREAD) -> list[Any]:
        """[work(item) for item in items], where no item depends on another.

        items: arrays, or tuples that begin with one. With fewer than `worth` numbers no thread is woken.
        """
        if len(items) == 1 or sum(_size(item) for item in items) < worth:
            return [work(item) for item in items]
        if kernels(_first(items[0])).shares:
            return self.lent(lambda: [work(item) for item in items])
        return self.share(len(items), lambda number: work(items[number]))

    def share(self, parts: int, work: Callable[[int], Any]) -> list[Any]:
        """[work(0), …, work(parts - 1)], by the calling thread and as many others as there are."""
        threads = min(self.threads, parts)
        found: list[Any] = [None] * parts
        errors: list[BaseException] = []
        numbers = iter(range(parts))  # next() is atomic
        finished = Tokens(0)

        def help_out() -> None:
            try:
                for number in numbers:
                    found[number] = work(number)
            except BaseException as error:
                errors.append(error)
            finally:
                finished.release()

        for helper in range(threads - 1):
            self._begin(helper, help_out)
        help_out()
        for _ in range(threads):
            finished.acquire()
        if errors:
            raise errors[0]
        return found

    def lent(self, work: Callable[[], T]) -> T:
        """What work gives, in which kernels may use the other threads."""
        token = idle.set(Idle(self.threads - 1, self._begin))
        try:
            return work()
        finally:
            idle.reset(token)

    def _begin(self, worker: int, work: Callable[[], None]) -> None:
        self._worker(worker).put(partial(copy_context().run, work))

    def _worker(self, index: int) -> "queue.SimpleQueue[Callable[[], None] | None]":
        while len(self._workers) <= index:
            jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(jobs,), daemon=True).start()
            self._workers.append(jobs)
        return self._workers[index]

    def close(self) -> None:
        for jobs in self._workers:
            jobs.put(None)
        self._workers.clear()


def _first(item: Any) -> Array:
    """An array, or the first of a tuple of arrays."""
    return item[0] if isinstance(item, tuple) else item


def _size(item: Any) -> int:
    return int(_first(item).size)


def _serve(jobs: "queue.SimpleQueue[Callable[[], None] | None]") -> None:
    while (job := jobs.get()) is not None:
        job()
        del job  # it holds the step's arrays
