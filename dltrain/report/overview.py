"""Pages about several runs: a comparison, and the list of all."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dltrain.errors import RunError
from dltrain.report import charts
from dltrain.report.charts import Line
from dltrain.report.comparison import Comparison
from dltrain.report.page import render
from dltrain.report.palette import depth_class
from dltrain.report.parallel import parallel_chart
from dltrain.report.record import Record, believed
from dltrain.report.sections import duration
from dltrain.run.files import write_output
from dltrain.run.group import is_group
from dltrain.run.rundir import RunDir

CURVES = 12  # variants whose curves are drawn, the best ones


def write_comparison(comparison: Comparison, to: Path) -> None:
    """Raises DltrainError."""
    shown = comparison.variants[:CURVES]
    lines = [
        Line(variant.label[:24], variant.curve, depth_class(i, len(shown)), len(variant.curve) < 15)
        for i, variant in enumerate(shown)
        if variant.curve
    ]
    about = f"{comparison.curves} loss"
    ticks = charts.epoch_ticks(max((x for line in lines for x, _ in line.points), default=1))
    sizes = (True, False) if lines else ()  # one for a wide page, one for a narrow one
    page = render(
        "compare.html",
        title=f"{sum(len(v.records) for v in comparison.variants)} runs compared",
        comparison=comparison,
        parallel=parallel_chart(comparison),
        charts=[charts.line_chart(lines, about=about, x_ticks=ticks, wide=wide) for wide in sizes],
        links={record.name: _link(record.run, to) for v in comparison.variants for record in v.records},
        looks=[depth_class(i, len(shown)) for i in range(len(shown))],
    )
    write_output(to, page.encode())


def write_overview(runs: Sequence[RunDir], to: Path) -> None:
    """The list of runs, newest first; sorted by any column where the reader clicks. Runs that cannot be read are left
    out. Raises DltrainError."""
    rows = []
    for run in reversed(runs):
        with suppress(RunError), believed(run):
            rows.append(_row(Record.read(run), to))
    write_output(to, render("runs.html", title="Runs", rows=rows).encode(errors="replace"))


def _row(record: Record, to: Path) -> dict[str, Any]:
    seconds = sum(row["seconds"] for row in record.epochs)
    return {
        "name": record.name,
        "group": record.run.path.parent.name if is_group(record.run.path.parent) else None,
        "link": _link(record.run, to),
        "status": record.status["status"],
        "epochs": record.status.get("epochs"),
        "parameters": record.description.get("model", {}).get("total"),
        "seconds": seconds,
        "duration": duration(seconds),
        "validation": record.status.get("validation") or {},
        "advice": [advice.text for advice in record.advice],
    }


def _link(run: RunDir, page: Path) -> str | None:
    """From the page to the run's report, where it has one."""
    return os.path.relpath(run.report, page.parent) if run.report.is_file() else None
