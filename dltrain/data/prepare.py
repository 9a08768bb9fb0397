"""From a data set and the common settings to splits that a network can be trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dltrain.data.pictures.augment import Augmentation
from dltrain.data.preprocess import Preprocessing
from dltrain.data.source import Normalize, NormalizeTargets, Source, Split
from dltrain.data.split import Cuts, cut, shared_groups
from dltrain.data.statistics import measured
from dltrain.data.tokens import NOTHING
from dltrain.data.values import Value
from dltrain.errors import DataError
from dltrain.random import generator

WHOLE = Cuts()


@dataclass(frozen=True)
class Prepared:
    """splits: "train", and "validation" and "test" where there are some, not yet normalised. notes, column_facts: of
    the source."""

    splits: dict[str, Split]
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()
    column_facts: Sequence[dict[str, Any]] = ()


def prepare(
    source: Source,
    data_dir: Path,
    *,
    cuts: Cuts = WHOLE,
    normalize: Normalize = "channel",
    normalize_targets: NormalizeTargets = "auto",
    augment: tuple[Augmentation, ...] = (),
    seed: int,
) -> Prepared:
    """Load all splits, cut what else is wanted from the training part and learn from what remains of it.

    Settings as in `common_settings`; seed: its split_seed. Raises DataError, ConfigError and ShapeError.
    """
    for augmentation in augment:
        source.check_augmentation(augmentation)
    splits = cut(source.load(data_dir), cuts, seed)
    prepared = _prepared(splits, source, normalize, normalize_targets)
    return replace(prepared, notes=(*prepared.notes, *shared_groups(splits)))


def load_split(source: Source, data_dir: Path, name: str, *, cuts: Cuts = WHOLE, seed: int) -> Split:
    """One of the splits that `prepare` gives, for `eval`: needs the files of that split only."""
    splits = cut(source.load(data_dir, only=cuts.needs(name)), cuts, seed)
    if name not in splits:
        others = " and ".join(cut(source.load(data_dir), cuts, seed))
        remedy = f"; data.{name}: 0.2 in the config would cut one for the next training" if name != "train" else ""
        raise DataError(f"the data set has no {name} split, only {others}: --split says which to take{remedy}")
    return splits[name]


def generated(
    source: Source,
    *,
    normalize: Normalize = "channel",
    normalize_targets: NormalizeTargets = "auto",
    seed: int,
    examples: int,
) -> Prepared:
    """Splits of random examples with the shapes and classes of `source`, for `fit --smoke` without its files."""
    splits = {name: _random_split(source, seed, name, examples) for name in ("train", "validation", "test")}
    return _prepared(splits, source, normalize, normalize_targets)


def _prepared(
    splits: dict[str, Split], source: Source, normalize: Normalize, normalize_targets: NormalizeTargets
) -> Prepared:
    learned = Preprocessing.learn(
        splits["train"],
        classes=source.classes,
        normalize=normalize,
        pixels=source.pixels,
        columns=source.columns,
        tolerant=source.tolerant,
        normalize_targets=normalize_targets,
        multilabel=source.multilabel,
        missing_values=source.missing_values,
        values=source.values,
    )
    inputs, notes = splits["train"].inputs, list(source.notes)
    if normalize != "none" and any(learned.numeric_channels()) and (few := measured(inputs)) < len(inputs):
        notes.append(
            f"data.normalize: mean and spread are those of {few:,} of the {len(inputs):,} training examples, at equal "
            "distances, for all of them are not read before the training"
        )
    return Prepared(splits, learned, tuple(notes), source.column_facts)


def _random_split(source: Source, seed: int, name: str, examples: int) -> Split:
    """Images are bytes, other inputs and numbers to predict are floats from -1 to 1."""
    draw = generator(seed, "generated", name)
    shape = (examples, *source.input_shape)
    inputs: NDArray[Any]
    if source.values[0].is_text:
        inputs = _random_value(source.values[0], draw, examples).astype(np.int32)
    elif len(source.input_shape) == 3:
        inputs = draw.integers(0, 256, shape, np.uint8)
    else:
        inputs = draw.uniform(-1, 1, shape).astype(np.float32)
    targets = _random_value(source.values[1], draw, examples)
    return Split(inputs, targets, values={each.name: _random_value(each, draw, examples) for each in source.further})


def _random_value(value: Value, draw: Generator, examples: int) -> NDArray[Any]:
    shape = (examples, *value.shape)
    match value.kind:
        case "picture":
            return draw.integers(0, 256, shape, np.uint8)
        case "class" | "characters" | "words":
            return draw.integers(0, value.count, shape)
        case "sentence":
            words, length = draw.integers(1, value.count, shape), draw.integers(1, value.shape[0], (examples, 1))
            place = np.arange(value.shape[0])
            return np.where(place < length, words, np.where(place == length, 0, NOTHING))
        case "labels":
            return draw.integers(0, 2, shape).astype(np.float32)
        case "numbers":
            return draw.uniform(-1, 1, shape).astype(np.float32)
