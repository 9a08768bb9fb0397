"""What is learned from the training part and travels with the network: means, deviations, class names."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from typing import Any, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dltrain.data.pictures.pixels import Pixels, told
from dltrain.data.source import Normalize, NormalizeTargets, OnDemand, Split, loses_digits
from dltrain.data.statistics import TINY, means, scale_of
from dltrain.data.tables.cells import MISSING
from dltrain.data.tables.columns import Column
from dltrain.data.target_scale import TargetScale
from dltrain.data.values import BLACK, LARGEST, MOST_AXES, WHITE, Value, by_name, usual, vocabulary_of
from dltrain.errors import DataError

DAMAGED = "the description of the training data (means, deviations, classes) is damaged"
FAR = 10  # standard deviations: at most 1 % of any numbers are further from their mean (Chebyshev's inequality)
FEW = 200  # pictures that are decoded to see how bright they are
LATER = {
    "class_weights", "target_scale", "multilabel", "missing_values", "values", "source", "beside",
}  # which older files do not have  # fmt: skip


@dataclass(frozen=True)
class Preprocessing:
    """All that `predict` must know of the training data; every checkpoint holds it.

    mean, std: of each channel (the last axis of an input) over the training part, std at least TINY; over a sample of
    a large one on demand; 0 and 1 with normalize "none"; of "signed" and "unit" what brings pixels into that range.
    pixels: how a picture file is read as the training inputs were.
    columns: of a table; None for other data.
    fill: what a missing value of each channel becomes, 0 for a category's; None where nothing may be missing.
    class_weights: how much an example of each class counts in a loss; None where all count the same.
    target_scale: of numbers to predict; None where there are none, or where they stay as they are.
    multilabel: whether several of the classes may be right. missing_values: cells of a table without a value.
    values: all that an example has, the inputs first, the targets next; of older files nothing is known of them.
    source: what the data set is called where it is one of several. beside: the others, known to the first one alone.
    """

    input_shape: tuple[int, ...]
    classes: tuple[str, ...] | None
    normalize: Normalize
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pixels: Pixels
    columns: tuple[Column, ...] | None = None
    fill: tuple[float, ...] | None = None
    class_weights: tuple[float, ...] | None = None
    target_scale: TargetScale | None = None
    multilabel: bool = False
    missing_values: tuple[str, ...] = MISSING
    values: tuple[Value, ...] = ()
    source: str = ""
    beside: tuple["Preprocessing", ...] = ()

    @classmethod
    def learn(
        cls,
        train: Split,
        *,
        classes: tuple[str, ...] | None,
        normalize: Normalize,
        pixels: Pixels | None = None,
        columns: tuple[Column, ...] | None = None,
        tolerant: bool = False,
        normalize_targets: NormalizeTargets = "none",
        multilabel: bool = False,
        missing_values: tuple[str, ...] = MISSING,
        values: tuple[Value, ...] = (),
    ) -> "Preprocessing":
        """values: of the source; none where inputs and targets are all there is.
        pixels: None where the range of the inputs tells.
        tolerant: whether missing numbers are filled in with the mean of those that are there.

        Raises SettingError.
        """
        inputs, channels = train.inputs, train.inputs.shape[-1]
        zeros, ones = np.zeros(channels), np.ones(channels)
        learned = cls(
            inputs.shape[1:], classes, normalize, tuple(zeros.tolist()), tuple(ones.tolist()), Pixels(), columns
        )
        if len(inputs.shape) == 4 and channels in (1, 3):
            learned = replace(learned, pixels=_pixels(inputs, pixels))
        if normalize_targets == "auto":
            normalize_targets = "none" if normalize == "none" else "standard"
        scale = TargetScale.learn(train.targets, normalize_targets) if classes is None else None
        learned = replace(learned, target_scale=scale, multilabel=multilabel, missing_values=missing_values)
        learned = replace(learned, values=values)
        numeric = learned.numeric_channels()  # the 0 and 1 of categories stay
        if tolerant and not isinstance(inputs, OnDemand):
            learned = replace(learned, fill=tuple(np.where(numeric, means(inputs), zeros).tolist()))
            inputs = learned.completed(inputs)
        learned = replace(learned, values=_learned_values(values, train, learned))
        if normalize == "none":
            return learned
        mean, std = scale_of(inputs, normalize, learned.pixels)
        return replace(
            learned,
            mean=tuple(np.where(numeric, mean, zeros).tolist()),
            std=tuple(np.where(numeric, std, ones).tolist()),
        )

    def numeric_channels(self) -> list[bool]:
        if self.columns is None:
            return [not self.reads_text] * len(self.mean)
        return [column.categories is None for column in self.columns for _ in range(column.width)]

    @property
    def named(self) -> dict[str, Value]:
        """All values of an example under the names that a config knows them by, of the data sets beside it, too."""
        own = by_name(self.values or usual(self.input_shape, self.classes, 1, self.multilabel), self.source)
        return own | {name: value for other in self.beside for name, value in other.named.items()}

    def black_and_white(self, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """What a network gets for a black and for a white pixel of a picture of the data, (C,) each, or (1,)."""
        for known in (self, *self.beside):
            inputs, *_ = own = by_name(known.values or usual(known.input_shape, None, 1), known.source)
            if name in own:
                first, pixels, value = name == inputs, known.pixels, own[name]
                ends = (pixels.black, pixels.white) if first else (BLACK, WHITE)
                mean, std = (known.mean, known.std) if first else (value.mean, value.std)
                black, white = ((end - np.array(mean)) / np.array(std) for end in ends)
                return black, white
        raise KeyError(name)

    @property
    def further(self) -> tuple[Value, ...]:
        """The values beside inputs and targets."""
        return self.values[2:]

    @property
    def reads_text(self) -> bool:
        """Whether the inputs are tokens, which stay as they are."""
        return bool(self.values) and self.values[0].is_text

    @property
    def vocabulary(self) -> tuple[str, ...] | None:
        """Of the first value that is a text; None without one."""
        return vocabulary_of(self.named.values())

    @property
    def wide(self) -> bool:
        """Whether float32 has too few digits for (x - mean) / std: then it is computed in float64, before training."""
        return bool(loses_digits(np.abs(self.mean), np.array(self.std)).any())

    def far(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Whether each value is more than FAR deviations from the mean of its channel, the shape of the inputs; no
        category is."""
        if self.normalize == "none":
            return np.zeros(inputs.shape, bool)
        reach = np.where(self.numeric_channels(), FAR * np.array(self.std), np.inf)
        distant: NDArray[Any] = np.abs(inputs - np.array(self.mean)) > reach
        return distant

    def completed(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """The inputs with what is missing filled in; the same array where nothing can be missing."""
        if self.fill is None:
            return inputs
        return np.where(np.isnan(inputs), np.array(self.fill, inputs.dtype), inputs)

    def ready(self, inputs: NDArray[Any], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Inputs in the units of the data set, without gaps, as the network takes them."""
        if self.wide:
            exact: NDArray[Any] = ((inputs - np.array(self.mean)) / np.array(self.std)).astype(dtype)
            return exact
        return apply(inputs, *self.scale_and_shift(dtype))  # type: ignore[no-any-return]

    def original(self, x: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `ready`."""
        units: NDArray[Any] = x * np.array(self.std) + np.array(self.mean)
        return units

    def target_units(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """What a network says of numbers to predict, (N, k), in their units."""
        return outputs if self.target_scale is None else self.target_scale.undone(outputs)

    def scale_and_shift(self, dtype: DTypeLike = np.float32) -> tuple[NDArray[Any], NDArray[Any]]:
        """Two arrays (C,) with which (x - mean) / std is x * scale + shift; see `apply`."""
        mean, std = np.array(self.mean), np.array(self.std)
        return (1 / std).astype(dtype), (-mean / std).astype(dtype)

    def to_json(self) -> dict[str, Any]:
        raw = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        raw["pixels"] = self.pixels.to_json()
        raw["columns"] = None if self.columns is None else [column.to_json() for column in self.columns]
        raw["values"] = [value.to_json() for value in self.values]
        raw["beside"] = [other.to_json() for other in self.beside]
        raw["target_scale"] = None if self.target_scale is None else self.target_scale.to_json()
        return raw

    @classmethod
    def from_json(cls, raw: object) -> "Preprocessing":
        """The inverse of `to_json`. Raises DataError for anything that `to_json` does not give."""
        match raw:
            case {
                "input_shape": list(shape),
                "classes": None | list() as classes,
                "normalize": normalize,
                "mean": list(mean),
                "std": list(std),
                "columns": None | list() as columns,
                "fill": None | list() as fill,
                **rest,
            } if (
                rest.keys() - LATER in ({"pixels"}, {"white"})  # older files have the latter
                and normalize in get_args(Normalize)
                and 0 < len(shape) <= MOST_AXES
                and all(type(size) is int and 0 < size <= LARGEST for size in shape)
                and len(mean) == len(std) == shape[-1]
                and all(type(value) is float and isfinite(value) for value in (*mean, *std, *(fill or ())))
                and (fill is None or len(fill) == len(mean))
                and min(std) >= TINY
                and (classes is None or (classes and all(type(name) is str for name in classes)))
                and len(set(classes or ())) == len(classes or ())
            ):  # fmt: skip
                learned = cls(
                    tuple(shape),
                    None if classes is None else tuple(classes),
                    normalize,
                    tuple(mean),
                    tuple(std),
                    _pixels_of(rest),
                    columns=None if columns is None else tuple(map(_column, columns)),
                    fill=None if fill is None else tuple(fill),
                    class_weights=_weights(rest.get("class_weights"), len(classes or ())),
                    target_scale=_target_scale(rest.get("target_scale"), classes),
                    **_of_tables(rest),
                )
                with np.errstate(over="ignore"):
                    finite = np.isfinite(learned.scale_and_shift()).all()
                if finite and len(learned.numeric_channels()) == len(mean):
                    return _joined(replace(learned, values=_values(rest.get("values", []), learned)), rest)
        raise DataError(DAMAGED)


def _pixels(inputs: NDArray[Any] | OnDemand, known: Pixels | None) -> Pixels:
    """What is known of the pictures, and what some of them show."""
    step = max(1, len(inputs) // FEW)
    some = inputs[np.arange(0, len(inputs), step)] if isinstance(inputs, OnDemand) else inputs
    return (known or told(some)).measured(some)


def _learned_values(values: tuple[Value, ...], train: Split, learned: "Preprocessing") -> tuple[Value, ...]:
    """The values of a source with the scale of its further pictures, once the training part is found to hold them.

    Raises DataError where it does not.
    """
    found = list(values[:2])
    for value in values[2:]:
        part = train.values.get(value.name)
        if part is None or not value.holds(part):
            raise DataError(f"the data set promises {value.kind} {value.shape} as {value.name!r}, but holds none such")
        if value.kind == "picture":
            mean, std = scale_of(part, learned.normalize, Pixels(BLACK, WHITE))
            value = replace(value, mean=mean, std=std)
        found.append(value)
    return tuple(found)


def _values(raw: object, learned: "Preprocessing") -> tuple[Value, ...]:
    if isinstance(raw, list):
        with suppress(ValueError):
            values = tuple(map(Value.from_json, raw))
            if not values:
                return ()
            inputs, targets = usual(learned.input_shape, learned.classes, 1, learned.multilabel)
            if (
                len({value.name for value in values}) == len(values) >= 2
                and _is_like(values[0], inputs)
                and _is_like(values[1], targets)
                and all(value.mean or value.kind != "picture" for value in values[2:])
            ):
                return values
    raise DataError(DAMAGED)


def _is_like(value: Value, usual: Value) -> bool:
    """Under whatever name; as a text it holds as much."""
    if value.is_text:
        return bool(value.classes) and len(value.shape) == 1
    same = replace(value, name=usual.name) if usual.kind in ("picture", "numbers") else value
    return replace(same, shape=usual.shape) == usual if usual.name in ("label", "target") else same == usual


def _joined(learned: "Preprocessing", raw: Mapping[Any, Any]) -> "Preprocessing":
    """With its name among several data sets, and those beside it."""
    match raw.get("source", ""), raw.get("beside", []):
        case str(source), list(beside):
            others = tuple(Preprocessing.from_json(other) for other in beside if isinstance(other, dict))
            names = [source, *(other.source for other in others)]
            if len(others) == len(beside) and len(set(names)) == len(names) and not any(o.beside for o in others):
                return replace(learned, source=source, beside=others)
    raise DataError(DAMAGED)


def _pixels_of(raw: Mapping[Any, Any]) -> Pixels:
    match raw:
        case {"pixels": pixels}:
            with suppress(ValueError):
                return Pixels.from_json(pixels)
        case {"white": float(white)} if isfinite(white) and white > 0:  # of versions before there was more to say
            return Pixels(white=white)
    raise DataError(DAMAGED)


def _weights(raw: object, classes: int) -> tuple[float, ...] | None:
    match raw:
        case None:
            return None
        case list(values) if len(values) == classes and all(type(w) is float and 0 < w < inf for w in values):
            return tuple(map(float, values))
    raise DataError(DAMAGED)


def _column(raw: object) -> Column:
    try:
        return Column.from_json(raw)
    except ValueError:
        raise DataError(DAMAGED) from None


def _of_tables(raw: Mapping[Any, Any]) -> dict[str, Any]:
    match raw.get("multilabel", False), raw.get("missing_values", list(MISSING)):
        case bool(multilabel), list(texts) if all(type(text) is str for text in texts):
            return {"multilabel": multilabel, "missing_values": tuple(texts)}
    raise DataError(DAMAGED)


def _target_scale(raw: object, classes: list[Any] | None) -> TargetScale | None:
    if raw is None:
        return None
    try:
        scale = TargetScale.from_json(raw)
    except ValueError:
        raise DataError(DAMAGED) from None
    if classes is not None:
        raise DataError(DAMAGED)
    return scale


def apply(x: Any, scale: Any, shift: Any) -> Any:
    """x (…, C) normalised, as a new array of the type of `scale`. All three belong to the same array module."""
    y = x.astype(scale.dtype)
    y *= scale
    y += shift
    return y
