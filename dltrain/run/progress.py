"""Where a training is and what it remembers, apart from arrays. Every checkpoint holds both."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from annotated_types import Interval
from pydantic import ConfigDict

Number = Annotated[int, Interval(ge=0, le=2**53)]
EXACT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)  # for whoever reads one of these back


@dataclass(frozen=True)
class Position:
    """step: steps taken in all. epoch: the running one, from 1. done: its steps that are taken."""

    __pydantic_config__: ClassVar = EXACT

    step: Number
    epoch: Number
    done: Number


@dataclass
class Progress:
    """What is carried from one epoch to the next.

    Whatever looks back (an early stop, a schedule that waits for a loss to fall, a time limit) keeps its state in
    fields here, with defaults, so that checkpoints written before there was such a field can still be read.

    best, best_step: the best value of the figure that decides (lower is better), and the step after which it was found.
    beaten: the value that was last beaten by min_delta: small gains add up against it.
    seconds: spent on training and validation, over all the processes that worked on this run.
    losses: the figure that decides after each epoch, for schedules.
    result: figures of the last epoch's splits.
    """

    __pydantic_config__: ClassVar = EXACT

    best: float | None = None
    best_step: Number | None = None
    beaten: float | None = None
    epochs_without_gain: Number = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    result: dict[str, dict[str, float | None]] = field(default_factory=dict)
