"""All that a run directory has to tell, read once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dltrain.errors import RunError
from dltrain.evaluation.error_analysis import load_analysis
from dltrain.evaluation.game import PLAYED
from dltrain.report.advice import Advice, Seen, advise
from dltrain.report.headline import Headline, headline_of
from dltrain.run.checkpoint import Checkpoint
from dltrain.run.reader import LARGE_FILE, SMALL_FILE, read_json
from dltrain.run.rundir import RunDir

Array = Any
Row = dict[str, Any]
NOT_AS_WRITTEN = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, StopIteration)


@contextmanager
def believed(*runs: RunDir) -> Iterator[None]:
    """What the files of runs say is taken at its word. Raises RunError where that leads nowhere: they are damaged, or
    not from a training."""
    try:
        yield
    except NOT_AS_WRITTEN as error:
        what = f"{type(error).__name__}: {error}"[:200]
        where = ", ".join(str(run.path) for run in runs)
        raise RunError(f"{where}: logs or descriptions are not as a training writes them ({what})") from error


@dataclass(frozen=True)
class Record:
    """status, environment, description: as in the files of that name, {} where there is none. config: the text.

    steps, epochs: the rows of metrics.jsonl by their event. layers: those of layers.jsonl.
    found, inputs: what the last examination of a split saw, and the inputs of its mistakes.
    """

    run: RunDir
    status: Row
    environment: Row
    description: Row
    config: str
    steps: list[Row]
    epochs: list[Row]
    layers: list[Row]
    found: Row
    inputs: Array

    @cached_property
    def written(self) -> Row:
        """What a network wrote that was trained on a text; {} where there is nothing."""
        try:
            found = read_json(self.run.written, LARGE_FILE)
            return {"prompt": str(found["prompt"]), "texts": [str(text) for text in found["texts"]]}
        except (RunError, OSError, LookupError, TypeError):
            return {}

    @classmethod
    def read(cls, run: RunDir) -> "Record":
        """Raises RunError where status.json or the config cannot be read; whatever else is missing is left out."""
        run.require_own_files()
        rows = run.rows(run.metrics)
        found, inputs = load_analysis(run) or ({}, np.empty(0))
        try:
            config = run.config.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{run.config}: cannot be read ({error})") from None
        return cls(
            run,
            run.status(),
            _json(run.environment, SMALL_FILE),
            description_of(run),
            config,
            [row for row in rows if row["event"] == "step"],
            [row for row in rows if row["event"] == "epoch"],
            run.rows(run.layers),
            found,
            inputs,
        )

    @property
    def name(self) -> str:
        return self.run.path.resolve().name

    @cached_property
    def headline(self) -> Headline | None:
        """Of the last analysis of errors."""
        split = self.found.get("split")
        return headline_of(self.found, self.description.get("baselines", {}).get(split, {})) if split else None

    @cached_property
    def advice(self) -> list[Advice]:
        start = self.steps[0] if self.steps and self.steps[0]["step"] == 1 else None
        data, guessing = self.description.get("data", {}), self.description.get("guessing")
        counts = None if data.get("class_weights") else data.get("splits", {}).get("train", {}).get("class_counts")
        muted = self.description.get("muted", ())
        return advise(
            Seen(
                self.epochs,
                self.layers,
                start,
                counts,
                guessing,
                self.status["status"],
                muted,
                self.headline,
                _json(self.run.path / PLAYED, SMALL_FILE),
            )
        )

    @cached_property
    def checkpoint(self) -> Checkpoint | None:
        """The last one, or None where there is none that is intact."""
        try:
            return self.run.checkpoint("last")
        except RunError:
            return None

    @cached_property
    def by_layer(self) -> dict[str, list[Row]]:
        """Layer -> its rows, oldest first; layers from input to output."""
        found: dict[str, list[Row]] = {}
        for row in self.layers:
            found.setdefault(row["layer"], []).append(row)
        return found


def description_of(run: RunDir) -> Row:
    """What description.json says, {} where there is none."""
    return _json(run.description, LARGE_FILE)


def _json(path: Path, most: int) -> Row:
    try:
        return read_json(path, most)
    except RunError:
        return {}
