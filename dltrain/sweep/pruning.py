"""When a trial is given up: the median stopping rule (Golovin et al., "Google Vizier", KDD 2017, section 3.2.2), on
what the logs of earlier trials say.

A trial is judged only by trials that come at least so many before it, and begins when all of those have ended: so who
is given up, and when, depends neither on the number of workers nor on their pace.
"""

from collections.abc import Sequence
from statistics import median
from typing import Any

from dltrain.errors import Pruned
from dltrain.metrics.row import figure_text
from dltrain.metrics.settings import is_higher_better
from dltrain.run.group import Group, Member
from dltrain.run.rundir import RunDir
from dltrain.train.callbacks import Callback

Row = dict[str, Any]
Course = list[float]  # what decides, after each epoch


def course(run: RunDir, figure: str) -> Course:
    """As far as the run has come; it ends where an epoch lacks the figure."""
    found: Course = []
    for row in run.rows(run.metrics):
        if row.get("event") == "epoch":
            value = (row.get("validation") or {}).get(figure)
            if not isinstance(value, int | float):
                break
            found.append(value)
    return found


def judging(group: Group, member: Member, seeds: int, earlier: int) -> list[Member]:
    """The members whose courses a member is measured by: of its own seed, at least `earlier` trials before it."""
    index = next(i for i, m in enumerate(group.members) if m.label == member.label)
    return group.members[index % seeds : max(0, index - earlier * seeds + 1) : seeds]


def given_up(own: Course, others: Sequence[Course], figure: str, earlier: int) -> str | None:
    """Why a trial that has come so far is given up after its last epoch; None where it is not: its best figure is
    worse than the median of what the others had after that epoch, of whom there are at least `earlier`."""
    epoch = len(own)
    then = [other[epoch - 1] for other in others if len(other) >= epoch]
    if not own or len(then) < earlier:
        return None
    best, middle = (max if is_higher_better(figure) else min)(own), median(then)
    if best >= middle if is_higher_better(figure) else best <= middle:
        return None
    return (
        f"pruned after epoch {epoch}: validation {figure} {figure_text(best)} at best, "
        f"the median of {len(then)} earlier trials is {figure_text(middle)}"
    )


class Pruning(Callback):
    """Ends the training of a trial by the rule. Raises Pruned from its calls."""

    def __init__(self, run: RunDir, others: Sequence[RunDir], figure: str, earlier: int):
        """others: runs that have come to their end."""
        self._run, self._figure, self._earlier = run, figure, earlier
        self._others = [course(other, figure) for other in others]

    def started(self, steps: int, epochs: int) -> None:
        """A training that goes on may have been given up already, and killed before that was written down."""
        self._epochs = epochs
        self._own: Course = []
        for value in course(self._run, self._figure):
            self._judge(value)

    def finished_epoch(self, row: Row, layers: list[Row]) -> None:
        value = (row.get("validation") or {}).get(self._figure)
        if isinstance(value, int | float):
            self._judge(value)

    def _judge(self, value: float) -> None:
        self._own.append(value)
        reason = given_up(self._own, self._others, self._figure, self._earlier)
        if reason and len(self._own) < self._epochs:
            raise Pruned(reason)
