"""`dltrain weights [RUN] [--layer NAME]`"""

from pathlib import Path
from typing import Annotated

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, Debug, Json, Quiet, Run, RunsDir, Which


def weights(
    run: Run = None,
    layer: Annotated[str | None, typer.Option("--layer", metavar="NAME", help="Only this layer's.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE.png", help="Draw them, beside those of the oldest checkpoint where there are two."
        ),
    ] = None,
    checkpoint: Which = "last",
    runs_dir: RunsDir = RUNS,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List weights by name: mean, spread, exact zeros.

    Also what is no parameter but kept beside them, such as running statistics. --output draws them.
    """
    from dltrain.errors import ConfigError
    from dltrain.nn import shape_text
    from dltrain.report.grid import write_picture
    from dltrain.report.weights import draw_weights, statistics
    from dltrain.run.files import require_ending
    from dltrain.run.find import find_run

    require_ending(output, ".png")
    directory = find_run(run, runs_dir)
    found = directory.checkpoint(checkpoint)
    arrays = {name: a for name, a in found.answering.items() if layer is None or name.startswith(f"{layer}.")}
    if not arrays:
        layers = dict.fromkeys(name.rpartition(".")[0] for name in found.answering)
        raise ConfigError(f"--layer {layer}: no weights are called that; this run has those of {', '.join(layers)}")
    step = found.position.step
    console.info(f"run {directory.path}: {checkpoint} checkpoint, step {step:,}")
    rows = [{"name": name, **statistics(array)} for name, array in arrays.items()]
    if output:
        oldest = directory.saved_steps()[0]
        first = directory.checkpoint(oldest).answering if oldest < step else {}
        write_picture(output, draw_weights(arrays, step, first, oldest))
        console.info(f"wrote {output}")
    if json:
        console.result_json({"run": str(directory.path), "step": step, "weights": rows})
    else:
        cells = [[row["name"], shape_text(row["shape"]), *[*row.values()][2:]] for row in rows]
        console.result_table(["name", "shape", "mean", "sd", "min", "max", "exact zeros"], cells, ["max", "min"])
