"""What RUN and GROUP mean on the command line: a path, a name, a part of a name."""

import logging
import os
import re
from contextlib import suppress
from pathlib import Path

from dltrain.errors import RunError, UnknownRun, did_you_mean
from dltrain.run.group import Group, all_groups, is_group
from dltrain.run.names import LATEST
from dltrain.run.rundir import RunDir, all_runs

DATE = re.compile(r"\d{8}-\d{6}-")
MOST_NAMED = 10
log = logging.getLogger("dltrain")


def find_run(text: str | None, runs: Path) -> RunDir:
    """A path; a run's name, with its date or without (the newest of that name); a part of it that fits no other; or
    `latest`, as None, for the newest of all. Whoever did not write the path is told where it is a smoke run. Raises
    UnknownRun, RunError.
    """
    if text is None or text == LATEST:
        known = all_runs(runs)
        if not known:
            raise UnknownRun(f"there is no run in {runs}; start one with: dltrain fit CONFIG")
        run = max(known, key=lambda run: (run.config.stat().st_mtime_ns, run.path.name))
    else:
        found = _fitting(text, runs)
        single = [path for path in found if not is_group(path)]
        only = _only(text, single or found, runs)
        if is_group(only):
            members = [run.path for run in all_runs(only)]
            raise UnknownRun(f"{text!r} is a group of {len(members)} runs: {_names(members)}; name one of them")
        run = RunDir(only)
    run.require_own_files()
    with suppress(RunError):
        if (text is None or run.path != Path(text)) and run.status().get("smoke"):
            what = "the newest run" if text in (None, LATEST) else f"{text!r}"
            log.warning(f"{what}, {run.path}, is of --smoke: two batches, perhaps of made-up data")
    return run


def find_group(text: str, runs: Path) -> Group | None:
    """The group that a text means where a run may be meant as well; None where it means no group. Raises RunError."""
    found = [] if text == LATEST else _fitting(text, runs)
    groups = [path for path in found if is_group(path)]
    if not groups:
        return None
    if len(groups) == 1 and all(groups[0] in (path, path.parent) for path in found):
        return Group.read(groups[0])
    only = _newest_named(text, found) or _only(text, found, runs)
    if not is_group(only):
        return None
    return Group.read(_only(text, found, runs))


def find_runs(text: str, runs: Path) -> list[RunDir]:
    """A run; or all that are in a folder or a group, which any part of their names means that fits no other. Raises
    RunError."""
    if text != LATEST and os.path.isdir(text) and (members := all_runs(Path(text))):
        return members
    found = [] if text == LATEST else _fitting(text, runs)
    groups = {path if is_group(path) else path.parent for path in found}
    if len(groups) == 1 and is_group(group := groups.pop()) and (len(found) > 1 or found[0] == group):
        return all_runs(group)
    if any(map(is_group, found)) and is_group(only := _only(text, found, runs)):
        return all_runs(only)
    return [find_run(text, runs)]


def _fitting(text: str, runs: Path) -> list[Path]:
    """Runs and groups: the one of that path, or those of that name, or of that name without their date, or those with
    that part in their name."""
    for path in (text, os.path.join(runs, text)):
        if os.path.isfile(os.path.join(path, "config.yaml")) or is_group(Path(path)):
            return [Path(path)]
    known = [*all_groups(runs), *(run.path for run in all_runs(runs))]
    for found in ([path for path in known if path.name == text], [path for path in known if _name(path) == text]):
        if found:
            return found
    return [path for path in known if text in path.name]


def _name(path: Path) -> str:
    """Without the date."""
    return DATE.sub("", path.name, count=1)


def _newest_named(text: str, found: list[Path]) -> Path | None:
    """The one that began last, where all have exactly this name and only their dates differ."""
    if not found or any(_name(path) != text for path in found):
        return None
    return max(found, key=lambda path: (path.name, not is_group(path)))


def _only(text: str, found: list[Path], runs: Path) -> Path:
    if len(found) == 1:
        return found[0]
    if newest := _newest_named(text, found):
        log.info(f"{text}: the newest of {len(found)} with that name, {newest}")
        return newest
    if found:
        raise UnknownRun(f"{text!r} fits {len(found)} runs in {runs}: {_names(found)}; ambiguous; use a longer name")
    beside = sorted(runs.iterdir()) if runs.is_dir() else []
    for path in (Path(text), *(path for path in beside if text in (path.name, _name(path)))):
        if os.path.isdir(path):  # unlike Path's, it takes any text
            raise UnknownRun(f"{path} is no run directory: it has no config.yaml; `dltrain runs` lists the runs")
    names = [LATEST, *map(_name, all_groups(runs)), *(_name(run.path) for run in all_runs(runs))]
    lead = did_you_mean(text, names) or ";"
    raise UnknownRun(f"no run {text!r} in {runs}{lead} `dltrain runs` lists those that exist")


def _names(paths: list[Path]) -> str:
    """With its group before a member, which is the same as its path from the folder of runs."""
    names = [f"{path.parent.name}/{path.name}" if is_group(path.parent) else path.name for path in paths]
    return ", ".join([*(["…"] if len(names) > MOST_NAMED else []), *names[-MOST_NAMED:]])
