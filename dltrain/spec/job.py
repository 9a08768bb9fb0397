"""RunSpec -> everything a training needs, and a saved run -> the model it trained."""

import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dltrain.backend import Device, open_device
from dltrain.data import MissingData, Preprocessing
from dltrain.errors import ConfigError, RunError, SettingError
from dltrain.nn import Loss, Network
from dltrain.registry import PLUGINS
from dltrain.run.checkpoint import Checkpoint
from dltrain.run.environment import environment
from dltrain.run.find import find_run
from dltrain.run.reader import read_json
from dltrain.run.rundir import RunDir
from dltrain.spec.build import build_model, placed
from dltrain.spec.data import build_source, load_examples, prepare_examples
from dltrain.spec.load import load, loads, replace
from dltrain.spec.memory import require_memory
from dltrain.spec.network import build_network
from dltrain.spec.runspec import RunSpec
from dltrain.spec.shipped import find_config
from dltrain.train.job import Job
from dltrain.train.loader import DataLoader
from dltrain.train.parallel import auto_shard_size

warn = logging.getLogger("dltrain").warning


def settle(spec: RunSpec, device: Device) -> RunSpec:
    """The spec with what `auto` stands for here: the device, and the number of examples in a shard."""
    settled: dict[str, str | int] = {}
    if spec.device == "auto":
        settled["device"] = device.name
    if spec.train.shard_size == "auto":
        settled["train.shard_size"] = auto_shard_size(build_model(spec), spec.train.batch_size)
    return replace(spec, settled)


@placed
def build_job(
    spec: RunSpec, device: Device, data_dir: Path, smoke: bool = False, checkpoint: Checkpoint | None = None
) -> Job:
    """Model, data and settings of a settled spec. Raises ConfigError, DataError and what devices raise.

    checkpoint: of a run that goes on, whose columns and classes are what they were at its start.
    smoke: only so many examples that an epoch is two training batches and one of validation and test; generated
    ones where the data set's files are absent.
    """
    source = build_source(spec)
    if source is None:
        raise ConfigError(f"{spec.position('')}  data: this config has no data to train on; it can be inspected only")
    if checkpoint is not None:
        source.recall(checkpoint.preprocessing.columns, checkpoint.preprocessing.classes)
    model = build_model(spec, source)
    require_memory(spec, model, source, device)
    examples = prepare_examples(spec, {"": source}, data_dir, smoke)
    for note in examples.notes:
        warn(note)
    learned, best = examples.preprocessing, spec.metrics.best
    if "validation" not in examples.splits and best not in ("loss", "accuracy"):
        raise ConfigError(
            f"{spec.position('metrics.best')}  metrics.best: {best} is measured on validation examples, of which there "
            f"are none; cut some with data.validation"
        )
    return Job(
        seed=spec.seed,
        device=device,
        model=model,
        loss=_loss(spec, learned, device),
        penalty=spec.penalty,
        optimizer=spec.optimizer.build(),
        schedule=spec.schedule.build(),
        loaders=examples.loaders(device),
        preprocessing=learned,
        notes=examples.notes,
        column_facts=examples.column_facts,
        data_sha256=examples.sha256,
        config=spec.to_yaml(),
        mixup=spec.sources[""].common["mixup"],
        train=spec.train,
        metrics=spec.metrics,
        checkpoint=spec.checkpoint,
        logging=spec.logging,
        diagnostics=spec.diagnostics,
        muted=spec.advice.mute,
    )


def new_run(
    spec: RunSpec, name: str, runs_dir: Path, data_dir: Path, threads: int | None, smoke: bool = False
) -> tuple[Job, RunDir]:
    """What a training needs, and a new directory that keeps it. Raises RunError where no run can be kept, and what
    `build_job` raises."""
    device = open_device(spec.device)
    spec = settle(spec, device)
    job = build_job(spec, device, data_dir, smoke)
    facts = environment(device, threads, sys.argv)
    try:
        return job, RunDir.create(runs_dir, name, spec.to_yaml(), spec.text, facts, smoke)
    except OSError as error:
        raise RunError(f"{runs_dir}: no run can be kept here ({error.strerror}); --runs-dir says where") from None


