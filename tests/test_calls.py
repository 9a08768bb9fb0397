"""Calls on several threads give what they give one after the other, and nobody waits for ever."""

import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from dltrain.backend.calls import HAND_OVER, Call, Graph, order

Array = Any


def begin(number: int, work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()


def some_calls(seed: int, count: int, memory: Array) -> list[Call]:
    """Each mixes two parts of the memory, now and then slowly, into a third one; parts may overlap."""
    dice = random.Random(seed)

    def part() -> Array:
        first = dice.randrange(len(memory) - 4)
        return memory[first : first + 4]

    def mix(a: Array, b: Array, to: Array, pause: float) -> None:
        mixed = 0.7 * a + 0.2 * b + 0.1
        time.sleep(pause)
        to[...] = mixed

    found = []
    for _ in range(count):
        a, b, to = part(), part(), part()
        found.append(Call(partial(mix, a, b, to, dice.choice([0, 0, 0, 1e-4, 1e-3])), [a, b], to))
    return found


@pytest.mark.parametrize("threads", [0, 1, 2, 7])
@pytest.mark.parametrize("seed", range(5))
def test_the_result_is_that_of_one_after_the_other(seed: int, threads: int):
    start = np.random.default_rng(seed).random(60)
    memory = start.copy()
    for call in some_calls(seed, 120, memory):
        call.again()
    expected = memory.copy()
    calls, dice = some_calls(seed, 120, memory), random.Random(seed)
    for graph in [Graph(calls, [dice.choice([0, 1e-3, 1]) for _ in calls])] * 3:  # the next time all is as before
        memory[...] = start
        graph.run(begin, threads)
        np.testing.assert_array_equal(memory, expected)


def call(again: Callable[[], Any], reads: list[Array], writes: Array) -> Call:
    return Call(again, reads, writes)


A, B, C = np.zeros(4), np.zeros(4), np.zeros(4)
TABLE = np.zeros((4, 6))
# name -> (what two calls read and write, whether the second has to wait for the first)
HAZARDS: dict[str, tuple[list[Array], Array, list[Array], Array, bool]] = {
    "nothing in common": ([A[:2]], A[2:], [B[:2]], B[2:], False),
    "both read": ([A], B, [A], C, False),
    "reads what was written": ([A], B, [B], C, True),
    "overwrites what was read": ([A], B, [C], A, True),
    "overwrites what was written": ([A], C, [B], C, True),
    "a part of it": ([A], B, [B[3:]], C, True),
    "neighbours": ([A], B[:2], [B[2:]], C, False),
    "columns side by side": ([A], TABLE[:, :3], [TABLE[:, 3:]], C, False),
    "a column in common": ([A], TABLE[:, :4], [TABLE[:, 3:]], C, True),
    "a row across columns": ([A], TABLE[:, :3], [TABLE[2]], C, True),
}


@pytest.mark.parametrize("name", HAZARDS)
def test_who_waits(name: str):
    reads1, writes1, reads2, writes2, waits = HAZARDS[name]
    done: list[int] = []
    begun = threading.Event()  # by the second: the first one waits for it, in vain where it has to be over before
    first = call(lambda: (begun.wait(0.05 if waits else 30), done.append(1)), reads1, writes1)
    second = call(lambda: (done.append(2), begun.set()), reads2, writes2)
    assert order([first, second]) == [[], [0] if waits else []]
    graph = Graph([first, second], [1.0, 1.0])
    graph.run(begin, 1)
    assert done == ([1, 2] if waits else [2, 1])
    assert graph.is_worth_it is not waits


def test_what_much_depends_on_comes_first():
    memory, done = np.zeros((5, 4)), []
    reads_of = [[], [], [], [2], [3]]
    calls = [call(partial(done.append, i), [memory[j] for j in of], memory[i]) for i, of in enumerate(reads_of)]
    Graph(calls, [1.0, 2.0, 1.0, 1.0, 1.0]).run(begin, 0)
    assert done == [2, 3, 4, 1, 0]


def test_who_waits_for_several_comes_after_all_of_them():
    """The last of them is over long after the others, whoever does it."""
    memory, done = np.zeros((6, 4)), []

    def work(i: int, pause: float) -> None:
        time.sleep(pause)
        done.append(i)

    for slow in range(5):
        done.clear()
        calls = [call(partial(work, i, 0.02 if i == slow else 0), [], memory[i]) for i in range(5)]
        calls.append(call(partial(work, 5, 0), [memory[i] for i in range(5)], memory[5]))
        Graph(calls, [1.0] * 6).run(begin, 2)
        assert done[-1] == 5 and sorted(done) == [*range(6)]


def test_what_takes_less_than_to_hand_it_over_is_not_worth_it():
    calls = [call(lambda: None, [], row) for row in np.zeros((20, 4))]
    assert not Graph(calls, [HAND_OVER / 20] * 20).is_worth_it
    assert Graph(calls, [HAND_OVER] * 20).is_worth_it


@pytest.mark.parametrize("broken", [0, 5, 9, None])
def test_an_error_is_raised_and_nobody_waits_for_ever(broken: int | None):
    memory = np.zeros((11, 4))

    def fail() -> None:
        raise MemoryError("no room")

    calls = [call(fail if i == broken else lambda: None, [memory[i]], memory[i + 1]) for i in range(10)]
    before, graph = threading.active_count(), Graph(calls, [1.0] * 10)
    for _ in range(2):
        if broken is None:
            graph.run(begin, 3)
        else:
            with pytest.raises(MemoryError, match="no room"):
                graph.run(begin, 3)
    for _ in range(100):
        if threading.active_count() == before:
            break
        time.sleep(0.01)
    assert threading.active_count() == before
