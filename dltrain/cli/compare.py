"""`dltrain compare RUN…`"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, Debug, Json, Quiet, RunsDir

if TYPE_CHECKING:
    from dltrain.report.comparison import Comparison, Reused, Variant

KEYS = 6  # columns of settings in the table


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN|GROUP|FOLDER…", help="Runs, groups, or folders of runs.")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE.html", help="Also write a page with overlaid curves.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare runs: what differs, and which did best.

    Ranked by `metrics.best` on validation examples; test figures are shown only for the best one. Runs that differ only
    in seed or fold become one row with mean ± standard deviation. A difference of less than two standard
    errors is "no clear difference"; with fewer than three runs on either side it is "unknown".
    """
    from dltrain import progress
    from dltrain.errors import DltrainError
    from dltrain.report.comparison import compare as put_beside
    from dltrain.report.overview import write_comparison
    from dltrain.report.record import Record, believed
    from dltrain.run.files import require_ending
    from dltrain.run.find import find_runs
    from dltrain.spec import look

    require_ending(html, ".html", ".htm")
    found = {run.path.resolve(): run for name in runs for run in find_runs(name, runs_dir)}
    records, problems = [], []
    with console.progress("runs"):
        for run in progress.over(found.values(), "runs"):
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
        console.result_json(content(comparison))
    else:
        show(comparison)


def show(comparison: "Comparison", most: int | None = None) -> None:
    """The variants, the runs and the answer. most: only so many variants, the best ones."""
    variants = comparison.variants[:most]
    shown = comparison.differs[:KEYS]
    if left_out := comparison.differs[KEYS:]:
        console.info(f"they also differ in {', '.join(left_out)}; --json lists all")
    if not comparison.differs:
        console.info("the configs differ only in seed or fold")
    alone = all(len(variant.records) == 1 for variant in comparison.variants)
    status = ["status"] if alone else []
    course = f"{comparison.curves} loss over epochs"
    columns = ["run" if alone else "runs", *shown, *status, *comparison.results, course, ""]
    rows = []
    for variant in variants:
        results = [variant.results.get(name) for name in comparison.results]
        curve = console.sparkline([loss for _, loss in variant.curve], 12)
        which = variant.records[0].name if alone else len(variant.records)
        states = [variant.records[0].status["status"] for _ in status]
        rows.append(
            [
                which,
                *(variant.settings[key] for key in shown),
                *states,
                *(str(r or "") for r in results),
                curve,
                variant.verdict,
            ]
        )
    expendable = [course, *status, *reversed(comparison.results[1:]), *reversed(shown)]
    console.result_table(columns, rows, expendable)
    if others := comparison.variants[len(variants) :]:
        _say_of(others)
    if comparison.reused:
        told = ["alone", "chained", "tuned together"]
        console.result_text("")
        console.result_table([f"validation {comparison.of_reused}", *told], list(map(_apart, comparison.reused)))
    if not alone:
        console.result_text("")
        _show_runs(comparison, variants)
    console.result_text("".join(f"\n{line}" for line in comparison.answer))


def _say_of(variants: "Sequence[Variant]") -> None:
    """Those that the table leaves out."""
    statuses = [record.status["status"] for variant in variants for record in variant.records]
    counts = ", ".join(f"{statuses.count(status):,} {status}" for status in dict.fromkeys(statuses))
    console.result_text(f"… and {len(variants):,} more ({counts})")


def _show_runs(comparison: "Comparison", variants: "Sequence[Variant]") -> None:
    from dltrain.metrics.row import figure_text

    variant_of = ["variant"] if comparison.differs else []
    rows = []
    for variant in variants:
        for record in variant.records:
            found = [(record.status.get(split) or {}).get(key) for split, key in map(str.split, comparison.results)]
            figures = ["" if value is None else figure_text(value) for value in found]
            rows.append([record.name, *(variant.label for _ in variant_of), record.status["status"], *figures])
    console.result_table(["run", *variant_of, "status", *comparison.results], rows)


def _apart(reused: "Reused") -> list[str]:
    from dltrain.metrics.row import figure_text

    alone = ", ".join(f"{network} {figure_text(value)}" for network, value in reused.alone.items())
    return [reused.label, alone, *(str(part or "") for part in (reused.chained, reused.tuned))]


def content(comparison: "Comparison") -> dict[str, Any]:
    """The same for programs."""
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
    test = {name: asdict(spread) for name, spread in comparison.test.items()}
    found = {"differs": comparison.differs, "judged": comparison.judged, "variants": variants}
    found["reused"] = [asdict(each) for each in comparison.reused]
    return found | {"test": test, "answer": comparison.answer}
