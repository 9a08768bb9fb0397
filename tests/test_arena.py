"""Arrays of a captured step share memory only when they are never needed at the same time."""

from hypothesis import given
from hypothesis import strategies as st

from dltrain.backend.arena import Room, plan

ROOMS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 30), st.integers(0, 10)), max_size=40)


@given(ROOMS)
def test_what_is_needed_at_once_lies_apart(wanted: list[tuple[int, int, int]]) -> None:
    rooms = sorted((Room(size, first, first + calls) for size, first, calls in wanted), key=lambda room: room.first)
    starts, size = plan(rooms)
    for i, (room, start) in enumerate(zip(rooms, starts, strict=True)):
        assert start % 64 == 0 and start + room.size_bytes <= size
        for other, beside in zip(rooms[:i], starts, strict=False):
            if other.last >= room.first:
                assert start >= beside + other.size_bytes or beside >= start + room.size_bytes


def test_what_is_over_gives_its_place_to_the_next() -> None:
    chain = [Room(1000, call, call + 1) for call in range(50)]
    assert plan(chain) == ([0, 1024] * 25, 2048)
