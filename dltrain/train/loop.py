"""The training loop: batches, steps, epochs, evaluation, checkpoints, and every way to end."""

import logging
import shlex
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from math import ceil, isfinite
from typing import Any

import numpy as np

from dltrain.backend import all_to_host, to_host
from dltrain.backend.process import available_cores, hold_blas_to_one_thread
from dltrain.errors import DivergedError, Interrupted, RunError
from dltrain.run.checkpoint import Checkpoint, weights_sha256
from dltrain.run.progress import Position, Progress
from dltrain.run.rundir import RunDir
from dltrain.train.callbacks import Callback, epoch_line
from dltrain.train.diagnostics import LayerProbe
from dltrain.train.error_analysis import analyse_errors, save_analysis
from dltrain.train.evaluate import evaluate
from dltrain.train.job import Job
from dltrain.train.loader import StepKey
from dltrain.train.metrics import WORST, deciding
from dltrain.train.parallel import ThreadPool
from dltrain.train.postmortem import out_of_memory, ranges
from dltrain.train.settings import HIGHER
from dltrain.train.step import replay_for, train_step
from dltrain.train.step_metrics import EpochMetrics, FiniteGuard, StepMetrics, StepReport, fetch
from dltrain.train.stopping import farewell, interruptible

Row = dict[str, Any]
warn = logging.getLogger("dltrain").warning
MOST_UNREAD = 256  # steps whose figures stay on a GPU, where few are logged


def fit(job: Job, run: RunDir, threads: int | None, callback: Callback, checkpoint: Checkpoint | None = None) -> Row:
    """Train to the end and return the run's result; status.json and the logs tell the same.

    threads: as many as there are cores unless given; changes no bits.
    checkpoint: where an earlier training of this run is continued.
    Raises DivergedError, Interrupted, or what went wrong otherwise, after status.json has said so.
    """
    hold_blas_to_one_thread()
    most = (threads or available_cores()) if job.device.is_cpu else 1  # a GPU and its memory are shared by all threads
    pool = ThreadPool(most)
    training = None
    status = "failed"
    try:
        training = Training(job, run, pool, callback, checkpoint)
        run.write_json(run.description, job.describe())
        with interruptible(training), np.errstate(all="ignore"):  # what is not finite is looked for, not warned of
            training.run_epochs()
            tested = training.examine()
        status = "done"
        return training.close(status, test=tested)
    except DivergedError as error:
        status = "diverged"
        assert training
        if training.unsaved and not training.broken():
            training.save()
        run.write_json(run.diverged, training.postmortem(error))
        raise
    except (Interrupted, KeyboardInterrupt):
        status = "interrupted"
        raise
    finally:
        if status != "done":
            with suppress(OSError):  # what went wrong before matters more
                training.close(status) if training else run.update_status(status=status)
            with suppress(OSError):
                reason = sys.exception()
                run.note(f"ended by {type(reason).__name__}: {reason}")
        callback.ended()
        pool.close()
        run.release()


