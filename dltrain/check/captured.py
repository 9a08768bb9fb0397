"""What a captured step repeats, and what that saves: its list of calls, and the time of a step either way."""

from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

from dltrain import spans
from dltrain.backend import GraphCache, Replay, eager
from dltrain.job.job import Job
from dltrain.job.loader import StepKey
from dltrain.job.parallel import ThreadPool
from dltrain.spans import Label, Recorder
from dltrain.train.step import train_step, why_eager

STEPS = 30  # of each kind, in turn


@dataclass(frozen=True)
class Captured:
    """calls: what each call of C is a part of, in order; none where the step is not captured, for `reason`. eager_ms,
    replayed_ms: a step's median."""

    calls: list[Label]
    reason: str
    eager_ms: float | None = None
    replayed_ms: float | None = None


class _Silent:
    """Makes labels known while a step is captured."""

    def begin(self, part: str) -> Recorder | None:
        return lambda span: None

    def not_captured(self, what: Any, reason: str) -> None:
        pass


def captured(job: Job) -> Captured:
    """Trains a copy for a few steps with a rate of 0, which changes no weights."""
    if reason := why_eager(job):
        return Captured([], reason)
    job.model.initialise(job.seed, job.device)
    state, cache, pool = job.new_optimizer_state(), GraphCache(), ThreadPool(1)
    batch = job.loaders["train"].order(job.seed, 1)[: job.train.step_size]

    def seconds(replay: Replay) -> float:
        start = perf_counter()
        rates = {update.name: 0.0 for update in job.updates}
        train_step(job, pool, replay, batch, StepKey(job.seed, 1, 1), rates, state, False)
        return perf_counter() - start

    try:
        spans.watcher = _Silent()
        with spans.part_of_step("step"):
            seconds(cache.replay)
        spans.watcher = None
        if cache.reasons:
            return Captured([], "; ".join(cache.reasons.values()))
        calls = [label for graph in cache.graphs.values() if graph is not None for label in graph.calls]
        times = [(seconds(eager), seconds(cache.replay)) for _ in range(STEPS)]
    finally:
        spans.watcher = None
        pool.close()
    return Captured(calls, "", *(1000 * median(column) for column in zip(*times, strict=True)))
