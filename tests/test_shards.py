"""The sum over shards has one order, whatever the threads do; and a failing shard never hangs the others."""

import itertools
import math
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ClassVar

import numpy as np
import pytest
from builders import EVERY_LAYER, SMALL, build
from hypothesis import given, settings
from hypothesis import strategies as st

from dltrain.engine import Tensor, gradients, no_grad
from dltrain.ops import total
from dltrain.train import shards
from dltrain.train.shards import Crew, Tree, auto_shard_size

Sums = dict[str, Any]


def tree_sum(values: list[Any]) -> Any:
    """The definition: neighbours are added, then the neighbouring sums, and so on; who has no sibling goes up as is."""
    if len(values) == 1:
        return values[0]
    pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
    return tree_sum([pair[0] + pair[1] if len(pair) == 2 else pair[0] for pair in pairs])


class Term:
    """Remembers how it was added up."""

    alive: ClassVar["weakref.WeakSet[Term]"] = weakref.WeakSet()

    def __init__(self, text: str):
        self.text = text
        Term.alive.add(self)

    def __add__(self, other: "Term") -> "Term":
        return Term(f"({self.text}+{other.text})")


# --- the tree ---------------------------------------------------------------------------------------------------------


@given(st.integers(1, 40).flatmap(lambda n: st.permutations(range(n))))
@settings(deadline=None)
def test_the_tree_is_the_recursive_sum_in_whatever_order_results_arrive(order: list[int]) -> None:
    tree = Tree(len(order))
    for done, i in enumerate(order):
        assert tree.root is None, f"complete after {done} of {len(order)}"
        tree.enter(i, {"x": Term(str(i))})
    assert tree.root is not None
    assert tree.root["x"].text == tree_sum([Term(str(i)) for i in range(len(order))]).text


def test_examples_of_the_order() -> None:
    def text(n: int) -> str:
        tree = Tree(n)
        for i in range(n):
            tree.enter(i, {"x": Term("abcdefg"[i])})
        assert tree.root is not None
        return str(tree.root["x"].text)

    assert [text(n) for n in range(1, 8)] == [
        "a", "(a+b)", "((a+b)+c)", "((a+b)+(c+d))", "(((a+b)+(c+d))+e)", "(((a+b)+(c+d))+(e+f))",
        "(((a+b)+(c+d))+((e+f)+g))",
    ]  # fmt: skip


def test_who_has_no_sibling_passes_up_unchanged() -> None:
    tree, last = Tree(5), {"x": np.array([-0.0])}
    tree.enter(4, last)
    for i in range(4):
        tree.enter(i, {"x": np.array([-0.0])})
    assert tree.root is not None and np.signbit(tree.root["x"][0]), "an added zero would have made this +0"
    alone = Tree(1)
    alone.enter(0, last)
    assert alone.root is last


@pytest.mark.parametrize("n", [1, 2, 3, 8, 31, 64, 100])
def test_about_log2_of_the_results_are_alive(n: int) -> None:
    tree, peak = Tree(n), 0
    for i in range(n):
        tree.enter(i, {"x": Term("x")})
        peak = max(peak, len(Term.alive))
    assert peak <= math.ceil(math.log2(n)) + 1


def test_adding_never_changes_what_was_entered() -> None:
    values = [np.full(3, float(i)) for i in range(6)]
    tree = Tree(6)
    for i, value in enumerate(values):
        tree.enter(i, {"a": value, "b": value})
    assert [v[0] for v in values] == [0, 1, 2, 3, 4, 5]


# --- the crew ---------------------------------------------------------------------------------------------------------


def parts(count: int, seed: int = 0) -> list[np.ndarray]:
    """float32 numbers of very different sizes: in another order they give another sum."""
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal(500) * 10.0 ** rng.uniform(-3, 3, 500)).astype(np.float32) for _ in range(count)]


def sums_of(threads: int, count: int, delay: Callable[[int], float]) -> bytes:
    values, crew = parts(count), Crew(threads)

    def work(shard: int) -> Sums:
        time.sleep(delay(shard))
        return {"x": values[shard]}

    try:
        return bytes(crew.run(count, work)["x"].tobytes())
    finally:
        crew.close()


def all_sums(count: int) -> set[bytes]:
    """Over threads and delays; the last delays make four threads finish from the last shard to the first."""
    rng = random.Random(0)
    found = {sums_of(threads, count, lambda shard: rng.random() * 2e-3) for threads in (1, 2, 3, 4) for _ in range(3)}
    return found | {sums_of(4, count, lambda shard: (count - shard) * 3e-3), sums_of(1, count, lambda shard: 0)}


@pytest.mark.parametrize("count", [4, 7])
def test_the_bits_of_a_sum_depend_neither_on_threads_nor_on_delays(count: int) -> None:
    assert all_sums(count) == {tree_sum(parts(count)).tobytes()}


class Unordered:
    """What the tree must not be: adds results as they come."""

    def __init__(self, count: int):
        self.root: Sums | None = None
        self._lock = threading.Lock()

    def enter(self, index: int, value: Sums) -> None:
        with self._lock:
            self.root = value if self.root is None else shards.add(self.root, value)


def test_an_unordered_sum_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "Tree", Unordered)
    assert len(all_sums(7)) > 1


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_shards_start_in_order_and_no_more_than_the_threads_compute(threads: int) -> None:
    lock, running, most, started = threading.Lock(), 0, 0, []

    def change(by: int) -> None:
        nonlocal running, most
        with lock:
            running += by
            most = max(most, running)

    def work(shard: int) -> Sums:
        with lock:
            started.append(shard)
        change(1)
        time.sleep(1e-3)
        change(-1)  # it gives up its permit while it waits
        total(Tensor(1.0), name="a")
        change(1)
        time.sleep(1e-3)
        change(-1)
        return {"x": np.ones(1)}

    Crew(threads).run(7, work)
    assert most <= threads
    assert started == sorted(started) if threads == 1 else set(started[:threads]) == set(range(threads))


def test_workers_run_in_a_copy_of_the_callers_context() -> None:
    own: ContextVar[str] = ContextVar("own", default="default")
    own.set("the caller's")
    seen = []

    def work(shard: int) -> Sums:
        seen.append((own.get(), np.geterr()["over"], (Tensor(1.0) * 2).node))
        own.set("changed by a shard")
        return {"x": np.ones(1)}

    with no_grad(), np.errstate(over="call"):
        Crew(2).run(4, work)
    assert seen == [("the caller's", "call", None)] * 4
    assert own.get() == "the caller's"


def test_threads_end_when_the_crew_is_closed() -> None:
    before, crew = threading.active_count(), Crew(2)
    crew.run(5, lambda shard: {"x": np.ones(1)})
    crew.run(3, lambda shard: {"x": np.ones(1)})
    assert threading.active_count() == before + 5, "a thread for each shard, kept for the next step"
    crew.close()
    for _ in range(200):
        if threading.active_count() == before:
            return
        time.sleep(0.01)
    raise AssertionError("threads are left")


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


# --- total ------------------------------------------------------------------------------------------------------------


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


# --- shard size -------------------------------------------------------------------------------------------------------


def test_the_shard_size_follows_from_model_and_batch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, dense = build(EVERY_LAYER["deep"], (8, 8, 1)), build(SMALL, (5,))
    for cores in (1, 64):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)), raising=False)
        assert [auto_shard_size(conv, n) for n in (1, 20, 32, 128, 1000)] == [1, 20, 32, 32, 32]
        assert [auto_shard_size(dense, n) for n in (1, 64, 100, 128, 1001)] == [1, 64, 64, 64, 501]
