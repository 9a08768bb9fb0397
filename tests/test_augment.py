"""Augmentations against a plain loop over images."""

from typing import Any

import numpy as np
import pytest

from dltrain.data import AUGMENTATIONS, Augmentation
from dltrain.errors import ShapeError
from dltrain.random import example_words

Array = np.ndarray[Any, Any]


def flip_one(image: Array, words: Array, *, probability: float) -> Array:
    return image[:, ::-1] if int(words[0]) >> 48 < probability * 65536 else image


def crop_one(image: Array, words: Array, *, padding: int) -> Array:
    height, width, _ = image.shape
    down, right = ((int(word) >> 32) * (2 * padding + 1) >> 32 for word in words)
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    return padded[down : down + height, right : right + width]


def draw(word: Any, count: int) -> int:
    return (int(word) >> 32) * count >> 32


def cutout_one(image: Array, words: Array, *, size: int) -> Array:
    row, column = (draw(word, n) for word, n in zip(words, image.shape, strict=False))
    image = image.copy()
    for i in range(row - size // 2, row - size // 2 + size):
        for j in range(column - size // 2, column - size // 2 + size):
            if 0 <= i < image.shape[0] and 0 <= j < image.shape[1]:
                image[i, j] = 0
    return image


def random_erasing_one(image: Array, words: Array, *, probability: float, area: Any, aspect: float) -> Array:
    if int(words[0]) >> 48 >= probability * 65536:
        return image
    height, width, _ = image.shape
    sizes = []
    for i in range(32):
        for j in range(32):
            pixels = (area[0] + (area[1] - area[0]) * i / 31) * height * width
            ratio = aspect ** (1 - 2 * j / 31)
            h, w = round((pixels * ratio) ** 0.5), round((pixels / ratio) ** 0.5)
            if 0 < h <= height and 0 < w <= width:
                sizes.append((h, w))
    h, w = sizes[draw(words[1], len(sizes))]
    top, left = draw(words[2], height - h + 1), draw(words[3], width - w + 1)
    image = image.copy()
    image[top : top + h, left : left + w] = 0
    return image


def rotation_one(image: Array, words: Array, *, degrees: float) -> Array:
    """By floats, from the definition: each pixel shows what was where it comes from."""
    height, width, _ = image.shape
    angle = np.radians(-degrees + 2 * degrees * draw(words[0], 1024) / 1023)
    wide = np.pad(image.astype(float), ((2, 2), (2, 2), (0, 0)))
    found = np.zeros(image.shape)
    for i in range(height):
        for j in range(width):
            y, x = i - (height - 1) / 2, j - (width - 1) / 2
            row = y * np.cos(angle) - x * np.sin(angle) + (height - 1) / 2
            column = y * np.sin(angle) + x * np.cos(angle) + (width - 1) / 2
            if -1 < row < height and -1 < column < width:
                r, c = int(np.floor(row)), int(np.floor(column))
                a, b = row - r, column - c
                corners = wide[r + 2 : r + 4, c + 2 : c + 4]
                found[i, j] = np.einsum("i,j,ijc->c", [1 - a, a], [1 - b, b], corners)
    return found


def colour_jitter_one(image: Array, words: Array, *, brightness: float, contrast: float, saturation: float) -> Array:
    strengths = [round(strength * 256) for strength in (brightness, contrast, saturation)]
    light, contrast, colour = (
        1 - s / 256 + draw(word, 2 * s + 1) / 256 for s, word in zip(strengths, words, strict=True)
    )
    top = 255 if image.dtype == np.uint8 else np.inf

    def grey(values: Array) -> Array:
        return values if values.shape[2] == 1 else (values @ [77 / 256, 150 / 256, 29 / 256])[..., None]

    values = np.clip(image.astype(float) * light, 0, top)
    values = np.clip(grey(values).mean() + contrast * (values - grey(values).mean()), 0, top)
    return np.clip(grey(values) + colour * (values - grey(values)), 0, top)


# How far bytes may be from the definition in real numbers, where whole numbers are rounded on the way.
ROUNDED = {"rotation": 2.5, "colour_jitter": 3.5}

# name, settings, the same for one image
CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("flip", {"probability": 0.5}, flip_one),
    ("flip", {"probability": 0.0}, flip_one),
    ("flip", {"probability": 1.0}, flip_one),
    ("flip", {"probability": 0.1}, flip_one),
    ("crop", {"padding": 1}, crop_one),
    ("crop", {"padding": 4}, crop_one),
    ("cutout", {"size": 1}, cutout_one),
    ("cutout", {"size": 4}, cutout_one),
    ("cutout", {"size": 99}, cutout_one),
    ("random_erasing", {"probability": 0.5, "area": (0.02, 0.4), "aspect": 0.3}, random_erasing_one),
    ("random_erasing", {"probability": 1.0, "area": (0.3, 1.0), "aspect": 0.9}, random_erasing_one),
    ("rotation", {"degrees": 20.0}, rotation_one),
    ("rotation", {"degrees": 180.0}, rotation_one),
    ("colour_jitter", {"brightness": 0.3, "contrast": 0.2, "saturation": 0.5}, colour_jitter_one),
    ("colour_jitter", {"brightness": 1.0, "contrast": 0.0, "saturation": 0.0}, colour_jitter_one),
    ("colour_jitter", {"brightness": 0.0, "contrast": 1.0, "saturation": 1.0}, colour_jitter_one),
]


def test_every_augmentation_has_a_case():
    assert {name for name, _, _ in CASES} == set(AUGMENTATIONS)


def words_for(augmentation: Augmentation, examples: int, first: int = 0) -> Array:
    each = augmentation.words_each
    return example_words(7, "augment", "0", epoch=2, step=3, first=first, examples=examples, words_each=each)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 7, 3)])
