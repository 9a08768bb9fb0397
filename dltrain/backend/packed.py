"""Named arrays in one piece of memory, as they go from process to process. No pickle: a JSON text, and bytes."""

import json
from typing import Any

import numpy as np

from dltrain.backend.device import all_to_host

Array = Any
Arrays = dict[str, Array]
ALIGNMENT = 64  # bytes


def pack(arrays: Arrays) -> Array:
    """Bytes (n,): the length of the text, the text, the arrays.

    The order of the axes in memory is kept: numpy adds up an array in that order, so bits depend on it.
    """
    about, hosts, at = [], [], 0
    for name, array in zip(arrays, map(np.asarray, all_to_host([*arrays.values()])), strict=True):
        axes = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        host = array if array.flags.c_contiguous else array.transpose(axes)
        about.append([name, array.dtype.str, host.shape, None if host is array else axes])
        hosts.append((at, host))
        at += _aligned(host.nbytes)
    text = json.dumps(about).encode()
    start = _aligned(8 + len(text))
    packed = np.empty(start + at, np.uint8)
    packed[:8] = np.frombuffer(len(text).to_bytes(8, "little"), np.uint8)
    packed[8 : 8 + len(text)] = np.frombuffer(text, np.uint8)
    for at, host in hosts:
        np.frombuffer(packed, host.dtype, host.size, start + at).reshape(host.shape)[...] = host
    return packed


def unpack(packed: Array) -> Arrays:
    """The inverse. The arrays are views."""
    length = int.from_bytes(packed[:8].tobytes(), "little")
    at = _aligned(8 + length)
    arrays: Arrays = {}
    for name, dtype, shape, axes in json.loads(packed[8 : 8 + length].tobytes()):
        host = np.frombuffer(packed, np.dtype(dtype), int(np.prod(shape)), at).reshape(shape)
        arrays[name] = host if axes is None else host.transpose(np.argsort(axes))
        at += _aligned(host.nbytes)
    return arrays


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
