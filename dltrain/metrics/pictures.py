"""How alike pictures are: one by one, as sets, and how much they differ among each other.

Pictures are (N, H, W, C) with 0 for black and 1 for white, computed in float64, summed in the order of the examples.
`where`: the pixels that count, (N, H, W) of bool; all unless given.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
EXACT = 1e-10  # the mean square error of equal pictures in a PSNR, so 100 dB: a log has no infinity
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03  # of SSIM: its paper's
BINS = 6  # of a histogram, for each channel
PIECE = 500  # pictures that are compared with all others at a time


def mean_absolute_error(a: Array, b: Array, where: Array | None = None) -> float | None:
    """The mean of |a - b| over pixels and channels; None where no pixel counts."""
    error = np.abs(a.astype(np.float64) - b).mean(axis=3)
    kept = error if where is None else error[where]
    return float(kept.mean()) if kept.size else None


def psnr(a: Array, b: Array) -> float:
    """The peak signal-to-noise ratio -10 log10(mean square error) in dB, mean over the pictures; 100 of equal ones."""
    error = ((a.astype(np.float64) - b) ** 2).mean(axis=(1, 2, 3))
    return float((-10 * np.log10(np.maximum(error, EXACT))).mean())


def ssim(a: Array, b: Array) -> float:
    """The structural similarity, 1 of equal pictures, mean over pictures and channels (Wang et al., Image Quality
    Assessment: From Error Visibility to Structural Similarity, 2004, eq. 13): of windows of 11 x 11 pixels with
    Gaussian weights, as many as lie wholly within the picture. Raises ValueError of smaller pictures.
    """
    if min(a.shape[1:3]) < WINDOW:
        raise ValueError(f"SSIM looks at windows of {WINDOW} x {WINDOW} pixels; the pictures are smaller")
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + K1**2) / (mean_x**2 + mean_y**2 + K1**2)
    return float((luminance * (2 * covariance + K2**2) / (var_x + var_y + K2**2)).mean())


def _blurred(x: Array) -> Array:
    """The weighted means of all windows: (N, H, W, C) -> (N, H - 10, W - 10, C)."""
    weights = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    weights /= weights.sum()
    height, width = x.shape[1] - WINDOW + 1, x.shape[2] - WINDOW + 1
    rows: Array = sum(w * x[:, i : i + height] for i, w in enumerate(weights))
    blurred: Array = sum(w * rows[:, :, i : i + width] for i, w in enumerate(weights))
    return blurred


def histogram_intersection(
    a: Array, b: Array, where_a: Array | None = None, where_b: Array | None = None
) -> float | None:
    """What two sets of pixels have in common: Σ min of the shares of both in each of 6 x 6 x 6 colours, or 6 greys, 1
    where they are the same (Swain and Ballard, Color Indexing, 1991). Where a pixel is does not matter. None where no
    pixel counts."""
    in_a, in_b = _histogram(a, where_a), _histogram(b, where_b)
    return None if in_a is None or in_b is None else float(np.minimum(in_a, in_b).sum())


def _histogram(pictures: Array, where: Array | None) -> Array | None:
    """The share of pixels of each colour, (6 ** channels,)."""
    pixels = pictures.reshape(-1, pictures.shape[3]) if where is None else pictures[where]
    if not len(pixels):
        return None
    level = np.clip((pixels.astype(np.float64) * BINS).astype(int), 0, BINS - 1)
    colour = level @ BINS ** np.arange(pictures.shape[3])
    return np.bincount(colour, minlength=BINS ** pictures.shape[3]) / len(pixels)


def spread(pictures: Array) -> float:
    """How much pictures differ: the mean over all pairs of their distance, the root of the mean square difference of
    pixels and channels; 0 of a generator that makes one picture only. Raises ValueError where there is no pair."""
    n = len(pictures)
    if n < 2:
        raise ValueError("a spread takes at least two pictures")
    x = pictures.reshape(n, -1).astype(np.float64)
    x -= x.mean(axis=0)  # the same distances, less rounding
    total = 0.0
    for i in range(0, n, PIECE):
        distances = np.sqrt(_square_distances(x[i : i + PIECE], x))
        np.fill_diagonal(distances[:, i:], 0)  # of each from itself, which rounding may not leave at 0
        total += float(distances.sum())
    return total / (n * (n - 1))


def colour_spread(pictures: Array, where: Array) -> float | None:
    """How much the colour of a region differs from picture to picture: of each picture the mean of the region's
    pixels, of these the standard deviation over the pictures (divided by N - 1), mean over the channels. None where
    fewer than two pictures have such a region."""
    some = where.any(axis=(1, 2))
    if some.sum() < 2:
        return None
    kept, weights = pictures[some].astype(np.float64), where[some][..., None]
    colours = (kept * weights).sum(axis=(1, 2)) / weights.sum(axis=(1, 2))  # (pictures, channels)
    return float(colours.std(axis=0, ddof=1).mean())


def nearest(pictures: Array, among: Array) -> float:
    """How far pictures are from the nearest of others, as in `spread`, on average: 0 where all are copies."""
    centre = among.mean(axis=0, dtype=np.float64).ravel()

    def flat(some: Array) -> Array:
        return np.asarray(some.reshape(len(some), -1).astype(np.float64) - centre)

    x = flat(pictures)
    least, which = np.full(len(x), np.inf), np.zeros(len(x), int)
    for start in range(0, len(among), PIECE):
        squares = _square_distances(x, flat(among[start : start + PIECE]))
        best = squares.argmin(axis=1)
        square = squares[np.arange(len(x)), best]
        closer = square < least
        least[closer], which[closer] = square[closer], best[closer] + start
    return float(np.sqrt(((x - flat(among[which])) ** 2).mean(axis=1)).mean())  # exactly 0 of copies


def gram_distances(a: Array, b: Array) -> Array:
    """‖G - G'‖² / ‖G'‖² of each pair of (N, H, W, C), (N,); G = Xᵀ X / (H W), X the positions as rows."""
    own, other = _gram(a), _gram(b)
    off: Array = ((own - other) ** 2).sum(axis=(1, 2)) / np.maximum((other**2).sum(axis=(1, 2)), EXACT)
    return off


def _gram(x: Array) -> Array:
    rows = x.reshape(len(x), -1, x.shape[-1]).astype(np.float64)
    found: Array = rows.transpose(0, 2, 1) @ rows / rows.shape[1]
    return found


def content_distances(a: Array, b: Array) -> Array:
    """‖x - x'‖² / ‖x'‖² of each pair of (N, H, W, C), (N,)."""
    x, y = (some.reshape(len(some), -1).astype(np.float64) for some in (a, b))
    off: Array = ((x - y) ** 2).sum(axis=1) / np.maximum((y**2).sum(axis=1), EXACT)
    return off


def match_colours(a: Array, b: Array) -> Array:
    """`a` with each channel's mean and standard deviation as in `b`, picture by picture, cut off at 0 and 1."""
    own, other = ((some.mean(axis=(1, 2), keepdims=True), some.std(axis=(1, 2), keepdims=True)) for some in (a, b))
    return np.asarray(np.clip((a - own[0]) / np.maximum(own[1], EXACT) * other[1] + other[0], 0, 1))


def match_histograms(a: Array, b: Array) -> Array:
    """`a` with the shades of each channel of `b`, in the same order from dark to bright, picture by picture. Both have
    the same size."""
    n, channels = len(a), a.shape[3]
    order = a.reshape(n, -1, channels).argsort(axis=1, kind="stable")
    found = np.empty_like(a.reshape(n, -1, channels))
    np.put_along_axis(found, order, np.sort(b.reshape(n, -1, channels), axis=1).astype(a.dtype), axis=1)
    return found.reshape(a.shape)


def _square_distances(a: Array, b: Array) -> Array:
    """The mean square difference of every two rows of (n, D) and (m, D): (n, m)."""
    squares: Array = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
    means: Array = np.maximum(squares, 0) / a.shape[1]
    return means
