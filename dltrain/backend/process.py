"""The whole process: the cores that it may use, and settings that training depends on."""

import ctypes
import os
import platform
import sys

from threadpoolctl import threadpool_limits

# glibc's mallopt(3) parameters
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def available_cores() -> int:
    """Fewer than the machine has where a container, a batch system or taskset says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hold_blas_to_one_thread() -> None:
    """A product split over BLAS threads adds in another order, so its bits would depend on their number."""
    threadpool_limits(limits=1, user_api="blas")


def settle() -> None:
    """What the command line asks of its whole process, before training or evaluating."""
    hold_blas_to_one_thread()
    # A thread that comes back from array work would wait 5 ms for a busy one to hand over the interpreter.
    sys.setswitchinterval(1e-4)
    if platform.libc_ver()[0] == "glibc":
        # Freed arrays go back to the heap, not to the system: fresh pages cost 0.4 ms a MB.
        libc = ctypes.CDLL(None)
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1)):
            libc.mallopt(parameter, value)
