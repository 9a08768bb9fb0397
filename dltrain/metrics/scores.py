"""Figures of merit of a split, each by its definition, from all answers at once: counts, and sums in float64 in the
order of the examples, so that neither shards nor threads can change them."""

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.metrics.settings import MetricsSettings, is_higher_better

Array = NDArray[Any]
Figure = float | None  # None where there is nothing to measure
WORST = sys.float_info.max  # of the figures that decide; a checkpoint holds them as JSON, which has no infinity


@dataclass(frozen=True)
class Answers:
    """What a network said about N examples, on the host.

    classes: scores float64 (N, C), the highest of which is the answer; targets (N,).
    numbers: scores and targets (N, k), in the targets' units.
    labels: scores (N, L), above 0 for those that are said to be right; targets (N, L), 1 for those that are.
    """

    scores: Array
    targets: Array
    settings: MetricsSettings

    def probabilities(self) -> Array:
        """softmax of the scores, (N, C)."""
        exps = np.exp(self.scores - self.scores.max(axis=1, keepdims=True))
        shares: Array = exps / exps.sum(axis=1, keepdims=True)
        return shares


def top_k(answers: Answers) -> Figure:
    """The share of examples whose class is among the k highest scores; of equal scores the first counts as higher."""
    own = np.take_along_axis(answers.scores, answers.targets[:, None], axis=1)
    before = np.arange(answers.scores.shape[1]) < answers.targets[:, None]
    ahead = (answers.scores > own) | ((answers.scores == own) & before)
    return float((ahead.sum(axis=1) < answers.settings.top_k).mean())


def auc(answers: Answers) -> Figure:
    """The area under the ROC curve, each class against all others, mean over the classes for which it exists.

    For a class it is how probable an example of it has a higher probability of this class than an example of another
    one, equal ones counted half (Hanley and McNeil, 1982).
    """
    p = answers.probabilities()
    if p.shape[1] == 2:  # the two columns are one question, whose answer rounding must not blur
        p = answers.scores - answers.scores[:, ::-1]
    areas = [_area(p[:, c], answers.targets == c) for c in range(p.shape[1])]
    known = [area for area in areas if area is not None]
    return sum(known) / len(known) if known else None


def _area(values: Array, positive: Array) -> Figure:
    """By the sum of ranks (Mann and Whitney, 1947), equal values sharing the mean of their ranks; exact."""
    n = int(positive.sum())
    pairs = n * (len(values) - n)
    if pairs == 0:
        return None
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    twice_ranks = 2 * last - counts + 1  # whole numbers: the first and the last rank among equals, added
    twice_sum = int(twice_ranks[place][positive].sum())
    return (twice_sum - n * (n + 1)) / (2 * pairs)


