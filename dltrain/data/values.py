"""The named values of an example: what comes in, what is to be found, and whatever else a data set knows of it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from math import isfinite, prod
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Kind = Literal["picture", "numbers", "class", "labels", "characters", "words", "sentence"]
BEFORE = ".before"  # NAME.before is at each position of a sentence the token before it
BLACK, WHITE = 0.0, 255.0  # of every further picture
MOST_AXES, LARGEST = 8, 1 << 31


@dataclass(frozen=True)
class Value:
    """What is known of one value before anything is read.

    kind: "picture", (H, W, C) with 1 or 3 channels; "numbers", float32; "class", the number of one of `classes`,
    int64; "labels", 0 or 1 for each of `classes`, float32; "characters" and "words", at each position the number of
    one of `classes`, which are the vocabulary, int64 or, where they come in, int32; "sentence", words that end with the
    first of `classes`, and -1 from there on. A further picture, beside inputs and targets, holds bytes.
    shape: of one example; () for a class. classes: names in the order of their numbers.
    mean, std: of each channel, by which a further picture is normalised; () of other values and before it is learned.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    classes: tuple[str, ...] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def holds(self, part: NDArray[Any]) -> bool:
        """Whether an array (N, *shape) holds such values."""
        if part.shape[1:] != self.shape:
            return False
        if self.kind == "class" or self.is_text:
            least = -1 if self.ends else 0
            return part.dtype == np.int64 and bool(part.size == 0 or least <= part.min() <= part.max() < self.count)
        return part.dtype == (np.uint8 if self.kind == "picture" else np.float32)

    @property
    def is_text(self) -> bool:
        """Whether it is tokens in a row."""
        return self.kind in ("characters", "words", "sentence")

    @property
    def ends(self) -> bool:
        """Whether it is a text of which one example has more than another."""
        return self.kind == "sentence"

    @property
    def count(self) -> int:
        """How many numbers a network gives to tell this value: one for each class, else one for each that it has."""
        return len(self.classes or ()) or prod(self.shape)

    def to_json(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, raw: object) -> "Value":
        """The inverse of `to_json`. Raises ValueError for anything that it does not give."""
        match raw:
            case {
                "name": str(name),
                "kind": kind,
                "shape": list(shape),
                "classes": None | list() as classes,
                "mean": list(mean),
                "std": list(std),
                **rest,
            } if (
                not rest
                and kind in get_args(Kind)
                and len(shape) <= MOST_AXES
                and all(type(size) is int and 0 < size <= LARGEST for size in shape)
                and all(type(number) is float and isfinite(number) for number in (*mean, *std))
                and len(mean) == len(std)
                and len(mean) in (0, *shape[-1:])
                and min(std, default=1.0) > 0
                and (classes is None or (classes and all(type(text) is str for text in classes)))
            ):
                named = None if classes is None else tuple(classes)
                return cls(name, kind, tuple(shape), named, tuple(mean), tuple(std))
        raise ValueError("what is known of the values is damaged")


def vocabulary_of(values: Iterable[Value]) -> tuple[str, ...] | None:
    """Of the first one that is a text; None without one."""
    return next((value.classes for value in values if value.is_text), None)


def is_picture(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[-1] in (1, 3)


def usual(
    input_shape: tuple[int, ...],
    classes: tuple[str, ...] | None,
    outputs: int,
    multilabel: bool = False,
    input_name: str | None = None,
) -> tuple[Value, Value]:
    """Inputs and targets: `image` (or `input` where it is none, or what the data set calls it), and `label` for classes
    or `target` for numbers."""
    picture = is_picture(input_shape)
    first = Value(input_name or ("image" if picture else "input"), "picture" if picture else "numbers", input_shape)
    if classes is None:
        return first, Value("target", "numbers", (outputs,))
    shape = (len(classes),) if multilabel else ()
    return first, Value("label", "labels" if multilabel else "class", shape, classes)


def by_name(values: Iterable[Value], source: str = "") -> dict[str, Value]:
    """The values of a data set under the names that a config knows them by: their own; where the data set is one of
    several, its name for the inputs and, for the others, `name.label`."""
    if not source:
        return {value.name: value for value in values}
    inputs, *others = values
    return {source: replace(inputs, name=source)} | {
        (name := f"{source}.{value.name}"): replace(value, name=name) for value in others
    }
