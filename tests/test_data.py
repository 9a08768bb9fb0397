"""Data sets and their preparation; real data only where DLTRAIN_DATA says where it is."""

import gzip
import json
import os
import random
import struct
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dltrain.data import (
    AUGMENTATIONS,
    SOURCES,
    Column,
    Cuts,
    MissingData,
    Pixels,
    Preprocessing,
    Split,
    apply,
    default_data_dir,
    generated,
    load_split,
    prepare,
)
from dltrain.data.pictures.digits import Digits
from dltrain.data.pictures.fashion_mnist import FashionMnist
from dltrain.data.pictures.mnist import Mnist, read_idx
from dltrain.data.preprocess import LATER
from dltrain.errors import ConfigError, DataError, ShapeError

REAL = pytest.mark.skipif("DLTRAIN_DATA" not in os.environ, reason="DLTRAIN_DATA is not set")
COMMON = [
    "classes", "test", "validation", "fold", "stratified", "per_class", "split_seed", "class_weights", "normalize",
    "normalize_targets", "augment", "mixup",
]  # fmt: skip
TOY = ["examples", "noise", "features", "seed"]

# name -> settings, input shape, classes, examples by split and class, mean and deviation of the training part in
# units of white, as published; None: no images of fixed number (their own tests: test_npz.py, test_table.py,
# test_toys.py, test_image_folder.py, test_text.py, test_pictures_to_make.py; fashion_mnist is read as mnist is)
FACTS: dict[str, tuple[list[str], Any]] = {
    "digits": (
        ["noise"],
        ((8, 8, 1), "0 9", [376, 389, 380, 389, 387, 376, 377, 387, 380, 382],
         [178, 182, 177, 183, 181, 182, 181, 179, 174, 180], [0.3077], [0.3773]),
    ),
    "mnist": (
        [],
        ((28, 28, 1), "0 9", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
         [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], [0.1307], [0.3081]),
    ),
    "cifar10": (
        [],
        ((32, 32, 3), "airplane truck", [5000] * 10, [1000] * 10, [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
    ),
    "npz": (["path", "pixel_range"], None),
    "csv": (
        ["path", "target", "test_path", "task", "columns", "ignore", "categorical", "missing", "missing_values",
         "delimiter", "decimal", "thousands", "label_separator", "group", "time"], None,
    ),
    "penguins": (["missing"], None),
    "faces": (["pairs", "target", "hold_out", "only"], None),
    "openmoji": (["path", "target", "skin_tones", "vocabulary", "length"], None),
    "digit_codes": (["codes", "length", "noise", "examples", "digits"], None),
    "pictures": (["content", "style", "size", "crops", "times", "test_content"], None),
    "mnist_photographs": (["background"], None),
    "fashion_mnist": ([], None),
    "text": (["path", "length", "stride", "held_out", "targets", "unit", "vocabulary"], None),
    "image_folder": (["path", "size", "channels", "background", "memory"], None),
    **{name: (TOY, None) for name in ("circle", "xor", "spiral", "gaussians")},
    "signals": (["examples", "length", "noise", "seed"], None),
    "volumes": (["examples", "size", "noise", "seed"], None),
    "valley": (["examples", "dimensions", "condition", "seed"], None),
}  # fmt: skip


def data_dir() -> Path:
    return Path(os.environ.get("DLTRAIN_DATA", "nowhere"))


def test_every_data_set_has_a_case():
    assert set(FACTS) == set(SOURCES)


@pytest.mark.parametrize("name", FACTS)
def test_settings(name):
    assert list(SOURCES.settings(name)) == FACTS[name][0] + COMMON


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == "digits" else REAL) for n in FACTS if FACTS[n][1]])
def test_facts(name):
    shape, ends, train_counts, test_counts, mean, std = FACTS[name][1]
    source = SOURCES[name]()
    assert source.input_shape == shape and source.outputs == len(source.classes) == 10
    assert ends.split() == [source.classes[0], source.classes[-1]]
    prepared = prepare(source, data_dir(), seed=0)
    for split, counts in (("train", train_counts), ("test", test_counts)):
        examples = prepared.splits[split]
        assert examples.inputs.shape == (sum(counts), *shape)
        assert examples.inputs.dtype == np.uint8 and examples.inputs.flags.c_contiguous
        assert examples.targets.dtype == np.int64 and np.bincount(examples.targets).tolist() == counts
        assert examples.inputs.max() == source.pixels.white and examples.inputs.min() == source.pixels.black == 0
    np.testing.assert_allclose(np.array(prepared.preprocessing.mean) / source.pixels.white, mean, atol=5e-5)
    np.testing.assert_allclose(np.array(prepared.preprocessing.std) / source.pixels.white, std, atol=5e-5)


