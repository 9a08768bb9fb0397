"""Files from the net: the right bytes under their name, or nothing.

A download grows in `.NAME.part`, which the next attempt continues, also from another place; it gets its name only when
size and SHA-256 are right. Whatever a server does, a wrong file never has the final name.
"""

import os
import shutil
import tarfile
import urllib.request
import zlib
from collections.abc import Callable
from hashlib import sha256
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO

from dltrain.data.remotes import Remote
from dltrain.errors import DataError

PIECE = 1 << 18
PATIENCE = 30  # seconds without a byte
Report = Callable[[str, int], None]  # of which file, so many bytes are there


class Refused(Exception):
    """What a server sent is not what was asked for."""


def missing(remote: Remote, folder: Path) -> list[str]:
    """Names of the files that this one stands for and that are not there with their right content."""
    wanted = remote.members or {remote.name: (remote.size, remote.sha256)}
    return [name for name, (size, digest) in wanted.items() if not _is(folder / name, size, digest)]


def download(remote: Remote, folder: Path, report: Report) -> None:
    """Get a file into the folder, or out of an archive what it is for. Raises DataError; what is there stays.

    Every place is tried twice: what a first attempt continued may have been wrong from the start.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _is(folder / remote.name, remote.size, remote.sha256):
            _fetch_from_anywhere(remote, folder, report)
        if remote.members is not None:
            _take_out(folder / remote.name, remote.members, folder)
            (folder / remote.name).unlink()
    except OSError as error:
        raise DataError(f"{error.filename or folder}: cannot be written: {error.strerror or error}") from error


def _fetch_from_anywhere(remote: Remote, folder: Path, report: Report) -> None:
    part = folder / f".{remote.name}.part"
    there = part.stat().st_size if part.exists() else 0
    needed = remote.size - min(there, remote.size) + sum(size for size, _ in (remote.members or {}).values())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(f"{folder}: {needed:,} bytes are needed, but {free:,} are free")
    problems = []
    for url in (*remote.urls, *remote.urls):
        try:
            _fetch(url, part, remote, report)
        except (OSError, HTTPException, Refused, ValueError) as error:
            if getattr(error, "filename", None) == str(part):
                raise  # the disk's fault, not the server's
            problems.append(f"{url}: {error or type(error).__name__}")
            continue
        if _is(part, remote.size, remote.sha256):
            os.replace(part, folder / remote.name)
            return
        problems.append(f"{url}: not the right file (SHA-256 differs)")
        part.unlink()
    failed = f"{remote.name} could not be downloaded (--offline says what to get by hand):"
    raise DataError("\n".join([failed, *dict.fromkeys(problems)]))


def _fetch(url: str, part: Path, remote: Remote, report: Report) -> None:
    """Continue the part up to the size of the file. Raises Refused or OSError where that does not work."""
    start = part.stat().st_size if part.exists() else 0
    if start >= remote.size:
        if start == remote.size:
            return  # its content will be looked at
        part.unlink()
        start = 0
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "dltrain"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        if (coding := answer.headers.get("Content-Encoding", "identity")) != "identity":
            raise Refused(f"sent in the coding {coding}, which was not asked for")
        start = _start_of(answer, start, remote.size)
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            _copy(answer, file, start, remote, report)


def _start_of(answer: HTTPResponse, start: int, size: int) -> int:
    """From which byte on the server sends: where it was asked to, or from the beginning. Raises Refused."""
    promised = answer.headers.get("Content-Length")
    if answer.status == 206:
        if answer.headers.get("Content-Range", "") != f"bytes {start}-{size - 1}/{size}":
            raise Refused(f"sent another part than asked for: {answer.headers.get('Content-Range')}")
        return start
    if promised is not None and promised != str(size):
        raise Refused(f"sent {promised} bytes where there should be {size:,}")
    return 0


def _copy(answer: HTTPResponse, file: IO[bytes], at: int, remote: Remote, report: Report) -> None:
    while piece := answer.read(min(PIECE, remote.size - at + 1)):  # one more than there should be
        at += len(piece)
        if at > remote.size:
            file.truncate(0)
            raise Refused(f"sent more than {remote.size:,} bytes")
        file.write(piece)
        report(remote.name, at)
    file.truncate()
    file.flush()
    os.fsync(file.fileno())
    if at < remote.size:
        raise Refused(f"ended after {at:,} of {remote.size:,} bytes")


def _take_out(archive: Path, members: dict[str, tuple[int, str]], folder: Path) -> None:
    """Files from a tar.gz whose own content is known to be right. Nothing is extracted by the archive's own rules:
    only regular files of these names and sizes are read, and written under names of ours."""
    wanted = dict(members)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for entry in tar:
                name = entry.name.rpartition("/")[2]
                content = tar.extractfile(entry) if entry.isreg() and name in wanted else None
                if content is not None and wanted[name][0] == entry.size:
                    part = folder / f".{name}.part"
                    with open(part, "wb") as file:
                        shutil.copyfileobj(content, file, PIECE)
                        file.flush()
                        os.fsync(file.fileno())
                    if _is(part, *wanted.pop(name)):
                        os.replace(part, folder / name)
                        continue
                    part.unlink()
                    raise DataError(f"{archive}: {name} in it is not the right file (SHA-256 differs)")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: damaged: {error}") from error
    if wanted:
        raise DataError(f"{archive}: does not hold {', '.join(wanted)}")


def _is(path: Path, size: int, digest: str) -> bool:
    """Whether there is a file of this size and content."""
    if not path.is_file() or path.stat().st_size != size:
        return False
    found = sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
    return found.hexdigest() == digest
