"""What is cut from the training part: sizes, proportions, and that every example is in one place."""

from itertools import chain

import numpy as np
import pytest

from dltrain.data import Cuts, Fold, Split
from dltrain.data.split import cut
from dltrain.errors import ConfigError

CLASSES = np.repeat(np.arange(4), [61, 30, 8, 1])
HUNDRED = Split(np.arange(100, dtype=np.float32)[:, None], CLASSES)


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


def test_refuses_what_the_data_set_cannot_give():
    for name, settings in (("test", {"test": 1}), ("validation", {"fold": Fold(number=1, of=2)})):
        with pytest.raises(ConfigError, match=f"has {name} examples of its own; leave this"):
            cut({"train": HUNDRED, name: HUNDRED}, Cuts(**settings), 0)
    numbers = Split(HUNDRED.inputs, HUNDRED.inputs)
    with pytest.raises(ConfigError, match=r"data\.stratified"):
        cut({"train": numbers}, Cuts(validation=5, stratified=True), 0)
