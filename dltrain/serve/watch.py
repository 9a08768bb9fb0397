"""Which runs there are, and what is new in them, asked of the file system in as few questions as it takes."""

import os
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dltrain.errors import RunError
from dltrain.metrics.row import figures_in
from dltrain.run.group import Group, is_group
from dltrain.run.rundir import RunDir, all_runs
from dltrain.serve.logs import Logs
from dltrain.serve.notes import read_notes

Row = dict[str, Any]
OPEN = 64  # runs whose logs are held
LIVE = 16  # runs in training that are followed though nobody has chosen them
MOST_RUNS = 20_000
REPEATED = ("seed=", "data.fold")  # changes between members of a group that are repetitions of one another


@dataclass
class Listed:
    """id: its path from the folder. settings: of a member of a group, what is not the same in all members. row: what
    the list shows. version: counts the changes of the row; log_version: those of the logs."""

    id: str
    run: RunDir
    group: str | None
    settings: dict[str, str]
    stamp: tuple[int, ...] = ()
    log_stamp: tuple[int, ...] = ()
    row: Row = field(default_factory=dict)
    status: Row = field(default_factory=dict)
    version: int = 0
    log_version: int = 0


class Watch:
    """The runs of a folder, or the only one where the folder is a run. All of it may be asked from any thread.

    `changed` is notified whenever `version` has grown.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.changed = threading.Condition(threading.RLock())
        self.version = 0
        self.runs: dict[str, Listed] = {}
        self.removed: dict[str, int] = {}  # id -> version
        self._folders: dict[str, int] = {}
        self._open: OrderedDict[str, Logs] = OrderedDict()

    # --- the list ---------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Look for runs that came or went, and for new statuses and notes."""
        with self.changed:
            if self._stamps_of_folders() != self._folders or not self._folders:
                self._find()
            for listed in self.runs.values():
                paths = (f"{listed.run.path}/status.json", f"{listed.run.path}/notes.json")
                stamp = tuple(value for path in paths for value in _stamp(path))
                if stamp != listed.stamp or listed.status.get("status") == "running":
                    listed.stamp = stamp
                    self._read_row(listed)

    def _stamps_of_folders(self) -> dict[str, int]:
        groups = {str(listed.run.path.parent) for listed in self.runs.values()}
        return {path: _stamp(path)[0] for path in sorted({str(self.folder), *groups})}

    def _find(self) -> None:
        single = (self.folder / "config.yaml").is_file()
        found = [RunDir(self.folder)] if single else all_runs(self.folder)[-MOST_RUNS:]
        settings: dict[Path, dict[str, dict[str, str]]] = {}
        known: dict[str, Listed] = {}
        for run in found:
            parent = run.path.parent
            inside = parent != self.folder and not single
            key = f"{parent.name}/{run.path.name}" if inside else self._name_of(run)
            if parent not in settings:
                settings[parent] = settings_of(parent) if is_group(parent) else {}
            label = run.path.name[16:]  # behind the date
            group = parent.name if is_group(parent) else None
            known[key] = self.runs.get(key) or Listed(key, run, group, settings[parent].get(label, {}))
        for gone in self.runs.keys() - known.keys():
            self.version += 1
            self.removed[gone] = self.version
            self._open.pop(gone, None)
        self.runs = known
        self._folders = self._stamps_of_folders()

    def _name_of(self, run: RunDir) -> str:
        return run.path.resolve().name if run.path == self.folder else run.path.name  # the folder may be `.`

    def _read_row(self, listed: Listed) -> None:
        row: Row = {"id": listed.id, "name": self._name_of(listed.run), "group": listed.group}
        row |= {"settings": listed.settings, "tags": [], "note": ""}
        try:
            if not listed.status or listed.status.get("status") != "running":
                listed.run.require_own_files()
            listed.status = status = listed.run.status()
            shown = ("status", "started", "epochs", "steps", "smoke")
            row |= {key: status[key] for key in shown if status.get(key) is not None}
            for split in ("validation", "train", "test"):
                row[split] = figures_in(status.get(split) or {})
            row |= read_notes(listed.run)
        except RunError as error:
            row |= {"status": listed.status.get("status", "unreadable"), "problem": str(error)}
        if (logs := self._open.get(listed.id)) is not None:
            row |= _position(logs)
        self._set_row(listed, row)

    def _set_row(self, listed: Listed, row: Row) -> None:
        if row != listed.row:
            self.version += 1
            listed.row, listed.version = row, self.version
            self.changed.notify_all()

    # --- logs ---------------------------------------------------------------------------------------------------

    def logs(self, key: str) -> Logs:
        """Those of a run, with a first piece read. Raises KeyError for an unknown run, RunError for a strange one."""
        with self.changed:
            listed = self.runs[key]
            if key not in self._open:
                listed.run.require_own_files()
                self._open[key] = Logs(listed.run)
                self._pull(listed)
            self._open.move_to_end(key)
            while len(self._open) > OPEN:
                old, _ = self._open.popitem(last=False)
                if old in self.runs:
                    self.runs[old].log_stamp = ()
            return self._open[key]

    def follow(self, wanted: set[str]) -> bool:
        """Read what is new in the logs of these runs and of those in training, a piece of each. Returns whether more is
        waiting."""
        live = [key for key, listed in self.runs.items() if listed.status.get("status") == "running"][-LIVE:]
        more = False
        for key in list(dict.fromkeys([*wanted, *live])):
            with self.changed, suppress(KeyError, RunError):
                more = self._follow(key) or more
        return more

    def _follow(self, key: str) -> bool:
        listed, logs = self.runs[key], self.logs(key)
        stamp = (*_stamp(f"{listed.run.path}/metrics.jsonl"), *_stamp(f"{listed.run.path}/layers.jsonl"))
        if stamp != listed.log_stamp or logs.waiting:
            listed.log_stamp = stamp
            self._pull(listed)
        return logs.waiting

    def _pull(self, listed: Listed) -> None:
        logs = self._open[listed.id]
        if logs.pull():
            self.version += 1
            listed.log_version = self.version
            self.changed.notify_all()
            if listed.status.get("status") == "running":
                self._set_row(listed, listed.row | _position(logs))


def _position(logs: Logs) -> Row:
    """Where a training is, for the list."""
    last = logs.last
    found = {"steps": last.get("step"), "epochs": last.get("epoch"), "loss": last.get("loss")}
    return {key: value for key, value in found.items() if type(value) in (int, float)}


def settings_of(group: Path) -> dict[str, dict[str, str]]:
    """Label of a member -> what it changes that not all members change alike, seeds and folds left out."""
    try:
        members = Group.read(group).members
    except RunError:
        return {}
    changes = {member.label: dict(change.partition("=")[::2] for change in member.changes) for member in members}
    varied = {
        key: None
        for found in changes.values()
        for key in found
        if len({other.get(key) for other in changes.values()}) > 1 and not f"{key}=".startswith(REPEATED)
    }
    return {label: {key: found[key] for key in varied if key in found} for label, found in changes.items()}


def _stamp(path: str) -> tuple[int, int]:
    """Changes when the file does."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)
