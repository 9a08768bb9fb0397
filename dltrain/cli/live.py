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
LAYERS = 16  # of a deep network; the sick ones come first
COLUMNS = (  # of the table of layers, where there is anything to show: (title, key of a row, form)
    ("dead units", "dead_share", "{:.0%}"),
    ("saturated", "saturated_share", "{:.0%}"),
    ("gradient", "gradient_norm", "{:.1e}"),
    ("update ratio", "update_ratio", "{:.1e}"),
)


def callback_for(
    style: ProgressStyle, name: str, counts: dict[str, int] | None, guessing: float | None, muted: Collection[str] = ()
) -> Callback:
    """counts: training examples of each class. guessing: the loss of answers that know no more than these. muted: rules
    that are not to speak."""
    if style == "live" or (style == "auto" and console.at_terminal()):
        return LiveView(name, counts, guessing, muted)
    return Callback() if style == "none" else Lines(console.info)


class Lines(Callback):
    """One line for each epoch, and one after 30 s of silence, so that nobody wonders."""

    def __init__(self, say: Callable[[str], None]):
        self._say = say

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
        self._say(epoch_line(row, layers, self.epochs))
        self._spoke = time.monotonic()

    def _left(self, step: int) -> str:
        """Time left at the pace so far: `1:05`; nothing where there is no pace yet."""
        taken = step - (self._first or step)
        if not taken:
            return "–:––"
        seconds = round((time.monotonic() - self._began) / (taken + 1) * (self.steps - step))
        hours, minutes = seconds // 3600, seconds // 60 % 60
        return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


class LiveView(Lines):
    """Below the lines: how far, how well, and what the layers do, with what is unhealthy marked.

    Drawn by the training's own thread, at most four times a second, so that no other one disturbs it.
    """

    def __init__(self, name: str, counts: dict[str, int] | None, guessing: float | None, muted: Collection[str] = ()):
        super().__init__(console.info)
        self._name, self._counts, self._guessing, self._muted = name, counts, guessing, muted
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
            self._live.update(self._view(layer_rows()), refresh=True)

    def finished_epoch(self, row: Row, layers: list[Row]) -> None:
        self._epochs.append(row)
        self._layers += layers
        super().finished_epoch(row, layers)

    def ended(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _view(self, running: list[Row]) -> RenderableType:
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
        return Group(Text(), self._bar(), self._figures(), Text(), self._table(running, marked), told)

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

    def _figures(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        row = self._row
        grid = Table.grid(padding=(0, 2))
        for _ in range(4):
            grid.add_column(no_wrap=True)
        for number, text in enumerate(scores(row)):
            key, value = text.split()
            each_epoch = [epoch["train"].get(key, 0) for epoch in self._epochs]
            course = Text(console.sparkline(self._losses.get(key, each_epoch), 16), "cyan")
            _, slash, update = key.partition("/")
            rate = f"lr {row[f'lr{slash}{update}']:.3g}" if key.startswith("loss") else ""
            speed = f"  {row['examples_per_second']:,.0f} examples/s" if number == 0 else ""
            grid.add_row(key, Text(value, "bold"), course, self._watched(key), rate + speed)
        return grid

    def _watched(self, key: str) -> Text:
        """The last validation figure."""
        from rich.text import Text

        value = self._epochs[-1].get("validation", {}).get(key) if self._epochs else None
        return Text() if value is None else Text.assemble("validation ", (f"{value:.4f}", "bold"))

    def _table(self, running: list[Row], marked: set[str | None]) -> Table:
        from rich.table import Table
        from rich.text import Text

        every = [*self._layers, *running]
        history: dict[str, list[Row]] = {}
        for row in every:
            history.setdefault(row["layer"], []).append(row)
        shown = sorted(history, key=lambda name: name not in marked)[:LAYERS]
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("layer")
        columns = [column for column in COLUMNS if any(row[column[1]] is not None for row in every)]
        for title, _, _ in columns:
            table.add_column(title, justify="right", no_wrap=True)
            table.add_column("", no_wrap=True)
        for name in (name for name in history if name in shown):
            rows = history[name]
            cells: list[Any] = [Text(name, "bold red" if name in marked else "")]
            for _, key, form in columns:
                values = [row[key] for row in rows if row[key] is not None]
                cells += [form.format(values[-1]), Text(console.sparkline(values, 10), "cyan")] if values else ["–", ""]
            table.add_row(*cells)
        return table
