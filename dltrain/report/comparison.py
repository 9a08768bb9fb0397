"""Runs beside each other: what differs in their configs, and whether their results differ by more than chance."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt
from statistics import mean, stdev
from typing import Any, Literal

from dltrain.errors import RunError
from dltrain.report.record import Record

Row = dict[str, Any]
Verdict = Literal["best", "worse", "within the spread", "unknown"]
# What runs are judged by: the first of these that any has.
RESULTS = [
    ("test", "accuracy"), ("validation", "accuracy"), ("test", "loss"), ("validation", "loss"), ("train", "loss"),
]  # fmt: skip
SEEDS = 3  # runs without which a spread is not known
ERRORS = 2.0  # standard errors that a difference must exceed
MISSING = object()
# They change what is shown and kept, never what comes out; and the seed is what a spread is over.
WITHOUT_EFFECT = {"version", "seed", "checkpoint", "logging", "diagnostics"}


@dataclass(frozen=True)
class Spread:
    """Of one result over the runs of a variant. sd: sample standard deviation, None for a single run."""

    mean: float
    sd: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(mean(values), stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class Variant:
    """Runs whose configs differ in the seed, or the number of the fold, alone.

    settings: what sets it apart, key -> value as text. results: "test accuracy" -> its spread, where any run has it.
    verdict: on what is judged, beside the best variant. curve: (epoch, mean loss over the runs).
    """

    settings: dict[str, str]
    records: list[Record]
    results: dict[str, Spread]
    curve: list[tuple[float, float]]
    verdict: Verdict = "unknown"

    @property
    def label(self) -> str:
        """In as few words as tell it apart."""
        short = [f"{key.rpartition('.')[2]} {value}" for key, value in self.settings.items()]
        return ", ".join(short) or self.records[0].name


@dataclass(frozen=True)
class Comparison:
    """differs: the keys in which the configs differ, but for seed and number of the fold. judged: the result that
    decides, such as "test accuracy"; None where there is none. curves: of which loss, "validation" or "train".
    """

    differs: list[str]
    judged: str | None
    results: list[str]
    variants: list[Variant]
    curves: str


def compare(records: Sequence[Record], configs: Sequence[Any]) -> Comparison:
    """The best variant first. configs: of each record, as dicts and lists. Raises RunError for fewer than two runs."""
    if len(records) < 2:
        raise RunError(f"there is nothing to compare: {len(records)} run; name two or more, or a folder of runs")
    settings = differing(configs)
    differs = list(settings[0])
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record, found in zip(records, settings, strict=True):
        groups.setdefault(tuple(found.values()), []).append(record)
    spreads = {
        values: {
            f"{split} {key}": Spread.of([r.status[split][key] for r in group if _has(r, split, key)])
            for split, key in RESULTS
            if any(_has(r, split, key) for r in group)
        }
        for values, group in groups.items()
    }
    shown = [name for split, key in RESULTS if any((name := f"{split} {key}") in found for found in spreads.values())]
    judged = shown[0] if shown else None
    curves = "validation" if all("validation" in row for record in records for row in record.epochs) else "train"
    variants = [
        Variant(dict(zip(differs, values, strict=True)), group, spreads[values], _curve(group, curves))
        for values, group in groups.items()
    ]
    if judged:
        sign = -1 if judged.endswith("accuracy") else 1
        variants.sort(key=lambda v: sign * v.results[judged].mean if judged in v.results else inf)
        best = variants[0].results[judged]
        verdicts: list[Verdict] = [judge(best, variant.results.get(judged)) for variant in variants[1:]]
        variants = [replace(v, verdict=verdict) for v, verdict in zip(variants, ["best", *verdicts], strict=True)]
    return Comparison(differs, judged, shown, variants, curves)


def judge(best: Spread, other: Spread | None) -> Verdict:
    """Whether two means differ by at least two standard errors of their difference, sqrt(sd²/n + sd²/n); that cannot be
    known from fewer than three runs of each."""
    if other is None or best.sd is None or other.sd is None or min(best.count, other.count) < SEEDS:
        return "unknown"
    error = sqrt(best.sd**2 / best.count + other.sd**2 / other.count)
    return "worse" if abs(best.mean - other.mean) >= ERRORS * error and best.mean != other.mean else "within the spread"


def differing(configs: Sequence[Any]) -> list[dict[str, str]]:
    """Of each config the entries that are not the same in all, as text; all have the same keys.

    What only some configs have is told by the nearest thing above it that all have: another layer by `model.layers`,
    the settings of another optimizer by `optimizer.type`. Configs that differ are never told alike.
    """
    configs = [_without_fold_number(config) for config in configs]
    leaves = [_flat(config) for config in configs]
    told: dict[str, None] = {}
    for key in dict.fromkeys(key for found in leaves for key in found):
        if key.partition(".")[0] in WITHOUT_EFFECT:
            continue
        if all(key in found for found in leaves):
            if len({found[key] for found in leaves}) > 1:
                told[key] = None
            continue
        parent = key
        while "." in parent and any(_below(config, parent) is MISSING for config in configs):
            parent = parent.rpartition(".")[0]
        kinds = [found.get(f"{parent}.type") for found in leaves]
        values = {(kind, found.get(key)) for kind, found in zip(kinds, leaves, strict=True)}
        told[f"{parent}.type" if 1 < len(set(kinds)) == len(values) else parent] = None
    keys = [key for key in told if not any(key.startswith(other + ".") for other in told)]
    columns = [_texts([_below(config, key) for config in configs]) for key in keys]
    return [dict(zip(keys, texts, strict=True)) for texts in zip(*columns, strict=True)] or [{} for _ in configs]


def _without_fold_number(config: Any) -> Any:
    """Of a cross-validation only into how many folds it cuts; they are repetitions, as seeds are."""
    data = config.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("fold"), dict):
        return config
    return config | {"data": data | {"fold": {"of": data["fold"].get("of")}}}


def _items(value: Any) -> list[tuple[str, Any]] | None:
    """What lies below: entries by key, layers by name, other lists by number; None for what is no tree."""
    if isinstance(value, dict):
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [(str(item.get("name", i)) if isinstance(item, dict) else str(i), item) for i, item in enumerate(value)]
    return None


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """`{"optimizer.lr": "0.001", "model.layers.conv1.channels": "32"}`; of layers their order, too."""
    items = _items(value)
    if items is None:
        return {path: json.dumps(value)}
    found: dict[str, str] = {path: json.dumps([key for key, _ in items])} if isinstance(value, list) else {}
    for key, item in items:
        found |= _flat(item, f"{path}.{key}" if path else key)
    return found


def _below(value: Any, path: str) -> Any:
    """What stands at a path, or MISSING."""
    for part in path.split("."):
        value = dict(_items(value) or ()).get(part, MISSING)
    return value


def _texts(values: Sequence[Any]) -> list[str]:
    """In few words; whole, where these do not tell them apart."""
    whole = ["—" if value is MISSING else json.dumps(value) for value in values]
    short = ["—" if value is MISSING else _text(value) for value in values]
    return short if len(set(short)) == len(set(whole)) else whole


def _text(value: Any) -> str:
    """In few words: `conv 32, max_pool 2, dense 10` for layers."""
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if not isinstance(value, dict):
        return "none" if value is None else str(value)
    if "type" not in value:
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    size = next((f" {value[key]}" for key in ("units", "channels", "kernel", "rate", "lr") if key in value), "")
    return f"{value['type']}{size}"


def _has(record: Record, split: str, key: str) -> bool:
    return key in (record.status.get(split) or {})


def _curve(records: Sequence[Record], split: str) -> list[tuple[float, float]]:
    """Mean over the runs, for each epoch that all of them have."""
    losses = [[row[split]["loss"] for row in record.epochs] for record in records]
    return [(i + 1.0, mean(values)) for i, values in enumerate(zip(*losses, strict=False))]
