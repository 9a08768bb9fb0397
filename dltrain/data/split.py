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
    """What to take from the training part, as in `common_settings`: first test examples, then validation or a fold; and
    how many of each class are to be left."""

    test: int | float = 0
    validation: int | float = 0
    fold: Fold | None = None
    stratified: bool = False
    per_class: int | None = None

    def needs(self, split: str) -> str:
        """The split of the data set that this one is made of."""
        cut = {"test": bool(self.test), "validation": bool(self.validation or self.fold)}
        return "train" if cut.get(split) else split


def cut(splits: dict[str, Split], cuts: Cuts, seed: int) -> dict[str, Split]:
    """The splits after cutting. Which examples are taken depends on the seed and, where there are some, on classes
    (stratified) and groups alone; or on the times alone, the latest ones first. All keep their order.

    Raises SettingError.
    """
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
            if train.times is not None and (fold or cuts.stratified or train.groups is not None):
                raise SettingError("data.time", "cuts by time alone; leave out fold, stratified and group")
            if cuts.stratified and train.targets.ndim > 1:
                raise SettingError(
                    "data.stratified", "is for examples of one class each, not for labels or numbers to predict"
                )
            if train.times is not None:
                latest = np.argsort(train.times, kind="stable")
                held = latest[-_number(name, share, len(train)) :]
            elif train.groups is not None:
                held = _whole_groups(train, name, share, fold, cuts.stratified, seed)
            else:
                order = _shuffled(train.targets, cuts.stratified, seed, name)
                held = _piece(order, fold) if fold else _share(order, _number(name, share, len(train)), cuts.stratified)
            rest = np.setdiff1d(np.arange(len(train)), held)
            splits = splits | {"train": train.take(rest), name: train.take(np.sort(held))}
    if cuts.per_class is not None and "train" in splits:
        splits = splits | {"train": _few(splits["train"], cuts.per_class, seed)}
    return {name: splits[name] for name in ("train", "validation", "test") if name in splits}


def _few(train: Split, number: int, seed: int) -> Split:
    """So many examples of each class."""
    if train.targets.ndim > 1 or train.targets.dtype.kind != "i":
        raise SettingError("data.per_class", "is for examples of one class each, not for labels or numbers to predict")
    order = permutation(len(train), seed, "per_class")
    sorted_ = order[np.argsort(train.targets[order], kind="stable")]
    counts = np.bincount(train.targets)
    if counts[counts > 0].min() < number:
        raise SettingError("data.per_class", f"a class has only {counts[counts > 0].min()} training examples")
    place = np.arange(len(sorted_)) - np.repeat(np.cumsum(counts) - counts, counts)  # within its class
    return train.take(np.sort(sorted_[place < number]))


def shared_groups(splits: dict[str, Split]) -> list[str]:
    """What is to be said of groups that are in the training part and in another one, as a data set may have them of its
    own."""
    train = splits.get("train")
    if train is None or train.groups is None:
        return []
    lines = []
    for name, split in splits.items():
        if name != "train" and split.groups is not None:
            groups = np.unique(split.groups)
            if shared := int(np.isin(groups, train.groups).sum()):
                there = "are in the training part as well"
                lines.append(f"{shared:,} of {len(groups):,} groups of the {name} part {there}")
    return lines


def _shuffled(targets: Array, stratified: bool, seed: int, purpose: str) -> Array:
    """A random order of all examples; where stratified, class after class."""
    order = permutation(len(targets), seed, purpose)
    if not stratified:
        return order
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
    _require_pieces(fold, len(order), "training examples")
    return order[fold.number - 1 :: fold.of]


def _require_pieces(fold: Fold, number: int, what: str) -> None:
    if fold.number > fold.of:
        raise SettingError("data.fold", f"there is no piece {fold.number} of {fold.of}")
    if fold.of > number:
        raise SettingError("data.fold", f"{number} {what} cannot be cut into {fold.of} pieces")


def _whole_groups(train: Split, name: str, share: int | float, fold: Fold | None, stratified: bool, seed: int) -> Array:
    """The examples of the groups that are held out: about as many, and where stratified about as many of each class, as
    would be without groups."""
    assert train.groups is not None
    _, group = np.unique(train.groups, return_inverse=True)
    groups = int(group.max()) + 1
    if groups < 2:
        raise SettingError("data.group", "all training examples are of one group; it cannot be cut")
    classes = train.targets if stratified else np.zeros(len(train), np.int64)
    columns = int(classes.max()) + 1
    counts = np.bincount(group * columns + classes, minlength=groups * columns).reshape(groups, columns)
    order = permutation(groups, seed, name)
    if fold:
        _require_pieces(fold, groups, "groups")
        chosen = _group_piece(counts, order, fold)
    else:
        chosen = _group_share(counts, order, _number(name, share, len(train)) / len(train))
    return np.flatnonzero(np.isin(group, chosen))


def _group_share(counts: Array, order: Array, share: float) -> list[int]:
    """Groups in a random order, each taken if that brings the examples of each class nearer to their share.

    counts: (groups, classes)."""
    missing, chosen = counts.sum(axis=0) * share, []
    for group in order.tolist():
        left = missing - counts[group]
        if (left**2).sum() < (missing**2).sum():
            missing = left
            chosen.append(group)
    if len(chosen) == len(order):  # the last of two groups, say, is nearer to a share of 0.9
        chosen.pop()
    return chosen or [min(order.tolist(), key=lambda group: counts[group].sum())]


def _group_piece(counts: Array, order: Array, fold: Fold) -> list[int]:
    """The largest groups first, each to the piece that has the fewest of its classes so far."""
    pieces = np.zeros((fold.of, counts.shape[1]))
    chosen = []
    for group in order[np.argsort(-counts[order].sum(axis=1), kind="stable")].tolist():
        # ‖piece + group‖² grows by 2 piece · group + ‖group‖²; of equal ones the piece with the fewest examples
        fewest = int(np.lexsort((pieces.sum(axis=1), pieces @ counts[group]))[0])
        pieces[fewest] += counts[group]
        if fewest == fold.number - 1:
            chosen.append(group)
    return chosen


def class_weights(setting: ClassWeights, targets: Array, classes: tuple[str, ...] | None) -> tuple[float, ...] | None:
    """How much an example of each class counts; None where all count the same. Raises SettingError.

    "balanced" is N / (classes that occur · examples of the class), so that the mean over the examples is 1.
    targets: of the training part.
    """
    if setting == "none":
        return None
    if classes is None or targets.ndim > 1:
        raise SettingError("data.class_weights", "is for examples of one class each, not for labels or numbers")
    if setting == "balanced":
        counts = np.bincount(targets, minlength=len(classes))
        return tuple((len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1))).tolist())
    if len(setting) != len(classes):
        raise SettingError("data.class_weights", f"{len(setting)} weights, but there are {len(classes)} classes")
    return setting
