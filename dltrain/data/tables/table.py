"""Tables: a user's own files, and the penguins."""

from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from time import time_ns
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dltrain.data.source import SOURCES, Source, Split, narrowed
from dltrain.data.tables.cells import DELIMITERS, MISSING, Table, listed, number_text
from dltrain.data.tables.columns import Column, in_order, without_case
from dltrain.data.tables.describe import ColumnType, Described, Faulty, described, no_number, no_numbers
from dltrain.data.tables.encode import encoded, facts, numbers, places_of
from dltrain.data.tables.number_format import NumberFormat
from dltrain.data.tables.table_file import read_table
from dltrain.errors import DataError, SettingError
from dltrain.registry import FilePath

Array = NDArray[Any]
Missing = Literal["fill", "drop"]
Task = Literal["auto", "classification", "regression", "multilabel"]
Columns = dict[str, ColumnType]
TICK_NS = 2_000_000_000  # of the coarsest clock that file systems have
ONES_AND_ZEROS = {"0", "1", "true", "false"}


@SOURCES.register("csv")
class Csv(Source):
    """A table in a CSV or Parquet file, with names in the first line; one column is the target.

    path: relative to the directory where the command runs. test_path: another file, with the same columns, to test on.
    target: the column to predict, or a list of several.
    task: "auto" takes text for classes and numbers for numbers to predict; "multilabel" predicts which of several
    labels are right, from columns of 0 and 1 (for several of these "auto" does it) or one column split at
    `label_separator`.
    columns: what a column is, where that should not be guessed: number, category, date (or day/month/year,
    month/day/year), text (a bag of words) or ignore. `dltrain check` shows what was guessed.
    ignore, categorical: lists of columns, short for this.
    missing: "fill": a missing number becomes the mean of the training part, a missing category none of the categories.
    "drop": rows that miss anything are left out. A row without its target is left out in any case.
    missing_values: cells that mean that nothing is known.
    delimiter: a sign, or comma, semicolon, tab, bar; found out if not given. decimal, thousands: how numbers are
    written; found out for each column if not given.
    group: a column; rows with the same value stay in one part. It is no input. time: a column of dates or numbers; the
    latest rows are cut for testing, and those before them for validation.
    """

    def __init__(
        self,
        *,
        path: FilePath,
        target: str | tuple[str, ...],
        test_path: FilePath | None = None,
        task: Task = "auto",
        columns: Columns | None = None,
        ignore: tuple[str, ...] = (),
        categorical: tuple[str, ...] = (),
        missing: Missing = "fill",
        missing_values: tuple[str, ...] = MISSING,
        delimiter: str | None = None,
        decimal: Literal[".", ","] | None = None,
        thousands: str | None = None,
        label_separator: str | None = None,
        group: str | None = None,
        time: str | None = None,
    ):
        self.paths = {"train": Path(path)} | ({"test": Path(test_path)} if test_path is not None else {})
        self.targets = (target,) if isinstance(target, str) else target
        self.task, self.group, self.time, self.label_separator = task, group, time, label_separator
        self.ignore, self.categorical, self.asked = ignore, categorical, columns or {}
        self.tolerant, self.missing_values = missing == "fill", missing_values
        self.delimiter = DELIMITERS.get(delimiter, delimiter) if delimiter else None
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise SettingError("data.delimiter", f"{delimiter!r} is no sign; write one, or {', '.join(DELIMITERS)}")
        if thousands is not None and (len(thousands) != 1 or thousands == decimal or thousands.isalnum()):
            raise SettingError("data.thousands", f"{thousands!r} cannot stand between thousands; write one sign")
        self.known = NumberFormat(decimal or "", thousands or "", "")
        self._recalled: tuple[Column, ...] | None = None
        self._left_out: dict[Path, str] = {}
        self._unseen: dict[Path, tuple[str, ...]] = {}
        self._extra: tuple[str, ...] = ()

    tolerant: bool = True
    missing_values: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (sum(column.width for column in self.columns),)

    @property
    def outputs(self) -> int:
        return len(self.targets) if self.classes is None else len(self.classes)

    @property
    def multilabel(self) -> bool:
        return self._labels is not None

    @property
    def no_numbers(self) -> str:
        return no_numbers(self._train, self.targets[0], self.missing_values)

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._recalled or tuple(found.column for found in self._described if found.column)

    def recall(self, columns: tuple[Column, ...] | None, classes: tuple[str, ...] | None) -> None:
        self._recalled = columns
        if classes is not None and self._labels is None:
            self.__dict__["classes"] = classes  # where the cached property keeps it

    @cached_property
    def _described(self) -> list[Described]:
        """Every input column. Raises DataError with a line for each that cannot be used."""
        table = self._train
        asked = self._asked(table)
        apart = {*self.targets, self.group}
        names = [name for name in table.names if name not in apart and asked.get(name) != "ignore"]
        found, faults = [], []
        for name in names:
            try:
                found.append(described(table, name, asked.get(name), self.missing_values))
            except Faulty as error:
                faults.append(str(error))
        if faults:
            raise DataError("\n".join(faults))
        if not any(one.column for one in found):
            why = "".join(f"; {one.note}" for one in found)
            raise SettingError("data.ignore", f"no input column is left{why}")
        return found

    def _asked(self, table: Table) -> Columns:
        """What the config says of columns. Raises SettingError for one that is not there."""
        said = {"ignore": self.ignore, "categorical": self.categorical, "columns": tuple(self.asked)}
        for setting, names in said.items():
            for name in names:
                if name not in table.names or name in self.targets:
                    others = listed(column for column in table.names if column not in self.targets)
                    raise SettingError(f"data.{setting}", f"{name!r} is no input column; there are: {others}")
        asked: Columns = dict.fromkeys(self.categorical, "category")
        return asked | Columns(dict.fromkeys(self.ignore, "ignore")) | self.asked

    @property
    def notes(self) -> tuple[str, ...]:
        path = self._train.path
        described = [] if self._recalled else self._described
        columns = tuple(f"{path}: {found.note}" for found in described if found.note)
        unseen = tuple(note for notes in self._unseen.values() for note in notes)
        return (*self._train.notes, *self._left_out.values(), *columns, *self._class_notes, *self._extra, *unseen)

    @property
    def column_facts(self) -> list[dict[str, Any]]:
        return [facts(self._train, column, self.missing_values) for column in self.columns]

    # Reading

    @cached_property
    def _train(self) -> Table:
        table = self.read("train")
        between = f"; {told}" if (told := table.delimiter_told) else ""
        for setting, names in (("target", self.targets), ("group", (self.group,)), ("time", (self.time,))):
            for name in names:
                if name is not None and name not in table.names:
                    message = f"{table.path} has no column {name!r}; it has {listed(table.names)}{between}"
                    raise SettingError(f"data.{setting}", message)
        return self._usable(table)

    def read(self, split: str) -> Table:
        formats = self._train.formats if split == "test" else None
        return _read(self.paths[split], self.delimiter, self.known, formats)

    def _usable(self, table: Table) -> Table:
        """The rows that can be learned from."""
        others = [name for name in (self.group, self.time) if name]
        needed = [*self.targets, *others] if self.tolerant else [n for n in table.names if n not in self._ignored]
        gaps = {name: table.cells(name).where(*self.missing_values) for name in dict.fromkeys(needed)}
        lacking = {name: found for name, found in gaps.items() if found.any()}
        if not lacking:
            return table
        keep = ~np.any(list(lacking.values()), axis=0)
        if not keep.any():
            raise DataError(f"{table.path}: every row misses {' or '.join(lacking)}")
        name, found = next(iter(lacking.items()))
        told = " or ".join(lacking) if len(lacking) <= 3 else f"one of {len(lacking)} columns"
        row = int(found.argmax())
        text = table.cells(name).text(row)
        said = f"first in line {table.lines[row]}"
        if text:
            said += f", where it is {text!r}; if that is a value, say data.missing_values: ['']"
        self._left_out[table.path] = (
            f"{table.path}: {int((~keep).sum()):,} of {len(keep):,} rows left out: {told} is missing ({said})"
        )
        return table.take(keep)

    @property
    def _ignored(self) -> set[str]:
        return {*self.ignore, *(name for name, kind in self.asked.items() if kind == "ignore")}

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        splits = [split for split in self.paths if only in (None, split)]
        tables = {split: self._train if split == "train" else self._usable(self.read(split)) for split in splits}
        if "test" in tables:
            self._extra = tables["test"].notes
            if extra := [name for name in tables["test"].names if name not in self._train.names]:
                what = f"columns that {self._train.path} does not have are left out: {listed(extra)}"
                self._extra += (f"{tables['test'].path}: {what}",)
        return {split: self._split(table) for split, table in tables.items()}

    def _split(self, table: Table) -> Split:
        found = encoded(table, self.columns, self.missing_values)
        self._unseen[table.path] = found.notes
        numeric = np.repeat([c.type in ("number", "date") for c in self.columns], [c.width for c in self.columns])
        groups = times = None
        if self.group:
            cells = table.cells(self.group)
            codes = np.zeros(len(table)) if cells.codes is None else cells.codes
            pairs = np.stack([codes, np.where(np.isnan(cells.values), 0, cells.values)], axis=1)
            groups = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
        if self.time:
            column = self._moments
            times = encoded(table, (column,), self.missing_values).inputs[:, 0]
        return Split(narrowed(found.inputs, numeric), self._targets(table), groups, times)

    @cached_property
    def _moments(self) -> Column:
        """The column that says when a row was. Raises SettingError where it is of another kind."""
        assert self.time
        asked = self._asked(self._train).get(self.time)
        try:
            found = described(self._train, self.time, None if asked == "ignore" else asked, self.missing_values).column
        except Faulty as error:
            raise SettingError("data.time", str(error)) from None
        if found is None or found.type not in ("number", "date"):
            raise SettingError("data.time", f"column {self.time!r} holds neither dates nor numbers")
        return found

    # Targets

    @cached_property
    def classes(self) -> tuple[str, ...] | None:
        if self._labels is not None:
            return self._labels
        if self.task == "regression" or len(self.targets) > 1:
            return None
        present = self._classes_present(self.targets[0])
        if self.task == "auto" and present is None:
            return None
        return without_case(present if present is not None else self._numbers_as_classes())[0]

    def _classes_present(self, name: str) -> list[str] | None:
        """None where all are numbers."""
        cells = self._train.cells(name)
        texts = cells.present()
        if not texts:
            return None
        return in_order({*texts, *map(number_text, np.unique(cells.values[~np.isnan(cells.values)]).tolist())})

    def _numbers_as_classes(self) -> list[str]:
        return [number_text(value) for value in np.unique(self._train.cells(self.targets[0]).values).tolist()]

    @property
    def _class_notes(self) -> Iterator[str]:
        if self._labels is not None or self.classes is None:
            return
        (name,) = self.targets
        where = f"{self._train.path}: target {name!r}"
        if note := without_case(self._classes_present(name) or ())[1]:
            yield f"{where}: {note}"
        if len(self.classes) == 1:
            yield f"{where} is {self.classes[0]!r} in all rows: there is nothing to tell apart"
        elif len(self.classes) > max(20, len(self._train) / 2):
            yield f"{where} holds {len(self.classes):,} classes in {len(self._train):,} rows: too few of each to learn"
            if self.task == "auto" and (slip := no_number(self._train, name, self.missing_values)):
                yield slip

    @cached_property
    def _labels(self) -> tuple[str, ...] | None:
        """The names of labels of which several may be right; None for another task."""
        if self.label_separator is not None:
            if len(self.targets) > 1 or self.task not in ("auto", "multilabel"):
                raise SettingError("data.label_separator", "is for one column of labels, with task multilabel or auto")
            cells = self._train.cells(self.targets[0])
            texts = [*cells.present(), *map(number_text, np.unique(cells.values[~np.isnan(cells.values)]).tolist())]
            found = in_order({label for text in texts for label in self._parts(text)})
            if not found:
                raise DataError(f"{self._train.path}: column {self.targets[0]!r} holds no label")
            return tuple(found)
        if self.task == "multilabel" or (self.task == "auto" and len(self.targets) > 1):
            odd = {name: text for name in self.targets for text in self._odd_ones(name)}
            if not odd:
                return self.targets
            if self.task == "multilabel":
                name, text = next(iter(odd.items()))
                raise SettingError(
                    "data.target",
                    f"column {name!r} holds {text!r}, but task multilabel wants columns of 0 and 1, or one column of "
                    f"labels and data.label_separator",
                )
        return None

    def _odd_ones(self, name: str) -> list[str]:
        """What is neither 0 nor 1."""
        cells = self._train.cells(name)
        values = np.unique(cells.values[~np.isnan(cells.values)]).tolist()
        texts = [*map(number_text, values), *cells.present()]
        return [text for text in texts if text.lower() not in ONES_AND_ZEROS]

    def _parts(self, text: str) -> list[str]:
        assert self.label_separator is not None
        return [part.strip() for part in text.split(self.label_separator) if part.strip()]

    def _targets(self, table: Table) -> Array:
        if self._labels is not None:
            return self._label_targets(table, self._labels)
        if self.classes is None:
            found = [numbers(table, name, self.missing_values) for name in self.targets]
            return narrowed(np.stack(found, axis=1))
        cells = table.cells(self.targets[0])
        places = places_of(cells, self.classes)
        if (places < 0).any():
            row = int((places < 0).argmax())
            raise DataError(
                f"{table.path}:{table.lines[row]}: {cells.text(row)!r} is no class of the training part: "
                f"{list(self.classes)}"
            )
        return places.astype(np.int64)

    def _label_targets(self, table: Table, labels: tuple[str, ...]) -> Array:
        if self.label_separator is None:
            found = [places_of(table.cells(name), ("0", "1")) for name in self.targets]
            for place, name in enumerate(self.targets):
                cells = table.cells(name)
                found[place] = np.where(found[place] < 0, places_of(cells, ("false", "true")), found[place])
                if (found[place] < 0).any():
                    row = int((found[place] < 0).argmax())
                    where = f"{table.path}:{table.lines[row]}"
                    raise DataError(f"{where}: {name!r} must be 0 or 1, not {cells.text(row)!r}")
            return np.stack(found, axis=1).astype(np.float32)
        targets = np.zeros((len(table), len(labels)), np.float32)
        places = {label: place for place, label in enumerate(labels)}
        cells = table.cells(self.targets[0])
        for row in range(len(table)):
            for label in self._parts(cells.text(row)):
                if label not in places:
                    raise DataError(f"{table.path}:{table.lines[row]}: {label!r} is no label of the training part")
                targets[row, places[label]] = 1
        return targets


def _read(path: Path, delimiter: str | None, known: NumberFormat, formats: Mapping[str, NumberFormat] | None) -> Table:
    """One reading serves all that is built from a config, as long as the file stays the same. A file that was written
    just now is read again, for it might be written once more within the same tick of its clock."""
    try:
        stat = path.stat()
    except OSError:
        return read_table(path, delimiter=delimiter, known=known, formats=formats)
    if abs(time_ns() - stat.st_mtime_ns) < TICK_NS:
        return read_table(path, delimiter=delimiter, known=known, formats=formats)
    key = None if formats is None else tuple(formats.items())
    return _read_once(path.absolute(), path, (stat.st_mtime_ns, stat.st_size, stat.st_ino), delimiter, known, key)


@lru_cache(maxsize=2)
def _read_once(
    absolute: Path,
    path: Path,
    version: tuple[int, ...],
    delimiter: str | None,
    known: NumberFormat,
    formats: tuple[tuple[str, NumberFormat], ...] | None,
) -> Table:
    return read_table(path, delimiter=delimiter, known=known, formats=None if formats is None else dict(formats))


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
