"""PyTorch's checkpoints (.pth, .pt): raw numbers and a small pickle that says what they are, in a zip. Nothing is
unpickled: `data.pickle_reader` follows the few opcodes of a state dict, and names what it refuses.

Source: torch/serialization.py, `_save`, and torch/_utils.py, `_rebuild_tensor_v2`, PyTorch 2.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from numpy.lib.stride_tricks import as_strided

from dltrain.data.npz_file import READ_ERRORS, ListedFile
from dltrain.data.pickle_reader import OPCODES, Call, Global, Machine, Opcodes, read_next, read_pickle
from dltrain.errors import DataError

Array = Any
LONGEST_LIST = 1 << 20  # bytes of the zip's list of members: some ten thousand tensors
LONGEST_PICKLE = 16 << 20
MOST_OPCODES = 500_000  # a tensor takes some 40
MOST_TENSORS = 20_000
LONGEST_NAME = 1000
ORDERED_DICT = b"collections OrderedDict"
REBUILD, REBUILD_PARAMETER = b"torch._utils _rebuild_tensor_v2", b"torch._utils _rebuild_parameter"
STORAGES = {
    b"torch FloatStorage": "<f4", b"torch DoubleStorage": "<f8", b"torch HalfStorage": "<f2",
    b"torch BFloat16Storage": "bfloat16", b"torch LongStorage": "<i8", b"torch IntStorage": "<i4",
    b"torch ShortStorage": "<i2", b"torch CharStorage": "i1", b"torch ByteStorage": "u1", b"torch BoolStorage": "?",
}  # fmt: skip
SIZES = {"bfloat16": 2}  # of what numpy has no name for
MAGIC = 0x1950A86A20F9469CFC6C  # with which files of the time before 1.6 begin
ALLOWED = {ORDERED_DICT, REBUILD, REBUILD_PARAMETER, *STORAGES}


@dataclass(frozen=True)
class Storage:
    """Raw numbers: the member of the zip that holds them, their type and how many there are."""

    key: str
    dtype: str
    count: int


class Archive:
    """An open checkpoint. Methods raise READ_ERRORS and IndexError for damage."""

    def __init__(self, path: Path, zipped: ZipFile):
        members = zipped.infolist()
        self._zip, self._members = zipped, {member.filename: member for member in members}
        pickles = [name for name in self._members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(self._members) != len(members) or len(pickles) != 1:
            raise ValueError("its zip holds no `data.pkl` of PyTorch 1.6 or later, or two")
        if any(member.compress_type != ZIP_STORED for member in members):
            raise ValueError("its members are compressed, as PyTorch's never are")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("its members claim more bytes than the file has")
        self._folder = pickles[0].removesuffix("data.pkl")
        order = self._members.get(f"{self._folder}byteorder")
        if order is not None and self._read(order, 10) != b"little":
            raise ValueError("its numbers are not in little-endian order")

    def description(self, name: str) -> Any:
        """What its pickle says, in plain values, `Call` and `Storage`."""
        data = self._read(self._members[f"{self._folder}data.pkl"], LONGEST_PICKLE)
        return read_pickle(data, name, TORCH, MOST_OPCODES)

    def tensor(self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
        """In C order. bfloat16, which numpy does not have, as float32."""
        kind = np.dtype("<u2" if storage.dtype == "bfloat16" else storage.dtype)
        sizes = (*shape, *strides, offset)
        if len(shape) != len(strides) or len(shape) > 10 or not all(type(n) is int and n >= 0 for n in sizes):
            raise ValueError("a tensor's shape and strides are not whole numbers, as many of each")
        last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if 0 in shape or last >= storage.count or prod(shape) > storage.count:
            raise ValueError(f"a tensor of shape {shape} is empty, or not inside of its {storage.count} numbers")
        numbers = np.frombuffer(self._numbers(storage, kind.itemsize), kind)
        steps = [stride * kind.itemsize for stride in strides]
        array = np.ascontiguousarray(as_strided(numbers[offset:], shape, steps, writeable=False))
        if storage.dtype == "bfloat16":
            array = (array.astype("<u4") << 16).view("<f4")
        return array.reshape(shape)

    def _numbers(self, storage: Storage, each: int) -> Any:
        """The bytes of so many numbers, of so many bytes each."""
        member = self._members.get(f"{self._folder}data/{storage.key}")
        if member is None or member.file_size != storage.count * each:
            raise ValueError(f"the numbers {storage.key!r} are missing, or more or less than their type and count say")
        return self._read(member, member.file_size)

    def _read(self, member: ZipInfo, most: int) -> bytes:
        if member.file_size > most:
            raise ValueError(f"{member.filename} has {member.file_size:,} bytes, too many")
        return self._zip.read(member)


class OldFile(Archive):
    """What PyTorch wrote before 1.6: pickles one after the other, then for each storage how many numbers it has, 8
    bytes, and the numbers. Source: torch/serialization.py, `_legacy_save`."""

    def __init__(self, path: Path):
        self._machine, name = Machine(path.read_bytes()), str(path)
        magic, protocol, system, self._said, keys = (
            read_next(self._machine, name, TORCH, MOST_OPCODES) for _ in range(5)
        )
        match magic, protocol, system:
            case (value, 1001, {"little_endian": True}) if value == MAGIC:
                pass
            case _:
                raise ValueError("it is no state dict of PyTorch in little-endian order")
        self._keys = keys if isinstance(keys, list) else []
        self._stored: dict[str, Any] = {}

    def description(self, name: str) -> Any:
        return self._said

    def take_numbers(self, sizes: Mapping[str, int]) -> None:
        """sizes: how many bytes a number takes, of each storage by its key. To be called before a tensor is asked
        for: only the tensors say how long a storage is."""
        for key in self._keys:
            if key not in sizes:
                raise ValueError(f"no tensor says of which type the numbers {key!r} are")
            self._stored[key] = self._machine.take(self._machine.number(8) * sizes[key])

    def _numbers(self, storage: Storage, each: int) -> Any:
        found = self._stored.get(storage.key)
        if found is None or len(found) != storage.count * each:
            raise ValueError(f"the numbers {storage.key!r} are missing, or more or less than their type and count say")
        return found


def read_pth(path: Path) -> dict[str, Array]:
    """All tensors by name. Dicts in dicts give names with dots: `state_dict.conv1.weight`.

    Raises DataError for a file that is damaged or holds more than tensors, dicts and plain values, OSError where it
    cannot be opened.
    """
    with open(path, "rb") as file:
        start = file.read(2)
    try:
        if start == b"\x80\x02":
            return _read(OldFile(path), path)
        if start != b"PK":
            raise ValueError("it begins otherwise")
        with ListedFile(path, LONGEST_LIST) as listed, ZipFile(listed) as zipped:
            listed.opening = False
            return _read(Archive(path, zipped), path)
    except (*READ_ERRORS, IndexError, TypeError, struct.error) as error:
        raise DataError(f"{path}: no PyTorch checkpoint that can be read: {error}") from None


def _read(archive: Archive, path: Path) -> dict[str, Array]:
    tensors = list(islice(_tensors(archive.description(str(path))), MOST_TENSORS + 1))
    if len(tensors) > MOST_TENSORS:
        raise ValueError(f"more than {MOST_TENSORS:,} tensors")
    used = {storage.key: storage for _, (storage, *_) in tensors}
    if isinstance(archive, OldFile):
        archive.take_numbers({key: SIZES.get(s.dtype) or np.dtype(s.dtype).itemsize for key, s in used.items()})
    found, left = {}, 4 * sum(storage.count for storage in used.values())
    for name, place in tensors:
        found[name] = archive.tensor(*place)
        left -= found[name].size
        if left < 0:
            raise ValueError("its tensors share their numbers too often")
    return found


Place = tuple[Storage, int, tuple[int, ...], tuple[int, ...]]


def _tensors(value: Any) -> Iterator[tuple[str, Place]]:
    """(name, what `Archive.tensor` takes) of every tensor in dicts in dicts. Lists are an optimizer's: left out."""
    waiting, seen = [("", value)], 0
    while waiting:
        name, value = waiting.pop()
        seen += 1
        if isinstance(value, Call) and value.function.name == REBUILD_PARAMETER and value.arguments:
            waiting.append((name, value.arguments[0]))
        elif isinstance(value, Call):
            yield name, _place(value.arguments)
        elif isinstance(value, dict):
            waiting += [(f"{name}.{key}" if name else f"{key}", entry) for key, entry in reversed(value.items())]
        if seen + len(waiting) > MOST_OPCODES or len(name) > LONGEST_NAME:  # one dict may stand in many places
            raise ValueError("dicts in dicts without end")


