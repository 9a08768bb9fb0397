"""What is shown while a network trains: a line for each epoch, and at a terminal a live view below the lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Literal

from dltrain.cli import console
from dltrain.metrics.row import scores
from dltrain.train.callbacks import Callback, LayerRows, Row, epoch_line

if TYPE_CHECKING:  # as in console.py
    from rich.console import RenderableType
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

ProgressStyle = Literal["auto", "live", "lines", "none"]
REDRAW = 0.25  # seconds between two pictures, at least
SILENCE = 30.0  # seconds after which a line says that the training goes on
COURSE = 4  # characters of the course of a figure, at least
FIGURE = 8  # characters of one
LAYERS = 16  # of a deep network; the sick ones come first
COLUMNS = (  # of the table of layers, where there is anything to show, and room: (title, key of a row, form)
    ("dead units", "dead_share", "{:.0%}"),
    ("update ratio", "update_ratio", "{:.1e}"),
    ("gradient", "gradient_norm", "{:.1e}"),
    ("saturated", "saturated_share", "{:.0%}"),
)


def callback_for(
    style: ProgressStyle, name: str, counts: dict[str, int] | None, guessing: float | None, muted: Collection[str] = ()
) -> Callback:
    """counts: training examples of each class. guessing: the loss of answers that know no more than these. muted: rules
    that are not to speak."""
    if style == "live" or (style == "auto" and console.at_terminal()):
        return LiveView(name, counts, guessing, muted)
    return Callback() if style == "none" else Lines(console.info, muted)


def _worth_telling(rows: list[Row], muted: Collection[str]) -> list[Row]:
    """The layers of whose dead units advice would speak."""
    from dltrain.report.advice import RULES

    rule = RULES["dead_units"]
    return [row for row in rows if rule.name not in muted and (row["dead_share"] or 0) >= rule.limit]


class Lines(Callback):
    """One line for each epoch, and one after 30 s of silence, so that nobody wonders."""

    def __init__(self, say: Callable[[str], None], muted: Collection[str] = ()):
        self._say, self._muted = say, muted

    def started(self, steps: int, epochs: int) -> None:
        self.steps, self.epochs = steps, epochs
        self._began = self._spoke = time.monotonic()
        self._first: int | None = None

    def stepped(self, row: Row, layer_rows: LayerRows) -> None:
        self._first = row["step"] if self._first is None else self._first
        now = time.monotonic()
        if now - self._spoke > SILENCE:
            self._spoke = now
            where = f"epoch {row['epoch']}/{self.epochs} · step {row['step']:,}/{self.steps:,}"
            self._say(f"{where} · {' '.join(scores(row))} · {self._left(row['step'])} left")

    def finished_epoch(self, row: Row, layers: list[Row]) -> None:
        self._say(epoch_line(row, _worth_telling(layers, self._muted), self.epochs))
        self._spoke = time.monotonic()

    def _left(self, step: int) -> str:
        """Time left at the pace so far: `1:05`; nothing where there is no pace yet."""
        taken = step - (self._first or step)
        if not taken:
            return "–:––"
        return console.clock((time.monotonic() - self._began) / (taken + 1) * (self.steps - step))


class LiveView(Lines):
    """Below the lines: how far, how well, and what the layers do, with what is unhealthy marked.

    Drawn by the training's own thread, at most four times a second, so that no other one disturbs it.
    """

    def __init__(self, name: str, counts: dict[str, int] | None, guessing: float | None, muted: Collection[str] = ()):
        super().__init__(console.info, muted)
        self._name, self._counts, self._guessing = name, counts, guessing
        self._live: Live | None = None
        self._drawn = 0.0
        self._start: Row | None = None
        self._losses: dict[str, list[float]] = {}
        self._epochs: list[Row] = []
        self._layers: list[Row] = []

    def started(self, steps: int, epochs: int) -> None:
        super().started(steps, epochs)
        self._live = console.live()

    def stepped(self, row: Row, layer_rows: LayerRows) -> None:
        super().stepped(row, layer_rows)
        if row["step"] == 1:
            self._start = row
        for key in row:
            if key.partition("/")[0] == "loss":
                self._losses.setdefault(key, []).append(row[key])
        self._row = row
        now = time.monotonic()
        if self._live is not None and now - self._drawn >= REDRAW:
            self._drawn = now
            self._live.update(self._view(layer_rows(), console.width()), refresh=True)

    def finished_epoch(self, row: Row, layers: list[Row]) -> None:
        self._epochs.append(row)
        self._layers += layers
        super().finished_epoch(row, layers)

    def ended(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _view(self, running: list[Row], width: int) -> RenderableType:
        """running: the layers in the epoch that is under way."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        from dltrain.report.advice import Seen, advise
        from dltrain.report.faults import WARM

        seen = self._row["step"] - (self._epochs[-1]["step"] if self._epochs else 0)
        layers = [*self._layers, *(running if seen >= WARM else [])]  # units look dead until enough has been seen
        found = advise(Seen(self._epochs, layers, self._start, self._counts, self._guessing, muted=self._muted))
        marked = {advice.layer for advice in found}
        told = Table.grid(padding=(0, 1))  # a cell wraps its text
        for advice in found[:2]:
            mark = Text("▲", "red" if advice.serious else "yellow")
            told.add_row(mark, Text.assemble(advice.text, ("; " + advice.remedy, "dim")))
        return Group(Text(), self._bar(), self._figures(width), Text(), self._table(running, marked, width), told)

    def _bar(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        row = self._row
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        epoch = Text.assemble((self._name, "bold"), f"  epoch {row['epoch']}/{self.epochs}")
        bar = ProgressBar(total=self.steps, completed=row["step"])
        grid.add_row(epoch, bar, f"{row['step']:,}/{self.steps:,}  {self._left(row['step'])} left")
        return grid

    def _figures(self, width: int) -> Table:
        """Columns that stay where they are while the figures change; the rate of examples and then the courses give
        way where there is no room."""
        from rich.table import Table
        from rich.text import Text

        row = self._row
        told = [(key, value, key.partition("/")) for key, value in map(str.split, scores(row))]
        first = max((len(key) for key, *_ in told), default=0)
        rates = [f"lr {row[f'lr{slash}{update}']:.3g}" if head == "loss" else "" for *_, (head, slash, update) in told]
        speed = f"  {row['examples_per_second']:,.0f} examples/s"
        watched = len("validation 0.0000") if self._epochs and "validation" in self._epochs[-1] else 0
        fixed = first + FIGURE + watched + len("lr 0.000123") + 2 * 4
        speed = speed if width - fixed - len(speed) >= COURSE else ""
        course = min(16, width - fixed - len(speed))
        grid = Table.grid(padding=(0, 2))
        for least in (first, FIGURE, *([course] if course >= COURSE else []), watched, 0):
            grid.add_column(no_wrap=True, min_width=least)
        for number, (key, value, _) in enumerate(told):
            each_epoch = [epoch["train"].get(key, 0) for epoch in self._epochs]
            cells: list[RenderableType] = [key, Text(value, "bold")]
            if course >= COURSE:
                cells.append(Text(console.sparkline(self._losses.get(key, each_epoch), course), "cyan"))
            grid.add_row(*cells, self._watched(key), rates[number] + (speed if number == 0 else ""))
        return grid

    def _watched(self, key: str) -> Text:
        """The last validation figure."""
        from rich.text import Text

        value = self._epochs[-1].get("validation", {}).get(key) if self._epochs else None
        return Text() if value is None else Text.assemble("validation ", (f"{value:.4f}", "bold"))

    def _table(self, running: list[Row], marked: set[str | None], width: int) -> Table:
        """Columns that stay where they are; what does not fit is left out, courses before numbers."""
        from rich.table import Table
        from rich.text import Text

        every = [*self._layers, *running]
        history: dict[str, list[Row]] = {}
        for row in every:
            history.setdefault(row["layer"], []).append(row)
        shown = sorted(history, key=lambda name: name not in marked)[:LAYERS]
        first = min(max([len("layer"), *map(len, shown)]), max(8, width // 3))
        columns = [column for column in COLUMNS if any(row[column[1]] is not None for row in every)]
        if not _worth_telling([rows[-1] for rows in history.values()], self._muted):
            columns = [column for column in columns if column[1] != "dead_share"]
        while columns and first + sum(len(title) + 2 for title, *_ in columns) > width:
            columns.pop()
        room = width - first - 2 - sum(len(title) + 4 for title, *_ in columns)
        course = min(10, room // max(1, len(columns)))
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("layer", no_wrap=True, width=first)
        for title, _, _ in columns:
            table.add_column(title, justify="right", no_wrap=True, width=len(title))
            if course >= COURSE:
                table.add_column("", no_wrap=True, width=course)
        for name in (name for name in history if name in shown):
            rows = history[name]
            cells: list[Any] = [Text(name, "bold red" if name in marked else "")]
            for _, key, form in columns:
                values = [row[key] for row in rows if row[key] is not None]
                cells.append(form.format(values[-1]) if values else "–")
                if course >= COURSE:
                    cells.append(Text(console.sparkline(values, course), "cyan"))
            table.add_row(*cells)
        return table
