"""npz files: what is read, what is refused, and that damage is one kind of error."""

import io
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dltrain.data import MissingData, Npz, read_inputs
from dltrain.errors import DataError

X = np.arange(5 * 4 * 3 * 1, dtype=np.uint8).reshape(5, 4, 3, 1)
Y = np.array([0, 2, 1, 2, 0])


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_classes(tmp_path, save):
    path = tmp_path / "a.npz"
    save(path, x_train=X, y_train=Y, x_test=X[:2], y_test=Y[:2], x_validation=X[1:2], y_validation=Y[1:2])
    source = Npz(path=str(path))
    assert (source.input_shape, source.classes, source.outputs, source.pixels) == ((4, 3, 1), ("0", "1", "2"), 3, None)
    splits = source.load(tmp_path)
    assert {name: len(split) for name, split in splits.items()} == {"train": 5, "validation": 1, "test": 2}
    assert np.array_equal(splits["train"].inputs, X) and splits["train"].inputs.dtype == np.uint8
    assert splits["train"].targets.dtype == np.int64 and splits["train"].targets.tolist() == Y.tolist()
    assert source.load(tmp_path, only="test").keys() == {"test"}


def test_class_names(tmp_path):
    path = write(tmp_path / "a.npz", x_train=X, y_train=Y.astype(np.uint8), class_names=["cat", "dog", "émeu", "fox"])
    assert Npz(path=str(path)).classes == ("cat", "dog", "émeu", "fox")


@pytest.mark.parametrize(("y", "outputs"), [(Y / 2, 1), (np.ones((5, 2), np.float32), 2)])
def test_regression(tmp_path, y, outputs):
    path = write(tmp_path / "a.npz", x_train=np.asfortranarray(X[:, :, 0, 0].astype(">f8")), y_train=y)
    source = Npz(path=str(path))
    assert (source.input_shape, source.classes, source.outputs) == ((4,), None, outputs)
    train = source.load(tmp_path)["train"]
    assert train.inputs.dtype == train.targets.dtype == np.float32
    assert train.inputs.flags.c_contiguous and np.array_equal(train.inputs, X[:, :, 0, 0])
    assert np.array_equal(train.targets, y.reshape(5, outputs))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no training part": ({"x_test": X, "y_test": Y}, "x_train and y_train are needed"),
    "no targets": ({"x_train": X}, "x_train and y_train are needed"),
    "half a test part": ({"x_train": X, "y_train": Y, "y_test": Y}, "x_test and y_test are needed"),
    "unknown name": ({"x_train": X, "y_train": Y, "x_tets": X}, "unknown array 'x_tets'"),
    "too few targets": ({"x_train": X, "y_train": Y[:4]}, "not 5 and 4"),
    "no axis": ({"x_train": Y, "y_train": Y}, r"x must be numbers \(N, …\)"),
    "text": ({"x_train": X.astype(str), "y_train": Y}, "x must be numbers"),
    "whole numbers (N, k)": ({"x_train": X, "y_train": X[:, 0, 0]}, "y must be whole numbers"),
    "objects": ({"x_train": np.array([None] * 5), "y_train": Y}, "x_train is not an array of numbers"),
    "complex": ({"x_train": X * 1j, "y_train": Y}, "x_train is not an array of numbers"),
    "empty": ({"x_train": X[:0], "y_train": Y[:0]}, "is empty"),
    "other shape": ({"x_train": X, "y_train": Y, "x_test": X[:, 1:], "y_test": Y}, "of another kind"),
    "other targets": ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y / 2}, "of another kind"),
    "negative class": ({"x_train": X, "y_train": Y - 1}, "holds classes -1 to 1"),
    "unknown test class": ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "y_test holds classes 1 to 3"),
    "large class": ({"x_train": X, "y_train": Y * 10**9}, "reaches 2000000000"),
    "too few names": ({"x_train": X, "y_train": Y, "class_names": ["a", "b"]}, "there are 2"),
    "equal names": ({"x_train": X, "y_train": Y, "class_names": ["a", "b", "a"]}, "different, printable"),
    "numbers as names": ({"x_train": X, "y_train": Y, "class_names": [1, 2, 3]}, "array of text"),
    "nan": ({"x_train": np.where(X == 7, np.nan, X), "y_train": Y}, "x_train holds values that are not finite"),
    "too large": ({"x_train": X * 1e300, "y_train": Y}, "not finite"),
    "infinite target": ({"x_train": X, "y_train": Y * np.array([1, 1, 1, np.inf, 1])}, "y_train holds values"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name, tmp_path):
    arrays, message = REFUSED[name]
    with pytest.raises(DataError, match=message), np.errstate(invalid="ignore"):
        Npz(path=str(write(tmp_path / "a.npz", **arrays))).load(tmp_path)


