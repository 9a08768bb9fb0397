"""Downloads from a server that does everything wrong: the right file under its name, or none."""

import gzip
import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest
from commands import dltrain, done

from dltrain.data import SOURCES, default_data_dir, remotes
from dltrain.data import download as module
from dltrain.data.download import download, missing
from dltrain.data.remotes import REMOTES, Remote
from dltrain.errors import DataError

CONTENT = np.random.default_rng(0).bytes(1_000_000)
Behaviour = Callable[[BaseHTTPRequestHandler, int], None]  # given the first byte that was asked for


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def part_of(handler: BaseHTTPRequestHandler, start: int, body: bytes) -> None:
    reply(handler, 206, body[start:], Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}")


def good(handler: BaseHTTPRequestHandler, start: int) -> None:
    part_of(handler, start, CONTENT) if start else reply(handler, 200, CONTENT)


def redirected(handler: BaseHTTPRequestHandler, start: int) -> None:
    reply(handler, 302, b"", Location="/good")


def broken_off(handler: BaseHTTPRequestHandler, start: int) -> None:
    """Each time 300,000 bytes more."""
    reply(handler, 206 if start else 200, CONTENT[start : start + 300_000], len(CONTENT) - start,
          Content_Range=f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")  # fmt: skip


def endless(handler: BaseHTTPRequestHandler, start: int) -> None:
    """Says nothing of the length."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(CONTENT + bytes(300_000))


BEHAVIOURS: dict[str, Behaviour] = {
    "good": good,
    "redirected": redirected,
    "broken_off": broken_off,
    "ignores_ranges": lambda h, start: reply(h, 200, CONTENT),
    "short": lambda h, start: reply(h, 200, CONTENT[:-1]),
    "long": lambda h, start: reply(h, 200, CONTENT + b"x"),
    "endless": endless,
    "wrong": lambda h, start: reply(h, 200, bytes(len(CONTENT))),
    "wrong_part": lambda h, start: part_of(h, start, bytes(len(CONTENT))),
    "another_part": lambda h, start: reply(h, 206, CONTENT[:100], Content_Range=f"bytes 0-99/{len(CONTENT)}"),
    "of_another_file": lambda h, start: reply(h, 206, CONTENT[start:-5], Content_Range=f"bytes {start}-999994/999995"),
    "page": lambda h, start: reply(h, 200, b"<html>please log in</html>"),
    "coded": lambda h, start: reply(h, 200, gzip.compress(CONTENT), Content_Encoding="gzip"),
    "gone": lambda h, start: reply(h, 404, b"no"),
    "overloaded": lambda h, start: reply(h, 503, b"later"),
    "silent": lambda h, start: h.connection.close(),
    "empty": lambda h, start: reply(h, 200, b""),
    "loop": lambda h, start: reply(h, 302, b"", Location="/loop"),
}


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, int]] = []
        self.archive = b""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that has seen enough


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        name = self.path.rpartition("/")[2]
        self.server.asked.append((name, start))
        if name == "archive":
            reply(self, 200, self.server.archive)
        else:
            BEHAVIOURS[name](self, start)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def remote(server: Server, *names: str, content: bytes = CONTENT, **settings: Any) -> Remote:
    urls = tuple(f"http://127.0.0.1:{server.server_port}/{name}" for name in names)
    return Remote("file", len(content), sha256(content).hexdigest(), urls, **settings)


def silent_report(name: str, done: int) -> None:
    pass


RIGHT = {"good", "redirected", "ignores_ranges"}


@pytest.mark.parametrize("start", [0, 1, 400_000, 999_999, 1_000_000, 1_000_001])
@pytest.mark.parametrize("name", BEHAVIOURS)
def test_the_right_file_or_none(name: str, start: int, server: Server, tmp_path: Path) -> None:
    """start: bytes of an earlier attempt, which may be more than the whole file."""
    if start:
        (tmp_path / ".file.part").write_bytes((CONTENT + b"x")[:start])
    try:
        download(remote(server, name), tmp_path, silent_report)
    except DataError as error:
        assert name not in RIGHT and "file could not be downloaded (" in str(error)
        assert not (tmp_path / "file").exists()
        assert start == 1_000_000 or f"/{name}" in str(error)
    else:
        assert (tmp_path / "file").read_bytes() == CONTENT and not (tmp_path / ".file.part").exists()
        assert name in RIGHT or start == 1_000_000 or (name == "broken_off" and start >= 400_000), name
    if name == "good" and 0 < start < 1_000_000:
        assert server.asked == [("good", start)], "what was there is not asked for again"
    if start == 1_000_000:
        assert server.asked == [], "nothing was missing"


@pytest.mark.parametrize("name", sorted(BEHAVIOURS.keys() - RIGHT - {"broken_off"}))
def test_the_second_place_helps(name: str, server: Server, tmp_path: Path) -> None:
    download(remote(server, name, "good"), tmp_path, silent_report)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_what_one_place_began_another_continues(server: Server, tmp_path: Path) -> None:
    seen: list[int] = []
    download(remote(server, "broken_off", "good"), tmp_path, lambda name, done: seen.append(done))
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == [("broken_off", 0), ("good", 300_000)]
    assert seen == sorted(seen) and seen[-1] == 1_000_000
    with pytest.raises(DataError, match="ended after 600,000 of 1,000,000 bytes"):
        download(remote(server, "broken_off"), tmp_path / "b", silent_report)
    download(remote(server, "broken_off"), tmp_path / "b", silent_report)  # the next attempt gets the rest
    assert (tmp_path / "b" / "file").read_bytes() == CONTENT


def test_a_wrong_beginning_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".file.part").write_bytes(bytes(500_000))
    download(remote(server, "good"), tmp_path, silent_report)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == [("good", 500_000), ("good", 0)]


def test_what_is_there_stays(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"an older one")
    assert missing(remote(server, "gone"), tmp_path) == ["file"]
    with pytest.raises(DataError):
        download(remote(server, "gone"), tmp_path, silent_report)
    assert (tmp_path / "file").read_bytes() == b"an older one"
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: type("", (), {"free": 999_999}))
    with pytest.raises(DataError, match="1,000,000 bytes are needed, but 999,999 are free"):
        download(remote(server, "good"), tmp_path, silent_report)
    monkeypatch.undo()
    download(remote(server, "good"), tmp_path, silent_report)
    assert missing(remote(server, "gone"), tmp_path) == []
    asked = len(server.asked)
    download(remote(server, "good"), tmp_path, silent_report)
    assert len(server.asked) == asked, "it is complete"
    (tmp_path / "plain").touch()
    with pytest.raises(DataError, match="plain: cannot be written"):
        download(remote(server, "good"), tmp_path / "plain", silent_report)


# --- archives --------------------------------------------------------------------------------------------------------

MEMBERS = {"one": b"1" * 1000, "two": b"2" * 5000}
WANTED = {name: (len(content), sha256(content).hexdigest()) for name, content in MEMBERS.items()}


def archive(entries: list[tuple[str, bytes | str]]) -> bytes:
    """Names with their content, or with where a link of that name points to."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


ONE, TWO = ("d/one", MEMBERS["one"]), ("d/two", MEMBERS["two"])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([ONE, TWO], None),
        ([("../../evil", b"x"), ("/etc/evil", b"x"), ("d/link", "/etc/passwd"), ("../one", MEMBERS["one"]), TWO], None),
        ([ONE], "does not hold two"),
        ([ONE, ("d/two", "/etc/passwd")], "does not hold two"),
        ([ONE, ("d/two", b"2" * 4999)], "does not hold two"),
        ([ONE, ("d/two", b"3" * 5000)], "two in it is not the right file"),
    ],
)
def test_archives(entries: Any, message: str | None, server: Server, tmp_path: Path) -> None:
    server.archive = archive(entries)
    packed = remote(server, "archive", content=server.archive, members=WANTED)
    place = tmp_path / "a" / "b"
    assert missing(packed, place) == ["one", "two"]
    if message:
        with pytest.raises(DataError, match=message):
            download(packed, place, silent_report)
        assert "two" in missing(packed, place)
    else:
        download(packed, place, silent_report)
        assert {path.name: path.read_bytes() for path in place.iterdir()} == MEMBERS
        assert missing(packed, place) == []
    assert {path.name for path in tmp_path.rglob("*")} <= {"a", "b", "one", "two", "file"}


