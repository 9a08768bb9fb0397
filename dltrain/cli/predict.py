"""`dltrain predict [RUN] INPUT…`"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli import console
from dltrain.cli.app import RUNS, DataDir, Debug, DeviceName, Json, KernelsName, Plugins, Quiet, RunsDir, Which

NO_INPUT = "predict needs at least one INPUT: an image, a table, a txt file, an array x in npz; or --value, --prompt"

if TYPE_CHECKING:
    from dltrain.data.given import Given, Unlike
    from dltrain.data.preprocess import Preprocessing
    from dltrain.run.rundir import RunDir
    from dltrain.spec import Restored


def predict(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN] INPUT",
            help="A run (default: newest); then images, tables, npz or txt files, folders of them, or patterns such as "
            "'new/*.png'; with --value none.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Which = "last",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Write FILE.csv or FILE.jsonl instead of printing; until it is complete it is called FILE.part. With "
            "pictures FILE.png.",
        ),
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(
            "--value",
            metavar="NAME",
            help="Draw pictures of this value, from noise or held-out examples, repeat for more; or of one INPUT.",
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Number of pictures, with --value.")] = 64,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed for whatever is drawn at random.")] = 0,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="COLUMN", help="Copy this column of the table beside the predictions."),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Go on after a file or row that cannot be read; the exit code is still 1."),
    ] = False,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="TEXT", help="Text for the network to continue, instead of inputs."),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option("--length", min=1, help="Length of the generated text, in characters or words. [default: 300]"),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            min=0.0,
            help="Below 1 favours probable tokens; 0 is greedy. [default: 1; for sentences as in the run]",
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, metavar="K", help="Sample from the K most probable tokens only.")
    ] = None,
    beam: Annotated[
        int | None, typer.Option("--beam", min=1, metavar="WIDTH", help="Beam search for the most probable text.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    data_dir: DataDir = None,
    device: DeviceName = None,
    kernels: KernelsName = "auto",
    plugin: Plugins = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict on new data.

    Needs only the run and the inputs, not the data set. Pictures of another size are resized; other differences from
    the training pictures are reported.
    """
    import numpy as np

    from dltrain.backend.process import settle
    from dltrain.cli.painting import paint, painted_values
    from dltrain.cli.pictures import draw_pictures
    from dltrain.cli.predictions import Answers, Shown, Written
    from dltrain.cli.writing import teller, write
    from dltrain.data import default_data_dir
    from dltrain.data.given import Unlike, find_given, in_batches
    from dltrain.data.tables.cells import listed
    from dltrain.errors import ConfigError, DataError
    from dltrain.evaluation.evaluate import predict as ask
    from dltrain.spec import restore

    settle()
    writing = {"length": length, "temperature": temperature, "top_k": top_k, "beam": beam}
    writing = {key: setting for key, setting in writing.items() if setting is not None}
    if beam and (temperature or top_k):
        raise ConfigError("--beam leaves nothing to chance: leave out --temperature and --top-k")
    if value and not (arguments or [])[1:]:
        directory = _only_run(arguments, runs_dir)
        restored, data = restore(directory, checkpoint, device), data_dir or default_data_dir()
        draw_pictures(restored, directory, value, count, seed, output, data, json)
        return
    if prompt is not None:
        return write(prompt, writing, seed, arguments[0] if arguments else None, checkpoint, runs_dir, device, json)
    directory, words = _split_arguments(arguments or [], runs_dir)
    if painted := painted_values(restored := restore(directory, checkpoint, device)):
        return paint(restored, directory, painted, value, words, output, json)
    if value:
        raise ConfigError(f"--value with INPUT is for pictures that networks make of it; {directory.path} makes none")
    answers: list[Answers] = [Written(output)] if output else []
    answers += [Shown(json)] if json or not output else []
    failed, unlike, answered, asked = Failed(skip_bad), Unlike(), 0, 0
    try:
        tell = teller(restored, writing, seed)
        learned, size = restored.checkpoint.preprocessing, restored.spec.train.batch_size
        target = next((data.settings.get("target") for data in restored.spec.sources.values()), None)
        targets = [target] if isinstance(target, str) else list(target or [])
        files, notes = find_given(words, learned)
        files_said = f"{len(files):,} file{'' if len(files) == 1 else 's'}"
        console.info(f"run {directory.path}: {checkpoint} checkpoint, {files_said}")
        for note in notes:
            console.warning(note)
        threshold = None if tell else _threshold(restored, directory, checkpoint)
        with console.progress("inputs"):
            for given in in_batches(_read(files, learned, keep or [], unlike, failed), size):
                with np.errstate(all="ignore"):  # what is not finite is reported, not warned of
                    x = learned.ready(given.examples, restored.device.dtype)
                    outputs: Any = (
                        tell(x, asked)
                        if tell
                        else ask(restored.network, restored.loss, x, restored.device, size, first=asked)
                    )
                asked += len(x)
                for name, kept, found in zip(given.names, given.kept, outputs, strict=True):
                    if not tell and not np.isfinite(found).all():
                        problem = "the network's output is not finite; is this in the units of its training data?"
                        failed.add(DataError(f"{name}: {problem}"))
                        continue
                    row = {"input": name, "kept": dict(zip(keep or [], kept, strict=True))}
                    row |= {"text": found} if tell else _answer(found, learned, targets, threshold)
                    answered += 1
                    for place in answers:
                        place.add(row)
        failed.count += unlike.skipped
        if failed.count and not answered:
            raise DataError("no input could be answered")
    except BaseException:
        for place in answers:
            place.give_up()
        raise
    for line in unlike.lines():
        console.warning(line)
    if unused := [name for name in unlike.unused if name not in targets]:
        console.info(f"columns that the network does not take: {listed(unused)}")
    for place in answers:
        place.finish()
    if failed.count:
        raise DataError(f"{failed.count:,} of {failed.count + answered:,} inputs failed and are left out")


