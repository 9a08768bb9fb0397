"""`dltrain eval [RUN]`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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

if TYPE_CHECKING:
    from dltrain.evaluation.error_analysis import ErrorAnalysis
    from dltrain.job.loader import DataLoader
    from dltrain.job.parallel import ThreadPool
    from dltrain.spec import Restored

CURVES = ("positive", "curves", "threshold")  # of two classes


def evaluate(
    run: Run = None,
    split: Annotated[Literal["test", "validation", "train"], typer.Option("--split", help="Split to use.")] = "test",
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

    All metrics, with recall, precision, F1 and confusions per class. The run keeps them for `report`, with the most
    confident mistakes.
    """
    from dltrain.backend.process import available_cores, settle
    from dltrain.cli.figures import measure_figures, show_figures
    from dltrain.data import default_data_dir
    from dltrain.evaluation.error_analysis import save_analysis
    from dltrain.job.parallel import ThreadPool
    from dltrain.metrics.row import figures_in
    from dltrain.report.record import believed, description_of
    from dltrain.run.find import find_run
    from dltrain.spec import cuts_of, examples_of, restore

    settle()
    data_dir = data_dir or default_data_dir()
    directory = find_run(run, runs_dir)
    restored = restore(directory, checkpoint, device)
    loader, same = examples_of(restored, split, data_dir)
    averaged = ", averaged weights" if restored.checkpoint.average else ""
    console.info(
        f"run {directory.path}: {checkpoint} checkpoint{averaged} on the {split} split, {loader.size:,} examples"
    )
    if not same:
        taken = {cuts_of(data).needs(split) for data in restored.spec.sources.values()}
        cut = split != "train" and "train" in taken
        mixed = f"; cut anew from them, the {split} part may now hold examples of the training" if cut else ""
        console.warning(f"the {split} data changed since {directory.path} was trained{mixed}")
    pool = ThreadPool(threads or available_cores())
    with console.progress("examples"):
        analysis = _analyse(restored, loader, split, data_dir, pool)
    pool.close()
    save_analysis(analysis, directory, split, checkpoint, same_data=same)
    with console.progress("figures"):
        kept = measure_figures(restored, directory, checkpoint, split, loader, data_dir, same)
    found = analysis.found | {"split": split, "same_data": same}
    if same:
        with believed(directory):
            found["baselines"] = description_of(directory).get("baselines", {}).get(split, {})
    order = ("examples", "same_data", "intervals", "baselines", "averages", "per_class", "confusion", *CURVES)
    result = {"run": str(directory.path), "split": split, **figures_in(found)}
    result |= {key: found[key] for key in order if key in found}
    if kept:
        result["pictures"] = kept
    if json:
        console.result_json(result)
        return
    _show(found, split)
    show_figures(kept)


def _analyse(
    restored: "Restored", loader: "DataLoader", split: str, data_dir: Path, pool: "ThreadPool"
) -> "ErrorAnalysis":
    """All that can be found out about the answers; the losses alone where they are no classes, labels or numbers."""
    from contextlib import suppress

    import numpy as np

    from dltrain.errors import DataError
    from dltrain.evaluation.error_analysis import ErrorAnalysis, analyse_errors
    from dltrain.evaluation.evaluate import evaluate_updates
    from dltrain.metrics.settings import METRICS
    from dltrain.spec import examples_of

    spec, classes = restored.spec, restored.checkpoint.preprocessing.classes
    sizes = spec.train.batch_size, spec.train.shard_size_on(restored.device.is_cpu)
    with np.errstate(all="ignore"):  # what is not finite is reported, not warned of
        if restored.answering is None:
            losses = evaluate_updates(restored.updates, loader, pool, restored.device, spec.train)
            return ErrorAnalysis(losses, np.empty(0))
        asked = restored.answering, restored.loss
        analysis = analyse_errors(*asked, loader, pool, *sizes, spec.metrics, METRICS, classes)
        if analysis.question and split == "validation":
            analysis = analysis.with_threshold(analysis)
        if analysis.question and split == "test":
            with suppress(DataError):  # without validation examples nothing chooses a threshold
                validation, _ = examples_of(restored, "validation", data_dir)
                chosen_on = analyse_errors(*asked, validation, pool, *sizes, spec.metrics, (), classes)
                analysis = analysis.with_threshold(chosen_on)
    return analysis


def _show(found: dict[str, Any], split: str) -> None:
    from dltrain.metrics.row import scores
    from dltrain.report.headline import headline_of

    console.result_text(f"{split}  {'  '.join(scores(found))}  ({found['examples']:,} examples)")
    if headline := headline_of(found, found.get("baselines", {})):
        console.result_text(f"{split}  {headline}")
    if "curves" in found:
        drawn, threshold = found["curves"], found.get("threshold")
        console.result_text(
            f"{found['positive']}  auc {drawn['auc']:.4f}  average precision {drawn['average_precision']:.4f}"
        )
        for name, where in (("half", "at 0.5"), ("chosen", "at {:.3g}, chosen on validation examples")):
            if threshold:
                rates = "  ".join(f"{key} {value:.4f}" for key, value in threshold[name].items() if value is not None)
                console.result_text(f"  {where.format(threshold['probability'])}: {rates}")
    if "per_class" in found and "confusion" not in found:
        console.result_text("\nper label:")
        labels = [list(row.values()) for row in found["per_class"]]
        console.result_table([*found["per_class"][0]], labels)
    elif "per_class" in found:
        rows = [[*row.values(), *counts] for row, counts in zip(found["per_class"], found["confusion"], strict=True)]
        taken_for = [f"→{row['class']}" for row in found["per_class"]]
        console.result_text("\nper class, with predicted classes:")
        shares = ["recall", "precision", "f1"]  # follow from the counts beside them
        console.result_table(["class", "examples", *shares, *taken_for], rows, [*reversed(shares)])
