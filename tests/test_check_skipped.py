"""`dltrain check` where there is little or nothing to look at: it says so, and promises nothing."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import done
from test_check import CONFIG, MSE, Arrays, arrays, check, few_test_examples, numbers

from dltrain.check import checks, examples, leaks


def few_columns(size: int) -> Callable[[Arrays], None]:
    """Only a training part, of points."""

    def change(data: Arrays) -> None:
        data["x_train"] = data["x_train"][:size].reshape(size, -1)
        data["y_train"] = data["y_train"][:size]
        del data["x_test"], data["y_test"]

    return change


def only_training_numbers(data: Arrays) -> None:
    numbers(data)
    del data["x_test"], data["y_test"]


def larger_and_alone(data: Arrays) -> None:
    """Pictures of 12 pixels, in the training part only."""
    data["x_train"] = data["x_train"].repeat(2, axis=1).repeat(2, axis=2)
    del data["x_test"], data["y_test"]


ALONE = "needs another part beside the training part"
POINTS = "model.layers=[{dense: 16}, {dense: {units: 3, activation: none}}]"
SKIPPED = {
    "layout": (examples.layout, (POINTS,), few_columns(480), "the inputs are no pictures"),
    "leaks of pictures": (examples.leaks, (), None, "the inputs are no columns"),
    "leaks": (examples.leaks, (POINTS,), few_columns(49), "needs 50 training examples, there are 49"),
    "labels": (examples.labels, (POINTS,), few_columns(199), "needs 200 training examples, there are 199"),
    "labels of numbers": (examples.labels, MSE, numbers, "needs examples of one class each"),
    "duplicates": (leaks.duplicates, MSE, only_training_numbers, ALONE),
    "near_duplicates alone": (leaks.near_duplicates, (), larger_and_alone, ALONE),
    "near_duplicates": (leaks.near_duplicates, (), None, "needs pictures of 12 pixels a side at least"),
}


@pytest.mark.parametrize("case", SKIPPED.values(), ids=SKIPPED)
def test_what_is_not_looked_at_has_not_passed(case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, overrides, change, why = case
    monkeypatch.setattr(checks, "CHECKS", (looked,))
    found = check(tmp_path, overrides, change)
    (finding,) = found["findings"]
    assert (finding["status"], finding["found"]) == ("skipped", f"not looked at: {why}")
    assert (found["passed"], found["skipped"]) == (0, 1)


def test_just_enough_examples_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for looked, size in ((examples.leaks, 50), (examples.labels, 200)):
        monkeypatch.setattr(checks, "CHECKS", (looked,))
        assert check(tmp_path, (POINTS,), few_columns(size))["skipped"] == 0


def test_what_few_examples_tell_of_classes_and_of_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An accuracy is of classes. The spread of n normal errors, drawn often, shows how far theirs may be off."""
    monkeypatch.setattr(checks, "CHECKS", (examples.parts,))

    def few_numbers(data: Arrays) -> None:
        few_test_examples(data)
        numbers(data)

    (finding,) = check(tmp_path, (), few_test_examples)["findings"]
    assert "of 20 test examples an accuracy of 90 % may be 70% to 97%" in finding["advice"]
    (finding,) = check(tmp_path, MSE, few_numbers)["findings"]
    errors = np.sqrt((np.random.default_rng(0).normal(size=(100_000, 20)) ** 2).mean(axis=1))
    said = re.search(r"of 20 test examples a root mean square error may be (\d+)% off by chance", finding["advice"])
    assert said and int(said[1]) / 100 == pytest.approx(np.quantile(np.abs(errors - 1), 0.95), abs=0.02)


def test_a_training_does_not_begin_with_what_is_not_looked_at(tmp_path: Path) -> None:
    few_columns(60)(data := arrays())
    np.savez(tmp_path / "data.npz", **data)
    (tmp_path / "net.yaml").write_text(CONFIG)
    words = (f"data.path={tmp_path / 'data.npz'}", POINTS, "--max-steps", 1, "--runs-dir", tmp_path)
    assert "not looked at" not in done("fit", tmp_path / "net.yaml", *words).err
