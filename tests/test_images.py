"""Image files as inputs: what is read, what is refused, and that damage is one kind of error."""

import os
import random

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from dltrain.data import Preprocessing
from dltrain.data.images import read_image
from dltrain.errors import DataError

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)


@pytest.mark.parametrize(("ending", "mode"), [("png", "RGB"), ("bmp", "RGB"), ("ppm", "RGB"), ("png", "RGBA")])
def test_images(ending, mode, tmp_path):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(PICTURE).convert(mode).save(path)
    assert np.array_equal(read_image(path, (6, 5, 3)), PICTURE)
    grey = read_image(path, (6, 5, 1))
    assert grey.shape == (6, 5, 1) and abs(grey[..., 0] - PICTURE @ [0.299, 0.587, 0.114]).max() <= 1
    assert read_image(path, (3, 9, 3)).shape == (3, 9, 3)


def test_grey_images_and_pixels_in_the_units_of_the_data(tmp_path):
    Image.fromarray(PICTURE[..., 0]).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png", (6, 5, 1))
    assert np.array_equal(pixels[..., 0], PICTURE[..., 0])
    assert np.array_equal(read_image(tmp_path / "a.png", (6, 5, 3)), np.repeat(pixels, 3, axis=2))
    digits = Preprocessing((6, 5, 1), None, "channel", (5.0,), (6.0,), white=16.0)
    cifar = Preprocessing((6, 5, 1), None, "channel", (100.0,), (60.0,), white=255.0)
    np.testing.assert_allclose(digits.from_pixels(pixels), pixels * (16 / 255), rtol=1e-6)
    assert np.array_equal(cifar.from_pixels(pixels), pixels)


@pytest.mark.parametrize("ending", ["png", "jpeg", "bmp", "gif", "ppm"])
def test_damaged_images_give_only_data_errors(ending, tmp_path):
    path, draw = tmp_path / f"a.{ending}", random.Random(2)
    Image.fromarray(PICTURE).save(path)
    good, refused = path.read_bytes(), 0
    for _ in range(400):
        at = draw.randrange(len(good))
        damage = [
            bytes([draw.randrange(256)]) + good[at + 1 :],
            b"",
            good[at + draw.randrange(1, 5) :],
            b"?" + good[at:],
        ]
        path.write_bytes(good[:at] + draw.choice(damage))
        try:
            assert read_image(path, (6, 5, 3)).shape == (6, 5, 3)
        except DataError:
            refused += 1
    assert refused > 50


REFUSED = {
    "missing.png": "no such file",
    "text.png": "it begins otherwise",
    "sixteen.png": "more than 8 bits",
    "bomb.png": "decompression bomb",
    "flat.png": "it would unpack to",
    "parts.png": "cut into far too many parts",
    "other.tiff": "it begins otherwise",
    "folder": "no such file",
    "pipe": "no such file",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_images(name, tmp_path, monkeypatch):
    path = tmp_path / name
    match name:
        case "text.png":
            path.write_text("hello")
        case "sixteen.png":
            Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 256).save(path)
        case "bomb.png":
            Image.fromarray(PICTURE).save(path)
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
        case "flat.png":
            Image.new("RGB", (4000, 3000)).save(path)  # 36 MB in 35 kB
        case "parts.png":
            notes = PngImagePlugin.PngInfo()
            for _ in range(50_000):
                notes.add(b"teXt", b"")
            Image.fromarray(PICTURE).save(path, pnginfo=notes)
        case "other.tiff":
            Image.fromarray(PICTURE).save(path)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
    with pytest.raises(DataError, match=f"{name}.*{REFUSED[name]}"):
        read_image(path, (6, 5, 3))


def test_a_network_that_takes_no_images(tmp_path):
    with pytest.raises(DataError, match="an image has shape"):
        read_image(tmp_path / "a.png", (64,))
