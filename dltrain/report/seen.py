"""What rules look at and what they say; the rules themselves are in faults.py and games.py."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from dltrain.report.headline import Headline

Row = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What a run has shown so far.

    epochs, layers: the rows of whole epochs, oldest first. start: the row of step 1, where it was logged.
    class_counts: training examples of each class by name, where they count the same; empty in regression. guessing: the
    loss of answers that know only how frequent these are, None where it is no entropy. status: as in status.json.
    muted: rules that are not to speak. headline: of the last analysis of errors. played: what a training of several
    networks has come to, as in played.json; empty before its end.
    """

    epochs: Sequence[Row]
    layers: Sequence[Row]
    start: Row | None = None
    class_counts: dict[str, int] | None = None
    guessing: float | None = None
    status: str = "running"
    muted: Collection[str] = ()
    headline: Headline | None = None
    played: Row = field(default_factory=dict)

    @property
    def is_game(self) -> bool:
        """Whether several updates have a loss each, which may grow because another one's falls."""
        rows = [*([self.start] if self.start else []), *(row["train"] for row in self.epochs[-1:])]
        return any(key.startswith("loss/") for row in rows for key in row)

    @property
    def last(self) -> list[Row]:
        """The layers' rows of the last epoch."""
        return [row for row in self.layers if row["epoch"] == self.layers[-1]["epoch"]] if self.layers else []


@dataclass(frozen=True)
class Advice:
    """rule: its name. serious: the training is broken rather than improvable. layer: the one that it is about."""

    rule: str
    serious: bool
    text: str
    remedy: str
    layer: str | None = None


@dataclass(frozen=True)
class Said:
    """What a rule has seen, as in an Advice."""

    text: str
    serious: bool = False
    layer: str | None = None


@dataclass(frozen=True)
class Rule:
    """limit: what the measured value is compared with. measures: that value, in words. source: of the idea.
    remedy: what to try. find: what there is to say, None where all is well."""

    name: str
    limit: float
    measures: str
    source: str
    remedy: str
    find: Callable[[Seen, float], Said | None]


RULES: dict[str, Rule] = {}
Find = Callable[[Seen, float], Said | None]


def rule(limit: float, measures: str, source: str, remedy: str) -> Callable[[Find], Find]:
    def register(find: Find) -> Find:
        RULES[find.__name__] = Rule(find.__name__, limit, measures, source, remedy, find)
        return find

    return register
