"""The figure that a run is known by: with how far chance may have moved it, and what needs no network beside it."""

from dataclasses import dataclass
from typing import Any

from dltrain.metrics.row import figure_text

Row = dict[str, Any]
RARE = 5.0  # the most frequent class over the rarest one, from which on accuracy says little
NAMES = {"recall": "balanced accuracy", "r2": "r2", "f1_micro": "micro F1", "exact_match": "exact match"}
SIMPLE = {
    "accuracy": "always the most common class",
    "recall": "always the most common class",
    "f1_micro": "always the most common labels",
}


@dataclass(frozen=True)
class Headline:
    """key: the figure, as in the logs. interval: of 95 %. linear, simple: that of a linear model, and of always
    answering the most common class or the mean. linear_examples: those that the linear model saw, where not all.
    no_linear: why there is no linear model.
    same_data: whether the examples are those that the run had; of others there is nothing to put beside it."""

    split: str
    key: str
    value: float
    examples: int
    interval: tuple[float, float] | None = None
    linear: float | None = None
    simple: float | None = None
    linear_examples: int | None = None
    no_linear: str = ""
    same_data: bool = True

    @property
    def name(self) -> str:
        return NAMES.get(self.key, self.key)

    @property
    def simple_name(self) -> str:
        return SIMPLE.get(self.key, "always the mean")

    def __str__(self) -> str:
        said = f"{self.name} {figure_text(self.value)}"
        if self.interval:
            low, high = map(figure_text, self.interval)
            said += f", from {low} to {high} with 95 % confidence"
        of = f" of {self.linear_examples:,} examples" if self.linear_examples else ""
        beside = [f"a linear model{of} {figure_text(self.linear)}"] if self.linear is not None else []
        beside += [f"{self.simple_name} {figure_text(self.simple)}"] if self.simple is not None else []
        if self.no_linear and self.simple is not None:
            beside.append(f"no linear model, for {self.no_linear}")
        if not self.same_data:
            beside = [f"no baselines, for the {self.split} data changed since the training"]
        return said + (f"; {', '.join(beside)}" if beside else "")


def headline_of(found: Row, baselines: Row) -> Headline | None:
    """found: an analysis of errors. baselines: those of its split as it was in the training, which say nothing of other
    data. With rare classes it is balanced accuracy, the mean of the classes' recalls, of which 1 / C is what any
    constant answer gets."""
    counts = [row["examples"] for row in found.get("per_class", ()) if row["examples"]]
    rare = "accuracy" in found and len(counts) > 1 and max(counts) >= RARE * min(counts)
    keys = ("recall", "accuracy") if rare else ("accuracy", "r2", "f1_micro")
    key = next((key for key in keys if found.get(key) is not None), None)
    if key is None:
        return None
    interval = found.get("intervals", {}).get(key)
    same_data = bool(found.get("same_data", True))
    if not same_data:
        baselines = {}
    linear = baselines.get("linear") or {}
    return Headline(
        found["split"],
        key,
        found[key],
        found["examples"],
        tuple(interval) if interval else None,
        linear.get(key),
        (baselines.get("simple") or {}).get(key),
        linear["examples"] if linear and linear["examples"] < linear["of"] else None,
        baselines.get("no_linear", ""),
        same_data,
    )
