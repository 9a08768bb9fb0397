"""What a sweep leaves beside its runs: a page, a table and the config of the best trial."""

import csv
import io
from typing import Any

from dltrain.report.comparison import Comparison, Variant
from dltrain.report.overview import write_comparison
from dltrain.run.files import write_output
from dltrain.run.group import Group

PAGE, TABLE, BEST = "sweep.html", "sweep.csv", "best.yaml"


def write_results(group: Group, comparison: Comparison) -> list[str]:
    """The names of the files that were written into the group's folder. Raises DltrainError."""
    write_comparison(comparison, group.path / PAGE)
    write_output(group.path / TABLE, _table(comparison).encode())
    best = winner(comparison)
    if best is None:
        return [PAGE, TABLE]
    write_output(group.path / BEST, best.records[0].run.config.read_bytes())
    return [PAGE, TABLE, BEST]


def winner(comparison: Comparison) -> Variant | None:
    """The best trial by what decides; None where nothing does, or where none has come to its end."""
    first = comparison.variants[0]
    return first if comparison.judged and comparison.judged in first.results and not first.given_up else None


def _table(comparison: Comparison) -> str:
    """A row for each run, the best trial first."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["rank", "run", "status", "epochs", *comparison.differs, *comparison.results, "ended_by"])
    for rank, variant in enumerate(comparison.variants, start=1):
        for record in variant.records:
            status: dict[str, Any] = record.status
            figures = [(status.get(split) or {}).get(key) for split, key in map(str.split, comparison.results)]
            settings = [variant.settings[key] for key in comparison.differs]
            reason = (status.get("ended_by") or {}).get("reason", "")
            rows.writerow([rank, record.name, status["status"], status.get("epochs", ""), *settings, *figures, reason])
    return text.getvalue()
