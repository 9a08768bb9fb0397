"""The nodes of ONNX that look through windows or change how many positions there are, as calls of ours."""

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx_layout import Array, Attributes, Bring, channels_last, channels_second

from dltrain import ops
from dltrain.backend import to_host
from dltrain.nn import LAYERS, Context
from dltrain.window import Window


class Unmappable(Exception):
    """Says which part of the node has no counterpart here."""


def window_settings(a: Attributes, size: tuple[int, ...], kernel: tuple[int, ...]) -> dict[str, Any]:
    """stride, padding and dilation, where ours gives the same windows."""
    n = len(size)
    stride, dilation = tuple(a.get("strides", (1,) * n)), tuple(a.get("dilations", (1,) * n))
    auto, pads = a.get("auto_pad", "NOTSET"), a.get("pads", (0,) * 2 * n)
    if tuple(pads[:n]) != tuple(pads[n:]):
        raise Unmappable("different padding on both sides")
    padding: Any = "same" if auto.startswith("SAME") else tuple(pads[:n])
    window = Window.of(size, kernel, stride, padding, dilation)
    if auto == "SAME_LOWER" and any(before != after for before, after in window.padding):
        raise Unmappable("SAME_LOWER: an odd pixel goes to the end here")
    steps = zip(window.padded_size, window.extent, stride, strict=True)
    if a.get("ceil_mode") and any((i - e) % s for i, e, s in steps):
        raise Unmappable("ceil_mode: a window that does not fit is left out here")
    if a.get("count_include_pad") and any(map(any, window.padding)):
        raise Unmappable("count_include_pad: padding is not counted here")
    return {"stride": stride, "padding": padding, "dilation": dilation}


def convolution(a: Attributes, inputs: list[Array], bring: Bring) -> list[Array]:
    x, w, *bias = inputs
    settings = window_settings(a, x.shape[2:], w.shape[2:]) | {"groups": a.get("group", 1)}
    kernels = np.ascontiguousarray(np.transpose(w, (*range(2, w.ndim), 1, 0)))
    y = ops.conv(bring(channels_last(x)), bring(kernels), bring(bias[0]) if bias else None, **settings)
    return [channels_second(y)]


def transposed_convolution(a: Attributes, inputs: list[Array], bring: Bring) -> list[Array]:
    x, w = inputs
    n = x.ndim - 2
    settings = {"stride": tuple(a.get("strides", (1,) * n)), "dilation": tuple(a.get("dilations", (1,) * n))}
    if "output_shape" in a or a.get("auto_pad", "NOTSET") != "NOTSET":
        raise Unmappable("the output's size: here it follows from the padding")
    pads = a.get("pads", (0,) * 2 * n)
    settings |= {"padding": tuple(pads[:n]), "output_padding": tuple(a.get("output_padding", (0,) * n))}
    kernels = np.ascontiguousarray(np.transpose(w, (*range(2, w.ndim), 1, 0)))
    y = ops.conv_transpose(bring(channels_last(x)), bring(kernels), None, groups=a.get("group", 1), **settings)
    return [channels_second(y)]


def resizing(a: Attributes, inputs: list[Array], bring: Bring) -> list[Array]:
    x, _, scales, sizes = (*inputs, None)[:4]
    if a["mode"] == "cubic" or a.get("antialias"):
        raise Unmappable("cubic interpolation or antialiasing")
    if a.get("coordinate_transformation_mode", "half_pixel") != "half_pixel" or "nearest_mode" in a:
        raise Unmappable("other coordinates than half_pixel")
    axes = a.get("axes", range(x.ndim))
    times = dict.fromkeys(range(x.ndim), 1.0)
    times |= dict(zip(axes, scales if sizes is None else sizes / [x.shape[i] for i in axes], strict=True))
    if any(t < 1 or t % 1 for t in times.values()):
        raise Unmappable("a factor that is no whole number")
    factor = tuple(int(times[i]) for i in range(2, x.ndim))
    mode = {"nearest": "nearest", "linear": "bilinear"}[a["mode"]]
    return [channels_second(ops.upsample(bring(channels_last(x)), factor=factor, mode=mode))]


def padding(a: Attributes, inputs: list[Array], bring: Bring) -> list[Array]:
    """Their constant may be any number: it is subtracted before and added after."""
    x, pads, value, axes = (*inputs, None, None)[:4]
    modes = {"constant": "zero", "edge": "replicate", "reflect": "reflect"}
    if a["mode"] not in modes:
        raise Unmappable("wrap")
    ends = dict.fromkeys(range(x.ndim), (0, 0))
    places = range(x.ndim) if axes is None else [int(i) % x.ndim for i in axes]
    ends |= {i: (int(pads[j]), int(pads[j + len(places)])) for j, i in enumerate(places)}
    constant = 0.0 if value is None else float(value)
    of = bring(channels_last(x)) - constant
    return [
        channels_second(ops.pad(of, padding=tuple(ends[i] for i in range(2, x.ndim)), mode=modes[a["mode"]]) + constant)
    ]


def pooling(op: Callable[..., Any]) -> Callable[..., Any]:
    def pool(a: Attributes, inputs: list[Array], bring: Bring) -> list[Array]:
        x = inputs[0]
        kernel = tuple(a["kernel_shape"])
        settings = window_settings(a, x.shape[2:], kernel)
        return [channels_second(op(bring(channels_last(x)), kernel=kernel, **settings))]

    return pool


def global_pooling(kind: str) -> Callable[..., Any]:
    def pool(a: Attributes, inputs: list[Array], bring: Bring) -> list[Array]:
        x = channels_last(inputs[0])
        y = LAYERS[kind](x.shape[1:])(bring(x), Context())
        return [to_host(y.data).reshape(inputs[0].shape[:2] + (1,) * (x.ndim - 2))]

    return pool
