"""`--vary` and `--seeds`: which combinations, what they are called, and what is refused."""

from pathlib import Path

import pytest

from dltrain.errors import ConfigError, RunError
from dltrain.spec.vary import variants
from dltrain.train.group import Group, Member, find_group


@pytest.mark.parametrize(
    ("varied", "seeds", "expected"),
    [
        ([], [0, 1], {"seed0": ["seed=0"], "seed1": ["seed=1"]}),
        (["optimizer.type=sgd,adam"], [], {"sgd": ["optimizer.type=sgd"], "adam": ["optimizer.type=adam"]}),
        (
            ["optimizer.lr=0.1, 1e-3", "model.init=zeros"],
            [7],
            {
                "lr0.1-zeros-seed7": ["optimizer.lr=0.1", "model.init=zeros", "seed=7"],
                "lr1e-3-zeros-seed7": ["optimizer.lr=1e-3", "model.init=zeros", "seed=7"],
            },
        ),
        (
            ["schedule={type: step, every: 2},constant"],
            [],
            {
                "schedule-type-step-every-2": ["schedule={type: step, every: 2}"],
                "constant": ["schedule=constant"],
            },
        ),
        (["data.path='a,b',c"], [], {"path-a-b": ["data.path='a,b'"], "c": ["data.path=c"]}),
    ],
)
def test_the_combinations(varied: list[str], seeds: list[int], expected: dict[str, list[str]]) -> None:
    assert {variant.label: list(variant.changes) for variant in variants(varied, seeds)} == expected


@pytest.mark.parametrize(
    ("varied", "message"),
    [
        (["optimizer.lr"], "write it as KEY=VALUE"),
        (["=1,2"], "write it as KEY=VALUE"),
        (["seed=1,,2"], "a value is missing"),
        (["optimizer.lr="], "a value is missing"),
        (["optimizer.lr=1,1"], "lr1 is asked for twice"),
    ],
)
def test_what_is_refused(varied: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        variants(varied, [])


def test_a_group_is_what_was_written(tmp_path: Path) -> None:
    members = [Member("a", ["seed=1"]), Member("b", ["seed=2"])]
    first, second = (Group.create(tmp_path, "twins", "data: null\n", members, smoke=True) for _ in range(2))
    assert first.path != second.path and Group.read(first.path) == first and first.source.read_text() == "data: null\n"
    assert find_group(str(second.path), tmp_path) == second == find_group(second.path.name, tmp_path)
    assert find_group("twins", tmp_path) is None  # either of them
    assert find_group("smoke", tmp_path) is None and find_group("a\0b", tmp_path) is None
    assert first.run_of(members[0]) is None
    (first.path / "group.json").write_text('{"members": 3}')
    with pytest.raises(RunError, match=r"group.json: cannot be read"):
        Group.read(first.path)
