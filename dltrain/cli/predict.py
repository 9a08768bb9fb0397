"""`dltrain predict [RUN] INPUT…`"""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, Debug, DeviceName, Json, KernelsName, Plugins, Quiet, RunsDir, Which


def predict(
    arguments: Annotated[
        list[str], typer.Argument(metavar="[RUN] INPUT", help="A run (default: newest); image, csv, npz or txt files.")
    ],
    checkpoint: Which = "last",
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE.csv", help="Write a table instead of printing it.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    device: DeviceName = None,
    kernels: KernelsName = "auto",
    plugin: Plugins = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Ask a trained network about new inputs.

    Needs the run and the inputs only, not the data set. Pictures of another size are stretched to the network's.
    """
    import numpy as np

    from dltrain.backend.process import settle
    from dltrain.data import apply
    from dltrain.errors import DataError, DltrainError
    from dltrain.spec import restore
    from dltrain.train.evaluate import predict as ask

    settle()
    if output and not output.parent.is_dir():
        raise DltrainError(f"{output}: there is no folder {output.parent}; make it first")
    directory, inputs = _split_arguments(arguments, runs_dir)
    restored = restore(directory, checkpoint, device)
    learned = restored.checkpoint.preprocessing
    names, examples = _read(inputs, learned)
    console.info(f"run {directory.path}: {checkpoint} checkpoint, {len(names):,} examples")
    with np.errstate(all="ignore"):  # what is not finite is reported, not warned of
        x = apply(examples, *learned.scale_and_shift(restored.device.dtype))
        answers = ask(restored.model, restored.loss, x, restored.device, restored.spec.train.batch_size)
    predictions: list[dict[str, Any]] = []
    for name, answer in zip(names, answers, strict=True):
        if not np.isfinite(answer).all():
            raise DataError(f"{name}: the network's output is not finite; is this in the units of its training data?")
        row: dict[str, Any] = {"input": name}
        if learned.classes:
            row["class"] = learned.classes[int(np.argmax(answer))]
            row["probabilities"] = dict(zip(learned.classes, map(float, answer), strict=True))
        else:
            row["values"] = [float(value) for value in answer]
        predictions.append(row)
    if output is not None:
        _write_table(output, predictions)
        console.info(f"wrote {output}")
    if json:
        console.result_json({"predictions": predictions})
    elif output is None:
        _print(predictions)


def _split_arguments(arguments: list[str], runs_dir: Path) -> tuple[Any, list[Path]]:
    """The first argument is a run unless it is a file."""
    from dltrain.errors import ConfigError, DataError, RunError
    from dltrain.run.find import find_run

    named = not os.path.isfile(arguments[0])
    try:
        run = find_run(arguments[0] if named else None, runs_dir)
    except RunError as error:
        raise RunError(f"{arguments[0]}: no such file; and {error}" if named else str(error)) from None
    inputs = [Path(argument) for argument in arguments[named:]]
    if not inputs:
        raise ConfigError("predict needs at least one INPUT: an image, a csv or txt file, an npz file with an array x")
    if missing := [f"{path}: no such file" for path in inputs if not path.is_file()]:
        raise DataError("\n".join(missing))
    return run, inputs


def _read(inputs: list[Path], learned: Any) -> tuple[list[str], Any]:
    """Names and examples (N, *input_shape) in the units of the training inputs."""
    import numpy as np

    from dltrain.data import read_ending, read_inputs, read_rows
    from dltrain.data.images import read_image

    names: list[str] = []
    parts = []
    for path in inputs:
        ending = path.suffix.lower()
        if ending == ".npz":
            part = read_inputs(path, learned.input_shape)
            names += [f"{path}[{i}]" for i in range(len(part))]
        elif ending == ".csv":
            lines, part = read_rows(path, learned)
            names += [f"{path}:{line}" for line in lines]
        elif ending == ".txt":
            part = read_ending(path, learned)
            names.append(str(path))
        else:
            pixels = learned.pixels
            part = pixels.to_inputs(read_image(path, learned.input_shape, pixels.background))[None]
            names.append(str(path))
        parts.append(part)
    return names, np.concatenate(parts)


def _write_table(path: Path, predictions: list[dict[str, Any]]) -> None:
    import csv
    import io

    from dltrain.run.files import write_output

    text = io.StringIO()
    writer = csv.writer(text)
    first = predictions[0]
    if "class" in first:
        writer.writerow(["input", "class", *first["probabilities"]])
        writer.writerows([row["input"], row["class"], *row["probabilities"].values()] for row in predictions)
    else:
        writer.writerow(["input", *(f"value{i}" for i in range(len(first["values"])))])
        writer.writerows([row["input"], *row["values"]] for row in predictions)
    write_output(path, text.getvalue().encode())


def _print(predictions: list[dict[str, Any]]) -> None:
    if "class" in predictions[0]:
        rows = [[row["input"], row["class"], max(row["probabilities"].values())] for row in predictions]
        console.result_table(["input", "class", "probability"], rows)
    else:
        rows = [[row["input"], *row["values"]] for row in predictions]
        console.result_table(["input", *(f"value{i}" for i in range(len(rows[0]) - 1))], rows)
