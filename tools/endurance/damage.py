"""Files from strangers: damaged, forged, or nonsense. Read in processes of their own, so that a signal is seen."""

import io
import json
import random
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import torch_files
import yaml
from builders import checkpoint
from PIL import Image
from safetensors.numpy import save
from test_cifar_reader import batch, example
from test_data import write_mnist
from test_spec_resolved import mutated

from dltrain.data import SOURCES
from dltrain.data.pictures.cifar10 import read_batch
from dltrain.data.pictures.images import COMPRESSIONS, FORMATS, read_image
from dltrain.errors import DltrainError, RunError
from dltrain.run.checkpoint import PARTS, Checkpoint
from dltrain.spec import build_model, loads, shipped_configs
from dltrain.weights.files import read_weights
from endurance.harness import Child

PIECE = 500  # files read by one process


def damaged(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A bit flipped, bytes changed, doubled or removed, the end cut off, or a part of another file put in."""
    at, length = rng.randrange(len(data)), rng.randint(1, 40)
    if rng.random() < 0.5:
        at = rng.randrange(min(len(data), 400))  # where headers are
    match rng.randrange(6):
        case 0:
            return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        case 1:
            return data[:at] + rng.randbytes(length) + data[at + length :]
        case 2:
            return data[:at] + data[at : at + length] * rng.randint(2, 3) + data[at + length :]
        case 3:
            return data[:at] + data[at + length :]
        case 4:
            return data[:at]
    start = rng.randrange(len(other))
    return data[:at] + other[start : start + length] + data[at + length :]


def in_pieces(count: int, seed: int, read_some: Callable[[int, random.Random], dict[str, int]]) -> dict[str, int]:
    """What `read_some` counted over `count` files, read by one process after the other."""
    found: dict[str, int] = {}
    for first in range(0, count, PIECE):
        amount = min(PIECE, count - first)

        def read(first: int = first, amount: int = amount) -> int:
            print(json.dumps(read_some(amount, random.Random(f"{seed} {first}"))), file=sys.stderr, flush=True)
            return 0

        code, told, _ = Child(read).wait(600)
        assert code == 0, f"files {first} to {first + amount}: exit code {code}: {told}"
        for key, value in json.loads(told.splitlines()[-1]).items():
            found[key] = max(found.get(key, 0), value) if key.startswith("most") else found.get(key, 0) + value
    return found


# --- checkpoints -----------------------------------------------------------------------------------------------------


def forged(data: bytes, rng: random.Random) -> bytes:
    """A header that lies: other lengths, shapes, types, offsets, names or metadata, as a stranger may write them."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    names = [name for name in header if name != "__metadata__"]
    entry = header[rng.choice(names)]
    huge = rng.choice([2**31, 2**40, 2**62, 2**64 - 1, -1, 0])
    match rng.randrange(9):
        case 0:
            entry["shape"] = [huge, *entry["shape"][1:]]
        case 1:
            entry["data_offsets"] = rng.sample([0, 8, huge, entry["data_offsets"][1]], 2)
        case 2:
            entry["dtype"] = rng.choice(["F64", "BF16", "F8_E4M3", "I8", "BOOL", "X", ""])
        case 3:
            header[f"weights/{'x' * rng.randint(0, 99)}"] = entry
        case 4:
            del header[rng.choice(names)]
        case 5:
            header["__metadata__"]["dltrain"] = rng.choice(["", "{}", "[" * 20_000, "null", '{"format": 2}', "1e999"])
        case 6:
            about = json.loads(header["__metadata__"]["dltrain"])
            about[rng.choice(list(about))] = rng.choice([None, -1, huge, "x", [], {}, {"a": huge}])
            header["__metadata__"]["dltrain"] = json.dumps(about)
        case 7:
            return rng.choice([huge & (2**64 - 1), 16 << 20, size * 2, 1, 0]).to_bytes(8, "little") + data[8:]
        case 8:
            first, second = rng.sample(names, 2)
            header[first], header[second] = header[second], header[first]
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def checkpoints(count: int, seed: int, folder: Path) -> dict[str, int]:
    """Damaged and forged checkpoints: refused with RunError, or read as exactly what was saved."""
    path = folder / "x.safetensors"
    originals = []
    for number in (1, 2):
        checkpoint(number).write(path)
        originals.append(path.read_bytes())
    right = checkpoint(1)

    def read_some(amount: int, rng: random.Random) -> dict[str, int]:
        found = {"refused": 0, "unchanged": 0}
        for _ in range(amount):
            data = originals[0]
            for _ in range(rng.choice([1, 1, 1, 2, 5])):
                data = damaged(data, originals[1], rng) or b"\0"
            path.write_bytes(forged(originals[0], rng) if rng.random() < 0.3 else data)
            try:
                kept = Checkpoint.read(path)
            except RunError:
                found["refused"] += 1
                continue
            for part in PARTS:
                ours, theirs = getattr(kept, part), getattr(right, part)
                assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in ours.items()} == {
                    n: (a.dtype, a.shape, a.tobytes()) for n, a in theirs.items()
                }, "accepted with different arrays"
            assert replace(kept, **{p: {} for p in PARTS}) == replace(right, **{p: {} for p in PARTS})
            found["unchanged"] += 1
        return found

    return {"files": count, **in_pieces(count, seed, read_some), "accepted with other content": 0, "signals": 0}


