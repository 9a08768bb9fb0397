"""Where the layers of a graph stand in a picture: below what they take, branches side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spot:
    """row: one below the lowest of the layers that are taken. lane: 0 for the first path, more to the right of it."""

    row: int
    lane: int


def arrange(sources: Mapping[str, Sequence[str]]) -> dict[str, Spot]:
    """layer -> its spot. sources: layer -> the layers that it takes, in the order in which they run.

    The first layer that takes another goes on in its lane; the next ones open lanes of their own, which are theirs down
    to where their output was taken for the last time.
    """
    rows: dict[str, int] = {}
    until: dict[str, int] = {}  # the last row before that of a layer's last user
    for name, taken in sources.items():
        rows[name] = until[name] = 1 + max((rows[source] for source in taken), default=-1)
        for source in taken:
            until[source] = max(until[source], rows[name] - 1)
    lanes: dict[str, int] = {}
    busy: dict[int, int] = {}  # lane -> its last row in use
    continued: set[str] = set()
    for name, taken in sources.items():
        open_ended = [source for source in taken if source not in continued]
        if open_ended:
            first = min(open_ended, key=lanes.__getitem__)
            continued.add(first)
            lane = lanes[first]
        else:
            lane = next(lane for lane in range(len(busy) + 1) if busy.get(lane, -1) < rows[name])
        lanes[name] = lane
        busy[lane] = max(busy.get(lane, -1), until[name])
    return {name: Spot(rows[name], lanes[name]) for name in sources}
