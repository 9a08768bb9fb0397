"""CIFAR's pickles: read right, refused when anything else, and never run."""

import os
import pickle
import pickletools
import random
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from dltrain.data.pictures import cifar10
from dltrain.data.pictures.cifar10 import Cifar10, read_batch
from dltrain.errors import DataError

TRAIN_FILES = [f"data_batch_{i}" for i in range(1, 6)]


def text(value: bytes) -> bytes:
    return b"U" + bytes([len(value)]) + value


def batch(labels: list[int], pixels: np.ndarray) -> bytes:
    """A batch file as Python 2 wrote it, opcode by opcode; pixels (n, 3072)."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85" + text(b"b") + b"\x87Rq\x09"
        b"(K\x01M" + struct.pack("<H", len(pixels)) + b"M\x00\x0c\x86"
        b"cnumpy\ndtype\nq\x0a" + text(b"u1") + b"K\x00K\x01\x87Rq\x0b"
        b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + struct.pack("<i", pixels.size) + pixels.tobytes() + b"tb"
    )
    names = b"".join(text(b"cat_%d.png" % i) + b"r" + struct.pack("<I", 256 + i) for i in range(len(labels)))
    return (
        b"\x80\x02}q\x01(" + text(b"batch_label") + b"q\x02" + text(b"training batch 1 of 5") + b"q\x03"
        + text(b"labels") + b"q\x04]q\x05(" + b"".join(bytes([ord("K"), label]) for label in labels) + b"e"
        + text(b"data") + b"q\x06" + array
        + text(b"filenames") + b"q\x0c]q\x0d(" + names + b"eu."
    )  # fmt: skip


def example(n: int = 3, seed: int = 0) -> tuple[list[int], np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 10, n).tolist(), rng.integers(0, 256, (n, 3072), np.uint8)


@pytest.fixture
def batch_file(tmp_path: Path):
    """Writes bytes to a file and reads them as a batch."""

    def read(data: bytes):
        path = tmp_path / "data_batch_1"
        path.write_bytes(data)
        return read_batch(path)

    return read


def test_the_miniature_is_what_it_seems():
    labels, pixels = example()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy.core has moved since Python 2
        loaded = pickle.loads(batch(labels, pixels), encoding="bytes")
    assert loaded[b"labels"] == labels
    assert np.array_equal(loaded[b"data"], pixels)


def test_reads_planes_and_labels(batch_file):
    labels, pixels = example()
    planes, read_labels = batch_file(batch(labels, pixels))
    assert read_labels == labels
    assert np.array_equal(planes, pixels.reshape(-1, 3, 32, 32))


def test_loads_channels_last(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    parts = {name: example(2 + i, seed=i) for i, name in enumerate([*TRAIN_FILES, "test_batch"])}
    for name, part in parts.items():
        (folder / name).write_bytes(batch(*part))
    splits = Cifar10().load(tmp_path)
    pixels = np.concatenate([parts[name][1] for name in TRAIN_FILES])
    train = splits["train"]
    assert train.inputs.shape == (len(pixels), 32, 32, 3) and train.inputs.flags.c_contiguous
    for red_green_blue in range(3):
        plane = pixels[:, red_green_blue * 1024 : (red_green_blue + 1) * 1024].reshape(-1, 32, 32)
        assert np.array_equal(train.inputs[..., red_green_blue], plane)
    assert train.targets.tolist() == [label for name in TRAIN_FILES for label in parts[name][0]]
    assert splits["test"].targets.tolist() == parts["test_batch"][0]


def test_the_test_part_needs_only_its_file(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(batch(*example()))
    assert Cifar10().load(tmp_path, only="test").keys() == {"test"}


def test_a_file_that_grows_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    path.parent.mkdir()
    path.write_bytes(batch(*example()))
    read = cifar10.read_batch
    monkeypatch.setattr(cifar10, "read_batch", lambda path: path.write_bytes(batch(*example(5))) and read(path))
    with pytest.raises(DataError, match=r"test_batch: it has grown while it was read"):
        Cifar10().load(tmp_path, only="test")


GOOD = batch(*example())
DAMAGE = {
    "empty": b"",
    "cut off": GOOD[:5000],
    "no stop": GOOD[:-1],
    "other protocol": GOOD.replace(b"\x80\x02", b"\x80\x03"),
    "a shell command": b"cos\nsystem\nU\x04true\x85R.",
    "a shell command as data": GOOD.replace(b"cnumpy\nndarray\n", b"cos\nsystem\n"),
    "other opcode": GOOD[:-1] + b"0.",
    "memo read back": GOOD[:-1] + b"h\x01.",
    "a list of itself": b"\x80\x02]q\x01.",
    "floats": GOOD.replace(text(b"u1"), text(b"f1")),
    "big endian order": GOOD.replace(text(b"|"), text(b">")),
    "fortran order": GOOD.replace(b"\x89T", b"NT"),
    "other shape": GOOD.replace(b"M\x00\x0c\x86", b"M\x00\x06\x86"),
    "label 10": GOOD.replace(b"q\x05(K", b"q\x05(K\x0aK", 1),
    "label is a text": GOOD.replace(b"q\x05(", b"q\x05(U\x01a"),
    "no labels": GOOD.replace(text(b"labels"), text(b"babels")),
    "key is a list": GOOD.replace(text(b"labels"), b"]"),
    "odd number of items": GOOD[:-2] + b"Nu.",
    "append to nothing": b"\x80\x02(e.",
    "no mark": b"\x80\x02]e.",
    "a name without end": b"\x80\x02c" + b"a" * 200,
    "marks without end": b"\x80\x02" + b"(" * 300_000,
    "deep": b"\x80\x02N" + b"\x85" * 190_000 + b".",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_refuses(name, batch_file):
    with pytest.raises(DataError, match=r"data_batch_1: damaged"):
        batch_file(DAMAGE[name])


def test_says_which_opcode_and_where(batch_file):
    with pytest.raises(DataError, match=r"data_batch_1: damaged at byte 2: opcode b'0' has no place"):
        batch_file(b"\x80\x020.")


def mutated(data: bytes, structure: list[int], draw: random.Random) -> bytes:
    """One of five kinds of damage, mostly in the bytes that are not pixels."""
    at = draw.choice(structure) if draw.random() < 0.8 else draw.randrange(len(data))
    match draw.randrange(5):
        case 0:
            return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]
        case 1:
            return data[:at] + bytes([draw.choice(b"\x80}]NKMJUTcqr(t\x85\x86\x87\x88\x89eubR.hj0")]) + data[at + 1 :]
        case 2:
            return data[:at]
        case 3:
            return data[:at] + data[at + draw.randrange(1, 9) :]
        case _:
            piece = draw.choice(structure)
            return data[:at] + data[piece : piece + draw.randrange(1, 40)] + data[at:]


def test_damage_gives_only_data_errors(batch_file):
    labels, pixels = example()
    good = batch(labels, pixels)
    start = good.index(pixels.tobytes())
    structure = [i for i in range(len(good)) if not start <= i < start + pixels.size]
    draw = random.Random(20)
    outcomes = {"refused": 0, "identical": 0, "different": 0}
    for _ in range(4000):
        try:
            planes, read_labels = batch_file(mutated(good, structure, draw))
        except DataError:
            outcomes["refused"] += 1
            continue
        assert planes.dtype == np.uint8 and planes.shape == (len(read_labels), 3, 32, 32)
        assert all(0 <= label < 10 for label in read_labels)
        same = read_labels == labels and np.array_equal(planes.reshape(-1, 3072), pixels)
        outcomes["identical" if same else "different"] += 1
    print(outcomes)
    assert outcomes["refused"] > 2000 and outcomes["identical"] > 100


@pytest.mark.skipif("DLTRAIN_DATA" not in os.environ, reason="DLTRAIN_DATA is not set")
def test_real_file():
    path = Path(os.environ["DLTRAIN_DATA"]) / "cifar-10-batches-py" / "test_batch"
    planes, labels = read_batch(path)
    assert planes.shape == (10_000, 3, 32, 32)
    assert np.bincount(labels).tolist() == [1000] * 10
    real = {opcode.name for opcode, _, _ in pickletools.genops(path.read_bytes())}
    assert real == {opcode.name for opcode, _, _ in pickletools.genops(GOOD)}, "the miniature has other opcodes"
