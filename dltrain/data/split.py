"""Cutting a data set's training part: which examples test, validate, or make up a fold; and what classes weigh."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.data.source import ClassWeights, Fold, Split
from dltrain.errors import SettingError
from dltrain.random import permutation

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """What to take from the training part, as in `common_settings`: first test examples, then validation or a fold."""

    test: int | float = 0
    validation: int | float = 0
    fold: Fold | None = None
    stratified: bool = False

    def needs(self, split: str) -> str:
        """The split of the data set that this one is made of."""
        cut = {"test": bool(self.test), "validation": bool(self.validation or self.fold)}
        return "train" if cut.get(split) else split


def cut(splits: dict[str, Split], cuts: Cuts, seed: int) -> dict[str, Split]:
    """The splits after cutting. Which examples are taken depends on the seed and, where stratified, on the classes
    alone; all keep their order. Raises SettingError."""
    if cuts.validation and cuts.fold:
        raise SettingError("data.fold", "the fold is what validates; leave data.validation at 0")
    for name in ("test", "validation"):
        share = getattr(cuts, name)
        fold = cuts.fold if name == "validation" else None
        if (share or fold) and "train" in splits:
            if name in splits:
                key, off = ("fold", "out") if fold else (name, "at 0")
                raise SettingError(f"data.{key}", f"the data set has {name} examples of its own; leave this {off}")
            train = splits["train"]
            order = _shuffled(train.targets, cuts.stratified, seed, name)
            held = _piece(order, fold) if fold else _share(order, _number(name, share, len(train)), cuts.stratified)
            rest = np.setdiff1d(np.arange(len(train)), held)
            splits = splits | {"train": train.take(rest), name: train.take(np.sort(held))}
    return {name: splits[name] for name in ("train", "validation", "test") if name in splits}


def _shuffled(targets: Array, stratified: bool, seed: int, purpose: str) -> Array:
    """A random order of all examples; where stratified, class after class."""
    order = permutation(len(targets), seed, purpose)
    if not stratified:
        return order
    if targets.ndim > 1:
        raise SettingError("data.stratified", "a data set with numbers to predict has no classes to keep in proportion")
    by_class: Array = order[np.argsort(targets[order], kind="stable")]
    return by_class


def _number(name: str, share: int | float, examples: int) -> int:
    number = round(share * examples) if share < 1 else int(share)
    if not 0 < number < examples:
        raise SettingError(
            f"data.{name}",
            f"{share} would take {number} of {examples} training examples; "
            f"it must take at least one and leave at least one",
        )
    return number


def _share(order: Array, number: int, stratified: bool) -> Array:
    """`number` of the examples: at equal distances where the order is by class, so that each class gives its part."""
    if not stratified:
        return order[:number]
    return order[(2 * np.arange(number) + 1) * len(order) // (2 * number)]


def _piece(order: Array, fold: Fold) -> Array:
    """Every `of`-th example: sizes, and where the order is by class the numbers of each class, differ by at most 1."""
    if fold.number > fold.of:
        raise SettingError("data.fold", f"there is no piece {fold.number} of {fold.of}")
    if fold.of > len(order):
        raise SettingError("data.fold", f"{len(order)} training examples cannot be cut into {fold.of} pieces")
    return order[fold.number - 1 :: fold.of]


def class_weights(setting: ClassWeights, targets: Array, classes: tuple[str, ...] | None) -> tuple[float, ...] | None:
    """How much an example of each class counts; None where all count the same. Raises SettingError.

    "balanced" is N / (classes that occur · examples of the class), so that the mean over the examples is 1.
    targets: of the training part.
    """
    if setting == "none":
        return None
    if classes is None:
        raise SettingError("data.class_weights", "a data set with numbers to predict has no classes to weigh")
    if setting == "balanced":
        counts = np.bincount(targets, minlength=len(classes))
        return tuple((len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1))).tolist())
    if len(setting) != len(classes):
        raise SettingError("data.class_weights", f"{len(setting)} weights, but there are {len(classes)} classes")
    return setting
