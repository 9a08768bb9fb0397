"""`dltrain fit CONFIG`, `dltrain fit --resume RUN`"""

from contextlib import nullcontext
from functools import partial
from json import loads
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli import console
from dltrain.cli.app import (
    RUNS,
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
    endings,
)
from dltrain.cli.group import new_group, train_group
from dltrain.cli.live import ProgressStyle, callback_for
from dltrain.cli.starts import show_starts

if TYPE_CHECKING:
    from dltrain.api import Training
    from dltrain.backend import Device, Ranks
    from dltrain.job.job import Job
    from dltrain.run.rundir import RunDir

ADVICE = 3  # things that are said at the end; the report has all
MOST_CLASSES_SHOWN = 20
MOST_STARTS = 24  # layers whose start values are told; `dltrain check` tells of all


def fit(
    config: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped config.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="RUN|GROUP",
            help="Continue a run or group, bit for bit as if never interrupted; takes no CONFIG. "
            "auto: the newest unfinished run of CONFIG, else a new one.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN|FILE", help="Start from its weights where names and shapes match."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the run. [default: the config's]")
    ] = None,
    runs_dir: RunsDir = RUNS,
    data_dir: DataDir = None,
    device: DeviceName = None,
    kernels: KernelsName = "auto",
    threads: Threads = None,
    ranks: Annotated[
        int | None,
        typer.Option("--ranks", metavar="N", min=1, help="Train on N processes over MPI, to the same bits."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="Override the seed.")] = None,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", metavar="N", min=1, help="Stop after N steps.")
    ] = None,
    smoke: Annotated[
        bool,
        typer.Option("--smoke", help="Two training batches and a checkpoint, on generated data if none are present."),
    ] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Time the first steps by layer and op: a table, and trace.json in the run."),
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", metavar="K", min=2, help="Cross-validation: a group of K runs, each validated on another fold."
        ),
    ] = None,
    plugin: Plugins = None,
    seeds: Annotated[int | None, typer.Option("--seeds", metavar="N", min=2, help="A group of runs: N seeds.")] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary", metavar="KEY=A,B,…", help="A group of runs: one per value, and per combination with other --vary."
        ),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", metavar="N", min=1, max=256, help="Runs of a group to train at the same time.")
    ] = 1,
    progress: Annotated[
        ProgressStyle, typer.Option("--progress", help="Progress display; auto: live at a terminal, else lines.")
    ] = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a network and test it.

    A new run directory keeps configs, logs and checkpoints. --resume continues a run that was interrupted or killed.
    """
    from dltrain import api
    from dltrain.backend.process import available_cores, settle
    from dltrain.backend.ranks import world
    from dltrain.cli.figures import show_figures
    from dltrain.cli.ranks import follow, launch
    from dltrain.cli.worker import How
    from dltrain.data import default_data_dir
    from dltrain.errors import ConfigError, Interrupted
    from dltrain.report.picture_table import kept_figures
    from dltrain.run.find import find_group, find_run
    from dltrain.run.names import name_of
    from dltrain.spec import Override
    from dltrain.spec.writer import flow
    from dltrain.weights.files import is_weights_file

    settle()
    together = world()
    if ranks is not None and ranks != together.size:
        if together.size > 1:
            raise ConfigError(f"--ranks {ranks}, but MPI has started {together.size}")
        raise typer.Exit(launch(ranks))
    if not together.leads:
        raise typer.Exit(follow(together, data_dir, threads))
    endings.append(together.end)
    threads = threads or together.threads
    words = [*(overrides or [])]
    flags = {"device": ("--device", device), "seed": ("--seed", seed), "train.max_steps": ("--max-steps", max_steps)}
    changes: list[Any] = [Override(f"{key}={value}", flag) for key, (flag, value) in flags.items() if value is not None]
    changes += [Override("train.epochs=1", "--smoke")] if smoke else []
    if start is not None:
        where = start if is_weights_file(Path(start)) else str(find_run(start, runs_dir).path)
        changes.append(Override(f"model.load={{path: {flow(where)}, strict: false}}", "--from"))
    group = find_group(resume, runs_dir) if resume and resume != "auto" else None
    if group or seeds or vary or folds:
        if profile:
            raise ConfigError("--profile is for single runs, not for a group")
        if group and (config or name or changes or seeds or vary or folds):
            raise ConfigError(f"{group.path} is a group: it continues as it was planned, without changes")
        if group is None:
            if config is None or resume not in (None, "auto"):
                raise ConfigError("--seeds, --folds and --vary make a new group of runs and want a CONFIG")
            words += [change.text for change in changes]
            varied, called = (seeds, folds, vary or []), name or name_of(config)
            data = data_dir or default_data_dir()
            group = new_group(
                config, words, *varied, runs_dir, data, called, smoke, look_for_unfinished=resume == "auto"
            )
        if jobs > 1 and together.size > 1:
            raise ConfigError("--jobs trains runs side by side, each on one process; leave --ranks out")
        shared = threads or max(1, available_cores() // jobs) if jobs > 1 else threads
        how = How(data_dir, shared, kernels)
        train_group(group, jobs, how, plugin or [], partial(_train_member, progress, together), json, together)
        return
    if jobs > 1:
        raise ConfigError("--jobs is for a group: --seeds, --vary, --folds, or --resume GROUP")
    if resume is not None and resume != "auto":
        for flag, given in (("--name", name), ("--smoke", smoke)):
            if given:
                raise ConfigError(f"{flag} is for new runs and does not go with --resume")
        if config and ("=" in config or config.startswith("~")):
            words = [config, *words]
        elif config:
            raise ConfigError(
                f"--resume {resume} continues with the run's own config: leave {config} out; KEY=VALUE changes what "
                f"may change, and --resume auto looks for the newest unfinished run of {config}"
            )
        run = api.load_run(resume, runs_dir=runs_dir)
        training = run.training([*words, *changes], data_dir=data_dir, threads=threads, kernels=kernels, ranks=together)
    elif config is None:
        wanted = "--resume auto wants the CONFIG as well" if resume else "Missing argument 'CONFIG'"
        raise ConfigError(f"{wanted}; `dltrain fit --help` shows how")
    else:
        training = api.load(config, [*words, *changes], runs_dir=runs_dir).training(
            runs_dir=runs_dir,
            data_dir=data_dir,
            threads=threads,
            name=name,
            resume=resume == "auto",
            smoke=smoke,
            kernels=kernels,
            ranks=together,
        )
    try:
        result = _train(training, together, profile, progress, json)
    except (Interrupted, KeyboardInterrupt):
        console.info(f"resume with: dltrain fit --resume {quote(str(training.directory.path))}")
        raise
    if json:
        console.result_json(result)
    else:
        console.result_text(_summary(result))
        show_figures(kept_figures(training.directory))
        if profile and training.job:
            _show_profile(loads(training.directory.profile.read_bytes()))
    _report(training.directory)


def _train_member(progress: ProgressStyle, ranks: "Ranks", training: "Training", is_first: bool) -> None:
    _train(training, ranks, False, progress, False, is_first)
    _report(training.directory)


def _train(
    training: "Training",
    ranks: "Ranks",
    profile: bool,
    progress: ProgressStyle,
    json: bool,
    is_first: bool = True,
) -> dict[str, Any]:
    """A whole run, to its result."""
    from dltrain.cli.ranks import say_where
    from dltrain.train.profile import Profile

    run, job = training.directory, training.job
    if job is None:
        console.info(f"run {run.path} is finished, {training.ended_by or 'with all its steps'}")
        return run.result()
    counts = None if job.preprocessing.class_weights else job.class_counts("train")
    callback = callback_for(progress, run.path.name[16:], counts, job.guessing, job.muted)
    timed = Profile()
    try:
        say_where(run.path)
        _announce(training, job, is_first)
        if ranks.size > 1:
            console.info(f"{ranks.size} ranks of {training.threads} threads: {_hosts(ranks.hosts)}")
        with timed.watching(job) if profile else nullcontext():
            return training.fit(callback, ranks).result
    except BaseException as error:
        if json:
            console.result_json(run.result())
        _report(run, error)
        raise
    finally:
        if profile:
            run.write_json(run.profile, timed.report())
            run.write_json(run.trace, timed.trace())


def _announce(training: "Training", job: "Job", is_first: bool) -> None:
    """What is worth knowing before the first step. is_first: of a group, all of which have the same kernels."""
    from dltrain.check import quick_checks
    from dltrain.data.tables.cells import listed

    run = training.directory
    if is_first:
        console.warn_of_missing_kernels(job.device.kernels.note)
    if training.resumed:
        after = training.checkpoint and f"after step {training.checkpoint.position.step:,}"
        left = f", with nothing left to train: {training.ended_by}" if training.ended_by else ""
        what = ", a smoke run of 2 batches an epoch," if run.last_status().get("smoke") is True else ""
        console.info(f"run {run.path}{what} continues {after or 'from the start: it has no checkpoint yet'}{left}")
        if training.schedule and not training.ended_by:
            console.info(training.schedule)
        if training.environment:
            console.info("the environment has changed, so equal bits are not promised from here on:")
            console.info("\n".join(f"  {line}" for line in training.environment))
    else:
        parameters = sum(p.size for p in job.model.parameters.values())
        console.info(f"run {run.path}: {parameters:,} parameters, {job.device.name}")
        if training.device_auto and (chosen := _chosen(job.device)):
            console.info(f"device auto: {chosen}")
        if (steps := job.total_steps) < (planned := job.train.epochs * job.steps_per_epoch):
            console.info(f"train.max_steps ends it after {steps:,} of {planned:,} steps")
        show_starts(job, MOST_STARTS)
        for split, loader in job.loaders.items():
            console.info(f"{split}: {_content(loader.size, job.class_counts(split))}")
        if missing := [f"{c['name']} {c['missing']:.1%}" for c in job.column_facts if c["missing"]]:
            console.info(f"missing values, filled with the mean (categories: with none of them): {listed(missing)}")
        if len(job.loaders) == 1:
            console.info("no examples to validate or test on; data.validation: 0.1 and data.test: 0.2 would cut some")
        for finding in quick_checks(job):
            console.warning(f"{finding.found}; {finding.advice}  [{finding.check}]")


def _hosts(hosts: list[str]) -> str:
    """`a 4, b 4`"""
    return ", ".join(f"{host} {hosts.count(host)}" for host in dict.fromkeys(hosts))


def _chosen(device: "Device") -> str:
    """What is worth knowing of the device that `auto` took."""
    if not device.is_cpu:
        card = device.describe()
        return f"{device.name}, {card['card']}, {card['memory']}"
    return f"{device.name}, because {device.note}" if device.note else ""


def _report(run: "RunDir", ended_by: BaseException | None = None) -> None:
    """Write report.html and say what is worth knowing. Whatever goes wrong here, the training has ended as it has, and
    where an error ended it, that one is told alone."""
    from dltrain.report.page import write_report

    try:
        record = write_report(run)
    except Exception as error:
        if ended_by is None:
            console.error(f"no report: {error}; try again with: dltrain report {run.path}")
        return
    if record.headline and ended_by is None:
        console.info(f"{record.headline.split:<10}  {record.headline}")
    for advice in record.advice[:ADVICE]:
        console.advice(advice.text, advice.remedy, advice.serious, advice.rule)
    console.info(f"report      {run.report}")


def _show_profile(report: dict[str, Any]) -> None:
    columns = ("layer", "what", "calls", "forward ms", "backward ms", "ms", "share")
    rows = [
        [row["layer"], row["what"], f"{row['calls']:g}"]
        + ["" if row[key] is None else f"{row[key]:.3f}" for key in ("forward_ms", "backward_ms", "ms")]
        + [f"{row['share']:.1%}"]
        for row in report["rows"]
    ]
    for what, reason in report["not_captured"].items():
        console.result_text(f"\n{what}: in Python every time, not replayed: {reason}")
    console.result_text(
        f"\nOf {report['steps']} steps, a mean one: {report['wall_ms']:.2f} ms, in which the threads were busy for "
        f"{report['busy_ms']:.2f} ms together:"
    )
    console.result_table(columns, rows)


def _content(examples: int, counts: dict[str, int] | None) -> str:
    """`3,823 examples (0 376, 1 389, …)`"""
    text = f"{examples:,} examples"
    if counts is None:
        return text
    if len(counts) > MOST_CLASSES_SHOWN:
        return f"{text} of {len(counts):,} classes, {min(counts.values()):,} to {max(counts.values()):,} of each"
    return f"{text} ({', '.join(f'{name} {count:,}' for name, count in counts.items())})"


def _summary(result: dict[str, Any]) -> str:
    from dltrain.metrics.row import scores

    lines = []
    for split in ("train", "validation", "test"):
        if split in result:
            lines.append(f"{split:<10}  {'  '.join(scores(result[split]))}")
    if "weights_sha256" in result:
        lines.append(f"weights     sha256 {result['weights_sha256'][:16]}…")
    lines.append(f"run         {result['run']}")
    return "\n".join(lines)
