"""`dltrain compare RUN…`"""

from pathlib import Path
from typing import Annotated, Any

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, Debug, Json, Quiet, RunsDir

KEYS = 6  # columns of settings in the table


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN|GROUP|FOLDER…", help="Runs, groups, or folders of runs.")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE.html", help="Also as a page, with curves over each other.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare runs: what differs, and what came out.

    Runs that differ in their seed or fold alone become one row with mean ± standard deviation. A difference of less
    than two standard errors is "within the spread"; with fewer than three runs on either side it is "unknown".
    """
    from dltrain.errors import DltrainError
    from dltrain.report.comparison import compare as put_beside
    from dltrain.report.overview import write_comparison
    from dltrain.report.record import Record, believed
    from dltrain.run.find import find_runs
    from dltrain.spec import look

    found = {run.path.resolve(): run for name in runs for run in find_runs(name, runs_dir)}
    records, problems = [], []
    for run in found.values():
        try:
            with believed(run):
                records.append((Record.read(run), look(run.config)))
        except DltrainError as error:
            problems.append((run, error))
    for run, problem in problems:
        if len(records) < 2:
            raise problem
        console.warning(f"{run.path.name} is left out: {problem}")
    with believed(*(record.run for record, _ in records)):
        comparison = put_beside([record for record, _ in records], [config for _, config in records])
        if html is not None:
            write_comparison(comparison, html)
            console.info(f"wrote {html}")
    if json:
        console.result_json(_content(comparison))
        return
    shown = comparison.differs[:KEYS]
    if left_out := comparison.differs[KEYS:]:
        console.info(f"they also differ in {', '.join(left_out)}; --json has all")
    columns = [*shown, "runs", *comparison.results, f"{comparison.curves} loss over epochs", ""]
    rows = []
    for variant in comparison.variants:
        results = [_spread(variant.results.get(name)) for name in comparison.results]
        curve = console.sparkline([loss for _, loss in variant.curve], 12)
        rows.append([*(variant.settings[key] for key in shown), len(variant.records), *results, curve, variant.verdict])
    if not comparison.differs:
        console.info("the configs differ in the seed or the fold alone")
    console.result_table(columns, rows)


def _spread(spread: Any) -> str:
    if spread is None:
        return ""
    return f"{spread.mean:.4f}" + ("" if spread.sd is None else f" ± {spread.sd:.4f}")


def _content(comparison: Any) -> dict[str, Any]:
    from dataclasses import asdict

    variants = [
        {
            "settings": variant.settings,
            "runs": [str(record.run.path) for record in variant.records],
            "results": {name: asdict(spread) for name, spread in variant.results.items()},
            "verdict": variant.verdict,
        }
        for variant in comparison.variants
    ]
    return {"differs": comparison.differs, "judged": comparison.judged, "variants": variants}