# --- the table and the command ---------------------------------------------------------------------------------------


def test_every_file_has_two_places() -> None:
    for name, (_, files) in REMOTES.items():
        assert name in SOURCES
        for file in files:
            hosts = [urlparse(url).hostname for url in file.urls]
            assert len(set(hosts)) == len(hosts) >= 2 and all(url.startswith("https://") for url in file.urls)
            for size, digest in [(file.size, file.sha256), *(file.members or {}).values()]:
                assert size > 0 and len(digest) == 64 and int(digest, 16)


@pytest.mark.skipif("DLTRAIN_DATA" not in os.environ, reason="DLTRAIN_DATA is not set")
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_real_files_are_those_of_the_table(name: str) -> None:
    folder, files = REMOTES[name]
    assert [missing(file, default_data_dir() / folder) for file in files] == [[]] * len(files)


@pytest.fixture
def two_files(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    good, other = remote(server, "gone", "good"), remote(server, "good")
    files = (good, Remote("other", other.size, other.sha256, other.urls))
    monkeypatch.setitem(remotes.REMOTES, "mnist", ("mnist", files))


@pytest.mark.usefixtures("two_files")
def test_the_command(server: Server, tmp_path: Path) -> None:
    at = ["--data-dir", tmp_path]
    said = dltrain("data", "download", "mnist", "--offline", *at)
    assert said.code == 1 and not server.asked and len(said.errors) == 3
    assert "file (1,000,000 bytes, SHA-256" in said.errors[1] and "/gone or http" in said.errors[1]
    listed = {row["data"]: row for row in done("data", "list", *at, "--json").json["data"]}
    assert set(listed) == set(SOURCES) and listed["mnist"]["here"] is False and "here" not in listed["digits"]
    said = done("data", "download", "mnist", *at)
    assert said.err.startswith(f"mnist: 2.0 MB to download into {tmp_path / 'mnist'}\n"), "the size comes first"
    assert said.out == f"{tmp_path / 'mnist'}\n"
    assert (tmp_path / "mnist" / "other").read_bytes() == CONTENT
    asked = len(server.asked)
    again = done("data", "download", "mnist", "--offline", *at, "--json")
    assert again.json == {"data": "mnist", "folder": str(tmp_path / "mnist"), "downloaded": []}
    assert len(server.asked) == asked and "complete" in again.err
    assert "mnist" in done("data", "list", *at).out


def test_unknown_names(tmp_path: Path) -> None:
    said = dltrain("data", "download", "mnst", "--data-dir", tmp_path)
    assert (said.code, said.out) == (2, "") and "did you mean 'mnist'?" in said.errors[0]
    assert dltrain("data", "download").code == 2 and dltrain("data", "burn").code == 2
