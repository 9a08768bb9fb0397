"""Training and asking networks from Python:

    run = dltrain.load("digits_cnn", ["train.epochs=5"]).fit()
    probabilities = run.predict(images)
    longer = run.resume(["train.epochs=10"])
    probabilities = dltrain.load_run("latest").predict(images)

The same configs, the same run directories and, for the same config, the same bits as from the command line.
"""

import logging
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dltrain.backend import Ranks, choose_kernels, open_device
from dltrain.backend.process import hold_blas_to_one_thread
from dltrain.backend.ranks import Failure
from dltrain.data import default_data_dir
from dltrain.errors import ConfigError, DataError, DltrainError, RunError
from dltrain.evaluation.evaluate import predict
from dltrain.job.job import Job
from dltrain.report.of_tensor import graph as graph
from dltrain.report.tensorboard import TensorBoard, required
from dltrain.run.checkpoint import Checkpoint
from dltrain.run.environment import differences as environment_differences
from dltrain.run.environment import environment
from dltrain.run.find import find_run
from dltrain.run.names import name_of
from dltrain.run.rundir import ENDED, RunDir, all_runs
from dltrain.spec import (
    Override,
    Restored,
    RunSpec,
    build_job,
    differences,
    ending,
    find_judges,
    new_run,
    restore,
    resumed,
    rewritten,
    settle,
    stretched,
)
from dltrain.spec import load as load_spec
from dltrain.spec.order import order_for
from dltrain.spec.shards import require_shards
from dltrain.train.callbacks import Callback, CallbackList
from dltrain.train.loop import fit

Row = dict[str, Any]
Overrides = Iterable[str | Override]
RUNS = Path("runs")
error = logging.getLogger("dltrain").error


def load(config: str | Path, overrides: Overrides = (), *, runs_dir: str | Path = RUNS) -> "Experiment":
    """A config file, or a shipped config by its name, with changes such as ["train.epochs=5"]. runs_dir: of the runs
    whose weights it loads by name. Raises ConfigError."""
    if not isinstance(config, str | Path):
        raise ConfigError(f"load takes the path of a config, or a shipped one's name, not {config!r}")
    return Experiment(load_spec(config, _changes(overrides), Path(runs_dir)), name_of(config))


def _changes(overrides: Overrides) -> list[str | Override]:
    """Raises ConfigError for what is no list of changes."""
    if isinstance(overrides, str) or not isinstance(overrides, Iterable):
        raise ConfigError(f'changes are a list of texts, such as ["train.epochs=5"], not {overrides!r}')
    found = list(overrides)
    if odd := [change for change in found if not isinstance(change, str | Override)]:
        raise ConfigError(f'a change is a text, such as "train.epochs=5", not {odd[0]!r}')
    return found


@dataclass(frozen=True)
class Training:
    """A training in its run directory, which this process holds: about to begin or to go on.

    job: None where the run is finished and nothing is left to train.
    checkpoint: where it goes on; None where it starts with its first step.
    ended_by: which keys leave nothing to train after the checkpoint, and what to do.
    resumed: whether the run was there before.
    environment: what has changed in it since the run began; while that is nothing, equal bits are promised.
    schedule: what a new length means for the learning rates; nothing where it means nothing.
    device_auto: whether the config of a new run left the choice of a device to this machine.
    """

    directory: RunDir
    job: Job | None
    threads: int | None
    checkpoint: Checkpoint | None = None
    ended_by: str = ""
    resumed: bool = False
    environment: tuple[str, ...] = ()
    schedule: str | None = None
    device_auto: bool = False

    def fit(self, callback: Callback | None = None, ranks: Ranks | None = None) -> "Run":
        """Train, test and keep everything. Raises what the command would say, all of them DltrainError.

        ranks: that train together; this one leads, the others take its orders.
        """
        if self.job is not None:
            ranks = ranks or Ranks()
            if ranks.size > 1:
                self._lead(self.job, ranks)
            callbacks = [callback] if callback else []
            if self.job.logging.tensorboard:
                callbacks.append(TensorBoard(self.directory.tensorboard))
            if self.job.show.pictures:
                from dltrain.report.strip import Film  # to draw takes a library

                callbacks.append(Film(self.directory))
            fit(self.job, self.directory, self.threads, CallbackList(*callbacks), self.checkpoint, ranks)
        return Run(self.directory)

    def _lead(self, job: Job, ranks: Ranks) -> None:
        """Tell the others, and keep who they are; should one fail, its reason."""
        smoke = self.directory.last_status().get("smoke") is True

        def keep(failure: Failure) -> None:
            self.directory.update_status(status="failed", ended_by=asdict(failure))
            self.directory.note(str(failure))
            error(str(failure))

        self.directory.update_status(ranks=ranks.hosts)
        ranks.told = keep
        ranks.order(order_for(job, self.directory.path, smoke, self.threads, self.checkpoint))


