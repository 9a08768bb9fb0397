"""What a data set is: examples in named splits, their shape and classes known before anything big is read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import DTypeLike, NDArray

from dltrain.data.pictures.augment import Augmentation
from dltrain.data.pictures.pixels import Pixels
from dltrain.data.tables.cells import MISSING
from dltrain.data.tables.columns import Column
from dltrain.data.values import Value, usual
from dltrain.errors import DataError, ShapeError
from dltrain.registry import Count, NonNegative, NonNegativeInt, Positive, Rate, Registry, Seed

Normalize = Literal["channel", "signed", "unit", "none"]
NormalizeTargets = Literal["auto", "standard", "log", "none"]
CHUNK = 1 << 20  # values that are looked at together
ClassWeights = Literal["none", "balanced"] | tuple[Positive, ...]


class OnDemand(ABC):
    """Inputs that are made one by one when they are needed, because all of them would not fit into memory.

    shape: (N, *input_shape). quick: whether many at once are made about as fast as they are copied.
    """

    quick = False

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike):
        self.shape, self.dtype = shape, np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def bytes_each(self) -> int:
        return prod(self.shape[1:]) * self.dtype.itemsize

    @abstractmethod
    def example(self, index: int) -> NDArray[Any]:
        """One input, always the same. Threads may ask for several at once."""

    def __getitem__(self, indices: NDArray[Any]) -> NDArray[Any]:
        """Several, (n, *input_shape)."""
        return np.stack([self.example(int(i)) for i in indices])

    @abstractmethod
    def take(self, indices: NDArray[Any]) -> "OnDemand":
        """Those of these indices."""

    @abstractmethod
    def marks(self) -> bytes:
        """What tells these inputs from others, found without making them. Raises DataError."""


@dataclass(frozen=True, eq=False)
class Split:
    """Examples, in memory or on demand.

    inputs: uint8 or float32, (N, *input_shape), images channels last; NaN is a missing number of a table. float64 where
    float32 would lose what tells examples apart, see `narrowed`.
    targets: class numbers, int64 (N,); numbers to predict, float32 (or float64) (N, k); or which of k labels are right,
    0 and 1, float32 (N, k).
    groups: int64 (N,), equal for examples that must stay in one part, such as those of one patient; None where each
    may go its own way. times: float64 (N,), where the latest ones are to be held out; None where chance decides.
    values: whatever else is known of the examples, (N, …) by name, as `Source.further` says.
    """

    inputs: NDArray[Any] | OnDemand
    targets: NDArray[Any]
    groups: NDArray[Any] | None = None
    times: NDArray[Any] | None = None
    values: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, part in {"targets": self.targets, **self.values}.items():
            if len(self.inputs) != len(part):
                raise DataError(f"{len(self.inputs)} inputs but {len(part)} {what}")

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: NDArray[Any]) -> "Split":
        inputs = self.inputs.take(indices) if isinstance(self.inputs, OnDemand) else self.inputs[indices]
        groups, times = (None if one is None else one[indices] for one in (self.groups, self.times))
        values = {name: part[indices] for name, part in self.values.items()}
        return Split(inputs, self.targets[indices], groups, times, values)

    def sha256(self) -> str:
        """Of inputs, as far as they are in memory, targets and further values: equal for equal examples in the same
        order."""
        digest = sha256()
        for name, part in {"": self.inputs, " ": self.targets, **self.values}.items():
            content = part.marks() if isinstance(part, OnDemand) else np.ascontiguousarray(part).data
            digest.update(f"{name.strip()}{part.shape}{part.dtype.str}".encode())
            digest.update(content)
        return digest.hexdigest()


def narrowed(values: NDArray[Any], numeric: NDArray[Any] | None = None) -> NDArray[Any]:
    """float64 (N, C) as float32, unless a column's numbers are so large beside their spread that it would lose digits.

    numeric: which columns to ask, (C,). NaN counts for nothing. Seconds since 1970 are such numbers.
    """
    step = max(1, CHUNK // max(1, len(values)))
    for start in range(0, values.shape[1], step):
        part = values[:, start : start + step]
        if numeric is not None:
            part = part[:, numeric[start : start + step]]
        there = ~np.isnan(part)
        count = np.maximum(there.sum(axis=0), 1)
        distance = np.where(there, part - np.where(there, part, 0).sum(axis=0) / count, 0)
        spread = np.sqrt((distance**2).sum(axis=0) / count)
        if loses_digits(np.where(there, np.abs(part), 0).max(axis=0, initial=0), spread).any():
            return values
    return values.astype(np.float32)


def loses_digits(size: NDArray[Any], spread: NDArray[Any]) -> NDArray[Any]:
    """Whether float32 rounds numbers as large as `size` by more than a 10,000th of their spread, where they differ."""
    lost: NDArray[Any] = (size * np.finfo(np.float32).eps > 1e-4 * spread) & (spread > 0)
    return lost


class Source(ABC):
    """A data set. Its keyword-only arguments are its own keys in a config; `common_settings` are added to them."""

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...] | None:
        """Class names in the order of their numbers; None where numbers are to be predicted."""

    @property
    def outputs(self) -> int:
        """How many numbers a network must give for an example: one for each class, or for each target."""
        return len(self.classes or ())

    @property
    def pixels(self) -> Pixels | None:
        """How `predict` reads a picture file as the inputs were; None: their range tells it. Complete after `load`."""
        return Pixels.of(self.input_shape)

    @property
    def multilabel(self) -> bool:
        """Whether several of the classes may be right for one example."""
        return False

    @property
    def input_name(self) -> str | None:
        """What the inputs are called as a value; None for `image`, or `input` where they are none."""
        return None

    @property
    def further(self) -> tuple[Value, ...]:
        """The values beside inputs and targets, known before anything is read: those in `Split.values`."""
        return ()

    @property
    def values(self) -> tuple[Value, ...]:
        """All of them: inputs, targets, and the further ones."""
        return *usual(self.input_shape, self.classes, self.outputs, self.multilabel, self.input_name), *self.further

    def check_augmentation(self, change: Augmentation) -> None:
        """Raises ShapeError where a change cannot be made to the inputs, or to all pictures of an example alike."""
        change.check(self.input_shape)
        for value in self.further if change.moves else ():
            if value.kind == "picture" and value.shape[:2] != self.input_shape[:2]:
                raise ShapeError(
                    f"{type(change).__name__.lower()} moves the pixels of all pictures of an example alike, but "
                    f"{value.name} has shape {value.shape} beside {self.input_shape}"
                )

    @property
    def no_numbers(self) -> str:
        """What the targets hold that cannot be predicted as numbers, for a message; nothing where that is not known."""
        return ""

    @property
    def columns(self) -> tuple[Column, ...] | None:
        """What the columns of a table are, for `predict` to read another one; None for other data."""
        return None

    def recall(self, columns: tuple[Column, ...] | None, classes: tuple[str, ...] | None) -> None:  # noqa: B027
        """Take columns and classes for what they were when a network was trained, instead of finding them out."""

    @property
    def column_facts(self) -> list[dict[str, Any]]:
        """What the columns of a table hold, see `columns.facts`."""
        return []

    @property
    def missing_values(self) -> tuple[str, ...]:
        """The cells of a table that say that nothing is known."""
        return MISSING

    @property
    def tolerant(self) -> bool:
        """Whether a missing number (NaN) in an example stands for the mean of the training part."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """How the data were read where a user may have meant it otherwise, a line each: what was left out or taken for
        what, how much, why, and what to do. Complete after `load`."""
        return ()

    @abstractmethod
    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        """The splits "train", "test" and perhaps "validation", those that the data set has.

        only: this split alone, so that nothing but its files is needed. Raises DataError.
        """


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Cross-validation: the training part in `of` equal pieces, of which piece `number` (from 1) validates."""

    number: Count
    of: Annotated[int, Ge(2)]


