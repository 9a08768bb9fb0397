"""Winograd's filtering multiplies less; it must convolve, and not be much less exact than what is written down."""

from functools import partial
from itertools import product
from typing import Any

import numpy as np
import plain
import pytest
from native_calls import PLAIN, values

from dltrain.backend import Kernels, Now, Scripts, choose_kernels, kernels, winograd, winograd_lines
from dltrain.backend.calls import Graph
from dltrain.backend.tape import MEASUREMENTS, record
from dltrain.engine import distinct
from dltrain.errors import ShapeError
from dltrain.train.shards import Crew
from dltrain.window import Window

Array = Any


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """In numpy too, however few channels there are."""
    monkeypatch.setattr(winograd, "WORTH_IT", 1)
    monkeypatch.setattr(winograd, "WORTH_IT_BACKWARD", 1)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """In numpy along one dimension, however few channels there are."""
    monkeypatch.setattr(winograd, "fits", lambda *call: False)
    monkeypatch.setattr(winograd_lines, "WORTH_IT", 1)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "fits", lambda *call: False)
    monkeypatch.setattr(winograd_lines, "fits", lambda *call: False)


def against_loops(way: Any, wide: int, padding: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and both gradients: odd and even sizes, tiles that reach over the edge, pieces of unequal size."""
    taken = []
    monkeypatch.setattr(way, "_pieces", lambda *call, pieces=way._pieces: taken.append(0) or pieces(*call))
    for size in product((1, 3, 4, 6), (2, 3, 5, 8)):
        try:
            window = Window.of(size, (3, wide), 1, padding)
        except ShapeError:
            continue
        x, w = distinct(5, *size, 3), distinct(3, wide, 3, 2, seed=1)
        wanted = plain.conv(x, w, 1, padding, 1, 1)
        g = distinct(*wanted.shape, seed=2)
        dx, dw = plain.conv_grads(g, x, w, 1, padding, 1, 1)
        taken.clear()
        y = PLAIN.conv(x, w, window, 1, None, None)
        found = [y, *PLAIN.conv_grad(g, x, w, y, window, 1, None, [True, True, False])[:2]]
        wider = any(before > kernel - 1 for (before, _), kernel in zip(window.padding, window.kernel, strict=True))
        assert len(taken) == (2 if wider else 3), "of more padding the adjoint is no convolution"
        for ours, loops in zip(found, (wanted, dx, dw), strict=True):
            np.testing.assert_allclose(ours, loops, rtol=1e-11, atol=1e-11, err_msg=f"{size}")


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("tiles", [1, 12, 256])
@pytest.mark.parametrize("padding", ["same", "valid", 1, 2, (1, 0), (0, 3)])
def test_in_numpy_against_loops(padding: Any, tiles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "TILES", tiles)
    against_loops(winograd, 3, padding, monkeypatch)


@pytest.mark.usefixtures("lines")
@pytest.mark.parametrize("numbers", [1, 200, 144 << 10])
@pytest.mark.parametrize("wide", [1, 2, 3, 5])
@pytest.mark.parametrize("padding", ["same", "valid", 1, 2, (1, 0), (0, 3), (3, 1)])
def test_along_one_dimension_against_loops(
    padding: Any, wide: int, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd_lines, "NUMBERS", numbers)
    against_loops(winograd_lines, wide, padding, monkeypatch)


@pytest.mark.usefixtures("lines", "chosen_kernels")
@pytest.mark.parametrize("numbers", [200, 144 << 10])
def test_from_a_tape(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What two threads repeat, every piece with room of its own, has the bits of what Python goes through."""
    monkeypatch.setattr(winograd_lines, "NUMBERS", numbers)
    monkeypatch.setattr("dltrain.backend.calls.WORTH_IT", 2)
    monkeypatch.setattr("dltrain.backend.calls.HAND_OVER", -1)
    choose_kernels("numpy")
    w, taped, crew, calls = values(3, 3, 4, 6, seed=1), Scripts(record), Crew(2), []
    shared, run = [], Graph.run
    monkeypatch.setattr(Graph, "run", lambda self, begin, others: (shared.append(others), run(self, begin, others)))

    def work(x: Array, g: Array) -> dict[str, Array]:
        calls.append(type(x))
        return {str(i): result for i, result in enumerate(results(kernels(x), x, w, g))}

    for step in range(8):
        x, g = values(7, 5, 4, 4, seed=step), values(7, 5, 4, 6, seed=step + 10)
        found = crew.lent(partial(taped.run, "step", [w], Now(step, 0, 0.0), work, data=[x, g]))
        for ours, plain_ones in zip(found.values(), results(PLAIN, x, w, g), strict=True):
            np.testing.assert_array_equal(ours, plain_ones)
    crew.close()
    assert len(calls) == 1 and shared == [1] * (8 - 1 - MEASUREMENTS)


def results(by: Kernels, *arrays: Array) -> list[Array]:
    x, w, g = arrays
    window = Window.of(x.shape[1:3], 3, 1, "same")
    y = by.conv(x, w, window, 1, None, None)
    return [y, *by.conv_grad(g, x, w, y, window, 1, None, [True, True, False])[:2]]


@pytest.mark.parametrize("kind", ["native", "always", "lines"])
@pytest.mark.parametrize(("size", "channels", "filters"), [(32, 32, 32), (16, 32, 64), (8, 256, 256), (5, 16, 48)])
def test_error_against_double_precision(
    kind: str, size: int, channels: int, filters: int, request: pytest.FixtureRequest
) -> None:
    """At most 4 times that of a direct convolution in single precision, forward and both gradients."""
    filtering = request.getfixturevalue(kind) or PLAIN
    x, g = values(2, size, size, channels), values(2, size, size, filters, seed=2)
    w = values(3, 3, channels, filters, seed=1) / np.float32((9 * channels) ** 0.5)
    found = results(filtering, x, w, g)
    request.getfixturevalue("never")
    exact = results(PLAIN, *(a.astype(np.float64) for a in (x, w, g)))
    for ours, direct, e in zip(found, results(PLAIN, x, w, g), exact, strict=True):
        assert not np.array_equal(ours, direct)
        assert np.linalg.norm(ours - e) <= 4 * np.linalg.norm(direct - e)