class Experiment:
    """A config that can be trained. spec: what it says, every default filled in."""

    def __init__(self, spec: RunSpec, name: str):
        self.spec, self.name = spec, name

    def fit(
        self,
        *,
        runs_dir: str | Path = RUNS,
        data_dir: str | Path | None = None,
        threads: int | None = None,
        name: str | None = None,
        resume: bool = False,
    ) -> "Run":
        """Train, test and keep everything in a new run directory, as `dltrain fit` does, in silence.

        threads: all cores unless given; changes no bits. resume: go on with the newest unfinished run of this very
        config, where there is one, as `--resume auto` does.
        Raises what the command would say: ConfigError, DataError, DivergedError …, all of them DltrainError.
        """
        return self.training(runs_dir=runs_dir, data_dir=data_dir, threads=threads, name=name, resume=resume).fit()

    def training(
        self,
        *,
        runs_dir: str | Path = RUNS,
        data_dir: str | Path | None = None,
        threads: int | None = None,
        name: str | None = None,
        resume: bool = False,
        smoke: bool = False,
        kernels: str = "auto",
        ranks: Ranks | None = None,
    ) -> Training:
        """What `fit` runs, with its directory. smoke: of two batches only, made up where the data are not here.

        kernels: of a run that goes on, see `Run.training`. ranks: that will train together.
        """
        hold_blas_to_one_thread()
        runs = Path(runs_dir)
        if resume and (unfinished := _unfinished(settle(self.spec, open_device(self.spec.device)), runs, smoke)):
            return Run(unfinished).training(data_dir=data_dir, threads=threads, kernels=kernels, ranks=ranks)
        if self.spec.logging.tensorboard:
            required()
        data = Path(data_dir) if data_dir else default_data_dir()
        judges = find_judges(self.spec, runs, self.spec.device, smoke)
        job, directory = new_run(self.spec, name or self.name, runs, data, threads, smoke, judges, ranks)
        return Training(directory, job, threads, device_auto=self.spec.device == "auto")


def _unfinished(spec: RunSpec, runs: Path, smoke: bool) -> RunDir | None:
    """The newest run of this very config that has not come to its end and that nobody trains."""
    for run in sorted(all_runs(runs), key=lambda run: run.config.stat().st_mtime_ns, reverse=True):
        with suppress(DltrainError):  # a config that cannot be read is not this one
            run.require_own_files()
            status = run.last_status()
            if status.get("status") in ENDED or (status.get("smoke") is True) != smoke:
                continue
            if not differences(spec, load_spec(run.config)) and run.is_free():
                return run
    return None


def load_run(run: str | Path | None = None, *, runs_dir: str | Path = RUNS, checkpoint: str = "last") -> "Run":
    """A run by its path, its name, a unique part of it or "latest"; the newest without. Raises RunError.

    checkpoint: "last" or "best".
    """
    return Run(find_run(None if run is None else str(run), Path(runs_dir)), checkpoint)


