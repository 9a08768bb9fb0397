"""Ranks that are threads of this process: all that MPI would carry goes through `pack` and `unpack`."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any, TypeVar

from builders import Silent

from dltrain.backend import Ranks
from dltrain.backend.packed import pack, unpack
from dltrain.job.job import Job
from dltrain.run.sink import Nothing
from dltrain.train.loop import fit

T = TypeVar("T")
Arrays = dict[str, Any]
PATIENCE = 60  # seconds


class Meeting:
    """Where so many threads meet. A thread that fails breaks it, so that none waits for ever."""

    def __init__(self, size: int):
        self.said: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=PATIENCE)
        self.messages = {(a, b): Queue[Any]() for a in range(size) for b in range(size)}


class Thread(Ranks):
    def __init__(self, meeting: Meeting, rank: int):
        super().__init__()
        self.meeting, self.rank, self.size = meeting, rank, len(meeting.said)
        self.hosts *= self.size

    def _all(self, own: Any) -> list[Any]:
        self.meeting.said[self.rank] = own
        self.meeting.barrier.wait()
        found = [*self.meeting.said]
        self.meeting.barrier.wait()
        return found

    def everyone(self, *numbers: float) -> list[tuple[float, ...]]:
        return self._all(tuple(map(float, numbers)))

    def gather(self, arrays: Arrays) -> list[Arrays]:
        return [unpack(packed) for packed in self._all(pack(arrays))]

    def send(self, arrays: Arrays, to: int) -> None:
        assert to < self.rank
        self.meeting.messages[self.rank, to].put(pack(arrays))

    def receive(self, source: int) -> Arrays:
        return unpack(self.meeting.messages[source, self.rank].get(timeout=PATIENCE))

    def broadcast(self, arrays: Arrays | None) -> Arrays:
        assert (arrays is not None) == self.leads
        packed = self._all(None if arrays is None else pack(arrays))[0]
        return unpack(packed) if arrays is None else arrays

    def from_first(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return self._all(work() if self.leads else None)[0]


def together(size: int, work: Callable[[Ranks], T]) -> list[T]:
    """What each rank makes of it. Raises the error of the lowest one that failed by itself."""
    meeting = Meeting(size)

    def one(rank: int) -> T:
        try:
            return work(Thread(meeting, rank))
        except BaseException:
            meeting.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(one, rank) for rank in range(size)]
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return [future.result() for future in futures]


def train_together(job_of: Callable[[], Job], size: int, threads: int = 1) -> tuple[list[Job], Silent]:
    """A whole training on so many ranks: the job of each, and what rank 0 was shown."""
    seen = Silent()

    def train(ranks: Ranks) -> Job:
        job = job_of()
        fit(job, Nothing(Path("nowhere")), threads, seen if ranks.leads else Silent(), None, ranks)
        return job

    return together(size, train), seen
