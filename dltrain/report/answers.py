"""What a report shows of a network's answers. A part that has nothing to show is None or empty."""

from typing import Any

import numpy as np
from markupsafe import Markup

from dltrain.data import Pixels
from dltrain.report import charts
from dltrain.report.charts import Line
from dltrain.report.data_uri import image_uri
from dltrain.report.palette import step_class
from dltrain.report.record import Record

Row = dict[str, Any]
CLASSES = 20  # classes in a confusion matrix; beyond, only the pairs that are confused most
PAIRS = 8


def confusion(record: Record) -> Row | None:
    """{"names", "rows": [(name, cells)] or None, "pairs"}: a cell is (class, count, title)."""
    counts = record.found.get("confusion")
    if not counts:
        return None
    names = [row["class"] for row in record.found["per_class"]]
    pairs = [
        (n, names[i], names[j], n / (sum(row) or 1))
        for i, row in enumerate(counts)
        for j, n in enumerate(row)
        if n and i != j
    ]
    pairs.sort(key=lambda pair: -pair[0])
    rows = None
    if len(names) <= CLASSES:
        rows = []
        for i, row in enumerate(counts):
            total = sum(row) or 1
            cells = [
                (
                    step_class(n / total, "good" if i == j else "bad"),
                    str(n) if n else "",
                    f"{n:,} of {total:,} of class {names[i]} were taken for {names[j]}",
                )
                for j, n in enumerate(row)
            ]
            rows.append((names[i], cells))
    return {"names": names, "rows": rows, "pairs": pairs[:PAIRS]}


def per_class(record: Record) -> list[Row]:
    """Rates of each class, the worst recall first."""
    return sorted((row for row in record.found.get("per_class", []) if row["examples"]), key=lambda row: row["recall"])


def calibration(record: Record) -> Markup | None:
    bins = record.found.get("calibration")
    if not bins:
        return None
    return charts.line_chart(
        [
            Line("perfect calibration", [(0.0, 0.0), (1.0, 1.0)], "third dashed"),
            Line("network", [(row["confidence"], row["accuracy"]) for row in bins], "first", True),
        ],
        about="Accuracy over confidence",
        x_ticks=[0, 0.25, 0.5, 0.75, 1],
        y_range=(0.0, 1.0),
        axis="confidence",
    )


def confidences(record: Record) -> Markup | None:
    """How many answers were given with which confidence."""
    bins = record.found.get("calibration")
    if not bins:
        return None
    number = round(1 / (bins[0]["to"] - bins[0]["from"]))
    edges = [i / number for i in range(number + 1)]
    count = {row["from"]: row["examples"] for row in bins}
    return charts.histogram(
        [count.get(edge, 0) for edge in edges[:-1]], edges, about="Predictions by confidence", width=charts.WIDTH
    )


def roc(record: Record) -> Markup | None:
    """Of two classes: how many of the positive class are found, over how many of the other one are taken for it."""
    drawn = record.found.get("curves")
    if not drawn:
        return None
    lines = [
        Line("chance", [(0.0, 0.0), (1.0, 1.0)], "third dashed"),
        Line("network", [tuple(point) for point in drawn["roc"]], "first"),
    ]
    quarters = [0, 0.25, 0.5, 0.75, 1]
    about = "True positive rate over false positive rate"
    return charts.line_chart(lines, about=about, x_ticks=quarters, y_range=(0.0, 1.0), axis="false positive rate")


def precision_recall(record: Record) -> Markup | None:
    """Of two classes: how many of those taken for the positive class are of it, over how many of it are found."""
    drawn = record.found.get("curves")
    if not drawn:
        return None
    share = drawn["prevalence"]
    lines = [
        Line("chance", [(0.0, share), (1.0, share)], "third dashed"),
        Line("network", [tuple(point) for point in drawn["precision_recall"]], "first"),
    ]
    quarters = [0, 0.25, 0.5, 0.75, 1]
    return charts.line_chart(lines, about="Precision over recall", x_ticks=quarters, y_range=(0.0, 1.0), axis="recall")


def mistakes(record: Record) -> list[Row]:
    """The most confident mistakes, as pictures where the inputs are images."""
    pixels = Pixels.described(record.description.get("data", {}))
    pictures = [image_uri(inputs, pixels) for inputs in record.inputs]
    return [
        row | {"picture": picture}
        for row, picture in zip(record.found.get("mistakes", []), pictures, strict=False)
        if picture
    ]


def answers(record: Record) -> Markup | None:
    """Outputs over targets, in regression."""
    pairs = record.found.get("answers")
    if not pairs:
        return None
    targets, outputs = np.array(pairs["targets"]).ravel(), np.array(pairs["outputs"]).ravel()
    low, high = float(min(targets.min(), outputs.min())), float(max(targets.max(), outputs.max()))
    return charts.line_chart(
        [
            Line("exact", [(low, low), (high, high)], "third dashed"),
            Line("", list(zip(targets.tolist(), outputs.tolist(), strict=True)), "first scatter", True),
        ],
        about="Outputs over targets",
        x_ticks=charts.nice_ticks(low, high),
        axis="target",
    )
