"""Who is told of a training: a sink keeps what it says, callbacks look on. And what it says in words."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from dltrain.run.checkpoint import Checkpoint

Row = dict[str, Any]
LayerRows = Callable[[], list[Row]]
NAMED = 3  # layers with dead units in the line of an epoch


class Sink(Protocol):
    """What a training says and keeps. A run directory keeps it on the disk; `verify` compares it with what was kept."""

    @property
    def path(self) -> Path:
        """Where the training is kept, for messages."""

    def log_step(self, row: Row) -> None:
        """A row of metrics.jsonl; it may be written a moment later."""

    def log_epoch(self, row: Row, layers: list[Row]) -> None:
        """A row of metrics.jsonl and those of layers.jsonl."""

    def log_lengths(self) -> dict[str, int]:
        """The bytes of each log, for a checkpoint: a training that goes on from there cuts off what came after."""

    def note(self, line: str) -> None:
        """A line for people."""

    def keep(self, name: str, content: bytes) -> None:
        """A file beside the logs, in place of the one of that name."""

    def save(self, checkpoint: "Checkpoint", best: bool, keep: int) -> None:
        """best: whether it is of the best epoch so far. keep: how many of the newest ones stay, besides the best."""

    def saved_steps(self) -> list[int]:
        """The steps of which there is a checkpoint, in order."""

    def end(self, **facts: Any) -> None:
        """The training is over, however it ended; nothing follows. facts: for status.json, None for what is not."""


class Callback:
    """Sees a training and does nothing about it; whoever shows it to people does. All calls come from one thread."""

    def started(self, steps: int, epochs: int) -> None:
        """Before the first step: how many there will be in all."""

    def stepped(self, row: Row, layer_rows: LayerRows) -> None:
        """After a step. layer_rows: gives the rows of layers.jsonl as they would be if the epoch ended here."""

    def finished_epoch(self, row: Row, layers: list[Row]) -> None:
        """With the rows that were appended to the logs."""

    def pictured(self, step: int, make: Callable[[], dict[str, Any]]) -> None:
        """After a step when `show` wants pictures. make: what its values look like now, (N, H, W, C) by name, 0 for
        black and 1 for white."""

    def ended(self) -> None:
        """The training is over, however it ended."""


class CallbackList(Callback):
    """Several callbacks of one training."""

    def __init__(self, *callbacks: Callback):
        self._callbacks = callbacks

    def started(self, steps: int, epochs: int) -> None:
        for callback in self._callbacks:
            callback.started(steps, epochs)

    def stepped(self, row: Row, layer_rows: LayerRows) -> None:
        for callback in self._callbacks:
            callback.stepped(row, layer_rows)

    def finished_epoch(self, row: Row, layers: list[Row]) -> None:
        for callback in self._callbacks:
            callback.finished_epoch(row, layers)

    def pictured(self, step: int, make: Callable[[], dict[str, Any]]) -> None:
        for callback in self._callbacks:
            callback.pictured(step, make)

    def ended(self) -> None:
        for callback in self._callbacks:
            callback.ended()


def epoch_line(row: Row, layers: list[Row], epochs: int) -> str:
    """`epoch 3/10 · train loss 0.1234 accuracy 0.9876 · dead units conv1 2/32 · 1.2 s`; the worst layers by name."""
    parts = [f"epoch {row['epoch']}/{epochs}"]
    parts += [f"{split} {' '.join(scores(row[split]))}" for split in ("train", "validation") if split in row]
    worst = sorted((layer for layer in layers if layer["dead_units"]), key=lambda layer: -layer["dead_share"])
    dead = [f"{layer['layer']} {layer['dead_units']}/{layer['units']}" for layer in worst[:NAMED]]
    dead += [f"{len(worst) - NAMED} more layers"] if len(worst) > NAMED else []
    parts += [f"dead units {', '.join(dead)}"] if dead else []
    return " · ".join([*parts, f"{row['seconds']:.1f} s"])


def scores(found: Row) -> list[str]:
    """`loss 0.1234`, `accuracy 0.9876`: as many of the figures of merit as there are."""
    return [f"{key} {figure_text(value)}" for key, value in figures_in(found).items()]


def figures_in(found: Row) -> dict[str, float]:
    """The figures of merit that there are, in order; then those of several updates, such as `loss/generator`."""
    from dltrain.metrics.settings import METRICS  # here, so that the command line can begin without what that needs

    values = {key: found[key] for key in METRICS if found.get(key) is not None}
    return values | {key: value for key, value in found.items() if key.startswith(("loss/", "accuracy/"))}


def figure_text(value: float) -> str:
    """`0.1234`; `2.753e+04` where four digits behind the point would be noise."""
    return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.4g}"