# --- configs ---------------------------------------------------------------------------------------------------------

NONSENSE = ["k{}: 1\n", "a: 1\n", "1,", "[", "{{x: 1}},", "convv,", "relu,", "dense: 4,", "- ", "&a x,", "!a x,",
            "*a,", "a:b,", "#\n", "---\n", "%YAML 1.1\n", "? ", "\t", '"', "x ", ": ", "<<: *a\n", "\\u0000", "|\n x\n",
            "\ufeff", "1e9999,", "9" * 50 + ",", "'\n'", "é: ", "\x85", "{{", "]"]  # fmt: skip
STARTS = ["", "model: {layers: [", "model: {input: [", "data: {type: ", "a: ", "[", "{", "optimizer: ",
          "model:\n  layers:\n"]  # fmt: skip


def nonsense(rng: random.Random) -> str:
    """Up to 128 kB of the same few pieces."""
    pieces = rng.sample(NONSENSE, rng.randint(1, 3))
    length = rng.choice([50, 5_000, 127_000])
    text = [rng.choice(STARTS)]
    while sum(map(len, text)) < length:
        text += [rng.choice(pieces).format(number) for number in range(1 + length // 9)]
    return "".join(text)[:length]


# Blocks and what they hold are written out: a resolved config has the layers that they stand for. That a damaged block
# is told, tests/test_spec_damage.py and test_spec_graphs.py see.
WRITTEN_OUT = {"blocks", "repeat", "times"}
PUBLISHED = sorted((Path(__file__).parent.parent.parent / "docs" / "networks").glob("*.yaml"))


def configs(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Mutated configs and nonsense: a spec or words for the user, soon, and no key of an accepted one ignored."""
    texts = [path.read_text() for path in (*shipped_configs().values(), *PUBLISHED)]
    own = [block for text in texts for block in yaml.safe_load(text).get("blocks", {}).items()]
    blocks = {name for name, _ in own}.union(*(block for _, block in own))

    def read_some(amount: int, rng: random.Random) -> dict[str, int]:
        found = {"accepted": 0, "refused": 0, "most milliseconds": 0}
        for number in range(amount):
            text = nonsense(rng) if number % 20 == 0 else mutated(rng.choice(texts), rng)
            started = time.process_time()
            try:
                spec = loads(text)
                build_model(spec)
                found["accepted"] += 1
            except DltrainError:
                spec = None
                found["refused"] += 1
            spent = time.process_time() - started
            found["most milliseconds"] = max(found["most milliseconds"], round(spent * 1000))
            assert spent < 2, f"{spent:.1f} s for {text[:80]!r}"
            if spec is not None:
                ignored = _keys(yaml.compose(text)) - _known(spec.resolved()) - WRITTEN_OUT - blocks
                assert not ignored, f"{ignored}"
        return found

    return {"configs": count, **in_pieces(count, seed, read_some), "ignored keys": 0}


def _keys(node: Any) -> set[str]:
    if isinstance(node, yaml.MappingNode):
        return {key.value for key, _ in node.value} | set().union(*(_keys(value) for _, value in node.value))
    return set().union(*map(_keys, node.value)) if isinstance(node, yaml.SequenceNode) else set()


def _known(value: Any) -> set[str]:
    """The keys of a resolved config and the names of its components, which a short form has for keys."""
    if isinstance(value, dict):
        kind = {value["type"]} if "type" in value else set()
        return {*value, *kind}.union(*map(_known, value.values()))
    return set().union(*map(_known, value)) if isinstance(value, list) else set()


PICTURES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "png": [(mode, {}) for mode in ("RGB", "RGBA", "P", "I;16", "several")],
    "jpeg": [("RGB", {}), ("L", {}), ("CMYK", {}), ("RGB", {"progressive": True})],
    "bmp": [(mode, {}) for mode in ("RGB", "P", "1")],
    "gif": [("RGB", {}), ("P", {"transparency": 0}), ("several", {})],
    "ppm": [(mode, {}) for mode in ("RGB", "L", "1")],
    "webp": [("RGB", {}), ("RGB", {"lossless": True}), ("RGBA", {}), ("several", {})],
    "tiff": [("RGB", {"compression": way}) for way in COMPRESSIONS]
    + [(mode, {}) for mode in ("RGBA", "P", "1", "I;16", "several")],
}  # format -> (mode or several pictures, how to save them)

# --- weights ---------------------------------------------------------------------------------------------------------


def weights(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Mutated files of weights, of each format that start values are read from: arrays or DataError."""
    arrays = {f"{name}.weight": np.arange(12, dtype=np.float32).reshape(3, 4) for name in ("dense1", "dense2")}
    npz = io.BytesIO()
    np.savez(npz, **arrays)  # type: ignore[arg-type]
    whole = torch_files.GOLDEN.read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    numbers = {name[5:]: content for name, content in parts.items() if name.startswith("data/")}
    found: dict[str, Any] = {}
    for ending, original in (("pth", whole), ("safetensors", save(arrays)), ("npz", npz.getvalue()), ("pickle", b"")):
        path = folder / f"x.{'pth' if ending == 'pickle' else ending}"

        def read_some(amount: int, rng: random.Random, path: Path = path, original: bytes = original) -> dict[str, int]:
            counts = {"refused": 0, "read": 0}
            for _ in range(amount):
                content = original or parts["data.pkl"]  # what the zip's checksums would hide
                for _ in range(rng.choice([1, 1, 2, 5])):
                    content = damaged(content, content, rng) or b"\0"
                path.write_bytes(content if original else torch_files.pth(content, numbers))
                started = time.process_time()
                try:
                    assert sum(array.nbytes for array in read_weights(path).values()) <= 16 * len(whole)
                    counts["read"] += 1
                except DltrainError:
                    counts["refused"] += 1
                assert time.process_time() - started < 2
            return counts

        found[ending] = in_pieces(count, seed, read_some)
    return {"files of each format": count, **found, "signals": 0}


# --- data ------------------------------------------------------------------------------------------------------------


def data(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Mutated files of each format that data are read from: examples or DataError."""
    assert {name.upper() for name in PICTURES} == {*FORMATS}, "pictures of each format are damaged"
    found: dict[str, Any] = {}
    for name, (originals, read) in _formats(folder).items():

        def read_some(amount: int, rng: random.Random, originals: Any = originals, read: Any = read) -> dict[str, int]:
            counts = {"refused": 0, "read": 0}
            for _ in range(amount):
                content = rng.choice(originals)
                for _ in range(rng.choice([1, 1, 2, 5])):
                    content = damaged(content, rng.choice(originals), rng) or b"\0"
                try:
                    read(content)
                    counts["read"] += 1
                except DltrainError:
                    counts["refused"] += 1
            return counts

        found[name] = in_pieces(count, seed, read_some)
    return {"files of each format": count, **found, "signals": 0}


def _formats(folder: Path) -> dict[str, tuple[list[bytes], Callable[[bytes], Any]]]:
    rng = np.random.default_rng(0)
    write_mnist(folder)
    images = folder / "mnist" / "train-images-idx3-ubyte.gz"
    npz = io.BytesIO()
    np.savez(npz, x_train=rng.normal(size=(6, 3)).astype(np.float32), y_train=np.arange(6) % 3)
    packed = io.BytesIO()
    np.savez_compressed(packed, x_train=rng.integers(0, 9, (6, 3)).astype(np.uint8), y_train=np.arange(6) % 3)
    table = b'height,colour,kind\r\n1.5,red,a\r\n2.5,"blue, dark",b\r\n,red,b\r\n3,NA,a\r\n'
    european = "breite;preis;tag;plz;kind\n0,5;1.234,50 €;01.02.2020;01067;a\n1,5;7,00 €;13.12.1999;10115;b\n".encode()
    plain = b"a,b,kind\n1,2,0.5\n-3,4e2,1.5\n5,.6,2.5\n"

    def through(path: Path, read: Callable[[], Any]) -> Callable[[bytes], Any]:
        def write_and_read(content: bytes) -> None:
            path.write_bytes(content)
            read()

        return write_and_read

    def load(kind: str, **settings: Any) -> Callable[[], Any]:
        def read() -> None:
            source = SOURCES[kind](**settings)
            source.load(folder)
            assert source.input_shape

        return read

    one = folder / "one"
    return {
        "npz": ([npz.getvalue(), packed.getvalue()], through(one, load("npz", path=str(one)))),
        "csv": ([table, european, plain], through(one, load("csv", path=str(one), target="kind"))),
        "parquet": (_parquet(), through(one, load("csv", path=str(one), target="kind"))),
        "idx": ([images.read_bytes()], through(images, load("mnist"))),
        "cifar": ([batch(*example())], through(one, lambda: read_batch(one))),
        **{ending: (some, through(one, lambda: read_image(one, (8, 8, 3)))) for ending, some in _pictures().items()},
    }


def _parquet() -> list[bytes]:
    """A small table with columns of every type that is read, packed in every way that is usual."""
    from pyarrow import array, int32, parquet, table

    days = [datetime(2020, 1, day) for day in (1, 2, 3)]
    columns = table({
        "height": [1.5, None, 3.5], "count": array([1, 2, 3], int32()), "price": [Decimal("1.50")] * 3, "day": days,
        "colour": array(["red", None, "blue, dark"]).dictionary_encode(), "new": [True, None, False],
        "kind": ["a", "b", "b"],
    })  # fmt: skip
    ways: list[dict[str, Any]] = [{"compression": name} for name in ("none", "snappy", "gzip", "zstd")]
    found = []
    for way in [*ways, {"data_page_version": "2.0", "use_dictionary": False}]:
        file = io.BytesIO()
        parquet.write_table(columns, file, **way)
        found.append(file.getvalue())
    return found


def _pictures() -> dict[str, list[bytes]]:
    """Small pictures of each format, in all the ways of PICTURES."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    several = {"save_all": True, "append_images": [Image.fromarray(pixels[::-1].copy())]}
    found: dict[str, list[bytes]] = {}
    for ending, ways in PICTURES.items():
        for mode, options in ways:
            file = io.BytesIO()
            picture = deep if mode == "I;16" else Image.fromarray(pixels).convert("RGB" if mode == "several" else mode)
            picture.save(file, ending, **options, **(several if mode == "several" else {}))
            found.setdefault(ending, []).append(file.getvalue())
    return found
