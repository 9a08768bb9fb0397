"""A batch is computed in shards, on several threads, and gives the same bits whatever their number.

A shard is a fixed run of examples whose size comes from the config, never from the number of cores. Its results enter a
binary tree by the shard's index, so every sum has one order: shard i is added to i^1, their sum to that of the next
pair, and so on; where a sibling is missing the value passes up unchanged. The tree adds as soon as both siblings
are there, so only about log2(shards) + 1 results are alive.

Of several ranks each computes a run of shards, adds what it can, and hands the rest up: the sums are those that one
process would make.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import numpy as np

from dltrain.backend import Idle, Ranks, idle
from dltrain.nn import Conv, ConvTranspose, Network, Networks
from dltrain.spans import WAITING, timed

Array = Any
Sums = dict[str, Array]
Place = tuple[int, int]  # in the tree: (level, index)
MIN_SHARD_MACS = 50_000_000  # forward; some milliseconds of work with the way back
MIN_IMAGES, MIN_ROWS = 32, 256  # 32 images fit the caches; a matrix product wants more rows


def auto_shard_size(model: Network | Networks, batch_size: int) -> int:
    """Examples in a shard, a function of the model and the batch alone.

    Convolutional networks: enough images that the kernels are busier than Python. Others: two shards of a batch, for
    their weights are packed once for each shard. With batch_norm the whole batch, whose statistics it is about.
    """
    if model.mixes_examples:
        return batch_size
    if not any(isinstance(layer, Conv | ConvTranspose) for layer in model.layers):
        return min(batch_size, max(MIN_ROWS, -(-batch_size // 2)))
    size = MIN_IMAGES
    while size * model.multiply_adds < MIN_SHARD_MACS:
        size *= 2
    return min(batch_size, size)


@timed("tree sums")
def add(a: Sums, b: Sums) -> Sums:
    """New arrays, never in place: a gradient may be the very array that another name holds. Empties both, so that what
    was added makes room for the next sum."""
    return {name: a.pop(name) + b.pop(name) for name in [*a]}


class Tree:
    """Adds results by index as they come in. `root` is the sum of all once the last one is in; `waiting` has what
    no sibling has come for, by (level, index)."""

    def __init__(self, count: int):
        self.count = count
        self.root: Sums | None = None
        self.waiting: dict[Place, Sums] = {}
        self._lock = threading.Lock()

    def enter(self, index: int, value: Sums) -> None:
        level, width = 0, self.count
        while width > 1:
            sibling = index ^ 1
            if sibling < width:
                with self._lock:
                    other = self.waiting.pop((level, sibling), None)
                    if other is None:
                        self.waiting[level, index] = value
                        return
                value = add(value, other) if index < sibling else add(other, value)
            level, index, width = level + 1, index >> 1, (width + 1) >> 1
        self.root = self.waiting[level, index] = value


def run_of(rank: int, ranks: int, count: int) -> range:
    """The shards of a rank, of so many. Of fewer than there are ranks some have none, but never rank 0."""
    return range(-(-rank * count // ranks), -(-(rank + 1) * count // ranks))


def owner_of(shard: int, ranks: int, count: int) -> int:
    """The rank that computes it."""
    return shard * ranks // count


def finish(ranks: Ranks, count: int, waiting: dict[Place, Sums]) -> Sums:
    """The sum over all ranks, which all get. waiting: of this rank's tree.

    Level by level a right sibling goes to whoever has the left one: a rank sends and receives once at most.
    """
    level, width = 0, count
    while width > 1:
        for index in sorted(index for at, index in waiting if at == level):
            if (level, index) not in waiting:
                continue  # added to its left sibling
            value, sibling = waiting.pop((level, index)), index ^ 1
            if sibling < width:
                whose = owner_of(sibling << level, ranks.size, count)
                if sibling < index:
                    ranks.send(value, whose)
                    continue
                value = add(value, waiting.pop((level, sibling)) if whose == ranks.rank else ranks.receive(whose))
            waiting[level + 1, index >> 1] = value
        level, width = level + 1, (width + 1) >> 1
    return ranks.broadcast(waiting.get((level, 0)))


class ThreadPool:
    """The calling thread and `threads - 1` others, on each of several ranks."""

    def __init__(self, threads: int, ranks: Ranks | None = None):
        self.threads, self.ranks = threads, ranks or Ranks()
        self._others = ThreadPoolExecutor(max(1, threads - 1), "dltrain")  # starts a thread when it first needs one

    @timed(WAITING)
    def tree_sum(self, count: int, work: Callable[[int], Sums]) -> Sums:
        """work(0) … work(count - 1), summed by the tree. Raises the error of the lowest shard that failed.

        Shards start in the order of their index, each in a copy of the caller's context (`no_grad`,
        `np.errstate`). A thread that has none left helps the kernels of the others.
        """
        if count == self.ranks.size == 1:
            with self.intra_op():
                return work(0)
        own = run_of(self.ranks.rank, self.ranks.size, count)
        tree, errors, numbers = Tree(count), dict[int, BaseException](), iter(own)  # next() is atomic
        threads = max(1, min(self.threads, len(own)))
        free = Idle(self.threads - threads)

        def compute() -> None:
            idle.set(free)
            for shard in numbers:
                try:
                    tree.enter(shard, copy_context().run(work, shard))
                except BaseException as error:  # also KeyboardInterrupt: it belongs to the caller
                    errors[shard] = error
                if errors:  # those that began before the one that failed are going on
                    break
            free.threads += 1

        others = [self._others.submit(copy_context().run, compute) for _ in range(threads - 1)]
        copy_context().run(compute)
        for other in others:
            other.result()
        if errors:
            raise errors[min(errors)]
        if self.ranks.size > 1:
            return finish(self.ranks, count, tree.waiting)
        assert tree.root is not None
        return tree.root

    def own(self, examples: Array, batch_size: int, shard_size: int) -> Array:
        """Those of all examples, cut into batches and these into shards, that this rank computes."""
        if self.ranks.size == 1:
            return examples
        parts = []
        for start in range(0, len(examples), batch_size):
            batch = examples[start : start + batch_size]
            shards = run_of(self.ranks.rank, self.ranks.size, -(-len(batch) // shard_size))
            parts.append(batch[shards.start * shard_size : shards.stop * shard_size])
        return np.concatenate(parts)

    def everyones(self, found: dict[int, tuple[Array, ...]]) -> dict[int, tuple[Array, ...]]:
        """What shards have found, by a number that each has, with that of the other ranks' shards, in order."""
        if self.ranks.size > 1:
            arrays = {f"{number}/{i}": array for number, each in found.items() for i, array in enumerate(each)}
            found = {}
            for name, array in (item for told in self.ranks.gather(arrays) for item in told.items()):
                number = int(name.partition("/")[0])
                found[number] = (*found.get(number, ()), array)
        return {number: found[number] for number in sorted(found)}

    @contextmanager
    def intra_op(self) -> Iterator[None]:
        """Inside, kernels may share one call among all threads."""
        token = idle.set(Idle(self.threads - 1))
        try:
            yield
        finally:
            idle.reset(token)

    def close(self) -> None:
        self._others.shutdown()
