"""Rows of a table that a trained network is asked about."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dltrain.data.preprocess import FAR, Preprocessing
from dltrain.data.tables.cells import Table, listed
from dltrain.data.tables.encode import Fault, encoded_as_far_as_read
from dltrain.data.tables.number_format import PLAIN
from dltrain.data.tables.table_file import read_table
from dltrain.errors import DataError


class Rows(NamedTuple):
    """inputs: (N, C). notes: what a user must know of how they were read. skipped: rows that could not be. unused:
    columns that are no inputs."""

    table: Table
    inputs: NDArray[Any]
    notes: tuple[str, ...]
    skipped: int
    unused: tuple[str, ...]


def read_rows(path: Path, learned: Preprocessing, *, skip_bad: bool = False) -> Rows:
    """The rows of a table for `predict`. The target's column may be there or not. skip_bad: whether rows that cannot be
    read are left out, instead of refused. Raises DataError."""
    if learned.columns is None or len(learned.input_shape) != 1:
        raise DataError(f"{path}: the network was not trained on a table")
    formats = {column.name: column.format for column in learned.columns if column.format != PLAIN}
    table = read_table(path, formats=formats or None, skip_ragged=skip_bad)
    found = encoded_as_far_as_read(table, learned.columns, learned.missing_values)
    faults, gaps = list(found.faults), np.isnan(found.inputs)
    if learned.fill is None and gaps.any():
        whole = np.any([fault.rows for fault in faults], axis=0) if faults else np.zeros(len(table), bool)
        if (lacking := gaps.any(axis=1) & ~whole).any():
            faults.append(Fault(lacking, "a value is missing, but the network was trained without such rows"))
    if faults and not skip_bad:
        raise DataError("\n".join(fault.told(table) for fault in faults))
    skipped = len(table.ragged)
    every = len(table) + skipped
    causes = [(int(fault.rows.sum()), fault.what, fault.line(table)) for fault in faults]
    if skipped:
        causes.insert(0, (skipped, "more or fewer cells than the first line has", table.ragged[0]))
    bad = [f"{path}: {n:,} of {every:,} rows skipped: {what} (line {line})" for n, what, line in causes]
    inputs = found.inputs
    if faults:
        keep = ~np.any([fault.rows for fault in faults], axis=0)
        if not keep.any():
            raise DataError("\n".join([*bad, f"{path}: no row can be read"]))
        skipped += int((~keep).sum())
        table, inputs = table.take(keep), inputs[keep]
    notes = (*table.notes, *bad, *found.notes, *_unusual(table, inputs, learned))
    used = {column.name for column in learned.columns}
    completed = learned.completed(inputs if learned.wide else inputs.astype(np.float32))
    return Rows(table, completed, notes, skipped, tuple(name for name in table.names if name not in used))


def _unusual(table: Table, inputs: NDArray[Any], learned: Preprocessing) -> list[str]:
    """What is missing, and what is so large or small that the network can know nothing of it.

    inputs: float64 (N, C), NaN where a value is missing."""
    assert learned.columns is not None
    notes, gaps, start, distant = [], [], 0, learned.far(inputs)
    for column in learned.columns:
        if missing := int(np.isnan(inputs[:, start]).sum()):
            gaps.append(f"{column.name} {missing:,}")
        if (far := distant[:, start]).any():
            row = int(far.argmax())
            notes.append(
                f"{table.path}: column {column.name!r}: {int(far.sum()):,} of {len(table):,} cells are more than {FAR} "
                "standard deviations from the mean of the training, the first "
                f"{table.cells(column.name).text(row)!r} in line {table.lines[row]}"
            )
        start += column.width
    if gaps:
        notes.append(
            f"{table.path}: missing in {len(table):,} rows: {listed(gaps)}; numbers become the mean of the training, "
            "categories none of its categories"
        )
    return notes
