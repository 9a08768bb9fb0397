"""Callbacks see a training; and what a training says in words."""

from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
LayerRows = Callable[[], list[Row]]


class Callback:
    """Sees a training and does nothing about it; whoever shows it to people does. All calls come from one thread."""

    def started(self, steps: int, epochs: int) -> None:
        """Before the first step: how many there will be in all."""

    def stepped(self, row: Row, layer_rows: LayerRows) -> None:
        """After a step. layer_rows: gives the rows of layers.jsonl as they would be if the epoch ended here."""

    def finished_epoch(self, row: Row, layers: list[Row]) -> None:
        """With the rows that were appended to the logs."""

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

    def ended(self) -> None:
        for callback in self._callbacks:
            callback.ended()


def epoch_line(row: Row, layers: list[Row], epochs: int) -> str:
    """`epoch 3/10 · train loss 0.1234 accuracy 0.9876 · dead units conv1 2/32 · 1.2 s`"""
    parts = [f"epoch {row['epoch']}/{epochs}"]
    parts += [f"{split} {' '.join(scores(row[split]))}" for split in ("train", "validation") if split in row]
    dead = [f"{layer['layer']} {layer['dead_units']}/{layer['units']}" for layer in layers if layer["dead_units"]]
    parts += [f"dead units {', '.join(dead)}"] if dead else []
    return " · ".join([*parts, f"{row['seconds']:.1f} s"])


def scores(found: Row) -> list[str]:
    """`loss 0.1234`, `accuracy 0.9876`: as many of the figures of merit as there are."""
    from dltrain.train.settings import METRICS  # here, so that the command line can begin without what that needs

    values = {key: found[key] for key in METRICS if found.get(key) is not None}
    return [f"{key} {value:.4f}" if abs(value) < 1e4 else f"{key} {value:.4g}" for key, value in values.items()]
