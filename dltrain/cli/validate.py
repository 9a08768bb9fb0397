"""`dltrain validate CONFIG`"""

from typing import TYPE_CHECKING, Annotated

import typer

from dltrain.cli import console
from dltrain.cli.app import Config, Debug, Json, Overrides, Plugins, Quiet

if TYPE_CHECKING:
    from dltrain.nn import Network, Networks
    from dltrain.spec import RunSpec


def validate(
    config: Config,
    overrides: Overrides = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the resolved config: every value and its origin.")
    ] = False,
    plugin: Plugins = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check a config, including the shapes of its layers.

    Reads no data and allocates no weights. Whatever `fit` would warn about, or refuse on this
    machine, is a warning.
    """
    from dltrain.spec import build_model, load

    spec = load(config, overrides or [])
    model = build_model(spec)
    _warn(spec, model)
    parameters = sum(p.size for p in model.parameters.values())
    if json:
        console.result_json({"valid": True, "layers": len(model.layers), "parameters": parameters})
    elif show:
        console.result_text(spec.to_yaml().rstrip())
    else:
        console.result_text(f"{config}: valid; {_described(model)}, {parameters:,} parameters")


def _warn(spec: "RunSpec", model: "Network | Networks") -> None:
    """Say what `fit` would, as far as that needs no data."""
    from dltrain.check import check_without_data
    from dltrain.nn import Network
    from dltrain.spec import build_sources, memory_lacking

    sources = build_sources(spec)
    if sources and spec.loss and isinstance(model, Network):
        for finding in check_without_data(model, spec.loss.build(), spec.advice.mute):
            console.warning(f"{finding.found}; {finding.advice}  [{finding.check}]")
    if sources and (lacking := memory_lacking(spec, model, sources)):
        console.warning(f"`fit` refuses this here: {lacking}")


def _described(model: "Network | Networks") -> str:
    """Layers and shapes, of each network where there are several."""
    from dltrain.nn import Networks, shape_text

    if isinstance(model, Networks):
        return "; ".join(f"{name}: {_described(network)}" for name, network in model.networks.items())
    layers = f"{len(model.layers)} {'layer' if len(model.layers) == 1 else 'layers'}"
    taken = " and ".join(map(shape_text, model.in_shapes))
    return f"{layers}, {taken} → {shape_text(model.out_shape)}"
