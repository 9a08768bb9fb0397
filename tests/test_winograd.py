"""Winograd's filtering multiplies less; it must convolve, and not be much less exact than what is written down."""

from itertools import product
from typing import Any

import numpy as np
import plain
import pytest
from native_calls import PLAIN, values

from dltrain.backend import Kernels, winograd
from dltrain.engine import distinct
from dltrain.errors import ShapeError
from dltrain.window import Window

Array = Any


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """In numpy too, however few channels there are."""
    monkeypatch.setattr(winograd, "WORTH_IT", 1)
    monkeypatch.setattr(winograd, "WORTH_IT_BACKWARD", 1)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "fits", lambda *call: False)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("tiles", [1, 12, 256])
@pytest.mark.parametrize("padding", ["same", "valid", 1, 2, (1, 0), (0, 3)])
def test_in_numpy_against_loops(padding: Any, tiles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and both gradients: odd and even sizes, tiles that reach over the edge, pieces of unequal size."""
    monkeypatch.setattr(winograd, "TILES", tiles)
    taken = []
    monkeypatch.setattr(winograd, "_pieces", lambda *call, pieces=winograd._pieces: taken.append(0) or pieces(*call))
    for size in product((1, 3, 4, 6), (2, 3, 5, 8)):
        try:
            window = Window.of(size, 3, 1, padding)
        except ShapeError:
            continue
        x, w = distinct(5, *size, 3), distinct(3, 3, 3, 2, seed=1)
        wanted = plain.conv(x, w, 1, padding, 1, 1)
        g = distinct(*wanted.shape, seed=2)
        dx, dw = plain.conv_grads(g, x, w, 1, padding, 1, 1)
        taken.clear()
        y = PLAIN.conv(x, w, window, 1, None, None)
        found = [y, *PLAIN.conv_grad(g, x, w, y, window, 1, None, [True, True, False])[:2]]
        assert len(taken) == (2 if padding == (0, 3) else 3), "of more padding the adjoint is no convolution"
        for ours, loops in zip(found, (wanted, dx, dw), strict=True):
            np.testing.assert_allclose(ours, loops, rtol=1e-11, atol=1e-11, err_msg=f"{size}")


def results(kernels: Kernels, *arrays: Array) -> list[Array]:
    x, w, g = arrays
    window = Window.of(x.shape[1:3], 3, 1, "same")
    y = kernels.conv(x, w, window, 1, None, None)
    return [y, *kernels.conv_grad(g, x, w, y, window, 1, None, [True, True, False])[:2]]


@pytest.mark.parametrize("kind", ["native", "numpy"])
@pytest.mark.parametrize(("size", "channels", "filters"), [(32, 32, 32), (16, 32, 64), (8, 256, 256), (5, 16, 48)])
def test_error_against_double_precision(
    kind: str, size: int, channels: int, filters: int, request: pytest.FixtureRequest
) -> None:
    """At most 4 times that of a direct convolution in single precision, forward and both gradients."""
    kernels = request.getfixturevalue("native") if kind == "native" else PLAIN
    x, g = values(2, size, size, channels), values(2, size, size, filters, seed=2)
    w = values(3, 3, channels, filters, seed=1) / np.float32((9 * channels) ** 0.5)
    if kind == "numpy":
        request.getfixturevalue("always")
    found = results(kernels, x, w, g)
    request.getfixturevalue("never")
    exact = results(PLAIN, *(a.astype(np.float64) for a in (x, w, g)))
    for ours, direct, e in zip(found, results(PLAIN, x, w, g), exact, strict=True):
        assert not np.array_equal(ours, direct)
        assert np.linalg.norm(ours - e) <= 4 * np.linalg.norm(direct - e)
