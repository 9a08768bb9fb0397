"""Which figures of merit there are, and what the `metrics` section of a config may say of them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Predicate

from dltrain.metrics.figures import FIGURES, Figure, is_figure
from dltrain.registry import FIGURE_KEY, Count

CLASSES = ("accuracy", "top_k", "precision", "recall", "f1", "auc", "calibration_error")
NUMBERS = ("mae", "r2")
LABELS = ("exact_match", "f1_micro", "f1_macro")
HIGHER = {*CLASSES, "r2", *LABELS} - {"calibration_error"}
HEADLINES = ("accuracy", "mae", "r2", "exact_match", "f1_micro")  # always logged
TEXTS = ("accuracy", "perplexity")
METRICS = ("loss", *CLASSES, *NUMBERS, *LABELS, "perplexity")
Metric = Literal[
    "loss", "accuracy", "top_k", "precision", "recall", "f1", "auc", "calibration_error", "mae", "r2", "exact_match",
    "f1_micro", "f1_macro", "perplexity",
]  # fmt: skip
FigureKey = Annotated[str, Predicate(is_figure), FIGURE_KEY]


def is_higher_better(key: str) -> bool:
    """Of a metric, or of a figure of pictures."""
    return FIGURES[key.partition("/")[0]].better == "higher" if is_figure(key) else key in HIGHER  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class MetricsSettings:
    """Figures of validation and test examples; dltrain/metrics/scores.py defines them.

    best: decides which epoch is the best one, and when to stop early. Measured on the validation examples; without
    any, loss and accuracy of the training. Where it does not exist (auc of a single class) it decides nothing. It may
    be one of `pictures` that is better when higher, or lower, by its type and name: `frechet/fake`. Then that is
    measured in every epoch. Of several updates the last epoch is the best one unless a figure is named.
    report: figures that the logs hold beside the loss and, as far as they exist, accuracy, mae and r2, exact_match and
    f1_micro. `dltrain eval` gives all of them.
    pictures: figures of the pictures that networks make, measured at the end of a training and by `dltrain eval`.
    positive: of two classes the one that curves, average precision and the threshold are about; the second one unless
    set. Where it is set, `predict` answers it from the threshold on that validation examples choose, not from 0.5 on.
    """

    best: Metric | FigureKey = "loss"
    report: tuple[Metric, ...] = ()
    pictures: tuple[Figure, ...] = ()
    positive: str | None = None
    top_k: Count = 5
    calibration_bins: Count = 15

    @property
    def named(self) -> tuple[str, ...]:
        """What the rows of an evaluation hold, in order, as far as it exists."""
        return tuple(dict.fromkeys(("loss", *HEADLINES, *self.report, self.best)))
