"""`dltrain fit --seeds N --folds K --vary KEY=A,B,…`: several runs, one after the other, that can be continued."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from shutil import rmtree
from time import monotonic
from typing import TYPE_CHECKING, Any

from dltrain.cli import console

if TYPE_CHECKING:
    from dltrain.api import Training
    from dltrain.backend import Ranks
    from dltrain.report.comparison import Comparison
    from dltrain.run.group import Group
    from dltrain.spec import RunSpec


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
    spec = load(config, words)
    if folds:
        _check_folds(spec, folds, data_dir)
    found = variants(varied, range(spec.seed, spec.seed + seeds) if seeds else (), folds or 0)
    members = [Member(variant.label, [*words, *variant.changes]) for variant in found]
    for member in members:
        load(config, member.changes)
    for path in reversed(all_groups(runs_dir)) if look_for_unfinished else ():
        with suppress(RunError, OSError):
            group, same = Group.read(path), (spec.text.encode(), members, smoke)
            if (group.source.read_bytes(), group.members, group.smoke) == same and _is_waiting(group):
                return group
    try:
        return Group.create(runs_dir, name, spec.text, members, smoke)
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
    data_dir: Path | None,
    threads: int | None,
    kernels: str,
    train: Callable[["Training", bool], None],
    json: bool,
    ranks: "Ranks",
) -> None:
    """Train what has not ended yet, each member in its own run. One that diverges does not stop the others.

    train: is told whether it is the first one that this process trains.
    Raises DivergedError at the end where there was one, or whatever stopped the group.
    """
    from dltrain.api import Run, load
    from dltrain.errors import ConfigError, DivergedError
    from dltrain.run.rundir import ENDED, all_runs

    results: dict[str, dict[str, Any]] = {}
    trained, began = 0, monotonic()  # by this process
    for number, member in enumerate(group.members, start=1):
        run = group.run_of(member)
        if run is None or run.status()["status"] not in ENDED:
            left = (monotonic() - began) / trained * (len(group.members) - number + 1) if trained else 0
            left_text = f" · about {console.clock(left)} left for all" if trained else ""
            console.info(f"{number} of {len(group.members)}: {member.label}{left_text}")
            try:
                if run is None:
                    place: dict[str, Any] = {"runs_dir": group.path, "name": member.label, "smoke": group.smoke}
                    training = load(group.source, member.changes).training(
                        **place, data_dir=data_dir, threads=threads, ranks=ranks
                    )
                else:
                    training = Run(run).training(data_dir=data_dir, threads=threads, kernels=kernels, ranks=ranks)
                trained += 1
                train(training, trained == 1)
            except DivergedError as error:
                console.error(str(error))
            except BaseException as error:
                if isinstance(error, ConfigError) and group.is_new and not all_runs(group.path):
                    rmtree(group.path)  # a plan that can never begin
                    raise
                where = quote(str(group.path))
                console.info(f"finished runs are kept; resume with: dltrain fit --resume {where}")
                raise
            run = group.run_of(member)
        assert run is not None
        results[member.label] = run.result()
    _show(group, results, json)
    if diverged := [label for label, result in results.items() if result["status"] == "diverged"]:
        raise DivergedError(f"{len(diverged)} of {len(results)} runs diverged: {', '.join(diverged)}")


def _show(group: "Group", results: dict[str, dict[str, Any]], json: bool) -> None:
    from dltrain.cli.compare import content, show

    comparison = _compared(group)
    if json:
        found = content(comparison) if comparison else {}
        console.result_json({"group": str(group.path), "runs": list(results.values()), **found})
        return
    if comparison:
        show(comparison)
    console.result_text(f"\ngroup {group.path}")


def _compared(group: "Group") -> "Comparison | None":
    """What the runs of a group say together; None where a file of theirs is damaged, which `compare` tells."""
    from dltrain.errors import RunError
    from dltrain.report.comparison import compare
    from dltrain.report.record import Record
    from dltrain.spec import look

    runs = [run for member in group.members if (run := group.run_of(member))]
    try:
        return compare([Record.read(run) for run in runs], [look(run.config) for run in runs])
    except RunError as error:
        console.warning(str(error))
        return None
