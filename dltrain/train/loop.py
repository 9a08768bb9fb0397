"""The training loop: batches, steps, epochs, evaluation, checkpoints, and every way to end."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from math import ceil
from typing import Any, Protocol

import numpy as np

from dltrain.backend import to_host
from dltrain.backend.process import settle
from dltrain.errors import DivergedError, Interrupted
from dltrain.train.checkpoint import Checkpoint, Position, weights_sha256
from dltrain.train.evaluate import evaluate
from dltrain.train.feed import Moment
from dltrain.train.job import Job
from dltrain.train.metrics import deciding
from dltrain.train.probes import LayerProbe, Mean, probes_for
from dltrain.train.rundir import RunDir
from dltrain.train.settings import HIGHER
from dltrain.train.shards import Crew
from dltrain.train.step import StepReport, train_step

Row = dict[str, Any]


class Watcher(Protocol):
    """Whoever shows the training to people."""

    def started(self, steps: int, epochs: int) -> None: ...
    def stepped(self, row: Row) -> None: ...
    def finished_epoch(self, row: Row, layers: list[Row]) -> None: ...


def fit(job: Job, run: RunDir, threads: int, watcher: Watcher) -> Row:
    """Train to the end and return the run's result; status.json and the logs tell the same.

    Raises DivergedError, Interrupted, or what went wrong otherwise, after status.json has said so.
    """
    settle()
    crew = Crew(threads)
    training = Training(job, run, crew, watcher)
    status = "failed"
    try:
        with interruptible(training), np.errstate(all="ignore"):  # what is not finite is looked for, not warned of
            training.run_epochs()
            tested = training.evaluate("test")
        status = "done"
        return training.close(status, test=tested)
    except DivergedError as error:
        status = "diverged"
        training.save(best=False)
        run.write_json(run.diverged, {"message": str(error), **asdict(training.position)})
        raise
    except (Interrupted, KeyboardInterrupt):
        status = "interrupted"
        raise
    finally:
        if status != "done":
            training.close(status)
        crew.close()


class Training:
    """The state of a running training."""

    def __init__(self, job: Job, run: RunDir, crew: Crew, watcher: Watcher):
        self.job, self.run, self.crew, self.watcher = job, run, crew, watcher
        self.feed = job.feeds["train"]
        self.steps_per_epoch = ceil(self.feed.size / job.train.batch_size)
        planned = job.train.epochs * self.steps_per_epoch
        self.total_steps = min(planned, job.train.max_steps or planned)
        self.position = Position(step=0, epoch=0, done=0)
        self.stop_signal: int | None = None
        self.best: float | None = None
        self.beaten: float | None = None  # what was last beaten by min_delta: small gains add up against it
        self.epochs_without_gain = 0
        self.result: Row = {}
        job.model.initialise(job.seed, job.device)
        self.state = job.optimizer.new_state(job.model.weights())

    # --- epochs and steps -----------------------------------------------------------------------------------

    def run_epochs(self) -> None:
        self.watcher.started(self.total_steps, ceil(self.total_steps / self.steps_per_epoch))
        for epoch in range(1, self.job.train.epochs + 1):
            if self.position.step >= self.total_steps:
                break
            self._run_epoch(epoch)
            if self._should_stop_early():
                break

    def _run_epoch(self, epoch: int) -> None:
        started = previous = time.perf_counter()
        probes = probes_for(self.job.model)
        order = self.feed.order(self.job.seed, epoch)
        size = self.job.train.batch_size
        means = {key: Mean() for key in ("loss", "data_loss", "penalty", "accuracy")}
        for done, first in enumerate(range(0, self.feed.size, size), start=1):
            report = self._step(order[first : first + size], Position(self.position.step + 1, epoch, done), probes)
            now = time.perf_counter()
            self._log_step(report, now - previous, means)
            previous = now
            self._stop_if_asked()
            if self.position.step >= self.total_steps:
                break
        self._finish_epoch(probes, means, time.perf_counter() - started)
        self._stop_if_asked()

    def _step(self, batch: Any, position: Position, probes: dict[str, LayerProbe]) -> StepReport:
        moment = Moment(self.job.seed, position.epoch, position.step)
        per_epoch = self.steps_per_epoch
        lr = self.job.optimizer.lr * self.job.schedule((position.step - 1) / per_epoch, self.total_steps / per_epoch)
        measure = (position.done - 1) % self.job.diagnostics.update_every == 0
        report = train_step(self.job, self.crew, batch, moment, lr, self.state, probes, measure)
        self.position = position
        return report

    def _log_step(self, report: StepReport, seconds: float, means: dict[str, Mean]) -> None:
        values = {
            "loss": report.data_loss + report.penalty,
            "data_loss": report.data_loss,
            "penalty": report.penalty,
        }
        if report.accuracy is not None:
            values["accuracy"] = report.accuracy
        for key, value in values.items():
            means[key].add(value, report.examples)
        row: Row = {"event": "step", "epoch": self.position.epoch, "step": self.position.step, **values}
        row |= {"lr": report.lr, "gradient_norm": report.gradient_norm}
        row["examples_per_second"] = round(report.examples / seconds, 1)
        if self.position.step % self.job.logging.every == 0:
            self.run.append(self.run.metrics, row)
        self.watcher.stepped(row)

    def _finish_epoch(self, probes: dict[str, LayerProbe], means: dict[str, Mean], seconds: float) -> None:
        epoch = self.position.epoch
        row: Row = {"event": "epoch", "epoch": epoch, "step": self.position.step}
        row["train"] = {key: mean.value for key, mean in means.items() if mean.value is not None}
        if (validation := self.evaluate("validation")) is not None:
            row["validation"] = validation
        row["seconds"] = round(seconds, 3)
        layers = [probe.row(epoch, self.job.kinds[name], self._weight_norm(probe)) for name, probe in probes.items()]
        self.run.append(self.run.metrics, row)
        self.run.append(self.run.layers, *layers)
        self.result = {"train": row["train"]} | ({"validation": validation} if validation else {})

        watched = deciding(row, self.job.metrics.best)
        settings = self.job.train.early_stopping
        if self.beaten is None or watched < self.beaten - (settings.min_delta if settings else 0):
            self.beaten, self.epochs_without_gain = watched, 0
        else:
            self.epochs_without_gain += 1
        is_best = self.best is None or watched < self.best
        if is_best:
            self.best = watched
        last = self.position.step >= self.total_steps or self._should_stop_early()
        if is_best or last or epoch % self.job.checkpoint.every_epochs == 0:
            self.save(best=is_best)
        self.watcher.finished_epoch(row, layers)

    def _stop_if_asked(self) -> None:
        if self.stop_signal is not None:
            self.save(best=False)
            raise Interrupted(*_farewell(self.stop_signal, self.run))

    def _should_stop_early(self) -> bool:
        settings = self.job.train.early_stopping
        return settings is not None and self.epochs_without_gain >= settings.patience

    # --- looking and keeping --------------------------------------------------------------------------------

    def evaluate(self, split: str) -> Row | None:
        """The figures of a split that the config names; None where the data set has no such split."""
        if split not in self.job.feeds:
            return None
        job, names = self.job, self.job.metrics.named
        sizes = job.train.batch_size, job.shard_size
        found = evaluate(job.model, job.loss, job.feeds[split], self.crew, *sizes, job.metrics, names)
        return {key: found[key] for key in names if key in found}

    def _weight_norm(self, probe: LayerProbe) -> float | None:
        weights = [p.data.reshape(-1) for p in probe.layer.parameters.values() if p.kind == "weight"]
        return float(sum(float(to_host(w @ w)) for w in weights)) ** 0.5 if weights else None

    def save(self, best: bool) -> None:
        weights = {name: to_host(array) for name, array in self.job.model.weights().items()}
        state = {name: to_host(array) for name, array in self.state.items()}
        config = self.run.config.read_text(encoding="utf-8")
        self.run.save(Checkpoint(weights, state, self.position, self.job.preprocessing, config), best)

    def close(self, status: str, test: Row | None = None) -> Row:
        """Write and return what there is to say about the run, however it ended."""
        weights = {name: to_host(array) for name, array in self.job.model.weights().items()}
        metric = self.job.metrics.best
        self.run.update_status(
            status=status,
            epochs=self.position.epoch,
            steps=self.position.step,
            **{f"best_{metric}": self.best if self.best is None or metric not in HIGHER else -self.best},
            weights_sha256=weights_sha256(weights),
            **self.result,
            **({} if test is None else {"test": test}),
        )
        return self.run.result()


@contextmanager
def interruptible(training: Training) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM lets the running step end and is noted; a second one acts as it always does."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        training.stop_signal = number
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        restore()


def _farewell(number: int, run: RunDir) -> tuple[str, int]:
    what = "interrupted" if number == signal.SIGINT else "asked to end"
    return f"{what}; the training so far is saved in {run.path}", 128 + number
