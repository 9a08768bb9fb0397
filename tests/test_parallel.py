"""The sum over shards has one order, whatever the threads do."""

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
from builders import EVERY_LAYER, SMALL, Unordered, build, parts, tree_sum
from hypothesis import given, settings
from hypothesis import strategies as st

from dltrain.backend import choose_kernels, open_device
from dltrain.engine import Tensor, no_grad
from dltrain.job import parallel
from dltrain.job.parallel import ThreadPool, Tree, auto_shard_size
from dltrain.spec import load, settle
from dltrain.spec.job import build_model

Sums = dict[str, Any]


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


# --- the pool ---------------------------------------------------------------------------------------------------------


def sums_of(threads: int, count: int, delay: Callable[[int], float]) -> bytes:
    values, pool = parts(count), ThreadPool(threads)

    def work(shard: int) -> Sums:
        time.sleep(delay(shard))
        return {"x": values[shard]}

    try:
        return bytes(pool.tree_sum(count, work)["x"].tobytes())
    finally:
        pool.close()


def all_sums(count: int) -> set[bytes]:
    """Over threads and delays; the last delays make four threads finish from the last shard to the first."""
    rng = random.Random(0)
    found = {sums_of(threads, count, lambda shard: rng.random() * 2e-3) for threads in (1, 2, 3, 4) for _ in range(3)}
    return found | {sums_of(4, count, lambda shard: (count - shard) * 3e-3), sums_of(1, count, lambda shard: 0)}


@pytest.mark.parametrize("count", [4, 7])
def test_the_bits_of_a_sum_depend_neither_on_threads_nor_on_delays(count: int) -> None:
    assert all_sums(count) == {tree_sum(parts(count)).tobytes()}


def test_an_unordered_sum_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "Tree", Unordered)
    assert len(all_sums(7)) > 1


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_shards_start_in_order_and_no_more_than_the_threads_compute(threads: int) -> None:
    lock, running, most, started = threading.Lock(), 0, 0, []
    first_ones = threading.Barrier(threads)  # as many as there are threads compute at the same time

    def work(shard: int) -> Sums:
        nonlocal running, most
        with lock:
            started.append(shard)
            running += 1
            most = max(most, running)
        if shard < threads:
            first_ones.wait(30)
        time.sleep(1e-3)
        with lock:
            running -= 1
        return {"x": np.ones(1)}

    pool = ThreadPool(threads)
    pool.tree_sum(7, work)
    pool.close()
    assert most == threads
    assert sorted(started) == list(range(7)) and set(started[:threads]) == set(range(threads))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_error_is_that_of_the_lowest_shard_that_failed_and_no_more_are_begun(threads: int) -> None:
    started, third_failed = [], threading.Event()

    def work(shard: int) -> Sums:
        started.append(shard)
        if shard == 1 and threads == 3:
            third_failed.wait(30)
        if shard in (1, 2):
            third_failed.set()
            raise MemoryError(f"shard {shard}")
        return {"x": np.ones(1)}

    pool = ThreadPool(threads)
    with pytest.raises(MemoryError, match="shard 1"):
        pool.tree_sum(50, work)
    assert len(started) < 50
    assert pool.tree_sum(3, lambda shard: {"x": np.ones(1)})["x"] == 3, "it goes on"
    pool.close()


def test_workers_run_in_a_copy_of_the_callers_context() -> None:
    own: ContextVar[str] = ContextVar("own", default="default")
    own.set("the caller's")
    seen = []

    def work(shard: int) -> Sums:
        seen.append((own.get(), np.geterr()["over"], (Tensor(1.0) * 2).node))
        own.set("changed by a shard")
        return {"x": np.ones(1)}

    with no_grad(), np.errstate(over="call"):
        ThreadPool(2).tree_sum(4, work)
    assert seen == [("the caller's", "call", None)] * 4
    assert own.get() == "the caller's"


def test_threads_end_when_the_pool_is_closed() -> None:
    before, pool = {*threading.enumerate()}, ThreadPool(3)
    for count in (5, 3):
        pool.tree_sum(count, lambda shard: {"x": np.ones(1)})
    begun = {*threading.enumerate()} - before
    assert 1 <= len(begun) <= 2, "the calling thread is one of three"
    pool.close()
    assert not any(thread.is_alive() for thread in begun)


# --- shard size -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("chosen_kernels")
def test_the_shard_size_follows_from_model_and_batch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, dense, large = build(EVERY_LAYER["deep"], (8, 8, 1)), build(SMALL, (5,)), build_model(load("cifar_cnn"))
    for cores, kernels in ((1, "numpy"), (64, "auto")):
        choose_kernels(kernels)
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)), raising=False)
        assert [auto_shard_size(conv, n) for n in (1, 20, 32, 128, 1 << 20)] == [1, 20, 32, 128, 1 << 14]
        assert [auto_shard_size(large, n) for n in (1, 20, 32, 128, 1000)] == [1, 20, 32, 32, 32]
        assert [auto_shard_size(dense, n) for n in (1, 64, 100, 128, 1001)] == [1, 64, 100, 128, 501]
        settled = [settle(load(name), open_device("cpu")).train.shard_size for name in ("digits_cnn", "penguins_mlp")]
        assert settled == [64, 32]
