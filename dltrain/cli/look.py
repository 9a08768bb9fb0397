"""`dltrain look [RUN] --step N`"""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, DataDir, Debug, Json, KernelsName, Plugins, Quiet, Run, RunsDir, Threads


def look(
    run: Run = None,
    step: Annotated[
        int | None, typer.Option("--step", metavar="N", min=1, help="The step, from 1; without it the last one.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    data_dir: DataDir = None,
    kernels: KernelsName = "auto",
    threads: Threads = None,
    plugin: Plugins = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Look into one step of a finished training.

    Repeats the run from the nearest checkpoint, compares every row of its logs on the way, and shows outputs, gradient
    and update of each layer. Writes nothing.
    """
    from dltrain.backend import choose_kernels, open_device
    from dltrain.backend.process import available_cores, settle
    from dltrain.check.look import look as look_into
    from dltrain.check.look import nearest
    from dltrain.data import default_data_dir
    from dltrain.errors import ConfigError
    from dltrain.nn import shape_text
    from dltrain.run.environment import differences, environment
    from dltrain.run.find import find_run
    from dltrain.spec import build_job, load, require_plugins

    settle()
    directory = find_run(run, runs_dir)
    require_plugins(directory)
    recorded, status = directory.recorded_environment(), directory.last_status()
    taken = int(status.get("steps") or 0) + (status.get("status") == "diverged")
    step = step or taken
    if not 1 <= step <= taken:
        raise ConfigError(f"--step {step}: {directory.path} has taken {taken:,} steps")
    if kernels == "auto" and recorded.get("kernels") == "numpy":
        choose_kernels("numpy")  # others would give other bits
    spec = load(directory.config)
    device, start = open_device(spec.device), nearest(directory, step)
    trained = start or (directory.checkpoint("last") if directory.has_checkpoint() else None)
    data, smoke = data_dir or default_data_dir(), status.get("smoke") is True
    job = build_job(spec, device, data, smoke, trained, start is None)
    threads = threads or available_cores()
    others = differences(recorded, environment(device, threads, sys.argv))
    with console.progress("steps"):
        found = look_into(job, directory, threads, step, start)
    for line in others:
        console.info(f"environment {line}")
    if found.differences:
        more = f" and {len(found.differences) - 1:,} more" if len(found.differences) > 1 else ""
        console.warning(f"not the bits of the run: {found.differences[0]}{more}")
    if json:
        console.result_json({"run": str(directory.path), **asdict(found), "environment": others})
        return
    where = f"from step {found.start:,}" if found.start else "from the start"
    console.info(f"run {directory.path}: step {step:,} (epoch {found.epoch}), repeated {where}")
    if not found.differences:
        own = "the step's own among them" if found.logged else "this step itself has none"
        console.info(f"rows of the logs compared: {found.rows:,}, equal bit for bit; {own}")
    if found.diverged:
        console.warning(f"not taken: {found.diverged}")
    several = len({row["update"] for row in found.layers}) > 1
    keys = ("mean", "std", "zero_share", "gradient_norm", "weight_norm", "update_ratio")
    rows = [
        [*([row["update"]] if several else []), row["layer"], shape_text(row["output_shape"])]
        + [f"{row[key]:.3g}" if row[key] is not None else "" for key in keys]
        for row in found.layers
    ]
    columns = [*(["update"] if several else []), "layer", "output", "mean", "sd", "zeros", "‖g‖", "‖w‖", "‖Δw‖/‖w‖"]
    console.result_table(columns, rows, ["output", "‖w‖"])
