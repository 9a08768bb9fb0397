"""`dltrain report [RUN]`"""

from pathlib import Path
from typing import Annotated

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, Debug, Json, Quiet, Run, RunsDir


def report(
    run: Run = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE.html", help="Where to write it. [default: RUN/report.html]")
    ] = None,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Rebuild a run's HTML report.

    Curves, layers, mistakes, weights, advice. Needs only the run directory. `fit` already made the page once;
    `dltrain eval RUN` updates its predictions.
    """
    from dataclasses import asdict

    from dltrain.report.page import write_report
    from dltrain.run.files import require_ending
    from dltrain.run.find import find_run

    require_ending(output, ".html", ".htm")
    directory = find_run(run, runs_dir)
    record = write_report(directory, output)
    path = output or directory.report
    if json:
        found = [asdict(advice) for advice in record.advice]
        console.result_json({"run": str(directory.path), "report": str(path), "advice": found})
        return
    console.result_text(str(path))
    for advice in record.advice:
        console.advice(advice.text, advice.remedy, advice.serious, advice.rule)
