"""SWEEP.yaml: what it may say, where a mistake in it is, and which trials come of it."""

from pathlib import Path

import numpy as np
import pytest

from dltrain.errors import ConfigError
from dltrain.sweep.plan import check_in, parse_plan
from dltrain.sweep.sobol import BITS, MOST_DIMENSIONS, sobol

SPACE = """\
space:
  optimizer.lr: {log_uniform: [1e-4, 1e-1]}
  model.layers.drop.rate: {uniform: [0, 0.5]}
  train.batch_size: {integers: [16, 64]}
  optimizer.type: {choice: [sgd, adam]}
"""


def values(text: str, number: int) -> list[str]:
    return parse_plan(text.encode(), "s.yaml").values(number)


def test_each_word_of_a_space() -> None:
    """Every number lies in its range; half of those whose logarithm is even lie below the middle of the logarithm."""
    found = [values(f"strategy: random\n{SPACE}", number) for number in range(400)]
    rates, drops, sizes = (np.array([float(row[i]) for row in found]) for i in range(3))
    assert 1e-4 <= rates.min() < 2e-4 and 5e-2 < rates.max() <= 1e-1
    assert 150 < (rates < 10**-2.5).sum() < 250
    assert 0 <= drops.min() < 0.01 and 0.49 < drops.max() <= 0.5 and 0.2 < drops.mean() < 0.3
    assert {str(size) for size in range(16, 65)} == {row[2] for row in found} and sizes.mean() == pytest.approx(40, 3)
    assert {row[3] for row in found} == {"sgd", "adam"}


def test_a_trial_is_a_function_of_seed_and_number() -> None:
    for strategy in ("random", "sobol"):
        plan = f"strategy: {strategy}\n{SPACE}"
        assert values(plan, 7) == values(plan, 7) != values(plan, 8)
        assert values(f"seed: 1\n{plan}", 7) != values(plan, 7)
        assert values(f"trials: 9\nprune: median\n{plan}", 7) == values(plan, 7)


def test_another_setting_changes_nothing_of_the_others() -> None:
    for strategy in ("random", "sobol"):
        fewer = f"strategy: {strategy}\nspace:\n  optimizer.lr: {{log_uniform: [1e-4, 1e-1]}}\n"
        assert [values(fewer, n)[0] for n in range(9)] == [
            values(f"strategy: {strategy}\n{SPACE}", n)[0] for n in range(9)
        ]


def test_a_grid_is_every_combination() -> None:
    grid = "strategy: grid\nspace: {a: {choice: [x, y]}, b: {integers: [1, 3]}}\n"
    assert [values(grid, n) for n in range(6)] == [[a, b] for a in "xy" for b in "123"]


# Points of scipy.stats.qmc.Sobol(5, scramble=False, bits=32), which counts them in Gray code: our 1, 3, 2, 6, 7.
PUBLISHED = {
    1: [0.5, 0.5, 0.5, 0.5, 0.5],
    3: [0.75, 0.25, 0.25, 0.25, 0.75],
    2: [0.25, 0.75, 0.75, 0.75, 0.25],
    6: [0.375, 0.375, 0.625, 0.875, 0.375],
    7: [0.875, 0.875, 0.125, 0.375, 0.875],
}


@pytest.mark.parametrize("number", PUBLISHED)
def test_sobol_points_are_the_published_ones(number: int) -> None:
    assert [digits / 2**BITS for digits in sobol(number, 5)] == PUBLISHED[number]


def test_sobol_points_fill_every_dimension_evenly() -> None:
    """Of 2**m points in a row, from a multiple of 2**m on, each of 2**m equal intervals has one, in every dimension."""
    for first, m in ((0, 8), (512, 8), (96, 5)):
        points = np.array([sobol(n, MOST_DIMENSIONS) for n in range(first, first + 2**m)])
        cells = points >> (BITS - m)
        assert all(sorted(column) == list(range(2**m)) for column in cells.T)


def test_values_of_any_kind() -> None:
    text = "space: {optimizer: {choice: [adam, {type: sgd, lr: 1e-2}, {adam: {lr: 0.1, beta1: 0.5}}]}, " + (
        "data.augment: {choice: [[], [{crop: 2}], null]}, data.path: {choice: ['1', 'a, b']}}"
    )
    plan = parse_plan(text.encode(), "s.yaml")
    assert plan.axes[0].range.all == ["adam", "{type: sgd, lr: 1e-2}", "{adam: {lr: 0.1, beta1: 0.5}}"]
    assert plan.axes[1].range.all == ["[]", "[{crop: 2}]", "null"]
    assert plan.axes[2].range.all == ['"1"', '"a, b"']


