"""A checkpoint is one safetensors file with everything in it: arrays, and a JSON text about them.

Arrays: `weights/conv1.weight`, `optimizer/conv1.weight/mean`, with `train.average` also `average/conv1.weight`, and in
the middle of an epoch what adds up over it, `epoch/layer/conv1/alive`. No pickle, no code, no second file that could be
missing.

safetensors itself notices no changed byte of an array. So the text holds the SHA-256 of each array beside its name,
dtype and shape, and the file a SHA-256 of the text, which is canonical JSON: whatever was changed shows.

FORMAT rises when a file of this version cannot be read by the one before, which could read its config. A version reads
all formats from OLDEST on.
"""

import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from pydantic import TypeAdapter
from safetensors.numpy import save

from dltrain.data import Preprocessing
from dltrain.errors import DataError, RunError
from dltrain.run.files import write_atomically
from dltrain.run.progress import Position, Progress
from dltrain.run.reader import parse

Array = Any
Arrays = dict[str, Array]
FORMAT = 2
OLDEST = 2  # format 1 was never released
MAX_HEADER = 16 << 20  # bytes
READ_ERRORS = (
    safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError, DataError, RecursionError,
    AttributeError,  # safetensors, of types that numpy does not have
)  # fmt: skip
PARTS = ("weights", "average", "optimizer", "epoch")


@dataclass(frozen=True)
class Checkpoint:
    """Arrays are on the host.

    average: of the weights, see train/average.py; empty without `train.average`.
    epoch: what adds up over the running epoch; empty between two epochs.
    logs: for each log the bytes that it had, so that a training that goes on can cut off what came after.
    preprocessing: all that was learned from the training data, so that predicting needs no data set and evaluating
    only the split itself.
    config: the resolved config.
    data_sha256: of each split; nothing in checkpoints of the first versions.
    """

    weights: Arrays
    optimizer: Arrays
    epoch: Arrays
    position: Position
    progress: Progress
    logs: dict[str, int]
    preprocessing: Preprocessing
    config: str
    data_sha256: dict[str, str] = field(default_factory=dict)
    average: Arrays = field(default_factory=dict)

    @property
    def answering(self) -> Arrays:
        """The weights that evaluate and predict: the averages where there are any."""
        return self.average or self.weights

    def write(self, path: Path) -> None:
        """Raises OSError; a checkpoint that was there under this name then remains."""
        write_atomically(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """What is written."""
        arrays = {f"{part}/{name}": _plain(a) for part in PARTS for name, a in getattr(self, part).items()}
        about = {
            "format": FORMAT,
            "arrays": {name: [a.dtype.name, list(a.shape), _array_sha256(a)] for name, a in arrays.items()},
            "position": asdict(self.position),
            "progress": asdict(self.progress),
            "logs": self.logs,
            "preprocessing": self.preprocessing.to_json(),
            "config": self.config,
            "data_sha256": self.data_sha256,
        }
        text = _canonical(about)
        return save(arrays, {"dltrain": text, "sha256": sha256(text.encode()).hexdigest()})

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """Raises RunError for a file that is missing, damaged or of a format that this version does not read."""
        try:
            return cls._read(path)
        except FileNotFoundError:
            raise RunError(f"{path}: there is no such checkpoint") from None
        except READ_ERRORS as error:
            reason = "; ".join(str(error).splitlines()[:2])[:200]
            raise RunError(f"{path}: damaged checkpoint ({reason})") from None

    @classmethod
    def _read(cls, path: Path) -> "Checkpoint":
        if path.exists() and not path.is_file():
            raise ValueError("not a file")  # a pipe would be waited for
        with open(path, "rb") as opened:
            if int.from_bytes(opened.read(8), "little") > MAX_HEADER:
                raise ValueError("the header is too large")
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            text = metadata["dltrain"]
            about = parse(text.encode())
            if about["format"] not in range(OLDEST, FORMAT + 1):
                reads = f"format {FORMAT}" if OLDEST == FORMAT else f"formats {OLDEST} to {FORMAT}"
                raise RunError(f"{path}: checkpoint format {about['format']}, but this dltrain reads {reads}")
            if metadata["sha256"] != sha256(text.encode()).hexdigest() or text != _canonical(about):
                raise ValueError("not what was saved: the SHA-256 of its description differs")
            names = list(file.keys())
        arrays = {name: _checked(path, name, about["arrays"]) for name in names}
        if arrays.keys() != about["arrays"].keys():
            raise ValueError("arrays are missing")
        parts: dict[str, Arrays] = {part: {} for part in PARTS}
        for name, array in arrays.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = array
        return cls(
            **parts,
            position=_exactly(Position, about["position"]),
            progress=_exactly(Progress, about["progress"]),
            logs=_exactly(dict[str, int], about["logs"]),
            preprocessing=Preprocessing.from_json(about["preprocessing"]),
            config=_exactly(str, about["config"]),
            data_sha256=_exactly(dict[str, str], about.get("data_sha256", {})),
        )


def _exactly(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).validate_json(_canonical(value), strict=True)


def _plain(array: Array) -> Array:
    """In C order, little-endian."""
    array = np.ascontiguousarray(array)
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _checked(path: Path, name: str, table: dict[str, Any]) -> Array:
    """An array, once dtype and shape are known to be right. Opened anew for each: what was read of a file that is open
    counts as memory, beside the arrays.
    """
    dtype, shape, digest = table[name]
    with safetensors.safe_open(path, framework="numpy") as file:
        found = file.get_slice(name)
        if found.get_shape() != shape:
            raise ValueError(f"{name} has shape {found.get_shape()} instead of {shape}")
        array = file.get_tensor(name)
    if array.dtype.name != dtype:
        raise ValueError(f"{name} is of type {array.dtype.name} instead of {dtype}")
    if _array_sha256(array) != digest:
        raise ValueError(f"{name} is not what was saved: its SHA-256 differs")
    return array


def _array_sha256(array: Array) -> str:
    return sha256(_plain(array).data).hexdigest()


def _canonical(about: Any) -> str:
    return json.dumps(about, allow_nan=False, sort_keys=True)


def weights_sha256(weights: Arrays) -> str:
    """Over name, dtype, shape and little-endian bytes of every array, sorted by name: equal exactly for equal bits."""
    digest = sha256()
    for name in sorted(weights):
        array = _plain(weights[name])
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
