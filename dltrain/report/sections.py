"""What each part of a report shows, made from a run's record. A part that has nothing to show is None or empty."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
from markupsafe import Markup

from dltrain.nn.graph import Vertex
from dltrain.report import charts
from dltrain.report.charts import Line
from dltrain.report.data_uri import filters_uri
from dltrain.report.drawing import svg_figure
from dltrain.report.headline import Headline
from dltrain.report.palette import depth_class, step_class
from dltrain.report.record import Record

Row = dict[str, Any]
COLUMNS = 20  # epochs in the map of dead units
LABELS = 9  # lines that are labelled in a chart of layers


def percent(value: float | None) -> str:
    """`98.7 %`; exactly nothing and all without a digit behind the point."""
    if value is None:
        return "–"
    if value in (0, 1):
        return f"{100 * value:.0f} %"
    return "<0.1 %" if value < 0.0005 else ">99.9 %" if value > 0.9995 else f"{100 * value:.1f} %"


def short(value: float | None) -> str:
    """Three digits that matter: `0.0443`, `1.2e-04`, `12,300`."""
    if value is None:
        return "–"
    size = abs(value)
    if size == 0 or 1e-3 <= size < 1e3:
        return f"{value:.3g}".replace("-", "−")
    return (f"{value:,.0f}" if 1e3 <= size < 1e6 else f"{value:.1e}").replace("-", "−", value < 0)


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


# --- at the top ---------------------------------------------------------------------------------------------------


def headline(record: Record) -> list[tuple[str, str, str]]:
    """(value, what it is, note): the result of the best known split first, in what people compare.

    All figures of it are of one evaluation: the analysis of errors, where there is one of this split."""
    figures = []
    status = record.status
    split = next((s for s in ("test", "validation", "train") if s in status), None)
    if split is not None:
        if record.found.get("split") == split:
            found, known = record.found, record.headline
            note = f"{found['examples']:,} examples, {found['checkpoint']} weights"
        else:
            found, known = status[split], None
            examples = record.description.get("data", {}).get("splits", {}).get(split, {}).get("examples")
            note = f"{examples:,} examples" if examples else ""
        if known:
            figures += _with_chance(known, note)
        elif "accuracy" in found:
            figures.append((percent(found["accuracy"]), f"{split} accuracy", note))
        notes = [] if known or "accuracy" in found else [note]
        if not found.get("same_data", True):
            notes.append("data changed since the training: no baselines")
        for key in losses_in(found):
            figures.append((short(found[key]), f"{split} {_of_update('loss', key)}", ", ".join(notes)))
            notes = []
    if model := record.description.get("model"):
        figures.append((f"{model['total']:,}", "parameters", f"{len(model['layers'])} layers"))
    if record.epochs:
        seconds = sum(row["seconds"] for row in record.epochs)
        number = len(record.epochs)
        figures.append((duration(seconds), "training", f"{number} epoch{'s' if number > 1 else ''}"))
    return figures


def _with_chance(known: Headline, note: str) -> list[tuple[str, str, str]]:
    """The headline with its interval, and what needs no network."""
    show = short if known.key in ("r2", "mae") else percent
    low, high = known.interval or (None, None)
    between = f"95 %: {show(low).removesuffix(' %')} to {show(high)}" if known.interval else ""
    figures = [(show(known.value), f"{known.split} {known.name}", ", ".join(filter(None, (note, between))))]
    if known.linear is not None:
        of = f"of {known.linear_examples:,} examples, " if known.linear_examples else ""
        figures.append((show(known.linear), "linear model", f"{of}{known.simple_name}: {show(known.simple)}"))
    return figures


# --- learning -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """wide: the chart once more, across two columns; of the last one of an odd number."""

    title: str
    unit: str
    chart: Markup
    wide: Markup | None = None


def learning(record: Record) -> list[Figure]:
    """Loss, accuracy and learning rate."""
    if not record.steps and not record.epochs:
        return []
    per_epoch = _steps_per_epoch(record)
    ticks = charts.epoch_ticks(max((row["step"] for row in [*record.steps, *record.epochs]), default=1) / per_epoch)

    def steps(key: str) -> list[tuple[float, float | None]]:
        return charts.thin([(row["step"] / per_epoch, row.get(key)) for row in record.steps])

    ends = [0, *(row["step"] for row in record.epochs)]
    middles = [(before + after) / 2 for before, after in pairwise(ends)]

    def epochs(split: str, key: str, at: Sequence[float]) -> list[tuple[float, float | None]]:
        places = zip(at, record.epochs, strict=True)
        return [(step / per_epoch, row[split].get(key)) for step, row in places if split in row]

    shown: list[tuple[str, str, list[Line], dict[str, Any]]] = []
    losses = [(_of_update("Loss", key), "mean per example", key) for key in losses_in((*record.steps, {})[0])]
    right = [(name.replace("Loss", "Accuracy"), "accuracy", key.replace("loss", "accuracy", 1))
             for name, _, key in losses]  # fmt: skip
    for title, unit, key in [*losses, *right]:
        lines = [Line("each step", steps(key), "faint")] if len(record.epochs) < 2 else []
        if len(record.epochs) > 1:
            lines.append(Line("", steps(key), "faint"))
        lines.append(Line("training", epochs("train", key, middles), "first", len(record.epochs) < 15))
        lines.append(Line("validation", epochs("validation", key, ends[1:]), "second", len(record.epochs) < 15))
        lines = [line for line in lines if any(y is not None for _, y in line.points)]
        values = [y for line in lines for _, y in line.points if y is not None]
        if not lines:
            continue
        log = key.startswith("loss") and min(values) > 0 and max(values) > 30 * min(values)
        shown.append((title, unit + (", log scale" if log else ""), lines, {"x_ticks": ticks, "log": log}))
    if rates := _by_update(record, "lr", steps):
        top = max(y for line in rates for _, y in line.points if y is not None)
        shown.append(("Learning rate", "", rates, {"x_ticks": ticks, "y_range": (0.0, top)}))
    return _drawn(shown)


def losses_in(row: Row) -> list[str]:
    """The keys of the losses of a row: `loss`, or one for each update."""
    return [key for key in row if key == "loss" or key.startswith("loss/")]


def _of_update(what: str, key: str) -> str:
    """`Loss of generator`"""
    update = key.partition("/")[2]
    return f"{what} of {update}" if update else what


def _by_update(record: Record, key: str, points: Callable[[str], list[tuple[float, float | None]]]) -> list[Line]:
    """A line for each update that has this figure in the steps' rows."""
    keys = [name for name in (*record.steps, {})[0] if name == key or name.startswith(f"{key}/")]
    looks = ("first", "second", "third")
    return [Line(name.partition("/")[2], points(name), looks[i % len(looks)]) for i, name in enumerate(keys)]


