"""The kernels in C share the calls of a lone shard among idle threads, and nobody sees it in the bits."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import native_calls
import numpy as np
import pytest
from native_calls import Call, bits_of, calls

from dltrain.backend import Idle, idle, share
from dltrain.backend.compiled import Library, load
from dltrain.errors import DeviceError
from dltrain.job.parallel import ThreadPool

Array = Any
SHARED = {
    "conv", "conv_grad", "conv_transpose", "dense", "dense_grad", "max_pool", "max_pool_grad", "average_pool",
    "average_pool_grad", "standardise", "standardise_grad", "combine", "sum_middle", "assign",
    "recurrent", "recurrent_grad", "attention", "attention_grad", "gelu", "cross_entropy",
    "activate", "activate_grad", "philox", "observe", "square_sum", "sgd", "momentum", "nesterov", "adam",
}  # fmt: skip


@pytest.fixture(scope="module")
def compiled() -> Library:
    try:
        return load()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def always_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "WORTH_SHARING", 0)


class Watched:
    """A library that notes how many threads each of its functions may use."""

    def __init__(self, compiled: Library):
        self.compiled, self.instruction_set = compiled, compiled.instruction_set
        self.threads: dict[str, set[int]] = {}

    def __call__(self, name: str, work: int) -> Any:
        def call(*arguments: Any) -> Any:
            if name in SHARED:
                self.threads.setdefault(name, set()).add(arguments[-1])
            return self.compiled.free[name](*arguments)

        return call


def some() -> list[Call]:
    table = list(calls())
    return [call for name in sorted(SHARED) for call in [call for call in table if call.function == name][::3]]


def together(library: Any, threads: int, table: list[Call]) -> list[str]:
    token = idle.set(Idle(threads - 1))
    try:
        return bits_of(library, table)
    finally:
        idle.reset(token)


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_the_same_bits(threads: int, compiled: Library) -> None:
    watched, table = Watched(compiled), some()
    for call, alone, shared in zip(table, bits_of(compiled, table), together(watched, threads, table), strict=True):
        assert alone == shared, call
    assert watched.threads == {name: {threads} for name in SHARED}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux lists them")
def test_threads_of_its_own(compiled: Library) -> None:
    """In a process that has just begun, so that nobody else's are counted: forked, it has none of its parent's."""
    table = some()[:40]
    expected = together(compiled, 3, table)
    reading, writing = os.pipe()
    if not (child := os.fork()):
        before = len(os.listdir("/proc/self/task"))
        right = together(compiled, 3, table) == expected
        os.write(writing, f"{right} {len(os.listdir('/proc/self/task')) - before}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"True 2"


def test_several_that_ask_at_once(compiled: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """One has the helpers, the others do without."""
    monkeypatch.setattr(native_calls, "poisoned", nullcontext)  # patched by several at once, numpy would stay so
    table = some()[:200]
    expected = bits_of(compiled, table)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: together(compiled, 2, table), range(12)):
            assert found == expected


def test_only_threads_without_a_shard() -> None:
    pool, both = ThreadPool(2), threading.Barrier(2, timeout=30)

    def work(shard: int) -> dict[str, Any]:
        both.wait()
        found = share.threads_for(10)
        both.wait()
        return {"threads": np.array(found)}

    assert pool.tree_sum(2, work)["threads"] == 2  # 1 for each of the shards, added
    assert pool.tree_sum(1, lambda shard: {"threads": np.array(share.threads_for(10))})["threads"] == 2
    assert share.threads_for(10) == 1
    pool.close()


def test_only_large_calls() -> None:
    token = idle.set(Idle(3))
    with patch.object(share, "WORTH_SHARING", 100):
        assert (share.threads_for(99), share.threads_for(100)) == (1, 4)
    idle.reset(token)


def test_who_has_no_shard_left_helps_with_the_others() -> None:
    pool = ThreadPool(2)

    def work(shard: int) -> dict[str, Any]:
        patience = time.monotonic() + 30
        while shard == 2 and idle.get().threads < 1 and time.monotonic() < patience:
            time.sleep(0.001)
        return {"helpers": np.array([idle.get().threads])}

    assert pool.tree_sum(3, work)["helpers"] == 1, "none until two shards are done"
    pool.close()
