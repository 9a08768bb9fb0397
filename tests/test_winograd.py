"""Winograd's filtering multiplies less, and must not be much less exact than a convolution as it is written down."""

from typing import Any

import numpy as np
import pytest
from native_calls import PLAIN, values

from dltrain.backend import Kernels
from dltrain.window import Window

Array = Any


def results(kernels: Kernels, *arrays: Array) -> list[Array]:
    x, w, g = arrays
    window = Window.of(x.shape[1:3], 3, 1, "same")
    y = kernels.conv(x, w, window, 1, None, None)
    return [y, *kernels.conv_grad(g, x, w, y, window, 1, None, [True, True, False])[:2]]


@pytest.mark.parametrize(("size", "channels", "filters"), [(32, 32, 32), (16, 32, 64), (8, 256, 256), (5, 16, 48)])
def test_error_against_double_precision(size: int, channels: int, filters: int, native: Kernels) -> None:
    """At most 4 times that of a direct convolution in single precision, forward and both gradients."""
    x, g = values(2, size, size, channels), values(2, size, size, filters, seed=2)
    w = values(3, 3, channels, filters, seed=1) / np.float32((9 * channels) ** 0.5)
    exact = results(PLAIN, *(a.astype(np.float64) for a in (x, w, g)))
    for ours, direct, e in zip(results(native, x, w, g), results(PLAIN, x, w, g), exact, strict=True):
        assert np.linalg.norm(ours - e) <= 4 * np.linalg.norm(direct - e)
