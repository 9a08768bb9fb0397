"""All that a run keeps is written here: files that are either the old or the new one, whenever the machine stops; logs;
and locks on folders."""

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dltrain.errors import ConfigError, DltrainError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Row = dict[str, Any]
SOON = 0.1  # seconds
_encode = json.JSONEncoder(allow_nan=False).encode


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


def require_ending(path: Path | None, *endings: str) -> None:
    """Raises ConfigError where a file that somebody asked for is called as if it were of another kind."""
    if path is not None and path.suffix.lower() not in endings:
        raise ConfigError(f"{path}: the name must end in {' or '.join(endings)}, which says how it is written")


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


# --- strict JSON; logs have a row a line ---


def to_json(content: Row) -> bytes:
    """A file of strict JSON, for people to read as well. Raises ValueError as `to_lines`."""
    return (json.dumps(content, allow_nan=False, indent=2) + "\n").encode()


def to_lines(*rows: Row) -> str:
    """Raises ValueError for numbers that JSON has not: not-a-number and infinities."""
    return "".join(_encode(row) + "\n" for row in rows)


class BufferedWriter:
    """Rows on their way into a log. To open the file takes longer than many a step: they are written some at a time."""

    def __init__(self, path: Path):
        self._path = path
        self._lines: list[str] = []
        self._written_at = 0.0

    def add(self, row: Row) -> None:
        """It is written now, or with the first one after SOON seconds, or when `write` is called."""
        self._lines.append(to_lines(row))
        if time.monotonic() - self._written_at > SOON:
            self.write()

    def write(self) -> None:
        if self._lines:
            lines, self._lines = "".join(self._lines), []
            append(self._path, lines)
            self._written_at = time.monotonic()


# --- who trains in a folder: the system lets go of a lock when its process ends, however it ends ---


class Lock:
    """Held on a folder or a file until `release`, the end of this object or that of the process."""

    def __init__(self, path: Path, *, shared: bool = False, file: bool = False):
        """Raises BlockingIOError where another process holds it, OSError where the folder is gone.

        file: a file, which is made where there is none. Network file systems lock files for all machines, but folders
        on each machine by itself.

        known: False where there are no such locks (Windows, some network file systems) and everybody gets one.
        """
        self._descriptor: int | None = None
        self.known = False
        if fcntl is None:
            return
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT if file else os.O_RDONLY, 0o666)
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            self.known = True
        except BlockingIOError:
            self.release()
            raise
        except OSError:
            pass

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None  # first, for a signal may come in between
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        self.release()


@contextmanager
def alone_with(file: Path) -> Iterator[None]:
    """Inside, no other process is inside with the same file; it is waited for."""
    while True:
        try:
            lock = Lock(file, file=True)
            break
        except BlockingIOError:
            time.sleep(0.02)
    try:
        yield
    finally:
        lock.release()


def is_held(folder: Path) -> bool | None:
    """Whether a process holds the folder; None where that cannot be known."""
    try:
        lock = Lock(folder, shared=True)  # two who only ask are not in each other's way
    except BlockingIOError:
        return True
    except OSError:
        return None
    lock.release()
    return False if lock.known else None
