"""`dltrain data list` and `dltrain data download NAME`"""

import time
from typing import Annotated, Any

import typer

from dltrain.cli import console
from dltrain.cli.app import DataDir, Debug, Json, Quiet

app = typer.Typer(help="List and download data sets.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(data_dir: DataDir = None, json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List the data sets that a config can name, and which are present."""
    from dltrain.data import SOURCES, default_data_dir
    from dltrain.data.remotes import REMOTES

    place = data_dir or default_data_dir()
    rows = []
    for name in SOURCES:
        row: dict[str, Any] = {"data": name, "about": (SOURCES[name].__doc__ or "").split("\n")[0].rstrip(".")}
        if name in REMOTES:
            folder, files = REMOTES[name]
            names = [part for file in files for part in file.members or [file.name]]
            row["here"] = all((place / folder / part).is_file() for part in names)
            row["download"] = sum(file.size for file in files)
        rows.append(row)
    if json:
        console.result_json({"folder": str(place), "data": rows})
        return
    console.info(f"downloads go to {place}")
    table = [[row["data"], row.get("here"), _megabytes(row.get("download")), row["about"]] for row in rows]
    console.result_table(["data", "here", "download", "about"], table)


@app.command("download")
def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set, as a config calls it.")],
    data_dir: DataDir = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use no network: say what is missing, and how to get it by hand.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Download a data set unless already present, and check it.

    Interrupted downloads resume.
    """
    from dltrain.data import SOURCES, default_data_dir
    from dltrain.data.download import download as get
    from dltrain.data.download import missing
    from dltrain.data.remotes import REMOTES
    from dltrain.errors import ConfigError, DataError
    from dltrain.spec.nodes import allowed

    if name not in REMOTES:
        why = "needs no download" if name in SOURCES else "no data set that can be downloaded"
        raise ConfigError(f"{name}: {why}{allowed(name, REMOTES)}")
    folder, files = REMOTES[name]
    place = (data_dir or default_data_dir()) / folder
    wanted = [file for file in files if missing(file, place)]
    size = sum(file.size for file in wanted)
    console.info(f"{name}: {_megabytes(size)} to download into {place}" if wanted else f"{name}: complete in {place}")
    if offline and wanted:
        lines = [f"{place}: {len(wanted)} files are missing; get them by hand:"]
        for file in wanted:
            lines.append(f"{file.name} ({file.size:,} bytes, SHA-256 {file.sha256}): {' or '.join(file.urls)}")
            if file.members:
                lines.append(f"and take out of it: {', '.join(file.members)}")
        raise DataError("\n".join(lines))
    for file in wanted:
        get(file, place, _Progress(file.size))
        console.info(f"{file.name}: {file.size:,} bytes, SHA-256 correct")
    result = {"data": name, "folder": str(place), "downloaded": [file.name for file in wanted]}
    if json:
        console.result_json(result)
    else:
        console.result_text(str(place))


class _Progress:
    """A line every few seconds."""

    def __init__(self, size: int):
        self.size, self.shown = size, time.monotonic()

    def __call__(self, name: str, done: int) -> None:
        if time.monotonic() - self.shown >= 5:
            self.shown = time.monotonic()
            console.info(f"{name}: {done / self.size:.0%}")


def _megabytes(size: int | None) -> str | None:
    return None if size is None else f"{size / 1e6:.1f} MB"