def test_digits_are_attributed():
    text = files("dltrain.data").joinpath("files", "ATTRIBUTION.md").read_text()
    assert all(word in text for word in ("Alpaydin", "Kaynak", "UCI", "CC BY 4.0"))


@REAL
@pytest.mark.parametrize("name", ["optdigits.tra", "optdigits.tes"])
def test_digits_are_the_originals(name):
    shipped = files("dltrain.data").joinpath("files", name + ".gz").read_bytes()
    assert gzip.decompress(shipped) == (data_dir() / "digits" / name).read_bytes()


# Where the files are


@pytest.mark.parametrize(
    ("name", "missing", "page"),
    [
        ("mnist", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"], "http://yann.lecun.com/exdb/mnist/"),
        (
            "fashion_mnist",
            ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"],
            "https://github.com/zalandoresearch/fashion-mnist",
        ),
        ("cifar10", ["data_batch_1", "data_batch_5", "test_batch"], "https://www.cs.toronto.edu/~kriz/cifar.html"),
    ],
)
def test_missing_files(name, missing, page, tmp_path):
    with pytest.raises(MissingData) as caught:
        SOURCES[name]().load(tmp_path)
    message = str(caught.value)
    for part in [*missing, page, str(tmp_path), "--data-dir", "DLTRAIN_DATA"]:
        assert part in message
    with pytest.raises(MissingData) as caught:
        SOURCES[name]().load(tmp_path, only="test")
    assert missing[0] not in str(caught.value) and missing[-1] in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "platform", "expected"),
    [
        ({"DLTRAIN_DATA": "/data"}, "linux", "/data"),
        ({"DLTRAIN_DATA": "~/data", "XDG_CACHE_HOME": "/cache"}, "linux", "/home/ada/data"),
        ({"DLTRAIN_DATA": "", "XDG_CACHE_HOME": "/cache"}, "linux", "/cache/dltrain"),
        ({}, "linux", "/home/ada/.cache/dltrain"),
        ({}, "darwin", "/home/ada/Library/Caches/dltrain"),
    ],
)
def test_default_data_dir(variables, platform, expected, monkeypatch):
    for name in ("DLTRAIN_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/ada", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    assert default_data_dir() == Path(expected)


# MNIST's files


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder: Path, name: str = "mnist", **changes: bytes) -> dict[str, np.ndarray]:
    """Miniatures of the four files; the changes (train_images=…) are written instead."""
    rng = np.random.default_rng(0)
    arrays = {}
    (folder / name).mkdir()
    for part, short, n in (("train", "train", 6), ("t10k", "test", 4)):
        arrays[f"{short}_images"] = rng.integers(0, 256, (n, 28, 28), np.uint8)
        arrays[f"{short}_labels"] = rng.integers(0, 10, n).astype(np.uint8)
        for kind, file in (("images", "images-idx3"), ("labels", "labels-idx1")):
            content = changes.get(f"{short}_{kind}", gzip.compress(idx(arrays[f"{short}_{kind}"])))
            (folder / name / f"{part}-{file}-ubyte.gz").write_bytes(content)
    return arrays


@pytest.mark.parametrize("source", [Mnist, FashionMnist])
def test_mnist(source, tmp_path):
    arrays = write_mnist(tmp_path, source.folder)
    splits = source().load(tmp_path)
    for name, split in splits.items():
        assert np.array_equal(split.inputs[..., 0], arrays[f"{name}_images"])
        assert split.targets.tolist() == arrays[f"{name}_labels"].tolist()


IMAGES = np.zeros((6, 28, 28), np.uint8)
LABELS = np.zeros(6, np.uint8)


@pytest.mark.parametrize(
    "changes",
    [
        {"train_images": b""},
        {"train_images": b"<html>not found</html>"},
        {"train_images": gzip.compress(idx(IMAGES))[:-9]},
        {"train_images": gzip.compress(idx(IMAGES)[:-1])},
        {"train_images": gzip.compress(idx(IMAGES) + b"\0")},
        {"train_images": gzip.compress(idx(IMAGES)) + gzip.compress(b"")},
        {"train_images": gzip.compress(idx(IMAGES)[:9])},
        {"train_images": gzip.compress(idx(LABELS))},
        {"train_images": gzip.compress(idx(IMAGES[:5]))},
        {"train_images": gzip.compress(idx(IMAGES[:, 1:]))},
        {"train_images": gzip.compress(idx(IMAGES[:0])), "train_labels": gzip.compress(idx(LABELS[:0]))},
        {"train_images": gzip.compress(bytes((0, 0, 8, 3)) + b"\xff" * 12)},
        {"train_labels": gzip.compress(idx(LABELS + 10))},
    ],
)
def test_damaged_mnist(changes, tmp_path):
    write_mnist(tmp_path, **changes)
    with pytest.raises(DataError, match=r"yann\.lecun\.com"):
        Mnist().load(tmp_path)


