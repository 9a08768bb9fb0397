"""Data that is made on the spot is what its description says, and the same every time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dltrain.data import SOURCES, Digits

NOWHERE = Path("nowhere")


@pytest.mark.parametrize("name", ["signals", "volumes", "valley"])
def test_the_seed_makes_it(name: str) -> None:
    first, again, other = (SOURCES[name](seed=seed).load(NOWHERE) for seed in (1, 1, 2))
    for split in ("train", "test"):
        x: Any = first[split].inputs
        assert x.dtype == np.float32 and np.isfinite(x).all()
        assert np.array_equal(x, again[split].inputs) and not np.array_equal(x, other[split].inputs)
        assert np.array_equal(first[split].targets, again[split].targets)
    assert not np.array_equal(first["train"].inputs, first["test"].inputs)
    only = SOURCES[name](seed=1).load(NOWHERE, only="test")
    assert only.keys() == {"test"} and np.array_equal(only["test"].inputs, first["test"].inputs)


def test_a_signal_holds_its_shape_once() -> None:
    split = SOURCES["signals"](noise=0.0, examples=200, length=30).load(NOWHERE)["train"]
    x = np.asarray(split.inputs)[..., 0]
    starts = (x != 0).argmax(axis=1)
    assert set(starts) == set(range(23)), "every place"
    for row, start, target in zip(x, starts, split.targets, strict=True):
        inside = row[start : start + 8]
        assert not row[:start].any() and not row[start + 8 :].any()
        assert (inside[:4].sum() > 0, inside[4:].sum() > 0) == ((True, False), (False, True), (True, True))[target]


def test_bodies_in_a_volume() -> None:
    split = SOURCES["volumes"](noise=0.0, examples=150).load(NOWHERE)["train"]
    for body, target in zip(np.asarray(split.inputs)[..., 0], split.targets, strict=True):
        assert set(np.unique(body)) == {0, 1}
        through = sum(
            bool((body.min(axis=axis) == 1).any()) for axis in range(3)
        )  # axes along which it goes right through
        assert through == target, ("ball", "rod", "plate")[target]


def test_a_valley_is_as_steep_as_it_says() -> None:
    split = SOURCES["valley"](examples=5000, dimensions=4, condition=8.0).load(NOWHERE)["train"]
    x = np.asarray(split.inputs, float)
    curvature = np.linalg.eigvalsh(x.T @ x)
    assert curvature[-1] / curvature[0] == pytest.approx(64, rel=0.1)
    w, rest, *_ = np.linalg.lstsq(x, split.targets, rcond=None)
    assert rest[0] < 1e-6 and w[:, 0] == pytest.approx(8 ** np.linspace(0, 1, 4), rel=1e-5)


def test_noise_on_digits() -> None:
    plain, noisy, again = (Digits(noise=noise).load(NOWHERE) for noise in (0, 3.0, 3.0))
    for split in ("train", "test"):
        added = np.asarray(noisy[split].inputs) - np.asarray(plain[split].inputs)
        assert abs(added.mean()) < 0.02 and added.std() == pytest.approx(3, rel=0.01)
        assert np.array_equal(noisy[split].inputs, again[split].inputs)
        assert np.array_equal(noisy[split].targets, plain[split].targets)
