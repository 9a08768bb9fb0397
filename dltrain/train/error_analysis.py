"""A closer look at a split than a loss: who was taken for whom, how sure, and on which examples.

What it finds is kept with the run (`eval/<split>.json` and the inputs of the mistakes that it lists beside it), so that
a report can be made where the data set is not.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dltrain.backend import to_host
from dltrain.errors import RunError
from dltrain.nn import Loss, Network
from dltrain.ops import softmax
from dltrain.run.files import to_json
from dltrain.run.reader import LARGE_FILE, read_bytes, read_json
from dltrain.run.rundir import RunDir, analysis_files
from dltrain.train.callbacks import Sink
from dltrain.train.evaluate import evaluate
from dltrain.train.job import Job
from dltrain.train.loader import DataLoader
from dltrain.train.metrics import calibration
from dltrain.train.parallel import ThreadPool
from dltrain.train.settings import MetricsSettings

Array = Any
MISTAKES = 24  # that are listed and kept with their inputs, the most confident ones
PAIRS = 300  # examples of a regression that are kept as target and output
LARGE = 1 << 16  # numbers in an input that is too large to be kept
MOST_BYTES = 10 * MISTAKES * LARGE  # of a file with the inputs of mistakes


@dataclass(frozen=True)
class ErrorAnalysis:
    """found: what `evaluate` gives; and in classification "calibration" and "mistakes", in regression "answers".
    inputs: those of the mistakes, as the data set has them, (k, *input_shape).
    """

    found: dict[str, Any]
    inputs: Array


def analyse_errors(
    model: Network,
    loss: Loss,
    loader: DataLoader,
    pool: ThreadPool,
    batch_size: int,
    shard_size: int,
    settings: MetricsSettings,
    names: Collection[str],
    classes: Sequence[str] | None,
    between: Callable[[], None] = lambda: None,
) -> ErrorAnalysis:
    """Evaluate, and look at every single answer on the way. classes: what they are called; the rest as in `evaluate`.

    Raises DivergedError when the loss is not finite.
    """
    targets: Array = loader.targets()
    answers: Array = np.empty((loader.size, *((3,) if loss.classification else model.out_shape)))

    def see(indices: Array, output: Array, wanted: Array) -> None:
        """Each shard fills in its own examples."""
        answers[indices] = _judged(to_host(softmax(output).data), wanted) if loss.classification else to_host(output)

    found = evaluate(model, loss, loader, pool, batch_size, shard_size, settings, names, between, see)
    if not loss.classification:
        step = -(-loader.size // PAIRS)
        for row in found.get("per_class", ()):
            row["class"] = row["class"] if classes is None else classes[row["class"]]
        sample = {"targets": targets[::step].tolist(), "outputs": loader.in_units(answers[::step]).tolist()}
        if loss.multilabel:
            return ErrorAnalysis(found, loader.originals(np.arange(0)))
        return ErrorAnalysis(found | {"answers": sample}, loader.originals(np.arange(0)))
    taken_for, confidence, of_class = answers.T
    right = taken_for == targets
    wrong = np.flatnonzero(~right)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    called = [str(i) for i in range(len(found["per_class"]))] if classes is None else classes
    for row in found["per_class"]:
        row["class"] = called[row["class"]]
    mistakes = [
        {
            "index": int(i),
            "class": called[int(targets[i])],
            "taken_for": called[int(taken_for[i])],
            "confidence": float(confidence[i]),
            "of_class": float(of_class[i]),
        }
        for i in worst
    ]
    more = {"calibration": calibration(confidence, right, settings.calibration_bins), "mistakes": mistakes}
    return ErrorAnalysis(found | more, loader.originals(worst if prod(model.in_shape) < LARGE else worst[:0]))


def _judged(probabilities: Array, targets: Array) -> Array:
    """(n, classes) -> (n, 3): the likeliest class, its probability, that of the right class."""
    rows = np.arange(len(probabilities))
    taken_for = probabilities.argmax(axis=1)
    return np.stack([taken_for, probabilities[rows, taken_for], probabilities[rows, to_host(targets)]], axis=1)


def test(job: Job, sink: Sink, pool: ThreadPool, between: Callable[[], None]) -> dict[str, Any] | None:
    """The figures of the test examples that the config names; None where there are none of these.

    The sink keeps the analysis of these examples, or else of those for validation.
    """
    split = "test" if "test" in job.loaders else "validation"
    if split not in job.loaders:
        return None
    sizes, names = (job.train.batch_size, job.shard_size), job.metrics.named
    measured, classes = (job.metrics, (*names, "calibration_error")), job.preprocessing.classes
    analysis = analyse_errors(job.model, job.loss, job.loaders[split], pool, *sizes, *measured, classes, between)
    save_analysis(analysis, sink, split, "last")
    return {key: analysis.found[key] for key in names if key in analysis.found} if split == "test" else None


def save_analysis(analysis: ErrorAnalysis, sink: Sink, split: str, checkpoint: str) -> None:
    """Keep what was found and the inputs of the mistakes. checkpoint: whose weights they are, "last" or "best"."""
    found, inputs = analysis_files(split)
    sink.keep(found, to_json({"split": split, "checkpoint": checkpoint} | analysis.found))
    sink.keep(inputs, save({"inputs": np.ascontiguousarray(analysis.inputs)}))


def load_analysis(run: RunDir) -> tuple[dict[str, Any], Array] | None:
    """What was found on the test examples, or else on those for validation or training, and the inputs of its mistakes.

    None where there is nothing; a damaged file counts as none, for `dltrain eval` makes it again.
    """
    for split in ("test", "validation", "train"):
        found_in, inputs_in = analysis_files(split)
        try:
            found = read_json(run.path / found_in, LARGE_FILE)
            inputs = load(read_bytes(run.path / inputs_in, MOST_BYTES))["inputs"]
            if found["split"] == split and len(inputs) <= len(found.get("mistakes", ())) <= MISTAKES:
                return found, inputs
        except (RunError, OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
            continue
    return None
