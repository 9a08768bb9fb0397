"""The command line: one file per command, listed here."""

import io
import sys

from dltrain.cli.app import app, endings
from dltrain.cli.check import check
from dltrain.cli.compare import compare
from dltrain.cli.data import app as data
from dltrain.cli.evaluate import evaluate
from dltrain.cli.export import export
from dltrain.cli.export_metrics import export_metrics
from dltrain.cli.fit import fit
from dltrain.cli.graph import graph
from dltrain.cli.inspect_params import inspect_params
from dltrain.cli.look import look
from dltrain.cli.lr_find import lr_find
from dltrain.cli.predict import predict
from dltrain.cli.report import report
from dltrain.cli.runs import runs
from dltrain.cli.serve import serve
from dltrain.cli.show_env import env
from dltrain.cli.sweep import sweep
from dltrain.cli.validate import validate
from dltrain.cli.verify import verify
from dltrain.cli.visualize import visualize
from dltrain.cli.weights import weights

app.command("fit")(fit)
app.command("sweep")(sweep)
app.command("eval")(evaluate)
app.command("predict")(predict)
app.command("visualize")(visualize)
app.command("weights")(weights)
app.command("look")(look)
app.command("inspect-params")(inspect_params)
app.command("check")(check)
app.command("lr-find")(lr_find)
app.command("graph")(graph)
app.command("validate")(validate)
app.command("report")(report)
app.command("compare")(compare)
app.command("runs")(runs)
app.command("serve")(serve)
app.command("verify")(verify)
app.command("export")(export)
app.command("export-metrics")(export_metrics)
app.command("env")(env)
app.add_typer(data, name="data")


def main() -> None:
    """Run a command; whatever goes wrong becomes one message and an exit code.

    typer itself ends wrong usage with 2, Ctrl-C with 130 and, silently, a reader of our output that has left, as
    `head` does.
    """
    from dltrain.cli import console
    from dltrain.cli.faults import explained

    console.show_remarks()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without `→` shows `?`, rather than a failure
    code = 1  # of an error that has none of its own; a success leaves by SystemExit
    try:
        app(prog_name="dltrain")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception as error:
        text, code = explained(error)
        console.error(text)
    for end in endings:
        end(code)
    sys.exit(code)
