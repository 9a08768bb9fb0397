"""What is cut from the training part: sizes, proportions, and that every example is in one place."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from dltrain.data import Chosen, Cuts, Digits, Fold, Split
from dltrain.data.split import cut, shared_groups
from dltrain.errors import ConfigError

CLASSES = np.repeat(np.arange(4), [61, 30, 8, 1])
HUNDRED = Split(np.arange(100, dtype=np.float32)[:, None], CLASSES)


PATIENTS = np.repeat(np.arange(20), np.r_[np.full(10, 2), np.full(10, 8)])
GROUPED = Split(HUNDRED.inputs, np.arange(100) // 2 % 4, np.random.default_rng(0).permutation(100)[PATIENTS] * 7)


def pieces(cuts: Cuts, seed: int = 0, splits: dict[str, Split] | None = None) -> dict[str, list[int]]:
    """The numbers of the examples in each split, which must be in order and together all of them."""
    found = cut(splits or {"train": HUNDRED}, cuts, seed)
    numbers = {name: split.inputs[:, 0].astype(int).tolist() for name, split in found.items()}
    assert sorted(chain(*numbers.values())) == list(range(100))
    assert all(split == sorted(split) for split in numbers.values())
    assert all(np.array_equal(found[name].targets, CLASSES[numbers[name]]) for name in numbers)
    return numbers


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({}, {"train": 100}),
        ({"validation": 7}, {"train": 93, "validation": 7}),
        ({"validation": 0.25}, {"train": 75, "validation": 25}),
        ({"test": 0.2}, {"train": 80, "test": 20}),
        ({"test": 0.2, "validation": 0.25}, {"train": 60, "validation": 20, "test": 20}),
        ({"fold": Fold(number=2, of=3)}, {"train": 67, "validation": 33}),
        ({"test": 10, "fold": Fold(number=1, of=2)}, {"train": 45, "validation": 45, "test": 10}),
    ],
)
def test_sizes(settings, sizes, stratified):
    cuts = Cuts(**settings, stratified=stratified)
    found = pieces(cuts)
    assert {name: len(numbers) for name, numbers in found.items()} == sizes
    assert found == pieces(cuts)
    if settings:
        assert found != pieces(cuts, seed=1)
    assert {cuts.needs(name) for name in found} <= {"train"}
    assert cuts.needs("train") == "train"


@pytest.mark.parametrize("settings", [{"validation": n} for n in (1, 9, 50, 99)] + [{"test": 0.3, "validation": 0.3}])
def test_stratified_keeps_the_proportions(settings):
    found = pieces(Cuts(**settings, stratified=True))
    shuffled = pieces(Cuts(**settings))
    whole = np.bincount(CLASSES)
    for numbers in found.values():
        counts = np.bincount(CLASSES[numbers], minlength=4)
        assert np.abs(counts - whole * len(numbers) / 100).max() < (2 if "test" in found else 1)
    if settings == {"validation": 50}:
        counts = np.bincount(CLASSES[shuffled["validation"]], minlength=4)
        assert np.abs(counts - whole / 2).max() > 1, "chance alone does not keep them"


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("of", [2, 3, 7, 100])
def test_folds_validate_each_example_once(of, stratified):
    held = [pieces(Cuts(fold=Fold(number=i + 1, of=of), stratified=stratified))["validation"] for i in range(of)]
    assert sorted(chain(*held)) == list(range(100))
    assert {len(piece) for piece in held} <= {100 // of, 100 // of + 1}
    if stratified:
        counts = np.array([np.bincount(CLASSES[piece], minlength=4) for piece in held])
        assert (counts.max(axis=0) - counts.min(axis=0)).max() <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 0.1, "fold": Fold(number=1, of=2)}, "leave data.validation at 0"),
        ({"validation": 100}, r"data\.validation: 100 would take 100 of 100"),
        ({"test": 0.001}, r"data\.test: 0\.001 would take 0"),
        ({"test": 60, "validation": 40}, r"would take 40 of 40"),
        ({"fold": Fold(number=4, of=3)}, "no piece 4 of 3"),
        ({"fold": Fold(number=1, of=101)}, "cannot be cut into 101"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ConfigError, match=message):
        cut({"train": HUNDRED}, Cuts(**settings), 0)


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("settings", [{"validation": 30}, {"validation": 0.1, "test": 0.2}, {"validation": 99}])
@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together(settings, stratified, seed):
    found = cut({"train": GROUPED}, Cuts(**settings, stratified=stratified), seed)
    whole = np.bincount(GROUPED.targets)
    groups = {name: set(split.groups.tolist()) for name, split in found.items()}
    assert sum(map(len, groups.values())) == len(set().union(*groups.values())) == len(set(GROUPED.groups.tolist()))
    assert sorted(np.concatenate([split.inputs[:, 0] for split in found.values()])) == list(range(100))
    if settings != {"validation": 99}:
        wanted = {"validation": 30, "test": 0} if "test" not in settings else {"validation": 8, "test": 20}
        for name, split in found.items():
            if name in wanted:
                assert abs(len(split) - wanted[name]) <= 4
                if stratified:
                    assert np.abs(np.bincount(split.targets, minlength=4) - whole * wanted[name] / 100).max() <= 3
    else:
        assert len(found["train"]), "something is left to train on"


@pytest.mark.parametrize("stratified", [False, True])
def test_folds_of_groups(stratified):
    cuts = [Cuts(fold=Fold(number=i, of=5), stratified=stratified) for i in range(1, 6)]
    held = [cut({"train": GROUPED}, one, 3)["validation"] for one in cuts]
    assert sorted(np.concatenate([piece.inputs[:, 0] for piece in held])) == list(range(100))
    assert [len(piece) for piece in held] == [20] * 5
    assert sum(len(set(piece.groups.tolist())) for piece in held) == len(set(GROUPED.groups.tolist()))
    if stratified:
        counts = np.array([np.bincount(piece.targets, minlength=4) for piece in held])
        assert (counts.max(axis=0) - counts.min(axis=0)).max() <= 4


def test_groups_that_cannot_be_cut():
    one = Split(HUNDRED.inputs, CLASSES, np.full(100, 3))
    with pytest.raises(ConfigError, match="all training examples are of one group"):
        cut({"train": one}, Cuts(validation=10), 0)
    with pytest.raises(ConfigError, match=f"{len(set(GROUPED.groups.tolist()))} groups cannot be cut into 50 pieces"):
        cut({"train": GROUPED}, Cuts(fold=Fold(number=1, of=50)), 0)
    huge = Split(HUNDRED.inputs, CLASSES, np.repeat([1, 2], [40, 60]))
    assert {name: len(split) for name, split in cut({"train": huge}, Cuts(validation=1), 0).items()} == {
        "train": 60, "validation": 40,
    }, "at least one"  # fmt: skip


def test_groups_in_two_parts_of_the_data_set_are_told():
    test = Split(HUNDRED.inputs[:4], CLASSES[:4], np.array([GROUPED.groups[0], -1, -1, -2]))
    assert shared_groups({"train": GROUPED, "test": test}) == [
        "1 of 3 groups of the test part are in the training part as well"
    ]
    assert shared_groups(cut({"train": GROUPED}, Cuts(validation=0.2, test=0.2), 0)) == []
    assert shared_groups({"train": HUNDRED, "test": test}) == []


def test_refuses_what_the_data_set_cannot_give():
    for name, settings in (("test", {"test": 1}), ("validation", {"fold": Fold(number=1, of=2)})):
        with pytest.raises(ConfigError, match=f"has {name} examples of its own; leave this"):
            cut({"train": HUNDRED, name: HUNDRED}, Cuts(**settings), 0)
    numbers = Split(HUNDRED.inputs, HUNDRED.inputs)
    with pytest.raises(ConfigError, match=r"data\.stratified"):
        cut({"train": numbers}, Cuts(validation=5, stratified=True), 0)


def test_so_many_of_each_class() -> None:
    """Of what the other cuts leave; others with another seed, and validation examples as they are without it."""
    splits = {"train": Split(HUNDRED.inputs[:99], CLASSES[:99])}
    whole, few = (cut(splits, Cuts(validation=20, per_class=number), 3) for number in (None, 5))
    assert np.bincount(few["train"].targets).tolist() == [5, 5, 5]
    assert np.array_equal(few["validation"].inputs, whole["validation"].inputs)
    kept = few["train"].inputs[:, 0]
    assert set(kept) < set(whole["train"].inputs[:, 0]) and np.all(np.diff(kept) > 0)
    assert not np.array_equal(kept, cut(splits, Cuts(validation=20, per_class=5), 4)["train"].inputs[:, 0])
    for targets in (np.zeros((100, 1), np.float32), np.zeros((100, 2), np.float32)):
        with pytest.raises(ConfigError, match=r"data.per_class: is for examples of one class each"):
            cut({"train": Split(HUNDRED.inputs, targets)}, Cuts(per_class=5), 0)


def test_some_classes_alone() -> None:
    """In the order in which they are named, with their own examples."""
    digits = Digits()
    whole, some = (source.load(Path())["test"] for source in (digits, Chosen(digits, ["7", "2"])))
    for number, name in enumerate((7, 2)):
        own = some.inputs[some.targets == number]
        assert np.array_equal(own, np.asarray(whole.inputs)[whole.targets == name])
    assert Chosen(digits, ["7", "2"]).values[1].classes == ("7", "2") and len(some) == 356
