"""Everything that a user can be told. Whatever is not one of these is a bug: a line says so, --debug shows where."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class DltrainError(Exception):
    """A failure with a message for the user: what is wrong, where, what to do."""

    exit_code = 1


class ConfigError(DltrainError):
    """One or more mistakes in a config or on the command line; `problems` holds a line for each."""

    exit_code = 2

    def __init__(self, problems: str | list[str]):
        self.problems = [problems] if isinstance(problems, str) else problems
        super().__init__("\n".join(self.problems))


class SettingError(ConfigError):
    """A setting that does not suit the data: `data.fold` and what is wrong with it. The spec adds the position."""

    def __init__(self, setting: str, message: str):
        super().__init__(f"{setting}: {message}")
        self.setting = setting


class ShapeError(DltrainError):
    """A layer that does not fit its input. Says both shapes and the arithmetic; the spec adds the position."""

    exit_code = 2


class DataError(DltrainError):
    """A data file that is missing or damaged. Says which, where it comes from and where it belongs."""


class RunError(DltrainError):
    """A run directory or checkpoint that cannot be used."""


class UnknownRun(RunError):
    """A RUN on the command line that is none, or may be several."""

    exit_code = 2


class DeviceError(DltrainError):
    """A device that was asked for and cannot be used here."""


class DivergedError(DltrainError):
    """A loss or gradient that is not finite. Raised before the update, so the weights are still good.

    layer: where it was seen first, where that is known. batch: the examples of a training step that failed.
    """

    exit_code = 3

    def __init__(self, message: str, layer: str | None = None, batch: Any = None):
        super().__init__(message)
        self.layer, self.batch = layer, batch


class Interrupted(DltrainError):
    """Ctrl-C (130), SIGTERM (143) or SIGUSR1 (138), raised once the run is saved. rank: of several, which got it."""

    def __init__(self, message: str, exit_code: int, rank: int = 0):
        super().__init__(message)
        self.exit_code, self.rank = exit_code, rank


class RankError(DltrainError):
    """Processes that train together have come to different weights. rank: the first one with others than rank 0."""

    def __init__(self, message: str, rank: int):
        super().__init__(message)
        self.rank = rank


class Pruned(DltrainError):
    """A trial of a sweep that was given up, raised once its last epoch is saved."""


AGREED = (DivergedError, Interrupted, RankError)  # all that train together come to these at the same point


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'kernel'?` where something known is close."""
    close = get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
