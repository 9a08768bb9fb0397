"""What PyTorch 2.13 gives, where ONNX has no node test; the call that made a value stands beside it."""

from typing import Any

import numpy as np
import pytest
from builders import build

from dltrain import ops
from dltrain.backend import Device, to_host
from dltrain.engine import Tensor, gradients
from dltrain.nn import INITIALIZERS
from dltrain.random import generator

Array = Any


def channels_last(x: Any) -> Array:
    return np.ascontiguousarray(np.moveaxis(np.array(x, float), 1, -1))


def whole_numbers(*shape: int, below: int) -> Array:
    """torch.arange(prod(shape)) % below - below // 2"""
    return (np.arange(np.prod(shape)) % below - below // 2).reshape(shape).astype(float)


# y = torch.nn.functional.conv_transpose2d(x, w, stride=(2, 3), padding=(1, 0), output_padding=(1, 2), groups=2,
#                                          dilation=(1, 2)); y.backward(g)
X, W, G = whole_numbers(1, 2, 2, 3, below=5), whole_numbers(2, 2, 3, 2, below=7), whole_numbers(1, 4, 4, 11, below=3)
Y = [
    [[2, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], [-5, 0, -6, -7, 0, -6, 6, 0, 4, 0, 0],
     [-1, 0, 0, -2, 0, 0, 2, 0, 0, 0, 0], [1, 0, 2, 2, 0, 4, -2, 0, -4, 0, 0]],
    [[4, 0, 2, 2, 0, 1, 0, 0, 0, 0, 0], [3, 0, -5, 6, 0, -7, -6, 0, 6, 0, 0],
     [-2, 0, -1, -4, 0, -2, 4, 0, 2, 0, 0], [0, 0, 1, 0, 0, 2, 0, 0, -2, 0, 0]],
    [[3, 0, 2, 0, 0, 0, -3, 0, -2, 0, 0], [5, 0, 6, -4, 0, -6, -3, 0, -3, 0, 0],
     [-6, 0, -4, 6, 0, 4, 3, 0, 2, 0, 0], [-2, 0, 0, 2, 0, 0, 1, 0, 0, 0, 0]],
    [[-3, 0, 3, 0, 0, 0, 3, 0, -3, 0, 0], [4, 0, 5, -2, 0, -4, -3, 0, -3, 0, 0],
     [6, 0, -6, -6, 0, 6, -3, 0, 3, 0, 0], [-4, 0, -2, 4, 0, 2, 2, 0, 1, 0, 0]],
]  # fmt: skip
DX = [[[-1, -1, -1], [2, 2, 2]], [[-5, -5, -5], [3, 3, 3]]]
DW = [
    [[[1, 0], [3, -4], [-4, 1]], [[0, -1], [-4, 1], [1, 3]]],
    [[[1, -1], [-1, 0], [0, 1]], [[-1, 0], [0, 1], [1, -1]]],
]


def test_conv_transpose_and_its_gradients(device: Device) -> None:
    x = Tensor(device.asarray(channels_last(X)))
    w = Tensor(device.asarray(np.ascontiguousarray(np.transpose(W, (2, 3, 1, 0)))))
    settings: dict[str, Any] = {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2), "dilation": (1, 2)}
    y = ops.conv_transpose(x, w, None, groups=2, **settings)
    np.testing.assert_array_equal(to_host(y.data), channels_last([Y]))
    dx, dw = gradients((y * device.asarray(channels_last(G))).sum(), [x, w])
    np.testing.assert_array_equal(to_host(dx), channels_last([DX]))
    np.testing.assert_array_equal(to_host(dw), np.transpose(DW, (2, 3, 1, 0)))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "output_padding", "dilation", "positions", "wanted"),
    [
        # torch.nn.ConvTranspose1d(1, 1, kernel, stride, padding, output_padding, dilation=dilation)
        (3, 1, 0, 0, 1, 5, 7), (4, 2, 1, 0, 1, 5, 10), (3, 2, 1, 1, 1, 5, 10), (2, 2, 0, 0, 1, 7, 14),
        (5, 3, 2, 2, 1, 4, 12), (3, 2, 0, 1, 2, 6, 16),
    ],
)  # fmt: skip
def test_the_size_after_conv_transpose(
    kernel: int, stride: int, padding: int, output_padding: int, dilation: int, positions: int, wanted: int
) -> None:
    settings: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": padding, "channels": 2}
    settings |= {"output_padding": output_padding, "dilation": dilation}
    assert build([("conv_transpose", settings)], (positions, 3)).out_shape == (wanted, 2)


