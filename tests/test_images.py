"""Image files as inputs: what is read, what is refused, and that damage is one kind of error."""

import json
import os
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from dltrain.data.pictures.images import read_image, read_picture
from dltrain.data.pictures.pixels import Pixels, told
from dltrain.errors import DataError

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("ending", "mode"), [("png", "RGB"), ("bmp", "RGB"), ("ppm", "RGB"), ("tiff", "RGB"), ("png", "RGBA")]
)
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
    np.testing.assert_allclose(Pixels(white=16.0).to_inputs(pixels), pixels * (16 / 255), rtol=1e-6)
    np.testing.assert_allclose(Pixels(-1.0, 1.0).to_inputs(pixels), pixels / 127.5 - 1, atol=1e-6)
    assert np.array_equal(Pixels().to_inputs(pixels), pixels)
    for known in (Pixels(), Pixels(white=16.0), Pixels(-1.0, 1.0)):
        assert np.array_equal(known.to_pixels(known.to_inputs(pixels)), pixels), "there and back"
    with pytest.raises(DataError, match=r"numbers from -0\.4 to 2\.8, and it cannot be told which.*data\.pixel_range"):
        Pixels(-0.4, 2.8, known=False).to_inputs(pixels)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 255], (0, 255)), ([0, 130], (0, 255)), ([0, 1], (0, 1)), ([0.0, 0.8], (0, 1)), ([-1.0, 1.0], (-1, 1)),
        ([-0.5, 0.49], (-0.5, 0.5)), ([0.0, 65535.0], (0, 65535)), ([0.0, 254.7], (0, 255)), ([3, 40000], (0, 65535)),
        ([0, 16], None), ([-0.42, 2.8], None), ([-2.1, 2.6], None), ([0, 4095], None), ([0.0, 0.3], None),
        ([-128, 127], None), ([0, 0], None), ([-0.1, 0.9], None),
    ],
)  # fmt: skip
def test_what_black_and_white_are(values, expected):
    found = told(np.array(values, np.float32).reshape(2, 1, 1, 1))
    assert found.known == (expected is not None)
    if expected:
        assert (found.black, found.white) == expected
    else:
        assert found.to_pixels(np.array(values))[0] == 0, "it can be shown all the same"
    assert Pixels.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    "damage",
    [
        {"black": 300.0}, {"white": float("inf")}, {"white": "1"}, {"background": [1, 2]}, {"size": [10**30, 2]},
        {"background": [1, 2, 10**9]}, {"size": [1]}, {"coloured": 1}, {"brightness": [1, 2]}, {"more": 1},
        {"black": -1.7e308, "white": 1.7e308},
    ],
)  # fmt: skip
def test_damaged_knowledge_of_pixels(damage):
    with pytest.raises(ValueError, match="damaged"):
        Pixels.from_json(Pixels().to_json() | damage)


@pytest.mark.parametrize("ending", ["webp", "tiff", "gif", "png"])
def test_of_several_pictures_the_first(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    pictures = [Image.fromarray(PICTURE), *(Image.new("RGB", (5, 6), colour) for colour in ("red", "blue"))]
    how = {"lossless": True} if ending == "webp" else {}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **how)
    found = read_picture(path, (6, 5, 3))
    assert found.remarks == {"several"} and abs(found.pixels.astype(int) - PICTURE).max() <= (
        0 if ending != "gif" else 60
    ), "a GIF has 256 colours"
    pictures[0].save(path, **how)
    assert read_picture(path, (6, 5, 3)).remarks == set()


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "jpeg"])
def test_compressions_of_tiff(compression, tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "a.tif", compression=compression)
    found = read_image(tmp_path / "a.tif", (6, 5, 3)).astype(int)
    assert abs(found - PICTURE).max() <= (0 if compression != "jpeg" else 255)
    assert abs(found - PICTURE).mean() < 60


DEEP = np.array([[0, 255, 256, 511, 40000, 65535]], np.uint16)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate"])
def test_of_a_damaged_tiff_only_the_error_speaks(compression, tmp_path, capfd):
    """libtiff would say a line of its own on the process's stderr."""
    path = tmp_path / "a.tiff"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path, compression=compression)
    content = path.read_bytes()
    path.write_bytes(content[:40] + bytes(200) + content[240:])
    with pytest.raises(DataError, match="not an image that can be read"):
        read_image(path, (40, 40, 3))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending", ["png", "tiff", "pgm"])
