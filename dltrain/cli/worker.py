"""A worker trains the members of a group that nobody else trains, on this or on any machine that shares the folder,
until all have come to an end. A member whose worker died is continued by another."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.backend import Ranks
from dltrain.cli import console
from dltrain.errors import ConfigError, DivergedError, Pruned, ShapeError
from dltrain.run.claim import Claim
from dltrain.run.files import alone_with
from dltrain.run.group import Group, Member
from dltrain.run.rundir import ENDED, RunDir
from dltrain.train.callbacks import Callback

if TYPE_CHECKING:
    from dltrain.api import Training
    from dltrain.sweep.plan import Plan

PAUSE = 0.5  # seconds between two looks where all that is left is trained by others


@dataclass(frozen=True)
class How:
    """How a worker trains."""

    data_dir: Path | None
    threads: int | None
    kernels: str


class Worker:
    """train: called with a training to be done and what may end it early. told: with the member that has come to an
    end, the error that it ended with, and how many have ended. over: the labels of those that have."""

    def __init__(
        self,
        path: Path,
        how: How,
        train: Callable[["Training", Member, Callback], None],
        told: Callable[[Member, Exception | None, int], None],
        ranks: Ranks | None = None,
    ):
        self._path, self._how, self._train, self._told, self._ranks = path, how, train, told, ranks
        self._began = time.time()
        self.over: set[str] = set()
        self.failed: dict[str, Exception] = {}  # by this worker
        self._read_plan: Plan | None = None
        self._read_figure = ""

    def work(self, goes_on: Callable[[], bool] = lambda: True) -> None:
        """Raises whatever stops this worker; the trials of a sweep that diverge or do not fit do not. goes_on: asked
        before each member."""
        waits = False
        while goes_on():
            group = Group.read(self._path)
            self._look(group)
            if found := self._next(group):
                waits = False
                claim, member, training, pruning = found
                try:
                    self._do(group, member, training, pruning)
                finally:
                    claim.release(ended=member.label in self.over)
            elif left := self._left(group):
                if not waits:
                    console.info(f"{len(left)} runs are trained by others; waiting for their end")
                waits = True
                time.sleep(PAUSE)
            else:
                return

    def _look(self, group: Group) -> None:
        """Note which members have ended."""
        runs = group.runs()
        for member in group.members:
            run = None if member.label in self.over else runs.get(member.label)
            if run and run.last_status().get("status") in ENDED:
                self.over.add(member.label)

    def _left(self, group: Group) -> list[Member]:
        """What has not ended, without what has failed since this worker began: that is for another time."""
        runs = group.runs()
        left = (member for member in group.members if member.label not in self.over)
        return [member for member in left if not self._has_failed(group, member, runs.get(member.label))]

    def _has_failed(self, group: Group, member: Member, run: RunDir | None) -> bool:
        return member.label in self.failed or (run is not None and group.has_failed_since(run, self._began))

    def _next(self, group: Group) -> "tuple[Claim, Member, Training, Callback] | None":
        """A member that nobody else trains from now on; None where there is none at this moment."""
        plan, left = self._plan(group), self._left(group)
        for member in left:
            others: list[Member] = []
            if plan and plan.prune:
                from dltrain.sweep.pruning import judging

                others = judging(group, member, plan.seeds, plan.prune)
                if any(other in left for other in others):
                    return None  # those after it wait for even more
            claim = Claim.take(group.path, member.label)
            if claim is None:
                continue
            run = group.run_of(member)
            ended = run is not None and run.last_status().get("status") in ENDED
            if ended or (run and not run.is_free()):
                claim.release(ended)
                continue
            try:
                training = self._begin(group, member, run)
            except (ConfigError, ShapeError, MemoryError) as error:
                if not group.sweep:
                    raise
                claim.release(ended=False)
                self._fail(member, error)
                continue
            return claim, member, training, self._pruning(group, plan, training.directory, others)
        return self._next_asked(group, plan) if plan and plan.strategy == "tpe" else None

    def _next_asked(self, group: Group, plan: "Plan") -> "tuple[Claim, Member, Training, Callback] | None":
        """Of a strategy that looks at what others came to."""
        if len(group.members) >= group.wanted:
            return None
        from dltrain.sweep.tpe import ask

        with alone_with(group.source):
            group = Group.read(group.path)
            if group.sweep and len(group.members) < group.wanted:
                group = group.grow(ask(group, plan, self._figure(group)), group.sweep.trials)
        return self._next(group)

    def _begin(self, group: Group, member: Member, run: RunDir | None) -> "Training":
        from dltrain.api import Run, load

        how = self._how
        if run is not None:
            return Run(run).training(data_dir=how.data_dir, threads=how.threads, kernels=how.kernels, ranks=self._ranks)
        return load(group.source, member.changes, runs_dir=group.path.parent).training(
            runs_dir=group.path, name=member.label, smoke=group.smoke, data_dir=how.data_dir, threads=how.threads,
            ranks=self._ranks,
        )  # fmt: skip

    def _pruning(self, group: Group, plan: "Plan | None", run: RunDir, others: list[Member]) -> Callback:
        if not plan or not plan.prune:
            return Callback()
        from dltrain.sweep.pruning import Pruning

        runs = group.runs()
        found = [runs[other.label] for other in others if other.label in runs]
        # also what was given up, as far as it came: else the median would be that of ever fewer, ever better ones
        judges = [other for other in found if other.last_status().get("status") in ("done", "pruned")]
        return Pruning(run, judges, self._figure(group), plan.prune)

    def _plan(self, group: Group) -> "Plan | None":
        """Of a sweep; it stays as it is."""
        if group.sweep and self._read_plan is None:
            from dltrain.sweep.plan import read_plan

            self._read_plan = read_plan(group.space)
        return self._read_plan

    def _figure(self, group: Group) -> str:
        """What decides in a sweep."""
        if not self._read_figure:
            from dltrain.spec import load

            assert group.sweep
            self._read_figure = str(load(group.source, group.sweep.words, group.path.parent).metrics.best)
        return self._read_figure

    def _do(self, group: Group, member: Member, training: "Training", pruning: Callback) -> None:
        try:
            self._train(training, member, pruning)
        except (DivergedError, Pruned) as error:
            self._end(group, member, error)
        except MemoryError as error:
            if not group.sweep:
                raise
            self._fail(member, error)
        else:
            self._end(group, member, None)

    def _end(self, group: Group, member: Member, error: Exception | None) -> None:
        self._look(group)
        self.over.add(member.label)
        self._told(member, error, len(self.over))

    def _fail(self, member: Member, error: Exception) -> None:
        self.failed[member.label] = error
        self._told(member, error, len(self.over))


def left_in(group: Group) -> list[str]:
    """The labels of the members that have not come to their end."""
    runs = group.runs()
    states = {label: run.last_status().get("status") for label, run in runs.items()}
    return [member.label for member in group.members if states.get(member.label) not in ENDED]