@pytest.mark.parametrize(("name", "settings", "one"), CASES)
def test_agrees_with_a_plain_loop(name, settings, one, shape, dtype):
    augmentation = AUGMENTATIONS[name](**settings)
    augmentation.check(shape)
    images = np.random.default_rng(0).integers(1, 255, (200, *shape)).astype(dtype)
    before, words = images.copy(), words_for(augmentation, 200)
    changed = augmentation(np, images, words)
    expected = np.stack([one(*pair, **settings) for pair in zip(images[:20], words, strict=False)])
    if name not in ROUNDED:
        assert np.array_equal(changed[:20], expected)
    else:
        atol = ROUNDED[name] if dtype == np.uint8 else 1.5 if name == "rotation" else 1e-3
        np.testing.assert_allclose(changed[:20], expected, atol=atol)
    assert changed.dtype == dtype and changed.flags.c_contiguous
    assert not np.shares_memory(changed, images) and np.array_equal(images, before)
    parts = [augmentation(np, images[a:b], words_for(augmentation, b - a, a)) for a, b in ((0, 3), (3, 200))]
    assert np.array_equal(np.concatenate(parts), changed), "an example depends on its shard"


def test_flip_and_crop_are_as_frequent_as_they_say():
    images = np.tile(np.arange(9.0).reshape(1, 9, 1, 1), (20_000, 1, 9, 1)) * 9 + np.arange(9.0).reshape(1, 1, 9, 1)
    flip, crop = AUGMENTATIONS["flip"](probability=0.25), AUGMENTATIONS["crop"](padding=1)
    mirrored = flip(np, images, words_for(flip, 20_000))[:, 0, 0, 0] == 8
    assert abs(mirrored.mean() - 0.25) < 0.015
    middle = crop(np, images, words_for(crop, 20_000))[:, 4, 4, 0]
    shifts, counts = np.unique(middle, return_counts=True)
    assert shifts.tolist() == [30, 31, 32, 39, 40, 41, 48, 49, 50]
    assert abs(counts / 20_000 - 1 / 9).max() < 0.012


def test_how_much_is_hidden_and_turned():
    images = np.full((4000, 20, 10, 1), 200, np.uint8)
    erasing = AUGMENTATIONS["random_erasing"](probability=0.25, area=(0.1, 0.3), aspect=0.5)
    hidden = (erasing(np, images, words_for(erasing, 4000)) == 0).mean(axis=(1, 2, 3))
    assert abs((hidden > 0).mean() - 0.25) < 0.02
    assert hidden[hidden > 0].min() > 0.08 and hidden.max() < 0.35
    image = np.zeros((1, 9, 9, 1), np.uint8)
    image[0, 1, 4] = 200
    turn = AUGMENTATIONS["rotation"](degrees=90)
    ends = np.array([[0], [2**64 - 1]], np.uint64)  # the first and the last angle: -90 and 90 degrees
    turned = turn(np, np.repeat(image, 2, axis=0), ends)[..., 0]
    assert sorted(map(tuple, np.argwhere(turned > 190)[:, 1:].tolist())) == [(4, 1), (4, 7)]


@pytest.mark.parametrize(
    ("name", "settings", "shape"),
    [
        ("flip", {}, (64,)),
        ("crop", {"padding": 4}, (64,)),
        ("crop", {"padding": 8}, (8, 9, 1)),
        ("random_erasing", {"area": (0.001, 0.001)}, (8, 8, 1)),
    ],
)
def test_refuses_what_it_cannot_change(name, settings, shape):
    with pytest.raises(ShapeError, match=name.partition("_")[0]):
        AUGMENTATIONS[name](**settings).check(shape)