@pytest.mark.parametrize("name", ["{}-{}-idx{}-ubyte", "{}-{}.idx{}-ubyte"])
def test_mnist_unpacked(name, tmp_path):
    arrays = write_mnist(tmp_path)
    packed = Mnist().load(tmp_path)
    for file in (tmp_path / "mnist").iterdir():
        prefix, kind, idx_name, _ = file.name.split("-")
        file.with_name(name.format(prefix, kind, idx_name[3:])).write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    unpacked = Mnist().load(tmp_path)
    assert {split: unpacked[split].sha256() for split in unpacked} == {s: packed[s].sha256() for s in packed}
    assert np.array_equal(unpacked["train"].inputs[..., 0], arrays["train_images"])
    (file,) = (tmp_path / "mnist").glob("t10k-labels*")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{file.name}: damaged: it holds 3 values"):
        Mnist().load(tmp_path)


def test_damaged_idx_gives_only_data_errors(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (2, 5, 5), np.uint8)
    good, path, draw = gzip.compress(idx(array)), tmp_path / "a.gz", random.Random(1)
    refused = 0
    for _ in range(1500):
        at = draw.randrange(len(good))
        damage = [
            bytes([draw.randrange(256)]) + good[at + 1 :],
            b"",
            good[at + draw.randrange(1, 5) :],
            b"?" + good[at:],
        ]
        path.write_bytes(good[:at] + draw.choice(damage))
        try:
            assert np.array_equal(read_idx(path, dimensions=3), array), "damage was not noticed"
        except DataError:
            refused += 1
    assert refused > 1000


# Cutting, learning, normalising


def test_validation_is_cut_by_the_seed():
    whole = Digits().load(data_dir())["train"]
    prepared = prepare(Digits(), data_dir(), cuts=Cuts(validation=100), seed=1)
    train, held = prepared.splits["train"], prepared.splits["validation"]
    assert list(prepared.splits) == ["train", "validation", "test"] and (len(train), len(held)) == (3723, 100)
    assert sorted(map(bytes, [*train.inputs, *held.inputs])) == sorted(map(bytes, whole.inputs))
    learned_from = train.inputs.mean(dtype=np.float64)
    assert prepared.preprocessing.mean[0] == pytest.approx(learned_from, rel=1e-14) != whole.inputs.mean()
    again = load_split(Digits(), data_dir(), "validation", cuts=Cuts(validation=100), seed=1)
    assert np.array_equal(again.inputs, held.inputs) and np.array_equal(again.targets, held.targets)
    other = load_split(Digits(), data_dir(), "validation", cuts=Cuts(validation=100), seed=2)
    assert not np.array_equal(other.inputs, held.inputs)
    assert len(load_split(Digits(), data_dir(), "train", cuts=Cuts(validation=0.1), seed=1)) == 3823 - 382
    assert len(load_split(Digits(), data_dir(), "test", cuts=Cuts(validation=0.1), seed=1)) == 1797


@pytest.mark.parametrize("validation", [3823, 5000, 0.0001, 0.99999])
def test_validation_that_leaves_nothing(validation):
    with pytest.raises(ConfigError, match=r"data\.validation"):
        prepare(Digits(), data_dir(), cuts=Cuts(validation=validation), seed=0)


def test_no_such_split():
    with pytest.raises(DataError, match="no validation split"):
        load_split(Digits(), data_dir(), "validation", seed=0)


def test_own_validation_examples(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(20, 64)), np.arange(20) % 3
    arrays = {f"{letter}_{name}": part for name in ("train", "validation") for letter, part in (("x", x), ("y", y))}
    np.savez(tmp_path / "a.npz", **arrays)
    source = SOURCES["npz"](path=str(tmp_path / "a.npz"))
    assert list(prepare(source, tmp_path, seed=0).splits) == ["train", "validation"]
    assert len(load_split(source, tmp_path, "validation", seed=0)) == 20
    with pytest.raises(ConfigError, match="of its own"):
        prepare(source, tmp_path, cuts=Cuts(validation=5), seed=0)
    with pytest.raises(ShapeError, match="flip"):
        prepare(source, tmp_path, augment=(AUGMENTATIONS["flip"](),), seed=0)


