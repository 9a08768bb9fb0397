"""`dltrain serve`"""

from pathlib import Path
from typing import Annotated

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, Debug, Json, Quiet

PORT = 8866


def serve(
    runs: Annotated[Path, typer.Argument(metavar="RUNS", help="Directory for runs, a group, or one run.")] = RUNS,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=1, max=65535, help=f"Port. [default: {PORT}, or any free one]"),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show runs in a browser, live while they train.

    Read-only but for tags and notes. Whoever has the printed address can read the runs; on another --host than
    127.0.0.1 it travels unencrypted. Ctrl-C ends it.
    """
    from dltrain.errors import ConfigError
    from dltrain.serve.server import Server

    if runs.exists() and not runs.is_dir():
        raise ConfigError(f"{runs}: is a file; name a directory of runs")
    try:
        server = Server(runs, host, PORT if port is None else port)
    except OSError as error:
        if port is not None:
            why = error.strerror or error
            raise ConfigError(f"{host}:{port}: cannot listen there ({why}); try another --port") from None
        server = Server(runs, host, 0)
    if json:
        console.result_json({"url": server.url})
    else:
        console.result_text(server.url)
    console.info("open it in a browser; Ctrl-C ends it")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
