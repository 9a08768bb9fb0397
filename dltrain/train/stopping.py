"""When a training ends: its length, a limit of time, an early stop, a signal."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dltrain.errors import Interrupted
from dltrain.job.job import Job
from dltrain.metrics.scores import WORST, deciding
from dltrain.run.progress import Position, Progress

warn = logging.getLogger("dltrain").warning


def is_over(job: Job, position: Position, progress: Progress) -> bool:
    """Whether no step follows this one: train.epochs, train.max_steps or train.max_time is reached."""
    limit = job.train.max_time
    out_of_time = limit is not None and position.step > 0 and progress.seconds >= limit
    return out_of_time or position.step >= job.total_steps


def stops_early(job: Job, progress: Progress) -> bool:
    """Whether train.early_stopping wants no further epoch."""
    settings = job.train.early_stopping
    return settings is not None and progress.epochs_without_gain >= settings.patience


def note_epoch(job: Job, progress: Progress, row: dict[str, Any]) -> bool:
    """Remember how good an epoch was; whether it is the best one so far. row: its row of metrics.jsonl."""
    settings = job.train.early_stopping
    progress.result = {split: row[split] for split in ("train", "validation") if split in row}
    if job.is_game and job.metrics.best == "loss":  # no figure says which is better: the last one counts
        progress.best_step = row["step"]
        return True
    watched = deciding(row, name := job.metrics.best)
    if watched == WORST and not progress.losses:
        warn(f"{name} does not exist for these examples: no epoch is the best, and none ends the training early")
    best, beaten = (WORST if figure is None else figure for figure in (progress.best, progress.beaten))
    progress.losses = [*progress.losses, watched]  # a new list: a checkpoint of the epoch's middle has the old one
    if watched < beaten - (settings.min_delta if settings else 0):
        progress.beaten, progress.epochs_without_gain = watched, 0
    elif watched < WORST:
        progress.epochs_without_gain += 1
    is_best = watched < best
    if is_best:
        progress.best, progress.best_step = watched, row["step"]
    return is_best


class Signals:
    """number: of the first signal that asked the training to end; None until then."""

    number: int | None = None

    def check(self, where: Path) -> None:
        """Raise Interrupted where there was one. where: the training so far is saved there."""
        if self.number is not None:
            what = "interrupted" if self.number == signal.SIGINT else "stopped by SIGTERM"
            raise Interrupted(f"{what}; the training so far is saved in {where}", 128 + self.number)


@contextmanager
def interruptible() -> Iterator[Signals]:
    """The first Ctrl-C or SIGTERM lets the running step end and is noted; a second one acts as it always does."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals  # signals belong to the main thread
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        if signals.number is None:
            signals.number = number
            return
        restore()  # only now: Python drops a signal whose handler is gone when its turn comes
        signal.raise_signal(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield signals
    finally:
        restore()
