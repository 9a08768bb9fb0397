"""`dltrain inspect-params CONFIG|RUN`"""

from collections.abc import Iterator
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

    Allocates no weights and needs no data. Where a config loads weights, it lists what matches.
    """
    from dltrain.nn.summary import summarise
    from dltrain.spec import describe, loads_of, start_values

    spec, model, run = describe(config, runs_dir, overrides or [])
    found = summarise(model, spec.train.batch_size)
    loads = {} if run else loads_of(spec)
    starts = start_values(model, loads)
    if starts:
        found["starts"] = {setting: start.to_json() for setting, start in starts.items()}
    if json:
        console.result_json(found)
        return
    columns = ["name", "type", "output", "parameters", "trainable", "share"]
    console.result_table(columns + (EXPLAINED if explain else []), [_cells(row, explain) for row in _rows(found)])
    console.result_text(f"\ntotal {found['total']:,} parameters, {found['trainable']:,} trainable")
    if bare := [row["name"] for row in found["layers"] if row["norm"] and not row["bias"]]:
        more = f" and {len(bare) - NAMED} more" if len(bare) > NAMED else ""
        console.result_text(f"no bias before a norm: {', '.join(bare[:NAMED])}{more}")
    if explain:
        console.result_text(
            f"{found['multiply_adds']:,} multiply-adds for one example forward; outputs of all layers take "
            f"{_mib(found['activation_bytes'])} for a batch of {found['batch_size']}"
        )
    for setting, start in starts.items():
        console.result_text(f"start values from {loads[setting].path}: {start}")
        if explain:
            lines = [(name, f"from {source}") for name, source in start.sources.items()]
            console.result_table(
                ["array", "start value"], lines + [(n, f"as drawn: {why}") for n, why in start.own.items()]
            )


NAMED = 6  # layers in a line
EXPLAINED = ["parameters =", "output size =", "multiply-adds", "memory", "sees"]


def _rows(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The layers; in place of a container's own join, and before its first layer, a row for all of it."""
    groups = {group["name"]: group for group in found["groups"]}
    left = dict(groups)
    for row in found["layers"]:
        for name in [name for name in left if row["name"].startswith(f"{name}.")]:
            yield left.pop(name)
        if row["name"] not in groups:
            yield row


def _cells(row: dict[str, Any], explain: bool) -> list[Any]:
    from dltrain.nn import shape_text

    parts = [row["type"], "spectral_norm" if row.get("spectral_norm") else "", row.get("norm")]
    kind = f"{row['type']} of {row['layers']}" if "layers" in row else " + ".join(filter(None, parts))
    cells = ["  " * row["name"].count(".") + row["name"], kind, shape_text(row["output_shape"])]
    cells += [row["parameters"], row["trainable"], f"{row['share']:.1%}"]
    if explain:
        memory, field = _mib(row["activation_bytes"]), row["receptive_field"]
        cells += [row.get("arithmetic"), row.get("output_size"), row["multiply_adds"], memory]
        cells += [shape_text(field) if field else "all"]
    return cells


def _mib(size: int) -> str:
    return f"{size / 2**20:,.2f} MiB"
