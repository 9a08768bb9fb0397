"""A batch is computed in shards, on several threads, and gives the same bits whatever their number.

A shard is a fixed run of examples whose size comes from the config, never from the number of cores. Its results enter a
binary tree by the shard's index, so every sum has one order: shard i is added to i^1, their sum to that of the next
pair, and so on; where a sibling is missing the value passes up unchanged. The tree adds as soon as both siblings
are there, so only about log2(shards) + 1 results are alive.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from dltrain.backend import Idle, idle
from dltrain.nn import Conv, ConvTranspose, Network, Networks
from dltrain.spans import WAITING, timed

Array = Any
Sums = dict[str, Array]
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


class ThreadPool:
    """The calling thread and `threads - 1` others."""

    def __init__(self, threads: int):
        self.threads = threads
        self._others = ThreadPoolExecutor(max(1, threads - 1), "dltrain")  # starts a thread when it first needs one

    @timed(WAITING)
    def tree_sum(self, count: int, work: Callable[[int], Sums]) -> Sums:
        """work(0) … work(count - 1), summed by the tree. Raises the error of the lowest shard that failed.

        Shards start in the order of their index, each in a copy of the caller's context (`no_grad`,
        `np.errstate`). A thread that has none left helps the kernels of the others.
        """
        if count == 1:
            with self.intra_op():
                return work(0)
        tree, errors, numbers = Tree(count), dict[int, BaseException](), iter(range(count))  # next() is atomic
        threads = min(self.threads, count)
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
        assert tree.root is not None
        return tree.root

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
