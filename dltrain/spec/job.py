"""RunSpec -> everything a training needs, and a saved run -> the model it trained."""

import logging
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dltrain.backend import Device, Ranks, open_device, to_host
from dltrain.data import MissingData, Source
from dltrain.errors import ConfigError, RunError, SettingError
from dltrain.job.answering import Answering, answering
from dltrain.job.job import Job
from dltrain.job.judge import Judge
from dltrain.job.loader import DataLoader
from dltrain.job.parallel import auto_shard_size
from dltrain.job.update import Update
from dltrain.nn import Loss, Network, Networks, Picture, Value
from dltrain.registry import PLUGINS
from dltrain.run.checkpoint import Checkpoint, weights_sha256
from dltrain.run.environment import environment
from dltrain.run.find import find_run
from dltrain.run.reader import read_json
from dltrain.run.rundir import RunDir
from dltrain.spec.build import build_model, build_networks, placed
from dltrain.spec.data import Examples, build_source, build_sources, load_examples, prepare_examples
from dltrain.spec.figures import build_figures
from dltrain.spec.game import build_game
from dltrain.spec.load import load, loads, replace
from dltrain.spec.memory import require_memory
from dltrain.spec.network import build_network
from dltrain.spec.runspec import RunSpec
from dltrain.spec.shards import require_shards
from dltrain.spec.shipped import find_config
from dltrain.spec.updates import build_updates, values_of
from dltrain.spec.weights import NothingThere, loads_of, start_of, start_values
from dltrain.weights.match import LoadSettings, Match

warn = logging.getLogger("dltrain").warning
MOST_SHOWN = 1000  # times that pictures are kept of a training


@placed
def settle(spec: RunSpec, device: Device) -> RunSpec:
    """The spec with what `auto` stands for here: the device, and the number of examples in a shard; and with the
    SHA-256 of start values that are loaded."""
    settled: dict[str, str | int] = {}
    loads = loads_of(spec)
    with suppress(NothingThere):  # which is told when the job is built
        for setting, found in start_values(build_model(spec), loads).items() if loads else ():
            if loads[setting].sha256 is None:
                settled[f"{setting}.sha256"] = weights_sha256(found.arrays)
    if spec.device == "auto":
        settled["device"] = device.name
    if spec.train.shard_size == "auto":
        settled["train.shard_size"] = auto_shard_size(build_model(spec), spec.train.batch_size)
    return replace(spec, settled)


@placed
def build_job(
    spec: RunSpec,
    device: Device,
    data_dir: Path,
    smoke: bool = False,
    checkpoint: Checkpoint | None = None,
    from_start: bool = True,
    judges: dict[str, Judge] | None = None,
) -> Job:
    """Model, data and settings of a settled spec. Raises ConfigError, DataError and what devices raise.

    judges: of pictures, by the names that the config has for their runs.
    checkpoint: of a run that goes on, whose columns and classes are what they were at its start.
    from_start: whether it needs its start values, which a config may load.
    smoke: only so many examples that an epoch is two training batches and one of validation and test; generated
    ones where the data set's files are absent.
    """
    sources = _sources(spec, checkpoint)
    game = build_networks(spec, sources) if spec.networks is not None else None
    model = game.model if game else build_model(spec, build_source(spec) if len(sources) > 1 else sources.get(""))
    require_memory(spec, model, sources, device)
    loads = loads_of(spec) if from_start else {}
    starts = _start_values(model, loads, smoke)
    examples = prepare_examples(spec, sources, data_dir, smoke)
    for note in examples.notes:
        warn(note)
    loaders = examples.loaders(device)
    if from_start:
        model.start_values.update(pictures_at_first(model, loaders["train"]))
    _require_validation(spec, examples)
    updates = build_updates(spec, game or model, examples.preprocessing, device)
    values = game.values if game else values_of(updates)
    factors = {name: factor for update in updates for name, factor in update.lr_factors.items()}
    job = Job(
        seed=spec.seed,
        device=device,
        model=model,
        updates=updates,
        values=values,
        asked=build_figures(spec, values, judges),
        judges=judges or {},
        show=spec.show,
        loaders=loaders,
        preprocessing=examples.preprocessing,
        notes=examples.notes,
        starts=tuple(start_of(loads[at].path, at, found, model, factors) for at, found in starts.items()),
        column_facts=examples.column_facts,
        data_sha256=examples.sha256,
        config=spec.to_yaml(),
        mixup=max(source.common["mixup"] for source in spec.sources.values()),
        train=spec.train,
        metrics=spec.metrics,
        checkpoint=spec.checkpoint,
        logging=spec.logging,
        diagnostics=spec.diagnostics,
        muted=spec.advice.mute,
        write=spec.write,
    )
    _require_few_pictures(job)
    return job


