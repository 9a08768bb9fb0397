"""`dltrain serve` over HTTP: nothing without the token, nothing written but notes, news as they happen."""

import json
import os
import re
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
from commands import done, start
from test_serve_logs import new_run, steps

from dltrain.run.rundir import RunDir
from dltrain.serve.server import LONGEST_BODY, PAGE, Server

EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run of two classes that have hostile names."""
    folder = tmp_path_factory.mktemp("trained")
    x = np.random.default_rng(0).normal(size=(60, 4))
    names = np.array([EVIL, "x" * 90])
    np.savez(
        folder / "d.npz", x_train=x, y_train=np.arange(60) % 2, x_test=x, y_test=np.arange(60) % 2, class_names=names
    )
    (folder / "c.yaml").write_text(
        f"data: {{type: npz, path: {folder / 'd.npz'}}}\n"
        "model: {layers: [dense: {units: 4, activation: relu}, dense: {units: 2, activation: none}]}\n"
        "train: {epochs: 2}\n"
    )
    done("fit", folder / "c.yaml", "--runs-dir", folder / "runs", "--quiet")
    return folder / "runs"


class Client:
    """Asks a server. Paths are sent as they are, however strange."""

    def __init__(self, server: Server):
        self.server = server
        self.host = urlsplit(server.url).netloc

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes, Any]:
        with closing(HTTPConnection(self.host, timeout=20)) as connection:
            named = {key.replace("_", "-"): value for key, value in headers.items()}
            connection.putrequest(method, path, skip_accept_encoding=True)
            for key, value in ({"Content-Length": str(len(body))} if body is not None else {} | {}).items():
                named.setdefault(key, value)
            for key, value in named.items():
                connection.putheader(key, value)
            connection.endheaders(body)
            said = connection.getresponse()
            return said.status, said.read(), said.headers

    def get(self, place: str, **query: Any) -> tuple[int, bytes, Any]:
        return self.ask(f"/{self.server.token}/{place}{'?' + urlencode(query, doseq=True) if query else ''}")

    def json(self, place: str, **query: Any) -> Any:
        code, content, _ = self.get(f"api/{place}", **query)
        assert code == 200, content
        return json.loads(content)

    def post(self, key: str, content: Any, **headers: str) -> tuple[int, bytes, Any]:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        path = f"/{self.server.token}/api/notes?{urlencode({'id': key})}"
        return self.ask(path, "POST", body, **({"Content_Type": "application/json"} | headers))


def serving(folder: Path) -> Iterator[Client]:
    server = Server(folder, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Client(server)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    new_run(tmp_path / "runs", "a", rows=30)
    yield from serving(tmp_path / "runs")


@pytest.fixture(scope="module")
def shown(trained: Path) -> Iterator[Client]:
    yield from serving(trained)


def one_line(content: bytes) -> str:
    text = content.decode()
    assert text.endswith("\n") and text.count("\n") == 1 and "<" not in text
    return text


# --- who may ask for what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/x/", "/favicon.ico", "/api/runs", "//", "/%00/", "/%E9/", "/TOKEN"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_nothing_without_the_token(path: str, method: str, client: Client) -> None:
    path = path.replace("TOKEN", client.server.token[:-1])
    code, content, headers = client.ask(path, method, b"{}" if method == "POST" else None)
    assert code == 403 and "Content-Security-Policy" in headers
    if method != "HEAD":
        assert one_line(content) == "open the address that `dltrain serve` printed: it has a token in it\n"


def test_the_token_is_new_each_time_and_long(client: Client, tmp_path: Path) -> None:
    (other,) = serving(tmp_path)
    assert other.server.token != client.server.token and len(client.server.token) >= 32
    assert urlsplit(client.server.url).hostname == "127.0.0.1"


def test_every_answer_forbids_what_is_not_ours(client: Client) -> None:
    for place in ("", "main.js", "style.css", "api/runs", "api/nothing"):
        _, _, headers = client.get(place)
        policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["require-trusted-types-for"] == "'script'" and policy["trusted-types"] == ""
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
        assert headers["Cache-Control"] == "no-store" and "Access-Control-Allow-Origin" not in headers


STRANGE = [
    "..", "../..", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "vendor/../../server.py", "page/main.js", "server.py",
    "/etc/passwd", "%2e%2e/server.py", "api", "api/", "api/../main.js", "main.js%00.png", "__init__.py",
]  # fmt: skip


@pytest.mark.parametrize("place", STRANGE)
def test_no_path_leads_elsewhere(place: str, client: Client) -> None:
    code, content, _ = client.get(place)
    assert code == 404 and one_line(content) == "there is no such page\n"


@pytest.mark.parametrize("key", ["", "..", "../runs", "/etc", "a/../..", "\0", "x" * 5000])
@pytest.mark.parametrize("place", ["run", "layers", "sample", "samples", "report"])
def test_a_run_is_looked_up_not_opened(place: str, key: str, client: Client) -> None:
    code, content, _ = client.get(f"api/{place}", id=key, step=1)
    assert (code, one_line(content)) == (404, "there is no such run\n")


def test_a_query_that_is_none(client: Client) -> None:
    code, content, _ = client.ask(f"/{client.server.token}/api/runs?" + "&".join("a=1" for _ in range(2000)))
    assert code == 400 and one_line(content)


def test_our_page_has_no_way_to_make_markup_of_text_and_asks_nobody_else() -> None:
    """The policy forbids it as well; so the vendored library is bound, too."""
    assert (PAGE / "vendor" / "uPlot.LICENSE").read_text().startswith("The MIT License")
    for path in PAGE.glob("*.*"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", text
        ), path
        links = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`]*", text)) - {"http://www.w3.org/2000/svg"}
        assert not links, path
        if path.suffix == ".html":
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", text), "inline script or style"


def test_no_colour_is_named_outside_the_palette() -> None:
    style = (PAGE / "style.css").read_text(encoding="utf-8")
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b|\brgb|\bhsl|: *(?:white|black|red|gray|grey)\b", style)


# --- what it shows --------------------------------------------------------------------------------------------------


def test_names_are_text_and_nothing_else(shown: Client) -> None:
    """As JSON: it has no other type, and the page makes text of it."""
    (row,) = shown.json("runs")["runs"]
    assert row["status"] == "done" and row["test"]["accuracy"] is not None
    code, content, headers = shown.get("api/run", id=row["id"])
    found = json.loads(content)
    assert code == 200 and headers["Content-Type"] == "application/json"
    assert EVIL in found["confusion"]["names"] and found["headline"][0][1] == "test accuracy"
    assert [layer["name"] for layer in found["network"]] == ["dense1", "dense2"]
    assert "command" in dict(found["environment"]) and found["report"] is True and found["problem"] is None


def test_curves_and_layers_are_those_of_the_logs(shown: Client, trained: Path) -> None:
    (run,) = (RunDir(path) for path in trained.iterdir())
    (found,) = shown.json("series", on=run.path.name)["series"]
    rows = run.rows(run.metrics)
    logged = [row for row in rows if row["event"] == "step"]
    epochs = [row for row in rows if row["event"] == "epoch"]
    assert found["steps"]["x"] == [row["step"] for row in logged] and found["per_epoch"] == epochs[0]["step"]
    for key in ("loss", "accuracy", "lr", "gradient_norm"):
        assert found["steps"]["figures"][key]["mean"] == pytest.approx([row[key] for row in logged], rel=1e-5)
    mean = found["epochs"]["figures"]["train loss"]["mean"]
    assert mean == pytest.approx([row["train"]["loss"] for row in epochs], rel=1e-5)
    layers = shown.json("layers", id=run.path.name)["layers"]
    assert [layer["name"] for layer in layers] == ["dense1", "dense2"]
    dead = [row["dead_share"] for row in run.rows(run.layers) if row["layer"] == "dense1"]
    assert layers[0]["figures"]["dead_share"]["mean"] == pytest.approx(dead) and layers[0]["x"] == [1, 2]


def test_a_report_is_shown_where_no_script_runs(shown: Client) -> None:
    (row,) = shown.json("runs")["runs"]
    code, content, headers = shown.get("api/report", id=row["id"])
    assert code == 200 and content.startswith(b"<!DOCTYPE html>")
    policy = headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy and "sandbox" in policy and "script" not in headers["Content-Security-Policy"]


def test_samples_are_pictures_or_nothing(client: Client) -> None:
    (row,) = client.json("runs")["runs"]
    run = RunDir(client.server.watch.folder / row["id"])
    run.write(run.sample(7), b"\x89PNG\r\n\x1a\nrest")
    run.write(run.sample(8), b"<html>")
    assert client.json("samples", id=row["id"]) == {"steps": [7, 8]}
    code, content, headers = client.get("api/sample", id=row["id"], step=7)
    assert (code, headers["Content-Type"]) == (200, "image/png") and content.endswith(b"rest")
    for step in ("8", "9", "", "-1", "7/../../x", "9" * 50):
        code, content, _ = client.get("api/sample", id=row["id"], step=step)
        assert (code, one_line(content)) == (404, "there is no picture of this step\n")


def test_runs_that_differ_are_told_by_what_differs(tmp_path: Path) -> None:
    for number in (1, 2):
        run = new_run(tmp_path, f"r{number}")
        run.config.write_text(f"seed: {number}\noptimizer: {{type: adam, lr: 0.{number}}}\n")
    broken = new_run(tmp_path, "broken")
    broken.config.write_text("{{")
    for client in serving(tmp_path):
        keys = [row["id"] for row in client.json("runs")["runs"]]
        found = client.json("differing", on=[*keys, "no-such-run"])["settings"]
        assert {key[16:]: value for key, value in found.items()} == {
            "r1": {"optimizer.lr": "0.1"}, "r2": {"optimizer.lr": "0.2"}
        }  # fmt: skip


def test_a_damaged_run_is_told_and_the_others_are_shown(client: Client) -> None:
    runs = client.server.watch.folder
    damaged = new_run(runs, "damaged")
    damaged.metrics.write_text('{"event": "step", "step": 1, "loss": 2.0}\noops\n{}\n')
    linked = new_run(runs, "linked")
    linked.metrics.unlink()
    linked.metrics.symlink_to("/etc/passwd")
    keys = {row["name"][16:]: row["id"] for row in client.json("runs")["runs"]}
    found = {s["id"][16:]: s for s in client.json("series", on=list(keys.values()))["series"]}
    assert (
        found["damaged"]["steps"]["x"] == [1] and "metrics.jsonl is damaged after byte" in found["damaged"]["problem"]
    )
    assert "a link, pipe or device has no place" in found["linked"]["problem"] and "root:" not in str(found)
    assert len(found["a"]["steps"]["x"]) == 30 and found["a"]["problem"] is None
    code, content, _ = client.get("api/run", id=keys["linked"])
    assert code == 409 and "a link, pipe or device" in one_line(content)


# --- news -----------------------------------------------------------------------------------------------------------


def next_event(stream: HTTPResponse, wanted: str) -> Any:
    name = ""
    while line := stream.readline():
        if line.startswith(b"event: "):
            name = line[7:].decode().strip()
        elif line.startswith(b"data: ") and name == wanted:
            return json.loads(line[6:])
    raise AssertionError("the stream has ended")


def test_a_row_is_news_and_only_the_row_is_sent(client: Client) -> None:
    found = client.json("runs")
    key = found["runs"][0]["id"]
    run = RunDir(client.server.watch.folder / key)
    (before,) = client.json("series", on=key)["series"]
    with closing(HTTPConnection(client.host, timeout=20)) as connection:
        query = urlencode({"on": key, "since": client.json("runs")["version"]})
        connection.request("GET", f"/{client.server.token}/api/events?{query}")
        stream = connection.getresponse()
        assert stream.status == 200 and stream.headers["Content-Type"] == "text/event-stream"
        with open(run.metrics, "ab") as file:
            file.write(json.dumps(steps(31, 31)[0]).encode())  # torn: its end comes later
        assert next_event(stream, "system")[0]["cores"] == os.cpu_count()
        with open(run.metrics, "ab") as file:
            file.write(b"\n")
        assert next_event(stream, "logs") == [key]
        run.update_status(status="failed")
        assert next_event(stream, "runs")["runs"][0]["status"] == "failed"
    have = f"{before['generation']}.{before['steps']['stride']}.{len(before['steps']['x'])}.1.0"
    (after,) = client.json("series", on=key, have=have)["series"]
    assert (after["steps"]["from"], after["steps"]["x"]) == (29, [30, 31])
    (whole,) = client.json("series", on=key, have="7.1.30.1.0")["series"]
    assert len(whole["steps"]["x"]) == 31, "what is of another generation is sent whole"


def test_nobody_looks_where_no_page_is_open(client: Client) -> None:
    version = client.json("runs")["version"]
    new_run(client.server.watch.folder, "b")
    threading.Event().wait(0.5)
    assert client.server.watch.version == version


# --- notes ----------------------------------------------------------------------------------------------------------


def test_notes_are_kept_in_a_file_of_their_own(client: Client) -> None:
    (row,) = client.json("runs")["runs"]
    folder = client.server.watch.folder / row["id"]
    before = contents(folder)
    code, content, _ = client.post(row["id"], {"tags": [" good ", "good", "", EVIL[:40]], "note": EVIL + "\n\ud800"})
    assert code == 200 and json.loads(content)["tags"] == ["good", EVIL[:40]]
    after = contents(folder)
    assert after.keys() - before.keys() == {"notes.json"} and {k: after[k] for k in before} == before
    kept = json.loads(after["notes.json"])
    assert kept == {"tags": ["good", EVIL[:40]], "note": EVIL + "\n?"}
    (row,) = client.json("runs")["runs"]
    assert {key: row[key] for key in kept} == kept
    done("runs", "--runs-dir", folder.parent)


NO_NOTES: list[Any] = [
    [], 7, {"tags": "x"}, {"tags": [1]}, {"note": None}, {"tags": ["x" * 41]}, {"note": "x" * 10_001},
    {"tags": [str(i) for i in range(21)]}, b"{", b'{"note": NaN}',
]  # fmt: skip


@pytest.mark.parametrize("content", NO_NOTES, ids=str)
def test_what_are_no_notes_is_refused_in_a_line(content: Any, client: Client) -> None:
    (row,) = client.json("runs")["runs"]
    code, said, _ = client.post(row["id"], content)
    assert code == 400 and one_line(said) and not (client.server.watch.folder / row["id"] / "notes.json").exists()


def test_notes_come_from_the_page_only(client: Client) -> None:
    (row,) = client.json("runs")["runs"]
    fine = {"note": "x"}
    strange: list[tuple[dict[str, str], int]] = [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Length": "-1"}, 413),
        ({"Content_Length": str(LONGEST_BODY + 1)}, 413),
    ]
    for headers, code in strange:
        assert client.post(row["id"], fine, **headers)[0] == code
    assert client.post("no-such", fine)[0] == 404
    assert not (client.server.watch.folder / row["id"] / "notes.json").exists()
    assert client.post(row["id"], fine, Origin=f"http://{client.host}")[0] == 200


def test_reading_changes_nothing(shown: Client, trained: Path) -> None:
    before = contents(trained)
    (row,) = shown.json("runs")["runs"]
    for place in ("runs", "series", "layers", "run", "samples", "differing", "report"):
        shown.get(f"api/{place}", id=row["id"], on=row["id"])
    assert contents(trained) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if stat.S_ISREG(p.stat().st_mode)
    }


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    process = start("serve", tmp_path / "later", "--json")
    assert process.stdout and process.stderr
    url = json.loads(process.stdout.readline())["url"]
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=20)) as connection:
        connection.request("GET", urlsplit(url).path + "api/runs")
        found = json.loads(connection.getresponse().read())
    assert found == {"folder": str(tmp_path / "later"), "version": 0, "runs": []}
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "open it in a browser; Ctrl-C ends it\n")
