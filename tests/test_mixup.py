"""Mixup: which examples are blended, by which shares, and what that does to loss and gradient."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import make_job, rows, train, weighed
from test_train_step import ready, take_step

from dltrain.backend import Device, to_host
from dltrain.data import Split
from dltrain.job.loader import StepKey, mixed_examples
from dltrain.job.parallel import ThreadPool

BATCH = np.arange(5, 27)


def test_a_batch_is_blended_with_itself(device: Device) -> None:
    loader = ready(device=device).loaders["train"]
    moment = StepKey(seed=0, epoch=2, step=3)
    whole, [(share, targets), (rest, others)] = mixed_examples(loader, BATCH, 0, 22, moment, 0.4)
    assert 0.5 <= share <= 1 and rest == 1 - share
    x, expected = (to_host(part) for part in loader.examples(BATCH))
    assert to_host(targets).tolist() == expected.tolist()
    added = (to_host(whole) - share * x) / (1 - share)  # the other one's part
    partners = [int(np.abs(x - row).sum(axis=1).argmin()) for row in added]
    np.testing.assert_allclose(added, x[partners], atol=1e-9)
    assert sorted(partners) == list(range(22)) != partners, "everybody is somebody's partner"
    assert to_host(others).tolist() == expected[partners].tolist()
    for first, count in ((0, 6), (6, 6), (18, 4)):  # in shards it is the same
        part, [(s, _), (_, o)] = mixed_examples(loader, BATCH, first, count, moment, 0.4)
        assert s == share and np.array_equal(to_host(part), to_host(whole)[first : first + count])
        assert to_host(o).tolist() == to_host(others)[first : first + count].tolist()
    plain, [(one, _)] = mixed_examples(loader, BATCH, 0, 22, moment, 0.0)
    assert one == 1 and np.array_equal(to_host(plain), x)


def test_shares_follow_the_beta_distribution() -> None:
    loader = ready().loaders["train"]
    shares = [mixed_examples(loader, BATCH, 0, 1, StepKey(0, 1, step), 0.5)[1][0][0] for step in range(1500)]
    assert len(set(shares)) == 1500
    for limit in (0.6, 0.75, 0.9):  # Beta(1/2, 1/2) is the arcsine law: P(X < x) = 2 asin(√x) / π
        below = 2 * (2 / np.pi * np.arcsin(np.sqrt(limit))) - 1  # of the larger one of X and 1 - X
        assert abs(np.mean(np.array(shares) < limit) - below) < 0.04


@pytest.mark.parametrize("weights", [None, [2.0, 1.0, 3.0]])
def test_the_loss_is_blended_too(weights: Any, device: Device) -> None:
    """The loss of the blended inputs: a share for the one class, the rest for the other."""
    pool = ThreadPool(2)
    job = ready(device=device)
    job = replace(job if weights is None else weighed(job, weights), mixup=0.4)
    report, gradients = take_step(job, pool, BATCH)
    fresh = ready(device=device)
    moment = StepKey(fresh.seed, 1, 1)
    x, mixture = mixed_examples(fresh.loaders["train"], BATCH, 0, 22, moment, 0.4)
    loss, expected = 0.0, dict.fromkeys(gradients, 0.0)
    for share, targets in mixture:
        blended = Split(to_host(x).astype(np.float64), to_host(targets))
        other = ready(device=device, splits={"train": blended}, normalize="none")
        if weights is not None:
            other = weighed(other, weights)
        part, slopes = take_step(other, pool, np.arange(22))
        loss += share * part.data_loss
        expected = {name: total + share * slopes[name] for name, total in expected.items()}
    assert report.data_loss == pytest.approx(loss, rel=1e-9)
    for name, gradient in expected.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-7, atol=1e-12)
    pool.close()


def test_bits_do_not_depend_on_threads(tmp_path: Path) -> None:
    split = rows(70)
    numbers = Split(split.inputs, split.inputs[:, :3].copy())
    for settings in ({}, {"splits": {"train": numbers}, "loss": "mse"}):
        job = replace(make_job(**settings), mixup=0.4)
        assert len({train(job, tmp_path, threads)[0]["weights_sha256"] for threads in (1, 2, 4)}) == 1
