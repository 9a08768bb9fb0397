"""From a data set and the common settings to splits that a network can be trained on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.data.augment import Augmentation
from dltrain.data.preprocess import Preprocessing
from dltrain.data.source import Normalize, Source, Split
from dltrain.errors import ConfigError, DataError
from dltrain.random import generator, permutation


@dataclass(frozen=True)
class Prepared:
    """splits: "train", and "validation" and "test" where there are some, not yet normalised."""

    splits: dict[str, Split]
    preprocessing: Preprocessing


def prepare(
    source: Source,
    data_dir: Path,
    *,
    validation: int | float = 0,
    normalize: Normalize = "channel",
    augment: tuple[Augmentation, ...] = (),
    seed: int,
) -> Prepared:
    """Load all splits, cut validation examples from the training part and learn from what remains of it.

    Settings as in `common_settings`. Raises DataError, ConfigError and ShapeError.
    """
    for augmentation in augment:
        augmentation.check(source.input_shape)
    return _prepared(_cut(source.load(data_dir), validation, seed), source, normalize)


def load_split(source: Source, data_dir: Path, name: str, *, validation: int | float = 0, seed: int) -> Split:
    """One of the splits that `prepare` gives, for `eval`: needs the files of that split only."""
    cut_from_train = name == "validation" and validation
    splits = _cut(source.load(data_dir, only="train" if cut_from_train else name), validation, seed)
    if name not in splits:
        raise DataError(f"the data set has no {name} split")
    return splits[name]


def generated(source: Source, *, normalize: Normalize = "channel", seed: int, examples: int) -> Prepared:
    """Splits of random examples with the shapes and classes of `source`, for `fit --smoke` without its files."""
    splits = {name: _random_split(source, seed, name, examples) for name in ("train", "validation", "test")}
    return _prepared(splits, source, normalize)


def _prepared(splits: dict[str, Split], source: Source, normalize: Normalize) -> Prepared:
    learned = Preprocessing.learn(splits["train"], classes=source.classes, normalize=normalize, white=source.white)
    return Prepared(splits, learned)


def _cut(splits: dict[str, Split], validation: int | float, seed: int) -> dict[str, Split]:
    """Which examples are cut depends on the seed and their number alone; they keep their order."""
    if not validation or "train" not in splits:
        return splits
    train = splits["train"]
    if "validation" in splits:
        raise ConfigError("data.validation: the data set has validation examples of its own; leave this at 0")
    held = round(validation * len(train)) if validation < 1 else int(validation)
    if not 0 < held < len(train):
        raise ConfigError(
            f"data.validation: {validation} would take {held} of {len(train)} training examples; "
            f"it must take at least one and leave at least one"
        )
    order = permutation(len(train), seed, "validation")
    rest = {name: split for name, split in splits.items() if name != "train"}
    return {"train": train.take(np.sort(order[held:])), "validation": train.take(np.sort(order[:held])), **rest}


def _random_split(source: Source, seed: int, name: str, examples: int) -> Split:
    """Images are bytes, other inputs and numbers to predict are floats from -1 to 1."""
    draw = generator(seed, "generated", name)
    shape = (examples, *source.input_shape)
    inputs: NDArray[Any]
    if len(source.input_shape) == 3:
        inputs = draw.integers(0, 256, shape, np.uint8)
    else:
        inputs = draw.uniform(-1, 1, shape).astype(np.float32)
    if source.classes is None:
        return Split(inputs, draw.uniform(-1, 1, (examples, source.outputs)).astype(np.float32))
    return Split(inputs, draw.integers(0, len(source.classes), examples))
