"""Where a training is, as one value: all that a checkpoint holds, from where to where, and how it is kept."""

import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dltrain.backend import Ranks, all_to_host, to_host
from dltrain.errors import DivergedError, RankError, RunError
from dltrain.job.job import Job
from dltrain.metrics.settings import is_higher_better
from dltrain.run.checkpoint import Checkpoint, weights_sha256
from dltrain.run.progress import Position, Progress
from dltrain.run.sink import Sink
from dltrain.train.average import load_average, new_average
from dltrain.train.step_metrics import EpochMetrics


@dataclass
class TrainState:
    """position and progress are those after the last step whose figures are known to be finite. The weights are the
    model's.

    optimizer: its state, by name.
    average: of the weights and buffers, by name; nothing where the config wants none.
    epoch: what adds up over the running one; None between two.
    norms: of the gradients of the last steps, for a post-mortem; no checkpoint holds them.
    unsaved: whether something has happened since the last checkpoint. saved_at: when that was, by `time.monotonic`.
    started: when the training would have begun by `time.perf_counter`, had it never been interrupted.
    """

    optimizer: dict[str, Any]
    average: dict[str, Any] = field(default_factory=dict)
    position: Position = field(default_factory=lambda: Position(step=0, epoch=0, done=0))
    progress: Progress = field(default_factory=Progress)
    epoch: EpochMetrics | None = None
    norms: deque[float | dict[str, float]] = field(default_factory=lambda: deque(maxlen=10))
    unsaved: bool = True
    saved_at: float = field(default_factory=lambda: time.monotonic())
    started: float = field(default_factory=lambda: time.perf_counter())

    def look_at_clock(self, ranks: Ranks) -> None:
        """Between steps alone: whoever asks twice in between whether the time is over hears the same, on all ranks."""
        told = ranks.everyone(time.perf_counter() - self.started)
        self.progress.seconds = max(seconds for (seconds,) in told)


def initial_state(job: Job) -> TrainState:
    """Before the first step: the model gets its initial weights."""
    job.model.initialise(job.seed, job.device)
    return TrainState(job.new_optimizer_state(), new_average(job))


def restored_state(job: Job, checkpoint: Checkpoint, path: Path) -> TrainState:
    """As it was when the checkpoint was written. Raises RunError where that is of another model or other data.

    path: of the run, for the message.
    """
    where = checkpoint.position
    state = initial_state(job)
    try:
        if others := job.other_data(checkpoint):
            raise ValueError("; ".join(others))
        if where.done < job.steps_per_epoch and not checkpoint.epoch:
            raise ValueError("the sums of the running epoch are missing")
        if where.step and where.step != (where.epoch - 1) * job.steps_per_epoch + where.done:
            raise ValueError(f"step {where.step} is not {where.done} steps into epoch {where.epoch}")
        job.model.load(checkpoint.weights, job.device)
        for update in job.updates:
            own = update.own_state(state.optimizer), update.own_state(checkpoint.optimizer)
            update.optimizer.load_state(*own, job.device)
        load_average(state.average, checkpoint.average, job.device)
        if checkpoint.epoch:
            state.epoch = EpochMetrics(job.model, job.updates)
            state.epoch.restore(checkpoint.epoch)
    except (KeyError, ValueError, TypeError) as error:
        raise RunError(f"{path}: the checkpoint of step {where.step} does not fit: {error}") from None
    state.position, state.progress, state.unsaved = where, replace(checkpoint.progress), False
    state.started -= state.progress.seconds
    return state


def checkpoint_of(job: Job, state: TrainState, sink: Sink) -> Checkpoint:
    """All of it on the host."""
    return Checkpoint(
        weights={name: to_host(array) for name, array in job.model.weights().items()},
        optimizer={name: to_host(array) for name, array in state.optimizer.items()},
        average={name: to_host(array) for name, array in state.average.items()},
        epoch=state.epoch.to_arrays() if state.epoch else {},
        position=state.position,
        progress=replace(state.progress),
        logs=sink.log_lengths(),
        preprocessing=job.preprocessing,
        config=job.config,
        data_sha256=job.data_sha256,
    )


def save(job: Job, state: TrainState, sink: Sink, checkpoint: Checkpoint | None = None, best: bool = False) -> None:
    """Keep this state, or an earlier one with the same weights. Raises DivergedError, and keeps no infinities."""
    if broken := not_finite(job, state):
        steps = sink.saved_steps()
        kept = f"the checkpoint of step {steps[-1]} is kept" if steps else "nothing was saved before"
        raise DivergedError(f"diverged after step {state.position.step}: its update made {broken} infinite; {kept}")
    sink.save(checkpoint or checkpoint_of(job, state, sink), best, job.checkpoint.keep)
    state.saved_at, state.unsaved = time.monotonic(), False


def is_save_due(job: Job, state: TrainState, step: int) -> bool:
    """Whether the config wants a checkpoint after this step, within an epoch."""
    steps, minutes = job.checkpoint.every_steps, job.checkpoint.every_minutes
    waited = (time.monotonic() - state.saved_at) / 60
    return bool(steps and step % steps == 0) or bool(minutes and waited >= minutes)


def not_finite(job: Job, state: TrainState) -> str | None:
    """The name of an array that holds infinities or worse, of weights or optimizer."""
    arrays: dict[str, Any] = job.model.weights() | state.optimizer
    finite = all_to_host([job.device.xp.isfinite(array).all() for array in arrays.values()])
    return next((name for name, good in zip(arrays, finite, strict=True) if not good), None)


def require_same_weights(job: Job, state: TrainState, ranks: Ranks) -> None:
    """Raise RankError where a rank has come to others than rank 0."""
    if ranks.size == 1:
        return
    digest = weights_sha256({name: to_host(array) for name, array in job.model.weights().items()})
    told = [number for (number,) in ranks.everyone(int(digest[:12], 16))]  # 48 bits
    if others := [rank for rank, number in enumerate(told) if number != told[0]]:
        named = ", ".join(f"rank {rank} on {ranks.hosts[rank]}" for rank in others)
        raise RankError(
            f"after step {state.position.step} the weights of {named} are not those of rank 0 on {ranks.hosts[0]}: a "
            f"machine computes otherwise, or wrongly; what was saved up to the epoch before is good",
            others[0],
        )


def facts_of(job: Job, state: TrainState) -> dict[str, Any]:
    """What status.json says of a training that ends here."""
    metric, best = job.metrics.best, state.progress.best
    return {
        "epochs": state.position.epoch,
        "steps": state.position.step,
        f"best_{metric}": best if best is None or not is_higher_better(metric) else -best,
        "weights_sha256": weights_sha256({name: to_host(array) for name, array in job.model.weights().items()}),
        **state.progress.result,
    }
