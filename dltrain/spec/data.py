"""RunSpec -> the data sets that it names: one, or several beside each other, each with settings of its own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from dataclasses import replace as with_changes
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dltrain.backend import Device
from dltrain.data import (
    Chosen,
    Cuts,
    Fold,
    MissingData,
    Prepared,
    Preprocessing,
    Source,
    class_weights,
    generated,
    load_split,
    prepare,
)
from dltrain.errors import ConfigError, DataError, SettingError, ShapeError
from dltrain.job.loader import DataLoader
from dltrain.spec.paths import join
from dltrain.spec.runspec import Component, RunSpec

warn = logging.getLogger("dltrain").warning

FOR_A_MODEL = {"class_weights": "none", "mixup": 0.0}  # what several data sets cannot have


def build_sources(spec: RunSpec) -> dict[str, Source]:
    """The data sets by name, "" for a lone one, checked to suit their augmentations; none for a config without `data`.
    Raises ConfigError."""
    return {name: _build(spec, component) for name, component in spec.sources.items()}


def build_source(spec: RunSpec) -> Source | None:
    """The only data set. None for a config without `data`. Raises ConfigError."""
    sources = build_sources(spec)
    if spec.has_several_sources:
        names = ", ".join(sources)
        raise ConfigError(
            f"{spec.position('data')}  data: {names} are data sets by name, for `networks` and `updates`; a `model` "
            f"takes a lone one: `data: {{type: NAME, …}}`"
        )
    return next(iter(sources.values()), None)


def _build(spec: RunSpec, component: Component) -> Source:
    with _of(component):
        source: Source = component.build()
        if component.common["classes"] is not None:
            source = Chosen(source, component.common["classes"])
    for number, augmentation in enumerate(component.common["augment"]):
        try:
            source.check_augmentation(augmentation)
        except ShapeError as error:
            path = f"{component.path}.augment[{number}]"
            raise ConfigError(f"{spec.position(path)}  {path}: {error}") from None
    for key, nothing in FOR_A_MODEL.items() if spec.has_several_sources else ():
        if component.common[key] != nothing:
            path = join(component.path, key)
            raise ConfigError(f"{spec.position(path)}  {path}: is for a lone data set and a `model`; leave it out")
    return source


@contextmanager
def _of(component: Component) -> Iterator[None]:
    """Inside, what is wrong with `data.fold` is wrong with `data.NAME.fold`."""
    try:
        yield
    except SettingError as error:
        key = error.setting.removeprefix("data.")
        message = str(error).removeprefix(f"{error.setting}: ")
        raise SettingError(join(component.path, key), message) from None


@dataclass(frozen=True, eq=False)
class Examples:
    """All data sets of a config, prepared. sets: by name, "" for a lone one. smoke: whether these are but a few."""

    spec: RunSpec
    sets: dict[str, Prepared]
    smoke: bool

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """Of the first, which knows the others."""
        first, *others = (
            with_changes(prepared.preprocessing, source=name, class_weights=self._class_weights(name, prepared))
            for name, prepared in self.sets.items()
        )
        return with_changes(first, beside=tuple(others))

    def _class_weights(self, name: str, prepared: Prepared) -> tuple[float, ...] | None:
        component = self.spec.sources[name]
        with _of(component):
            targets, classes = prepared.splits["train"].targets, prepared.preprocessing.classes
            return class_weights(component.common["class_weights"], targets, classes)

    @property
    def splits(self) -> list[str]:
        """Those that every data set has."""
        return [name for name in ("train", "validation", "test") if all(name in p.splits for p in self.sets.values())]

    @property
    def notes(self) -> tuple[str, ...]:
        found = [(name, note) for name, prepared in self.sets.items() for note in prepared.notes]
        lines = [f"{name}: {note}" if name else note for name, note in found]
        for split in ("validation", "test"):
            here = [name for name, prepared in self.sets.items() if split in prepared.splits]
            if here and split not in self.splits:
                others = ", ".join(name for name in self.sets if name not in here)
                lines.append(f"{', '.join(here)} has {split} examples, but {others} has none: they are not used")
        return tuple(lines)

    @property
    def column_facts(self) -> list[dict[str, Any]]:
        return [fact for prepared in self.sets.values() for fact in prepared.column_facts]

    @property
    def sha256(self) -> dict[str, str]:
        """Of each split; nothing for a smoke test."""
        return {
            named(split, source): prepared.splits[split].sha256()
            for source, prepared in self.sets.items()
            for split in (() if self.smoke else self.splits)
        }

    def loaders(self, device: Device) -> dict[str, DataLoader]:
        learned = self.preprocessing
        found = {}
        for split in self.splits:
            parts = []
            for (source, prepared), known in zip(self.sets.items(), (learned, *learned.beside), strict=True):
                augment = self.spec.sources[source].common["augment"] if split == "train" else ()
                parts.append((prepared.splits[split], known, augment, device))
            first, *others = parts
            found[split] = DataLoader(*first, beside=tuple(DataLoader(*other) for other in others))
        return found


def named(split: str, source: str) -> str:
    """What a split is called where several data sets have one."""
    return f"{split} of {source}" if source else split


def prepare_examples(spec: RunSpec, sources: dict[str, Source], data_dir: Path, smoke: bool) -> Examples:
    """Raises ConfigError and DataError.

    smoke: only so many examples that an epoch is two training batches and one of validation and test; generated
    ones where a data set's files are absent.
    """
    sets = {}
    for name, source in sources.items():
        with _of(spec.sources[name]):
            sets[name] = _prepare(spec, spec.sources[name], source, data_dir, smoke)
    return Examples(spec, sets, smoke)


def _prepare(spec: RunSpec, component: Component, source: Source, data_dir: Path, smoke: bool) -> Prepared:
    common, batch = component.common, spec.train.step_size
    settings = {key: common[key] for key in ("normalize", "normalize_targets")}
    try:
        prepared = prepare(source, data_dir, cuts=cuts_of(component), **settings, seed=common["split_seed"])
    except MissingData:
        if not smoke:
            raise
        prepared = generated(source, examples=2 * batch, **settings, seed=spec.seed)
        warn(f"{component.path}: made up for --smoke, with the shapes of {component.type}, whose files are not here")
    if not smoke:
        return prepared
    limits = {"train": 2 * batch, "validation": batch, "test": batch}
    splits = {"validation": prepared.splits["train"]} | prepared.splits
    if "validation" not in prepared.splits:
        warn(f"{component.path}: there is no validation part; --smoke takes training examples for it")
    splits = {name: split.take(np.arange(min(limits[name], len(split)))) for name, split in splits.items()}
    return with_changes(prepared, splits=splits)


def cuts_of(component: Component) -> Cuts:
    """What a data set's settings say of cutting the training part."""
    return Cuts(**{field.name: component.common[field.name] for field in fields(Cuts)})


