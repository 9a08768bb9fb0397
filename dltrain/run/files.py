"""Files that are either the old or the new one, whenever the machine stops. All that a run keeps is written here."""

import os
import secrets
from pathlib import Path

from dltrain.errors import DltrainError


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the target, make it durable, then rename over it. Raises OSError; the old file then remains."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_output(path: Path, data: bytes) -> None:
    """The same for what somebody asked for by its name. Raises DltrainError."""
    try:
        write_atomically(path, data)
    except OSError as error:
        raise DltrainError(f"{path}: cannot be written: {error.strerror}") from None


def append(path: Path, text: str) -> None:
    """Add to a log. Only `sync` makes it durable; a crash may leave a part of the last line."""
    with open(path, "ab") as file:
        file.write(text.encode())


def cut(path: Path, length: int) -> None:
    """Shorten a log to so many bytes, durably."""
    with open(path, "r+b") as file:
        file.truncate(length)
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Make what was appended to a log durable."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make new names and renames in a folder durable."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what a killed `write_atomically` has left in a folder."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)
