"""Where a batch is one shard, its other threads would be idle: they share the work of large calls instead.

A call is split into parts that do not depend on each other, so the bits are the same whoever computes which.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol


class Threads(Protocol):
    threads: int

    def share(self, parts: int, work: Callable[[int], Any]) -> list[Any]:
        """[work(0), …, work(parts - 1)], in any order."""


class Alone:
    threads = 1

    def share(self, parts: int, work: Callable[[int], Any]) -> list[Any]:
        return [work(part) for part in range(parts)]


helping: ContextVar[Threads] = ContextVar("helping", default=Alone())  # noqa: B039 (it has no state)
WORTH_SHARING = 4_000_000  # multiplications: some 100 microseconds, several times what it takes to wake a thread


def threads_for(work: int) -> int:
    """How many threads may compute a call of so many multiplications."""
    return helping.get().threads if work >= WORTH_SHARING else 1
