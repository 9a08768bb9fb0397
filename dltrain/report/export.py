"""The logs of a run as tables for spreadsheets and data frames."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dltrain.report.record import Record
from dltrain.run.files import write_output

Row = dict[str, Any]


def write_tables(record: Record, folder: Path) -> list[Path]:
    """steps.csv, epochs.csv and layers.csv, those that have a row. Raises OSError, DltrainError."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, rows in (("steps", record.steps), ("epochs", record.epochs), ("layers", record.layers)):
        if rows:
            written.append(folder / f"{name}.csv")
            write_output(written[-1], table(rows).encode())
    return written


def table(rows: Sequence[Row]) -> str:
    """CSV with a column for every key of any row, such as `validation.loss`; what a row does not have is empty."""
    plain = [_plain(row) for row in rows]
    columns = dict.fromkeys(key for row in plain for key in row if key != "event")
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(plain)
    return text.getvalue()


def _plain(row: Row) -> Row:
    found: Row = {}
    for key, value in row.items():
        found |= {f"{key}.{inner}": v for inner, v in value.items()} if isinstance(value, dict) else {key: value}
    return found
