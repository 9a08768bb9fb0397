"""Where a batch is one shard, the other threads would be idle: the kernels in C share the work of a call among them.

A call is split into parts that do not depend on each other (c/team.h), so the bits are the same whoever computes which.
"""

from contextvars import ContextVar

idle: ContextVar[int] = ContextVar("idle", default=0)  # threads with nothing else to do
WORTH_SHARING = 1_500_000  # multiplications: some 30 microseconds, several times what it takes to hand over a part


def threads_for(work: int) -> int:
    """How many threads may compute a call of so many multiplications."""
    return 1 + idle.get() if work >= WORTH_SHARING else 1
