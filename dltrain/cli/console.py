"""Everything that is shown to people. Results go to stdout, all else to stderr. The only importer of rich."""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # rich is imported where something is shown, so that `--help` comes without it
    from rich.console import Console
    from rich.live import Live

FINDING_INDENT = 25  # columns before what a check has found
BLOCKS = "▁▂▃▄▅▆▇█"
NUMBER = re.compile(r"([-–\d][-–+.,\d e%=×·±/()]*([kKMG]?i?B|m?s)?)?")  # with a unit or a few signs; or nothing
WIDEST = 10_000  # columns of a table in a pipe
_quiet = False
_tracebacks = False


def be_quiet() -> None:
    global _quiet
    _quiet = True


def show_tracebacks() -> None:
    global _tracebacks
    _tracebacks = True


def shows_tracebacks() -> bool:
    return _tracebacks


@cache
def _err() -> Console:
    from rich.console import Console

    err = Console(stderr=True, highlight=False)
    err.soft_wrap = not err.is_terminal  # in a pipe a line stays a line
    return err


def printable(text: str) -> str:
    """Any text so that no terminal obeys it: what comes from files may hold escape sequences. Lines stay lines."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)


def info(text: str) -> None:
    """Something on the way; not with --quiet."""
    if not _quiet:
        _err().print(printable(text), markup=False)


def warning(text: str) -> None:
    """Something that is not as it should be and does not stop the command; not with --quiet."""
    from rich.text import Text

    if not _quiet:
        _err().print(Text.assemble(("warning:", "bold yellow"), " ", printable(text)))


def warn_of_missing_kernels(note: str) -> None:
    """Of a device; empty where its kernels are the fast ones, or those that were asked for."""
    if note:
        warning(f"training is several times slower than it could be: {note}")


def show_remarks() -> None:
    """What the floors below have to remark goes through `logging`, and from there to stderr; not with --quiet."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say = error if record.levelno >= logging.ERROR else warning if record.levelno >= logging.WARNING else info
            say(record.getMessage())

    logger = logging.getLogger("dltrain")
    logger.handlers = [Handler()]
    logger.setLevel(logging.INFO)


def advice(text: str, remedy: str, serious: bool, rule: str) -> None:
    """Something worth knowing about a run, what to try, and whose words advice.mute would silence; not with --quiet."""
    from rich.text import Text

    if not _quiet:
        colour = "red" if serious else "yellow"
        shown = (printable(text), "bold"), "; ", printable(remedy), (f"  [{rule}]", "dim")
        _err().print(Text.assemble(("▲ ", colour), *shown))


def error(text: str) -> None:
    """What went wrong: a line for each mistake. With --debug also where in the code."""
    from rich.text import Text

    if _tracebacks:
        traceback.print_exc()
    for line in text.splitlines() or [""]:
        _err().print(Text.assemble(("error:", "bold red"), " ", printable(line)))


def result_json(content: dict[str, Any]) -> None:
    print(json.dumps(content, allow_nan=False), flush=True)


def result_text(text: str) -> None:
    print(printable(text), flush=True)


def result_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on stdout: numbers to the right, as wide as it needs in a pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [[show(cell) for cell in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(map(show, columns)):
        numeric = all(NUMBER.fullmatch(row[i]) for row in rows) and bool(rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = out.measure(table, options=out.options.update(width=WIDEST)).maximum
    out.print(table)


def info_table(columns: Sequence[str], rows: Sequence[Sequence[str]], most: int) -> None:
    """A table of texts on stderr, of so many rows at most; not with --quiet."""
    shown = [columns, *rows[:most]]
    widths = [max(len(row[i]) for row in shown) for i in range(len(columns))]
    for row in shown:
        info("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    if len(rows) > most:
        info(f"  … and {len(rows) - most:,} more")


MARKS = {"passed": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


def result_finding(name: str, status: str, found: str, advice: str) -> None:
    """A line of a check: how it went, what was found, and below it what to do."""
    from textwrap import wrap

    from rich.console import Console
    from rich.text import Text

    out = Console(highlight=False, soft_wrap=True)
    width = max(40, out.width - FINDING_INDENT) if out.is_terminal else WIDEST
    between, found, advice = "\n" + " " * FINDING_INDENT, printable(found), printable(advice)
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
    return printable(str(value)).replace("\n", "\\n")


def sparkline(values: list[float], width: int) -> str:
    """`▇▅▃▂▁▁`: the course of the values in at most so many characters, from their smallest to their largest."""
    group = -(-len(values) // width)
    means = [sum(part) / len(part) for part in (values[i : i + group] for i in range(0, len(values), group or 1))]
    if not means:
        return ""
    low, high = min(means), max(means)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0
    return "".join(BLOCKS[round((value - low) * scale)] for value in means)


def at_terminal() -> bool:
    """Whether what is on its way is shown to a person who looks at it now."""
    return _err().is_terminal and not _quiet


def live() -> Live:
    """A started live view on stderr, drawn only when it is told to; gone when it is stopped."""
    from rich.live import Live

    view = Live(console=_err(), transient=True, redirect_stdout=False, auto_refresh=False)
    view.start()
    return view
