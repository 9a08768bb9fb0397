"""A data set with some of its classes alone, as `classes` of every data set asks for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dltrain.data.pictures.augment import Augmentation
from dltrain.data.pictures.pixels import Pixels
from dltrain.data.source import Source, Split
from dltrain.data.tables.columns import Column
from dltrain.data.values import Value
from dltrain.errors import DataError, SettingError, did_you_mean


class Chosen(Source):
    """The examples of some classes, which are numbered in the order of `names`. Raises SettingError where the data set
    has no such classes, or none at all."""

    def __init__(self, whole: Source, names: Sequence[str]):
        self.whole, self.names = whole, tuple(names)
        known = whole.classes
        if known is None or whole.values[1].kind != "class":
            raise SettingError("data.classes", "is for examples of one class each")
        if unknown := [name for name in self.names if name not in known]:
            there = f"{did_you_mean(unknown[0], known) or ';'} there are {', '.join(known)}"
            raise SettingError("data.classes", f"there is no class {unknown[0]!r}{there}")
        if len(set(self.names)) < max(2, len(self.names)):
            raise SettingError("data.classes", "names two classes or more, each once")

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.whole.input_shape

    @property
    def classes(self) -> tuple[str, ...]:
        return self.names

    @property
    def pixels(self) -> Pixels | None:
        return self.whole.pixels

    @property
    def input_name(self) -> str | None:
        return self.whole.input_name

    @property
    def further(self) -> tuple[Value, ...]:
        return self.whole.further

    def check_augmentation(self, change: Augmentation) -> None:
        self.whole.check_augmentation(change)

    @property
    def columns(self) -> tuple[Column, ...] | None:
        return self.whole.columns

    def recall(self, columns: tuple[Column, ...] | None, classes: tuple[str, ...] | None) -> None:
        self.whole.recall(columns, None)

    @property
    def column_facts(self) -> list[dict[str, Any]]:
        return self.whole.column_facts

    @property
    def missing_values(self) -> tuple[str, ...]:
        return self.whole.missing_values

    @property
    def tolerant(self) -> bool:
        return self.whole.tolerant

    @property
    def notes(self) -> tuple[str, ...]:
        return self.whole.notes

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        return {name: self._of(split, name) for name, split in self.whole.load(data_dir, only=only).items()}

    def _of(self, split: Split, name: str) -> Split:
        known = self.whole.classes or ()
        number = np.full(len(known), -1)
        number[[known.index(each) for each in self.names]] = np.arange(len(self.names))
        targets = number[split.targets]
        kept = np.flatnonzero(targets >= 0)
        if not len(kept):
            raise DataError(f"no example of the {name} part is of the classes {', '.join(self.names)} (data.classes)")
        found = split.take(kept)
        return Split(found.inputs, targets[kept], found.groups, found.times, found.values)
