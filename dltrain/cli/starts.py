"""Where the start values of a training are from, layer by layer."""

from typing import TYPE_CHECKING

from dltrain.cli import console

if TYPE_CHECKING:
    from dltrain.job.job import Job

EVERY = 1_000


def show_starts(job: "Job", most: int = EVERY) -> None:
    """A line and a table for each file or run that start values are loaded from; most: layers in it."""
    from dltrain.job.start import COLUMNS

    for start in job.starts:
        console.info(start.told)
        console.info_table(COLUMNS, start.rows, most)
