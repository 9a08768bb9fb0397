"""Files that try to run code, to grow without bounds or to leave their folder, given to every command that reads."""

import gzip
import io
import os
import pickle
import resource
import shutil
import struct
import sys
import tarfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from commands import dltrain

from endurance.harness import Child, Place

SECONDS, MEGABYTES = 1.0, 64
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pickle.find_class",
             "ctypes.dlopen", "socket.connect", "shutil.rmtree", "os.symlink", "os.link", "os.chmod")  # fmt: skip


class Evil:
    """Unpickling this would make a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def payloads(mark: Path) -> dict[str, bytes]:
    """Name -> content."""
    zeros = bytes(100 << 20)
    evil = Evil(mark)
    made: dict[str, bytes] = {f"pickle {n}": pickle.dumps({"data": evil, b"data": evil}, n) for n in range(6)}
    made["pickle of eval"] = f"c__builtin__\neval\n(S'open({str(mark)!r},\"w\")'\ntR.".encode()
    objects = np.array([evil], object)
    file = io.BytesIO()
    np.save(file, objects, allow_pickle=True)
    made["npy of objects"] = file.getvalue()
    file = io.BytesIO()
    np.savez(file, x=objects, x_train=objects, y_train=objects)
    made["npz of objects"] = file.getvalue()
    file = io.BytesIO()
    np.savez_compressed(file, x=np.zeros((1, 100 << 20), np.uint8), x_train=np.zeros((1, 100 << 20), np.uint8))
    made["npz bomb"] = file.getvalue()
    made["gzip bomb"] = gzip.compress(zeros)
    made["gzip bomb in a gzip"] = gzip.compress(gzip.compress(zeros))
    made["idx bomb"] = gzip.compress(bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**31, 28, 28) + zeros)
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 5), }"
    for name, text in (("huge", header), ("long", b"{" + b" " * 60_000 + b"}"), ("deep", b"(" * 60_000)):
        npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x_train.npy", npy), archive.writestr("x.npy", npy), archive.writestr("y_train.npy", npy)
        made[f"npz with a {name} header"] = file.getvalue()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("../../out.npy", "/tmp/out.npy", "x_train.npy"):
            archive.writestr(name, npy)
    made["zip that leaves its folder"] = file.getvalue()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        link = tarfile.TarInfo("data_batch_1")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    made["tar with a link"] = file.getvalue()
    for name, text in (("huge", b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'),
                       ("deep", b'{"__metadata__":{"dltrain":' + b"[" * 50_000 + b"}}"), ("cut", b"{")):  # fmt: skip
        made[f"safetensors with a {name} header"] = len(text).to_bytes(8, "little") + text
    made["safetensors that promise a header"] = (2**63).to_bytes(8, "little") + b"{}"
    made["png bomb"] = _png(60_000, 60_000)
    made["png text bomb"] = _png(8, 8, zlib.compress(zeros))
    made["ppm bomb"] = b"P6\n60000 60000\n255\n"
    made["gif bomb"] = b"GIF89a" + struct.pack("<2H", 65535, 65535) + b"\xf7\x00\x00" + bytes(999)
    made["bmp bomb"] = b"BM" + struct.pack("<3I", 99, 0, 54) + struct.pack("<I2i2H", 40, 2**30, 2**30, 1, 24)
    made["yaml that runs code"] = f'!!python/object/apply:os.system ["touch {mark}"]\n'.encode()
    made["yaml new object"] = f'model: !!python/object/new:os.system ["touch {mark}"]\n'.encode()
    aliases = "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(12))
    made["yaml of aliases"] = aliases.encode()
    merges = "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 22))
    made["yaml of merges"] = ("a0: &a0 {x: 1}\n" + merges).encode()
    made["yaml that is deep"] = b"[" * 100_000
    made["json that is deep"] = b"[" * 1_000_000
    made["csv with one endless cell"] = b'a,kind\n"' + b"x" * 5_000_000
    made["csv of commas"] = b"," * 5_000_000
    made["hdf5"] = b"\x89HDF\r\n\x1a\n" + bytes(1000)
    made["zeros"] = bytes(5_000_000)
    made["empty"] = b""
    made["noise"] = np.random.default_rng(0).bytes(100_000)
    return made


def _png(width: int, height: int, text: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0))
    extra = chunk(b"zTXt", b"k\0\0" + text) if text else b""
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def places(folder: Path, run: Path) -> dict[str, tuple[Path, list[list[Any]]]]:
    """Where a file is put -> the commands that then read it."""
    here = folder / "here"
    shutil.copytree(run, here / "run")
    (newest,) = sorted((here / "run" / "checkpoints").iterdir())[-1:]
    for older in (here / "run" / "checkpoints").iterdir():
        if older != newest:
            older.unlink()
    (here / "mnist").mkdir()
    (here / "cifar-10-batches-py").mkdir()
    for name in ("train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (here / "mnist" / f"{name}-ubyte.gz").write_bytes(b"")
    for name in ("data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch", "batches.meta"):
        (here / "cifar-10-batches-py" / name).write_bytes(b"")
    np.savez(here / "x.npz", x=np.zeros((1, 5), np.float32))
    model = "model: {layers: [flatten, dense: {units: 3, activation: none}]}\n"
    (here / "npz.yaml").write_text(f"data: {{type: npz, path: {here / 'd'}}}\n{model}")
    (here / "csv.yaml").write_text(f"data: {{type: csv, path: {here / 'd'}, target: kind}}\n{model}")
    runs = ["--runs-dir", here / "new"]
    return {
        "checkpoint": (newest, [["eval", here / "run"], ["predict", here / "run", here / "x.npz"],
                                ["verify", here / "run"], ["fit", "--resume", here / "run", "train.epochs=9"]]),
        "config": (here / "c.yaml", [["validate", here / "c.yaml"], ["inspect-params", here / "c.yaml"],
                                     ["fit", here / "c.yaml", *runs]]),
        "npz": (here / "d", [["fit", here / "npz.yaml", *runs]]),
        "csv": (here / "d", [["fit", here / "csv.yaml", *runs]]),
        "mnist": (here / "mnist" / "train-images-idx3-ubyte.gz", [["fit", "mnist_lenet5", "--data-dir", here, *runs]]),
        "cifar": (here / "cifar-10-batches-py" / "data_batch_1", [["fit", "cifar_cnn", "--data-dir", here, *runs]]),
        "inputs": (here / "i.npz", [["predict", run, here / "i.npz"]]),
        "picture": (here / "i.png", [["predict", folder / "pictures", here / "i.png"]]),
    }  # fmt: skip


def check(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Every `count`th payload in every place: refused in time, within memory, and nothing is run or written."""
    place = Place(folder)
    place.begin()
    said = dltrain("fit", "smoke", "--max-steps", 1, "--runs-dir", folder / "p", "--quiet")
    assert said.code == 0
    (folder / "p").rename(folder / "p2")
    shutil.copytree(next((folder / "p2").iterdir()), folder / "pictures")
    mark = folder / "RUN"
    files = list(payloads(mark).items())[seed % count :: count]
    tried, slowest, most = 0, 0.0, 0
    for target, commands in places(folder, place.only_run().path).values():
        for name, content in files:
            before = target.read_bytes() if target.exists() else None
            target.write_bytes(content)
            for command in commands:
                what = f"{name}: {' '.join(map(str, command))}"
                code, told, _ = Child(lambda command=command: _watched(command, folder)).wait()
                assert code in (1, 2), f"{what}: exit code {code}: {told[-500:]}"
                assert "Traceback" not in told and "this is a bug" not in told, f"{what}: {told[-500:]}"
                spent, extra = (float(number) for number in told.rpartition("spent ")[2].split())
                assert spent < SECONDS and extra < MEGABYTES, f"{what}: {spent:.2f} s, {extra:.0f} MB"
                assert not mark.exists(), f"{what}: it ran"
                tried, slowest, most = tried + 1, max(slowest, spent), max(most, round(extra))
            target.unlink() if before is None else target.write_bytes(before)
    return {
        "payloads": len(files), "tried": tried, "run": 0, "slowest in seconds": round(slowest, 2),
        "most megabytes": most,
    }  # fmt: skip


def _watched(command: list[Any], folder: Path) -> int:
    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FORBIDDEN and arguments[:1] != (None,):
            os.write(2, f"Traceback: {event} {arguments}"[:300].encode())
        writes = event == "open" and isinstance(arguments[0], str) and set(str(arguments[1] or "r")) & set("wax+")
        if writes and not arguments[0].startswith((str(folder), "/dev/")):
            os.write(2, f"Traceback: wrote {arguments[0]}".encode())

    sys.addaudithook(watch)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    started = time.process_time()
    result = dltrain(*command)
    spent = time.process_time() - started
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - usage.ru_maxrss) / 1024
    print(result.err, f"spent {spent} {extra}", file=sys.stderr, flush=True)
    return result.code
