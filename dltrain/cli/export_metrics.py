"""`dltrain export-metrics [RUN]`"""

from pathlib import Path
from typing import Annotated

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, Debug, Json, Quiet, Run, RunsDir


def export_metrics(
    run: Run = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FOLDER", help="Write steps.csv, epochs.csv and layers.csv there.")
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option("--tensorboard", metavar="FOLDER", help="Write event files for TensorBoard there.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Export the logs of a run.

    With `logging.tensorboard: true` in its config a training writes the event files itself, RUN/tensorboard.
    """
    from dltrain.errors import ConfigError
    from dltrain.report.export import write_tables
    from dltrain.report.record import Record, believed
    from dltrain.report.tensorboard import TensorBoard
    from dltrain.run.find import find_run

    if csv is None and tensorboard is None:
        raise ConfigError("export-metrics: nothing to do; name a folder with --csv or --tensorboard")
    for folder in filter(None, (csv, tensorboard)):
        if folder.suffix.lower() == ".csv" or (folder.exists() and not folder.is_dir()):
            raise ConfigError(f"{folder}: names a file; say a folder, in which several files will be written")
    board = None if tensorboard is None else TensorBoard(tensorboard)
    directory = find_run(run, runs_dir)
    with believed(directory):
        record = Record.read(directory)
        written = [] if csv is None else write_tables(record, csv)
        if board is not None:
            board.replay(record.steps, record.epochs, record.layers)
            written.append(board.folder)
    if json:
        console.result_json({"run": str(directory.path), "written": [str(path) for path in written]})
    else:
        for path in written:
            console.result_text(str(path))