@pytest.mark.parametrize("shape", [(700, 6, 5, 3), (4000, 7), (3, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_normalising(shape, dtype):
    inputs = np.random.default_rng(0).integers(3, 250, shape).astype(dtype)
    inputs[..., 0] = 7  # a constant channel stays finite
    split = Split(inputs, np.zeros(len(inputs), np.int64))
    learned = Preprocessing.learn(split, classes=("a", "b"), normalize="channel")
    wide = inputs.reshape(-1, shape[-1]).astype(np.float64)
    std = np.where(wide.std(axis=0) == 0, 1, wide.std(axis=0))
    np.testing.assert_allclose(learned.mean, wide.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(learned.std, std, rtol=1e-12)
    for target, rtol in ((np.float32, 1e-5), (np.float64, 1e-12)):
        normal = apply(inputs, *learned.scale_and_shift(target))
        assert normal.dtype == target and not np.shares_memory(normal, inputs)
        np.testing.assert_allclose(normal, (inputs - wide.mean(axis=0)) / std, rtol=rtol, atol=rtol)


def test_no_normalising():
    prepared = prepare(Digits(), data_dir(), normalize="none", seed=0)
    inputs = prepared.splits["test"].inputs
    assert np.array_equal(apply(inputs, *prepared.preprocessing.scale_and_shift()), inputs)


KNOWN = Pixels(0.0, 16.0, False, (1, 2, 3), (8, 8), True, (0.1, 0.9))
LEARNED = [
    Preprocessing((8, 8, 1), ("a", "b"), "channel", (1 / 3,), (0.1,), KNOWN),
    Preprocessing((3,), None, "none", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), Pixels()),
    Preprocessing(
        (3,), None, "channel", (0.5, 0.0, 0.0), (2.0, 1.0, 1.0), Pixels(),
        (Column("a", None), Column("b", ("x", "é"))), (0.5, 0.0, 0.0),
    ),
]  # fmt: skip


@pytest.mark.parametrize("learned", LEARNED)
def test_json(learned):
    assert Preprocessing.from_json(json.loads(json.dumps(learned.to_json()))) == learned


@pytest.mark.parametrize(
    "change",
    [
        {"input_shape": []}, {"input_shape": [8, 8, 0]}, {"input_shape": [8, 8, True]}, {"input_shape": "881"},
        {"input_shape": [8, 10**4000, 1]},
        {"classes": []}, {"classes": ["a", "a"]}, {"classes": ["a", 1]}, {"classes": [["a"], ["b"]]}, {"classes": "ab"},
        {"normalize": "both"}, {"normalize": ["channel"]}, {"mean": [0.0, 0.0]}, {"mean": [0]}, {"mean": None},
        {"mean": [float("nan")]}, {"mean": [1e308]}, {"std": [0.0]}, {"std": [-1.0]}, {"std": [float("inf")]},
        {"mean": [float("-inf")]}, {"std": []}, {"white": 255.0}, {"pixels": None}, {"pixels": {}}, {"extra": 1},
        {"columns": []}, {"columns": [["a", None], ["b", None]]}, {"columns": [["a", []]]}, {"columns": [["a", [1]]]},
        {"columns": [[1, None]]}, {"columns": ["a"]}, {"columns": "a"}, {"fill": []}, {"fill": [0.0, 0.0]},
        {"fill": [float("nan")]}, {"fill": [0]}, {"fill": 0.0},
    ],
    ids=str,
)  # fmt: skip
def test_malformed_json(change):
    with pytest.raises(DataError, match="damaged"):
        Preprocessing.from_json(LEARNED[0].to_json() | change)
    for key in LEARNED[0].to_json().keys() - LATER:  # which older files do not have
        with pytest.raises(DataError, match="damaged"):
            Preprocessing.from_json({k: v for k, v in LEARNED[0].to_json().items() if k != key})
    with pytest.raises(DataError, match="damaged"):
        Preprocessing.from_json([])


@pytest.mark.parametrize("white", [16.0, 0.0, 255, float("nan"), float("inf"), "255", None])
def test_json_of_before_there_were_pixels(white):
    raw = {key: value for key, value in LEARNED[1].to_json().items() if key not in ("pixels", "class_weights")}
    if white == 16.0:
        assert Preprocessing.from_json(raw | {"white": white}) == replace(LEARNED[1], pixels=Pixels(white=16.0))
    else:
        with pytest.raises(DataError, match="damaged"):
            Preprocessing.from_json(raw | {"white": white})


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10", "npz", "penguins", "xor"])
def test_generated(name, tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.ones((4, 6)), y_train=np.ones((4, 2)))
    source = SOURCES[name](**({"path": str(tmp_path / "a.npz")} if name == "npz" else {}))
    prepared = generated(source, seed=3, examples=30)
    assert list(prepared.splits) == ["train", "validation", "test"]
    for split in prepared.splits.values():
        assert split.inputs.shape == (30, *source.input_shape)
        assert split.targets.shape == ((30, 2) if source.classes is None else (30,))
        assert split.targets.dtype == (np.float32 if source.classes is None else np.int64)
    assert prepared.preprocessing.classes == source.classes
    again = generated(source, seed=3, examples=30).splits["train"]
    assert np.array_equal(again.inputs, prepared.splits["train"].inputs)
