"""`dltrain lr-find CONFIG`"""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from dltrain.cli import console
from dltrain.cli.app import Config, DataDir, Debug, DeviceName, Json, KernelsName, Overrides, Plugins, Quiet, Threads


def lr_find(
    config: Config,
    overrides: Overrides = None,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE.svg", help="Draw the curve.")] = None,
    data_dir: DataDir = None,
    device: DeviceName = None,
    kernels: KernelsName = "auto",
    threads: Threads = None,
    plugin: Plugins = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Suggest a learning rate.

    Trains a copy while the rate grows from 1e-6 to 10, then tries a few rates from where the loss starts falling.
    Saves nothing.
    """
    from dltrain.backend.process import available_cores
    from dltrain.check.lr_find import find_rate
    from dltrain.cli.check import prepare
    from dltrain.errors import ConfigError
    from dltrain.job.parallel import ThreadPool
    from dltrain.nn import Network
    from dltrain.report.curve import svg_curve, text_curve
    from dltrain.run.files import require_ending, write_output

    require_ending(svg, ".svg")
    job = prepare(config, overrides, data_dir, device)
    if not isinstance(job.model, Network):
        raise ConfigError("lr-find is for a `model` and its `loss`; `updates` have a learning rate and a loss each")
    pool = ThreadPool(threads or available_cores())
    try:
        with console.progress("learning rates"):
            found = find_rate(job, pool)
    finally:
        pool.close()
    if svg and not found.rates:
        console.warning(f"{svg} is not written: there is no curve")
    elif svg:
        title = f"{Path(config).stem}: loss while the learning rate grows"
        write_output(svg, svg_curve(title, found.rates, found.losses, found.smooth, found.suggestion))
        console.info(f"wrote {svg}")
    if json:
        console.result_json(found.to_json())
        return
    if found.rates:
        console.result_text(text_curve(found.rates, found.smooth, found.suggestion))
    if found.tried:
        rows = [[f"{rate:.1e}", "diverged" if loss is None else loss] for rate, loss in found.tried]
        console.result_text("")
        console.result_table(["short training at", "final loss"], rows)
    console.result_text(f"\n{found.reason}")
    if found.suggestion is not None:
        changes = [*(overrides or []), f"optimizer.lr={found.suggestion:.2g}"]
        options = [f"--plugin={path}" for path in plugin or []]
        options += [f"--data-dir={data_dir}"] if data_dir else []
        options += [f"--device={device}"] if device else []
        console.result_text(f"try: {shlex.join(['dltrain', 'fit', config, *changes, *options])}")
