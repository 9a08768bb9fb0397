"""`dltrain verify [RUN]`"""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, DataDir, Debug, Json, KernelsName, Plugins, Quiet, Run, RunsDir, Threads


def verify(
    run: Run = None,
    from_step: Annotated[
        int, typer.Option("--from-step", metavar="N", min=0, help="Start at this step's checkpoint.")
    ] = 0,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", metavar="K", min=1, help="Number of steps to check. [default: to the newest checkpoint]"
        ),
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
    """Retrain a run and compare bit for bit.

    Compares the weights of every checkpoint and each row of the logs; writes nothing. Exit code 1 if anything differs.
    In another environment, weights may differ by 1e-5 of an array's largest value for each step, by 1e-2 at most.
    """
    from dltrain.backend import choose_kernels, open_device
    from dltrain.backend.process import available_cores, settle
    from dltrain.check.verify import verify as repeat
    from dltrain.data import default_data_dir
    from dltrain.run.environment import differences, environment
    from dltrain.run.find import find_run
    from dltrain.spec import build_job, load, require_plugins

    settle()
    directory = find_run(run, runs_dir)
    require_plugins(directory)
    recorded = directory.recorded_environment()
    if kernels == "auto" and recorded.get("kernels") == "numpy":
        choose_kernels("numpy")  # others would give other bits
    spec = load(directory.config)
    device = open_device(spec.device)
    start = directory.checkpoint(from_step) if from_step else None
    trained = start or (directory.checkpoint("last") if directory.has_checkpoint() else None)
    status = directory.last_status()
    data, smoke = data_dir or default_data_dir(), status.get("smoke") is True
    job = build_job(spec, device, data, smoke, trained, start is None)
    threads = threads or available_cores()
    others = differences(recorded, environment(device, threads, sys.argv))
    found = repeat(job, directory, threads, start, steps, bool(others))
    later = [entry for entry in status.get("resumed", []) if from_step < entry["step"]]
    changed = {path for entry in later for path in entry.get("changed", ())}
    if found.differences and changed:
        console.info(f"this run was continued with other values of {', '.join(sorted(changed))}")
    if json:
        about = {"run": str(directory.path), "verdict": found.verdict}
        console.result_json({**about, **asdict(found), "environment": others})
    else:
        console.result_text(f"run         {directory.path}, steps {found.first + 1} to {found.last}")
        for line in others:
            console.result_text(f"environment {line}")
        if found.tolerance is not None:
            console.result_text(f"tolerance   {found.tolerance:.0e} of an array's largest value; rows are not compared")
        for kept in found.weights:
            same = "equal, bit for bit" if kept["equal"] else f"differ by up to {kept['difference']:.1e}"
            console.result_text(f"weights     after step {kept['step']}: {same}")
        if found.tolerance is None:
            console.result_text(f"logs        {found.rows} rows compared")
        if found.diverged:
            console.result_text(f"diverged    as it did then: {found.diverged}")
        console.result_text(f"verdict     {found.verdict}")
    if found.differences:
        shown = found.differences[:10]
        more = [f"and {len(found.differences) - 10} more differences"] if len(found.differences) > 10 else []
        console.error("\n".join([*shown, *more]))
        raise typer.Exit(1)
