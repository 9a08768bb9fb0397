"""Curves of a question with two answers, over every threshold: ROC and precision-recall; and which one to take."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Row = dict[str, Any]
POINTS = 200  # of a curve that are kept


def curves(scores: Array, positive: Array) -> Row | None:
    """{"roc": [(false positive rate, true positive rate)], "precision_recall": [(recall, precision)], "auc",
    "average_precision", "prevalence"}; None where all examples are of one class.

    scores: how much speaks for the positive class (N,). positive: which examples are of it. average_precision is
    Σ (recall - recall before) · precision, as scikit-learn defines it.
    """
    n, p = len(positive), int(positive.sum())
    if not 0 < p < n:
        return None
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(positive[order])
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # equal scores come together
    tp, said = right[ends], ends + 1
    fp = said - tp
    recall, precision = tp / p, tp / said
    tpr, fpr = np.append(0, recall), np.append(0, fp / (n - p))
    average = float((np.diff(np.append(0, recall)) * precision).sum())
    return {
        "roc": _thinned(fpr, tpr),
        "precision_recall": _thinned(recall, precision),
        "auc": float(((tpr[1:] + tpr[:-1]) / 2 * np.diff(fpr)).sum()),
        "average_precision": average,
        "prevalence": p / n,
    }


def best_threshold(scores: Array, positive: Array) -> float | None:
    """The score from which on an example counts as positive, such that F1 is highest; half way to the next lower one.
    None where all examples are of one class."""
    n, p = len(positive), int(positive.sum())
    if not 0 < p < n:
        return None
    order = np.argsort(-scores, kind="stable")
    sorted_scores, right = scores[order], np.cumsum(positive[order])
    ends = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True))
    f1 = 2 * right[ends] / (ends + 1 + p)
    end = int(ends[int(f1.argmax())])
    below = float(sorted_scores[end + 1]) if end + 1 < n else float(sorted_scores[end]) - 1
    return (float(sorted_scores[end]) + below) / 2


def at_threshold(scores: Array, positive: Array, threshold: float) -> Row:
    """{"accuracy", "precision", "recall", "f1"} of the positive class; rates without a case are null."""
    said = scores >= threshold
    right, wanted, told = int((said & positive).sum()), int(positive.sum()), int(said.sum())
    return {
        "accuracy": float((said == positive).mean()),
        "precision": right / told if told else None,
        "recall": right / wanted if wanted else None,
        "f1": 2 * right / (wanted + told) if wanted + told else None,
    }


def _thinned(x: Array, y: Array) -> list[tuple[float, float]]:
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), POINTS)).round().astype(int))
    return list(zip(x[kept].tolist(), y[kept].tolist(), strict=True))
