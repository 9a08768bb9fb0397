"""Who looks on while a network is trained, and the line of an epoch."""

from collections.abc import Callable
from typing import Any

from dltrain.metrics.row import scores

Row = dict[str, Any]
LayerRows = Callable[[], list[Row]]
NAMED = 3  # layers with dead units in the line of an epoch


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
