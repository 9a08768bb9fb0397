"""`dltrain validate CONFIG`"""

from typing import Annotated

import typer

from dltrain.cli import console
from dltrain.cli.app import Config, Debug, Json, Overrides, Plugins, Quiet


def validate(
    config: Config,
    overrides: Overrides = None,
    show: Annotated[bool, typer.Option("--show", help="Print the resolved config: every default, and whence.")] = False,
    plugin: Plugins = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check a config, the shapes of its layers included.

    Reads no data and allocates no weights.
    """
    from dltrain.nn import shape_text
    from dltrain.spec import build_model, load

    spec = load(config, overrides or [])
    model = build_model(spec)
    parameters = sum(p.size for p in model.parameters.values())
    if json:
        console.result_json({"valid": True, "layers": len(model.layers), "parameters": parameters})
    elif show:
        console.result_text(spec.to_yaml().rstrip())
    else:
        layers = f"{len(model.layers)} {'layer' if len(model.layers) == 1 else 'layers'}"
        shapes = f"{shape_text(model.in_shape)} → {shape_text(model.out_shape)}"
        console.result_text(f"{config}: valid; {layers}, {shapes}, {parameters:,} parameters")