def _place(arguments: tuple[Any, ...]) -> Place:
    match arguments:
        case (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_):
            return storage, offset, shape, strides
    raise ValueError("a tensor without numbers, shape or strides")


# --- the opcodes of a state dict, under the names of Python's pickletools ---------------------------------------------


def _global(m: Machine) -> None:
    name = m.line() + b" " + m.line()
    if name not in ALLOWED:
        what = name.decode("ascii", "replace").replace(" ", ".", 1)
        raise ValueError(f"it wants {what!r}, which only running its code could give; save the state_dict() alone")
    m.push(Global(name))


def _reduce(m: Machine) -> None:
    function, arguments = m.popped(2)
    if not isinstance(function, Global) or not isinstance(arguments, tuple):
        raise IndexError("only a name can be called")
    if function.name == ORDERED_DICT and arguments == ():
        m.push({})
    elif function.name in (REBUILD, REBUILD_PARAMETER):
        m.push(Call(function, arguments))
    else:
        raise IndexError("a call that makes no tensor and no dictionary")


def _persistent(m: Machine) -> None:
    match m.popped(1)[0]:
        case ("storage", Global(name=kind), str(key), str(), int(count), *rest) if (
            kind in STORAGES and count >= 0 and rest in ([], [None])
        ):
            m.push(Storage(key, STORAGES[kind], count))
        case _:
            raise IndexError("no numbers of a known type")