def _drawn(shown: Sequence[tuple[str, str, list[Line], dict[str, Any]]]) -> list[Figure]:
    figures = []
    for left, (title, unit, lines, how) in zip(reversed(range(len(shown))), shown, strict=True):
        alone = len(shown) % 2 == 1 and left == 0
        wide = charts.line_chart(lines, about=title, wide=True, **how) if alone else None
        figures.append(Figure(title, unit, charts.line_chart(lines, about=title, **how), wide))
    return figures


def _steps_per_epoch(record: Record) -> float:
    """Known from the first whole epoch; a run without one is drawn over its only, broken off epoch."""
    if record.epochs:
        return float(record.epochs[0]["step"])
    return float(max(row["step"] for row in record.steps))


# --- inside the layers --------------------------------------------------------------------------------------------


def layer_charts(record: Record) -> list[Figure]:
    """The whole gradient over the steps, and each layer's gradient and updates."""
    shown = []

    def points(key: str) -> list[tuple[float, float | None]]:
        return charts.thin([(row["step"] / _steps_per_epoch(record), row.get(key)) for row in record.steps])

    whole = _by_update(record, "gradient_norm", points)
    if any(norm for line in whole for _, norm in line.points):
        ticks = charts.epoch_ticks(record.steps[-1]["step"] / _steps_per_epoch(record))
        shown.append(("Gradient norm", "‖g‖ at each step, log scale", whole, {"x_ticks": ticks, "log": True}))
    for title, unit, key in (
        ("Gradient of each layer", "‖g‖, log scale", "gradient_norm"),
        ("Update-to-weight ratio", "‖Δw‖ / ‖w‖, log scale", "update_ratio"),
    ):
        lines = _over_epochs(record, key)
        if lines:
            ticks = charts.epoch_ticks(max(row["epoch"] for row in record.layers))
            shown.append((title, unit, lines, {"x_ticks": ticks, "log": True}))
    return _drawn(shown)


