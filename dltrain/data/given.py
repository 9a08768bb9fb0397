"""What somebody gives to `predict`: pictures, tables, texts and arrays, by themselves, in folders or by a pattern."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dltrain import progress
from dltrain.data.npz import read_inputs
from dltrain.data.pictures.image_folder import is_hidden
from dltrain.data.pictures.images import ENDINGS, REMARKS, read_picture
from dltrain.data.preprocess import FAR, Preprocessing
from dltrain.data.tables.rows import read_rows
from dltrain.data.text import read_ending
from dltrain.errors import DataError

Kind = Literal["picture", "table", "text", "array"]
OF_KIND: dict[Kind, tuple[str, ...]] = {
    "picture": ENDINGS,
    "table": (".csv", ".tsv", ".tab", ".txt", ".parquet"),
    "text": (".txt",),
    "array": (),
}  # endings of the files that a folder is searched for, beside npz


@dataclass(frozen=True)
class Given:
    """Some inputs. names: of each, for people; examples: (n, *input_shape), in the units of the training inputs.
    kept: the texts of each in the columns that are to be kept."""

    names: list[str]
    examples: NDArray[Any]
    kept: list[list[str]]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, some: slice) -> "Given":
        return Given(self.names[some], self.examples[some], self.kept[some])


@dataclass
class Unlike:
    """What is to be said of inputs that are not like those of the training, or were not read as a whole: of pictures
    how often, and of which first; of tables in `notes`. skipped: rows that could not be read. unused: columns that the
    network does not take."""

    pictures: int = 0
    met: dict[str, tuple[int, Path]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    skipped: int = 0
    unused: dict[str, None] = field(default_factory=dict)

    def add(self, path: Path, remarks: Sequence[str]) -> None:
        self.pictures += 1
        for remark in remarks:
            count, first = self.met.get(remark, (0, path))
            self.met[remark] = (count + 1, first)

    def lines(self) -> list[str]:
        if self.pictures == 1:
            return self.notes + [f"{first}: {remark}" for remark, (_, first) in self.met.items()]
        return self.notes + [
            f"{count:,} of {self.pictures:,} pictures: {remark}; the first is {first}"
            for remark, (count, first) in self.met.items()
        ]


def kind_of(learned: Preprocessing) -> Kind:
    """What a network takes, by what it was trained on; npz files always do."""
    if learned.columns is not None:
        return "table" if len(learned.input_shape) == 1 else "text"
    return "picture" if len(learned.input_shape) == 3 and learned.input_shape[2] in (1, 3) else "array"


def is_there(text: str) -> bool:
    """Whether a word on the command line is a file, a folder or a pattern that some fit."""
    return Path(text).exists() or (has_magic(text) and bool(glob(text, recursive=True)))


def find_given(words: Sequence[str], learned: Preprocessing) -> tuple[list[Path], list[str]]:
    """The files that are meant, and what is to be said of those that are left out. Raises DataError."""
    files, notes, missing = list[Path](), list[str](), list[str]()
    for word in words:
        matching = sorted(glob(word, recursive=True)) if has_magic(word) and not Path(word).exists() else [word]
        if not matching:
            missing.append(f"{word}: no file fits this pattern")
        for path in map(Path, matching):
            if path.is_dir():
                found, note = _inside(path, kind_of(learned))
                files += found
                notes += note
            elif path.is_file():
                files.append(path)
            else:
                missing.append(f"{path}: no such file")
    if missing:
        raise DataError("\n".join(missing))
    return files, notes


def _inside(folder: Path, kind: Kind) -> tuple[list[Path], list[str]]:
    endings = {*OF_KIND[kind], ".npz"}
    every = [path for path in sorted(folder.rglob("*")) if not _hidden_in(folder, path) and path.is_file()]
    files = [path for path in every if path.suffix.lower() in endings]
    if not files:
        raise DataError(f"{folder}: holds no file that ends in {', '.join(sorted(endings))}")
    others = Counter(path.suffix.lower() or "without an ending" for path in every if path not in {*files})
    if not others:
        return files, []
    kinds = ", ".join(f"{count:,} {ending}" for ending, count in others.most_common(4))
    return files, [f"{folder}: {len(every) - len(files):,} of {len(every):,} files are left out ({kinds})"]


def _hidden_in(folder: Path, path: Path) -> bool:
    return any(map(is_hidden, (path, *(up for up in path.parents if folder in up.parents))))


def read_given(
    path: Path, learned: Preprocessing, keep: Sequence[str], unlike: Unlike, *, skip_bad: bool = False
) -> Given:
    """All inputs of a file. keep: names of columns of a table whose texts are to come along. skip_bad: whether rows of
    a table that cannot be read are left out, instead of refused. Raises DataError."""
    kind: Kind = "array" if path.suffix.lower() == ".npz" else kind_of(learned)
    if keep and kind != "table":
        raise DataError(f"{path}: is no table, so it has no column {keep[0]!r} to keep")
    match kind:
        case "table":
            rows = read_rows(path, learned, skip_bad=skip_bad)
            unlike.notes += rows.notes
            unlike.skipped += rows.skipped
            unlike.unused |= dict.fromkeys(name for name in rows.unused if name not in keep)
            kept = [rows.table.cells(name) for name in keep]
            texts = [[cells.text(row) for cells in kept] for row in range(len(rows.table))]
            return Given([f"{path}:{line}" for line in rows.table.lines], rows.inputs, texts)
        case "text" if path.suffix.lower() in {*OF_KIND["picture"], *OF_KIND["table"]} - {".txt"}:
            raise DataError(f"{path}: the network was trained on a text, not on files that end in {path.suffix}")
        case "text":
            return Given([str(path)], read_ending(path, learned), [[]])
        case "picture":
            picture = read_picture(path, learned.input_shape, learned.pixels.background)
            examples = learned.pixels.to_inputs(picture.pixels)[None]
            unlike.add(path, [*(REMARKS[kind] for kind in picture.remarks), *learned.pixels.differences(picture)])
            return Given([str(path)], examples, [[]])
        case "array" if path.suffix.lower() == ".npz":
            examples = read_inputs(path, learned.input_shape)
            if share := float(learned.far(examples).mean()):
                what = f"are more than {FAR} standard deviations from the mean of the training"
                unlike.notes.append(f"{path}: {share:.1%} of the values {what}")
            return Given([f"{path}[{i}]" for i in range(len(examples))], examples, [[] for _ in examples])
    shape = " x ".join(map(str, learned.input_shape))
    raise DataError(f"{path}: the network was trained on arrays of {shape}; give it npz files")


def in_batches(given: Iterator[Given], size: int) -> Iterator[Given]:
    """The same inputs, so many at a time and fewer at the end, wherever they come from."""
    waiting = list[Given]()
    for some in given:
        waiting.append(some)
        if (number := sum(map(len, waiting))) >= size:
            together, whole = _joined(waiting), number - number % size
            yield from (together[at : at + size] for at in progress.over(range(0, whole, size), "inputs"))
            waiting = [together[whole:]] if number % size else []
    if waiting:
        yield _joined(waiting)


def _joined(pieces: list[Given]) -> Given:
    names = [name for piece in pieces for name in piece.names]
    kept = [texts for piece in pieces for texts in piece.kept]
    return Given(names, np.concatenate([piece.examples for piece in pieces]), kept)
