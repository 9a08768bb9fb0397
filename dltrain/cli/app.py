"""The typer app, and the options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from dltrain import __version__
from dltrain.cli import console
from dltrain.cli.words import Commands

app = typer.Typer(
    cls=Commands,
    help="Train small networks from YAML and see what happens inside them.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: quicker, the same in a pipe, and `[default: …]` is no markup
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


endings: list[Callable[[int], None]] = []  # called with the exit code when all has been said


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dltrain {__version__}")
        raise typer.Exit


def _be_quiet(wanted: bool) -> None:
    if wanted:
        console.be_quiet()


def _debug(wanted: bool) -> None:
    if wanted:
        console.show_tracebacks()


def _choose_kernels(name: str) -> str:
    if name != "auto":
        from dltrain.backend import choose_kernels

        choose_kernels(name)
    return name


def _load_plugins(files: list[Path] | None) -> list[Path] | None:
    if files:
        from dltrain.spec.plugin import load_plugin

        for file in files:
            load_plugin(file)
    return files


def _one_config(words: list[str] | None) -> list[str] | None:
    """Raises ConfigError for a second CONFIG among the changes."""
    if plain := [word for word in words or () if "=" not in word and not word.startswith("~")]:
        from dltrain.errors import ConfigError
        from dltrain.spec.shipped import is_config

        for word in filter(is_config, plain):
            raise ConfigError(f"{word}: only one CONFIG at a time; overrides are written KEY=VALUE")
    return words


Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE.py", callback=_load_plugins, help="Load custom components."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_be_quiet, help="Print results and errors only.")]
Debug = Annotated[bool, typer.Option("--debug", callback=_debug, help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
RunsDir = Annotated[Path, typer.Option("--runs-dir", metavar="DIR", help="Directory for runs.")]
Config = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped config.")]
ConfigOrRun = Annotated[
    str, typer.Argument(metavar="CONFIG|RUN", help="A YAML file, the name of a shipped config, or a run.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes: a.b=v sets, +a.b=v adds, ~a.b removes.", callback=_one_config),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", metavar="DIR", help="Directory for data sets. [default: DLTRAIN_DATA, or the user's cache]"
    ),
]
DeviceName = Annotated[Literal["auto", "cpu", "cuda"] | None, typer.Option("--device", help="Device to compute on.")]
KernelsName = Annotated[
    Literal["auto", "numpy", "native"],
    typer.Option("--kernels", callback=_choose_kernels, help="CPU kernels; native ones are in C and faster."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        max=256,
        help="Number of threads; results do not depend on it. [default: all cores]",
    ),
]
Run = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="A run: path, name (the newest), unique part of a name, or latest.",
        show_default=False,
    ),
]
Which = Annotated[Literal["best", "last"], typer.Option("--checkpoint", help="Checkpoint to use.")]
RUNS = Path("runs")


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train small networks from YAML and see what happens inside them."""
