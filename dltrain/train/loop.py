"""The training loop: `steps` trains, and yields whenever there is something to log, to save or to stop for."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import partial
from math import isfinite
from typing import Any

import numpy as np

from dltrain.backend import Ranks, Replay
from dltrain.backend.process import hold_blas_to_one_thread
from dltrain.errors import DeviceError, DivergedError, Interrupted, Pruned
from dltrain.evaluation.baseline import known_baselines
from dltrain.evaluation.error_analysis import test
from dltrain.evaluation.evaluate import validate
from dltrain.evaluation.game import PLAYED, played
from dltrain.evaluation.picture_figures import decide, judge
from dltrain.evaluation.pictures import pictures_of
from dltrain.evaluation.start import start_figures
from dltrain.evaluation.writing import write_texts
from dltrain.job.job import Job
from dltrain.job.loader import StepKey
from dltrain.job.parallel import ThreadPool
from dltrain.nn import Network, Networks
from dltrain.run.checkpoint import Checkpoint
from dltrain.run.files import to_json
from dltrain.run.progress import Position
from dltrain.run.rundir import DESCRIPTION, DIVERGED, WRITTEN
from dltrain.run.sink import Sink
from dltrain.spans import part_of_step
from dltrain.train.average import follow, with_average
from dltrain.train.callbacks import Callback, epoch_line
from dltrain.train.postmortem import out_of_memory, postmortem
from dltrain.train.state import (
    TrainState,
    checkpoint_of,
    facts_of,
    initial_state,
    is_save_due,
    not_finite,
    require_same_weights,
    restored_state,
    save,
)
from dltrain.train.step import replay_for, train_step
from dltrain.train.step_metrics import EpochMetrics, FiniteGuard, StepMetrics, StepReport, fetch_steps
from dltrain.train.stopping import Signals, interruptible, is_over, note_epoch, stops_early

Array = Any
Row = dict[str, Any]
Unread = tuple[Position, StepMetrics]  # after the step, and what it measured
STEP, LOG = "checks and probes", "log"  # the parts of a step in a profile, less what has a row of its own
MOST_UNREAD = 256  # steps whose figures stay on a GPU, where few are logged


@dataclass(frozen=True)
class StepTaken:
    """values: its losses and scores. seconds: its share of the time. settled: no later step has begun."""

    report: StepReport
    values: dict[str, float]
    seconds: float
    settled: bool


@dataclass(frozen=True)
class EpochEnded:
    """whole: whether all its steps were taken; max_steps or max_time may end a training before."""

    whole: bool


def fit(
    job: Job,
    sink: Sink,
    threads: int | None,
    callback: Callback,
    checkpoint: Checkpoint | None = None,
    ranks: Ranks | None = None,
) -> None:
    """Train to the end, test, and let the sink keep all of it.

    threads: as many as there are cores, unless given; changes no bits.
    checkpoint: where an earlier training of this run is continued.
    ranks: all that train together, each with this job; what only rank 0 has is a sink that keeps. They change no bits.
    Raises DivergedError, Interrupted, or what went wrong otherwise, after the sink was told.
    """
    hold_blas_to_one_thread()
    ranks = ranks or Ranks()
    most = (threads or ranks.threads) if job.device.is_cpu else 1  # a GPU and its memory are shared by all threads
    with ExitStack() as ending:
        ending.callback(callback.ended)
        pool = ending.enter_context(closing(ThreadPool(most, ranks)))
        state: TrainState | None = None
        status, tested, figures = "failed", None, None
        try:
            # what is not finite is looked for, not warned of
            with ranks.training(), interruptible(ranks) as signals, np.errstate(all="ignore"):
                state = restored_state(job, checkpoint, sink.path) if checkpoint else initial_state(job)
                alone = partial(signals.alone, sink.path)
                begun = start_figures(job, sink.path, pool, partial(stop_if_asked, job, state, sink, signals))
                alone(partial(describe, job, sink, begun))
                train(job, state, sink, pool, callback, signals)
                stop = partial(stop_if_asked, job, state, sink, signals)
                answering = with_average(job, state.average)
                tested = test(answering, sink, pool, stop)
                figures = alone(partial(judge, answering, sink, stop))
                if isinstance(job.model, Networks):
                    alone(partial(look_at_game, job, sink))
                if job.write is not None and isinstance(job.model, Network):
                    alone(partial(write, answering, sink))
            status = "done"
        except DivergedError as error:
            status = "diverged"
            assert state
            if state.unsaved and not not_finite(job, state):
                save(job, state, sink)
            if ranks.leads:
                sink.keep(DIVERGED, to_json(postmortem(job, state, sink, error)))
            raise
        except (Interrupted, KeyboardInterrupt):
            status = "interrupted"
            raise
        except Pruned:
            status = "pruned"
            raise
        finally:
            facts = facts_of(job, state) if state else {}
            if (cause := sys.exception()) is not None:
                facts |= {"ended_by": asdict(ranks.failure(cause))} if ranks.size > 1 else {}
                facts |= {"ended_by": {"reason": str(cause)}} if isinstance(cause, Pruned) else {}
                with suppress(OSError):  # what went wrong before matters more
                    sink.note(f"ended by {type(cause).__name__}: {cause}")
            with nullcontext() if status == "done" else suppress(OSError):
                sink.end(status=status, **facts, test=tested, pictures=figures)


def describe(job: Job, sink: Sink, begun: Row) -> None:
    sink.keep(DESCRIPTION, to_json(job.describe() | {"baselines": known_baselines(job, sink.path)} | begun))


def look_at_game(job: Job, sink: Sink) -> None:
    sink.keep(PLAYED, to_json(played(job.updates, job.loaders[job.held_out or "train"], job.device)))


def write(job: Job, sink: Sink) -> None:
    """What the config lets the network write."""
    assert job.write
    texts = write_texts(job.network, job.preprocessing, job.write, job.device, job.seed)
    sink.keep(WRITTEN, to_json({"prompt": job.write.prompt, "texts": texts}))


def train(job: Job, state: TrainState, sink: Sink, pool: ThreadPool, callback: Callback, signals: Signals) -> None:
    """All epochs that are left, logged, saved and ended as the config and the signals say."""
    stop = partial(stop_if_asked, job, state, sink, signals)

    def wanted(step: int) -> bool:
        due = step % job.logging.every == 0 or job.show.is_due(step) or is_save_due(job, state, step)
        return due or signals.caught is not None

    callback.started(job.total_steps, job.total_epochs)
    if job.show.is_due(state.position.step):
        show(job, state, callback)
    for event in steps(job, state, pool, wanted):
        if isinstance(event, EpochEnded):
            require_same_weights(job, state, pool.ranks)
            answering = with_average(job, state.average)
            validation = validate(answering, pool, stop)
            if validation is not None:
                validation |= pool.ranks.from_first(partial(decide, answering))
            finish_epoch(job, state, sink, callback, pool.ranks, validation, event.whole)
            stop()
            continue
        with part_of_step(LOG):
            log_step(job, state, sink, callback, event)
        if event.settled and (job.show.is_due(step := state.position.step) or step == job.total_steps):
            show(job, state, callback)
        if event.settled:
            stop()
            if is_save_due(job, state, state.position.step):
                save(job, state, sink)


def show(job: Job, state: TrainState, callback: Callback) -> None:
    """Let the callback see the pictures that the config wants, of held-out examples where there are any."""
    if not job.show.pictures:
        return
    loader = job.loaders[job.held_out or "train"]
    made_by, names = pictures_of(with_average(job, state.average)), job.show.pictures
    count = min(job.show.count, loader.size) if made_by.need_examples(names) else job.show.count
    callback.pictured(state.position.step, partial(made_by.make, names, loader, count))


def steps(
    job: Job, state: TrainState, pool: ThreadPool, wanted: Callable[[int], bool]
) -> Iterator[StepTaken | EpochEnded]:
    """Train from this state to the end: an event for each step once it is known to be good, and for each epoch.

    A GPU is not waited for after every step: the figures of several are read together, at the latest when `wanted` says
    of a step that somebody wants them. Then the loop is ahead of the state. Whoever iterates ends an epoch by setting
    `state.epoch` to None.
    Raises DivergedError, with its batch, for a step that went wrong: state and weights are as they were before it.
    """
    loader, size, per_epoch = job.loaders["train"], job.train.step_size, job.steps_per_epoch
    guard = None if job.device.is_cpu else FiniteGuard(job.device)
    replay = replay_for(job)
    while state.epoch or not (is_over(job, state.position, state.progress) or stops_early(job, state.progress)):
        if state.epoch is None:
            state.epoch = EpochMetrics(job.model, job.updates)
            state.position = Position(state.position.step, state.position.epoch + 1, done=0)
        order = loader.order(job.seed, state.position.epoch)
        loader.expect(pool.own(order, size, job.shard_size))
        position = state.position
        unread: list[Unread] = []
        began = time.perf_counter()
        while position.done < per_epoch and not is_over(job, position, state.progress):
            batch = order[position.done * size : (position.done + 1) * size]
            try:
                metrics = take_step(job, state, pool, replay, guard, batch, position)
            except (DivergedError, DeviceError):
                yield from read(job, state, unread, began, settled=False)  # the steps before it count
                raise
            position = Position(position.step + 1, position.epoch, position.done + 1)
            unread.append((position, metrics))
            state.look_at_clock(pool.ranks)
            if guard is None or len(unread) == MOST_UNREAD or wanted(position.step):
                yield from read(job, state, unread, began)
                unread, began = [], time.perf_counter()
        yield from read(job, state, unread, began)
        yield EpochEnded(whole := position.done == per_epoch)
        if not whole:
            return


def take_step(
    job: Job,
    state: TrainState,
    pool: ThreadPool,
    replay: Replay,
    guard: FiniteGuard | None,
    batch: Array,
    after: Position,
) -> StepMetrics:
    """The step that follows a position, on these examples."""
    key = StepKey(job.seed, after.epoch, after.step + 1)
    pool.ranks.step = key.step
    rates = job.learning_rates(after.step, state.progress.losses)
    for lr in rates.values():
        if not isfinite(lr):
            at = f"step {key.step} (epoch {key.epoch})"
            raise DivergedError(f"diverged at {at}: the learning rate is {lr}; try another schedule", batch=batch)
    measure_update = after.done % job.diagnostics.update_every == 0
    try:
        with part_of_step(STEP):
            metrics = train_step(job, pool, replay, batch, key, rates, state.optimizer, measure_update, guard)
            follow(job, state.average, key.step, guard)
            return metrics
    except MemoryError:
        if job.device.is_cpu:
            raise
    raise out_of_memory(job, batch, key)  # here the failed step's arrays are gone with its error


def read(job: Job, state: TrainState, unread: list[Unread], began: float, settled: bool = True) -> Iterator[StepTaken]:
    """Judge the steps taken since the last time, and bring the state to where they are. began: when the first began."""
    assert state.epoch
    taken = fetch_steps([metrics for _, metrics in unread], job.device)
    seconds = (time.perf_counter() - began) / max(1, len(unread))
    for number, ((position, _), metrics) in enumerate(zip(unread, taken, strict=True), start=1):
        metrics.check()
        report = metrics.report(state.epoch.probes)
        values = state.epoch.add(report, seconds)
        state.norms.append(report.gradient_norms)
        state.position, state.unsaved = position, True
        yield StepTaken(report, values, seconds, settled and number == len(unread))


def log_step(job: Job, state: TrainState, sink: Sink, callback: Callback, event: StepTaken) -> None:
    report, where = event.report, state.position
    row: Row = {"event": "step", "epoch": where.epoch, "step": where.step, **event.values}
    for update in report.updates:
        row |= update.settings
    row["examples_per_second"] = round(report.examples / event.seconds, 1)
    if where.step % job.logging.every == 0:
        sink.log_step(row)
    callback.stepped(row, partial(layer_rows, state))


def finish_epoch(
    job: Job, state: TrainState, sink: Sink, callback: Callback, ranks: Ranks, validation: Row | None, whole: bool
) -> None:
    """Log the epoch and what it means for the best one, and save where the config wants it."""
    assert state.epoch
    where = state.position
    row: Row = {"event": "epoch", "epoch": where.epoch, "step": where.step, "train": state.epoch.averages()}
    row |= {} if validation is None else {"validation": validation}
    row["seconds"] = round(state.epoch.seconds, 3)
    layers = layer_rows(state)
    state.look_at_clock(ranks)
    # max_steps may end in the middle of an epoch: a longer training goes on as if this row had never been.
    unfinished = None if whole else checkpoint_of(job, state, sink)
    sink.log_epoch(row, layers)
    is_best = note_epoch(job, state.progress, row)
    if whole:
        state.epoch, state.unsaved = None, True
    last = is_over(job, where, state.progress) or stops_early(job, state.progress)
    if is_best or last or where.epoch % job.checkpoint.every_epochs == 0:
        save(job, state, sink, unfinished, is_best)
    sink.note(epoch_line(row, layers, job.total_epochs))
    callback.finished_epoch(row, layers)


def layer_rows(state: TrainState) -> list[Row]:
    """What the running epoch has shown of each layer until now."""
    assert state.epoch
    return [probe.row(state.position.epoch) for probe in state.epoch.probes.values() if probe.values]


def stop_if_asked(job: Job, state: TrainState, sink: Sink, signals: Signals) -> None:
    """Raise Interrupted, once all is saved, where a signal has come to any rank. All come here at the same points."""
    signals.meet()
    if signals.number is not None and state.unsaved:
        save(job, state, sink)
    signals.check(sink.path)
