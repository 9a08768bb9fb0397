"""Trains a part of a run again and compares every step with what the run kept. Writes nothing."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dltrain.backend import to_host
from dltrain.errors import DivergedError, Interrupted, RunError
from dltrain.job.job import Job
from dltrain.run.checkpoint import Checkpoint
from dltrain.run.reader import read_json
from dltrain.run.rundir import RunDir
from dltrain.train.callbacks import Callback, LayerRows
from dltrain.train.loop import fit

Row = dict[str, Any]
TIMES = ("seconds", "examples_per_second")
PER_STEP, AT_MOST = 1e-5, 1e-2


def tolerance(steps: int) -> float:
    """Between two environments: the difference allowed after so many steps, as a share of an array's largest value.

    float32 keeps 7 digits and a step amplifies what rounding did before, so this is a bound for few steps.
    """
    return min(PER_STEP * steps, AT_MOST)


@dataclass
class Findings:
    """weights: for each step with a checkpoint, whether all bits are equal and the largest difference as a share of an
    array's largest value. rows: how many rows of the logs were compared. differences: what was found, in words.
    diverged: how the repeated training ended, if it diverged as the run did.
    """

    first: int
    last: int
    tolerance: float | None
    weights: list[Row] = field(default_factory=list)
    rows: int = 0
    differences: list[str] = field(default_factory=list)
    diverged: str | None = None

    @property
    def verdict(self) -> str:
        """In words: equal, or the first thing that differs and how many more there are."""
        if self.differences:
            more = f", and {len(self.differences) - 1:,} more" if len(self.differences) > 1 else ""
            return f"different: {self.differences[0]}{more}"
        return "equal, bit for bit" if self.tolerance is None else "equal within the tolerance"


def verify(
    job: Job, run: RunDir, threads: int, start: Checkpoint | None, steps: int | None, other_environment: bool
) -> Findings:
    """Train from a checkpoint (None: from the start) for so many steps (None: as far as the run has checkpoints).

    Bits are compared, or in another environment values within `tolerance`. Raises RunError where there is nothing to
    compare with.
    """
    first = start.position.step if start else 0
    diverged = _diverged(run)
    end = max([diverged["step"] + 1 if diverged else 0, *run.saved_steps()])
    last = min(end if steps is None else first + steps, job.total_steps)
    if last <= first:
        raise RunError(f"{run.path}: nothing is known of this run after step {first}; choose a smaller --from-step")
    found = Findings(first, last, tolerance(last - first) if other_environment else None)
    if run.saved_steps() and not other_environment:  # pictures, say, may be decoded differently there
        found.differences += job.other_data(run.checkpoint("last"))
    if start:
        start = job.adopt(start)
    # every step is to be seen when it has been taken, however long it takes
    job = replace(job, logging=replace(job.logging, every=1), train=replace(job.train, max_time=None))
    comparison = _Comparison(job, run, found)
    try:
        fit(job, comparison, threads, comparison, start)
        found.differences.append(f"the repeated training ended early, after step {comparison.step}")
    except _Reached:
        pass
    except Interrupted as error:
        raise Interrupted(f"interrupted after step {comparison.step}; nothing was written", error.exit_code) from None
    except DivergedError as error:
        if diverged and (diverged["step"], diverged["message"]) == (comparison.step, str(error)):
            found.diverged = str(error)
        else:
            found.differences.append(f"the repeated training ended differently: {error}")
    if not (found.weights or found.rows or found.diverged or found.differences):
        kept = ", ".join(map(str, run.saved_steps()))
        raise RunError(f"{run.path}: nothing to compare steps {first} to {last} with; checkpoints are of steps {kept}")
    return found


class _Reached(Exception):
    """The last step that was wanted has been compared."""


class _Comparison(Callback):
    """The sink and callback of a repeated training: it compares with what the run has kept, and keeps nothing."""

    def __init__(self, job: Job, run: RunDir, found: Findings):
        self.job, self.run, self.found = job, run, found
        self.step = found.first
        self.recorded = {key_of(row): row for log in (run.metrics, run.layers) for row in run.rows(log)}

    # what a training says and keeps

    @property
    def path(self) -> Path:
        return self.run.path

    def log_step(self, row: Row) -> None:
        if (recorded := self.recorded.get(key_of(row))) is not None:
            self._compare_rows(row, recorded)

    def log_epoch(self, row: Row, layers: list[Row]) -> None:
        for each in (row, *layers):
            self.log_step(each)

    def log_lengths(self) -> dict[str, int]:
        return {}

    def note(self, line: str) -> None:
        pass

    def keep(self, name: str, content: bytes) -> None:
        pass

    def save(self, checkpoint: Checkpoint, best: bool, keep: int) -> None:
        if checkpoint.average and self.step in self.saved_steps():
            self._compare("averages", checkpoint.average, self.run.checkpoint(self.step).average)

    def saved_steps(self) -> list[int]:
        return self.run.saved_steps()

    def end(self, **facts: Any) -> None:
        pass

    # what it shows

    def stepped(self, row: Row, layer_rows: LayerRows) -> None:
        self.step = row["step"]
        if self.step in self.saved_steps():
            ours = {name: to_host(array) for name, array in self.job.model.weights().items()}
            self._compare("weights", ours, self.run.checkpoint(self.step).weights)
        ends_epoch = self.step % self.job.steps_per_epoch == 0 or self.step == self.job.total_steps
        if self.step >= self.found.last and not ends_epoch:
            raise _Reached

    def finished_epoch(self, row: Row, layers: list[Row]) -> None:
        if row["step"] >= self.found.last:
            raise _Reached

    # comparing

    def _compare(self, what: str, ours: dict[str, Any], kept: dict[str, Any]) -> None:
        worst, equal = 0.0, True
        if {n: a.shape for n, a in ours.items()} != {n: a.shape for n, a in kept.items()}:
            raise RunError(f"{self.path}: the checkpoint of step {self.step} is of another network")
        for name, array in ours.items():
            theirs = kept[name]
            equal &= array.tobytes() == theirs.tobytes()
            size = float(np.abs(theirs).max(initial=0)) or 1.0
            worst = max(worst, float(np.abs(array - theirs).max(initial=0)) / size)
        if what == "weights":
            self.found.weights.append({"step": self.step, "equal": equal, "difference": worst})
        if not equal and not (self.found.tolerance is not None and worst <= self.found.tolerance):
            self.found.differences.append(f"{what} after step {self.step}: differ by up to {worst:.1e} of the largest")

    def _compare_rows(self, ours: Row, theirs: Row) -> None:
        if self.found.tolerance is None:
            self.found.rows += 1
            self.found.differences += row_differences(ours, theirs)


def key_of(row: Row) -> tuple[Any, ...]:
    """What tells a row of the logs from the others."""
    return tuple(None if row.get(key) is None else str(row[key]) for key in ("event", "layer", "epoch", "step"))


def row_differences(ours: Row, theirs: Row) -> list[str]:
    """In words, what two rows of a log do not have in common, bit for bit; how long it took does not count."""
    ours, theirs = _without_times(ours), _without_times(theirs)
    at = " ".join(map(str, filter(None, key_of(ours))))
    return [
        f"{key} of {at}: was {theirs.get(key)}, is {ours.get(key)}"
        for key in sorted(ours.keys() | theirs.keys())
        if json.dumps(ours.get(key)) != json.dumps(theirs.get(key))
    ]


def _without_times(row: Row) -> Row:
    return {key: value for key, value in row.items() if key not in TIMES}


def _diverged(run: RunDir) -> Row | None:
    """diverged.json, where the run ended so."""
    if run.last_status().get("status") != "diverged":
        return None
    try:
        told = read_json(run.diverged)
        return {"step": int(told["step"]), "message": str(told["message"])}
    except (ValueError, KeyError, TypeError):
        raise RunError(f"{run.diverged}: damaged") from None
