"""`dltrain compare` and `dltrain runs --html`: what differs, and whether it differs by more than chance."""

import json
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import yaml
from commands import dltrain, done
from hypothesis import given, settings
from hypothesis import strategies as st
from test_report import check_page

from dltrain.report.comparison import Spread, compare, judge
from dltrain.report.differing import differing
from dltrain.report.record import Record
from dltrain.run.rundir import RunDir, all_runs
from dltrain.spec import look

LAYERS = [{"name": "conv1", "type": "conv", "channels": 8}, {"name": "dense1", "type": "dense", "units": 10}]
BASE: dict[str, Any] = {
    "seed": 0,
    "data": {"type": "digits", "augment": []},
    "model": {"layers": LAYERS},
    "optimizer": {"type": "sgd", "lr": 0.1},
    "train": {"epochs": 3, "early_stopping": None},
    "logging": {"every": 1},
}  # fmt: skip


def write_run(
    runs: Path,
    name: str,
    seed: int = 0,
    status: str = "done",
    accuracy: float | None = 0.9,
    validated: bool = True,
    examples: str = "a1",
    **config: Any,
) -> None:
    run = RunDir.create(runs, name, yaml.dump(BASE | {"seed": seed} | config), "", {})
    losses = [1.0, 0.5, 0.25]
    for i, loss in enumerate(losses):
        row = {"event": "epoch", "epoch": i + 1, "step": i + 1, "seconds": 1.0}
        run.append(run.metrics, row | {"train": {"loss": loss, "data_loss": loss, "penalty": 0.0}})
    results: dict[str, Any] = {}
    if accuracy is not None:
        results = {"validation": {"loss": 1 - accuracy, "accuracy": accuracy}} if validated else {}
        results["test"] = {"loss": accuracy, "accuracy": 1 - accuracy}  # whoever chose by these would choose otherwise
    run.update_status(status=status, epochs=3, steps=3, train={"loss": losses[-1]}, **results)
    data = {"splits": {"validation": {"examples": 9, "targets_sha256": examples}}}
    run.write_json(run.description, {"data": data})


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three optimizers over three seeds, one clearly worse and one not; and one that diverged."""
    for seed in range(3):
        write_run(tmp_path, "a", seed, accuracy=0.90 + seed / 100)
        write_run(tmp_path, "b", seed, accuracy=0.905 + seed / 100, optimizer={"type": "sgd", "lr": 0.2})
        write_run(tmp_path, "c", seed, accuracy=0.70 + seed / 100, optimizer={"type": "adam", "lr": 0.1, "beta1": 0.9})
    write_run(tmp_path, "d", 0, "diverged", None, optimizer={"type": "sgd", "lr": 9.0})
    return tmp_path


def test_variants_their_spread_and_the_verdicts(runs: Path) -> None:
    found = done("compare", runs, "--json").json
    assert found["differs"] == ["optimizer.lr", "optimizer.type"] and found["judged"] == "validation loss"
    told = [(v["settings"]["optimizer.type"], v["settings"]["optimizer.lr"], v["verdict"]) for v in found["variants"]]
    assert told == [
        ("sgd", "0.2", "best"),
        ("sgd", "0.1", "no clear difference"),
        ("adam", "0.1", "worse"),
        ("sgd", "9.0", "unknown"),
    ]
    for variant, start in zip(found["variants"], (0.905, 0.90, 0.70), strict=False):
        values = [start + seed / 100 for seed in range(3)]
        expected = {"mean": pytest.approx(mean(values)), "sd": pytest.approx(stdev(values)), "count": 3}
        assert variant["results"]["validation accuracy"] == expected and len(variant["runs"]) == 3
        assert not any(name.startswith("test") for name in variant["results"])
    assert found["test"]["loss"]["mean"] == pytest.approx(0.915), "of the chosen one alone"
    assert found["answer"] == [
        "best by validation loss: lr 0.2, optimizer sgd (0.0850 ± 0.0100); no clear difference to "
        "lr 0.1, optimizer sgd",
        "test (of the chosen one, lr 0.2, optimizer sgd; mean ± sd of 3 runs): "
        "loss 0.9150 ± 0.0100, accuracy 0.0850 ± 0.0100",
    ]
    assert found["variants"][3]["results"] == {"train loss": {"mean": 0.25, "sd": None, "count": 1}}


def test_in_words(runs: Path) -> None:
    out = done("compare", runs).out
    header, first, second, third, last, _, titles, *members = out.splitlines()
    assert header.split()[:2] == ["runs", "optimizer.lr"] and "train loss over epochs" in header
    assert "test" not in header + titles, "test figures are for the chosen one"
    assert "0.9150 ± 0.0100" in first and first.rstrip().endswith("best") and "█▃▁" in first
    assert second.rstrip().endswith("no clear difference") and third.rstrip().endswith("worse")
    assert last.rstrip().endswith("unknown")
    assert titles.split()[:3] == ["run", "variant", "status"]
    assert {line.split()[0] for line in members[:10]} == {run.path.name for run in all_runs(runs)}
    assert out.count("test (of the chosen one, lr 0.2, optimizer sgd; mean ± sd of 3 runs): loss 0.9150") == 1


def test_fewer_than_three_seeds_are_no_proof(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, "a", seed, accuracy=0.99)
        write_run(tmp_path, "b", seed, accuracy=0.01, optimizer={"type": "sgd", "lr": 0.2})
    found = done("compare", tmp_path, "--json").json
    assert [variant["verdict"] for variant in found["variants"]] == ["best", "unknown"]


def test_runs_by_name_and_those_that_only_differ_in_seed_or_logging(runs: Path) -> None:
    names = [run.path.name for run in all_runs(runs) if run.path.name[16:].startswith("a")]
    write_run(runs, "quiet", 7, accuracy=0.91, logging={"every": 5})
    said = done("compare", *names, "quiet", "--runs-dir", runs)
    assert said.err == "the configs differ only in seed or fold\n"
    assert said.out.splitlines()[-1] == ("test (mean ± sd of 4 runs): loss 0.9100 ± 0.0082, accuracy 0.0900 ± 0.0082")
    (variant,) = done("compare", *names, *names, "--runs-dir", runs, "--json").json["variants"]
    assert variant["results"]["validation loss"]["count"] == 3


def test_a_damaged_run_does_not_stop_the_others(runs: Path) -> None:
    damaged = next(runs.glob("*-d"))
    (damaged / "status.json").unlink()
    said = done("compare", runs, "--json")
    assert sum(len(variant["runs"]) for variant in said.json["variants"]) == 9
    assert said.err == (
        f"warning: {damaged.name} is left out: {damaged / 'status.json'}: cannot be read (No such file or directory); "
        f"to regenerate it: dltrain fit --resume {damaged}\n"
    )


def test_runs_that_are_all_damaged_are_runs(tmp_path: Path) -> None:
    write_run(tmp_path, "a")
    (next(tmp_path.glob("*-a")) / "status.json").write_text("{")
    said = done("runs", "--runs-dir", tmp_path)
    assert "no runs in" not in said.out and "status.json: cannot be read" in said.err


@pytest.mark.parametrize("words", [["20261"], ["nowhere"], []])
def test_what_cannot_be_compared(words: list[str], tmp_path: Path) -> None:
    said = dltrain("compare", *words, "--runs-dir", tmp_path)
    assert said.code in (1, 2) and len(said.errors) == 1
    write_run(tmp_path, "a")
    said = dltrain("compare", "a", "--runs-dir", tmp_path)
    assert said.code == 1 and said.errors[0].startswith("there is nothing to compare: 1 run; name two or more")


MSE, MAE = {"type": "mse"}, {"type": "mae"}
# What the second of two runs has otherwise -> what they are ranked by, and what is said about that.
RANKED: list[tuple[dict[str, Any], str | None, str]] = [
    ({}, "validation loss", ""),
    ({"metrics": {"best": "accuracy"}}, None, "not ranked: metrics.best is loss in some and accuracy in others"),
    ({"loss": {"type": "hinge", "C": 1.0}}, "validation accuracy",
     "losses of different kinds (cross_entropy, hinge) cannot be compared: ranked by validation accuracy"),
    ({"loss": {"type": "cross_entropy", "label_smoothing": 0.1}}, "validation accuracy", "losses of different kinds"),
    ({"data": BASE["data"] | {"class_weights": "balanced"}}, "validation accuracy", "losses of different kinds"),
    ({"data": BASE["data"] | {"normalize_targets": "log"}}, "validation accuracy", "losses of different kinds"),
    ({"validated": False}, None, "not ranked: without validation examples there is nothing to choose by"),
    ({"examples": "b2"}, None, "not ranked: they were validated on different examples"),
]  # fmt: skip


@pytest.mark.parametrize(("other", "judged", "note"), RANKED)
def test_only_what_means_the_same_is_ranked(
    other: dict[str, Any], judged: str | None, note: str, tmp_path: Path
) -> None:
    loss = {"type": "cross_entropy", "label_smoothing": 0.0}
    write_run(tmp_path, "a", accuracy=0.8, loss=loss)
    write_run(tmp_path, "b", accuracy=0.9, **{"loss": loss, "optimizer": {"type": "sgd", "lr": 0.5}} | other)
    found = done("compare", tmp_path, "--json").json
    assert found["judged"] == judged and found["answer"][0].startswith(note)
    assert [v["verdict"] for v in found["variants"]] == (["best", "unknown"] if judged else [None, None])
    assert bool(found["test"]) == bool(judged), "nothing was chosen"
    if judged:
        assert found["variants"][0]["runs"][0].endswith("-b")
        assert "no verdict with fewer than three runs of each: use --seeds 3" in "".join(found["answer"])


def test_losses_of_numbers_are_ranked_by_what_all_have(tmp_path: Path) -> None:
    for loss in (MSE, MAE):
        run = RunDir.create(tmp_path, loss["type"], yaml.dump(BASE | {"loss": loss}), "", {})
        run.update_status(status="done", validation={"loss": 1.0}, test={"loss": 2.0})
    assert done("compare", tmp_path, "--json").json["judged"] is None
    for number, run in enumerate(all_runs(tmp_path)):
        run.update_status(status="done", validation={"loss": 1.0, "r2": number / 2}, test={"loss": 2.0})
    found = done("compare", tmp_path, "--json").json
    assert found["judged"] == "validation r2" and found["variants"][0]["results"]["validation r2"]["mean"] == 0.5


def test_folds_are_validated_on_different_examples_and_compared(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        data = {"type": "digits", "fold": {"number": number, "of": 3}}
        write_run(tmp_path, "a", examples=f"f{number}", accuracy=0.8 + number / 100, data=data)
        write_run(tmp_path, "b", examples=f"f{number}", accuracy=0.9 + number / 100, data=data, optimizer={"type": "x"})
    found = done("compare", tmp_path, "--json").json
    assert found["judged"] == "validation loss" and [v["verdict"] for v in found["variants"]] == ["best", "worse"]
    assert found["answer"][0].endswith("clearly better than the others")


INSIDE = {"name": "r", "type": "residual", "layers": [LAYERS[0]]}
DIFFERENCES: list[tuple[dict[str, Any], dict[str, tuple[str, str]]]] = [
    ({"seed": 3, "logging": {"every": 9}}, {}),
    ({"optimizer": {"type": "sgd", "lr": 0.2}}, {"optimizer.lr": ("0.1", "0.2")}),
    ({"optimizer": {"type": "adam", "lr": 0.1, "beta1": 0.9}}, {"optimizer.type": ("sgd", "adam")}),
    ({"data": {"type": "digits", "augment": [{"type": "crop", "padding": 1}]}}, {"data.augment": ("none", "crop")}),
    ({"train": {"epochs": 3, "early_stopping": {"patience": 2}}}, {"train.early_stopping": ("none", "patience 2")}),
    ({"model": {"layers": [LAYERS[0] | {"channels": 9}, LAYERS[1]]}},
     {"model.layers.conv1.channels": ("8", "9")}),
    ({"model": {"layers": [INSIDE, LAYERS[1]]}}, {"model.layers": ("conv 8, dense 10", "residual, dense 10")}),
    ({"model": {"layers": LAYERS[::-1]}}, {"model.layers": ("conv 8, dense 10", "dense 10, conv 8")}),
    ({"model": {"layers": [LAYERS[0] | {"name": "a"}, LAYERS[1]]}},
     {"model.layers": (json.dumps(LAYERS), json.dumps([LAYERS[0] | {"name": "a"}, LAYERS[1]]))}),
    ({"mixup": 0.2}, {"mixup": ("—", "0.2")}),
    ({"model": {"layers": LAYERS[1:]}}, {"model.layers": ("conv 8, dense 10", "dense 10")}),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), DIFFERENCES)
def test_what_differs_is_said_in_few_words(change: dict[str, Any], expected: dict[str, tuple[str, str]]) -> None:
    for order in (1, -1):
        told = differing([BASE, BASE | change][::order])
        assert {key: tuple(found[key] for found in told[::order]) for key in told[0]} == expected


def test_layers_in_containers_are_named_as_an_override_names_them() -> None:
    """And the paths of a branch, which are lists of lists, by the names in them."""

    def config(channels: int) -> Any:
        conv = LAYERS[0] | {"channels": channels}
        chain = {"name": "c", "type": "chain", "layers": [conv]}
        branch = {"name": "b", "type": "branch", "join": "add", "paths": [[], [chain]]}
        return BASE | {"model": {"layers": [INSIDE | {"layers": [branch]}]}}

    assert differing([config(8), config(9)]) == [{"model.layers.r.b.c.conv1.channels": "8"},
                                                 {"model.layers.r.b.c.conv1.channels": "9"}]  # fmt: skip


trees = st.recursive(
    st.none() | st.integers(0, 2),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    | st.lists(st.fixed_dictionaries({"name": st.sampled_from("xy"), "type": st.sampled_from("pq"), "lr": inner}),
               max_size=2, unique_by=lambda item: item["name"]),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["data", "model"]), trees), min_size=2, max_size=3))
def test_any_configs_can_be_compared(configs: list[Any]) -> None:
    """Every difference is told: configs that are told alike are alike, but for empty dictionaries."""
    told = differing(configs)
    assert len({tuple(found) for found in told}) == 1 and all(isinstance(v, str) for f in told for v in f.values())
    assert all(len({found[key] for found in told}) > 1 for key in told[0])
    for (a, told_a), (b, told_b) in combinations(zip(configs, told, strict=True), 2):
        assert without_empty(a) == without_empty(b) if told_a == told_b else a != b


def without_empty(value: Any) -> Any:
    if isinstance(value, list):
        return [without_empty(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in ((key, without_empty(item)) for key, item in value.items()) if item != {}}


def test_settings_that_only_one_kind_has_are_told_where_they_differ_within_it() -> None:
    """Else runs of different settings would be taken for repetitions of one."""
    optimizers = [{"type": "momentum", "lr": 0.1, "momentum": m} for m in (0.9, 0.5)]
    told = differing([BASE, *(BASE | {"optimizer": optimizer} for optimizer in optimizers)])
    assert [list(found) for found in told] == [["optimizer"]] * 3 and len({found["optimizer"] for found in told}) == 3


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        (Spread(0.9 - 0.0164, 0.01, 3), "worse"),  # two standard errors are 2·sqrt(2·0.01²/3) = 0.01633
        (Spread(0.9 - 0.0162, 0.01, 3), "no clear difference"),
        (Spread(0.9 + 0.0164, 0.01, 3), "worse"),
        (Spread(0.1, 0.01, 2), "unknown"),
        (Spread(0.1, None, 1), "unknown"),
        (Spread(0.9, 0.0, 3), "no clear difference"),
        (None, "unknown"),
    ],
)
def test_verdicts(other: Spread | None, verdict: str) -> None:
    assert judge(Spread(0.9, 0.01, 3), other) == verdict
    assert judge(Spread(0.9, 0.01, 2), other) == "unknown"
    assert judge(Spread(0.9, 0.0, 5), Spread(0.9, 0.0, 5)) == "no clear difference"


def test_pages(runs: Path) -> None:
    done("report", next(runs.glob("*-a")))
    (runs / "pages").mkdir()
    said = done("compare", runs, "--html", runs / "pages" / "compare.html")
    assert said.err.endswith(f"wrote {runs / 'pages' / 'compare.html'}\n")
    seen = check_page(runs / "pages" / "compare.html")
    text = "".join(seen.words)
    assert "10 runs compared" in text and "no clear difference" in text and "0.9150" in text and "optimizer.lr" in text
    links = [a["href"] for tag, a in seen.tags if tag == "a"]
    assert links == [f"../{next(runs.glob('*-a')).name}/report.html"]
    before = done("runs", "--runs-dir", runs).out
    said = done("runs", "--runs-dir", runs, "--html", runs / "runs.html")
    assert said.out == before and said.err == f"wrote {runs / 'runs.html'}\n"
    seen = check_page(runs / "runs.html")
    names = [run.path.name for run in all_runs(runs)]
    assert [word.strip() for word in seen.words if word.strip() in names] == names[::-1]
    assert [a["href"] for tag, a in seen.tags if tag == "a"] == [f"{next(runs.glob('*-a')).name}/report.html"]
    assert json.loads(json.dumps([a["data-value"] for tag, a in seen.tags if "data-value" in a]))


def test_a_curve_is_the_mean_of_the_epochs_that_all_have(runs: Path) -> None:
    known = all_runs(runs)
    variants = compare([Record.read(run) for run in known], [look(run.config) for run in known]).variants
    assert variants[0].curve == [(1.0, 1.0), (2.0, 0.5), (3.0, 0.25)]
