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
from dltrain.ops import total
from dltrain.optim import OPTIMIZERS
from dltrain.spec import load, loads, settle
from dltrain.spec.job import build_model
from dltrain.train import shards
from dltrain.train.shards import Crew, Tree, auto_shard_size

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


# --- the crew ---------------------------------------------------------------------------------------------------------


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


def test_an_unordered_sum_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "Tree", Unordered)
    assert len(all_sums(7)) > 1


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_shards_start_in_order_and_no_more_than_the_threads_compute(threads: int) -> None:
    lock, running, most, started = threading.Lock(), 0, 0, []
    first_ones = threading.Barrier(threads)  # they all have a permit: nobody else may begin before they have

    def change(by: int) -> None:
        nonlocal running, most
        with lock:
            running += by
            most = max(most, running)

    def work(shard: int) -> Sums:
        with lock:
            started.append(shard)
        if shard < threads:
            first_ones.wait(30)
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
    assert len(started) == 7


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
    assert threading.active_count() == before + 4, "a thread for each shard but the last, kept for the next step"
    crew.close()
    for _ in range(200):
        if threading.active_count() == before:
            return
        time.sleep(0.01)
    raise AssertionError("threads are left")


# --- shard size -------------------------------------------------------------------------------------------------------


def test_the_shard_size_follows_from_model_and_batch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, dense = build(EVERY_LAYER["deep"], (8, 8, 1)), build(SMALL, (5,))
    for cores in (1, 64):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)), raising=False)
        assert [auto_shard_size(conv, n, True, False) for n in (1, 20, 32, 128, 1 << 20)] == [1, 20, 32, 128, 1 << 14]
        assert [auto_shard_size(conv, n, False, True) for n in (1, 20, 32, 40, 128, 1000)] == [1, 20, 32, 32, 32, 32]
        large = build_model(load("cifar_cnn"))
        assert [auto_shard_size(large, n, True, False) for n in (1, 20, 32, 128, 1000)] == [1, 20, 32, 32, 32]
        assert [auto_shard_size(dense, n, True, False) for n in (1, 64, 100, 128, 1001)] == [1, 64, 100, 128, 501]
        assert [auto_shard_size(dense, n, False, False) for n in (1, 64, 100, 128, 1001)] == [1, 64, 64, 64, 501]
        assert [auto_shard_size(dense, n, False, True) for n in (1, 64, 1001)] == [1, 64, 1001]


MLP = """
data: digits
model: {layers: [flatten, {dense: 20}, {dense: {units: 10, activation: none}}]}
train: {batch_size: 100}
"""


@pytest.mark.usefixtures("chosen_kernels", "scratch_registries")
def test_a_dense_net_is_one_shard_where_its_calls_are_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere one shard would leave the other threads idle."""
    choose_kernels("numpy")

    def size(text: str = MLP) -> object:
        return settle(loads(text), open_device("cpu")).train.shard_size

    assert size() == 100
    assert size(MLP.replace("digits", "{digits: {mixup: 0.2}}")) == 64
    OPTIMIZERS.register("of_a_plugin")(type("Own", (OPTIMIZERS["sgd"],), {"__module__": "elsewhere"}))
    assert size(MLP + "optimizer: of_a_plugin\n") == 64
    monkeypatch.setattr("dltrain.train.step.SHORT_IN_NUMPY", 100_000)  # multiplications
    assert size() == 64
