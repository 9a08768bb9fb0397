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


# name, settings, the same for one image
CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("flip", {"probability": 0.5}, flip_one),
    ("flip", {"probability": 0.0}, flip_one),
    ("flip", {"probability": 1.0}, flip_one),
    ("flip", {"probability": 0.1}, flip_one),
    ("crop", {"padding": 1}, crop_one),
    ("crop", {"padding": 4}, crop_one),
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
    assert np.array_equal(changed, np.stack([one(*pair, **settings) for pair in zip(images, words, strict=True)]))
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


@pytest.mark.parametrize(
    ("name", "settings", "shape"),
    [("flip", {}, (64,)), ("crop", {"padding": 4}, (64,)), ("crop", {"padding": 8}, (8, 9, 1))],
)
def test_refuses_what_it_cannot_change(name, settings, shape):
    with pytest.raises(ShapeError, match=name):
        AUGMENTATIONS[name](**settings).check(shape)
