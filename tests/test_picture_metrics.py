"""Figures of made pictures: against definitions by brute force, other formulas, hand-checked cases and scikit-image."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from dltrain.metrics import pictures
from dltrain.metrics.distributions import (
    class_entropy_score,
    frechet_distance,
    smallest_class,
    surer_than,
    taken_for,
)
from dltrain.metrics.pictures import (
    colour_spread,
    histogram_intersection,
    mean_absolute_error,
    nearest,
    psnr,
    spread,
    ssim,
)

Array = np.ndarray[Any, Any]


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(shape)


# --- sets of features ------------------------------------------------------------------------------------------------


def with_moments(n: int, mean: Array, covariance: Array, seed: int) -> Array:
    """n examples whose mean and covariance are exactly these."""
    x = np.random.default_rng(seed).standard_normal((n, len(mean)))
    x -= x.mean(axis=0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def random_covariance(size: int, seed: int) -> Array:
    factor = np.random.default_rng(seed).standard_normal((size, size + 2))
    return factor @ factor.T


def test_frechet_distance_of_two_normal_distributions_that_share_their_axes() -> None:
    """Then it is ‖Δμ‖² + Σ (σa - σb)²."""
    axes, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))
    mean_a, mean_b = np.array([1.0, 2, 3, 4]), np.array([1.5, 2, 1, 4])
    spread_a, spread_b = np.array([1.0, 2, 0.5, 3]), np.array([2.0, 2, 0.1, 7])
    a = with_moments(50, mean_a, axes * spread_a**2 @ axes.T, seed=1)
    b = with_moments(80, mean_b, axes * spread_b**2 @ axes.T, seed=2)
    assert frechet_distance(a, b) == pytest.approx(4.25 + 1 + 0 + 0.16 + 16, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_frechet_distance_of_any_two(seed: int) -> None:
    """tr (Ca^½ Cb Ca^½)^½ is the sum of the roots of the eigenvalues of Ca Cb, which is not symmetric."""
    cov_a, cov_b = random_covariance(6, seed), random_covariance(6, seed + 100)
    a, b = with_moments(40, np.zeros(6), cov_a, seed), with_moments(30, np.ones(6), cov_b, seed + 1)
    root = np.sqrt(np.linalg.eigvals(cov_a @ cov_b).real).sum()
    expected = 6 + np.trace(cov_a) + np.trace(cov_b) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_with_fewer_examples_than_features() -> None:
    """Covariances without full rank: 0 of the same set, and moving all by a vector adds its square."""
    a = drawn(10, 50)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + 2) == pytest.approx(200, rel=1e-6)
    with pytest.raises(ValueError, match="two examples of each kind, here are 10 and 1"):
        frechet_distance(a, a[:1])


def test_class_entropy_score() -> None:
    sure = np.eye(4)[[0, 1, 2, 3, 0, 1, 2, 3]]
    assert class_entropy_score(sure) == pytest.approx(4)
    assert class_entropy_score(sure[:1].repeat(8, axis=0)) == 1, "one class only"
    assert class_entropy_score(np.full((8, 4), 0.25)) == pytest.approx(1), "sure of nothing"
    # mean p: 1/2, 1/2; KL of each: 0.9 ln 1.8 + 0.1 ln 0.2
    assert class_entropy_score(np.array([[0.9, 0.1], [0.1, 0.9]])) == pytest.approx(1.8**0.9 * 0.2**0.1)


def test_shares_of_what_a_classifier_says() -> None:
    said = np.array([[0.95, 0.05, 0], [0.9, 0.1, 0], [0.3, 0.5, 0.2], [0.02, 0.97, 0.01]])
    assert surer_than(said, 0.9) == 0.5
    assert taken_for(said, 1) == 0.5 and taken_for(said, np.array([0, 1, 1, 2])) == 0.5
    assert smallest_class(said) == 0 and smallest_class(said[:, :2]) == 0.5


# --- pictures beside pictures ----------------------------------------------------------------------------------------


def waves() -> tuple[Array, Array]:
    """Two coloured pictures (24, 20, 3) by formula."""
    i, j, c = np.indices((24, 20, 3))
    return (np.sin(0.7 * i + 0.3 * j + c) + 1) / 2, (np.sin(0.7 * i + 0.3 * j * (1 + c / 5) + c + 0.4) + 1) / 2


def test_ssim_and_psnr_of_scikit_image() -> None:
    """0.26.0: structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1,
    channel_axis=2) and peak_signal_noise_ratio(a, b, data_range=1)."""
    a, b = (x[None] for x in waves())
    assert ssim(a, b) == pytest.approx(0.48039957872283856, abs=1e-12)
    assert psnr(a, b) == pytest.approx(8.965404255435498, abs=1e-12)


def ssim_by_hand(a: Array, b: Array) -> float:
    """The paper's definition, window by window."""
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    found = []
    for n, top, left, c in np.ndindex(a.shape[0], a.shape[1] - 10, a.shape[2] - 10, a.shape[3]):
        x, y = (p[n, top : top + 11, left : left + 11, c] for p in (a, b))
        mx, my = (weights * x).sum(), (weights * y).sum()
        vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
        cov = (weights * (x - mx) * (y - my)).sum()
        found.append((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    return float(np.mean(found))


def test_ssim_by_its_definition() -> None:
    a, b = drawn(3, 13, 15, 2), drawn(3, 13, 15, 2, seed=1)
    assert ssim(a, b) == pytest.approx(ssim_by_hand(a, b), abs=1e-12)
    assert ssim(a.astype(np.float32), a.astype(np.float32)) == 1
    with pytest.raises(ValueError, match="windows of 11 x 11 pixels"):
        ssim(a[:, :10], b[:, :10])


def test_psnr_and_mean_absolute_error_by_hand() -> None:
    a = np.full((2, 4, 4, 1), 0.5)
    b = a + np.array([0.1, -0.01]).reshape(2, 1, 1, 1)
    assert psnr(a, b) == pytest.approx((20 + 40) / 2)
    assert psnr(a, a) == 100, "a number, not infinity"
    assert mean_absolute_error(a, b) == pytest.approx(0.055)
    where = np.zeros((2, 4, 4), bool)
    assert mean_absolute_error(a, b, where) is None
    where[1, 0, 0] = True
    assert mean_absolute_error(a, b, where) == pytest.approx(0.01)


def test_histogram_intersection_by_hand() -> None:
    """Of eight pixels six are black and two white, of the others four and four; colours apart are nothing in common."""
    a, b = np.zeros((1, 2, 4, 3)), np.zeros((2, 2, 2, 3))
    a[0, 0, :2], b[0] = 1, 1
    assert histogram_intersection(a, b) == 0.25 + 0.5 == histogram_intersection(b, a)
    assert histogram_intersection(a, a) == 1
    red, green = np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 3))
    red[..., 0], green[..., 1] = 1, 1
    assert histogram_intersection(red, green) == histogram_intersection(red, green * 0.2) == 0
    assert histogram_intersection(a, b, a[..., 0] > 0.5, b[..., 0] > 0.5) == 1, "white pixels only"
    assert histogram_intersection(a, b, a[..., 0] > 2) is None
    low, high = np.full((1, 1, 1, 1), 1 / 6 - 1e-9), np.full((1, 1, 1, 1), 1 / 6)
    assert histogram_intersection(low, high) == 0 and histogram_intersection(low, low - 0.1) == 1


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "PIECE", 4)


