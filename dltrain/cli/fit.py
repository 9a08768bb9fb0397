"""`dltrain fit CONFIG`, `dltrain fit --resume RUN`"""

import sys
from contextlib import nullcontext, suppress
from dataclasses import replace
from json import loads
from pathlib import Path
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
)
from dltrain.cli.group import new_group, train_group
from dltrain.cli.live import ProgressStyle, callback_for

if TYPE_CHECKING:
    from dltrain.backend import Device
    from dltrain.run.checkpoint import Checkpoint
    from dltrain.run.rundir import RunDir
    from dltrain.spec import RunSpec
    from dltrain.train.job import Job

ADVICE = 3  # things that are said at the end; the report has all
MOST_CLASSES_SHOWN = 20


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
            help="Continue a run (or a group of runs), to the bits of one that was never interrupted; takes no CONFIG. "
            "auto: the newest unfinished one of CONFIG, or else a new one.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the run. [default: the config's]")
    ] = None,
    runs_dir: RunsDir = RUNS,
    data_dir: DataDir = None,
    device: DeviceName = None,
    kernels: KernelsName = "auto",
    threads: Threads = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="Another seed.")] = None,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", metavar="N", min=1, help="Stop after so many steps.")
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Two training batches and a checkpoint, on generated data if need be.")
    ] = False,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Time the first steps by layer and op: a table, and trace.json in the run."),
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", metavar="K", min=2, help="Cross-validation, a group of K runs, each validated on another K-th."
        ),
    ] = None,
    plugin: Plugins = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", metavar="N", min=2, help="A group of runs: N seeds, one after the other.")
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", metavar="KEY=A,B,…", help="A group of runs: each value, with those of other --vary."),
    ] = None,
    progress: Annotated[
        ProgressStyle, typer.Option("--progress", help="How to watch; auto: live at a terminal, else lines.")
    ] = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a network and test it.

    Everything about the training is kept in a new run directory: configs, logs, checkpoints. A run that was
    interrupted or killed continues with --resume.
    """
    from dltrain.data import default_data_dir
    from dltrain.errors import ConfigError
    from dltrain.run.find import find_group, find_run
    from dltrain.run.rundir import name_of
    from dltrain.spec import Override

    words = [*(overrides or [])]
    flags = {"device": ("--device", device), "seed": ("--seed", seed), "train.max_steps": ("--max-steps", max_steps)}
    changes: list[Any] = [Override(f"{key}={value}", flag) for key, (flag, value) in flags.items() if value is not None]
    changes += [Override("train.epochs=1", "--smoke")] if smoke else []
    place = data_dir or default_data_dir(), threads, kernels
    group = find_group(resume, runs_dir) if resume and resume != "auto" else None
    if group or seeds or vary or folds:
        if profile:
            raise ConfigError("--profile is for runs by themselves, not for a group")
        if group and (config or name or changes or seeds or vary or folds):
            raise ConfigError(f"{group.path} is a group: it continues as it was planned, without changes")
        if group is None:
            if config is None or resume not in (None, "auto"):
                raise ConfigError("--seeds, --folds and --vary make a new group of runs and want a CONFIG")
            words += [change.text for change in changes]
            varied, called = (seeds, folds, vary or []), name or name_of(config)
            group = new_group(config, words, *varied, runs_dir, called, smoke, look_for_unfinished=resume == "auto")
        train_group(group, Start(group.path, *place, group.smoke), lambda start: _train_member(start, progress), json)
        return
    start = Start(runs_dir, *place, smoke)
    if resume is not None and resume != "auto":
        for flag, given in (("--name", name), ("--smoke", smoke)):
            if given:
                raise ConfigError(f"{flag} is for a new run, not for one that continues")
        words = [config, *words] if config else words
        start.resume(find_run(resume, runs_dir), [*words, *changes])
    elif config is None:
        wanted = "--resume auto wants the CONFIG as well" if resume else "Missing argument 'CONFIG'"
        raise ConfigError(f"{wanted}; `dltrain fit --help` shows how")
    else:
        start.begin(config, name or name_of(config), [*words, *changes], look_for_unfinished=resume == "auto")
    result = _train(start, profile, progress, json)
    if json:
        console.result_json(result)
    else:
        console.result_text(_summary(result))
        if profile and not start.finished:
            _show_profile(loads(start.run.profile.read_bytes()))
    _report(start.run)


def _train_member(start: "Start", progress: ProgressStyle) -> None:
    _train(start, profile=False, progress=progress, json=False)
    _report(start.run)


def _train(start: "Start", profile: bool, progress: ProgressStyle, json: bool) -> dict[str, Any]:
    """A whole run, to its result."""
    from dltrain.report.tensorboard import TensorBoard
    from dltrain.train.callbacks import CallbackList
    from dltrain.train.loop import fit as train
    from dltrain.train.profile import Profile

    run = start.run
    if start.finished:
        return run.result()

    job = start.job
    counts = None if job.preprocessing.class_weights else job.class_counts("train")
    callback = callback_for(progress, run.path.name[16:], counts, job.guessing)
    if job.logging.tensorboard:
        callback = CallbackList(callback, TensorBoard(run.tensorboard))
    timed = Profile()
    try:
        with timed.watching(job) if profile else nullcontext():
            train(job, run, start.threads, callback, start.checkpoint)
            return run.result()
    except BaseException as error:
        if json:
            console.result_json(run.result())
        _report(run, error)
        raise
    finally:
        if profile:
            run.write_json(run.profile, timed.report())
            run.write_json(run.trace, timed.trace())


class Start:
    """Everything that a training needs, of a new run or one that goes on."""

    run: "RunDir"
    job: "Job"

    def __init__(self, runs_dir: Path, data_dir: Path, threads: int | None, kernels: str, smoke: bool):
        from dltrain.backend.process import settle

        settle()
        self.runs_dir, self.data_dir, self.threads, self.kernels = runs_dir, data_dir, threads, kernels
        self.smoke = smoke
        self.checkpoint: Checkpoint | None = None
        self.finished = False
        self._has_warned = False

    def _open(self, name: str) -> "Device":
        """The device of this name. Warns, once for all runs of a group, where its kernels are slow."""
        from dltrain.backend import open_device

        device = open_device(name)
        if not self._has_warned:
            console.warn_of_missing_kernels(device.kernels.note)
        self._has_warned = True
        return device

    def begin(self, config: str, name: str, changes: list[Any], look_for_unfinished: bool) -> None:
        from dltrain.report.tensorboard import required
        from dltrain.spec import load, new_run, settle

        self.checkpoint = None
        spec = load(config, changes)
        device = self._open(spec.device)
        chosen = _chosen(device) if spec.device == "auto" else ""
        if look_for_unfinished:
            spec = settle(spec, device)
            if run := _unfinished(spec, self.runs_dir, self.smoke):
                return self.resume(run, [])
        if spec.logging.tensorboard:
            required()
        self.job, self.run = new_run(spec, name, self.runs_dir, self.data_dir, self.threads, self.smoke)
        parameters = sum(p.size for _, p in self.job.model.named_parameters())
        console.info(f"run {self.run.path}: {parameters:,} parameters, {device.name}")
        if chosen:
            console.info(f"device auto: {chosen}")
        if (steps := self.job.total_steps) < (planned := spec.train.epochs * self.job.steps_per_epoch):
            console.info(f"train.max_steps ends it after {steps:,} of {planned:,} steps")
        for split, loader in self.job.loaders.items():
            console.info(f"{split}: {_content(loader.size, self.job.class_counts(split))}")
        if len(self.job.loaders) == 1:
            console.info("no examples to validate or test on; data.validation: 0.1 and data.test: 0.2 would cut some")

    def resume(self, run: "RunDir", changes: list[Any]) -> None:
        from dltrain.backend import choose_kernels
        from dltrain.errors import ConfigError, RunError
        from dltrain.run.environment import differences, environment
        from dltrain.spec import build_job, ending, resumed, rewritten, stretched

        self.run = run
        run.hold()
        self.checkpoint = run.checkpoint("last") if run.has_checkpoint() else None
        spec, changed = resumed(run, self.checkpoint, changes)
        status = run.last_status()
        if status.get("status") == "done" and not changed:
            self.finished = True
            console.info(f"run {run.path} is finished, {ending(spec, self.checkpoint) or 'with all its steps'}")
            return
        recorded = run.recorded_environment()
        if self.kernels == "auto" and recorded.get("kernels") == "numpy":
            choose_kernels("numpy")  # others would give other bits
        device = self._open(spec.device)
        self.job = build_job(spec, device, self.data_dir, status.get("smoke") is True)
        step = self.checkpoint.position.step if self.checkpoint else 0
        if self.job.total_steps < step:
            raise ConfigError(f"{run.path} has taken {step:,} steps, more than the {self.job.total_steps:,} asked for")
        others = differences(recorded, environment(device, self.threads, sys.argv))
        if self.checkpoint and (data := self.job.other_data(self.checkpoint)):
            if not others:
                raise RunError(f"{run.path}: {'; '.join(data)}; bring back the old ones or start a new run")
            others += data  # pictures, say, may be decoded differently there
            self.checkpoint = self.job.adopt(self.checkpoint)
        other_rates = stretched(self.job, self.checkpoint) if self.checkpoint else None
        note = {"changed": {path: list(values) for path, values in changed.items()}, "environment": others}
        note |= {"schedule": other_rates} if other_rates else {}
        run.reopen(self.checkpoint, note, rewritten(spec) if changed else None)
        self.job = replace(self.job, config=run.config.read_text(encoding="utf-8"))
        where = f"after step {step:,}" if self.checkpoint else "from the start: it has no checkpoint yet"
        ended = ending(spec, self.checkpoint)
        console.info(f"run {run.path} continues {where}{f', with nothing left to train: {ended}' if ended else ''}")
        if other_rates and not ended:
            console.info(other_rates)
        if others:
            console.info("the environment has changed, so equal bits are not promised from here on:")
            console.info("\n".join(f"  {line}" for line in others))


def _chosen(device: "Device") -> str:
    """What is worth knowing of the device that `auto` took."""
    if not device.is_cpu:
        card = device.describe()
        return f"{device.name}, {card['card']}, {card['memory']}"
    return f"{device.name}, because {device.note}" if device.note else ""


def _unfinished(spec: "RunSpec", runs_dir: Path, smoke: bool) -> "RunDir | None":
    """The newest run of this very config that has not come to its end and that nobody trains."""
    from dltrain.errors import DltrainError
    from dltrain.run.rundir import all_runs
    from dltrain.spec import differences, load

    for run in sorted(all_runs(runs_dir), key=lambda run: run.config.stat().st_mtime_ns, reverse=True):
        with suppress(DltrainError):  # a config that cannot be read is not this one
            run.require_own_files()
            status = run.last_status()
            if status.get("status") in ("done", "diverged") or (status.get("smoke") is True) != smoke:
                continue
            if not differences(spec, load(run.config)) and run.is_free():
                return run
    return None


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
    for advice in record.advice[:ADVICE]:
        console.advice(advice.text, advice.remedy, advice.serious)
    console.info(f"report      {run.report}")


def _show_profile(report: dict[str, Any]) -> None:
    columns = ("layer", "what", "calls", "forward ms", "backward ms", "ms", "share")
    rows = [
        [row["layer"], row["what"], f"{row['calls']:g}"]
        + ["" if row[key] is None else f"{row[key]:.3f}" for key in ("forward_ms", "backward_ms", "ms")]
        + [f"{row['share']:.1%}"]
        for row in report["rows"]
    ]
    if report["repeated"]:
        console.result_text("\nOnly for --profile does Python go through every op of every step; it is faster without.")
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
    from dltrain.train.callbacks import scores

    lines = []
    for split in ("train", "validation", "test"):
        if split in result:
            lines.append(f"{split:<10}  {'  '.join(scores(result[split]))}")
    if "weights_sha256" in result:
        lines.append(f"weights     sha256 {result['weights_sha256'][:16]}…")
    lines.append(f"run         {result['run']}")
    return "\n".join(lines)