class Run:
    """A trained network. path: its run directory."""

    def __init__(self, directory: RunDir, checkpoint: str = "last"):
        self.path = directory.path
        self._directory, self._checkpoint = directory, checkpoint
        self._restored: Restored | None = None

    @property
    def result(self) -> Row:
        """What `dltrain fit --json` prints: status, losses, scores, the hash of the weights."""
        return self._directory.result()

    @property
    def metrics(self) -> list[Row]:
        """The rows of metrics.jsonl: one for each step and each epoch."""
        return self._directory.rows(self._directory.metrics)

    @property
    def layers(self) -> list[Row]:
        """The rows of layers.jsonl: one for each layer and epoch."""
        return self._directory.rows(self._directory.layers)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes in the order of the probabilities; None where numbers are predicted."""
        return self._model().checkpoint.preprocessing.classes

    def resume(
        self, overrides: Overrides = (), *, data_dir: str | Path | None = None, threads: int | None = None
    ) -> "Run":
        """Go on where it was interrupted, to the bits of a run that never was, as `dltrain fit --resume` does.

        overrides: may change its length and what is kept of it, such as "train.epochs=10". A finished run whose
        config stays is left as it is. Raises ConfigError, RunError, and what `Experiment.fit` raises.
        """
        return self.training(overrides, data_dir=data_dir, threads=threads).fit()

    def training(
        self,
        overrides: Overrides = (),
        *,
        data_dir: str | Path | None = None,
        threads: int | None = None,
        kernels: str = "auto",
        ranks: Ranks | None = None,
    ) -> Training:
        """What `resume` runs: the run is brought back to its newest checkpoint, or to its start where it has none.

        kernels: "auto" are those that the run was trained with, where they are here. A run that numpy trained turns
        the whole process to numpy's kernels, for others would give other bits.
        """
        hold_blas_to_one_thread()
        self._directory.hold()
        try:
            data = Path(data_dir) if data_dir else default_data_dir()
            return self._training(overrides, data, threads, kernels, ranks or Ranks())
        except BaseException:
            self._directory.release()
            raise

    def _training(
        self, overrides: Overrides, data_dir: Path, threads: int | None, kernels: str, ranks: Ranks
    ) -> Training:
        run = self._directory
        checkpoint = run.checkpoint("last") if run.has_checkpoint() else None
        spec, changed = resumed(run, checkpoint, _changes(overrides))
        status, ended_by = run.last_status(), ending(spec, checkpoint)
        if status.get("status") == "done" and not changed:
            run.release()
            return Training(run, None, threads, checkpoint, ended_by, resumed=True)
        if spec.logging.tensorboard:
            required()
        recorded = run.recorded_environment()
        if kernels == "auto" and recorded.get("kernels") == "numpy":
            choose_kernels("numpy")  # others would give other bits
        device = open_device(spec.device)
        smoke = status.get("smoke") is True
        judges = find_judges(spec, run.path.parent, spec.device, smoke)
        job = build_job(spec, device, data_dir, smoke, checkpoint, checkpoint is None, judges)
        require_shards(job, ranks)
        step = checkpoint.position.step if checkpoint else 0
        if job.total_steps < step:
            raise ConfigError(f"{run.path} has taken {step:,} steps, more than the {job.total_steps:,} asked for")
        others = environment_differences(recorded, environment(device, threads, sys.argv))
        if checkpoint and (other_data := job.other_data(checkpoint)):
            if not others:
                raise RunError(f"{run.path}: {'; '.join(other_data)}; bring back the old ones or start a new run")
            others += other_data  # pictures, say, may be decoded differently there
            checkpoint = job.adopt(checkpoint)
        schedule = stretched(job, checkpoint) if checkpoint else None
        note = {"changed": {path: list(values) for path, values in changed.items()}, "environment": others}
        note |= {"schedule": schedule} if schedule else {}
        run.reopen(checkpoint, note, rewritten(spec) if changed else None, job.checkpoint.keep)
        job = replace(job, config=run.config.read_text(encoding="utf-8"))
        return Training(run, job, threads, checkpoint, ended_by, True, tuple(others), schedule)

    def report(self) -> Path:
        """Write the page that shows the run, as `dltrain report` does; where it is."""
        from dltrain.report.page import write_report  # the libraries for charts and pages take a while to load

        write_report(self._directory)
        return self._directory.report

    def predict(self, x: ArrayLike) -> NDArray[Any]:
        """Probabilities (N, classes), or the numbers predicted (N, k), for examples x (N, *input_shape).

        x is in the units of the data set, not normalised. Raises DataError where the shape is another one.
        """
        restored = self._model()
        learned = restored.checkpoint.preprocessing
        try:
            examples = np.asarray(x)
        except ValueError as error:
            raise DataError(f"predict takes an array of numbers: {error}") from None
        if examples.shape[1:] != learned.input_shape or examples.dtype.kind not in "buif" or not len(examples):
            raise DataError(f"predict takes numbers (N, …) with {learned.input_shape} for each, not {examples.shape}")
        with np.errstate(all="ignore"):  # what is not finite shows in the result
            ready = learned.ready(examples, restored.device.dtype)
            found: NDArray[Any] = predict(
                restored.network, restored.loss, ready, restored.device, restored.spec.train.batch_size
            )
        return found if learned.classes else learned.target_units(found)

    def _model(self) -> Restored:
        """The weights are read when they are first asked for."""
        if self._restored is None:
            hold_blas_to_one_thread()
            self._restored = restore(self._directory, self._checkpoint, None)
        return self._restored
