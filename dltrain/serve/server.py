"""The page over HTTP, on the standard library's server.

That is honestly enough here, and everybody has it: one reader at their own machine, a dozen addresses behind a secret,
all of them looked up in tables, no name from a request ever part of a path; and reading files is work for threads,
which an asynchronous server would have to start as well.
"""

import json
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from dltrain import __version__
from dltrain.errors import RunError
from dltrain.report.palette import cell_classes, stylesheet_colours
from dltrain.run.reader import LARGE_FILE, parse, read_bytes
from dltrain.serve.events import Events
from dltrain.serve.views import Refused, Views
from dltrain.serve.watch import Watch

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# Nothing from outside, no script or style but our files, and no text that becomes markup, whatever runs are called.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address has the token in it
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MOST_CONNECTIONS = 64
LONGEST_BODY = 1 << 16
PATIENCE = 30.0  # seconds for a request to arrive


class Server(ThreadingHTTPServer):
    """Serves the runs of a folder under http://HOST:PORT/TOKEN/ until `shutdown`."""

    daemon_threads = True

    def __init__(self, folder: Path, host: str, port: int):
        """Raises OSError where the address is taken."""
        self.token = secrets.token_urlsafe(24)
        self.watch = Watch(folder)
        self.views = Views(self.watch)
        self.events = Events(self.watch)
        self.files = {path.relative_to(PAGE).as_posix(): path.read_bytes() for path in PAGE.rglob("*.*")}
        self.files["colours.css"] = (stylesheet_colours() + cell_classes()).encode()
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((host, port), Handler)
        threading.Thread(target=self.events.run, daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}/{self.token}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that has left is no error, and others are answered by the handler."""

    def server_close(self) -> None:
        self.events.stop()
        super().server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = f"dltrain/{__version__}", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, how: Callable[[str, dict[str, list[str]]], None]) -> None:
        asked = urlsplit(self.path)
        token, _, place = unquote(asked.path).lstrip("/").partition("/")
        try:
            if not secrets.compare_digest(token.encode(errors="replace"), self.server.token.encode()):
                raise Refused(403, "open the address that `dltrain serve` printed: it has a token in it")
            how(place, parse_qs(asked.query, max_num_fields=1000))
        except Refused as refused:
            self.close_connection = True
            self._send(refused.code, f"{refused}\n".encode(), "text/plain; charset=utf-8")
        except ValueError:
            self.close_connection = True
            self._send(400, b"the query cannot be read\n", "text/plain; charset=utf-8")

    def _get(self, place: str, query: dict[str, list[str]]) -> None:
        views = self.server.views
        if place == "api/events":
            return self._stream(query)
        if place == "api/sample":
            return self._send(200, views.sample(query), "image/png")
        if place == "api/report":
            return self._send(200, self._report(query), "text/html; charset=utf-8", REPORT_POLICY)
        if place.removeprefix("api/") in views.tables and place.startswith("api/"):
            return self._send_json(views.tables[place.removeprefix("api/")](query))
        name = place or "index.html"
        if name not in self.server.files:
            raise Refused(404, "there is no such page")
        self._send(200, self.server.files[name], f"{TYPES.get(Path(name).suffix, 'text/plain')}; charset=utf-8")

    def _report(self, query: dict[str, list[str]]) -> bytes:
        try:
            return read_bytes(self.server.views.listed(query).run.report, LARGE_FILE)
        except (OSError, ValueError):
            raise Refused(404, "this run has no report yet") from None

    def _post(self, place: str, query: dict[str, list[str]]) -> None:
        origin, host = self.headers.get("Origin"), self.headers.get("Host")
        if origin is not None and origin != f"http://{host}":
            raise Refused(403, "notes are written from this page only")
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "notes are sent as JSON")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or not len(length) < 9 or int(length) > LONGEST_BODY:
            raise Refused(413, f"notes have at most {LONGEST_BODY >> 10} kB")
        body = self.rfile.read(int(length))
        if place != "api/notes":
            raise Refused(404, "there is no such page")
        try:
            self._send_json(self.server.views.write_notes(query, parse(body)))
        except (ValueError, RunError, OSError) as error:
            raise Refused(400, " ".join(str(error).split())) from None

    def _stream(self, query: dict[str, list[str]]) -> None:
        """Server-sent events until the reader leaves."""
        self.close_connection = True
        self.send_response(200)
        for key, value in (HEADERS | {"Content-Type": "text/event-stream"}).items():
            self.send_header(key, value)
        self.end_headers()
        with suppress(OSError):
            for name, content in self.server.events.of(set(query.get("on", ())), query.get("since", ["0"])[0]):
                lines = f"event: {name}\ndata: {json.dumps(content, allow_nan=False)}\n\n" if name else ": \n\n"
                self.wfile.write(lines.encode())
                self.wfile.flush()

    def _send_json(self, content: Any) -> None:
        self._send(200, json.dumps(content, allow_nan=False, separators=(",", ":")).encode(), "application/json")

    def _send(self, code: int, content: bytes, kind: str, policy: str = POLICY) -> None:
        self.send_response(code)
        for key, value in (HEADERS | {"Content-Type": kind, "Content-Security-Policy": policy}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are nobody's business, and their addresses hold the token."""