def _build(m: Machine) -> None:
    m.popped(1)  # the versions of modules, beside an ordered dict
    m.top(dict)


def _set_item(m: Machine) -> None:
    key, value = m.popped(2)
    if type(key) not in (str, int):
        raise IndexError("a dictionary needs a text or a number and a value")
    m.top(dict)[key] = value


def _append(m: Machine) -> None:
    (value,) = m.popped(1)
    m.top(list).append(value)


def _text(m: Machine) -> None:
    try:
        m.push(str(m.take(m.number(4)), "utf-8"))
    except UnicodeDecodeError:
        raise IndexError("a text that is no UTF-8") from None


def _keep(size: int) -> Callable[[Machine], None]:
    def put(m: Machine) -> None:
        m.memo[m.number(size)] = m.stack[-1]

    return put


def _fetch(size: int) -> Callable[[Machine], None]:
    def get(m: Machine) -> None:
        number = m.number(size)
        if number not in m.memo:
            raise IndexError(f"nothing was kept as {number}")
        m.push(m.memo[number])

    return get


TORCH: Opcodes = {
    **{code: OPCODES[code] for code in (0x80, *b"}]NKMJ(teu", 0x85, 0x86, 0x87, 0x89)},
    ord("c"): _global,  # GLOBAL
    ord("R"): _reduce,  # REDUCE
    ord("Q"): _persistent,  # BINPERSID
    ord("b"): _build,  # BUILD
    ord("s"): _set_item,  # SETITEM
    ord("a"): _append,  # APPEND
    ord("X"): _text,  # BINUNICODE
    ord(")"): lambda m: m.push(()),  # EMPTY_TUPLE
    0x88: lambda m: m.push(True),  # NEWTRUE
    0x8A: lambda m: m.push(int.from_bytes(m.take(m.number(1)), "little", signed=True)),  # LONG1
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),  # BINFLOAT
    ord("q"): _keep(1),  # BINPUT
    ord("r"): _keep(4),  # LONG_BINPUT
    ord("h"): _fetch(1),  # BINGET
    ord("j"): _fetch(4),  # LONG_BINGET
}