def _sources(spec: RunSpec, checkpoint: Checkpoint | None) -> dict[str, Source]:
    sources = build_sources(spec)
    if not sources:
        raise ConfigError(f"{spec.position('')}  data: this config has no data to train on; it can be inspected only")
    if checkpoint is not None:
        known = checkpoint.preprocessing
        for source, learned in zip(sources.values(), (known, *known.beside), strict=False):
            source.recall(learned.columns, learned.classes)
    return sources


def _require_validation(spec: RunSpec, examples: Examples) -> None:
    if "validation" not in examples.splits and spec.metrics.best not in ("loss", "accuracy"):
        raise ConfigError(
            f"{spec.position('metrics.best')}  metrics.best: {spec.metrics.best} is measured on validation examples, "
            "of which there are none; cut some with data.validation"
        )


def _require_few_pictures(job: Job) -> None:
    if job.show.pictures and job.total_steps > MOST_SHOWN * job.show.every:
        often, enough = job.total_steps // job.show.every, -(-job.total_steps // MOST_SHOWN)
        raise SettingError("show.every", f"pictures would be kept {often:,} times; {enough:,} steps or more are enough")


def _start_values(model: Network | Networks, loads: dict[str, LoadSettings], smoke: bool) -> dict[str, Match]:
    """What is loaded, given to the model, by the setting that asks for it."""
    try:
        starts = start_values(model, loads)
    except NothingThere as error:
        if not smoke:
            raise
        warn(f"{error}; --smoke starts with drawn values")
        return {}
    for found in starts.values():
        model.start_values.update(found.arrays)
    return starts


def pictures_at_first(model: Network | Networks, loader: DataLoader) -> dict[str, Any]:
    """The start values of what is a picture of the first training example at first."""
    layers = [layer for layer in model.layers if isinstance(layer, Picture)]
    first = loader.values(loader.rows(0, 1)) if layers else {}
    return {f"{layer.name}.weight": to_host(first[layer.start])[0] for layer in layers}


def new_run(
    spec: RunSpec,
    name: str,
    runs_dir: Path,
    data_dir: Path,
    threads: int | None,
    smoke: bool = False,
    judges: dict[str, Judge] | None = None,
    ranks: Ranks | None = None,
) -> tuple[Job, RunDir]:
    """What a training needs, and a new directory that keeps it. Raises RunError where no run can be kept, and what
    `build_job` and `require_shards` raise."""
    device = open_device(spec.device)
    spec = settle(spec, device)
    job = build_job(spec, device, data_dir, smoke, judges=judges)
    require_shards(job, ranks or Ranks())
    facts = environment(device, threads, sys.argv)
    try:
        return job, RunDir.create(runs_dir, name, spec.to_yaml(), spec.text, facts, smoke)
    except OSError as error:
        raise RunError(f"{runs_dir}: no run can be kept here ({error.strerror}); --runs-dir says where") from None


@dataclass(frozen=True)
class Restored:
    """A trained model, ready to be evaluated or asked. spec: the resolved config it was trained with. values: all that
    have a name."""

    spec: RunSpec
    device: Device
    model: Network | Networks
    updates: tuple[Update, ...]
    values: dict[str, Value]
    checkpoint: Checkpoint

    @property
    def network(self) -> Network:
        """The only one. Raises RunError where there are several."""
        if not isinstance(self.model, Network):
            names = ", ".join(self.model.networks)
            raise RunError(
                f"this run trained several networks ({names}); what they make is shown by "
                "`dltrain predict RUN --value NAME --output FILE.png`"
            )
        return self.model

    @property
    def answering(self) -> Network | Answering | None:
        """What gives each example one answer; None where nothing does."""
        return answering(self.model, self.updates, [*self.checkpoint.preprocessing.named], self.device)

    @property
    def loss(self) -> Loss:
        """Of the only network."""
        return self.updates[0].terms[0].loss


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
    learned = checkpoint.preprocessing  # not from the data set: it may be elsewhere
    if spec.networks is None:
        model: Network | Networks = build_network(spec, learned.input_shape, learned.vocabulary)
        updates = build_updates(spec, model, learned, device)
        values = values_of(updates)
    else:
        game = build_game(spec, learned.named.values())
        model, values, updates = game.model, game.values, build_updates(spec, game, learned, device)
    load_weights(model, run, checkpoint, device)
    return Restored(spec, device, model, updates, values, checkpoint)


def load_weights(model: Network | Networks, run: RunDir, checkpoint: Checkpoint, device: Device) -> None:
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


def describe(text: str, runs: Path, overrides: Iterable[str] = ()) -> tuple[RunSpec, Network | Networks, RunDir | None]:
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
            raise ConfigError(f"{run.path} is a run; overrides apply to configs, not runs") from None
        require_plugins(run)
        path = run.config
    spec = load(path, overrides)
    try:
        return spec, build_model(spec), run
    except MissingData:
        if run is None:
            raise
        learned = run.checkpoint("last").preprocessing
        if spec.networks is not None:
            return spec, build_game(spec, learned.named.values()).model, run
        return spec, build_network(spec, learned.input_shape, learned.vocabulary), run
