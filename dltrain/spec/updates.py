"""The updates of a training: what the config says of them, with losses for the data that are there."""

from collections.abc import Iterable

import numpy as np

from dltrain.backend import Device
from dltrain.data import Preprocessing
from dltrain.errors import SettingError
from dltrain.job.update import Update, all_values, lone_update
from dltrain.nn import Given, Loss, Network, Networks, Value
from dltrain.spec.game import Game
from dltrain.spec.nodes import allowed
from dltrain.spec.paths import join
from dltrain.spec.runspec import Component, RunSpec
from dltrain.weights.match import name_pattern


def build_updates(
    spec: RunSpec, trained: Game | Network | Networks, learned: Preprocessing, device: Device
) -> tuple[Update, ...]:
    """In the order of the config. Raises SettingError where classes are to weigh what cannot be weighed."""
    if isinstance(trained, Network):
        return (
            lone_update(
                trained,
                _loss(spec, learned, device),
                names_of(learned)[0],
                _target(learned),
                optimizer=spec.optimizer.build(),
                schedule=spec.schedule.build(),
                penalty=spec.penalty,
                clip_norm=spec.train.clip_norm,
                lr_factors=_lr_factors(spec.optimizer, [trained]),
            ),
        )
    assert isinstance(trained, Game) and spec.updates is not None
    found = []
    for name, (terms, networks) in trained.updates.items():
        said = spec.updates[name]
        found.append(
            Update(
                name=name if len(spec.updates) > 1 else "",
                terms=terms,
                networks=networks,
                optimizer=said.optimizer.build(),
                schedule=said.schedule.build(),
                penalty=said.penalty,
                clip_norm=said.clip_norm,
                every=said.every,
                lr_factors=_lr_factors(said.optimizer, networks),
            )
        )
    if learned.class_weights is not None:
        _weigh([term.loss for update in found for term in update.terms], learned.class_weights, device)
    return tuple(found)


def _lr_factors(optimizer: Component, networks: Iterable[Network]) -> dict[str, float]:
    """By the names of parameters that an update trains. Raises SettingError for a pattern that fits none."""
    setting, asked = join(optimizer.path, "lr_factors"), optimizer.common["lr_factors"] or {}
    patterns = {text: (name_pattern(text, setting), factor) for text, factor in asked.items()}
    layers = [layer for network in networks for layer in network.layers if layer.parameters]
    found: dict[str, float] = {}
    used: set[str] = set()
    for layer in layers:
        for text, (pattern, factor) in patterns.items():
            if pattern.fullmatch(layer.name):
                found |= {f"{layer.name}.{part}": factor for part in layer.parameters}
                used.add(text)
                break
    for text in patterns:
        if text not in used:
            what = f"{text!r} fits no layer with parameters that an earlier line leaves"
            raise SettingError(setting, f"{what}{allowed(text, [layer.name for layer in layers])}")
    return found


def names_of(learned: Preprocessing) -> tuple[str, str]:
    """Of inputs and targets among the values."""
    inputs, targets, *_ = learned.named
    return inputs, targets


def _target(learned: Preprocessing) -> Given:
    name, value = names_of(learned)[1], learned.values[1] if learned.values else None
    if value is None or not value.is_text:
        return Given(name, ())
    return Given(name, value.shape, len(value.classes or ()), value.ends)


def values_of(updates: tuple[Update, ...]) -> dict[str, Value]:
    return {value.name: value for value in all_values(updates)}


def _weigh(losses: list[Loss], weights: tuple[float, ...], device: Device) -> None:
    """Those of classes."""
    of_classes = [loss for loss in losses if loss.classification]
    if not of_classes:
        raise SettingError("data.class_weights", "no update has a loss of classes, whose examples could be weighed")
    for loss in of_classes:
        loss.class_weights = device.asarray(np.array(weights))


def _loss(spec: RunSpec, learned: Preprocessing, device: Device) -> Loss:
    """The loss for the kind of targets, with the weights of the classes. Raises SettingError where there are none."""
    assert spec.loss
    loss: Loss = spec.loss.build()
    if learned.multilabel:
        loss = loss.for_labels() or loss
    if learned.class_weights is not None:
        if not loss.weighable:
            raise SettingError("data.class_weights", f"the loss {spec.loss.type} cannot weigh examples")
        loss.class_weights = device.asarray(np.array(learned.class_weights))
    return loss
