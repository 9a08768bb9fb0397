"""A group of runs: one config, trained with several seeds or settings.

`runs/<YYYYMMDD-HHMMSS>-<name>/` with `group.json`, `source.yaml` and in it a run directory for each member. The plan
never changes and what has become of it stands in the runs, so a group can be continued whatever stopped it.
"""

import json
import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from dltrain.errors import RunError
from dltrain.run.files import write_atomically
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
class Group:
    """smoke: whether the runs train on two batches only. is_new: made by this process, not found on the disk."""

    path: Path
    members: list[Member]
    smoke: bool
    is_new: bool = field(default=False, compare=False)

    @property
    def source(self) -> Path:
        """The config as it was when the group was made."""
        return self.path / "source.yaml"

    @classmethod
    def create(cls, runs: Path, name: str, source: str, members: list[Member], smoke: bool) -> "Group":
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
        group = cls(path, members, smoke, is_new=True)
        write_atomically(group.source, source.encode())
        plan = {"smoke": smoke, "members": [{"label": m.label, "changes": m.changes} for m in members]}
        write_atomically(path / GROUP, (json.dumps(plan, indent=2) + "\n").encode())
        return group

    @classmethod
    def read(cls, path: Path) -> "Group":
        """Raises RunError where it is damaged."""
        try:
            plan = read_json(path / GROUP, LARGE_FILE)
            members = [Member(str(m["label"]), [str(change) for change in m["changes"]]) for m in plan["members"]]
            return cls(path, members, plan["smoke"] is True)
        except (KeyError, TypeError) as error:
            raise RunError(f"{path / GROUP}: cannot be read ({error})") from None

    def run_of(self, member: Member) -> RunDir | None:
        """The newest run of a member; None where it has not begun."""
        length = len(datetime.now().strftime(STAMP)) + 1
        return next((run for run in reversed(all_runs(self.path)) if run.path.name[length:] == member.label), None)


def is_group(path: Path) -> bool:
    return os.path.isfile(path / GROUP)  # False even for what cannot be a path


def all_groups(runs: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path for path in (runs.iterdir() if runs.is_dir() else []) if is_group(path))
