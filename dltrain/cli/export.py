"""`dltrain export [RUN]`"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, Debug, Json, Plugins, Quiet, Run, RunsDir, Which


def export(
    run: Run = None,
    form: Annotated[
        Literal["safetensors", "npz", "torch-safetensors"],
        typer.Option("--format", help="File format; torch: PyTorch's names and axis order, for load_state_dict."),
    ] = "safetensors",
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Output file. [default: NAME.safetensors or NAME.npz]"),
    ] = None,
    checkpoint: Which = "last",
    runs_dir: RunsDir = RUNS,
    plugin: Plugins = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Export the weights of a run.

    `model: {load: FILE}` in a config reads such a file back.
    """
    from dltrain.backend import to_host
    from dltrain.nn import Network
    from dltrain.run.files import require_ending
    from dltrain.run.find import find_run
    from dltrain.spec import restore
    from dltrain.weights.files import ENDINGS, write_weights
    from dltrain.weights.layout import torch_state

    directory = find_run(run, runs_dir)
    restored = restore(directory, checkpoint, "cpu")
    arrays = {name: to_host(array) for name, array in restored.model.weights().items()}
    if form == "torch-safetensors":
        parts = [model] if isinstance(model := restored.model, Network) else model.networks.values()
        arrays = {name: array for part in parts for name, array in torch_state(part, arrays).items()}
    path = output or Path(directory.path.name[16:] + ENDINGS[form])
    require_ending(path, ENDINGS[form])
    write_weights(path, arrays, form)
    if json:
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        console.result_json({"run": str(directory.path), "written": str(path), "arrays": shapes})
    else:
        console.result_text(f"{path}: {len(arrays)} arrays, {sum(array.size for array in arrays.values()):,} numbers")
