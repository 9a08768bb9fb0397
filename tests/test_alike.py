"""Pictures that are nearly the same are found among many, and no others."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFilter

from dltrain.check.alike import ALIKE, LUMA, nearly_equal, thumbnails

rng = np.random.default_rng(0)


def pictures(number: int) -> np.ndarray:
    """Random shapes, (number, 48, 40, 3): smooth colours of large spots."""
    coarse = rng.integers(0, 256, (number, 6, 5, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((40, 48), Image.Resampling.BICUBIC)) for c in coarse])


def as_jpeg(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=40)
    return Image.open(file)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "the same": lambda picture: picture,
    "saved as JPEG": as_jpeg,
    "darker": lambda picture: picture.point(lambda value: value * 0.6 + 10),
    "smaller and larger again": lambda picture: picture.resize((25, 30)).resize((40, 48)),
    "less sharp": lambda picture: picture.filter(ImageFilter.GaussianBlur(1)),
    "grey": lambda picture: picture.convert("L").convert("RGB"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_picture_otherwise(change: str) -> None:
    known, new = pictures(2000), pictures(300)
    changed = np.stack([np.asarray(CHANGES[change](Image.fromarray(picture))) for picture in known[500:700]])
    which, others = nearly_equal(thumbnails(np.concatenate([new, changed])), thumbnails(known))
    assert (which >= 300).all(), "none of the new ones"
    assert len(which) >= 0.97 * 200 and (others == which + 200).all()


def test_as_comparing_each_with_each_would() -> None:
    """Among small noisy pictures of a few kinds, many of which are near the limit."""
    kinds = rng.normal(size=(40, 16, 16, 1))
    noise = [rng.uniform(0.03, 0.12, (n, 1, 1, 1)) * rng.normal(size=(n, 16, 16, 1)) for n in (400, 800)]
    some, others = (kinds[rng.integers(0, 40, len(added))] + added for added in noise)
    a, b = thumbnails(some), thumbnails(others)
    correlation = np.corrcoef(a, b)[: len(a), len(a) :]
    which, found = nearly_equal(a, b)
    expected = np.flatnonzero(correlation.max(axis=1) >= ALIKE)
    assert 50 < len(expected) < 350
    assert set(which) <= set(expected) and len(which) >= 0.95 * len(expected)
    assert (correlation[which, found] >= ALIKE - 1e-5).all()


def test_plain_pictures_are_alike_to_nothing() -> None:
    plain = np.broadcast_to(np.arange(50, dtype=np.uint8)[:, None, None, None], (50, 20, 20, 1))
    assert len(nearly_equal(thumbnails(plain), thumbnails(plain))[0]) == 0


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (17, 40), (9, 300)])
def test_thumbnails_are_means_over_parts(size: tuple[int, int]) -> None:
    x = rng.uniform(size=(3, *size, 3))
    small = thumbnails(x)
    rows, columns = (np.array_split(np.arange(length), min(16, length)) for length in size)
    assert small.shape == (3, len(rows) * len(columns))
    np.testing.assert_allclose(small.mean(), x.mean(), rtol=0.1)
    if size == (16, 16):
        np.testing.assert_allclose(small, (x @ LUMA).reshape(3, -1), rtol=1e-6)
    constant = thumbnails(np.full((1, *size, 1), 7))
    np.testing.assert_allclose(constant, 7, rtol=1e-6)
