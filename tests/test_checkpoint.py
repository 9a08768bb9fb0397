"""A checkpoint gives back what was saved to the bit, or a RunError; nothing in between."""

import os
import random
import struct
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import EVERY_LAYER, checkpoint, images, make_job, train, weights_of
from conftest import DEVICES, device_of
from hypothesis import given, settings
from hypothesis import strategies as st

from dltrain.errors import RunError
from dltrain.run import files
from dltrain.run.checkpoint import PARTS, Checkpoint, weights_sha256
from dltrain.run.progress import Position


def assert_same(found: Checkpoint, expected: Checkpoint) -> None:
    for part in PARTS:
        arrays, right = getattr(found, part), getattr(expected, part)
        assert arrays.keys() == right.keys()
        for name, array in right.items():
            assert (arrays[name].dtype, arrays[name].shape) == (array.dtype, array.shape)
            assert arrays[name].tobytes() == array.tobytes()
    for part in vars(expected).keys() - {*PARTS}:
        assert getattr(found, part) == getattr(expected, part)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "step-00000012.safetensors"
    checkpoint().write(path)
    assert_same(Checkpoint.read(path), checkpoint())
    assert os.listdir(tmp_path) == [path.name], "nothing temporary is left"


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(1,), (0, 3), (2, 3, 4)])
def test_kinds_of_arrays(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    for layout in (array, np.asfortranarray(array), np.repeat(array, 2, axis=0)[::2]):
        kept = replace(checkpoint(), weights={"a.weight": layout, "b.weight": layout})
        kept.write(tmp_path / "x")
        assert_same(Checkpoint.read(tmp_path / "x"), kept)


def test_special_values_survive(tmp_path: Path) -> None:
    values = np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324, np.finfo(np.float32).tiny])
    kept = replace(checkpoint(), weights={"a.weight": values})
    kept.write(tmp_path / "x")
    assert_same(Checkpoint.read(tmp_path / "x"), kept)


@pytest.mark.parametrize("device_name", DEVICES)
def test_a_training_keeps_all_of_itself(device_name: str, tmp_path: Path) -> None:
    job = make_job(EVERY_LAYER["deep"], {"train": images(70)}, device=device_of(np.float32, device_name))
    result, run = train(job, tmp_path)
    kept = run.checkpoint("last")
    assert weights_sha256(kept.weights) == result["weights_sha256"] == weights_sha256(weights_of(job))
    assert all(isinstance(array, np.ndarray) for array in (kept.weights | kept.optimizer).values())
    assert kept.optimizer.keys() == {f"{name}/{slot}" for name in kept.weights for slot in ("mean", "square")}
    assert kept.position == Position(step=8, epoch=2, done=4)
    assert kept.preprocessing == job.preprocessing
    assert kept.config == run.config.read_text()


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("intact") / "x"
    checkpoint().write(path)
    return path.read_bytes()


def refused(data: bytes, folder: Path) -> str:
    path = folder / "damaged"
    path.write_bytes(data)
    with pytest.raises(RunError) as caught:
        Checkpoint.read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_file_cut_short_anywhere_is_refused(intact: bytes, tmp_path: Path) -> None:
    for length in {*range(0, len(intact), 5), len(intact) - 1}:
        refused(intact[:length], tmp_path)
    refused(intact + b"\0", tmp_path)


def test_a_flipped_bit_anywhere_is_refused(intact: bytes, tmp_path: Path) -> None:
    rng = random.Random(0)
    for at in range(rng.randrange(5), len(intact), 5):
        damaged = bytearray(intact)
        damaged[at] ^= 1 << rng.randrange(8)
        refused(bytes(damaged), tmp_path)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_damage_goes_unnoticed_or_gives_another_error(
    data: st.DataObject, intact: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Several bytes replaced, removed or doubled, mostly in the header."""
    folder = tmp_path_factory.mktemp("fuzz")
    start = data.draw(st.integers(0, len(intact) - 1) | st.integers(0, 60))
    length = data.draw(st.integers(0, 40))
    piece = data.draw(st.binary(max_size=40) | st.just(intact[start : start + length] * 2))
    damaged = intact[:start] + piece + intact[start + length :]
    path = folder / "damaged"
    path.write_bytes(damaged)
    try:
        found = Checkpoint.read(path)
    except RunError:
        return
    assert_same(found, checkpoint())  # a blank in the header may have become another one


def test_messages(tmp_path: Path, intact: bytes) -> None:
    with pytest.raises(RunError, match="there is no such checkpoint"):
        Checkpoint.read(tmp_path / "absent")
    with pytest.raises(RunError, match="damaged checkpoint"):
        Checkpoint.read(tmp_path)
    assert "header is too large" in refused(b"\xff" * 100, tmp_path)
    assert "damaged checkpoint" in refused(b"", tmp_path)
    newer = intact.replace(b'\\"format\\": 2', b'\\"format\\": 3')
    assert newer != intact and "format 3, but this dltrain reads format 2" in refused(newer, tmp_path)


# --- the hash of the weights -----------------------------------------------------------------------------------------


def test_the_hash_is_over_names_dtypes_shapes_and_little_endian_bytes() -> None:
    array = np.arange(6, dtype=np.float32)
    weights = {"a": array, "b": array.reshape(2, 3)}
    same = {"b": np.asfortranarray(array.reshape(2, 3)), "a": array.astype(">f4")}
    assert weights_sha256(weights) == weights_sha256(same), "neither order, layout nor byte order count"
    bit = array.copy()
    bit.view(np.uint32)[3] ^= 1
    others = [
        {"a": array}, {"a": array, "c": array.reshape(2, 3)}, {"a": array, "b": array.reshape(3, 2)},
        {"a": bit, "b": weights["b"]}, {"a": array.astype(np.float64), "b": weights["b"]},
        {"a": array.view(np.int32), "b": weights["b"]}, {"a": weights["b"], "b": array},
    ]  # fmt: skip
    assert len({weights_sha256(w) for w in [weights, *others]}) == 1 + len(others)
    expected = sha256(b"w\0<f4\0(2,)\0" + struct.pack("<2f", 1, -2)).hexdigest()
    assert weights_sha256({"w": np.array([1.0, -2.0], np.float32)}) == expected


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    checkpoint(1).write(path)

    def full(*args: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(files.os, broken, full)
    with pytest.raises(OSError, match="no space left"):
        checkpoint(2).write(path)
    monkeypatch.undo()
    assert_same(Checkpoint.read(path), checkpoint(1))
    assert os.listdir(tmp_path) == ["x"]