def test_of_16_bits_the_upper_8(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(DEEP).save(path)
    found = read_picture(path, (1, 6, 1))
    assert found.pixels[0, :, 0].tolist() == [0, 0, 1, 1, 156, 255] and found.remarks == {"deep"}
    assert read_image(path, (1, 6, 3))[0, :, 1].tolist() == [0, 0, 1, 1, 156, 255]
    assert not found.coloured and found.size == (1, 6)


@pytest.mark.parametrize("highest", [1, 255, 4095])
def test_16_bits_that_are_hardly_used(highest, tmp_path):
    for ending in ("png", "tiff"):
        Image.fromarray(np.array([[0, highest]], np.uint16)).save(tmp_path / f"a.{ending}")
        found = read_picture(tmp_path / f"a.{ending}", (1, 2, 1))
        assert found.remarks == {"dim"} and found.pixels.max() == highest >> 8


def test_of_16_bits_a_colour_the_upper_8(tmp_path):
    """Pillow writes none, so the file is put together: one row of two pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + struct.pack(">6H", 65535, 256, 0, 511, 40000, 65535)
    content = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(row))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b""))
    found = read_picture(tmp_path / "a.png", (1, 2, 3))
    assert found.pixels.tolist() == [[[255, 1, 0], [1, 156, 255]]]
    assert found.remarks == {"deep"} and found.coloured


def test_a_transparent_value_of_16_bits(tmp_path):
    Image.fromarray(DEEP).save(tmp_path / "a.png", transparency=255)
    assert read_image(tmp_path / "a.png", (1, 6, 1), "white")[0, :, 0].tolist() == [0, 255, 1, 1, 156, 255]
    assert read_image(tmp_path / "a.png", (1, 6, 1), "black")[0, :, 0].tolist() == [0, 0, 1, 1, 156, 255]


def test_backgrounds(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[..., 3] = [[0, 51, 255]]
    for ending in ("png", "webp", "tiff"):
        path = tmp_path / f"a.{ending}"
        Image.fromarray(pixels).save(path, **({"lossless": True, "exact": True} if ending == "webp" else {}))
        assert read_image(path, (1, 3, 3), (250, 100, 0)).tolist() == [[[250, 100, 0], [200, 80, 0], [0, 0, 0]]]
        assert read_image(path, (1, 3, 1), "black").any() == 0
        assert read_image(path, (1, 3, 1))[0, :, 0].tolist() == [255, 204, 0]


def test_a_large_jpeg_is_decoded_in_full(tmp_path):
    """As the same picture in PNG is; a reduced decoding would be far away."""
    blocks = np.random.default_rng(1).integers(0, 2, (15, 12, 1)).astype(np.uint8) * 255
    pixels = np.repeat(blocks, 5, axis=0).repeat(5, axis=1).repeat(3, axis=2)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as file:
        file.save(tmp_path / "a.png")
        whole = np.asarray(file).copy()
    assert np.array_equal(read_image(tmp_path / "a.jpg", (75, 60, 3)), whole)
    small = read_image(tmp_path / "a.jpg", (10, 8, 3))
    assert np.array_equal(small, read_image(tmp_path / "a.png", (10, 8, 3)))
    with Image.open(tmp_path / "a.jpg") as file:
        file.draft("RGB", (16, 20))
        assert file.size < (60, 75)
        assert abs(np.asarray(file.resize((8, 10), Image.Resampling.BILINEAR)).astype(int) - small).max() > 10


@pytest.mark.parametrize("ending", ["png", "jpeg", "bmp", "gif", "ppm", "webp", "tiff"])
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
    "text.png": "its content is not a supported image",
    "floats.tiff": "more than 16 bits",
    "fax.tiff": "its compression is group4; save it as PNG",
    "icon.ico": "its content is not a supported image",
    "bomb.png": "decompression bomb",
    "flat.png": "it would unpack to",
    "parts.png": "cut into far too many parts",
    "folder": "no such file",
    "pipe": "no such file",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_images(name, tmp_path, monkeypatch):
    path = tmp_path / name
    match name:
        case "text.png":
            path.write_text("hello")
        case "floats.tiff":
            Image.fromarray(PICTURE[..., 0].astype(np.float32)).save(path)
        case "fax.tiff":
            Image.fromarray(PICTURE[..., 0]).convert("1").save(path, compression="group4")
        case "icon.ico":
            Image.fromarray(PICTURE).save(path)
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
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
    with pytest.raises(DataError, match=f"{name}.*{REFUSED[name]}"):
        read_image(path, (6, 5, 3))


def test_a_network_that_takes_no_images(tmp_path):
    with pytest.raises(DataError, match="an image has shape"):
        read_image(tmp_path / "a.png", (64,))
