"""`dltrain graph CONFIG|RUN`"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, ConfigOrRun, DataDir, Debug, Json, Overrides, Plugins, Quiet, RunsDir

Form = Literal["text", "dot", "svg", "mermaid"]


def graph(
    config: ConfigOrRun,
    overrides: Overrides = None,
    form: Annotated[Form, typer.Option("--format", help="Output format.")] = "text",
    detail: Annotated[
        Literal["ops", "layers"], typer.Option("--detail", help="Every op, or one node for each layer.")
    ] = "ops",
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write to FILE.svg, FILE.dot or FILE.mmd.")
    ] = None,
    captured: Annotated[
        bool,
        typer.Option("--captured", help="Instead, list the calls that a captured step repeats, and time both ways."),
    ] = False,
    runs_dir: RunsDir = RUNS,
    data_dir: DataDir = None,
    plugin: Plugins = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show the computation graph: ops, shapes, parameters.

    Taken from the engine's own graph after a forward pass. A run also shows the sizes of its gradients, from its last
    weights and a batch of its training data.
    """
    from dltrain.errors import ConfigError
    from dltrain.report.drawing import svg_file
    from dltrain.report.graph import by_layers, graph_rows, to_dot, to_mermaid
    from dltrain.run.files import require_ending, write_output

    if captured:
        if output or form != "text" or detail != "ops":
            raise ConfigError("--captured prints a list; leave --output, --format and --detail out")
        _show_captured(config, overrides, data_dir, json)
        return
    endings: dict[str, Form] = {".svg": "svg", ".dot": "dot", ".mmd": "mermaid"}
    wanted = [ending for ending, known in endings.items() if form in ("text", known)]
    require_ending(output, *wanted)
    if output:
        form = endings[output.suffix.lower()]
    title, vertices = _capture(config, overrides or [], runs_dir, data_dir)
    vertices = by_layers(vertices) if detail == "layers" else vertices
    written = {"svg": lambda: svg_file(vertices, title), "dot": lambda: to_dot(vertices)}
    written |= {"mermaid": lambda: to_mermaid(vertices), "text": str}
    text = written[form]()
    if output:
        write_output(output, text.encode())
        console.info(f"wrote {output}")
    if json:
        console.result_json({"vertices": [vertex.to_json() for vertex in vertices]})
    elif form == "text":
        console.result_table(*graph_rows(vertices))
    elif not output:
        console.result_text(text.rstrip())


def _capture(text: str, overrides: list[str], runs_dir: Path, data_dir: Path | None) -> tuple[str, Any]:
    """(a title, the vertices). Of a config before it has weights or data; with a run it goes back again."""
    from functools import partial

    from dltrain.backend import open_device
    from dltrain.backend.process import settle
    from dltrain.check import Subject
    from dltrain.data import default_data_dir
    from dltrain.nn import Context, Network
    from dltrain.nn.graph import capture, outline, outline_together
    from dltrain.spec import build_job, build_sources, describe, load_weights
    from dltrain.spec import settle as settle_spec
    from dltrain.spec.build import build_networks

    settle()
    spec, model, run = describe(text, runs_dir, overrides)
    device = open_device("cpu")
    if not isinstance(model, Network):
        game = build_networks(spec, build_sources(spec))
        console.info("the values of each update; the sizes of gradients are shown of a lone network's run only")
        return text, outline_together({name: terms for name, (terms, _) in game.updates.items()}, device)
    if run is None:
        return text, outline(model, device, spec.loss.build() if spec.sources and spec.loss else None)
    smoke = run.last_status().get("smoke") is True
    trained = run.checkpoint("last")
    job = build_job(settle_spec(spec, device), device, data_dir or default_data_dir(), smoke, trained, from_start=False)
    subject = Subject(job).initialised()
    load_weights(job.model, run, trained, device)
    x, targets = subject.train.examples(subject.first_batch)
    context = Context(training=True, words=subject.words(len(targets)))
    loss = partial(job.loss, targets=targets, count=len(targets))
    return f"{run.path.name}: gradients of one training batch", capture(job.network, x, context, loss, backward=True)


def _show_captured(config: str, overrides: list[str] | None, data_dir: Path | None, json: bool) -> None:
    """Of a config: Python's list of ops is run once, C's list of calls in every step after that."""
    from itertools import groupby

    from dltrain.check.captured import captured
    from dltrain.cli.check import prepare

    found = captured(prepare(config, overrides, data_dir, None))
    calls = [(label, len([*same])) for label, same in groupby(found.calls)]
    if json:
        rows = [{**label._asdict(), "calls": count} for label, count in calls]
        times = {"eager_ms": found.eager_ms, "replayed_ms": found.replayed_ms}
        console.result_json({"calls": rows, "reason": found.reason, **times})
    elif found.reason:
        console.result_text(f"nothing is captured: {found.reason}")
    else:
        table = [[label.layer, label.what, label.phase, count] for label, count in calls]
        console.result_table(["layer", "part", "", "calls of C"], table)
        console.result_text(f"\na step: eager {found.eager_ms:.2f} ms, replayed {found.replayed_ms:.2f} ms")
