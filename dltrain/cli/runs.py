"""`dltrain runs`"""

from pathlib import Path
from typing import Annotated

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, Debug, Json, Quiet, RunsDir


def runs(
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE.html", help="Also write a page that links to the reports.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List the runs: status, length, best loss, validation.

    Runs that cannot be read are named; the others are still listed.
    """
    from dltrain.errors import RunError
    from dltrain.run.files import require_ending
    from dltrain.run.group import is_group
    from dltrain.run.rundir import all_runs

    require_ending(html, ".html", ".htm")
    rows, damaged = [], []
    known = all_runs(runs_dir)
    for run in known:
        try:
            run.require_own_files()
            status = run.status()
        except RunError as error:
            damaged.append({"run": run.path.name, "problem": str(error)})
            continue
        group = {"group": run.path.parent.name} if is_group(run.path.parent) else {}
        row = {"run": run.path.name, **group, "status": status["status"]}
        best = [key for key in status if key.startswith("best_")]
        shown = ("started", "epochs", "steps", "smoke", *best, "validation", "test")
        row |= {key: status[key] for key in shown if status.get(key) is not None}
        rows.append(row)
    if html is not None:
        from dltrain.report.overview import write_overview

        write_overview(known, html)
        console.info(f"wrote {html}")
    for entry in damaged:
        console.warning(f"{entry['run']}: {entry['problem']}")
    if json:
        console.result_json({"runs": rows, "damaged": damaged})
    elif not known:
        console.result_text(f"no runs in {runs_dir}; start one with: dltrain fit CONFIG")
    else:
        keys = [*(["group"] if any("group" in row for row in rows) else []), "run", "status", "epochs", "steps"]
        keys += sorted({key for row in rows for key in row if key.startswith("best_")} | {"best_loss"})
        for row in rows:
            row["status"] += " (smoke)" if row.get("smoke") else ""
        table = [[*(row.get(key) for key in keys), row.get("validation", {}).get("accuracy")] for row in rows]
        columns = [key.replace("_", " ") for key in keys]
        console.result_table([*columns, "validation accuracy"], table, ["steps", "epochs", *reversed(columns[4:])])
