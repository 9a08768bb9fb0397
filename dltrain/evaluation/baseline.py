"""What answers cost that need no network: the most frequent class or the mean, and a linear model."""

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.backend import to_host
from dltrain.errors import RunError
from dltrain.job.job import Job
from dltrain.metrics.scores import Answers, from_confusion, from_scores
from dltrain.metrics.settings import LABELS, MetricsSettings
from dltrain.random import permutation
from dltrain.run.reader import read_json
from dltrain.run.rundir import DESCRIPTION

Array = NDArray[Any]
Row = dict[str, Any]
MOST_EXAMPLES = 4000  # of the training part that the linear model is fitted to
MOST_NUMBERS = 1 << 21  # in these, 16 MB: fewer examples of large inputs
MOST_TESTED = 20_000  # examples of a split that both are measured on
PENALTIES = (1e-6, 1e-2, 1.0, 100.0)  # times the mean of the squares; the best on a held-out fifth is taken
HELD_OUT = 5  # every so many-th of these examples
PIECE = 250  # examples at a time


def known_baselines(job: Job, run: Path) -> Row:
    """Those that a run has kept since it began, which a training that goes on or is repeated need not measure again."""
    with suppress(RunError, KeyError, TypeError):
        found = read_json(run / DESCRIPTION)["baselines"]
        if isinstance(found, dict) and found.keys() == set(_splits(job)):
            return found
    return baselines(job)


def baselines(job: Job) -> Row:
    """Split -> {"simple": figures, "linear": figures, "no_linear": why there are none} for the validation and test
    examples.

    simple: always the most frequent class of the training, the labels that together have the highest micro F1 there, or
    the mean of its targets. linear: least squares with a small penalty on the inputs as the network gets them; of
    classes and labels on a column of 0 and 1 for each, of which the largest is the answer, or those above 1/2.
    """
    if not (splits := _splits(job)):
        return {}
    wanted = job.loaders["train"].targets()
    classes = job.preprocessing.classes if job.loss.classification else None
    count = len(classes) if classes else 0
    measure = partial(of_classes, count=count) if classes else of_labels if job.loss.multilabel else of_numbers
    always = _always(job, wanted, count)
    model = _Linear.fit(job, wanted, count)
    found: Row = {}
    for name in splits:
        targets = job.loaders[name].targets()[:MOST_TESTED]
        simple = measure(np.broadcast_to(always, targets.shape), targets)
        found[name] = {"simple": simple, "linear": None}
        if isinstance(model, str):
            found[name] |= {"no_linear": model}
            continue
        outputs = model.outputs(job, name, len(targets))
        if np.isfinite(outputs).all():
            said = outputs.argmax(axis=1) if classes else outputs > 0.5 if job.loss.multilabel else outputs
            seen = {"examples": model.examples, "of": job.loaders["train"].size}
            found[name]["linear"] = measure(said, targets) | seen
    return found


def _splits(job: Job) -> list[str]:
    """None where examples have not one answer each."""
    return [name for name in ("validation", "test") if name in job.loaders and job.answering]


def _always(job: Job, wanted: Array, classes: int) -> Array:
    """The same answer for everything. wanted: the targets of the training."""
    if classes:
        return np.array(np.bincount(wanted, minlength=classes).argmax())
    if not job.loss.multilabel:
        mean: Array = wanted.astype(np.float64).mean(axis=0)
        return mean
    shares = wanted.mean(axis=0, dtype=np.float64)
    order = np.argsort(-shares, kind="stable")
    f1 = 2 * np.cumsum(shares[order]) / (shares.sum() + 1 + np.arange(len(order)))  # of the so many most common labels
    return np.isin(np.arange(len(order)), order[: 1 + int(f1.argmax())])


def of_classes(said: Array, targets: Array, count: int) -> Row:
    confusion = np.bincount(targets * count + said, minlength=count * count).reshape(count, count)
    found = from_confusion(confusion)
    return {name: found[name] for name in ("accuracy", "recall", "f1")}


def of_labels(said: Array, targets: Array) -> Row:
    """said: whether each label is said to be right, (N, L)."""
    answers = Answers(np.where(said, 1.0, -1.0), targets, MetricsSettings())
    return from_scores(answers, LABELS)


def of_numbers(outputs: Array, targets: Array) -> Row:
    error, y = outputs - targets.astype(np.float64), targets.astype(np.float64)
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    r2 = float((1 - (error**2).sum(axis=0) / spread).mean()) if spread.all() else None
    return {"mae": float(np.abs(error).mean()), "r2": r2}


class _Linear:
    """outputs = [inputs, 1] · weights"""

    def __init__(self, weights: Array, examples: int):
        self.weights, self.examples = weights, examples

    @classmethod
    def fit(cls, job: Job, targets: Array, classes: int) -> "_Linear | str":
        """Or why there is none."""
        assert job.answering is not None
        loader, size = job.loaders["train"], int(np.prod(job.answering.in_shape))
        number = min(loader.size, MOST_EXAMPLES, MOST_NUMBERS // size)
        if loader.is_on_demand:
            return "the inputs are read while the training goes on"
        if number < 2 * HELD_OUT:
            return "there are too few examples" if loader.size < 2 * HELD_OUT else "the inputs are too large"
        chosen = permutation(loader.size, 0, "baseline")[:number]
        x = _inputs(job, "train", chosen)
        if not np.isfinite(x).all():
            return "the inputs are not finite"
        y = np.eye(classes)[targets[chosen]] if classes else targets[chosen].astype(np.float64)
        mean, std = y.mean(axis=0), np.where(y.std(axis=0) > 0, y.std(axis=0), 1.0)
        scaled = (y - mean) / std
        held = np.arange(number) % HELD_OUT == 0
        part = _LeastSquares(x[~held], scaled[~held])
        errors = [float(((x[held] @ part.weights(penalty) - scaled[held]) ** 2).sum()) for penalty in PENALTIES]
        if not np.isfinite(errors).any():
            return "its weights are not finite"
        weights = _LeastSquares(x, scaled).weights(PENALTIES[int(np.nanargmin(errors))]) * std
        weights[-1] += mean
        return cls(weights, number)

    def outputs(self, job: Job, split: str, number: int) -> Array:
        pieces = [np.arange(i, min(number, i + PIECE)) for i in range(0, number, PIECE)]
        return np.concatenate([_inputs(job, split, piece) @ self.weights for piece in pieces])


def _inputs(job: Job, split: str, indices: Array) -> Array:
    """(n, inputs + 1), the last column 1."""
    x = to_host(job.loaders[split].examples(indices)[0]).reshape(len(indices), -1).astype(np.float64)
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


class _LeastSquares:
    """argmin ‖x w - y‖² + λ ‖w‖², in the smaller of its two forms; λ is `penalty` times the mean square of a column."""

    def __init__(self, x: Array, y: Array):
        self.x, self.y, self.dual = x, y, len(x) < x.shape[1]
        self.gram = x @ x.T if self.dual else x.T @ x
        self.mean_square = float((x * x).sum()) / x.shape[1]

    def weights(self, penalty: float) -> Array:
        gram = self.gram + penalty * self.mean_square * np.eye(len(self.gram))
        solved: Array = np.linalg.solve(gram, self.y if self.dual else self.x.T @ self.y)
        return self.x.T @ solved if self.dual else solved
