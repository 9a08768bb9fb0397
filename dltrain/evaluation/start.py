"""What networks are worth that start with loaded values, before anything is trained: modules that are chained."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dltrain.errors import RunError
from dltrain.evaluation.evaluate import validate
from dltrain.job.job import Job
from dltrain.job.parallel import ThreadPool
from dltrain.run.reader import read_json
from dltrain.run.rundir import DESCRIPTION

Row = dict[str, Any]


def start_figures(job: Job, run: Path, pool: ThreadPool, between: Callable[[], None]) -> Row:
    """{"start": {"parts": of each network that is loaded its name, from where, and the figures of its own training;
    "validation": figures of all of it as it is}}; {} where nothing is loaded. A training that goes on has kept them."""
    if not job.starts:
        with suppress(RunError, KeyError, TypeError):
            return {"start": read_json(run / DESCRIPTION)["start"]}
        return {}
    parts = [{"network": each.network, "path": each.path, **each.figures} for each in job.starts]
    return {"start": {"parts": parts, "validation": validate(job, pool, between)}}