def distance(a: Array, b: Array) -> float:
    return float(np.sqrt(((a - b) ** 2).mean()))


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("n", [2, 4, 5, 11])
def test_spread_is_the_mean_over_all_pairs(n: int) -> None:
    x = drawn(n, 3, 5, 3) + 1e3
    assert spread(x) == pytest.approx(np.mean([distance(a, b) for a, b in combinations(x, 2)]), rel=1e-9)
    assert spread(x[:1].repeat(n, axis=0)) == pytest.approx(0, abs=1e-7)
    with pytest.raises(ValueError, match="at least two"):
        spread(x[:1])


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(("n", "others"), [(1, 1), (4, 4), (5, 9), (9, 5)])
def test_nearest_is_the_mean_of_the_smallest(n: int, others: int) -> None:
    x, among = drawn(n, 3, 5, 1), drawn(others, 3, 5, 1, seed=1)
    expected = np.mean([min(distance(a, b) for b in among) for a in x])
    assert nearest(x, among) == pytest.approx(expected, rel=1e-9)
    assert nearest(among[::-1].astype(np.float32), among.astype(np.float32)) == 0, "copies"


def test_spread_of_a_colour_over_the_pictures() -> None:
    """Three shirts of one colour each, two of them alike in green; elsewhere anything; one face has no shirt."""
    x, where = drawn(4, 6, 6, 3), np.zeros((4, 6, 6), bool)
    where[:3, 4:, 1:5] = True
    where[0, 5, 1] = False
    for i, colour in enumerate([(0.1, 0.5, 0.2), (0.4, 0.5, 0.2), (0.7, 0.2, 0.8)]):
        x[i][where[i]] = colour
    expected = np.mean([np.std(c, ddof=1) for c in ([0.1, 0.4, 0.7], [0.5, 0.5, 0.2], [0.2, 0.2, 0.8])])
    assert colour_spread(x, where) == pytest.approx(expected)
    assert colour_spread(x[1:2].repeat(2, axis=0), where[1:3]) == pytest.approx(0)
    assert colour_spread(x, where & (np.arange(4) < 1)[:, None, None]) is None
