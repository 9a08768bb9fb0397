"""Figures of made pictures as a config asks for them: every one has a case, and says what stands beside it."""

from typing import Any

import numpy as np
import pytest

from dltrain.metrics.figures import (
    COLOURS,
    COPY,
    FIGURES,
    HISTOGRAMS,
    MATCHED,
    MEAN,
    NOISE,
    REAL,
    Figure,
    Opinion,
    Pictures,
    Region,
)
from dltrain.metrics.pictures import colour_spread, spread
from dltrain.registry import REQUIRED

Array = np.ndarray[Any, Any]


class Halves:
    """A judge with two features, the means of the upper and the lower half; the brighter half is the class. Its layer
    `plain` sees pictures as they are, `twice` twice as bright."""

    def __init__(self, exclusive: bool = True):
        self.exclusive = exclusive

    def __call__(self, pixels: Array) -> Opinion:
        halves = np.stack([half.mean(axis=(1, 2, 3)) for half in np.split(pixels, 2, axis=1)], axis=1)
        return Opinion(halves, halves / halves.sum(axis=1, keepdims=True) if self.exclusive else halves, self.exclusive)

    def seen(self, pixels: Array, at: tuple[str, ...]) -> list[Array]:
        return [pixels * {"plain": 1, "twice": 2}[name] for name in at]


judge = Halves()


