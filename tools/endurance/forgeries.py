"""Contents that try to run code, to grow without bounds, to lie about themselves or to reach outside; and things that
are no files at all."""

import gzip
import io
import json
import lzma
import os
import pickle
import socket
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from builders import checkpoint
from PIL import Image

from dltrain.run.checkpoint import Checkpoint

Contents = dict[str, bytes]
ZEROS = 100 << 20  # bytes that a bomb grows to


class Evil:
    """Unpickling this would make a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def contents(mark: Path) -> dict[str, Contents]:
    """Kind -> name -> content. mark: the file that would be there if code had been run."""
    return {"pickles": pickles(mark), "arrays": arrays(mark), "archives": archives(), "tensors": tensors(),
            "pictures": pictures(), "configs": yaml_texts(mark), "texts": other_texts()}  # fmt: skip


def pickles(mark: Path) -> Contents:
    evil = Evil(mark)
    made = {f"pickle {n}": pickle.dumps({"data": evil, b"data": evil}, n) for n in range(6)}
    made["pickle of eval"] = f"c__builtin__\neval\n(S'open({str(mark)!r},\"w\")'\ntR.".encode()
    made["pickle of many lists"] = b"\x80\x02" + b"]" * 3_000_000 + b"."
    made["pickle that is deep"] = b"\x80\x02" + b"(" * 150_000 + b"t" * 150_000 + b"."
    return made | {f"zip of {name}": zipped([("x/data.pkl", content)]) for name, content in made.items()}


def npy(header: bytes, content: bytes = b"", version: bytes = b"\1\0") -> bytes:
    length = struct.pack("<H" if version == b"\1\0" else "<I", len(header))
    return b"\x93NUMPY" + version + length + header + content


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def arrays(mark: Path) -> Contents:
    """npy, npz and idx."""
    made = {}
    objects = np.array([Evil(mark)], object)
    file = io.BytesIO()
    np.save(file, objects, allow_pickle=True)
    made["npy of objects"] = file.getvalue()
    names = ("x_train", "y_train", "x")
    made["npz of objects"] = zipped([(f"{name}.npy", made["npy of objects"]) for name in names])

    def npz(name: str, header: bytes, content: bytes = b"", **settings: Any) -> None:
        made[f"npz {name}"] = zipped([(f"{array}.npy", npy(header, content, **settings)) for array in names])

    def header(dtype: str, shape: str) -> bytes:
        return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()

    npz("with a huge header", header("<f8", "(1000000000000, 5)"))
    npz("with a long header", b"{" + b" " * 60_000 + b"}")
    npz("with a deep header", b"(" * 60_000)
    npz("with a header of 8 MB", b" " * (8 << 20), version=b"\2\0")
    npz("that calls", f"__import__('os').system('touch {mark}')\n".encode())
    npz("of records", b"{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }\n", b"\0" * 8)
    npz("of nothing", header("|V0", "(1000000000,)"))
    npz("of long texts", header("<U9999", "(9999, 9999)"))
    npz("of 500 dimensions", header("|u1", f"({'1, ' * 500})"), b"\0")
    npz("of a huge number", header("|u1", f"({'9' * 5000},)"))
    zeros = npy(header("|u1", f"(1, {ZEROS})"), bytes(ZEROS))
    for method, code in (("deflate", zipfile.ZIP_DEFLATED), ("bzip2", zipfile.ZIP_BZIP2), ("lzma", zipfile.ZIP_LZMA)):
        made[f"npz bomb by {method}"] = zipped([("x_train.npy", zeros), ("y_train.npy", zeros[:200])], code)
    made["idx bomb"] = gzip.compress(bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**31, 28, 28) + bytes(ZEROS))
    made["idx of zeros"] = gzip.compress(bytes((0, 0, 8, 3)) + struct.pack(">3I", 170_000, 28, 28) + bytes(ZEROS))
    return made


def archives() -> Contents:
    """zip, gzip and tar."""
    small = npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1), }\n", b"\0\0")
    outside = ("../../out.npy", "/tmp/out.npy", "..\\out.npy", "x_train.npy")
    made = {"zip that leaves its folder": zipped([(name, small) for name in outside])}
    plain = zipped([("x_train.npy", small), ("y_train.npy", small)])
    first, central = plain.index(b"PK\3\4", 1), plain.index(b"PK\1\2")
    made["zip of two that are one"] = plain.replace(b"y_train", b"x_train")
    made["zip whose parts overlap"] = plain[: central + 42] + bytes(4) + plain[central + 46 :].replace(
        struct.pack("<I", first), bytes(4)
    )  # fmt: skip
    made["zip with a password"] = plain[:6] + b"\1" + plain[7 : central + 8] + b"\1" + plain[central + 9 :]
    made["zip packed in an unknown way"] = (
        plain[:8] + b"\x63" + plain[9 : central + 10] + b"\x63" + plain[central + 11 :]
    )
    made["zip of huge sizes"] = plain[: central + 20] + b"\xfe\xff\xff\xff" * 2 + plain[central + 28 :]
    made["zip of 60,000 members"] = zipped([(f"{i}.npy", b"") for i in range(60_000)])
    made["gzip bomb"] = gzip.compress(bytes(ZEROS))
    made["gzip bomb in a gzip"] = gzip.compress(made["gzip bomb"])
    made["gzip of 100,000 parts"] = gzip.compress(b"") * 100_000
    made["gzip with an endless name"] = b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 3_000_000
    made["xz bomb"] = lzma.compress(bytes(ZEROS), preset=0)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        link = tarfile.TarInfo("data_batch_1")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    made["tar with a link"] = file.getvalue()
    return made


def tensors() -> Contents:
    """safetensors, and checkpoints whose hashes are right and whose words are not."""
    made = {}

    def raw(name: str, header: bytes, content: bytes = b"") -> None:
        made[f"safetensors {name}"] = len(header).to_bytes(8, "little") + header + content

    def entry(shape: str, start: int = 0, end: int = 8, dtype: str = "F32") -> str:
        return f'{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{start},{end}]}}'

    raw("with a huge header", b'{"a":%s}' % entry("1000000000000", 0, 4_000_000_000_000).encode())
    raw("with a deep header", b'{"__metadata__":{"dltrain":' + b"[" * 50_000 + b"}}")
    raw("with a cut header", b"{")
    raw("with a header of 15 MB", b'{"a":%s}' % entry("2").encode() + b" " * (15 << 20), bytes(8))
    raw("of two that overlap", f'{{"a":{entry("2")},"b":{entry("2")}}}'.encode(), bytes(8))
    raw("with a hole", f'{{"a":{entry("2", 8, 16)}}}'.encode(), bytes(16))
    raw("of two that are one", f'{{"a":{entry("2")},"a":{entry("1", 0, 4)}}}'.encode(), bytes(8))
    raw("whose sizes overflow", f'{{"a":{entry("4294967296,4294967296,2")}}}'.encode(), bytes(8))
    raw("of a huge number", f'{{"a":{entry("9" * 5000)}}}'.encode(), bytes(8))
    raw("of 100,000 dimensions", f'{{"a":{entry(",".join("1" * 100_000), 0, 4)}}}'.encode(), bytes(4))
    raw("of an unknown type", f'{{"a":{entry("1", 0, 4, "O")}}}'.encode(), bytes(4))
    raw("with a name that leaves its folder", f'{{"../../a\\u0000":{entry("2")}}}'.encode(), bytes(8))
    made["safetensors that promise a header"] = (2**63).to_bytes(8, "little") + b"{}"
    about = {"a config that runs code": {"config": "!!python/object/apply:os.system [id]\n"},
             "a config of a plugin": {"config": "plugin: evil.py\nmodel: {layers: [{type: os.system}]}\n"},
             "huge steps": {"position": {"step": 2**62, "epoch": 2**62, "done": 2**62}},
             "negative logs": {"logs": {"metrics.jsonl": -1, "layers.jsonl": -(2**62)}},
             "huge inputs": {"preprocessing": json.loads(_text(checkpoint()))["preprocessing"] | {
                 "input_shape": [2**40, 5]}},
             "a deep result": {"progress": json.loads("[" * 900 + "]" * 900)},
             "format 99": {"format": 99}}  # fmt: skip
    for name, words in about.items():
        made[f"checkpoint of {name}"] = forged(checkpoint(), words)
    return made


def _text(kept: Checkpoint) -> str:
    return str(json.loads(_header(kept))["__metadata__"]["dltrain"])


def _header(kept: Checkpoint) -> bytes:
    data = _bytes(kept)
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


def _bytes(kept: Checkpoint) -> bytes:
    written: list[bytes] = []
    with _caught(written):
        kept.write(Path("x"))
    return written[0]


def _caught(into: list[bytes]) -> Any:
    from unittest.mock import patch

    return patch("dltrain.run.checkpoint.write_atomically", lambda path, data: into.append(data))


def forged(kept: Checkpoint, words: dict[str, Any]) -> bytes:
    """A checkpoint that says something else of itself, with the hash of that."""
    data = _bytes(kept)
    header = json.loads(_header(kept))
    text = json.dumps(json.loads(header["__metadata__"]["dltrain"]) | words, sort_keys=True)
    header["__metadata__"] = {"dltrain": text, "sha256": sha256(text.encode()).hexdigest()}
    new = json.dumps(header).encode()
    return len(new).to_bytes(8, "little") + new + data[8 + len(_header(kept)) :]


def png(width: int, height: int, extra: bytes = b"", colours: int = 0) -> bytes:
    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def pictures() -> Contents:
    zeros = zlib.compress(bytes(ZEROS))
    white = io.BytesIO()
    Image.new("RGB", (9_400, 9_400), "white").save(white, "png")  # as many pixels as Pillow allows
    return {
        "png bomb": png(60_000, 60_000),
        "png of one colour": white.getvalue(),
        "png text bomb": png(8, 8, chunk(b"zTXt", b"k\0\0" + zeros)),
        "png profile bomb": png(8, 8, chunk(b"iCCP", b"k\0\0" + zeros)),
        "png of 100,000 parts": png(8, 8, chunk(b"tEXt", b"k\0v") * 100_000),
        "png as a line": png(2**31 - 1, 1),
        "ppm bomb": b"P6\n60000 60000\n255\n",
        "ppm of long numbers": b"P6\n" + b"9" * 100_000 + b" 1\n255\n",
        "gif bomb": b"GIF89a" + struct.pack("<2H", 65535, 65535) + b"\xf7\x00\x00" + bytes(999),
        "bmp bomb": b"BM" + struct.pack("<3I", 99, 0, 54) + struct.pack("<I2i2H", 40, 2**30, 2**30, 1, 24),
        "jpeg of nothing": b"\xff\xd8" + b"\xff\xe1\xff\xff" + bytes(65533) + b"\xff\xd9",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(/etc/passwd) (r) file\n",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    }


def yaml_texts(mark: Path) -> Contents:
    layers = "model: {layers: [flatten, {dense: {units: 3, activation: none}}]}\n"
    aliases = "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(12))
    merges = "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 22))
    texts = {
        "that runs code": f'!!python/object/apply:os.system ["touch {mark}"]\n',
        "of a new object": f'model: !!python/object/new:os.system ["touch {mark}"]\n',
        "of aliases": aliases,
        "of merges": "a0: &a0 {x: 1}\n" + merges,
        "of itself": "&a [*a]\n",
        "that is deep": "[" * 100_000,
        "of a named function": f"data: {{type: os.system, path: 'touch {mark}'}}\n{layers}",
        "of a dotted name": "data: {type: digits}\nmodel: {layers: [{type: subprocess.Popen, args: id}]}\n",
        "of a plugin": f"plugin: {mark}.py\nplugins: [{mark}.py]\ndata: {{type: digits}}\n{layers}",
        "that reads a device": f"data: {{type: csv, path: /dev/zero, target: a}}\n{layers}",
        "that reads memory": f"data: {{type: npz, path: /proc/self/mem}}\n{layers}",
        "with NUL in a path": f'data: {{type: csv, path: "a\\0b", target: a}}\n{layers}',
        "with NUL in another path": f'data: {{type: image_folder, path: "\\0", size: [8, 8]}}\n{layers}',
        "of a pipe to a shell": f"data: {{type: text, path: '| touch {mark}'}}\n{layers}",
        "of a huge number": f"seed: {'9' * 5000}\ndata: {{type: digits}}\n{layers}",
        "of huge layers": "data: {type: digits}\nmodel: {layers: [flatten, {dense: {units: 1e999}}]}\n",
        "of a huge kernel": "data: {type: digits}\nmodel: {layers: [{conv: {channels: 1, kernel: 999999999}}]}\n",
        "of dunders": "__class__: {__init__: {__globals__: 1}}\ndata: {type: digits, __reduce__: 1}\n" + layers,
        "of 21,000 values": f"model: {{layers: [{'relu, ' * 21000}]}}\n",
    }
    return {f"yaml {name}": text.encode() for name, text in texts.items()}


def other_texts() -> Contents:
    return {
        "json that is deep": b"[" * 1_000_000,
        "json of a huge number": b'{"status": "done", "steps": ' + b"9" * 100_000 + b"}",
        "json of many digits": b'{"status": "done", "event": "epoch", "steps": ' + b"9" * 4000 + b"}\n",
        "json that is rather deep": b'{"status": "done", "event": "step", "numpy": ' + b"[" * 40 + b"]" * 40 + b"}\n",
        "json of many values": b'{"status": "done", "numpy": [' + b"[0]," * 400_000 + b"0]}\n",
        "json of what is no number": b'{"status": "done", "best_loss": NaN, "event": "step", "step": Infinity}\n',
        "json of half a character": b'{"status": "\\ud800", "event": "\\udfff", "host": "\\ud800"}\n',
        "json of control characters": b'{"status": "\\u001b]0;x\\u0007", "event": "step", "command": ["\\u001b[2J"]}\n',
        "json twice": b'{"status": "done", "status": []}\n',
        "json lines of nothing": b'{"event": "step"}\n{"event": "epoch"}\n{"layer": []}\n{}\n',
        "json lines of the wrong kind": b'{"event": "epoch", "epoch": "x", "train": [], "step": {}, "layer": 1}\n' * 9,
        "json lines of huge epochs": b'{"event": "epoch", "epoch": 1e300, "step": 1e300, "train": {"loss": 1e308}, '
                                     b'"validation": {"loss": -1e308}, "seconds": 1e308, "layer": "a"}\n' * 3,
        "json of a group": b'{"smoke": false, "members": [{"label": "../../x", "changes": ["seed=1"]}]}',
        "csv with one endless cell": b'a,kind\n"' + b"x" * 5_000_000,
        "csv of commas": b"," * 5_000_000,
        "csv of 100,000 columns": ",".join(f"c{i}" for i in range(100_000)).encode() + b"\n",
        "csv of 100,000 categories": b"a,kind\n" + b"".join(b"x%d,y%d\n" % (i, i) for i in range(100_000)),
        "csv of NUL": b"a,kind\n\0,\0\n",
        "csv of long numbers": b"a,kind\n" + (b"9" * 130_000 + b",b\n") * 9,
        "text in UTF-16": "a,kind\n1,b\n".encode("utf-16"),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(1000),
        "zeros": bytes(5_000_000),
        "empty": b"",
        "noise": np.random.default_rng(0).bytes(100_000),
    }  # fmt: skip


# --- no files --------------------------------------------------------------------------------------------------------


def things(outside: Path) -> dict[str, Callable[[Path], Any]]:
    """Name -> what puts it at a path. outside: a file and a folder of somebody else."""

    def make_socket(path: Path) -> None:
        before = os.getcwd()
        os.chdir(path.parent)  # the name of a socket must be short
        try:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(path.name)
        finally:
            os.chdir(before)

    return {
        "a pipe": os.mkfifo,
        "a socket": make_socket,
        "a folder": Path.mkdir,
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a link to nothing": lambda path: path.symlink_to(outside / "nothing"),
        "a link to a file outside": lambda path: path.symlink_to(outside / "precious"),
        "a link to a folder outside": lambda path: path.symlink_to(outside),
        "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
        "a link to /dev/stdin": lambda path: path.symlink_to("/dev/stdin"),
    }