PICTURE = [[[[1, 2, 4], [8, 16, 32]]]]


def test_upsample_in_straight_lines(device: Device) -> None:
    # torch.nn.functional.interpolate(torch.arange(1., 5).reshape(1, 1, 4), scale_factor=3, mode="linear")
    y = ops.upsample(device.asarray(np.arange(1.0, 5).reshape(1, 4, 1)), factor=3, mode="bilinear")
    thirds = [3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 12]
    np.testing.assert_allclose(to_host(y.data).ravel() * 3, thirds, rtol=1e-14)
    # torch.nn.functional.interpolate(picture, scale_factor=2, mode="bilinear")
    y = ops.upsample(device.asarray(channels_last(PICTURE)), factor=2, mode="bilinear")
    assert to_host(y.data)[0, ..., 0].tolist() == [
        [1.0, 1.25, 1.75, 2.5, 3.5, 4.0], [2.75, 3.4375, 4.8125, 6.875, 9.625, 11.0],
        [6.25, 7.8125, 10.9375, 15.625, 21.875, 25.0], [8.0, 10.0, 14.0, 20.0, 28.0, 32.0],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [  # torch.nn.functional.pad(picture, (2, 1, 1, 1), mode=mode)
        ("reflect", [[32, 16, 8, 16, 32, 16], [4, 2, 1, 2, 4, 2]] * 2),
        ("replicate", [[1, 1, 1, 2, 4, 4]] * 2 + [[8, 8, 8, 16, 32, 32]] * 2),
    ],
)
def test_pad(mode: Any, wanted: list[list[int]], device: Device) -> None:
    y = ops.pad(device.asarray(channels_last(PICTURE)), padding=((1, 1), (2, 1)), mode=mode)
    assert to_host(y.data)[0, ..., 0].tolist() == wanted


AROUND_THE_BENDS = [-7, -3.5, -3, -1, 0, 0.5, 3, 6, 7]


@pytest.mark.parametrize(
    ("op", "values", "slopes"),
    [  # a = torch.tensor(AROUND_THE_BENDS); torch.nn.functional.hardswish(a), relu6(a), then .sum().backward()
        (ops.hard_swish, [0, 0, 0, -1 / 3, 0, 7 / 24, 3, 6, 7], [0, 0, 0, 1 / 6, 0.5, 2 / 3, 1, 1, 1]),
        (ops.relu6, [0, 0, 0, 0, 0, 0.5, 3, 6, 6], [0, 0, 0, 0, 0, 1, 1, 0, 0]),
    ],
)
def test_activations_at_their_bends(op: Any, values: list[float], slopes: list[float], device: Device) -> None:
    x = Tensor(device.asarray(np.array(AROUND_THE_BENDS, float)))
    y = op(x)
    np.testing.assert_allclose(to_host(y.data), values, rtol=1e-14)
    np.testing.assert_allclose(to_host(gradients(y.sum(), [x])[0]), slopes, rtol=1e-14)


@pytest.mark.parametrize(
    ("shape", "places"),
    [  # torch.nn.init.dirac_(torch.empty(shape), groups).nonzero(), with groups 1, 1, 2 and 4; (K, C/groups, *kernel)
        ((3, 3, 3, 3), [[0, 0, 1, 1], [1, 1, 1, 1], [2, 2, 1, 1]]),
        ((2, 4, 3, 3), [[0, 0, 1, 1], [1, 1, 1, 1]]),
        ((4, 2, 3), [[0, 0, 1], [1, 1, 1], [2, 0, 1], [3, 1, 1]]),
        ((4, 1, 4), [[0, 0, 2], [1, 0, 2], [2, 0, 2], [3, 0, 2]]),
    ],
)
def test_dirac(shape: tuple[int, ...], places: list[list[int]]) -> None:
    outputs, inputs, *kernel = shape
    w = INITIALIZERS["dirac"]()((*kernel, inputs, outputs), 0, 0, generator(0, "init", "w"))
    turned = np.moveaxis(w, (-1, -2), (0, 1))
    assert np.argwhere(turned).tolist() == places and set(turned.ravel()) == {0, 1}
