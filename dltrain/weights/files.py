"""Files of weights: arrays by name, in safetensors, npz or PyTorch's own format. Nothing in them is ever run."""

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
from safetensors.numpy import save

from dltrain.data.npz_file import open_npz
from dltrain.errors import DataError, DltrainError, RunError
from dltrain.run.checkpoint import MAX_HEADER, READ_ERRORS, Checkpoint
from dltrain.run.files import write_output
from dltrain.weights.pth import read_pth

Array = Any
Format = Literal["safetensors", "npz", "torch-safetensors"]
ENDINGS = {"safetensors": ".safetensors", "npz": ".npz", "torch-safetensors": ".safetensors"}
TORCH = {".pth", ".pt"}
KINDS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "BOOL": "?",
}  # fmt: skip


def file_of(text: str) -> Path:
    """The file of a path; `PACKAGE:PATH` is one inside a Python package, which is not run. What is not installed leads
    to a file that is not there."""
    package, colon, inside = text.partition(":")
    if not colon or not package.isidentifier() or len(package) < 2:  # `C:` is a drive
        return Path(text)
    found = find_spec(package)
    places = (found and found.submodule_search_locations) or ["not-installed"]
    return Path(places[0], inside)


def is_weights_file(path: Path) -> bool:
    """By its ending."""
    return path.suffix in TORCH or path.suffix in ENDINGS.values()


def is_torch(path: Path) -> bool:
    """Whether names and order of axes are PyTorch's: by the ending, or by the remark that its users' libraries and our
    own export leave in a safetensors file. For a file that `read_weights` has read."""
    if path.suffix != ".safetensors":
        return path.suffix in TORCH
    with safetensors.safe_open(path, framework="numpy") as file:
        return (file.metadata() or {}).get("format") == "pt"


def read_weights(path: Path) -> dict[str, Array]:
    """The arrays of a file by name; of a checkpoint of ours the weights, or their averages. bfloat16 becomes float32.

    Raises DataError for a file that is missing, damaged or of another kind.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: there is no such file")
        if path.suffix in TORCH:
            return read_pth(path)
        if path.suffix == ".npz":
            with open_npz(path) as npz:
                return {name: npz.read(name) for name in npz.names}
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
    except (OSError, RunError) as error:
        raise DataError(str(error) if isinstance(error, DltrainError) else f"{path}: {error.strerror}") from None
    raise DataError(f"{path}: weights are read from .safetensors, .npz, .pth and .pt files")


def _read_safetensors(path: Path) -> dict[str, Array]:
    try:
        with open(path, "rb") as opened:
            if int.from_bytes(opened.read(8), "little") > MAX_HEADER:
                raise ValueError("the header is too large")
        with safetensors.safe_open(path, framework="numpy") as file:
            if "dltrain" in (file.metadata() or {}):
                return Checkpoint.read(path).answering
        found: Any = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
        return {name: _array(name, **about) for name, about in found}
    except READ_ERRORS as error:
        reason = "; ".join(str(error).splitlines()[:2])[:200]
        raise DataError(f"{path}: no safetensors file that can be read ({reason})") from None


def _array(name: str, dtype: str, shape: list[int], data: Any) -> Array:
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    if dtype not in KINDS:
        raise ValueError(f"{name} is of type {dtype}, which is not read")
    return np.frombuffer(data, KINDS[dtype]).reshape(shape)


def write_weights(path: Path, arrays: dict[str, Array], kind: Format) -> None:
    """Atomically, in the order of the names given. Raises OSError."""
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    if kind == "npz":
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **plain)
        write_output(path, file.getvalue())
    else:
        write_output(path, save(plain, {"format": "pt"} if kind == "torch-safetensors" else None))
