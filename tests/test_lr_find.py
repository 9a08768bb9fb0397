"""`dltrain lr-find`: a rate where the loss falls, and no rate where the curve says nothing."""

import shlex
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from commands import dltrain, done

from dltrain.check.lr_find import STEPS, Trial, choose, lowest_of

RATES = np.geomspace(1e-6, 10, STEPS)


def curve(lowest_at: float, blows_up: bool = True) -> list[float]:
    """Falls from 2.3 to 0.5 on the way to `lowest_at` and grows from there."""
    x = np.log10(RATES / lowest_at)
    return list(np.where(x < 0, 0.5 + 1.8 * np.clip(-x / 3, 0, 1), 0.5 + (x * 5 if blows_up else 0)))


@pytest.mark.parametrize("lowest_at", [1e-3, 1e-1])
def test_a_curve_with_a_valley(lowest_at: float) -> None:
    rate, reason = lowest_of(list(RATES), np.array(curve(lowest_at)))
    assert rate == pytest.approx(lowest_at, rel=0.1) and reason == ""


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([2.3] * STEPS, "at no rate does the loss fall by more than 0%"),
        (list(np.geomspace(2.3, 9, STEPS)), "at no rate does the loss fall"),
        ([0.0] * STEPS, "at no rate does the loss fall by more than 0%"),
        ([2.3, 5.0, 9.0], "breaks down within 4 steps"),
        (list(np.linspace(2.3, 0.1, STEPS)), "still falls at a rate of 1.0e+01"),
    ],
    ids=["flat", "rising", "nothing to learn", "broken", "falling"],
)
def test_an_unusable_curve(losses: list[float], message: str) -> None:
    rate, reason = lowest_of(list(RATES[: len(losses)]), np.array(losses))
    assert rate is None and reason.startswith("no suggestion: ") and message in reason


def test_the_lowest_rate_that_is_not_worse_than_the_best() -> None:
    """By what both saw step by step: noise that they share decides nothing."""
    shared, own = np.random.default_rng(0).normal(0, 1, 35), np.random.default_rng(1).normal(0, 0.03, (4, 35))
    own -= own.mean(axis=1, keepdims=True)
    losses = {0.01: 0.5, 0.03: 0.204, 0.1: 0.2, 0.3: 0.4}
    trials = [Trial(rate, loss + shared + noise) for (rate, loss), noise in zip(losses.items(), own, strict=True)]
    assert choose(trials) is trials[1]
    assert [trial.is_worse_than(trials[2]) for trial in trials] == [True, False, False, True]
    broken = Trial(1.0, np.empty(0))
    assert choose([trials[0], broken]) is trials[0] and choose([broken]) is None and broken.is_worse_than(trials[0])


def test_the_command(tmp_path: Path) -> None:
    """The same whatever the threads; a picture; nothing is kept; the config that it names can be trained."""
    found = done("lr-find", "smoke", "--json", "--threads", "1").json
    again = done("lr-find", "smoke", "--json", "--threads", "2", "--svg", tmp_path / "curve.svg")
    assert again.json == found and again.err.startswith("wrote ")
    losses = dict(found["tried"])
    assert losses[found["suggestion"]] < 1.1 * min(losses.values()) and found["tried"][-1][1] > min(losses.values())
    assert 3e-3 < found["suggestion"] < 0.3 and len(found["rates"]) == len(found["losses"]) == len(found["smooth"])
    assert max(found["losses"][:-1]) <= 3 * found["losses"][0]
    svg = ElementTree.parse(tmp_path / "curve.svg").getroot()
    assert svg.tag.endswith("svg") and "script" not in {node.tag.split("}")[-1] for node in svg.iter()}
    assert [path.name for path in tmp_path.iterdir()] == ["curve.svg"]


def test_for_people(tmp_path: Path) -> None:
    said = done("lr-find", "smoke", "penalty.l2=1e-5")
    *_, reason, hint = said.out.splitlines()
    assert "the lowest of the rates that are best after 40 steps" in reason
    assert hint.startswith("try: dltrain fit smoke penalty.l2=1e-5 optimizer.lr=")
    assert sum("⠁" <= letter <= "⣿" for letter in said.out) > 60
    bad = dltrain("lr-find", "smoke", "model.init=zeros")
    assert bad.code == 0 and "no suggestion" in bad.out and "try:" not in bad.out


def test_a_training_of_few_steps_has_a_loss_at_its_end() -> None:
    for steps in (1, 2, 3):
        tried = done("lr-find", "smoke", f"train.max_steps={steps}", "--json").json["tried"]
        assert tried and all(loss is not None for _, loss in tried)


def test_where_there_is_no_curve_there_is_no_picture(tmp_path: Path) -> None:
    said = dltrain("lr-find", "smoke", "model.init={normal: {std: 1e30}}", "--svg", tmp_path / "a.svg")
    assert said.code == 0 and "a.svg is not written: there is no curve" in said.err and "no suggestion" in said.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("scratch_registries")
def test_the_command_it_names_has_the_options_that_were_given(tmp_path: Path) -> None:
    plugin = Path(__file__).parent.parent / "docs" / "plugin_example.py"
    options = [f"--plugin={plugin}", f"--data-dir={tmp_path}", "--device=cpu"]
    hint = done("lr-find", plugin.with_suffix(".yaml"), "train.epochs=1", *options).out.splitlines()[-1]
    assert hint.startswith(f"try: dltrain fit {plugin.with_suffix('.yaml')} train.epochs=1 optimizer.lr=")
    done(*shlex.split(hint)[2:], "--runs-dir", tmp_path)
    assert shlex.split(hint)[-3:] == options
