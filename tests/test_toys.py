"""Points of a plane: where each class lies, by definitions of its own."""

from pathlib import Path

import numpy as np
import pytest

from dltrain.data import SOURCES, Preprocessing
from dltrain.data.toys import FEATURES, Toy

TOYS = [name for name in SOURCES if issubclass(SOURCES[name], Toy)]


def points(name: str, split: str = "train", **settings):
    examples = SOURCES[name](**settings).load(Path("nowhere"))[split]
    return *examples.inputs.astype(np.float64).T, examples.targets


# name -> the class of a point (x, y), written down independently
TRUTH = {
    "circle": lambda x, y: (x**2 + y**2 < 3**2).astype(int),
    "xor": lambda x, y: (np.sign(x) == np.sign(y)).astype(int),
    "gaussians": lambda x, y: (x + y > 0).astype(int),
    "spiral": lambda x, y: np.array([_arm(*point) for point in zip(x, y, strict=True)]),
}


def _arm(x: float, y: float) -> int:
    """Which of the two curves (r sin t, r cos t), t = 3.5 π r / 5 (+ π for the second), passes nearer."""
    r = np.linspace(0, 5, 4001)
    t = 3.5 * np.pi * r / 5
    first = np.hypot(r * np.sin(t) - x, r * np.cos(t) - y).min()
    second = np.hypot(-r * np.sin(t) - x, -r * np.cos(t) - y).min()
    return int(second < first)


def test_every_toy_has_a_truth():
    assert sorted(TRUTH) == sorted(TOYS)


@pytest.mark.parametrize("name", TOYS)
def test_classes_lie_where_they_should(name):
    for split in ("train", "test"):
        x, y, labels = points(name, split, examples=400)
        assert len(labels) == 400 and 160 < labels.sum() < 240
        wrong = TRUTH[name](x, y) != labels
        assert wrong.sum() <= (8 if name == "gaussians" else 1)  # clouds overlap, arms begin in one point
    assert max(np.abs(x).max(), np.abs(y).max()) <= 5.3 or name == "gaussians"
    x, y, labels = points(name, examples=400, noise=0.1 if name == "spiral" else 0.5)
    assert 0.02 < (TRUTH[name](x, y) != labels).mean() < 0.4, "noise mixes the classes"


@pytest.mark.parametrize("name", TOYS)
def test_points_depend_on_the_seed_and_the_split_alone(name):
    first, again = points(name), points(name)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], points(name, seed=1)[0])
    assert not set(first[0]) & set(points(name, "test")[0]) - {0.0}
    assert len(points(name, examples=1)[2]) == 1


def test_gaussians_have_their_variance():
    for noise in (0.0, 0.5):
        x, y, labels = points("gaussians", examples=20_000, noise=noise)
        for values in (x, y):
            for label, centre in ((0, -2), (1, 2)):
                cloud = values[labels == label]
                assert abs(cloud.mean() - centre) < 0.07 and cloud.var() == pytest.approx(0.5 + 7 * noise, rel=0.05)


def test_features():
    names = tuple(FEATURES)
    source = SOURCES["xor"](features=names)
    assert source.input_shape == (7,)
    inputs = source.load(Path("nowhere"))["train"].inputs.astype(np.float64)
    x, y = inputs[:, 0], inputs[:, 1]
    expected = np.stack([x, y, x**2, y**2, x * y, np.sin(x), np.sin(y)], axis=1)
    np.testing.assert_allclose(inputs, expected, atol=2e-6)
    only = SOURCES["xor"](features=("sin_y", "x2")).load(Path("nowhere"), only="test")
    assert list(only) == ["test"] and only["test"].inputs.shape == (500, 2)
    learned = Preprocessing.learn(SOURCES["xor"]().load(Path("nowhere"))["train"], classes=None, normalize="channel")
    assert learned.columns is None and learned.fill is None


def test_the_arms_of_the_spiral_are_opposite():
    x, y, labels = points("spiral", "test")
    r, side = np.hypot(x, y), np.where(labels == 1, -1, 1)
    np.testing.assert_allclose(side * x, r * np.sin(3.5 * np.pi * r / 5), atol=1e-4)
    np.testing.assert_allclose(side * y, r * np.cos(3.5 * np.pi * r / 5), atol=1e-4)
