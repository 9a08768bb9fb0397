"""`--vary` and `--seeds`: which combinations, what they are called, and what is refused."""

from pathlib import Path

import pytest

from dltrain.errors import ConfigError, RunError
from dltrain.run.group import Group, Member
from dltrain.run.names import NAME
from dltrain.spec.vary import variants


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
        (["optimizer.lr=1e-3,1e+3"], [], {"lr1e-3": ["optimizer.lr=1e-3"], "lr1e3": ["optimizer.lr=1e+3"]}),
        (["data.path=é,ü,ö"], [], {f"path{n}": [f"data.path={v}"] for n, v in (("", "é"), ("-2", "ü"), ("-3", "ö"))}),
    ],
)
def test_the_combinations(varied: list[str], seeds: list[int], expected: dict[str, list[str]]) -> None:
    assert {variant.label: list(variant.changes) for variant in variants(varied, seeds)} == expected


def test_labels_are_short_and_differ() -> None:
    """However long and alike the values are; a run's name has at most 100 characters."""
    alike = ["x" * 60 + end for end in ("a", "b", "c")]
    found = variants([f"{key}={','.join(alike)}" for key in ("data.a", "data.b", "data.c")])
    labels = [variant.label for variant in found]
    assert len(set(labels)) == 27 and max(map(len, labels)) <= 94 and all(map(NAME.fullmatch, labels))
    assert labels[:3] == [f"{labels[0]}{end}" for end in ("", "-2", "-3")]


def test_folds_and_seeds() -> None:
    found = variants(["optimizer.lr=1,2"], [3, 4], folds=2)
    assert [v.label for v in found[:4]] == ["lr1-fold1-seed3", "lr1-fold1-seed4", "lr1-fold2-seed3", "lr1-fold2-seed4"]
    assert found[-1].changes == ("optimizer.lr=2", "data.fold={number: 2, of: 2}", "seed=4") and len(found) == 8
    for varied, other in (("seed=5,6", "--seeds"), ("data.fold=null", "--folds")):
        with pytest.raises(ConfigError, match=f"--vary {varied} and {other} both vary"):
            variants([varied], [0, 1], folds=2)


@pytest.mark.parametrize(
    ("varied", "message"),
    [
        (["optimizer.lr"], "write it as KEY=VALUE"),
        (["=1,2"], "write it as KEY=VALUE"),
        (["seed=1,,2"], "a value is missing"),
        (["optimizer.lr="], "a value is missing"),
        (["optimizer.lr=1,1"], "lr1 is asked for twice"),
        (
            ["optimizer.lr=1", "optimizer.lr=2"],
            "--vary optimizer.lr=1 and --vary optimizer.lr=2 both vary optimizer.lr",
        ),
    ],
)
def test_what_is_refused(varied: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        variants(varied, [])


def test_a_group_is_what_was_written(tmp_path: Path) -> None:
    members = [Member("a", ["seed=1"]), Member("b", ["seed=2"])]
    first, second = (Group.create(tmp_path, "twins", "data: null\n", members, smoke=True) for _ in range(2))
    assert first.path != second.path and Group.read(first.path) == first and first.source.read_text() == "data: null\n"
    assert first.run_of(members[0]) is None
    (first.path / "group.json").write_text('{"members": 3}')
    with pytest.raises(RunError, match=r"group.json: cannot be read"):
        Group.read(first.path)