def shaded(*shades: tuple[float, float], side: int = 12) -> Array:
    """Pictures whose upper and lower half have these shades."""
    return np.stack([np.repeat(pair, side // 2)[:, None, None] * np.ones((1, side, 3)) for pair in shades])


DARK, BRIGHT = (0.1, 0.1), (0.9, 0.9)
UP, DOWN = (0.95, 0.05), (0.02, 0.98)
REGION = Region(value="x", colour=(0, 0, 0))
UPPER = np.repeat([True, False], 6)[None, :, None] * np.ones((2, 1, 12), bool)
# figure, settings, made, real, pixels that count, classes, expected
CASES: list[tuple[str, dict[str, Any], Array, Array, Array | None, Any, float | None]] = [
    ("frechet", {"to": "x", "in_": "j"}, shaded(DARK, BRIGHT), shaded(DARK, BRIGHT), None, None, 0.0),
    ("frechet", {"to": "x", "in_": "j"}, shaded(DARK, DARK), shaded(BRIGHT, BRIGHT), None, None, 2 * 0.8**2),
    ("class_entropy", {"in_": "j"}, shaded((0.9, 0.1), (0.1, 0.9)), shaded(DARK), None, None, 1.8**0.9 * 0.2**0.1),
    ("recognised", {"in_": "j"}, shaded(UP, DOWN, DARK, BRIGHT), shaded(DARK), None, None, 0.5),
    ("recognised", {"in_": "j", "sure": 0.97}, shaded(UP, DOWN, DARK, BRIGHT), shaded(DARK), None, None, 0.25),
    ("recognised", {"in_": "j", "as_": "up"}, shaded(UP, UP, DOWN, UP), shaded(DARK), None, 0, 0.75),
    ("recognised", {"in_": "j", "as_": "y"}, shaded(UP, DOWN), shaded(DARK), None, np.array([0, 0]), 0.5),
    ("spread", {"to": "x"}, shaded(DARK, BRIGHT), shaded(DARK), None, None, 0.8),
    ("spread", {"to": "x", "where": REGION}, shaded(UP, DOWN), shaded(DARK), UPPER, None, 0.93 / 2**0.5),
    ("nearest", {"to": "x"}, shaded(DARK, BRIGHT), shaded(DARK, (0.4, 0.4)), None, None, 0.25),
    ("histogram", {"to": "x"}, shaded(UP, DOWN), shaded(UP, UP), None, None, 1.0),
    ("histogram", {"to": "x", "where": REGION}, shaded(UP, DOWN), shaded(UP, UP), UPPER, None, 0.5),
    ("mae", {"to": "x"}, shaded(DARK, BRIGHT), shaded(BRIGHT, BRIGHT), None, None, 0.4),
    ("mae", {"to": "x", "where": REGION}, shaded((0.1, 0.9), DARK), shaded(DARK, DARK), UPPER, None, 0.0),
    ("psnr", {"to": "x"}, shaded(DARK), shaded((0.2, 0.2)), None, None, 20.0),
    ("ssim", {"to": "x"}, shaded(DARK), shaded(DARK), None, None, 1.0),
    ("gram", {"to": "x", "in_": "j", "at": ("plain", "twice")}, shaded(UP), shaded(UP[::-1]), None, None, 0.0),
    ("gram", {"to": "x", "in_": "j", "at": ("plain",)}, shaded(DARK), shaded((0.2, 0.2)), None, None, (3 / 4) ** 2),
    ("gram", {"to": "x", "in_": "j", "at": ("plain",)}, shaded(*[DARK] * 10, *[BRIGHT] * 10), shaded(*[BRIGHT] * 20),
     None, None, (1 - 1 / 81) ** 2 / 2),
    ("content", {"to": "x", "in_": "j", "at": ("plain", "twice")}, shaded(DARK), shaded((0.2, 0.2)), None, None, 1 / 4),
]  # fmt: skip


def test_every_figure_has_a_case_and_its_settings_are_known() -> None:
    assert {case[0] for case in CASES} == {*FIGURES}
    for name in FIGURES:
        settings = FIGURES.settings(name)
        assert settings["of"].required and settings["examples"].default == 1000
        assert {*settings} - {"of", "examples", "name"} <= {"to", "in", "at", "where", "as", "sure"}
        assert settings.get("in", settings["of"]).default is REQUIRED, "a judge has to be named"


@pytest.mark.parametrize(("name", "settings", "made", "real", "where", "classes", "expected"), CASES)
def test_figures(
    name: str, settings: dict[str, Any], made: Array, real: Array, where: Any, classes: Any, expected: float | None
) -> None:
    figure: Figure = FIGURES[name](**settings)
    found = figure(Pictures(made, where, classes, judge), Pictures(real, where, None, judge))
    assert found == pytest.approx(expected, abs=1e-6)
    assert figure.setting("in_") == settings.get("in_") and figure.setting("where") == settings.get("where")


def test_what_stands_beside_each() -> None:
    """Real pictures of other examples, unless pictures are compared one by one, where they would be perfect."""
    for name in FIGURES:
        figure: Any = FIGURES[name]
        beside = {NOISE, MEAN, COPY} | (set() if name in ("mae", "psnr", "ssim", "content") else {REAL})
        if name == "gram":  # of a painting there are no others
            beside = {NOISE, COPY, COLOURS, HISTOGRAMS}
        assert {*figure.baselines} == beside
    against = {name: FIGURES[name].against for name in FIGURES}  # type: ignore[attr-defined]
    assert {name for name, part in against.items() if part == "training"} == {"nearest"}
    assert {name for name, part in against.items() if part is None} == {"class_entropy", "recognised", "spread"}


def test_a_judge_of_labels_says_yes_from_one_half_on() -> None:
    figure = FIGURES["recognised"](in_="j", as_="up")
    made = Pictures(shaded(UP, DOWN, (0.6, 0.9), BRIGHT), None, 0, Halves(exclusive=False))
    assert figure(made, made) == 0.75, "of the third the lower half is brighter, and yet"


def test_regions() -> None:
    value = np.zeros((1, 1, 4, 3))
    value[0, 0] = np.array([[0, 255, 0], [13, 242, 0], [0, 241, 0], [200, 0, 0]]) / 255
    assert Region(value="parts", colour=(0, 255, 0))(value, None).tolist() == [[[True, True, False, False]]]
    like = value + np.array([0, 0.4, 0.6, -50])[:, None] / 255
    assert Region(value="a", like="b")(value, like).tolist() == [[[True, True, False, False]]]


def test_a_region_narrows_what_is_measured() -> None:
    """As the functions that are tested by themselves."""
    rng = np.random.default_rng(0)
    x, where = rng.random((5, 12, 12, 3)), rng.random((5, 12, 12)) > 0.5
    for settings, expected in (({}, spread(x)), ({"where": REGION}, colour_spread(x, where))):
        made = Pictures(x, where if settings else None)
        assert FIGURES["spread"](to="x", **settings)(made, made) == expected


def test_colours_are_matched_picture_by_picture() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 8, 9, 3)), rng.random((2, 8, 9, 3)) ** 2 * [0.5, 0.7, 0.4] + 0.2
    colours, histograms = MATCHED[COLOURS](a, b), MATCHED[HISTOGRAMS](a, b)
    np.testing.assert_allclose(colours.mean(axis=(1, 2)), b.mean(axis=(1, 2)), atol=0.01)
    np.testing.assert_allclose(colours.std(axis=(1, 2)), b.std(axis=(1, 2)), atol=0.02)
    for n in range(2):
        for c in range(3):
            assert np.array_equal(np.sort(histograms[n, :, :, c].ravel()), np.sort(b[n, :, :, c].ravel()))
            order = a[n, :, :, c].ravel().argsort()
            assert (np.diff(histograms[n, :, :, c].ravel()[order]) >= 0).all()
