"""A run that goes on: its own config, with changes where a continued training allows them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from dltrain.errors import ConfigError
from dltrain.job.job import Job
from dltrain.job.settings import RESUMABLE
from dltrain.run.checkpoint import Checkpoint
from dltrain.run.rundir import RunDir
from dltrain.spec.job import require_plugins
from dltrain.spec.load import load, loads
from dltrain.spec.nodes import Mapping, Node, Place, Scalar
from dltrain.spec.override import Override
from dltrain.spec.paths import join
from dltrain.spec.runspec import RunSpec

Changes = dict[str, tuple[Any, Any]]  # path -> (value before, value now)


def resumed(run: RunDir, checkpoint: Checkpoint | None, overrides: Iterable[str | Override]) -> tuple[RunSpec, Changes]:
    """The spec to go on with, and what the overrides changed. Raises ConfigError, RunError.

    Only keys in RESUMABLE may differ from the config that the checkpoint was trained with, whether an override
    changed them or somebody edited config.yaml. Without a checkpoint the run's config.yaml is the law.
    """
    require_plugins(run)
    before = load(run.config)
    after = load(run.config, overrides)
    trained = loads(checkpoint.config, str(run.config)) if checkpoint else before
    refused = [
        f"{path}: is {_text(was)} in {run.path.name} and cannot become {_text(now)}; "
        f"a continued run may change {', '.join(RESUMABLE)} only"
        for path, (was, now) in differences(trained, after).items()
        if not any(join(path, "").startswith(f"{key}.") for key in RESUMABLE)
    ]
    if refused:
        raise ConfigError(refused)
    return after, differences(before, after)


def differences(before: RunSpec, after: RunSpec) -> Changes:
    """Every value that is not the same in both, None where there is none."""
    old, new = (dict(_leaves(spec.resolved(), "")) for spec in (before, after))
    return {path: (old.get(path), new.get(path)) for path in old | new if old.get(path) != new.get(path)}


def ending(spec: RunSpec, checkpoint: Checkpoint | None) -> str:
    """Which keys leave nothing to train after a checkpoint, and what to do; nothing where something is left."""
    if checkpoint is None:
        return ""
    train, where, progress = spec.train, checkpoint.position, checkpoint.progress
    stopping = train.early_stopping
    ended = {
        "train.max_steps": train.max_steps is not None and where.step >= train.max_steps,
        "train.epochs": where.epoch >= train.epochs and not checkpoint.epoch,
        "train.early_stopping": stopping is not None and progress.epochs_without_gain >= stopping.patience,
        "train.max_time": train.max_time is not None and progress.seconds >= train.max_time,
    }
    keys = [key for key, so in ended.items() if so]
    larger = "; larger ones continue it" if len(keys) > 1 else "; a larger one continues it"
    return f"ended by {' and '.join(keys)}{larger if {*keys} <= {*RESUMABLE} else ''}" if keys else ""


def stretched(job: Job, checkpoint: Checkpoint) -> str | None:
    """What is to be said where the schedule spans the training and the training is longer or shorter now: the steps
    taken had other learning rates than the same steps of a training that begins with this length."""
    trained = loads(checkpoint.config).train
    before = replace(job, train=replace(job.train, epochs=trained.epochs, max_steps=trained.max_steps))
    step, losses = checkpoint.position.step, checkpoint.progress.losses

    was, now = (of.learning_rate(max(0, step - 1), losses) for of in (before, job))
    if step == 0 or was == now:
        return None
    return (
        f"the schedule now ends at step {job.total_steps:,} instead of {before.total_steps:,}: learning rate "
        f"{was:.2g} -> {job.learning_rate(step, losses):.2g}; the weights will not be those of a training that had "
        f"{job.total_steps:,} steps from the start"
    )


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from _leaves(entry, join(path, key))
    if not entries:
        yield path, value


def _text(value: Any) -> str:
    return "nothing" if value is None else str(value)


def rewritten(spec: RunSpec) -> str:
    """config.yaml of a run that goes on: values that did not change keep the origins that stand there."""
    comments = [line.rpartition("  # ")[2] if "  # " in line else "" for line in spec.text.splitlines()]
    _keep_origins(spec.nodes, comments)
    return spec.to_yaml()


def _keep_origins(node: Node, comments: list[str]) -> None:
    if 0 < node.place.line <= len(comments) and comments[node.place.line - 1]:
        node.place = Place(comments[node.place.line - 1])
    if isinstance(node, Scalar):
        return
    for entry in node.entries.values() if isinstance(node, Mapping) else node.items:
        _keep_origins(entry, comments)
