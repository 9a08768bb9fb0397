"""`dltrain fit --seeds N --folds K --vary KEY=A,B,…` and `dltrain sweep`: several runs that can be continued."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from shutil import rmtree
from time import monotonic
from typing import TYPE_CHECKING, Any

from dltrain.cli import console

if TYPE_CHECKING:
    from dltrain.api import Training
    from dltrain.backend import Ranks
    from dltrain.cli.worker import How
    from dltrain.report.comparison import Comparison
    from dltrain.run.group import Group, Member
    from dltrain.spec import RunSpec
    from dltrain.train.callbacks import Callback

SHOWN = 10  # trials of a sweep, the best ones; the page and the table have all


def new_group(
    config: str,
    words: list[str],
    seeds: int | None,
    folds: int | None,
    varied: Sequence[str],
    runs_dir: Path,
    data_dir: Path,
    name: str,
    smoke: bool,
    look_for_unfinished: bool,
) -> "Group":
    """The plan on disk, once every config in it has been checked. Raises ConfigError, RunError."""
    from dltrain.errors import RunError
    from dltrain.run.group import Group, Member, all_groups
    from dltrain.spec import load
    from dltrain.spec.vary import variants

    words = [*words, *(["data.validation=0"] if folds else [])]  # a fold is what validates
    spec = load(config, words, runs_dir)
    if folds:
        _check_folds(spec, folds, data_dir)
    found = variants(varied, range(spec.seed, spec.seed + seeds) if seeds else (), folds or 0)
    members = [Member(variant.label, [*words, *variant.changes]) for variant in found]
    for member in members:
        load(config, member.changes, runs_dir)
    for path in reversed(all_groups(runs_dir)) if look_for_unfinished else ():
        with suppress(RunError, OSError):
            group, same = Group.read(path), (spec.text.encode(), members, smoke)
            if (group.source.read_bytes(), group.members, group.smoke) == same and _is_waiting(group):
                return group
    with told_where(runs_dir):
        return Group.create(runs_dir, name, spec.text, members, smoke)


@contextmanager
def told_where(runs_dir: Path) -> Iterator[None]:
    """What cannot be written there is told with the folder's name. Raises RunError."""
    from dltrain.errors import RunError

    try:
        yield
    except OSError as error:
        raise RunError(f"{runs_dir}: no group can be kept here ({error.strerror}); --runs-dir says where") from None


def _check_folds(spec: "RunSpec", folds: int, data_dir: Path) -> None:
    """Raises ConfigError where the training part has too few examples for so many pieces."""
    from dltrain.errors import ConfigError, DataError, SettingError
    from dltrain.spec import check_folds

    try:
        check_folds(spec, folds, data_dir)
    except SettingError as error:
        raise ConfigError(f"--folds {folds}: {str(error).partition(': ')[2]}") from None
    except DataError:
        return  # the first training says it, or makes some up for --smoke


def _is_waiting(group: "Group") -> bool:
    """Whether something is left to train and nobody is at it."""
    from dltrain.run.rundir import ENDED

    runs = [group.run_of(member) for member in group.members]
    left = [run for run in runs if run is None or run.last_status().get("status") not in ENDED]
    return bool(left) and all(run is None or run.is_free() for run in left)


def train_group(
    group: "Group",
    jobs: int,
    how: "How",
    plugins: list[Path],
    train: Callable[["Training", bool], None],
    json: bool,
    ranks: "Ranks",
) -> None:
    """Train what has not ended yet, each member in its own run. One that diverges does not stop the others.

    jobs: workers that train at the same time, each in a process of its own; a single one of what is no sweep is this
    process. train: what this process does with a training; it is told whether it is the first one.
    Raises DivergedError at the end where there was one in what is no sweep, or whatever stopped the group.
    """
    from dltrain.cli.worker import Worker, left_in
    from dltrain.cli.workers import run_workers
    from dltrain.errors import ConfigError, DivergedError, DltrainError
    from dltrain.run.group import Group
    from dltrain.run.rundir import all_runs

    try:
        if group.sweep or jobs > 1:
            run_workers(group, jobs, how, plugins)
        else:
            teller = _Teller(group, train)
            Worker(group.path, how, teller.train, teller.ended, ranks).work()
    except BaseException as error:
        mistaken = isinstance(error, DltrainError) and error.exit_code == ConfigError.exit_code
        if mistaken and group.is_new and not all_runs(group.path):
            rmtree(group.path)  # a plan that can never begin
            raise
        again = quote(str(group.path)) + (f" --jobs {jobs}" if jobs > 1 else "")
        console.info(f"finished runs are kept; resume with: dltrain fit --resume {again}")
        raise
    group = Group.read(group.path)
    runs = group.runs()
    results = {member.label: runs[member.label].result() for member in group.members if member.label in runs}
    _show(group, results, json)
    if failed := left_in(group):
        raise DltrainError(f"{len(failed)} of {len(group.members)} runs failed: {', '.join(failed[:SHOWN])}")
    diverged = [label for label, result in results.items() if result["status"] == "diverged"]
    if diverged and not group.sweep:
        raise DivergedError(f"{len(diverged)} of {len(results)} runs diverged: {', '.join(diverged)}")


class _Teller:
    """Says of this process's trainings which one it is, how long all may take, and what was wrong."""

    def __init__(self, group: "Group", train: Callable[["Training", bool], None]):
        self._group, self._train_one = group, train
        self._trained, self._began = 0, monotonic()

    def train(self, training: "Training", member: "Member", callback: "Callback") -> None:
        members = self._group.members
        number = [m.label for m in members].index(member.label) + 1
        left = (monotonic() - self._began) / self._trained * (len(members) - number + 1) if self._trained else 0
        left_text = f" · about {console.clock(left)} left for all" if self._trained else ""
        console.info(f"{number} of {len(members)}: {member.label}{left_text}")
        self._trained += 1
        self._train_one(training, self._trained == 1)

    def ended(self, member: "Member", error: Exception | None, over: int) -> None:
        if error is not None:
            console.error(str(error))


def _show(group: "Group", results: dict[str, dict[str, Any]], json: bool) -> None:
    from dltrain.cli.compare import content, show

    comparison = _compared(group)
    files = []
    if group.sweep and comparison:
        from dltrain.sweep.results import write_results

        files = write_results(group, comparison)
    if json:
        found = content(comparison) if comparison else {}
        found |= {"files": files} if group.sweep else {}
        console.result_json({"group": str(group.path), "runs": list(results.values()), **found})
        return
    if comparison:
        show(comparison, SHOWN if group.sweep else None)
    console.result_text(f"\ngroup {group.path}" + (f": {', '.join(files)}" if files else ""))


def _compared(group: "Group") -> "Comparison | None":
    """What the runs of a group say together; None where a file of theirs is damaged, which `compare` tells."""
    from dltrain.errors import RunError
    from dltrain.report.comparison import compare
    from dltrain.report.record import Record
    from dltrain.spec import look

    found = group.runs()
    runs = [found[member.label] for member in group.members if member.label in found]
    try:
        return compare([Record.read(run) for run in runs], [look(run.config) for run in runs])
    except RunError as error:
        console.warning(str(error))
        return None
