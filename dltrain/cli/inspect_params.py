"""`dltrain inspect-params CONFIG|RUN`"""

from typing import Annotated, Any

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, ConfigOrRun, Debug, Json, Overrides, Plugins, Quiet, RunsDir


def inspect_params(
    config: ConfigOrRun,
    overrides: Overrides = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the arithmetic, multiply-adds, memory and receptive fields.")
    ] = False,
    runs_dir: RunsDir = RUNS,
    plugin: Plugins = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Count the parameters of a network.

    Allocates no weights and needs no data.
    """
    from dltrain.nn.summary import summarise
    from dltrain.spec import describe

    spec, model, _ = describe(config, runs_dir, overrides or [])
    kinds = {layer.common["name"]: layer.type for layer in spec.model.layers}
    found = summarise(model, kinds, spec.train.batch_size)
    if json:
        console.result_json(found)
        return
    columns = ["name", "type", "output", "parameters", "trainable", "share"]
    console.result_table(columns + (EXPLAINED if explain else []), [_cells(row, explain) for row in found["layers"]])
    console.result_text(f"\ntotal {found['total']:,} parameters, {found['trainable']:,} trainable")
    if explain:
        console.result_text(
            f"{found['multiply_adds']:,} multiply-adds for one example forward; outputs of all layers take "
            f"{_mib(found['activation_bytes'])} for a batch of {found['batch_size']}"
        )


EXPLAINED = ["parameters =", "output size =", "multiply-adds", "memory", "sees"]


def _cells(row: dict[str, Any], explain: bool) -> list[Any]:
    from dltrain.nn import shape_text

    cells = [row["name"], row["type"], shape_text(row["output_shape"])]
    cells += [row["parameters"], row["trainable"], f"{row['share']:.1%}"]
    if explain:
        memory, field = _mib(row["activation_bytes"]), row["receptive_field"]
        cells += [row["arithmetic"], row["output_size"], row["multiply_adds"], memory]
        cells += [shape_text(field) if field else "all"]
    return cells


def _mib(size: int) -> str:
    return f"{size / 2**20:,.2f} MiB"
