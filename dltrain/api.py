"""Training and asking networks from Python:

    run = dltrain.load("digits_cnn", ["train.epochs=5"]).fit()
    probabilities = run.predict(images)
    probabilities = dltrain.load_run("latest").predict(images)

The same configs, the same run directories and, for the same config, the same bits as from the command line.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dltrain.backend.process import settle as settle_process
from dltrain.data import apply, default_data_dir
from dltrain.errors import DataError
from dltrain.report.tensorboard import TensorBoard, required
from dltrain.run.find import find_run
from dltrain.run.rundir import RunDir, name_of
from dltrain.spec import Restored, RunSpec, new_run, restore
from dltrain.spec import load as load_spec
from dltrain.train.callbacks import Callback
from dltrain.train.evaluate import predict
from dltrain.train.loop import fit

Row = dict[str, Any]
RUNS = Path("runs")


def load(config: str | Path, overrides: Iterable[str] = ()) -> "Experiment":
    """A config file, or a shipped config by its name, with changes such as "train.epochs=5". Raises ConfigError."""
    return Experiment(load_spec(config, list(overrides)), name_of(config))


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
    ) -> "Run":
        """Train, test and keep everything in a new run directory, as `dltrain fit` does, in silence.

        threads: all cores unless given; changes no bits. Raises what the command would say: ConfigError, DataError,
        DivergedError …, all of them DltrainError.
        """
        settle_process()
        if self.spec.logging.tensorboard:
            required()
        where = Path(runs_dir), Path(data_dir) if data_dir else default_data_dir()
        job, directory = new_run(self.spec, name or self.name, *where, threads)
        fit(job, directory, threads, TensorBoard(directory.tensorboard) if job.logging.tensorboard else Callback())
        return Run(directory)


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
        examples = np.asarray(x)
        if examples.shape[1:] != learned.input_shape or examples.dtype.kind not in "buif" or not len(examples):
            raise DataError(f"predict takes numbers (N, …) with {learned.input_shape} for each, not {examples.shape}")
        with np.errstate(all="ignore"):  # what is not finite shows in the result
            ready = apply(examples, *learned.scale_and_shift(restored.device.dtype))
            found: NDArray[Any] = predict(
                restored.model, restored.loss, ready, restored.device, restored.spec.train.batch_size
            )
        return found

    def _model(self) -> Restored:
        """The weights are read when they are first asked for."""
        if self._restored is None:
            settle_process()
            self._restored = restore(self._directory, self._checkpoint, None)
        return self._restored
