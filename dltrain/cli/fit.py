"""`dltrain fit CONFIG`"""

import re
import sys
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from json import loads
from pathlib import Path
from typing import Annotated, Any

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, Config, DataDir, Debug, DeviceName, Json, KernelsName, Quiet, RunsDir, Threads

MOST_CLASSES_SHOWN = 20


def fit(
    config: Config,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Changes: a.b=v sets, +a.b=v adds, ~a.b removes."),
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
        typer.Option("--folds", metavar="K", min=2, help="Cross-validation: K runs, each validated on another K-th."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a network and test it.

    Everything about the training is kept in a new run directory: configs, logs, checkpoints.
    """
    from dltrain.data import default_data_dir
    from dltrain.spec import Override
    from dltrain.train.rundir import RunDir
    from dltrain.train.shards import available_cores

    flags = {"device": ("--device", device), "seed": ("--seed", seed), "train.max_steps": ("--max-steps", max_steps)}
    changes: list[Any] = [*(overrides or [])]
    changes += [Override(f"{key}={value}", flag) for key, (flag, value) in flags.items() if value is not None]
    changes += [Override("train.epochs=1", "--smoke")] if smoke else []
    name = name or _run_name(config)
    places = runs_dir, data_dir or default_data_dir()
    once = partial(_train, config, *places, threads or available_cores(), smoke=smoke, profile=profile, json=json)
    if folds is None:
        runs = [result := once(name, changes)]
    else:
        cuts = [f"data.fold={{number: {number}, of: {folds}}}" for number in range(1, folds + 1)]
        changes.append(Override("data.validation=0", "--folds"))
        runs = [once(f"{name}-fold{i}", [*changes, Override(cut, "--folds")]) for i, cut in enumerate(cuts, start=1)]
        result = _together(runs)
    if json:
        console.result_json(result)
        return
    for one in runs:
        console.result_text(_summary(one))
        if profile:
            _show_profile(loads(RunDir(Path(one["run"])).profile.read_bytes()))
    if folds is not None:
        console.result_text(_spread(result))


def _train(
    config: str,
    runs_dir: Path,
    data_dir: Path,
    threads: int,
    name: str,
    changes: list[Any],
    *,
    smoke: bool,
    profile: bool,
    json: bool,
) -> dict[str, Any]:
    """A whole run, from its config to its result."""
    from dltrain.backend import open_device
    from dltrain.backend.process import settle as settle_process
    from dltrain.errors import RunError
    from dltrain.spec import build_job, load, settle
    from dltrain.train.environment import environment
    from dltrain.train.loop import fit as train
    from dltrain.train.profile import Profile
    from dltrain.train.rundir import RunDir

    settle_process()
    spec = load(config, changes)
    opened = open_device(spec.device)
    spec = settle(spec, opened)
    job = build_job(spec, opened, data_dir, smoke)
    facts = environment(opened, threads, sys.argv)
    try:
        run = RunDir.create(runs_dir, name, spec.to_yaml(), spec.text, facts)
    except OSError as error:
        raise RunError(f"{runs_dir}: no run can be kept here ({error.strerror}); --runs-dir says where") from None
    console.info(f"run {run.path}: {sum(p.size for _, p in job.model.named_parameters()):,} parameters, {opened.name}")
    for split, feed in job.feeds.items():
        console.info(f"{split}: {_content(feed, job.preprocessing.classes)}")

    def log(line: str) -> None:
        with open(run.log, "a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n")

    watcher = console.FitWatcher(log)
    timed = Profile()
    try:
        with timed.watching(job) if profile else nullcontext():
            result = train(job, run, threads, watcher)
    except BaseException as error:
        log(f"ended by {type(error).__name__}: {error}")
        watcher.ended()
        if run.status()["status"] == "running":  # it ended before the training could say so
            run.update_status(status="failed")
        if json:
            console.result_json(run.result())
        raise
    finally:
        if profile:
            run.write_json(run.profile, timed.report())
            run.write_json(run.trace, timed.trace())
    watcher.ended()
    return result


def _together(folds: list[dict[str, Any]]) -> dict[str, Any]:
    """The results of all folds; the mean and the sample's standard deviation of every figure over them."""
    from statistics import mean, stdev

    overall: dict[str, Any] = {"folds": folds, "mean": {}, "deviation": {}}
    for split in ("train", "validation", "test"):
        names = folds[0].get(split, {})
        values = {name: [fold[split][name] for fold in folds if fold[split][name] is not None] for name in names}
        for key, function in (("mean", mean), ("deviation", stdev)):
            overall[key] |= {split: {n: function(v) for n, v in values.items() if len(v) > 1}} if names else {}
    return overall


def _spread(result: dict[str, Any]) -> str:
    lines = []
    for split, means in result["mean"].items():
        spread = [f"{name} {value:.4f} ± {result['deviation'][split][name]:.4f}" for name, value in means.items()]
        lines.append(f"{split:<10}  {'  '.join(spread)}")
    return "\n".join([f"mean and deviation of {len(result['folds'])} folds", *lines])


def _run_name(config: str) -> str:
    """The config's own name without what a run's name may not hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(config).stem).lstrip("._-")[:100] or "run"


def _show_profile(report: dict[str, Any]) -> None:
    columns = ("layer", "what", "calls", "forward ms", "backward ms", "ms", "share")
    rows = [
        [row["layer"], row["what"], f"{row['calls']:g}"]
        + ["" if row[key] is None else f"{row[key]:.3f}" for key in ("forward_ms", "backward_ms", "ms")]
        + [f"{row['share']:.1%}"]
        for row in report["rows"]
    ]
    console.result_text(
        f"\nOf {report['steps']} steps, a mean one: {report['wall_ms']:.2f} ms, in which the threads were busy for "
        f"{report['busy_ms']:.2f} ms together:"
    )
    console.result_table(columns, rows)


def _content(feed: Any, classes: tuple[str, ...] | None) -> str:
    """`3,823 examples (0 376, 1 389, …)`"""
    text = f"{feed.size:,} examples"
    if classes is None:
        return text
    counts = [0] * len(classes)
    for target in feed.targets().tolist():
        counts[target] += 1
    if len(classes) > MOST_CLASSES_SHOWN:
        return f"{text} of {len(classes):,} classes, {min(counts):,} to {max(counts):,} of each"
    return f"{text} ({', '.join(f'{name} {count:,}' for name, count in zip(classes, counts, strict=True))})"


def _summary(result: dict[str, Any]) -> str:
    lines = []
    for split in ("train", "validation", "test"):
        if split in result:
            lines.append(f"{split:<10}  {'  '.join(console.scores(result[split]))}")
    lines.append(f"weights     sha256 {result['weights_sha256'][:16]}…")
    lines.append(f"run         {result['run']}")
    return "\n".join(lines)
