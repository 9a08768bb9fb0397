"""Runs beside each other: what differs in their configs, and whether their results differ by more than chance.

They are ranked by what `metrics.best` says of validation examples. Test examples are for what was chosen: whoever
chooses by them reports the luckiest of several, not the best.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt
from statistics import mean, stdev
from typing import Any, Literal

from dltrain.errors import RunError
from dltrain.metrics.row import figure_text, figures_in
from dltrain.metrics.settings import METRICS, is_higher_better
from dltrain.report.differing import differing
from dltrain.report.record import Record

Row = dict[str, Any]
Verdict = Literal["best", "worse", "no clear difference", "unknown"]
CHANGE_LOSSES = ("class_weights", "normalize_targets")  # of a data set
GIVEN_UP = ("pruned", "diverged")  # statuses of runs whose figures are not those of a whole training
SEEDS = 3  # runs without which a spread is not known
ERRORS = 2.0  # standard errors that a difference must exceed


@dataclass(frozen=True)
class Spread:
    """Of one result over the runs of a variant. sd: sample standard deviation, None for a single run."""

    mean: float
    sd: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(mean(values), stdev(values) if len(values) > 1 else None, len(values))

    def __str__(self) -> str:
        return figure_text(self.mean) + ("" if self.sd is None else f" ± {figure_text(self.sd)}")


@dataclass(frozen=True)
class Variant:
    """Runs whose configs differ in the seed, or the number of the fold, alone.

    settings: what sets it apart, key -> value as text. results: "validation accuracy" -> its spread, where any run has
    it. verdict: on what is judged, beside the best variant; None where nothing is ranked. curve: (epoch, mean loss).
    """

    settings: dict[str, str]
    records: list[Record]
    results: dict[str, Spread]
    curve: list[tuple[float, float]]
    verdict: Verdict | None = None

    @property
    def label(self) -> str:
        """In as few words as tell it apart."""
        keys = [key.removesuffix(".type").rpartition(".")[2] for key in self.settings]
        short = [f"{key} {value}" for key, value in zip(keys, self.settings.values(), strict=True)]
        return ", ".join(short) or self.records[0].name

    @property
    def given_up(self) -> bool:
        """Whether any of its trainings has ended before its time; then it comes behind all others."""
        return any(record.status["status"] in GIVEN_UP for record in self.records)


@dataclass(frozen=True)
class Reused:
    """Networks that were trained apart, of one variant. label: of the variant. alone: of each network its figure where
    it was trained. chained: of all of it before its training, tuned: after it; on validation examples, None where
    nothing was loaded."""

    label: str
    alone: dict[str, float]
    chained: Spread | None
    tuned: Spread | None


@dataclass(frozen=True)
class Comparison:
    """differs: the keys in which the configs differ, but for seed and number of the fold. judged: the result that
    decides, such as "validation loss"; None where the runs cannot be ranked. note: why not, or why by this one.
    results: those to show, without test. curves: of which loss, "validation" or "train". reused: of all variants, where
    one began with what others had learned; nothing else. of_reused: which figure that is.
    """

    differs: list[str]
    judged: str | None
    note: str
    results: list[str]
    variants: list[Variant]
    curves: str
    reused: list[Reused]
    of_reused: str

    @property
    def chosen(self) -> Variant | None:
        """The one whose test figures may be shown: the best of several, or the only one."""
        return self.variants[0] if self.judged or len(self.variants) == 1 else None

    @property
    def test(self) -> dict[str, Spread]:
        """Test figures of what was chosen, by name."""
        return _spreads(self.chosen.records, "test") if self.chosen else {}

    @property
    def answer(self) -> list[str]:
        """What the comparison says, in sentences."""
        lines = [self.note] if self.note else []
        best, *others = self.variants
        if self.judged and others and self.judged in best.results:
            lines.append(_answer(self.judged, best, others))
        if self.test:
            runs = [f"mean ± sd of {len(best.records)} runs"] if len(best.records) > 1 else []
            of = "; ".join([f"of the chosen one, {best.label}", *runs] if others else runs)
            figures = ", ".join(f"{name} {spread}" for name, spread in self.test.items())
            lines.append(f"test{f' ({of})' if of else ''}: {figures}")
        return lines


def compare(records: Sequence[Record], configs: Sequence[Any]) -> Comparison:
    """The best variant first. configs: of each record, as dicts and lists. Raises RunError for fewer than two runs."""
    if len(records) < 2:
        raise RunError(f"there is nothing to compare: {len(records)} run; name two or more, or a folder of runs")
    settings = differing(configs)
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record, found in zip(records, settings, strict=True):
        groups.setdefault(tuple(found.values()), []).append(record)
    curves = "validation" if all("validation" in row for record in records for row in record.epochs) else "train"
    variants = [
        Variant(
            dict(zip(settings[0], values, strict=True)),
            group,
            {f"{split} {key}": s for split in ("validation", "train") for key, s in _spreads(group, split).items()},
            _curve(group, curves),
        )
        for values, group in groups.items()
    ]
    figure, note = _judged_by(records, configs) if len(variants) > 1 else (None, "")
    judged = f"validation {figure}" if figure else None
    known = {name for variant in variants for name in variant.results}
    order = [*METRICS, *sorted({name.partition(" ")[2] for name in known} - {*METRICS})]
    results = [name for split in ("validation", "train") for key in order if (name := f"{split} {key}") in known]
    if judged:
        results = [judged, *(name for name in results if name != judged)]
        sign = -1 if is_higher_better(str(figure)) else 1
        variants.sort(key=lambda v: (v.given_up, sign * v.results[judged].mean if judged in v.results else inf))
        best = variants[0].results[judged]
        verdicts: list[Verdict] = [judge(best, variant.results.get(judged)) for variant in variants[1:]]
        variants = [replace(v, verdict=verdict) for v, verdict in zip(variants, ["best", *verdicts], strict=True)]
    of_reused = "accuracy" if "validation accuracy" in known else "loss"
    reused = [_reused(variant, of_reused) for variant in variants]
    reused = reused if any(each.alone or each.chained for each in reused) else []
    return Comparison(list(settings[0]), judged, note, results, variants, curves, reused, of_reused)


def _reused(variant: Variant, figure: str) -> Reused:
    starts = [record.description["start"] for record in variant.records if record.description.get("start")]
    parts = starts[0]["parts"] if starts else []
    alone = {p["network"]: value for p in parts if (value := (p.get("validation") or {}).get(figure)) is not None}
    before = [value for start in starts if (value := (start["validation"] or {}).get(figure)) is not None]
    return Reused(
        variant.label, alone, Spread.of(before) if before else None, variant.results.get(f"validation {figure}")
    )


def judge(best: Spread, other: Spread | None) -> Verdict:
    """Whether two means differ by at least two standard errors of their difference, sqrt(sd²/n + sd²/n); that cannot be
    known from fewer than three runs of each."""
    if other is None or best.sd is None or other.sd is None or min(best.count, other.count) < SEEDS:
        return "unknown"
    return (
        "worse"
        if abs(best.mean - other.mean) >= ERRORS * _error(best, other) and best.mean != other.mean
        else "no clear difference"
    )


def _error(best: Spread, other: Spread) -> float:
    return sqrt((best.sd or 0) ** 2 / best.count + (other.sd or 0) ** 2 / other.count)


def _answer(judged: str, best: Variant, others: Sequence[Variant]) -> str:
    """Who is best, and who is as good."""
    said = f"best by {judged}: {best.label} ({best.results[judged]})"
    near = [v.label for v in others if v.verdict == "no clear difference"]
    unknown = [v for v in others if v.verdict == "unknown" and judged in v.results]
    if near:
        said += f"; no clear difference to {_several(near)}"
    if unknown:
        said += "; no verdict with fewer than three runs of each: use --seeds 3"
    elif not near and any(v.verdict == "worse" for v in others):
        said += "; clearly better than the others"
    return said


def _several(labels: Sequence[str]) -> str:
    return "; ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")


def _judged_by(records: Sequence[Record], configs: Sequence[Any]) -> tuple[str | None, str]:
    """The figure of validation examples that all are ranked by, and what is to be said of that; None and why where
    there is none that means the same in all."""
    found = [(r, config) for r, config in zip(records, configs, strict=True) if r.status.get("validation")]
    if not found or any(r.status["status"] == "done" and not r.status.get("validation") for r in records):
        return (
            None,
            "not ranked: without validation examples there is nothing to choose by; data.validation: 0.2 cuts some",
        )
    if len({_examples(r) for r, _ in found}) > len({_fold(config) for _, config in found}):
        return None, "not ranked: they were validated on different examples"
    wanted = list(dict.fromkeys(str((config.get("metrics") or {}).get("best", "loss")) for _, config in found))
    if len(wanted) > 1:
        return None, f"not ranked: metrics.best is {' in some and '.join(wanted)} in others"
    if not all(_has(r, "validation", wanted[0]) for r, _ in found):
        return None, "not ranked: where updates play against each other no loss says which run is better"
    losses = _losses([config for _, config in found])
    if wanted != ["loss"] or len(losses) == 1:
        return wanted[0], ""
    kinds = f"losses of different kinds ({', '.join(losses)}) cannot be compared"
    other = next((key for key in METRICS[1:] if all(_has(r, "validation", key) for r, _ in found)), None)
    if other is None:
        return None, f"not ranked: {kinds}; with metrics.best: r2 or metrics.report: [r2] they could be"
    return other, f"{kinds}: ranked by validation {other}"


def _examples(record: Record) -> str:
    """Tells validation examples from others: by their targets, or at least their number."""
    split = record.description.get("data", {}).get("splits", {}).get("validation", {})
    return str(split.get("targets_sha256") or split.get("examples"))


def _fold(config: Any) -> str:
    return str((config.get("data") or {}).get("fold"))


def _losses(configs: Iterable[Any]) -> list[str]:
    """The different losses: by name, or with all that changes what they measure where the names are one."""
    loss = [config.get("loss") for config in configs]
    data = [config.get("data") or {} for config in configs]
    scale = [{key: found[key] for key in CHANGE_LOSSES if found.get(key) not in (None, "none")} for found in data]
    whole = dict.fromkeys(f"{kind} {json.dumps(s)}" if s else str(kind) for kind, s in zip(loss, scale, strict=True))
    names = dict.fromkeys(str(found.get("type") if isinstance(found, dict) else found) for found in loss)
    return list(names if len(names) == len(whole) else whole)


def _spreads(records: Iterable[Record], split: str) -> dict[str, Spread]:
    """Of every figure of a split that any of the runs has."""
    rows = [figures_in(record.status.get(split) or {}) for record in records]
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: Spread.of([row[key] for row in rows if key in row]) for key in keys}


def _has(record: Record, split: str, key: str) -> bool:
    return (record.status.get(split) or {}).get(key) is not None


def _curve(records: Sequence[Record], split: str) -> list[tuple[float, float]]:
    """Mean over the runs, for each epoch that all of them have."""
    losses = [[row[split]["loss"] for row in record.epochs if "loss" in row[split]] for record in records]
    return [(i + 1.0, mean(values)) for i, values in enumerate(zip(*losses, strict=False))]
