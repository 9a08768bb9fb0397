"""Where the arrays of a captured step lie. Those that are not needed at the same time share memory, as they did when
they came and went."""

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field

LINE_BYTES = 64  # of the cache: a vector is read and written at once


@dataclass(slots=True)
class Room:
    """What an array needs. first, last: numbers of the calls that it is an argument of. places: where a call points to
    it, as bytes from the start of all calls, and how many bytes from its own start."""

    size_bytes: int
    first: int
    last: int
    places: list[tuple[int, int]] = field(default_factory=list)


def plan(rooms: Iterable[Room]) -> tuple[list[int], int]:
    """Where each begins, in bytes, and how many bytes all take. rooms: by their first calls.

    The first gap that is large enough, as an allocator would find it.
    """
    starts: list[int] = []
    taken: list[tuple[int, int, int]] = []  # (start, end, last call) of those that are needed now, by start
    size = 0
    for room in rooms:
        taken = [each for each in taken if each[2] >= room.first]
        needed, start = -(-room.size_bytes // LINE_BYTES) * LINE_BYTES, 0
        for begin, end, _ in taken:
            if begin - start >= needed:
                break
            start = end
        insort(taken, (start, start + needed, room.last))
        starts.append(start)
        size = max(size, start + needed)
    return starts, size