def common_settings(
    *,
    classes: tuple[str, ...] | None = None,
    test: NonNegativeInt | Rate = 0,
    validation: NonNegativeInt | Rate = 0,
    fold: Fold | None = None,
    stratified: bool = False,
    per_class: Count | None = None,
    split_seed: Seed = 0,
    class_weights: ClassWeights = "none",
    normalize: Normalize = "channel",
    normalize_targets: NormalizeTargets = "auto",
    augment: tuple[Augmentation, ...] = (),
    mixup: NonNegative = 0.0,
) -> None:
    """The settings that every data set takes.

    classes: those whose examples stay, by name, in the order in which they are numbered; all without it.
    test: how many examples, or which fraction, to cut from the training part for testing; with 0 there are those alone
    that the data set has of its own.
    validation: how many, or which fraction of the others, to cut for validation; the same.
    fold: which piece of a cross-validation validates instead.
    stratified: whether all these have classes in the proportions of the training part.
    per_class: of the training part, once all these are cut from it, so many examples of each class stay.
    split_seed: which examples those are; `seed` does not change it, so several seeds are measured on the same parts.
    class_weights: a number for each class, by which its examples count; "balanced" lets every class count the same in
    all. Every loss, also of validation and test, is then Σ weight · loss / Σ weight over its examples.
    normalize: "channel" brings every channel to mean 0 and standard deviation 1, "none" leaves the values; of pictures
    "signed" brings black to -1 and white to 1, as tanh gives them, and "unit" to 0 and 1.
    normalize_targets: numbers to predict. "standard" brings each to mean 0 and standard deviation 1 for the training
    and undoes that in predictions and metrics; "log" takes their logarithm first; "none" leaves them. "auto" is
    "standard", or "none" with normalize "none". The loss is that of the normalised targets.
    augment: changes made to training examples each time they are seen, in this order. What moves pixels (flip, crop,
    rotation) moves those of every picture of an example alike; the others change the inputs alone.
    mixup: above 0, training examples are blended with others of their batch, by shares from Beta(mixup, mixup).
    """


SOURCES = Registry("data set", common_settings)
