"""When a training ends: its length, a limit of time, an early stop, a signal."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from dltrain.backend import Ranks
from dltrain.errors import Interrupted
from dltrain.job.job import Job
from dltrain.metrics.scores import WORST, deciding
from dltrain.run.progress import Position, Progress

T = TypeVar("T")
ENDING = (signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []))  # not on Windows
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
    """caught: the first signal that asked this process to end the training; None until then. number: the same of all
    ranks, since they met."""

    def __init__(self, ranks: Ranks):
        self._ranks = ranks
        self.caught: int | None = None
        self.number: int | None = None
        self.rank = 0

    def meet(self, released: bool = False) -> bool:
        """All ranks tell each other of their signals, at the same point of the training. released: see `alone`; whether
        rank 0 says so."""
        told = self._ranks.everyone(self.caught or 0, released)
        if self.number is None and (got := [(rank, int(number)) for rank, (number, _) in enumerate(told) if number]):
            self.rank, self.number = got[0]
        return bool(told[0][1])

    def check(self, where: Path) -> None:
        """Raise Interrupted where there was one. where: the training so far is saved there."""
        if self.number is not None:
            what = "interrupted" if self.number == signal.SIGINT else f"stopped by {signal.Signals(self.number).name}"
            what += f" (rank {self.rank} on {self._ranks.hosts[self.rank]})" if self._ranks.size > 1 else ""
            raise Interrupted(f"{what}; the training so far is saved in {where}", 128 + self.number, self.rank)

    def alone(self, where: Path, work: Callable[[], T]) -> T | None:
        """What rank 0 does by itself, while the others listen for signals. where: as in `check`."""
        if self._ranks.leads:
            found = work()
            self.meet(released=True)
            return found
        while not self.meet():
            self.check(where)
        return None


@contextmanager
def interruptible(ranks: Ranks) -> Iterator[Signals]:
    """The first Ctrl-C, SIGTERM or SIGUSR1 lets the running step end and is noted; a second one acts as it always does.

    SIGUSR1 is what a batch system can be asked to send some time before it ends a job.
    """
    signals = Signals(ranks)
    if threading.current_thread() is not threading.main_thread():
        yield signals  # signals belong to the main thread
        return
    before = {number: signal.getsignal(number) for number in ENDING}

    def note(number: int, frame: object) -> None:
        if signals.caught is None:
            signals.caught = number
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