LR = "space: {optimizer.lr: {log_uniform: [1e-3, 0.1]}}\n"
MISTAKES: dict[str, tuple[str, list[str]]] = {
    "empty": ("", ["s.yaml:1:1  the file is empty; a sweep needs at least `space`"]),
    "no space": ("trials: 3\n", ["s.yaml:1:1  space: a sweep varies at least one setting, as in `space: {optimizer"]),
    "an empty space": ("space: {}\n", ["s.yaml:1:8  space: a sweep varies at least one setting"]),
    "an unknown key": (f"trails: 3\n{LR}", ["s.yaml:1:1  trails: unknown key; did you mean 'trials'?"]),
    "a strategy": (f"strategy: sobl\n{LR}", ["s.yaml:1:11  strategy: expected grid, random, sobol or tpe"]),
    "no trials": (f"trials: 0\n{LR}", ["s.yaml:1:9  trials: expected a whole number from 1 to 10000, got '0'"]),
    "half a seed": (f"seed: 0.5\n{LR}", ["s.yaml:1:7  seed: expected a whole number from 0 to"]),
    "pruning": (f"prune: mean\n{LR}", ["s.yaml:1:8  prune: expected median or {median: 5}, got 'mean'"]),
    "no earlier ones": (f"prune: {{median: 0}}\n{LR}", ["s.yaml:1:17  prune.median: expected a whole number from 1"]),
    "a word": ("space: {a: {normal: [0, 1]}}\n", ["s.yaml:1:12  space.a: expected one of {uniform"]),
    "a bare list": ("space: {a: [1, 2]}\n", ["s.yaml:1:12  space.a: expected one of"]),
    "a bare value": ("space: {a: {choice: 1}}\n", ["s.yaml:1:21  space.a: expected a list, as in {choice"]),
    "three ends": ("space: {a: {uniform: [0, 1, 2]}}\n", ["s.yaml:1:22  space.a: expected two numbers, from"]),
    "no number": ("space: {a: {uniform: [0, x]}}\n", ["s.yaml:1:26  space.a: expected number, got 'x'"]),
    "half an integer": ("space: {a: {integers: [0, 1.5]}}\n", ["s.yaml:1:27  space.a: expected whole number"]),
    "a logarithm of 0": ("space: {a: {log_uniform: [0, 1]}}\n", ["s.yaml:1:27  space.a: a logarithm wants"]),
    "upside down": ("space: {a: {uniform: [1, 0]}}\n", ["s.yaml:1:26  space.a: the second number must be larger than"]),
    "no choice": ("space: {a: {choice: []}}\n", ["s.yaml:1:21  space.a: the list is empty"]),
    "a choice twice": ("space: {a: {choice: [x, y, x]}}\n", ["s.yaml:1:28  space.a: x is there twice"]),
    "an override": ("space: {+a: {choice: [1]}}\n", ["s.yaml:1:9  space.+a: expected the path of a setting, such as"]),
    "a grid without end": (f"strategy: grid\n{LR}", ["s.yaml:2:9  space.optimizer.lr: a grid wants choice or"]),
    "a grid too large": (
        "strategy: grid\nspace: {a: {integers: [1, 200]}, b: {integers: [1, 200]}}\n",
        ["s.yaml:2:8  space: that would be a grid of 40,000 trials; it may have at most 10,000"],
    ),
    "two seeds": ("seeds: 3\nspace: {seed: {integers: [0, 9]}}\n", ["s.yaml:2:9  space.seed: `seeds` varies the"]),
    "several": (
        "trials: no\nspace: {a: {uniform: [1, 0]}, b: {choice: []}}\n",
        ["s.yaml:1:9  trials:", "s.yaml:2:26  space.a:", "s.yaml:2:43  space.b:"],
    ),
    "too many for sobol": (
        f"strategy: sobol\nspace: {{{', '.join(f'a{n}: {{uniform: [0, 1]}}' for n in range(22))}}}\n",
        ["s.yaml:2:8  space: sobol takes at most 21 settings; random takes any number"],
    ),
    "a duplicate": (f"{LR}{LR}", ["s.yaml:2:1  duplicate key 'space', first in line 1"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "messages"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_with_their_places(text: str, messages: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_plan(text.encode(), "s.yaml")
    assert len(raised.value.problems) == len(messages), raised.value.problems
    for problem, message in zip(raised.value.problems, messages, strict=True):
        assert problem.startswith(message)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("optimizer.rate: {uniform: [0, 1]}", "s.yaml:2:30  optimizer.rate: unknown key"),
        ("optimizer.lr: {uniform: [-1, 1]}", "s.yaml:2:28  optimizer.lr: expected a number above 0, got"),
        ("optimizer.type: {choice: [sgd, adma]}", "s.yaml:2:34  optimizer: unknown optimizer 'adma'; did you mean"),
        ("model.layers.conv9.channels: {integers: [1, 2]}", "there is no entry 'conv9' in the list"),
    ],
)
@pytest.mark.parametrize("strategy", ["random", "grid"])
def test_what_the_config_does_not_take_is_told_with_its_place_in_the_file(
    space: str, message: str, strategy: str, tmp_path: Path
) -> None:
    if strategy == "grid" and "uniform" in space:
        return
    plan = parse_plan(f"space:\n  {space}\nstrategy: {strategy}\n".encode(), "s.yaml")
    with pytest.raises(ConfigError, match=r"s\.yaml") as raised:
        check_in(plan, "smoke", [])
    assert raised.value.problems[0].startswith("s.yaml:2:") and message in raised.value.problems[0]


def test_every_value_of_a_choice_is_tried_in_the_config() -> None:
    plan = parse_plan(
        b"space: {optimizer.lr: {uniform: [0.1, 1]}, loss: {choice: [cross_entropy, hinge, huge]}}", "s.yaml"
    )
    with pytest.raises(ConfigError, match=r"s\.yaml:1:82  loss: unknown loss 'huge'"):
        check_in(plan, "smoke", [])


def test_shapes_are_checked_before_anything_is_trained() -> None:
    plan = parse_plan(
        b"space: {model.layers.conv1.kernel: {integers: [3, 9]}, model.layers.conv1.padding: {choice: [valid]}}",
        "s.yaml",
    )
    with pytest.raises(ConfigError) as raised:
        check_in(plan, "smoke", [])
    first, second = raised.value.problems
    assert "does not fit its input (8, 8, 1)" in first
    assert second == "s.yaml  that is so with model.layers.conv1.kernel=9, model.layers.conv1.padding=valid"
