"""Where the answers of `predict` go, one after the other as they come: a table in a file, lines of JSON, or stdout."""

import csv
import json
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, Any

from dltrain.cli import console
from dltrain.errors import DltrainError
from dltrain.run.files import require_ending

Row = dict[str, Any]


class Answers(ABC):
    """Takes rows {"input", "kept", "class" and "probabilities", "values", or "text"}; with "predicted", values by name,
    where the data set has names."""

    @abstractmethod
    def add(self, row: Row) -> None: ...

    @abstractmethod
    def finish(self) -> None:
        """All are there."""

    @abstractmethod
    def give_up(self) -> None:
        """There will be no more, for something went wrong."""


class Shown(Answers):
    """On stdout, once all are there: a table, or one JSON object."""

    def __init__(self, as_json: bool):
        self.as_json = as_json
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        self.rows.append(row)

    def finish(self) -> None:
        if self.as_json:
            rows = [row if row["kept"] else {key: row[key] for key in row if key != "kept"} for row in self.rows]
            console.result_json({"predictions": rows})
        elif self.rows:
            kept = [*reversed(self.rows[0]["kept"])]
            head = _head(self.rows[0], ["probability"])
            console.result_table(head, (self._cells(row) for row in self.rows), kept)

    def give_up(self) -> None:
        self.rows = []

    def _cells(self, row: Row) -> list[Any]:
        whole = "values" in row or "text" in row
        return _first_cells(row) + (_last_cells(row) if whole else [max(row["probabilities"].values())])


class Written(Answers):
    """In FILE.csv or FILE.jsonl, which grows as FILE.part and has its name once all are there."""

    def __init__(self, path: Path):
        require_ending(path, ".csv", ".jsonl")
        if not path.parent.is_dir():
            raise DltrainError(f"{path}: there is no folder {path.parent}; make it first")
        if path.is_dir():
            raise DltrainError(f"{path}: cannot be written: Is a directory")
        self.path, self.part = path, path.with_name(f"{path.name}.part")
        self.lines = path.suffix.lower() == ".jsonl"
        self.count = 0
        try:
            self._file: IO[str] = open(self.part, "w", encoding="utf-8", newline="")  # noqa: SIM115
        except OSError as error:
            raise DltrainError(f"{self.part}: cannot be written: {error.strerror}") from None
        self._table = csv.writer(self._file)

    def add(self, row: Row) -> None:
        try:
            if self.lines:
                self._file.write(json.dumps(row if row["kept"] else {k: row[k] for k in row if k != "kept"}) + "\n")
            else:
                if not self.count:
                    self._table.writerow(_head(row, row.get("probabilities", [])))
                self._table.writerow(_first_cells(row) + _last_cells(row))
            self._file.flush()
        except OSError as error:
            raise DltrainError(f"{self.part}: cannot be written: {error.strerror}") from None
        self.count += 1

    def finish(self) -> None:
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self.part, self.path)
        except OSError as error:
            raise DltrainError(f"{self.path}: cannot be written: {error.strerror}") from None
        console.info(f"wrote {self.path}: {self.count:,} predictions")

    def give_up(self) -> None:
        self._file.close()
        if self.count:
            console.info(f"{self.part} holds the {self.count:,} predictions that were made")
        else:
            self.part.unlink(missing_ok=True)


def _head(row: Row, probabilities: Any) -> list[str]:
    if "values" in row:
        names = row.get("predicted") or [f"value{i}" for i in range(len(row["values"]))]
        return ["input", *row["kept"], *(f"predicted {name}" if name in row["kept"] else name for name in names)]
    if "text" in row:
        return ["input", *row["kept"], "text"]
    return ["input", *row["kept"], "class", *probabilities]


def _first_cells(row: Row) -> list[Any]:
    return [row["input"], *row["kept"].values(), *([row["class"]] if "class" in row else [])]


def _last_cells(row: Row) -> list[Any]:
    return [row["text"]] if "text" in row else list(row.get("values") or row["probabilities"].values())
