"""A checkpoint is one safetensors file with everything in it: arrays, and a JSON text about them.

Arrays: `weights/conv1.weight`, `optimizer/conv1.weight/mean`. No pickle, no code, no second file that could be missing.
"""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save

from dltrain.data import Preprocessing
from dltrain.errors import DataError, RunError
from dltrain.train.files import write_atomically

Array = Any
FORMAT = 1
MAX_HEADER = 16 << 20


@dataclass(frozen=True)
class Checkpoint:
    """weights and optimizer: host arrays by name. position: where the training is. config: the resolved config.

    preprocessing: all that was learned from the training data, so that predicting needs no data set and evaluating
    only the split itself.
    """

    weights: dict[str, Array]
    optimizer: dict[str, Array]
    position: "Position"
    preprocessing: Preprocessing
    config: str

    def write(self, path: Path) -> None:
        about = {
            "format": FORMAT,
            "position": asdict(self.position),
            "preprocessing": self.preprocessing.to_json(),
            "config": self.config,
        }
        arrays = {f"weights/{name}": np.ascontiguousarray(a) for name, a in self.weights.items()}
        arrays |= {f"optimizer/{name}": np.ascontiguousarray(a) for name, a in self.optimizer.items()}
        text = json.dumps(about, allow_nan=False, sort_keys=True)
        write_atomically(path, save(arrays, {"dltrain": text, "sha256": _sha256(text, arrays)}))

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """Raises RunError for a file that is missing, damaged or of a newer format."""
        try:
            with open(path, "rb") as file:
                if int.from_bytes(file.read(8), "little") > MAX_HEADER:
                    raise RunError(f"{path}: the header is too large for a checkpoint; the file is damaged")
            with safetensors.safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                about = json.loads(metadata["dltrain"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            if about["format"] != FORMAT:
                raise RunError(f"{path}: checkpoint format {about['format']}, but this dltrain reads format {FORMAT}")
            if metadata["sha256"] != _sha256(metadata["dltrain"], arrays):
                raise RunError(f"{path}: not what was saved (SHA-256 differs); the file is damaged")
            parts: dict[str, dict[str, Array]] = {"weights": {}, "optimizer": {}}
            for name, array in arrays.items():
                part, _, rest = name.partition("/")
                parts[part][rest] = array
            return cls(
                parts["weights"],
                parts["optimizer"],
                Position(**about["position"]),
                Preprocessing.from_json(about["preprocessing"]),
                str(about["config"]),
            )
        except FileNotFoundError:
            raise RunError(f"{path}: there is no such checkpoint") from None
        except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError, DataError) as error:
            raise RunError(f"{path}: this is no intact checkpoint ({error})") from None


@dataclass(frozen=True)
class Position:
    """step: steps taken in all. epoch: the running one, from 1. done: its steps that are taken."""

    step: int
    epoch: int
    done: int


def weights_sha256(weights: dict[str, Array]) -> str:
    """Over name, dtype, shape and little-endian bytes of every array, sorted by name: equal exactly for equal bits."""
    digest = sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _sha256(text: str, arrays: dict[str, Array]) -> str:
    """Of everything in a checkpoint."""
    return sha256(f"{text}\0{weights_sha256(arrays)}".encode()).hexdigest()
