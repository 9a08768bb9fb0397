"""Servers that do everything wrong, and archives that would leave their folder."""

import bz2
import gzip
import io
import lzma
import random
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

from test_download import BEHAVIOURS, CONTENT, MEMBERS, RIGHT, WANTED, Server, remote, silent_report

from dltrain.data import download as module
from dltrain.data.download import download, missing
from dltrain.data.remotes import Remote
from dltrain.errors import DataError
from endurance.harness import Child


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def downloads(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """From one to three servers, most of them bad, after what an earlier attempt has left, right or wrong; every fifth
    attempt is killed in between. Never is anything but the right file under its name."""
    rng = random.Random(seed)
    found = dict.fromkeys(("got", "refused", "killed"), 0)
    with serving() as server, patch.object(module, "PATIENCE", 1):
        for number in range(count):
            place = folder / str(number)
            place.mkdir()
            names = rng.choices([*BEHAVIOURS], k=rng.randint(1, 3))
            if rng.random() < 0.5:
                left = rng.randrange(len(CONTENT) + 2)
                begun = CONTENT + b"x" if rng.random() < 0.7 else bytes(len(CONTENT) + 1)
                (place / ".file.part").write_bytes(begun[:left])
            if number % 5 == 0:
                child = Child(lambda place=place, names=names: _get(server, names, place))
                time.sleep(rng.random() * 0.01)
                child.kill()
                found["killed"] += child.wait()[0] < 0
                assert _right_or_none(place), f"attempt {number}, killed, of {names}"
            try:
                _get(server, names, place)
            except DataError:
                assert not RIGHT & {*names}, f"attempt {number}: {names} was not enough"
                found["refused"] += 1
            else:
                assert not missing(remote(server, *names), place)
                found["got"] += 1
            assert _right_or_none(place), f"attempt {number} of {names}"
    return {"bad servers": len(BEHAVIOURS.keys() - RIGHT), "downloads": count, **found, "wrong files": 0}


def _get(server: Server, names: list[str], place: Path) -> int:
    download(remote(server, *names), place, silent_report)
    return 0


def _right_or_none(place: Path) -> bool:
    file = place / "file"
    return {path.name for path in place.iterdir()} <= {"file", ".file.part"} and (
        not file.exists() or file.read_bytes() == CONTENT
    )


# --- archives --------------------------------------------------------------------------------------------------------

ONE, TWO = MEMBERS["one"], MEMBERS["two"]


def tar(*entries: tuple[str, dict[str, Any], bytes], kind: int = tarfile.PAX_FORMAT, **headers: Any) -> bytes:
    """Members by name, what else their headers say, and content. headers: of the archive as a whole."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind, **headers) as archive:
        for name, about, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in about.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def hostile() -> dict[str, bytes]:
    """Name -> a tar.gz, or what says that it is one, in which the files that are wanted may also be."""
    plain = [("d/one", {}, ONE), ("d/two", {}, TWO)]
    evil = b"not yours"
    link, hard = {"type": tarfile.SYMTYPE}, {"type": tarfile.LNKTYPE}
    names = {
        "a name above": "../evil", "a name far above": "../" * 40 + "tmp/evil", "a name from the root": "/tmp/evil",
        "two roots": "//tmp/evil", "a name that turns back": "d/../../evil", "a name with backslashes": "..\\..\\evil",
        "a drive": "C:\\evil", "a name with NUL": "evil\0one", "a name of dots": "..", "no name": "",
        "a home": "~/evil", "a long name": "d/" * 2000 + "evil", "a name that is no text": "\udcff\udcfe/evil",
        "a hidden name": ".one.part",
    }  # fmt: skip
    made = {what: tar((name, {}, evil), *plain, kind=tarfile.GNU_FORMAT) for what, name in names.items()}
    made |= {
        "a link": tar(("evil", link | {"linkname": "/etc/passwd"}, b""), *plain),
        "a link above": tar(("evil", link | {"linkname": "../../evil"}, b""), *plain),
        "a wanted name that is a link": tar(("d/one", link | {"linkname": "/etc/passwd"}, b""), plain[1]),
        "a wanted name that is a hard link": tar(("d/one", hard | {"linkname": "/etc/passwd"}, b""), plain[1]),
        "a hard link to another": tar(plain[0], ("d/two", hard | {"linkname": "d/one"}, b"")),
        "a link, then a file through it": tar(("d", link | {"linkname": "/tmp"}, b""), ("d/evil", {}, evil), *plain),
        "a link in a wanted file's place": tar(("one", link | {"linkname": "../evil"}, b""), *plain),
        "links in a circle": tar(("d", link | {"linkname": "e"}, b""), ("e", link | {"linkname": "d"}, b"")),
        "a pipe": tar(("d/one", {"type": tarfile.FIFOTYPE}, b""), plain[1]),
        "a device": tar(("d/one", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}, b""), plain[1]),
        "a folder of a wanted name": tar(("d/one", {"type": tarfile.DIRTYPE}, b""), plain[1]),
        "an unknown type": tar(("d/one", {"type": b"Z"}, ONE), plain[1]),
        "the right to everything": tar(*((n, {"mode": 0o7777, "uid": 0}, c) for n, _, c in plain)),
        "a wanted name twice": tar(("d/one", {}, b"0" * 1000), *plain),
        "a wanted name twice, last wrong": tar(*plain, ("d/one", {}, b"0" * 1000)),
        "a wanted name with other content": tar(("d/one", {}, b"0" * 1000), plain[1]),
        "a wanted name that is too long": tar(("d/one", {}, ONE + b"x"), plain[1]),
        "a longer record of its own": tar(("x", {"pax_headers": {"path": "../evil"}}, evil), *plain),
        "a record for all": tar(*plain, pax_headers={"path": "../evil"}),
        "a size in a record": tar(("d/one", {"pax_headers": {"size": "99999999999"}}, ONE), plain[1]),
        "a negative size in a record": tar(("d/one", {"pax_headers": {"size": "-1"}}, ONE), plain[1]),
        "a size that is no number": tar(("d/one", {"pax_headers": {"size": "x", "mtime": "nan"}}, ONE), plain[1]),
        "sparse files": tar(("d/one", {"pax_headers": {"GNU.sparse.map": "0,9,x", "GNU.sparse.size": "-9"}}, ONE)),
        "5,000 members": tar(*((f"d/{i}", {}, b"") for i in range(5_000)), *plain, kind=tarfile.USTAR_FORMAT),
        "100 MB of zeros": tar(("d/zeros", {}, bytes(100 << 20)), *plain),
        "no member": tar(),
        "its end missing": tar(*plain)[:3000],
        "a broken checksum": bytes([1]) + tar(*plain)[1:],
        "a tar in a tar": tar(("d/one", {}, tar(*plain)[:1000]), ("d/two", {}, tar(*plain)[:5000])),
        "nothing": b"",
        "noise": random.Random(0).randbytes(10_000),
    }
    packed = {what: gzip.compress(content, 1) for what, content in made.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("../evil", evil), archive.writestr("d/one", ONE), archive.writestr("d/two", TWO)
    packed["a zip"] = out.getvalue()
    packed["not packed"] = tar(*plain)
    packed["packed by bzip2"], packed["packed by xz"] = bz2.compress(tar(*plain)), lzma.compress(tar(*plain))
    packed["packed twice"] = gzip.compress(packed["a link"])
    packed["cut anywhere"] = packed["a link"][:-20]
    packed["a wrong checksum"] = packed["a link"][:-8] + bytes(8)
    return packed


def archives(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Each `count`th hostile archive: the wanted files and nothing else, or words about what is wrong."""
    found = {"archives": 0, "wanted files got": 0, "refused": 0}
    slowest = 0.0
    for number, (what, content) in enumerate([*hostile().items()][seed % count :: count]):
        top = folder / str(number)
        place = top / "a" / "b"
        place.mkdir(parents=True)
        packed = Remote("file", len(content), sha256(content).hexdigest(), (), members=WANTED)
        (place / "file").write_bytes(content)
        started = time.process_time()
        try:
            download(packed, place, silent_report)
        except DataError:
            found["refused"] += 1
        else:
            assert {path.name: path.read_bytes() for path in place.iterdir()} == MEMBERS, what
            found["wanted files got"] += 1
        slowest = max(slowest, time.process_time() - started)
        assert slowest < 1, f"{what}: {slowest:.1f} s"
        left = {str(path.relative_to(top)) for path in top.rglob("*")}
        assert left <= {"a", "a/b", "a/b/one", "a/b/two", "a/b/file"}, f"{what}: {left}"
        for path in place.iterdir():
            assert path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1, f"{what}: {path}"
            assert path.name == "file" or path.read_bytes() == MEMBERS[path.name], f"{what}: {path}"
            assert not path.stat().st_mode & 0o7000, f"{what}: {path}"
        assert not Path("/tmp/evil").exists(), what
        found["archives"] += 1
    return found | {"bytes outside": 0, "links made": 0, "slowest in seconds": round(slowest, 2)}
