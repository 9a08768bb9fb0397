"""`dltrain visualize [RUN] --layer NAME`"""

from pathlib import Path
from typing import Annotated

import typer

from dltrain.cli import console
from dltrain.cli.app import (
    RUNS,
    DataDir,
    Debug,
    DeviceName,
    Json,
    KernelsName,
    Plugins,
    Quiet,
    Run,
    RunsDir,
    Threads,
    Which,
)


def visualize(
    run: Run = None,
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAME", help="Layer to visualise; without it the layers are listed."),
    ] = None,
    unit: Annotated[
        list[int] | None,
        typer.Option(
            "--unit", metavar="N", min=0, help="Unit number, from 0; repeat for more. [default: the six most active]"
        ),
    ] = None,
    minimize: Annotated[bool, typer.Option("--minimize", help="Minimise the activation instead.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE.png", help="Output file. [default: visualize/ in the run]")
    ] = None,
    checkpoint: Which = "last",
    runs_dir: RunsDir = RUNS,
    data_dir: DataDir = None,
    device: DeviceName = None,
    kernels: KernelsName = "auto",
    threads: Threads = None,
    plugin: Plugins = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what excites the units of a layer.

    For each unit, an input made by gradient ascent and the training examples that excite it most. The numbers are the
    unit's activation: for conv the mean over the image after the activation function; for dense, and with --minimize,
    before it.
    """
    from dltrain.backend.process import available_cores, settle
    from dltrain.data import default_data_dir
    from dltrain.errors import ConfigError, DataError
    from dltrain.report.features import feature_grid, visualise
    from dltrain.report.grid import write_picture
    from dltrain.run.files import require_ending
    from dltrain.run.find import find_run
    from dltrain.spec import examples_of, restore

    settle()
    require_ending(output, ".png")
    directory = find_run(run, runs_dir)
    restored = restore(directory, checkpoint, device)
    learned, layers = restored.checkpoint.preprocessing, {x.name: x for x in restored.network.layers}
    if layer is None or layer not in layers:
        asked = "--layer says whose units" if layer is None else f"--layer {layer}: there is no such layer"
        raise ConfigError(f"{asked}; this network has {', '.join(layers)}")
    units = layers[layer].out_shape[-1]
    if unit and max(unit) >= units:
        raise ConfigError(f"--unit {max(unit)}: {layer} has {units} units, 0 to {units - 1}")
    if len(learned.input_shape) != 3 or learned.input_shape[-1] not in (1, 3):
        raise DataError(
            f"{directory.path}: only image inputs can be visualised; its inputs have shape {learned.input_shape}"
        )
    loader, _ = examples_of(restored, "train", data_dir or default_data_dir())
    console.info(f"run {directory.path}: {checkpoint} checkpoint, searching {loader.size:,} training examples")
    workers = threads or available_cores()
    model, seed = restored.network, restored.spec.seed
    with console.progress("examples"):
        found = visualise(model, layers[layer], loader, restored.device, seed, workers, unit or None, minimize)
    what = "least" if minimize else "most"
    title = f"{layer}: synthetic input that excites a unit {what} (framed), and top examples"
    path = output or directory.path / "visualize" / f"{layer}{'-least' if minimize else ''}.png"
    if output is None:
        path.parent.mkdir(exist_ok=True)
    is_last = layers[layer] is model.layers[-1]
    # binary_cross_entropy has one output for two classes: the logit of the second one.
    names = learned.classes[-units:] if is_last and learned.classes else [f"unit {i}" for i in range(units)]
    write_picture(path, feature_grid(title, found, loader, learned, names))
    console.info(f"wrote {path}")
    if json:
        console.result_json({"layer": layer, "picture": str(path), "units": [feature.to_json() for feature in found]})
    else:
        rows = [[f.unit, f.activation, f.activations[0], ", ".join(map(str, f.examples[:3]))] for f in found]
        console.result_table(["unit", "made input", f"{what} of the examples", "examples"], rows)
