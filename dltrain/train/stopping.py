"""Signals that end a training: the first one lets the running step end, the second acts at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from dltrain.run.rundir import RunDir


class Stoppable(Protocol):
    stop_signal: int | None  # whoever trains looks at it after every step


@contextmanager
def interruptible(training: Stoppable) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM lets the running step end and is noted; a second one acts as it always does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        if training.stop_signal is None:
            training.stop_signal = number
            return
        restore()  # only now: Python drops a signal whose handler is gone when its turn comes
        signal.raise_signal(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        restore()


def farewell(number: int, run: RunDir) -> tuple[str, int]:
    """The last words, and the exit code."""
    what = "interrupted" if number == signal.SIGINT else "asked to end"
    return f"{what}; the training so far is saved in {run.path}", 128 + number
