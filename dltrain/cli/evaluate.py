"""`dltrain eval [RUN]`"""

from typing import Annotated, Literal

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


def evaluate(
    run: Run = None,
    split: Annotated[Literal["test", "validation", "train"], typer.Option("--split", help="Which examples.")] = "test",
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
    """Evaluate a trained network on a split.

    Every figure that there is, recall, precision, F1 and confusions of each class; also kept in the run, for
    `report`, with the most confident mistakes.
    """
    import numpy as np

    from dltrain.backend.process import settle
    from dltrain.data import default_data_dir, load_split
    from dltrain.errors import DataError
    from dltrain.spec import build_source, cuts_of, restore
    from dltrain.train.examine import examine, keep
    from dltrain.train.feed import Feed
    from dltrain.train.rundir import find_run
    from dltrain.train.settings import METRICS
    from dltrain.train.shards import Crew, available_cores

    settle()
    directory = find_run(run, runs_dir)
    restored = restore(directory, checkpoint, device)
    spec, source, learned = restored.spec, build_source(restored.spec), restored.checkpoint.preprocessing
    assert spec.data and source
    seen = (learned.input_shape, learned.classes, learned.columns)
    if (source.input_shape, source.classes, source.columns) != seen:
        raise DataError(
            f"the data set ({spec.data.type}) has changed since {directory.path} was trained: shapes or classes differ"
        )
    examples = load_split(source, data_dir or default_data_dir(), split, cuts=cuts_of(spec), seed=spec.seed)
    console.info(f"run {directory.path}: {checkpoint} checkpoint on the {split} split, {len(examples):,} examples")
    feed = Feed(examples, learned, (), restored.device)
    crew = Crew(threads or available_cores())
    with np.errstate(all="ignore"):  # what is not finite is reported, not warned of
        sizes = spec.train.batch_size, spec.train.shard_size_on(restored.device.is_cpu)
        looked = examine(restored.model, restored.loss, feed, crew, *sizes, spec.metrics, METRICS, learned.classes)
    crew.close()
    keep(looked, directory, split, checkpoint)
    found = looked.found
    order = (*METRICS, "examples", "averages", "per_class", "confusion")
    result = {"run": str(directory.path), "split": split} | {key: found[key] for key in order if key in found}
    if json:
        console.result_json(result)
        return
    console.result_text(f"{split}  {'  '.join(console.scores(found))}  ({found['examples']:,} examples)")
    if "per_class" in found:
        rows = [[*row.values(), *counts] for row, counts in zip(found["per_class"], found["confusion"], strict=True)]
        taken_for = [f"→{row['class']}" for row in found["per_class"]]
        console.result_text("\nper class, and for which class its examples were taken:")
        console.result_table(["class", "examples", "recall", "precision", "f1", *taken_for], rows)
