"""PyTorch's checkpoints, made by hand: a zip of a pickle and raw numbers."""

import io
import zipfile
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden" / "torch_state.pth"


def pth(description: bytes, storages: dict[str, bytes], method: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    """The file with this pickle. storages: key -> numbers."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("x/data.pkl", description)
        for name, content in more.items():
            archive.writestr(f"x/{name}", content)
        for key, numbers in storages.items():
            archive.writestr(f"x/data/{key}", numbers)
    return file.getvalue()


def number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def storage(count: int, kind: str = "FloatStorage", key: str = "0") -> bytes:
    """The opcodes of `('storage', kind, key, 'cpu', count)`, a persistent id."""
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(
    shape: tuple[Any, ...], strides: tuple[Any, ...], count: int, offset: int = 0, kind: str = "FloatStorage"
) -> bytes:
    """The opcodes of a tensor."""
    sizes = [b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (shape, strides)]
    arguments = storage(count, kind) + number(offset) + b"".join(sizes) + b"\x89}"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def described(value: bytes) -> bytes:
    """A whole pickle of `{'a': value}`."""
    return b"\x80\x02}" + text("a") + value + b"s."
