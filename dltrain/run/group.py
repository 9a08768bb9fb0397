"""A group of runs: one config, trained with several seeds or settings.

`runs/<YYYYMMDD-HHMMSS>-<name>/` with `group.json`, `source.yaml` and in it a run directory for each member. The plan
only grows, and what has become of it stands in the runs, so a group can be continued whatever stopped it, by any number
of workers. A sweep has its `sweep.yaml` beside these.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any

from dltrain.errors import RunError
from dltrain.run.files import Lock, write_atomically
from dltrain.run.names import require_name
from dltrain.run.reader import LARGE_FILE, read_json
from dltrain.run.rundir import GROUP, RunDir, all_runs

STAMP = "%Y%m%d-%H%M%S"


@dataclass(frozen=True)
class Member:
    """label: names its run. changes: overrides `KEY=VALUE` of the group's config."""

    label: str
    changes: list[str]


@dataclass(frozen=True)
class SweepFacts:
    """words: changes of all trials. seed: of the config. trials: how many there are to be, of so many `seeds` each.
    storage: where a study is kept, None for the group's folder. study: its name."""

    words: list[str]
    seed: int
    seeds: int
    trials: int
    storage: str | None
    study: str


@dataclass(frozen=True)
class Group:
    """smoke: whether the runs train on two batches only. sweep: None for what is none. is_new: made by this process,
    not found on the disk."""

    path: Path
    members: list[Member]
    smoke: bool
    sweep: SweepFacts | None = None
    is_new: bool = field(default=False, compare=False)

    @property
    def source(self) -> Path:
        """The config as it was when the group was made."""
        return self.path / "source.yaml"

    @property
    def space(self) -> Path:
        """The file of a sweep, as it was then."""
        return self.path / "sweep.yaml"

    @classmethod
    def create(
        cls,
        runs: Path,
        name: str,
        source: str,
        members: list[Member],
        smoke: bool,
        sweep: SweepFacts | None = None,
        space: str = "",
    ) -> "Group":
        """A new folder; it is a group from the moment when group.json is in it. Raises ConfigError, OSError."""
        require_name(name)
        stem = f"{datetime.now().strftime(STAMP)}-{name}"
        runs.mkdir(parents=True, exist_ok=True)  # what is in its way is nothing that another name would avoid
        number = 1
        while True:
            path = runs / (stem if number == 1 else f"{stem}-{number}")
            try:
                path.mkdir()
                break
            except FileExistsError:
                number += 1
        group = cls(path, members, smoke, sweep, is_new=True)
        write_atomically(group.source, source.encode())
        if sweep:
            write_atomically(group.space, space.encode())
        group._write()
        return group

    @property
    def wanted(self) -> int:
        """How many members there are to be."""
        return self.sweep.trials * self.sweep.seeds if self.sweep else len(self.members)

    def grow(self, members: list[Member], trials: int) -> "Group":
        """The same with more members, in its folder too. Nobody else may be at it."""
        assert self.sweep
        grown = replace(self, members=[*self.members, *members], sweep=replace(self.sweep, trials=trials))
        grown._write()
        return grown

    def _write(self) -> None:
        plan: dict[str, Any] = {"smoke": self.smoke}
        plan |= {"sweep": vars(self.sweep)} if self.sweep else {}
        plan["members"] = [{"label": m.label, "changes": m.changes} for m in self.members]
        write_atomically(self.path / GROUP, (json.dumps(plan, indent=2) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> "Group":
        """Raises RunError where it is damaged."""
        try:
            plan = read_json(path / GROUP, LARGE_FILE)
            members = [Member(str(m["label"]), [str(change) for change in m["changes"]]) for m in plan["members"]]
            return cls(path, members, plan["smoke"] is True, _sweep(plan["sweep"]) if "sweep" in plan else None)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path / GROUP}: cannot be read ({error})") from None

    def runs(self) -> dict[str, RunDir]:
        """The newest run of each member that has begun, by label."""
        length = len(datetime.now().strftime(STAMP)) + 1
        return {run.path.name[length:]: run for run in all_runs(self.path)}

    def run_of(self, member: Member) -> RunDir | None:
        """The newest run of a member; None where it has not begun."""
        return self.runs().get(member.label)

    def has_failed_since(self, run: RunDir, moment: float) -> bool:
        """Whether a run has failed after a moment, in seconds since 1970."""
        written = (run.path / "status.json").stat().st_mtime if run.last_status().get("status") == "failed" else -inf
        return written >= moment

    def require_locks(self) -> None:
        """Raises RunError where this system cannot keep workers apart."""
        with suppress(BlockingIOError):  # somebody else can lock it
            if not Lock(self.source, file=True).known:
                raise RunError(f"{self.path}: files cannot be locked here, so nothing would keep workers apart")


def _sweep(facts: Any) -> SweepFacts:
    words = [str(word) for word in facts["words"]]
    seed, seeds, trials = (int(facts[key]) for key in ("seed", "seeds", "trials"))
    storage = facts["storage"]
    return SweepFacts(words, seed, seeds, trials, None if storage is None else str(storage), str(facts["study"]))


def is_group(path: Path) -> bool:
    return os.path.isfile(path / GROUP)  # False even for what cannot be a path


def all_groups(runs: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path for path in (runs.iterdir() if runs.is_dir() else []) if is_group(path))
