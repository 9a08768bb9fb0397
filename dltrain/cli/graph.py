"""`dltrain graph CONFIG|RUN`"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, ConfigOrRun, DataDir, Debug, Json, Quiet, RunsDir

EXAMPLES = 2  # in the batch that makes the graph; every value shows N in their place


def graph(
    config: ConfigOrRun,
    form: Annotated[Literal["text", "dot", "svg"], typer.Option("--format", help="How to show it.")] = "text",
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write it there: DOT if it ends in .dot, else SVG.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    data_dir: DataDir = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show the computation graph: ops, shapes, parameters.

    Read off the engine's own graph after a forward pass. For a run also the sizes of the gradients, with its last
    weights and a batch of its training data.
    """
    from dltrain.report.graph import graph_rows, to_dot, to_svg
    from dltrain.report.grid import write_bytes

    title, vertices = _capture(config, runs_dir, data_dir)
    if output and form == "text":
        form = "dot" if output.suffix == ".dot" else "svg"
    if json:
        console.result_json({"vertices": [vertex.to_json() for vertex in vertices]})
    elif form == "text":
        console.result_table(*graph_rows(vertices))
    else:
        text = to_svg(vertices, title) if form == "svg" else to_dot(vertices)
        if output:
            write_bytes(output, text.encode())
            console.info(f"wrote {output}")
        else:
            console.result_text(text.rstrip())


def _capture(text: str, runs_dir: Path, data_dir: Path | None) -> tuple[str, Any]:
    """(a title, the vertices). Without data the graph ends at the model's output, with a run it goes back again."""
    from functools import partial

    import numpy as np

    from dltrain.backend import open_device
    from dltrain.backend.process import settle
    from dltrain.data import default_data_dir
    from dltrain.errors import RunError
    from dltrain.nn import Context
    from dltrain.nn.graph import capture
    from dltrain.random import permutation
    from dltrain.spec import build_job, describe
    from dltrain.spec import settle as settle_spec
    from dltrain.train.feed import Moment, random_words

    settle()

    def context(spec: Any, examples: int) -> Context:
        moment = Moment(spec.seed, epoch=1, step=1)

        def words(purpose: str, layer: str, words_each: int) -> Any:
            return random_words(device, moment, purpose, layer, 0, examples, words_each)

        return Context(training=True, words=words)

    spec, model, run = describe(text, runs_dir)
    device = open_device("cpu")
    if spec.data is None:
        for _, parameter in model.named_parameters():
            parameter.data = device.xp.zeros(parameter.shape, device.dtype)  # takes no memory until it is written to
        return text, capture(model, np.zeros((EXAMPLES, *model.in_shape), device.dtype), context(spec, EXAMPLES))
    job = build_job(settle_spec(spec, device), device, data_dir or default_data_dir(), smoke=run is None)
    feed, title = job.feeds["train"], text
    job.model.initialise(job.seed, device)
    if run is not None:
        try:
            job.model.load(run.checkpoint("last").weights, device)
        except (KeyError, ValueError) as error:
            raise RunError(f"{run.path}: the checkpoint does not fit the run's own config ({error})") from None
        title = f"{run.path.name}: gradients of one training batch"
    batch = permutation(feed.size, job.seed, "order", epoch=1)[: job.train.batch_size if run else EXAMPLES]
    x, targets = feed.examples(batch)
    loss = partial(job.loss, targets=targets, count=len(targets))
    return title, capture(job.model, x, context(spec, len(batch)), loss, backward=run is not None)