def _loss(spec: RunSpec, learned: Preprocessing, device: Device) -> Loss:
    """The loss for the kind of targets, with the weights of the classes. Raises SettingError where there are none."""
    loss: Loss = spec.loss.build()
    if learned.multilabel:
        loss = loss.for_labels() or loss
    if learned.class_weights is not None:
        if not loss.weighable:
            raise SettingError("data.class_weights", f"the loss {spec.loss.type} cannot weigh examples")
        loss.class_weights = device.asarray(np.array(learned.class_weights))
    return loss


@dataclass(frozen=True)
class Restored:
    """A trained model, ready to be evaluated or asked. spec: the resolved config it was trained with."""

    spec: RunSpec
    device: Device
    model: Network
    loss: Loss
    checkpoint: Checkpoint


def require_plugins(run: RunDir) -> None:
    """Raise RunError, saying which, where a plugin that the run was trained with has not been loaded."""
    try:
        needed = [Path(plugin["file"]) for plugin in read_json(run.environment).get("plugins", [])]
    except (RunError, KeyError, TypeError):
        return  # what was recorded is lost; if a part is missing, reading the config will say so
    loaded = {Path(plugin["file"]).name for plugin in PLUGINS}
    if missing := [path for path in needed if path.name not in loaded]:
        again = " ".join(f"--plugin {path}" for path in missing)
        raise RunError(f"{run.path}: was trained with a plugin; give it again: {again}")


def restore(run: RunDir, which: str, device_name: str | None) -> Restored:
    """The model of a run with the weights, or their averages, of its `last` or `best` checkpoint.

    Raises RunError, ConfigError."""
    require_plugins(run)
    checkpoint = run.checkpoint(which)
    spec = loads(checkpoint.config, filename=str(run.config))
    device = open_device(device_name or "auto")
    model = build_network(spec, checkpoint.preprocessing.input_shape)  # not from the data set: it may be elsewhere
    load_weights(model, run, checkpoint, device)
    return Restored(spec, device, model, _loss(spec, checkpoint.preprocessing, device), checkpoint)


def load_weights(model: Network, run: RunDir, checkpoint: Checkpoint, device: Device) -> None:
    """Raises RunError where they do not fit."""
    try:
        model.load(checkpoint.answering, device)
    except (KeyError, ValueError) as error:
        raise RunError(f"{run.path}: the checkpoint does not fit the run's own config ({error})") from None


def examples_of(restored: Restored, split: str, data_dir: Path) -> tuple[DataLoader, bool]:
    """A split of the data that a run was trained on, ready for its model; and whether it is still the same.

    Raises DataError if its shapes or classes are others.
    """
    checkpoint = restored.checkpoint
    loader, here = load_examples(restored.spec, checkpoint.preprocessing, split, data_dir, restored.device)
    return loader, here == {name: checkpoint.data_sha256.get(name, sha256) for name, sha256 in here.items()}


def describe(text: str, runs: Path, overrides: Iterable[str] = ()) -> tuple[RunSpec, Network, RunDir | None]:
    """The spec, and the model without weights, of CONFIG|RUN on the command line: a config file, a shipped config
    or a run, which comes third. A run's model is known even where its data set is gone.
    Raises ConfigError, DataError, RunError."""
    run = None
    try:
        path = find_config(text)
    except ConfigError as no_config:
        try:
            run = find_run(text, runs)
        except RunError as no_run:
            raise ConfigError(f"{no_config}; {no_run}") from None
        if overrides:
            raise ConfigError(f"{run.path} is a run, which is what it is; KEY=VALUE changes a CONFIG") from None
        require_plugins(run)
        path = run.config
    spec = load(path, overrides)
    try:
        return spec, build_model(spec), run
    except MissingData:
        if run is None:
            raise
        return spec, build_network(spec, run.checkpoint("last").preprocessing.input_shape), run