def calibration_error(answers: Answers) -> Figure:
    """Expected calibration error: | accuracy - mean confidence | over the bins, weighted by examples.

    Confidence is the probability of the answer (Guo et al., On Calibration of Modern Neural Networks, 2017, eq. 3).
    """
    said = answers.scores.argmax(axis=1)
    confidence = np.take_along_axis(answers.probabilities(), said[:, None], axis=1)[:, 0]
    bins = calibration(confidence, said == answers.targets, answers.settings.calibration_bins)
    return float(sum(row["examples"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / len(said))


def calibration(confidence: Array, right: Array, bins: int) -> list[dict[str, Any]]:
    """Of examples grouped by how sure the network was: how many, how sure on average, and the accuracy.

    confidence: the largest probability of each example (N,). right: whether its class was the right one (N,).
    Bin i of M holds those above i / M up to (i + 1) / M; bins without an example are left out.
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return [
        {
            "from": i / bins,
            "to": (i + 1) / bins,
            "examples": int((place == i).sum()),
            "confidence": float(confidence[place == i].mean()),
            "accuracy": float(right[place == i].mean()),
        }
        for i in np.unique(place).tolist()
    ]


def mae(answers: Answers) -> Figure:
    """The mean of |answer - target| over examples and numbers."""
    return float(np.abs(answers.scores - answers.targets).mean())


def r2(answers: Answers) -> Figure:
    """1 - Σ(target - answer)² / Σ(target - mean)², mean over the numbers; None where targets are all alike."""
    spread = ((answers.targets - answers.targets.mean(axis=0)) ** 2).sum(axis=0)
    if not spread.all():
        return None
    error = ((answers.targets - answers.scores) ** 2).sum(axis=0)
    return float((1 - error / spread).mean())


def exact_match(answers: Answers) -> Figure:
    """The share of examples of which every label is right."""
    return float(((answers.scores > 0) == (answers.targets > 0.5)).all(axis=1).mean())


def f1_micro(answers: Answers) -> Figure:
    """F1 of all labels of all examples together; None where none is right and none is said to be."""
    right, occurred, predicted = _label_counts(answers)
    return _ratio(2 * right.sum(), occurred.sum() + predicted.sum())


def f1_macro(answers: Answers) -> Figure:
    """The mean of the labels' F1; 0 for one that never occurs and is never predicted."""
    return float(np.mean([_ratio(2 * a, b + c) or 0.0 for a, b, c in zip(*_label_counts(answers), strict=True)]))


def per_label(answers: Answers) -> list[dict[str, Any]]:
    """Of each label, by number: in how many examples it is right, recall, precision and F1 as in `from_confusion`."""
    return [
        {
            "class": label,
            "examples": int(occurred),
            "recall": _ratio(right, occurred),
            "precision": _ratio(right, predicted),
            "f1": _ratio(2 * right, occurred + predicted),
        }
        for label, (right, occurred, predicted) in enumerate(zip(*_label_counts(answers), strict=True))
    ]


def _label_counts(answers: Answers) -> tuple[Array, Array, Array]:
    """Of each label: how often it was rightly predicted, occurred, was predicted."""
    said, there = answers.scores > 0, answers.targets > 0.5
    return (said & there).sum(axis=0), there.sum(axis=0), said.sum(axis=0)


FROM_SCORES: dict[str, Callable[[Answers], Figure]] = {
    "top_k": top_k,
    "auc": auc,
    "calibration_error": calibration_error,
    "mae": mae,
    "r2": r2,
    "exact_match": exact_match,
    "f1_micro": f1_micro,
    "f1_macro": f1_macro,
}


def from_scores(answers: Answers, names: Collection[str]) -> dict[str, Figure]:
    """Those of the named figures that take more than counting who was taken for whom."""
    return {name: measure(answers) for name, measure in FROM_SCORES.items() if name in names}


def from_confusion(confusion: Array) -> dict[str, Any]:
    """{"accuracy", "precision", "recall", "f1", "averages", "per_class", "confusion"}.

    confusion[i, j]: how many of class i were taken for class j. Rates without a case are null: a class that never
    occurs has no recall. F1 is 2 · right / (occurred + predicted). Averages are scikit-learn's: "macro" ones give every
    class the same weight that occurs or was predicted, of recall that occurs (its balanced accuracy); "weighted" ones
    each example; a class that was never predicted has precision 0, one that never occurs precision and F1 of 0.
    The figures of that name are the macro averages.
    """
    right = np.diag(confusion)
    occurred, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    per_class = [
        {
            "class": i,
            "examples": int(occurred[i]),
            "recall": _ratio(right[i], occurred[i]),
            "precision": _ratio(right[i], predicted[i]),
            "f1": _ratio(2 * right[i], occurred[i] + predicted[i]),
        }
        for i in range(len(confusion))
    ]
    there = [row for row in per_class if row["examples"]]
    met = [row for row in per_class if row["f1"] is not None]
    averages = {
        kind: {
            name: sum((row[name] or 0.0) * weight(row) for row in rows) / sum(map(weight, rows))
            for name, rows in (("precision", met), ("recall", there), ("f1", met))
        }
        for kind, weight in (("macro", lambda row: 1), ("weighted", lambda row: row["examples"]))
    }
    return {
        "accuracy": float(right.sum() / confusion.sum()),
        **averages["macro"],
        "averages": averages,
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }


def _ratio(part: int, whole: int) -> Figure:
    return float(part / whole) if whole else None


def deciding(row: dict[str, Any], name: str) -> float:
    """The figure that decides about an epoch, from its row of metrics.jsonl, such that lower is better.

    WORST where it does not exist, which makes no epoch the best one.
    """
    found = row["validation" if "validation" in row else "train"].get(name)
    if found is None:
        return WORST
    return min(-found if is_higher_better(name) else float(found), WORST)
