"""Calls on several threads give what they give one after the other, and nobody waits for ever."""

import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from dltrain.backend.lanes import HAND_OVER, Call, Lanes, order, plan

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


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("seed", range(5))
def test_the_result_is_that_of_one_after_the_other(seed: int, count: int):
    start = np.random.default_rng(seed).random(60)
    memory = start.copy()
    for call in some_calls(seed, 120, memory):
        call.again()
    expected = memory.copy()
    calls = some_calls(seed, 120, memory)
    dice = random.Random(seed)
    before = order(calls)
    anyhow = Lanes(calls, before, {i: dice.randrange(count) for i in range(len(calls))})
    planned = Lanes(calls, before, plan(before, [dice.choice([0, 1e-3, 1]) for _ in calls], count))
    for lanes in [anyhow, planned] * 3:  # their locks are as before
        memory[...] = start
        lanes.run(begin)
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
    before = order([first, second])
    Lanes([first, second], before, {0: 0, 1: 1}).run(begin)
    assert done == ([1, 2] if waits else [2, 1])
    assert plan(before, [1.0, 1.0], 2) == {0: 0, 1: 0 if waits else 1}


def test_a_chain_beside_single_calls_takes_a_lane_for_itself():
    memory = np.zeros((9, 4))
    chain = [call(lambda: None, [memory[i]], memory[i + 1]) for i in range(4)]
    single = [call(lambda: None, [], memory[i]) for i in range(5, 9)]
    mixed = [c for both in zip(chain, single, strict=True) for c in both]
    assert plan(order(mixed), [1.0] * 8, 2) == {i: i % 2 for i in range(8)}


def test_what_much_depends_on_comes_first():
    memory = np.zeros((4, 4))
    single = [call(lambda: None, [], memory[i]) for i in (0, 1)]
    chain = [call(lambda: None, [], memory[2]), call(lambda: None, [memory[2]], memory[3])]
    assert list(plan(order([*single, *chain]), [1.0] * 4, 2).items()) == [(2, 0), (0, 1), (1, 0), (3, 1)]


def test_what_takes_less_than_to_hand_it_over_stays():
    memory = np.zeros((20, 4))
    before = order([call(lambda: None, [], row) for row in memory])
    assert plan(before, [HAND_OVER / 20] * 20, 2) == dict.fromkeys(range(20), 0)
    assert set(plan(before, [HAND_OVER * 20] * 20, 3).values()) == {0, 1, 2}


@pytest.mark.parametrize("broken", [0, 5, 9])
def test_an_error_is_raised_and_nobody_waits_for_ever(broken: int):
    memory = np.zeros((11, 4))

    def fail() -> None:
        raise MemoryError("no room")

    calls = [call(fail if i == broken else lambda: None, [memory[i]], memory[i + 1]) for i in range(10)]
    before = threading.active_count()
    with pytest.raises(MemoryError, match="no room"):
        Lanes(calls, order(calls), {i: i % 2 for i in range(10)}).run(begin)
    for _ in range(100):
        if threading.active_count() == before:
            break
        time.sleep(0.01)
    assert threading.active_count() == before