def check_folds(spec: RunSpec, folds: int, data_dir: Path) -> None:
    """Raises SettingError where the training part cannot be cut into so many pieces, DataError where there is none."""
    for name, source in build_sources(spec).items():
        component = spec.sources[name]
        cuts = with_changes(cuts_of(component), validation=0, fold=Fold(number=folds, of=folds))
        with _of(component):
            load_split(source, data_dir, "validation", cuts=cuts, seed=component.common["split_seed"])


def load_examples(
    spec: RunSpec, learned: Preprocessing, split: str, data_dir: Path, device: Device
) -> tuple[DataLoader, dict[str, str]]:
    """A split of the data sets that a network was trained on, as it takes them; and their hashes.

    Raises DataError where shapes or classes are others.
    """
    parts, hashes = [], {}
    for (name, source), known in zip(build_sources(spec).items(), (learned, *learned.beside), strict=True):
        component = spec.sources[name]
        source.recall(known.columns, known.classes)
        seen = (known.input_shape, known.classes, known.columns)
        if (source.input_shape, source.classes, source.columns) != seen:
            what = f"{component.type} as {name}" if name else component.type
            raise DataError(f"the data set ({what}) has changed since the training: shapes or classes differ")
        with _of(component):
            seed = component.common["split_seed"]
            found = load_split(source, data_dir, split, cuts=cuts_of(component), seed=seed)
        hashes[named(split, name)] = found.sha256()
        parts.append((found, known, (), device))
    first, *others = parts
    return DataLoader(*first, beside=tuple(DataLoader(*other) for other in others)), hashes
