"""`dltrain runs`"""

from dltrain.cli import console
from dltrain.cli.app import RUNS, Debug, Json, Quiet, RunsDir


def runs(runs_dir: RunsDir = RUNS, json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """List the runs: status, length, best loss, test result."""
    from dltrain.errors import RunError
    from dltrain.train.rundir import all_runs

    rows = []
    for run in all_runs(runs_dir):
        try:
            status = run.status()
        except RunError as error:
            console.info(f"skipped: {error}")
            continue
        row = {"run": run.path.name, "status": status["status"]}
        shown = ("started", "epochs", "steps", "best_loss", "test")
        row |= {key: status[key] for key in shown if status.get(key) is not None}
        rows.append(row)
    if json:
        console.result_json({"runs": rows})
    elif not rows:
        console.result_text(f"no runs in {runs_dir}; start one with: dltrain fit CONFIG")
    else:
        keys = ["run", "status", "epochs", "steps", "best_loss"]
        table = [[*(row.get(key) for key in keys), row.get("test", {}).get("accuracy")] for row in rows]
        console.result_table(["run", "status", "epochs", "steps", "best loss", "test accuracy"], table)
