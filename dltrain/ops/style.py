"""Losses of pictures: of their texture, of what they show, and of how rough they are. x, targets: (N, H, W, C); a
target is a constant."""

from typing import Any

from dltrain.backend import array_module
from dltrain.engine import op

Array = Any


@op
def gram(x: Array, *, targets: Array, count: float | None = None) -> Any:
    """Σ over examples of ‖G(x) - G(t)‖² / ‖G(t)‖², divided by `count`. G = Xᵀ X / (H W), X the positions of an example
    as rows (H W, C): which channels are active together, wherever that is; sizes of x and targets may differ.

    Gatys, Ecker, Bethge, "Image Style Transfer Using Convolutional Neural Networks", 2016, equation 3; here relative
    to the target's. dL/dX = 4 / (H W) X (G(x) - G(t)) / ‖G(t)‖².
    """
    xp, count = array_module(x), count or len(x)
    if x.ndim != 4 or targets.ndim != 4 or (len(x), x.shape[-1]) != (len(targets), targets.shape[-1]):
        raise ValueError(f"gram takes (N, H, W, C) twice, with the same N and C, not {x.shape} and {targets.shape}")
    rows = x.reshape(len(x), -1, x.shape[-1])
    own, wanted = _gram(xp, rows), _gram(xp, targets.reshape(len(targets), -1, targets.shape[-1]))
    off = own - wanted
    size = (wanted * wanted).sum(axis=(1, 2), keepdims=True) * count
    y = (off * off / size).sum()

    def back(g: Array) -> Array:
        return (xp.matmul(rows, off / size) * (g * (4 / rows.shape[1]))).reshape(x.shape)

    return y, (back,)


@op
def content(x: Array, *, targets: Array, count: float | None = None) -> Any:
    """Σ over examples of ‖x - t‖² / ‖t‖², divided by `count`. The same paper, equation 1; here relative."""
    count = count or len(x)
    if x.ndim != 4 or x.shape != targets.shape:
        raise ValueError(f"content takes (N, H, W, C) twice, not {x.shape} and {targets.shape}")
    off, size = x - targets, (targets * targets).sum(axis=(1, 2, 3), keepdims=True) * count
    y = (off * off / size).sum()
    return y, (lambda g: off / size * (2 * g),)


@op
def total_variation(x: Array, *, count: float | None = None) -> Any:
    """Σ over examples of the mean of the squared differences of neighbours, in rows and in columns, divided by `count`.

    Rudin, Osher, Fatemi, 1992; squared as in Johnson, Alahi, Fei-Fei, "Perceptual Losses", 2016.
    """
    if x.ndim != 4 or min(x.shape[1:3]) < 2:
        raise ValueError(f"total_variation takes pictures (N, H, W, C) of two pixels or more each way, not {x.shape}")
    xp, count = array_module(x), count or len(x)
    down, right = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
    sizes = [part[0].size * count for part in (down, right)]
    y = (down * down).sum() / sizes[0] + (right * right).sum() / sizes[1]

    def back(g: Array) -> Array:
        found = xp.zeros_like(x)
        for part, size, after, before in (
            (down, sizes[0], (slice(None), slice(1, None)), (slice(None), slice(None, -1))),
            (right, sizes[1], (slice(None), slice(None), slice(1, None)), (slice(None), slice(None), slice(None, -1))),
        ):
            step = part * (2 * g / size)
            found[after] += step
            found[before] -= step
        return found

    return y, (back,)


def _gram(xp: Any, rows: Array) -> Array:
    return xp.matmul(rows.transpose(0, 2, 1), rows) / rows.shape[1]
