"""Where a training says what it has found and keeps what it has made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dltrain.run.checkpoint import Checkpoint

Row = dict[str, Any]


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

    def save(self, checkpoint: Checkpoint, best: bool, keep: int) -> None:
        """best: whether it is of the best epoch so far. keep: how many of the newest ones stay, besides the best."""

    def saved_steps(self) -> list[int]:
        """The steps of which there is a checkpoint, in order."""

    def end(self, **facts: Any) -> None:
        """The training is over, however it ended; nothing follows. facts: for status.json, None for what is not."""


@dataclass(frozen=True)
class Nothing:
    """Keeps nothing. path: where another process keeps the training."""

    path: Path

    def log_step(self, row: Row) -> None:
        pass

    def log_epoch(self, row: Row, layers: list[Row]) -> None:
        pass

    def log_lengths(self) -> dict[str, int]:
        return {}

    def note(self, line: str) -> None:
        pass

    def keep(self, name: str, content: bytes) -> None:
        pass

    def save(self, checkpoint: Checkpoint, best: bool, keep: int) -> None:
        pass

    def saved_steps(self) -> list[int]:
        return []

    def end(self, **facts: Any) -> None:
        pass