class Failed:
    """Counts what could not be answered, and says it, where one may go on; raises it where not."""

    def __init__(self, go_on: bool):
        self.go_on, self.count = go_on, 0

    def add(self, error: Exception) -> None:
        if not self.go_on:
            raise error
        self.count += 1
        console.warning(f"skipped: {error}")


def _read(
    files: list[Path], learned: "Preprocessing", keep: list[str], unlike: "Unlike", failed: Failed
) -> "Iterator[Given]":
    from dltrain import progress
    from dltrain.data.given import read_given
    from dltrain.errors import DataError

    for path in progress.over(files, "inputs"):
        try:
            given = read_given(path, learned, keep, unlike, skip_bad=failed.go_on)
        except DataError as error:
            failed.add(error)
            continue
        yield given


def _threshold(restored: "Restored", run: "RunDir", checkpoint: str) -> tuple[str, float] | None:
    """Where `metrics.positive` names one of two classes: from which probability of it on it is the answer."""
    from dltrain.evaluation.error_analysis import chosen_threshold

    positive, classes = restored.spec.metrics.positive, restored.checkpoint.preprocessing.classes
    if positive is None or not restored.loss.classification or classes is None or positive not in classes:
        return None
    if (chosen := chosen_threshold(run, checkpoint, positive)) is not None:
        console.info(f"{positive} from a probability of {chosen:.3g} on, which validation examples chose")
        return positive, chosen
    console.info(
        f"{positive} from a probability of 0.5 on: no threshold is kept for the {checkpoint} checkpoint; where there "
        f"are validation examples, dltrain eval --checkpoint {checkpoint} chooses one"
    )
    return positive, 0.5


def _answer(
    output: Any, learned: "Preprocessing", targets: list[str], threshold: tuple[str, float] | None
) -> dict[str, Any]:
    """targets: the columns of a table that are predicted; none where the data set has no names for them. threshold: of
    two classes one, and from which probability on it is the answer."""
    if learned.classes is None:
        values = [float(value) for value in learned.target_units(output)]
        return {"values": values} | ({"predicted": dict(zip(targets, values, strict=True))} if targets else {})
    probabilities = dict(zip(learned.classes, map(float, output), strict=True))
    if learned.multilabel:
        return {"class": "; ".join(n for n, p in probabilities.items() if p > 0.5), "probabilities": probabilities}
    answer = learned.classes[int(output.argmax())]
    if threshold:
        positive, least = threshold
        (negative,) = probabilities.keys() - {positive}
        answer = positive if probabilities[positive] >= least else negative
    return {"class": answer, "probabilities": probabilities}


def _only_run(arguments: list[str] | None, runs_dir: Path) -> "RunDir":
    from dltrain.run.find import find_run

    first, *_ = arguments or [""]
    return find_run(first or None, runs_dir)


def _split_arguments(arguments: list[str], runs_dir: Path) -> "tuple[RunDir, list[str]]":
    """The first argument is a run unless it is a file, a pattern, or a folder that is no run."""
    from dltrain.data.given import is_there
    from dltrain.errors import ConfigError, RunError
    from dltrain.run.find import find_run

    if not arguments:
        raise ConfigError(NO_INPUT)
    first = arguments[0]
    named = not is_there(first) or (os.path.isdir(first) and _is_run(first))
    try:
        run = find_run(first if named else None, runs_dir)
    except RunError as error:
        raise type(error)(f"{first}: no such file; and {error}" if named else str(error)) from None
    words = arguments[named:]
    if not words:
        raise ConfigError(NO_INPUT)
    return run, words


def _is_run(folder: str) -> bool:
    """Also one that is damaged, and a group, of which one must be named."""
    return any(os.path.isfile(os.path.join(folder, name)) for name in ("config.yaml", "status.json", "group.json"))
