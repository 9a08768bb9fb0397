"""Everything that is shown to people. Results go to stdout, all else to stderr. The only importer of rich."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
import traceback
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from dltrain import progress as loops

if TYPE_CHECKING:  # rich is imported where something is shown, so that `--help` comes without it
    from rich.console import Console, RenderableType
    from rich.live import Live

FINDING_INDENT = 25  # columns before what a check has found
BLOCKS = "▁▂▃▄▅▆▇█"
NUMBER = re.compile(r"([-–\d][-–+.,\d e%=×·±/()]*([kKMG]?i?B|m?s)?)?")  # with a unit or a few signs; or nothing
WIDEST = 10_000  # columns of a table in a pipe
BETWEEN = 2  # spaces between columns of a table
PATIENCE = 2.0  # seconds after which a bar is shown
_bar: _Bar | None = None  # while one may be
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


def result_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], expendable: Sequence[str] = ()) -> None:
    """A table on stdout: numbers to the right, as wide as it needs in a pipe.

    Where a terminal is too narrow, texts are broken between words, then columns are left out, which a line on stderr
    names: those in `expendable` first, in this order, then from the right; never the first one.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    titles, rows = [show(column) for column in columns], [[show(cell) for cell in row] for row in rows]
    cells = [[title, *(row[i] for row in rows)] for i, title in enumerate(titles)]
    numeric = [all(NUMBER.fullmatch(cell) for cell in column[1:]) and bool(rows) for column in cells]
    out = Console(highlight=False)
    width = out.width if out.is_terminal else WIDEST
    widths = _fitting(cells, numeric, width, [titles.index(title) for title in expendable if title in titles])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, chosen in widths.items():
        table.add_column(titles[i], justify="right" if numeric[i] else "left", overflow="fold", width=chosen)
    for row in rows:
        table.add_row(*(Text(row[i]) for i in widths))
    if not out.is_terminal:
        out.width = max(1, sum(widths.values()) + BETWEEN * len(widths))
    out.print(table)
    if left_out := [titles[i] for i in range(len(titles)) if i not in widths]:
        info(f"left out at {width} columns: {', '.join(left_out)}; a wider terminal or --json shows all")


def _fitting(cells: list[list[str]], numeric: list[bool], width: int, expendable: Collection[int]) -> dict[int, int]:
    """Column -> its width, of those that stay."""
    from rich.cells import cell_len

    whole = [max(map(cell_len, column)) for column in cells]
    least = [
        whole[i] if numeric[i] else max((cell_len(word) for cell in column for word in cell.split()), default=0)
        for i, column in enumerate(cells)
    ]
    first_to_go = [*expendable, *(i for i in reversed(range(1, len(cells))) if i not in expendable)]
    stay = [*range(len(cells))]
    while len(stay) > 1 and sum(least[i] for i in stay) + BETWEEN * (len(stay) - 1) > width:
        stay.remove(first_to_go.pop(0))
    room = width - BETWEEN * (len(stay) - 1) - sum(least[i] for i in stay)
    chosen = {i: least[i] for i in stay}
    for i in sorted(stay, key=lambda i: whole[i] - least[i]):  # those that want little get all of it
        chosen[i] += max(0, min(whole[i] - least[i], room))
        room -= chosen[i] - least[i]
    return {i: min(chosen[i], width) for i in stay}


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
    text = Text.assemble(
        (f"{status:<8}", MARKS[status]),
        (f"{name:<{FINDING_INDENT - 8}}", "bold"),
        between.join(wrap(found, width)),
        (between + between.join(wrap(f"→ {advice}", width)) if advice else "", MARKS[status]),
    )
    if _bar is not None:
        _bar.hide()  # the next loop shows it again, below this line
    out.print(text)


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


def width() -> int:
    """Of the terminal, in columns."""
    return _err().width


def clock(seconds: float) -> str:
    """`1:05`, `2:03:09`"""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Inside, at a terminal, a bar on stderr shows how far the loops of `dltrain.progress` have come, once the work has
    taken 2 s. what: is done, until a loop says more."""
    global _bar
    if not at_terminal():
        yield
        return
    _bar = bar = _Bar(what)
    try:
        with loops.watched(bar.tell):
            yield
    finally:
        bar.end()
        _bar = None


class _Bar:
    """A line that is drawn four times a second by a thread of rich's, for some of what takes long is no loop."""

    def __init__(self, what: str):
        self._what, self._share, self._began = what, 0.0, time.monotonic()
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._wait()

    def _wait(self) -> None:
        self._timer = threading.Timer(PATIENCE, self._show)
        self._timer.daemon = True
        self._timer.start()

    def _show(self) -> None:
        from rich.live import Live

        with self._lock:
            if not self._timer.finished.is_set() and self._live is None:
                self._live = Live(console=_err(), transient=True, redirect_stdout=False, get_renderable=self._view)
                self._live.start(refresh=True)

    def _view(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        taken = time.monotonic() - self._began
        left = f"{clock(taken / self._share - taken)} left" if self._share > 0 else f"{clock(taken)} so far"
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        total = 1.0 if self._share > 0 else None
        grid.add_row(self._what, ProgressBar(total=total, completed=self._share), left)
        return grid

    def tell(self, what: str, share: float) -> None:
        if what and what != self._what:
            self._what, self._began = what, time.monotonic()
        self._share = share

    def hide(self) -> None:
        """Until it is due again."""
        self.end()
        self._wait()

    def end(self) -> None:
        self._timer.cancel()
        with self._lock:
            if self._live is not None:
                self._live.stop()
                self._live = None


def live() -> Live:
    """A started live view on stderr, drawn only when it is told to; gone when it is stopped."""
    from rich.live import Live

    view = Live(console=_err(), transient=True, redirect_stdout=False, auto_refresh=False)
    view.start()
    return view
