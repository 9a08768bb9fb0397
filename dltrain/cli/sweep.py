"""`dltrain sweep CONFIG SWEEP.yaml`"""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli.app import (
    RUNS,
    Config,
    DataDir,
    Debug,
    DeviceName,
    Json,
    KernelsName,
    Overrides,
    Plugins,
    Quiet,
    RunsDir,
    Threads,
)
from dltrain.cli.group import told_where, train_group

if TYPE_CHECKING:
    from dltrain.run.group import Group
    from dltrain.spec import RunSpec
    from dltrain.sweep.plan import Plan

LOCK = ".sweeps"  # in a directory of runs: where two begin the same sweep at once, it is one


def sweep(
    config: Config,
    space: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="What to vary, and how.", show_default=False)],
    overrides: Overrides = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", min=1, max=10_000, help="Number of trials. [default: trials]")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, max=256, help="Trials at the same time, on this machine.")
    ] = 1,
    storage: Annotated[
        str | None,
        typer.Option("--storage", metavar="URL", help="Database of Optuna's study. [default: a file in the sweep]"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the sweep. [default: the config's]")
    ] = None,
    runs_dir: RunsDir = RUNS,
    data_dir: DataDir = None,
    device: DeviceName = None,
    kernels: KernelsName = "auto",
    threads: Threads = None,
    plugin: Plugins = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Search for settings: train many trials of a config.

    The answer is what is best on validation examples. The same command continues what was interrupted, joins in on
    another machine that shares the directory of runs, and with more --trials adds to it.
    """
    from dltrain.backend import Ranks
    from dltrain.backend.process import available_cores, settle
    from dltrain.cli.worker import How
    from dltrain.run.names import name_of

    settle()
    words = [*(overrides or []), *([f"device={device}"] if device else [])]
    group = _planned(config, space, words, trials, storage, runs_dir, data_dir, name or name_of(config))
    how = How(data_dir, threads or max(1, available_cores() // workers), kernels)
    train_group(group, workers, how, plugin or [], _nothing, json, Ranks())


def _nothing(*arguments: Any) -> None:
    raise AssertionError("a sweep is trained by workers")


def _planned(
    config: str,
    space: Path,
    words: list[str],
    trials: int | None,
    storage: str | None,
    runs_dir: Path,
    data_dir: Path | None,
    name: str,
) -> "Group":
    """The newest sweep of this plan, with as many trials as are wanted, or a new one, once it has been checked.

    Raises ConfigError, RunError."""
    from secrets import token_hex

    from dltrain.errors import ConfigError
    from dltrain.run.files import alone_with
    from dltrain.run.group import Group, SweepFacts
    from dltrain.run.names import require_name
    from dltrain.spec import load
    from dltrain.sweep.plan import check_in, read_plan
    from dltrain.sweep.tpe import require_optuna, require_storage

    plan = read_plan(space)
    spec = load(config, words, runs_dir)
    require_name(name)
    check_in(plan, config, words, runs_dir)
    if plan.strategy == "tpe":
        require_optuna()
        if storage:
            require_storage(storage)
    elif storage:
        raise ConfigError("--storage keeps Optuna's study: it is for `strategy: tpe`")
    wanted = trials or plan.trials or (plan.grid_size if plan.strategy == "grid" else None)
    if wanted is None:
        raise ConfigError(f"{space}: how many trials? Write `trials: 30`, or give --trials")
    if plan.strategy == "grid" and wanted > plan.grid_size:
        wanted = plan.grid_size
    with told_where(runs_dir):
        runs_dir.mkdir(parents=True, exist_ok=True)
        with alone_with(runs_dir / LOCK):
            group = _same(runs_dir, name, plan, spec.text, words, storage)
            if group is None:
                _check_job(spec, runs_dir, data_dir)
                facts = SweepFacts(words, spec.seed, plan.seeds, 0, storage, f"{name}-{token_hex(6)}")
                group = Group.create(runs_dir, name, spec.text, [], False, facts, plan.text)
            assert group.sweep
            first = group.sweep.trials
            if wanted > first:
                with alone_with(group.source):
                    group = _more(Group.read(group.path), plan, wanted)
            return group


def _more(group: "Group", plan: "Plan", wanted: int) -> "Group":
    facts = group.sweep
    assert facts
    numbers = range(len(group.members) // plan.seeds, wanted) if plan.strategy != "tpe" else range(0)
    members = [m for n in numbers for m in plan.members(n, plan.values(n), facts.words, facts.seed)]
    return group.grow(members, wanted)


def _check_job(spec: "RunSpec", runs_dir: Path, data_dir: Path | None) -> None:
    """Raises ConfigError where nothing would say which trial is better, and what a training would raise."""
    from dltrain.backend import open_device
    from dltrain.data import default_data_dir
    from dltrain.errors import ConfigError
    from dltrain.spec import build_job, find_judges, settle

    device = open_device(spec.device)
    judges = find_judges(spec, runs_dir, spec.device, False)
    job = build_job(settle(spec, device), device, data_dir or default_data_dir(), judges=judges)
    if "validation" not in job.loaders:
        raise ConfigError(
            f"{spec.position('data')}  data: a sweep chooses by validation examples, of which there are none; "
            "data.validation: 0.2 cuts some"
        )
    if job.is_game and job.metrics.best == "loss":
        raise ConfigError(
            f"{spec.position('metrics.best')}  metrics.best: where updates play against each other no loss says which "
            "trial is better; name a figure"
        )


def _same(
    runs_dir: Path, name: str, plan: "Plan", source: str, words: list[str], storage: str | None
) -> "Group | None":
    from dltrain.errors import RunError
    from dltrain.run.group import Group, all_groups

    for path in reversed(all_groups(runs_dir)):
        with suppress(RunError, OSError):
            group = Group.read(path)
            files = (source.encode(), plan.text.encode())
            if group.sweep and (group.sweep.words, group.sweep.storage) == (words, storage):
                named = path.name.partition("-")[2].partition("-")[2] == name
                if named and (group.source.read_bytes(), group.space.read_bytes()) == files:
                    return group
    return None
