"""Everything that is shown to people. Results go to stdout, all else to stderr. The only importer of rich."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # rich is imported where something is shown, so that `--help` comes without it
    from rich.console import Console
    from rich.progress import Progress

FINDING_INDENT = 25  # columns before what a check has found
WIDEST = 10_000  # columns of a table in a pipe
_quiet = False
_tracebacks = False


def be_quiet() -> None:
    global _quiet
    _quiet = True


def show_tracebacks() -> None:
    global _tracebacks
    _tracebacks = True


@cache
def _err() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def info(text: str) -> None:
    """Something on the way; not with --quiet."""
    if not _quiet:
        _err().print(text, markup=False)


def warning(text: str) -> None:
    """Something that is not as it should be and does not stop the command; not with --quiet."""
    if not _quiet:
        _err().print("[bold yellow]warning:[/]", end=" ")
        _err().print(text, markup=False)


def show_warnings() -> None:
    """What the floors below have to remark goes through `logging`, and from there to stderr; not with --quiet."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warning(record.getMessage())

    logging.getLogger("dltrain").handlers = [Handler()]


def error(text: str) -> None:
    """What went wrong: a line for each mistake. With --debug also where in the code."""
    if _tracebacks:
        traceback.print_exc()
    for line in text.splitlines() or [""]:
        _err().print("[bold red]error:[/]", end=" ")
        _err().print(line, markup=False)


def result_json(content: dict[str, Any]) -> None:
    print(json.dumps(content, allow_nan=False), flush=True)


def result_text(text: str) -> None:
    print(text, flush=True)


def result_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on stdout: numbers to the right, as wide as it needs in a pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [[show(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(map(show, columns)):
        numeric = all(row[i] == "" or row[i][0] in "0123456789-–" for row in rows) and bool(rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = out.measure(table, options=out.options.update(width=WIDEST)).maximum
    out.print(table)


MARKS = {"passed": "green", "warned": "yellow", "failed": "bold red"}


def result_finding(name: str, status: str, found: str, advice: str) -> None:
    """A line of a check: how it went, what was found, and below it what to do."""
    from textwrap import wrap

    from rich.console import Console
    from rich.text import Text

    out = Console(highlight=False, soft_wrap=True)
    width = max(40, out.width - FINDING_INDENT) if out.is_terminal else WIDEST
    between = "\n" + " " * FINDING_INDENT
    out.print(
        Text.assemble(
            (f"{status:<8}", MARKS[status]),
            (f"{name:<{FINDING_INDENT - 8}}", "bold"),
            between.join(wrap(found, width)),
            (between + between.join(wrap(f"→ {advice}", width)) if advice else "", MARKS[status]),
        )
    )


def show(value: Any) -> str:
    """A cell: None is empty, whole numbers have thousands, others four digits that matter."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(value))


def scores(found: dict[str, Any]) -> list[str]:
    """`loss 0.1234`, `accuracy 0.9876`: as many of the figures of merit as there are."""
    from dltrain.train.settings import METRICS

    values = {key: found[key] for key in METRICS if found.get(key) is not None}
    return [f"{key} {value:.4f}" if abs(value) < 1e4 else f"{key} {value:.4g}" for key, value in values.items()]


class FitWatcher:
    """Shows a training: a bar with the time left at a terminal, one line per epoch everywhere.

    log: called with every line, for train.log.
    """

    def __init__(self, log: Callable[[str], None]):
        self._log = log
        self._progress: Progress | None = None
        self._task: Any = None
        self._shown = 0.0

    def started(self, steps: int, epochs: int) -> None:
        self._epochs = epochs
        if _err().is_terminal and not _quiet:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[now]}"),
                console=_err(),
                transient=True,
                redirect_stdout=False,
                auto_refresh=False,  # drawn from this thread: no other one disturbs the training
            )
            self._task = self._progress.add_task("epoch 1", total=steps, now="")
            self._progress.start()

    def stepped(self, row: dict[str, Any]) -> None:
        now = time.monotonic()
        if self._progress is None or now - self._shown < 0.25:
            return
        self._shown = now
        text = "  ".join(scores(row))
        text += f"  {row['examples_per_second']:,.0f} examples/s"
        name = f"epoch {row['epoch']}/{self._epochs}"
        self._progress.update(self._task, completed=row["step"], description=name, now=text, refresh=True)

    def finished_epoch(self, row: dict[str, Any], layers: list[dict[str, Any]]) -> None:
        parts = [f"epoch {row['epoch']}/{self._epochs}"]
        for split in ("train", "validation"):
            if split in row:
                parts.append(f"{split} {' '.join(scores(row[split]))}")
        dead = [f"{layer['layer']} {layer['dead_units']}/{layer['units']}" for layer in layers if layer["dead_units"]]
        parts += [f"dead units {', '.join(dead)}"] if dead else []
        line = " · ".join([*parts, f"{row['seconds']:.1f} s"])
        self._log(line)
        info(line)

    def ended(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