def _over_epochs(record: Record, key: str) -> list[Line]:
    layers = {name: rows for name, rows in record.by_layer.items() if any(row[key] for row in rows)}
    every = ceil(len(layers) / LABELS)
    lines = []
    for i, (name, rows) in enumerate(layers.items()):
        labelled = (len(layers) - 1 - i) % every == 0
        points = [(row["epoch"], row[key]) for row in rows]
        lines.append(Line(name if labelled else "", points, depth_class(i, len(layers)), len(points) < 15))
    return lines


def dead_map(record: Record) -> Row | None:
    """{"epochs", "rows": [(layer, units, cells)]}; a cell is (class, text, title). None without a ReLU layer."""
    layers = {name: rows for name, rows in record.by_layer.items() if rows[0]["dead_share"] is not None}
    if not layers:
        return None
    epochs = sorted({row["epoch"] for row in record.layers})
    last = len(epochs) - 1
    columns = min(COLUMNS, len(epochs))
    shown = [epochs[round(i * last / max(columns - 1, 1))] for i in range(columns)]
    table = []
    for name, rows in layers.items():
        of_epoch = {row["epoch"]: row for row in rows}
        cells = []
        for epoch in shown:
            row = of_epoch.get(epoch)
            if row is None:
                cells.append(("", "", ""))
                continue
            share = row["dead_share"]
            text = "" if share == 0 else f"{share * 100:.0f}" if share >= 0.01 else "<1"
            title = f"{name}, epoch {epoch}: {row['dead_units']} of {row['units']} units are dead"
            cells.append((step_class(share, "bad"), text, title))
        table.append((name, rows[0]["units"], cells))
    return {"epochs": shown, "rows": table}


def spreads(record: Record) -> list[Row]:
    """Each layer in the last epoch: mean and spread of its outputs, as a strip on a common axis."""
    rows = [rows[-1] for rows in record.by_layer.values()]
    rows = [row for row in rows if row["activation_mean"] is not None and row["activation_std"] is not None]
    if not rows:
        return []
    low = min(0.0, *(row["activation_mean"] - row["activation_std"] for row in rows))
    high = max(0.0, *(row["activation_mean"] + row["activation_std"] for row in rows))
    width = (high - low) or 1.0

    def at(value: float) -> float:
        return float(round(100 * (value - low) / width, 2))

    return [
        {
            "layer": row["layer"],
            "activation": row["activation"] or "none",
            "from": at(row["activation_mean"] - row["activation_std"]),
            "width": round(200 * row["activation_std"] / width, 2),
            "mean": at(row["activation_mean"]),
            "zero": at(0.0),
            "text": f"{short(row['activation_mean'])} ± {short(row['activation_std'])}",
            "saturated": None if row["saturated_share"] is None else percent(row["saturated_share"]),
            "look": depth_class(i, len(rows)),
        }
        for i, row in enumerate(rows)
    ]


# --- weights ------------------------------------------------------------------------------------------------------


def weights(record: Record) -> list[Row]:
    """A histogram of the weights of each layer, from the last checkpoint."""
    if record.checkpoint is None:
        return []
    shown = []
    for name, array in record.checkpoint.weights.items():
        if not name.endswith(".weight") or not np.isfinite(array).all():
            continue
        flat = array.astype(np.float64).ravel()
        counts, edges = np.histogram(flat, bins=min(40, max(5, flat.size // 4)))
        chart = charts.histogram(counts.tolist(), edges.tolist(), about=f"Weights of {name}")
        layer = name.removesuffix(".weight")
        shown.append({"layer": layer, "count": flat.size, "std": short(float(flat.std())), "chart": chart})
    return shown


def first_filters(record: Record) -> tuple[str, str, int, int] | None:
    """(layer, picture, width, height) of the first layer with weights, where those are over an image."""
    if record.checkpoint is None:
        return None
    for name, array in record.checkpoint.weights.items():
        if name.endswith(".weight"):
            found = filters_uri(array)
            return None if found is None else (name.removesuffix(".weight"), *found)
    return None


def graph(record: Record) -> Markup | None:
    """The computation graph as it was before the first step."""
    vertices = [Vertex(**row) for row in record.description.get("graph", [])]
    return Markup(svg_figure(vertices, "Computation graph")) if vertices else None


def layer_table(record: Record, shape: Callable[[Sequence[int]], str]) -> list[Row]:
    """The layers from input to output, with what they hold."""
    model = record.description.get("model", {"layers": []})
    largest = max((row["share"] for row in model["layers"]), default=0) or 1
    return [
        row | {"output": shape(row["output_shape"]), "bar": round(100 * row["share"] / largest, 1)}
        for row in model["layers"]
    ]
