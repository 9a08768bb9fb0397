"""Idle threads share the large calls of a lone shard, and nobody sees it in the bits."""

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from native_calls import RELU, outputs, values

from dltrain.backend import Kernels, helping, share
from dltrain.backend.compiled import load
from dltrain.backend.device import CPU_PIECE
from dltrain.backend.native import NativeKernels
from dltrain.errors import DeviceError
from dltrain.train.shards import Crew
from dltrain.window import Window

Array = Any


@pytest.fixture(scope="module")
def native() -> Kernels:
    try:
        return NativeKernels(load(), CPU_PIECE)
    except DeviceError as error:
        pytest.skip(str(error))


def calls(kernels: Kernels) -> dict[str, Array]:
    """What conv, dense and their gradients give, for sizes on which threads do not divide evenly."""
    found = {}
    for channels in (5, 16):  # direct, and by Winograd's filtering
        x, w, b = values(7, 9, 8, channels), values(3, 3, channels, 32, seed=1), values(32, seed=2)
        window, y = Window.of((9, 8), 3, 1, "same"), outputs(7, 9, 8, 32)
        found[f"conv {channels}"] = kernels.conv(x, w, window, 1, b, RELU)
        for i, grad in enumerate(kernels.conv_grad(y, x, w, y, window, 1, RELU, [True, True, True])):
            found[f"conv_grad {channels} {i}"] = grad
    x, w, b, y = values(13, 70), values(70, 67, seed=1), values(67, seed=2), outputs(13, 67)
    found["dense"] = kernels.dense(x, w, b, RELU)
    for i, grad in enumerate(kernels.dense_grad(y, x, w, y, RELU, [True, True, True])):
        found[f"dense_grad {i}"] = grad
    return found


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_the_same_bits(threads: int, native: Kernels) -> None:
    alone, crew, used = calls(native), Crew(threads), set()

    def counted(parts: int, work: Any) -> Any:
        used.add(parts)
        return Crew.share(crew, parts, work)

    with patch.object(share, "WORTH_SHARING", 1), patch.object(crew, "share", counted):
        together = crew.run(1, lambda shard: calls(native))
    crew.close()
    assert used == {threads}
    for name, expected in alone.items():
        np.testing.assert_array_equal(together[name], expected, err_msg=name)


def test_only_a_lone_shard_and_large_calls(native: Kernels) -> None:
    with patch.object(share, "WORTH_SHARING", 1):
        crew = Crew(2)
        counts = crew.run(2, lambda shard: {"threads": np.array(share.threads_for(10))})
        assert counts["threads"] == 2  # 1 for each of the shards, added
        assert crew.run(1, lambda shard: {"threads": np.array(share.threads_for(10))})["threads"] == 2
        assert share.threads_for(10) == 1 and helping.get().threads == 1
        crew.close()
    assert share.threads_for(share.WORTH_SHARING - 1) == 1


def test_an_error_of_a_part_is_the_caller_s() -> None:
    def work(part: int) -> int:
        if part == 2:
            raise MemoryError("part 2")
        return part

    crew = Crew(3)
    assert crew.share(2, work) == [0, 1]
    with pytest.raises(MemoryError, match="part 2"):
        crew.share(4, work)
    crew.close()