class Training:
    """The state of a running training."""

    def __init__(
        self, job: Job, run: RunDir, pool: ThreadPool, callback: Callback, checkpoint: Checkpoint | None = None
    ):
        self.job, self.run, self.pool, self.callback = job, run, pool, callback
        self.replay = replay_for(job)
        self.loader = job.loaders["train"]
        self.steps_per_epoch, self.total_steps = job.steps_per_epoch, job.total_steps
        self.epochs = ceil(self.total_steps / self.steps_per_epoch)
        self.position = Position(step=0, epoch=0, done=0)
        self.progress = Progress()
        self.sums: EpochMetrics | None = None  # of the running epoch; None between two
        self.batch: Any = None  # the examples of a step that has begun
        self.norms: deque[float] = deque(maxlen=10)  # of the gradients of the last steps
        self._guard = None if job.device.is_cpu else FiniteGuard(job.device)
        self._unread: list[
            tuple[Position, Any, StepMetrics]
        ] = []  # steps taken: where each began, its batch, its figures
        self._unread_since = 0.0
        self.stop_signal: int | None = None
        self.config = run.config.read_text(encoding="utf-8")
        job.model.initialise(job.seed, job.device)
        self.optimizer_state = job.new_optimizer_state()
        if checkpoint:
            self._restore(checkpoint)
        self.started = time.perf_counter() - self.progress.seconds
        self._out_of_time = False
        self._look_at_clock()
        self._saved_at = time.monotonic()
        self.unsaved = checkpoint is None

    # --- epochs and steps -----------------------------------------------------------------------------------

    def run_epochs(self) -> None:
        self.callback.started(self.total_steps, self.epochs)
        if self.sums is not None:
            self._run_epoch(self.sums)
        while not self._is_over() and not self._should_stop_early():
            self.position = Position(self.position.step, self.position.epoch + 1, done=0)
            self.sums = EpochMetrics(self.job.model)
            self._run_epoch(self.sums)

    def _run_epoch(self, sums: EpochMetrics) -> None:
        """What is left of the epoch, and its end."""
        order = self.loader.order(self.job.seed, self.position.epoch)
        size = self.job.train.step_size
        while self.position.done < self.steps_per_epoch and not self._is_over():
            first = self.position.done * size
            self._step(order[first : first + size])
            self._look_at_clock()
            if self._is_time_to_read():
                self._read()
            self._stop_if_asked()
            self._save_if_due()
        self._read()
        self._finish_epoch(sums)
        self._stop_if_asked()

    def _step(self, batch: Any) -> None:
        before = self.position
        after = Position(before.step + 1, before.epoch, before.done + 1)
        moment = StepKey(self.job.seed, after.epoch, after.step)
        if not self._unread:
            self._unread_since = time.perf_counter()
        self.batch = batch
        per_epoch = self.steps_per_epoch
        done, planned = before.step / per_epoch, self.total_steps / per_epoch
        lr = self.job.optimizer.lr * self.job.schedule(done, planned, self.progress.losses)
        if not isfinite(lr):
            at = f"step {after.step} (epoch {after.epoch})"
            raise DivergedError(f"diverged at {at}: the learning rate is {lr}; try another schedule")
        compare = before.done % self.job.diagnostics.update_every == 0
        figures = None
        try:
            figures = train_step(
                self.job, self.pool, self.replay, batch, moment, lr, self.optimizer_state, compare, self._guard
            )
        except MemoryError:
            if self.job.device.is_cpu:
                raise
        if figures is None:  # the failed step's arrays are gone with its error
            raise out_of_memory(self.job, batch, moment)
        self._unread.append((before, batch, figures))
        self.position, self.batch = after, None
        self.unsaved = True

    def _is_time_to_read(self) -> bool:
        """On a GPU only what is to be logged is waited for."""
        logged = self.position.step % self.job.logging.every == 0
        return self._guard is None or logged or len(self._unread) == MOST_UNREAD

    def _read(self) -> None:
        """Judge and log the steps that were taken since the last time.

        Raises DivergedError for one that went wrong, after which the position is where it began, as the weights are.
        """
        unread, self._unread = self._unread, []
        taken = fetch([figures for _, _, figures in unread], self.job.device)
        end = self.position
        for (before, batch, _), figures in zip(unread, taken, strict=True):
            assert self.sums
            self.position, self.batch = before, batch
            figures.check(self.job.model)
            report = figures.report(self.sums.probes)
            seconds = (time.perf_counter() - self._unread_since) / len(unread)
            self.norms.append(report.gradient_norm)
            self.position, self.batch = Position(before.step + 1, before.epoch, before.done + 1), None
            self._log_step(report, self.sums, seconds)
        self.position = end

    def _log_step(self, report: StepReport, sums: EpochMetrics, seconds: float) -> None:
        row: Row = {"event": "step", "epoch": self.position.epoch, "step": self.position.step}
        row |= sums.add(report, seconds)
        row |= {"lr": report.lr, "gradient_norm": report.gradient_norm}
        row["examples_per_second"] = round(report.examples / seconds, 1)
        if self.position.step % self.job.logging.every == 0:
            self.run.append_soon(row)
        self.callback.stepped(row, partial(self._layer_rows, sums))

    def _finish_epoch(self, sums: EpochMetrics) -> None:
        epoch, whole = self.position.epoch, self.position.done == self.steps_per_epoch
        row: Row = {"event": "epoch", "epoch": epoch, "step": self.position.step, "train": sums.averages()}
        if (validation := self.evaluate("validation")) is not None:
            row["validation"] = validation
        row["seconds"] = round(sums.seconds, 3)
        layers = self._layer_rows(sums)
        self._look_at_clock()
        # max_steps may end in the middle of an epoch: a longer training goes on as if this row had never been.
        unfinished = None if whole else self._checkpoint()
        self.run.append(self.run.metrics, row)
        self.run.append(self.run.layers, *layers)
        is_best = self._note(row)
        if whole:
            self.sums, self.unsaved = None, True
        last = self._is_over() or self._should_stop_early()
        if is_best or last or epoch % self.job.checkpoint.every_epochs == 0:
            self.save(unfinished, best=is_best)
        self.run.note(epoch_line(row, layers, self.epochs))
        self.callback.finished_epoch(row, layers)

    def _note(self, row: Row) -> bool:
        """Remember how good an epoch was; whether it is the best one so far."""
        progress, settings = self.progress, self.job.train.early_stopping
        progress.result = {split: row[split] for split in ("train", "validation") if split in row}
        watched = deciding(row, name := self.job.metrics.best)
        if watched == WORST and not progress.losses:
            warn(f"{name} does not exist for these examples: no epoch is the best, and none ends the training early")
        best, beaten = (WORST if figure is None else figure for figure in (progress.best, progress.beaten))
        progress.losses = [*progress.losses, watched]  # a new list: a checkpoint of the epoch's middle has the old one
        if watched < beaten - (settings.min_delta if settings else 0):
            progress.beaten, progress.epochs_without_gain = watched, 0
        elif watched < WORST:
            progress.epochs_without_gain += 1
        is_best = watched < best
        if is_best:
            progress.best, progress.best_step = watched, self.position.step
        return is_best

    def _stop_if_asked(self) -> None:
        if self.stop_signal is not None:
            if self.unsaved:
                self.save()
            raise Interrupted(*farewell(self.stop_signal, self.run))

    def _is_over(self) -> bool:
        return self._out_of_time or self.position.step >= self.total_steps

    def _look_at_clock(self) -> None:
        """After steps and epochs alone: whoever asks twice in between whether it is over hears the same."""
        limit, begun = self.job.train.max_time, self.position.step > 0
        self._out_of_time = limit is not None and begun and time.perf_counter() - self.started >= limit

    def _should_stop_early(self) -> bool:
        settings = self.job.train.early_stopping
        return settings is not None and self.progress.epochs_without_gain >= settings.patience

    # --- looking --------------------------------------------------------------------------------------------

    def evaluate(self, split: str) -> Row | None:
        """The figures of a split that the config names; None where the data set has no such split.

        A signal ends it after a batch.
        """
        if split not in self.job.loaders:
            return None
        job, names = self.job, self.job.metrics.named
        sizes = job.train.batch_size, job.shard_size
        loader = job.loaders[split]
        found = evaluate(job.model, job.loss, loader, self.pool, *sizes, job.metrics, names, self._stop_if_asked)
        return {key: found[key] for key in names if key in found}

    def examine(self) -> Row | None:
        """The test result, or None; a closer look at the test examples, or else at those for validation, is kept."""
        split = "test" if "test" in self.job.loaders else "validation"
        if split not in self.job.loaders:
            return None
        job, names = self.job, self.job.metrics.named
        sizes, classes = (job.train.batch_size, job.shard_size), job.preprocessing.classes
        measured, loader = (job.metrics, (*names, "calibration_error")), job.loaders[split]
        looked = analyse_errors(job.model, job.loss, loader, self.pool, *sizes, *measured, classes, self._stop_if_asked)
        save_analysis(looked, self.run, split, "last")
        return {key: looked.found[key] for key in names if key in looked.found} if split == "test" else None

    def _layer_rows(self, sums: EpochMetrics) -> list[Row]:
        """What the epoch has shown of each layer until now."""
        epoch, kinds = self.position.epoch, self.job.kinds
        return [probe.row(epoch, kinds[name], self._weight_norm(probe)) for name, probe in sums.probes.items()]

    def _weight_norm(self, probe: LayerProbe) -> float | None:
        weights = [p.data.reshape(-1) for p in probe.layer.parameters.values() if p.kind == "weight"]
        return float(sum(float(to_host(w @ w)) for w in weights)) ** 0.5 if weights else None

    # --- keeping --------------------------------------------------------------------------------------------

    def save(self, checkpoint: Checkpoint | None = None, best: bool = False) -> None:
        """Keep this moment, or an earlier one with the same weights. Raises DivergedError, and keeps no infinities."""
        self._read()
        if broken := self.broken():
            step = self.position.step
            raise DivergedError(f"diverged after step {step}: its update made {broken} infinite; {self._kept()}")
        self.run.save(checkpoint or self._checkpoint(), best, self.job.checkpoint.keep)
        self._saved_at, self.unsaved = time.monotonic(), False

    def broken(self) -> str | None:
        """The name of an array that is not finite, of weights or optimizer."""
        arrays = self.job.model.weights() | self.optimizer_state
        finite = all_to_host([self.job.device.xp.isfinite(array).all() for array in arrays.values()])
        return next((name for name, good in zip(arrays, finite, strict=True) if not good), None)

    def postmortem(self, error: DivergedError) -> Row:
        """What diverged.json says; `replay` is there where the weights before the failed step are kept."""
        step = self.position.step
        moment = StepKey(self.job.seed, self.position.epoch, step + 1)
        replay = {"replay": f"dltrain verify {shlex.quote(str(self.run.path))} --from-step {step} --steps 1"}
        return {
            "message": str(error),
            "layer": error.layer,
            **asdict(self.position),
            **(replay if self.batch is not None and step in self.run.saved_steps() else {}),
            "last_gradient_norms": list(self.norms),
            "batch": None if self.batch is None else to_host(self.batch).tolist(),
            "ranges": ranges(self.job, self.batch, moment),
        }

    def _kept(self) -> str:
        steps = self.run.saved_steps()
        return f"the checkpoint of step {steps[-1]} is kept" if steps else "nothing was saved before"

    def _save_if_due(self) -> None:
        steps, minutes = self.job.checkpoint.every_steps, self.job.checkpoint.every_minutes
        waited = (time.monotonic() - self._saved_at) / 60
        if (steps and self.position.step % steps == 0) or (minutes and waited >= minutes):
            self.save()

    def _checkpoint(self) -> Checkpoint:
        self.progress.seconds = time.perf_counter() - self.started
        return Checkpoint(
            weights={name: to_host(array) for name, array in self.job.model.weights().items()},
            optimizer={name: to_host(array) for name, array in self.optimizer_state.items()},
            epoch=self.sums.to_arrays() if self.sums else {},
            position=self.position,
            progress=replace(self.progress),
            logs=self.run.log_lengths(),
            preprocessing=self.job.preprocessing,
            config=self.config,
            data_sha256=self.job.data_sha256,
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Raises RunError where the checkpoint is of another model or other data."""
        where = checkpoint.position
        try:
            if others := self.job.other_data(checkpoint):
                raise ValueError("; ".join(others))
            if where.done < self.steps_per_epoch and not checkpoint.epoch:
                raise ValueError("the sums of the running epoch are missing")
            if where.step and where.step != (where.epoch - 1) * self.steps_per_epoch + where.done:
                raise ValueError(f"step {where.step} is not {where.done} steps into epoch {where.epoch}")
            self.job.model.load(checkpoint.weights, self.job.device)
            self.job.optimizer.load_state(self.optimizer_state, checkpoint.optimizer, self.job.device)
            if checkpoint.epoch:
                self.sums = EpochMetrics(self.job.model)
                self.sums.restore(checkpoint.epoch)
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(f"{self.run.path}: the checkpoint of step {where.step} does not fit: {error}") from None
        self.position, self.progress = where, replace(checkpoint.progress)

    def close(self, status: str, test: Row | None = None) -> Row:
        """Write and return what there is to say about the run, however it ended."""
        self.run.flush()
        weights = {name: to_host(array) for name, array in self.job.model.weights().items()}
        metric, best = self.job.metrics.best, self.progress.best
        self.run.update_status(
            status=status,
            epochs=self.position.epoch,
            steps=self.position.step,
            **{f"best_{metric}": best if best is None or metric not in HIGHER else -best},
            weights_sha256=weights_sha256(weights),
            **self.progress.result,
            test=test,
        )
        return self.run.result()
