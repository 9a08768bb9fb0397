"""One step of a run again, with all that training lets go of: outputs, gradients and changes of every layer.

The run is repeated from the nearest checkpoint before the step, by the loop that trained it. Validation is not: what it
decides is taken from the log. Writes nothing.
"""

from contextlib import closing
from dataclasses import dataclass, field, replace
from math import isfinite, sqrt
from typing import Any

import numpy as np

from dltrain import progress
from dltrain.backend import Ranks, eager, to_host
from dltrain.check.verify import key_of, row_differences
from dltrain.engine import no_grad
from dltrain.errors import DivergedError, RunError
from dltrain.job.inputs import StepInputs
from dltrain.job.job import Job
from dltrain.job.loader import StepKey
from dltrain.job.parallel import ThreadPool
from dltrain.job.update import Update
from dltrain.job.values import compute
from dltrain.nn import Layer
from dltrain.run.checkpoint import Checkpoint
from dltrain.run.rundir import RunDir
from dltrain.train.loop import EpochEnded, layer_rows, steps
from dltrain.train.state import TrainState, initial_state, restored_state
from dltrain.train.step import penalise, shard_sums, take_update
from dltrain.train.step_metrics import EpochMetrics, FiniteGuard, StepMetrics, fetch_steps
from dltrain.train.stopping import note_epoch

Array = Any
Row = dict[str, Any]


@dataclass
class Seen:
    """layers: for each update that was taken and each layer that it trains, in order, what the step was in it.

    start: the step of the checkpoint that it was repeated from, 0 for the start. figures: what a log says of the step.
    batch: its examples, as indices into the training split. rows: how many rows of the logs were compared on the way.
    logged: whether the step's own was among them. differences: what was not equal, bit for bit. diverged: why the step
    was not taken.
    """

    step: int
    start: int
    epoch: int = 0
    batch: list[Any] = field(default_factory=list)
    figures: Row = field(default_factory=dict)
    layers: list[Row] = field(default_factory=list)
    rows: int = 0
    logged: bool = False
    differences: list[str] = field(default_factory=list)
    diverged: str | None = None


def nearest(run: RunDir, step: int) -> Checkpoint | None:
    """The newest one from before a step; None where there is none. Raises RunError where it is damaged."""
    before = [saved for saved in run.saved_steps() if saved < step]
    return run.checkpoint(before[-1]) if before else None


def look(job: Job, run: RunDir, threads: int, step: int, start: Checkpoint | None) -> Seen:
    """Repeat the run up to this step and look into it. Raises RunError where the log does not say how to get there."""
    job = replace(job, train=replace(job.train, max_time=None))
    state = restored_state(job, job.adopt(start), run.path) if start else initial_state(job)
    seen = Seen(step, state.position.step)
    recorded = {key_of(row): row for log in (run.metrics, run.layers) for row in run.rows(log)}
    with closing(ThreadPool(threads, Ranks())) as pool, np.errstate(all="ignore"):
        _repeat(job, state, pool, run, seen, recorded)
        _take(job, state, pool, seen, recorded)
    return seen


def _compare(seen: Seen, row: Row, recorded: dict[Any, Row]) -> bool:
    """Whether there is such a row in the logs."""
    theirs = recorded.get(key_of(row))
    if theirs is not None:
        seen.rows += 1
        seen.differences += row_differences(row, theirs)
    return theirs is not None


def _step_row(state: TrainState, report: Any, values: Row) -> Row:
    row: Row = {"event": "step", "epoch": state.position.epoch, "step": state.position.step, **values}
    for update in report.updates:
        row |= update.settings
    return row


def _repeat(job: Job, state: TrainState, pool: ThreadPool, run: RunDir, seen: Seen, recorded: dict[Any, Row]) -> None:
    """All steps before it, and the ends of their epochs."""
    before = seen.step - 1
    if state.position.step == before:
        return
    events = steps(job, state, pool, lambda step: step >= before)
    for event in progress.over(events, "steps", before - seen.start):
        if not isinstance(event, EpochEnded):
            _compare(seen, _step_row(state, event.report, event.values), recorded)
            if state.position.step == before and state.position.done < job.steps_per_epoch:
                return
            continue
        assert state.epoch
        where = state.position
        row = recorded.get(key_of({"event": "epoch", "epoch": where.epoch, "step": where.step}))
        if row is None:
            raise RunError(f"{run.metrics}: epoch {where.epoch} is missing, so what followed it is not known")
        _compare(seen, {**row, "train": state.epoch.averages()}, recorded)
        for layer in layer_rows(state):
            _compare(seen, layer, recorded)
        note_epoch(job, state.progress, row)
        state.epoch = None
        if where.step == before:
            return
    raise RunError(f"{run.path}: the repeated training ended after step {state.position.step}")


