"""The whole process: the cores that it may use, and settings that training depends on."""

import ctypes
import os
import platform
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from threadpoolctl import threadpool_limits

CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")
# glibc's mallopt(3) parameters
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
MADV_HUGEPAGE = 14  # of madvise(2)
HUGE_PAGE_BYTES = 1 << 21
HEAP_BYTES = 1 << 30  # of addresses, which are no memory before somebody writes there


def cores() -> set[int]:
    """By number. Fewer than the machine has where a container, a batch system or taskset says so."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def available_cores() -> int:
    return len(cores())


def available_memory() -> int | None:
    """Bytes of the machine's memory, or fewer where a container says so; None where nobody knows."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    with suppress(OSError, ValueError):  # "max" where there is no limit
        return min(machine, int(CGROUP_MEMORY.read_text()))
    return machine


def hold_blas_to_one_thread() -> None:
    """A product split over BLAS threads adds in another order, so its bits would depend on their number."""
    threadpool_limits(limits=1, user_api="blas")


def settle() -> None:
    """What the command line asks of its whole process, before training or evaluating. A process that only calls this
    library is left as it is, but for BLAS."""
    hold_blas_to_one_thread()
    # A thread that comes back from array work would wait 5 ms for a busy one to hand over the interpreter.
    sys.setswitchinterval(1e-4)
    if platform.libc_ver()[0] == "glibc":
        # Freed arrays go back to the heap, not to the system: fresh pages cost 0.4 ms a MB.
        libc = ctypes.CDLL(None)
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1)):
            libc.mallopt(parameter, value)
        _heap_in_huge_pages()


@cache
def _heap_in_huge_pages() -> None:
    """A matrix product goes through many rows at once, each on another page of 4 KB; the processor keeps the addresses
    of some 2,000 pages at hand, which is enough with pages of 2 MB: 6 to 11 % of the time of a step of the dense net in
    benchmarks/nets.py (Zen 4, one thread). Where there are none, nothing is lost.
    """
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.free.argtypes = [ctypes.c_void_p]
    room = libc.malloc(HEAP_BYTES)  # at the end of the heap, where arrays will be
    if room:
        libc.madvise(-(-room // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES, HEAP_BYTES - HUGE_PAGE_BYTES, MADV_HUGEPAGE)
        libc.free(room)


@cache
def silence_libtiff(library: str) -> None:
    """What libtiff cannot read it says on stderr by itself, and once more as an error of Pillow. library: Pillow's
    compiled part, in which or beside which libtiff is."""
    loaded = ctypes.CDLL(library)
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if (set_handler := getattr(loaded, name, None)) is not None:
            set_handler.restype, set_handler.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
            set_handler(None)
