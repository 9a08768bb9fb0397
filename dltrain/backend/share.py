"""A step with no shards left to begin has idle threads: the kernels in C share the work of a call among them.

A call is split into parts that do not depend on each other (c/threads.c), so it does not matter who computes which.
"""

from contextvars import ContextVar


class Idle:
    """threads: so many have nothing else to do. It may change at any moment."""

    def __init__(self, threads: int):
        self.threads = threads


_nobody = Idle(0)
idle: ContextVar[Idle] = ContextVar("idle", default=_nobody)
WORTH_SHARING = 1_000_000  # multiplications: some 20 microseconds, several times what it takes to hand over a part


def threads_for(work: int) -> int:
    """How many threads may compute a call of so many multiplications."""
    return 1 + idle.get().threads if work >= WORTH_SHARING else 1
