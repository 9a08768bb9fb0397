"""Shards that need each other: the sum that all wait for, and what happens when one of them does not come."""

import itertools
import random
import threading
import time
from typing import Any

import numpy as np
import pytest
from builders import parts, tree_sum

from dltrain.engine import Tensor, gradients
from dltrain.ops import total
from dltrain.train.shards import Crew

Sums = dict[str, Any]


@pytest.mark.parametrize("threads", [1, 4])
def test_total_is_the_sum_in_tree_order_and_its_own_backward(threads: int) -> None:
    values, weights = parts(5), parts(5, seed=1)
    given: dict[int, tuple[Any, Any]] = {}

    def work(shard: int) -> Sums:
        x = Tensor(values[shard])
        y = total(x, name="batch_norm1")
        (gradient,) = gradients((y * weights[shard]).sum(), [x])
        given[shard] = (y.data, gradient)
        return {"x": np.ones(1)}

    Crew(threads).run(5, work)
    for y, gradient in given.values():
        assert y.tobytes() == tree_sum(values).tobytes()
        assert gradient.tobytes() == tree_sum(weights).tobytes()


def test_total_is_the_identity_outside_of_a_step_and_with_one_shard() -> None:
    def work(shard: int = 0) -> Sums:
        x = Tensor(np.arange(3.0))
        y = total(x, name="a")
        (gradient,) = gradients((y * 2).sum(), [x])
        return {"y": y.data, "gradient": gradient}

    for found in (work(), Crew(2).run(1, work)):
        assert np.array_equal(found["y"], [0, 1, 2]) and np.array_equal(found["gradient"], [2, 2, 2])


# --- failing shards ---------------------------------------------------------------------------------------------------


class ShardError(Exception):
    pass


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("waiting", [False, True])
def test_the_lowest_shards_own_error_is_raised(threads: int, waiting: bool) -> None:
    def work(shard: int) -> Sums:
        if shard == 2:
            time.sleep(5e-3)
        if shard in (2, 5):
            raise ShardError(shard)
        if waiting:
            total(Tensor(1.0), name="a")
        return {"x": np.ones(1)}

    crew = Crew(threads)
    with pytest.raises(ShardError) as caught:
        crew.run(7, work)
    assert caught.value.args == (2,)
    assert crew.run(7, lambda shard: {"x": np.ones(1)})["x"] == 7, "the crew works on after a failure"


def test_an_error_right_after_a_total_is_still_the_lowest_shards() -> None:
    """The shard that comes last and fails at once must not take away the total that the others wait for."""
    crew = Crew(4)

    def work(shard: int) -> Sums:
        if shard == 3:
            time.sleep(2e-4)
        total(Tensor(1.0), name="a")
        raise ShardError(shard)

    for _ in range(300):
        with pytest.raises(ShardError) as caught:
            crew.run(4, work)
        assert caught.value.args == (0,)


def test_an_interruption_in_a_shard_belongs_to_the_caller() -> None:
    def work(shard: int) -> Sums:
        if shard == 1:
            raise KeyboardInterrupt
        return {"x": np.ones(1)}

    with pytest.raises(KeyboardInterrupt):
        Crew(2).run(3, work)


def trial(kind: str, count: int, threads: int, odd: int, rng: random.Random) -> Any:
    """One step of five totals in which one shard behaves oddly; returns the sum or the error, or None if it hangs."""
    fewer = rng.randrange(5)
    delays = [[rng.random() * 1e-3 if rng.random() < 0.2 else 0 for _ in range(6)] for _ in range(count)]
    crew, outcome = Crew(threads), []

    def work(shard: int) -> Sums:
        mine = shard == odd
        rounds = 5 if not mine else {"fewer": fewer, "more": 6}.get(kind, 5)
        y = Tensor(np.ones(2))
        for i in range(rounds):
            time.sleep(delays[shard][i])
            if mine and kind == "raise" and i == 3:
                raise ShardError(shard)
            y = total(y, name="other" if mine and kind == "name" and i == 2 else f"layer{i}")
        return {"x": y.data}

    def run() -> None:
        try:
            outcome.append(crew.run(count, work)["x"])
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    crew.close()
    return outcome[0] if outcome else None


def test_no_odd_shard_hangs_the_others_and_all_are_reported_right() -> None:
    rng = random.Random(0)
    kinds = itertools.cycle(["fewer", "more", "name", "raise", "good"])
    for number, kind in zip(range(300), kinds, strict=False):
        count, threads = rng.choice([2, 3, 4, 7, 16]), rng.choice([1, 2, 4])
        odd = rng.randrange(count)
        found = trial(kind, count, threads, odd, rng)
        said = f"trial {number}: {kind}, {count} shards, {threads} threads, odd shard {odd}: {found!r}"
        assert found is not None, f"hangs in {said}"
        if kind == "good":
            assert np.array_equal(found, np.full(2, float(count) ** 6)), said
        elif kind == "raise":
            assert isinstance(found, ShardError) and found.args == (odd,), said
        else:
            assert isinstance(found, RuntimeError), said
            expected = {
                "name": "shards disagree about which total comes next: layer2, other",
                "fewer": "",
                "more": f"shard {odd} asks for the total of 'layer5'",
            }[kind]
            assert expected in str(found) or "a shard ended while others wait for a total" in str(found), said
