"""A closer look at a split than a loss: who was taken for whom, how sure, and on which examples.

What it finds is kept with the run (`eval/<split>.json` and the inputs of the mistakes that it lists beside it), so that
a report can be made where the data set is not.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from math import exp, prod
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dltrain.backend import to_host
from dltrain.errors import RunError
from dltrain.evaluation.evaluate import evaluate, evaluate_updates
from dltrain.job.answering import Answering
from dltrain.job.job import Job
from dltrain.job.loader import DataLoader
from dltrain.job.parallel import ThreadPool
from dltrain.metrics.curves import at_threshold, best_threshold, curves
from dltrain.metrics.row import figures_in
from dltrain.metrics.scores import calibration
from dltrain.metrics.settings import MetricsSettings
from dltrain.metrics.uncertainty import of_confusion, of_labels, of_numbers, wilson
from dltrain.nn import Loss, Network
from dltrain.ops import softmax
from dltrain.run.files import to_json
from dltrain.run.reader import LARGE_FILE, read_bytes, read_json
from dltrain.run.rundir import RunDir, analysis_files
from dltrain.run.sink import Sink

Array = Any
MISTAKES = 24  # that are listed and kept with their inputs, the most confident ones
PAIRS = 300  # examples of a regression that are kept as target and output
LARGE = 1 << 16  # numbers in an input that is too large to be kept
MOST_BYTES = 10 * MISTAKES * LARGE  # of a file with the inputs of mistakes
NONE = np.arange(0)  # of the examples


@dataclass(frozen=True)
class ErrorAnalysis:
    """found: what `evaluate` gives; and in classification "calibration" and "mistakes", in regression "answers".
    inputs: those of the mistakes, as the data set has them, (k, *input_shape). question: where there are two classes.
    """

    found: dict[str, Any]
    inputs: Array
    question: "Question | None" = None

    def with_threshold(self, validation: "ErrorAnalysis") -> "ErrorAnalysis":
        """With the threshold for the positive class that validation examples choose, and what it does here."""
        if self.question is None or validation.question is None:
            return self
        chosen = best_threshold(validation.question.scores, validation.question.positive)
        if chosen is None:
            return self
        scores, positive = self.question.scores, self.question.positive
        threshold = {
            "probability": 1 / (1 + exp(min(-chosen, 700.0))),
            "chosen_on": "validation",
            "half": at_threshold(scores, positive, 0.0),
            "chosen": at_threshold(scores, positive, chosen),
        }
        return replace(self, found=self.found | {"threshold": threshold})


@dataclass(frozen=True)
class Question:
    """scores: by how much the logit of the positive class is above the other one, (N,). positive: who is of it (N,)."""

    scores: Array
    positive: Array


def analyse_errors(
    model: Network | Answering,
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

    asked = settings.positive if classes is not None and settings.positive in classes else None
    second = 1 if asked is None or classes is None else list(classes).index(asked)
    scores: Array = np.zeros(loader.size)

    seen: dict[int, tuple[Array, ...]] = {}

    def see(indices: Array, output: Array, wanted: Array) -> None:
        asked = output.shape[1] == 2 and loss.classification
        score = to_host(output[:, second] - output[:, 1 - second]) if asked else np.zeros(len(indices))
        answer = _judged(to_host(softmax(output).data), wanted) if loss.classification else to_host(output)
        seen[int(indices[0])] = indices, answer, score

    found = evaluate(model, loss, loader, pool, batch_size, shard_size, settings, names, between, see)
    for indices, answer, score in pool.everyones(seen).values():
        answers[indices], scores[indices] = answer, score
    called = [str(i) for i in range(len(found.get("per_class", ())))] if classes is None else classes
    for row in found.get("per_class", ()):
        row["class"] = called[row["class"]]
    if loss.multilabel:
        return ErrorAnalysis(found | {"intervals": of_labels(targets > 0.5, answers > 0)}, loader.originals(NONE))
    if not loss.classification:
        return ErrorAnalysis(found | _of_numbers(loader.in_units(answers), targets), loader.originals(NONE))
    more, worst = _of_classes(answers, targets, called, settings)
    confusion = np.array(found["confusion"])
    more["intervals"] = {"accuracy": wilson(int(np.trace(confusion)), loader.size), **of_confusion(confusion)}
    question = Question(scores, targets == second) if len(confusion) == 2 else None
    if question and (drawn := curves(question.scores, question.positive)):
        more |= {"positive": called[second], "curves": drawn}
    inputs = loader.originals(worst if prod(model.in_shape) < LARGE else NONE)
    return ErrorAnalysis(found | more, inputs, question)


def _of_numbers(outputs: Array, targets: Array) -> dict[str, Any]:
    """Of a regression, in the units of the targets (N, outputs)."""
    step = -(-len(targets) // PAIRS)
    sample = {"targets": targets[::step].tolist(), "outputs": outputs[::step].tolist()}
    return {"intervals": of_numbers(targets, outputs), "answers": sample}


def _of_classes(
    answers: Array, targets: Array, called: Sequence[str], settings: MetricsSettings
) -> tuple[dict[str, Any], Array]:
    """Of a classification, and the indices of the mistakes in it. answers: see `_judged`."""
    taken_for, confidence, of_class = answers.T
    right = taken_for == targets
    wrong = np.flatnonzero(~right)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
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
    return {"calibration": calibration(confidence, right, settings.calibration_bins), "mistakes": mistakes}, worst


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
    if job.answering is None:
        found = evaluate_updates(job.updates, job.loaders[split], pool, job.device, job.train, between)
        save_analysis(ErrorAnalysis(found, np.empty(0)), sink, split, "last", same_data=True)
        return figures_in(found) if split == "test" else None
    sizes, names = (job.train.batch_size, job.shard_size), job.metrics.named
    measured, classes = (job.metrics, (*names, "calibration_error")), job.preprocessing.classes
    analysis = analyse_errors(job.answering, job.loss, job.loaders[split], pool, *sizes, *measured, classes, between)
    if analysis.question and "validation" in job.loaders:
        validation = job.loaders["validation"]
        analysis = analysis.with_threshold(
            analyse_errors(job.answering, job.loss, validation, pool, *sizes, job.metrics, (), classes, between)
            if split == "test"
            else analysis
        )
    save_analysis(analysis, sink, split, "last", same_data=True)
    return {key: analysis.found[key] for key in names if key in analysis.found} if split == "test" else None


def save_analysis(analysis: ErrorAnalysis, sink: Sink, split: str, checkpoint: str, *, same_data: bool) -> None:
    """Keep what was found and the inputs of the mistakes. checkpoint: whose weights they are, "last" or "best".
    same_data: whether the examples are those that the run had, so that what it says of them holds here, too."""
    found, inputs = analysis_files(split)
    sink.keep(found, to_json({"split": split, "checkpoint": checkpoint, "same_data": same_data} | analysis.found))
    sink.keep(inputs, save({"inputs": np.ascontiguousarray(analysis.inputs)}))


def chosen_threshold(run: RunDir, checkpoint: str, positive: str) -> float | None:
    """From which probability of the positive class on it is the answer, as validation examples chose it for these
    weights; None where they did not."""
    for split in ("test", "validation"):
        try:
            found = read_json(run.path / analysis_files(split)[0], LARGE_FILE)
            probability = found["threshold"]["probability"]
        except (RunError, OSError, ValueError, KeyError, TypeError):
            continue
        known = (found.get("checkpoint"), found.get("positive")) == (checkpoint, positive)
        if known and type(probability) is float and 0 <= probability <= 1:
            return probability
    return None


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