def _take(job: Job, state: TrainState, pool: ThreadPool, seen: Seen, recorded: dict[Any, Row]) -> None:
    """The step itself, update by update: each sees the weights that the one before it made."""
    where = state.position
    if state.epoch is None:
        state.epoch = EpochMetrics(job.model, job.updates)
        where = replace(where, epoch=where.epoch + 1, done=0)
    size = job.train.step_size
    batch = job.loaders["train"].order(job.seed, where.epoch)[where.done * size : (where.done + 1) * size]
    key = StepKey(job.seed, where.epoch, seen.step)
    rates = job.learning_rates(where.step, state.progress.losses)
    inputs, guard = StepInputs(job, batch, key), None if job.device.is_cpu else FiniteGuard(job.device)
    seen.epoch, seen.batch = where.epoch, np.asarray(batch).tolist()
    metrics = StepMetrics(key, batch, [])
    try:
        for update in (each for each in job.updates if each.is_due(seen.step)):
            outputs, grads = _outputs(update, inputs, pool), _gradients(job, update, inputs, pool)
            before = {name: p.data.copy() for name, p in update.parameters.items()}
            seen.layers += (rows := [_layer_row(update, layer, outputs, grads, before) for layer in update.layers])
            rate = rates[update.name]
            metrics.updates.append(take_update(job, update, pool, eager, inputs, rate, state.optimizer, True, guard))
            for row, layer in zip(rows, update.layers, strict=True):
                row |= _changes(layer, before)
        (metrics,) = fetch_steps([metrics], job.device)
        metrics.check()
    except DivergedError as error:
        seen.diverged = str(error)
        return
    report = metrics.report(state.epoch.probes)
    state.position = replace(where, step=seen.step, done=where.done + 1)
    seen.figures = _step_row(state, report, state.epoch.add(report, 0.0))
    seen.logged = _compare(seen, seen.figures, recorded)


def _outputs(update: Update, inputs: StepInputs, pool: ThreadPool) -> dict[str, list[Row]]:
    """Of each layer by name, in every shard and pass, sums over what it gives."""
    found: dict[str, list[Row]] = {}

    def tap(mark: str, layer: Layer, y: Array) -> None:
        values = to_host(y).astype(np.float64)
        low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
        sums = {"count": values.size, "sum": values.sum(), "squares": (values**2).sum(), "zeros": (values == 0).sum()}
        found.setdefault(layer.name, []).append(sums | {"min": low, "max": high, "shape": values.shape[1:]})

    shards = -(-len(inputs.batch) // inputs.job.shard_size)
    with no_grad(), pool.intra_op():
        for number in range(shards):
            shard = inputs.of(number)
            given = {value.name: shard.values[value.name] for value in update.given}
            compute(update, given, shard, inputs.key, tap)
    return found


def _gradients(job: Job, update: Update, inputs: StepInputs, pool: ThreadPool) -> dict[str, Array]:
    """Of the batch's loss and its penalties, before clipping, by the parameter's name."""
    counts = [inputs.count(term) for term in update.terms]
    shards = -(-len(inputs.batch) // job.shard_size)
    sums = pool.tree_sum(shards, lambda shard: shard_sums(job, update, inputs, shard, counts, eager))
    _, penalties = penalise(update)
    grads = {name: sums[f"gradient/{name}"] for name in update.parameters}
    return {name: g + penalties[name] if name in penalties else g for name, g in grads.items()}


def _norm(arrays: list[Array]) -> float | None:
    """The joint L2 norm; None where there is none."""
    size = sqrt(sum(float((to_host(a).astype(np.float64) ** 2).sum()) for a in arrays)) if arrays else None
    return size if size is not None and isfinite(size) else None


def _names(layer: Layer, known: dict[str, Array]) -> list[str]:
    return [name for key in layer.parameters if (name := f"{layer.name}.{key}") in known]


def _layer_row(
    update: Update, layer: Layer, outputs: dict[str, list[Row]], grads: dict[str, Array], before: dict[str, Array]
) -> Row:
    sums, names = outputs.get(layer.name, []), _names(layer, before)
    row: Row = {"update": update.name, "layer": layer.name, "type": layer.kind, "output_shape": [*layer.out_shape]}
    row |= {"mean": None, "std": None, "min": None, "max": None, "zero_share": None}
    if sums:
        count, total, squares, zeros = (sum(each[key] for each in sums) for key in ("count", "sum", "squares", "zeros"))
        mean = total / count
        figures = {"mean": mean, "std": sqrt(max(0.0, squares / count - mean * mean)) if isfinite(squares) else None}
        figures |= {"min": min(each["min"] for each in sums), "max": max(each["max"] for each in sums)}
        row |= {key: float(v) if v is not None and isfinite(v) else None for key, v in figures.items()}
        row["zero_share"] = float(zeros / count)
    row["gradient_norm"] = _norm([grads[name] for name in names])
    row["weight_norm"] = _norm([before[name] for name in names])
    return row | {"update_norm": None, "update_ratio": None}


def _changes(layer: Layer, before: dict[str, Array]) -> Row:
    """By the update that was taken since, of all parameters of the layer."""
    names, now = _names(layer, before), {f"{layer.name}.{key}": p.data for key, p in layer.parameters.items()}
    moved, size = _norm([now[name] - before[name] for name in names]), _norm([before[name] for name in names])
    return {"update_norm": moved, "update_ratio": moved / size if moved is not None and size else None}
