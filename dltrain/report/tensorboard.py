"""What the logs hold as event files for TensorBoard, written by tensorboardX: the extra `tensorboard`."""

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dltrain.errors import ConfigError
from dltrain.train.callbacks import Callback, LayerRows

Row = dict[str, Any]
HELP = "install it, in the folder of dltrain's source, with: pip install '.[tensorboard]'"


class TensorBoard(Callback):
    """Watches a training and writes down what it sees; also replays the logs of an earlier one.

    Raises ConfigError where tensorboardX is not installed. Tags: `step/loss`, `train/loss`, `validation/accuracy`,
    `gradient_norm/conv1` and so on; the horizontal axis is the step.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._library = required()
        self._writer: Any = None  # opened at the first figure, so that no empty file is left

    def stepped(self, row: Row, layer_rows: LayerRows | None = None) -> None:
        self._write("step", row, row["step"], skipped=("event", "epoch", "step"))

    def finished_epoch(self, row: Row, layers: Iterable[Row]) -> None:
        for split in ("train", "validation"):
            self._write(split, row.get(split, {}), row["step"])
        for layer in layers:
            for key, value in layer.items():
                if key not in ("epoch", "units", "dead_units"):
                    self._write(key, {layer["layer"]: value}, row["step"])

    def ended(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def replay(self, steps: Iterable[Row], epochs: Iterable[Row], layers: Iterable[Row]) -> None:
        """What a training had written: the rows of metrics.jsonl and layers.jsonl."""
        for row in steps:
            self.stepped(row)
        of_epoch: dict[int, list[Row]] = {}
        for layer in layers:
            of_epoch.setdefault(layer["epoch"], []).append(layer)
        for row in epochs:
            self.finished_epoch(row, of_epoch.get(row["epoch"], []))
        self.ended()

    def _write(self, group: str, values: Row, step: int, skipped: tuple[str, ...] = ()) -> None:
        if self._writer is None:
            self._writer = self._library.SummaryWriter(str(self.folder))
        for name, value in values.items():
            if isinstance(value, int | float) and name not in skipped:
                self._writer.add_scalar(f"{group}/{name}", value, step)


def required() -> Any:
    """The module tensorboardX. Raises ConfigError where it is not installed."""
    try:
        return importlib.import_module("tensorboardX")
    except ImportError as error:
        raise ConfigError(f"event files for TensorBoard need tensorboardX ({error}); {HELP}") from None
