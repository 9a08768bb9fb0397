"""Tables: a user's own CSV files, and the penguins."""

from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dltrain.data.columns import Column, Table, described, encoded, in_order, is_missing, is_number, numbers, read_table
from dltrain.data.source import SOURCES, Source, Split
from dltrain.errors import DataError, SettingError
from dltrain.registry import FilePath

Missing = Literal["fill", "drop"]
Task = Literal["auto", "classification", "regression"]


@SOURCES.register("csv")
class Csv(Source):
    """A table in a CSV file, its first line the columns' names, one column of which is to be told from the others.

    path: taken from the folder where the command runs. test_path: another file, of the same columns, to test on.
    target: the column to tell. task: "auto" takes text for classes and numbers for numbers to predict.
    ignore: columns left out. categorical: columns of numbers that stand for categories.
    missing: cells that are empty, NA, N/A, NaN, null or ?. "fill": a missing number becomes the mean of the training
    part, a missing category none of the categories. "drop": rows that miss anything are left out. A row without
    its target is left out in any case.
    """

    def __init__(
        self,
        *,
        path: FilePath,
        target: str,
        test_path: FilePath | None = None,
        task: Task = "auto",
        ignore: tuple[str, ...] = (),
        categorical: tuple[str, ...] = (),
        missing: Missing = "fill",
    ):
        self.paths = {"train": Path(path)} | ({"test": Path(test_path)} if test_path is not None else {})
        self.target, self.task, self.ignore, self.categorical = target, task, ignore, categorical
        self.tolerant = missing == "fill"
        self._left_out: dict[Path, str] = {}

    tolerant: bool = True

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (sum(column.width for column in self.columns),)

    @property
    def outputs(self) -> int:
        return 1 if self.classes is None else len(self.classes)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        table = self._train
        for setting, names in (("ignore", self.ignore), ("categorical", self.categorical)):
            for name in names:
                if name not in table.names or name == self.target:
                    others = ", ".join(column for column in table.names if column != self.target)
                    raise SettingError(f"data.{setting}", f"{name!r} is no input column; there are: {others}")
        inputs = [name for name in table.names if name != self.target and name not in self.ignore]
        if not inputs:
            raise SettingError("data.ignore", "no input column is left")
        return tuple(described(table, name, name in self.categorical) for name in inputs)

    @cached_property
    def classes(self) -> tuple[str, ...] | None:
        present = {cell for cell in self._train.cells(self.target) if not is_missing(cell)}
        if self.task == "regression" or (self.task == "auto" and all(map(is_number, present))):
            return None
        return tuple(in_order(present))

    @cached_property
    def _train(self) -> Table:
        table = self.read("train")
        if self.target not in table.names:
            columns = ", ".join(table.names)
            raise SettingError("data.target", f"{table.path} has no column {self.target!r}; it has {columns}")
        return self._usable(table)

    def read(self, split: str) -> Table:
        return read_table(self.paths[split])

    def _usable(self, table: Table) -> Table:
        """The rows that can be learned from."""
        needed = [self.target] if self.tolerant else [name for name in table.names if name not in self.ignore]
        keep = ~np.any([[is_missing(cell) for cell in table.cells(name)] for name in needed], axis=0)
        if not keep.any():
            raise DataError(f"{table.path}: every row misses {' or '.join(needed)}")
        if left := int((~keep).sum()):
            lacking = self.target if self.tolerant else "a value"
            self._left_out[table.path] = f"{table.path}: {left:,} of {len(keep):,} rows left out: {lacking} is missing"
        return table.where(keep.tolist())

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._left_out.values())

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        splits = [split for split in self.paths if only in (None, split)]
        tables = {split: self._train if split == "train" else self._usable(self.read(split)) for split in splits}
        return {split: Split(encoded(table, self.columns), self._targets(table)) for split, table in tables.items()}

    def _targets(self, table: Table) -> NDArray[Any]:
        if self.classes is None:
            return numbers(table, self.target)[:, None]
        places = {name: place for place, name in enumerate(self.classes)}
        for line, cell in zip(table.lines, table.cells(self.target), strict=True):
            if cell not in places:
                raise DataError(f"{table.path}:{line}: {cell!r} is no class of the training part: {list(self.classes)}")
        return np.array([places[cell] for cell in table.cells(self.target)], np.int64)


@SOURCES.register("penguins")
class Penguins(Csv):
    """344 penguins of Palmer Station, Antarctica: island, bill, flipper, weight and sex tell one of three species.

    A. M. Horst, A. P. Hill, K. B. Gorman, palmerpenguins: Palmer Archipelago penguin data, 2020 (CC0).
    missing: 2 penguins lack all measurements, 11 the sex. "fill": a missing number becomes the mean of the training
    part, a missing sex neither of the two; "drop": these rows are left out.
    """

    classes = ("Adelie", "Chinstrap", "Gentoo")
    columns = (
        Column("island", ("Biscoe", "Dream", "Torgersen")),
        *(Column(name, None) for name in ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")),
        Column("sex", ("female", "male")),
    )

    def __init__(self, *, missing: Missing = "fill"):
        super().__init__(path="penguins.csv", target="species", ignore=("year",), missing=missing)

    def read(self, split: str) -> Table:
        with as_file(files("dltrain.data").joinpath("files", "penguins.csv")) as path:
            return read_table(path)