def test_missing_file(tmp_path):
    with pytest.raises(MissingData, match="no such file"):
        _ = Npz(path=str(tmp_path / "a.npz")).classes


def member(header: str, content: bytes) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"
MEMBERS: dict[str, list[tuple[str, bytes]]] = {
    "header larger than content": [("x_train.npy", member(HEADER.format("|u1", "(1000000000, 4)"), b"1234"))],
    "no bytes an item": [("x_train.npy", member(HEADER.format("|V0", "(1000000000,)"), b""))],
    "negative shape": [("x_train.npy", member(HEADER.format("|u1", "(-2, -2)"), b"1234"))],
    "wide axis of nothing": [("x_train.npy", member(HEADER.format("|u1", "(0, 999999999999)"), b""))],
    "code in the header": [("x_train.npy", member("__import__('os').system('true')", b""))],
    "equal names": [("x_train.npy", npy(X)), ("x_train.npy", npy(X)), ("y_train.npy", npy(Y))],
    "a path": [("../x_train.npy", npy(X)), ("y_train.npy", npy(Y))],
    "no array": [("x_train.npy", npy(X)), ("y_train.npy", npy(Y)), ("notes.txt", b"hello")],
    "bomb": [("x_train.npy", member(HEADER.format("|u1", "(300, 1000000)"), bytes(300_000_000)))],
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", MEMBERS)
def test_refuses_members(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file_name, content in MEMBERS[name]:
            archive.writestr(file_name, content)
    with pytest.raises(DataError):
        Npz(path=str(tmp_path / "a.npz")).load(tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_gives_only_data_errors(tmp_path, save):
    path, draw = tmp_path / "a.npz", random.Random(3)
    save(path, x_train=X, y_train=Y, class_names=["a", "b", "c"])
    good = path.read_bytes()
    outcomes = {"refused": 0, "identical": 0, "different": 0}
    for _ in range(1500):
        at = draw.randrange(len(good))
        path.write_bytes(
            draw.choice(
                [
                    good[:at] + bytes([draw.randrange(256)]) + good[at + 1 :],
                    good[:at] + bytes([good[at] ^ (1 << draw.randrange(8))]) + good[at + 1 :],
                    good[:at],
                    good[:at] + good[at + draw.randrange(1, 9) :],
                    good[:at] + draw.randbytes(4) + good[at:],
                ]
            )
        )
        try:
            source = Npz(path=str(path))
            train = source.load(tmp_path)["train"]
        except DataError:
            outcomes["refused"] += 1
            continue
        same = (
            np.array_equal(train.inputs, X) and np.array_equal(train.targets, Y) and source.classes == ("a", "b", "c")
        )
        outcomes["identical" if same else "different"] += 1
    print(outcomes)
    assert outcomes["different"] == 0 and outcomes["refused"] > 700


@pytest.mark.parametrize("arrays", [{"x": X}, {"x_test": X, "y_test": Y}, {"pictures": X}, {"x": X, "x_test": X[:1]}])
def test_read_inputs(tmp_path, arrays):
    assert np.array_equal(read_inputs(write(tmp_path / "a.npz", **arrays), (4, 3, 1)), X)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": X, "b": X}, "call the inputs x"),
        ({}, "call the inputs x"),
        ({"x": X[..., 0]}, r"x is uint8 \(5, 4, 3\), but"),
        ({"x": X[0]}, r"uint8 \(4, 3, 1\), but"),
        ({"x": X * np.nan}, "not finite"),
    ],
)
def test_read_inputs_refuses(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        read_inputs(write(tmp_path / "a.npz", **arrays), (4, 3, 1))


def test_refuses_a_long_list_of_members(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for i in range(2000):
            archive.writestr(f"{i}.npy", b"")
    with pytest.raises(DataError, match=r"its list of members has [\d,]+ bytes"):
        Npz(path=str(tmp_path / "a.npz")).load(tmp_path)
