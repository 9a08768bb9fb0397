"""What is predicted: numbers in their own units, several at once, logarithms, and labels of which several are right."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import dltrain, done

from dltrain import api
from dltrain.data import Cuts, Fold, prepare, statistics
from dltrain.data.source import loses_digits, narrowed
from dltrain.data.tables.table import Csv
from dltrain.data.target_scale import TargetScale
from dltrain.errors import DltrainError

NOWHERE = Path("nowhere")
CONFIG = """
data: {{{data}, test: 0.25}}
model: {{layers: [dense: 32, dense: {{units: {units}, activation: none}}]}}
loss: {loss}
optimizer: {{adam: {{lr: 0.01}}}}
train: {{epochs: {epochs}, batch_size: 16}}
"""


def table(folder: Path, name: str = "a.csv", **columns: Any) -> Path:
    rows = zip(*columns.values(), strict=True)
    (folder / name).write_text("\n".join(",".join(map(str, row)) for row in [tuple(columns), *rows]) + "\n")
    return folder / name


def trained(folder: Path, data: str, units: int = 1, loss: str = "mse", epochs: int = 40) -> Any:
    (folder / "t.yaml").write_text(CONFIG.format(data=data, units=units, loss=loss, epochs=epochs))
    return done("fit", folder / "t.yaml", "--runs-dir", folder / "runs", "--json").json


def asked(folder: Path, path: Path) -> list[dict[str, Any]]:
    return done("predict", path, "--runs-dir", folder / "runs", "--json").json["predictions"]  # type: ignore[no-any-return]


def houses(n: int = 200) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    rooms, area = rng.integers(1, 7, n), rng.integers(50, 250, n)
    return {"rooms": rooms, "area": area, "price": (150_000 + 9_000 * rooms + 1_900 * area).round()}


def test_large_targets_are_learned_and_told_in_their_units(tmp_path: Path) -> None:
    data = houses()
    path = table(tmp_path, **data)
    fit = trained(tmp_path, f"type: csv, path: {path}, target: price")
    assert fit["test"]["r2"] > 0.98 and 100 < fit["test"]["mae"] < 20_000
    assert fit["test"]["loss"] < 0.05, "1 is what the mean would cost"
    said = np.array([row["values"][0] for row in asked(tmp_path, path)])
    assert np.abs(said - data["price"]).mean() < 20_000
    evaluated = done("eval", "--runs-dir", tmp_path / "runs", "--split", "train", "--json").json
    run = Path(fit["run"])
    kept = json.loads((run / "eval" / "train.json").read_bytes())["answers"]
    assert min(kept["targets"])[0] > 150_000 and min(kept["outputs"])[0] > 100_000
    assert evaluated["mae"] < 20_000
    x = np.stack([data["rooms"], data["area"]], axis=1)
    np.testing.assert_allclose(api.load_run(run).predict(x)[:, 0], said, rtol=1e-5)
    raw = trained(tmp_path, f"type: csv, path: {path}, target: price, normalize_targets: none", epochs=5)
    assert raw["test"]["r2"] < 0, "as it was before"


def test_check_says_what_targets_there_are(tmp_path: Path) -> None:
    path = table(tmp_path, **houses())
    data = f"type: csv, path: {path}, target: price"
    (tmp_path / "t.yaml").write_text(CONFIG.format(data=data, units=1, loss="mse", epochs=1))
    found = {f["check"]: f for f in dltrain("check", tmp_path / "t.yaml", "--json").json["findings"]}
    assert found["loss_at_start"]["status"] == "passed" and found["loss_at_start"]["values"]["guess"] < 2
    columns = found["reading"]["values"]["columns"]
    assert [(c["name"], c["type"], c["from"], c["to"]) for c in columns] == [
        ("rooms", "number", 1, 6), ("area", "number", min(houses()["area"]), max(houses()["area"])),
    ]  # fmt: skip


def test_scale_of_targets() -> None:
    targets = np.array([[1.0, 10], [3, 10], [8, 10]])
    scale = TargetScale.learn(targets, "standard")
    assert scale is not None
    sd = (26 / 3) ** 0.5  # of 1, 3 and 8, whose mean is 4; a column that is always the same has 1
    np.testing.assert_allclose(scale.scaled(targets), [[-3 / sd, 0], [-1 / sd, 0], [4 / sd, 0]], rtol=1e-6)
    np.testing.assert_allclose(scale.undone(scale.scaled(targets)), targets, rtol=1e-6)
    log = TargetScale.learn(targets, "log")
    assert log is not None
    np.testing.assert_allclose(log.mean[0], np.log([1, 3, 8]).mean())
    np.testing.assert_allclose(log.undone(log.scaled(targets)), targets, rtol=1e-6)
    assert TargetScale.learn(targets, "none") is None
    for any_scale in (scale, log):
        assert TargetScale.from_json(json.loads(json.dumps(any_scale.to_json()))) == any_scale
    with pytest.raises(DltrainError, match=r"normalize_targets: log needs targets above 0; 1 of 2 are not"):
        TargetScale.learn(np.array([[1.0], [0.0]]), "log")
    means, stds = ([], [float("nan"), 0.0], [1, 2]), ([0.0, 1.0], [1.0])
    for damage in (*({"mean": mean} for mean in means), *({"std": std} for std in stds), {"log": 1}):
        with pytest.raises(ValueError):
            TargetScale.from_json(scale.to_json() | damage)
    with pytest.raises(ValueError):
        TargetScale.from_json([])


def test_logarithms(tmp_path: Path) -> None:
    x = np.random.default_rng(1).uniform(0, 8, 200).round(3)
    path = table(tmp_path, x=x, y=np.exp(x).round(6))
    fit = trained(tmp_path, f"type: csv, path: {path}, target: y, normalize_targets: log")
    assert fit["test"]["r2"] > 0.95
    said = np.array([row["values"][0] for row in asked(tmp_path, path)])
    assert (said > 0).all() and np.abs(np.log(said) - x).mean() < 0.2


def test_several_targets(tmp_path: Path) -> None:
    x = np.random.default_rng(2).normal(size=(200, 2)).round(4)
    path = table(tmp_path, a=x[:, 0], b=x[:, 1], far=(1e6 + 1e4 * x[:, 0]).round(2), near=(x[:, 1] / 100).round(6))
    fit = trained(tmp_path, f"type: csv, path: {path}, target: [far, near]", units=2)
    assert fit["test"]["r2"] > 0.95
    said = np.array([row["values"] for row in asked(tmp_path, path)])
    assert np.abs(said[:, 0] - 1e6 - 1e4 * x[:, 0]).mean() < 3e3 and np.abs(said[:, 1] - x[:, 1] / 100).mean() < 3e-3


def labelled(n: int = 240) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(3).normal(size=(n, 3)).round(4)
    return x, (x > [0, 0.5, -0.5]).astype(int)


@pytest.mark.parametrize("form", ["columns", "words", "one column"])
def test_labels_of_which_several_are_right(form: str, tmp_path: Path) -> None:
    x, y = labelled()
    names = ("red", "green", "blue")
    inputs = {name: x[:, i] for i, name in enumerate("abc")}
    if form == "one column":
        tags = [";".join(n for n, there in zip(names, row, strict=True) if there) or "none" for row in y.tolist()]
        path = table(tmp_path, **inputs, tags=tags)
        data, labels = f'type: csv, path: {path}, target: tags, label_separator: ";"', ("blue", "green", "none", "red")
    else:
        cells = y if form == "columns" else np.where(y, "true", "False")
        path = table(tmp_path, **inputs, **{name: cells[:, i] for i, name in enumerate(names)})
        data, labels = f"type: csv, path: {path}, target: [red, green, blue]", names
    fit = trained(tmp_path, data, units=len(labels), loss="binary_cross_entropy")
    assert fit["test"]["exact_match"] > 0.75 and fit["test"]["f1_micro"] > 0.9
    found = done("eval", "--runs-dir", tmp_path / "runs", "--json").json
    assert [row["class"] for row in found["per_class"]] == list(labels) and found["f1_macro"] > 0.7
    rows = asked(tmp_path, path)
    right = [{name for name, there in zip(names, row, strict=True) if there} for row in y.tolist()]
    said = [set(row["class"].split("; ")) - {"", "none"} for row in rows]
    assert np.mean([a == b for a, b in zip(said, right, strict=True)]) > 0.75
    for row in rows:
        assert row["class"] == "; ".join(name for name, p in row["probabilities"].items() if p > 0.5)
        assert tuple(row["probabilities"]) == labels


def test_losses_that_do_not_suit(tmp_path: Path) -> None:
    x, y = labelled(20)
    path = table(tmp_path, a=x[:, 0], red=y[:, 0], green=y[:, 1])
    for target, loss, message in (
        ("[red, green]", "mse", "is for numbers to predict, but csv has 2 labels; use binary_cross_entropy"),
        ("[red, green]", "hinge", "hinge is for classes, but csv has 2 labels"),
        ("red", "cross_entropy", "csv has 1 numbers to predict; data.task: classification would"),
        ("red, task: classification", "mse", "csv has 2 classes; use cross_entropy"),
    ):
        data = f"type: csv, path: {path}, target: {target}"
        (tmp_path / "t.yaml").write_text(CONFIG.format(data=data, units=2, loss=loss, epochs=1))
        said = dltrain("validate", tmp_path / "t.yaml")
        assert said.code == 2 and message in said.err


MANY = [f"{i}.5" for i in range(29)]
DAYS = [f"2020-{month}-{day}" for month in (10, 11) for day in range(10, 25)]
MISFITS = {  # cells of the target, what is said of it, the loss -> what is told and what is not
    "a slip": ([*MANY, "abc"], "", "mse", "30 classes: {path}:31: column 'y' holds numbers, but also 'abc'; mend that"),
    "no finite number": ([*MANY, "inf"], "", "mse", "{path}:31: column 'y' holds numbers, but also 'inf'; mend that"),
    "dates": (DAYS, "", "mse", "30 classes: column 'y' holds dates such as '2020-10-10'; choose another data.target"),
    "names": ([f"A{day}" for day in DAYS], "", "mse", "30 classes: column 'y' holds texts such as 'A2020-10-10'"),
    "classes on purpose": ([*MANY, "3"], ", task: classification", "mse", "30 classes; use cross_entropy"),
    "the default": ([*MANY, "3"], "", "", "cross_entropy is the default, `loss: mse` is for numbers"),
    "numbers on purpose": ([*MANY, "3"], ", task: regression", "hinge", "has 1 numbers to predict; use mse"),
    "a slip, by default": ([*MANY, "abc"], "", "", "{path}:31: column 'y' holds numbers, but also 'abc'; mend that"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_is_told_of_a_loss_that_does_not_suit(name: str, tmp_path: Path) -> None:
    cells, task, loss, message = MISFITS[name]
    path = table(tmp_path, x=np.arange(30), y=np.array(cells))
    data = f"{{type: csv, path: {path}, target: y{task}}}"
    text = f"data: {data}\nmodel: {{layers: [dense: 1]}}\n" + (f"loss: {loss}\n" if loss else "")
    (tmp_path / "t.yaml").write_text(text)
    said = dltrain("validate", tmp_path / "t.yaml")
    assert said.code == 2 and message.format(path=path) in said.err
    assert "data.task: regression" not in said.err


# Numbers for which float32 has too few digits


def test_where_float32_would_lose_digits() -> None:
    seconds = 1.7e9 + np.arange(400.0)[:, None]
    assert narrowed(seconds) is seconds and narrowed(np.hstack([np.ones((400, 1)), seconds])).dtype == np.float64
    for few in (np.arange(400.0)[:, None], np.full((5, 2), 1.7e9), np.array([[np.nan], [1.0]])):
        assert narrowed(few).dtype == np.float32
    assert narrowed(np.hstack([seconds, np.ones((400, 1))]), np.array([False, True])).dtype == np.float32
    assert loses_digits(np.array([1e5, 500]), np.array([1.0, 1.0])).tolist() == [True, False]


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_seconds_since_1970(kind: str, tmp_path: Path) -> None:
    """scikit-learn's linear regression has r2 0.9975 where noise is added so that it cannot have more."""
    x = 1_700_000_000 + np.arange(400)
    y = np.arange(400) / 100 + np.random.default_rng(4).normal(0, 0.0577, 400)
    if kind == "csv":
        data = f"type: csv, path: {table(tmp_path, x=x, y=y)}, target: y"
    else:
        np.savez(tmp_path / "a.npz", x_train=x[:, None], y_train=y)
        data = f"type: npz, path: {tmp_path / 'a.npz'}"
    fit = trained(tmp_path, data)
    assert fit["test"]["r2"] > 0.99
    new = table(tmp_path, "new.csv", x=x[::100], y=y[::100])
    if kind == "npz":
        np.savez(tmp_path / "new.npz", x=x[::100, None])
        new = tmp_path / "new.npz"
    said = [row["values"][0] for row in asked(tmp_path, new)]
    np.testing.assert_allclose(said, np.arange(4.0), atol=0.4)
    trained_on = api.load_run(Path(fit["run"])).predict(x[::100, None])
    np.testing.assert_allclose(trained_on[:, 0], said, rtol=1e-4, atol=1e-4)


# Which rows are held out


def test_rows_of_a_group_stay_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    patient = rng.integers(0, 20, 200)
    path = table(tmp_path, patient=[f"p{i}" for i in patient], place=np.arange(200), cls=rng.choice(["x", "y"], 200))
    source = Csv(path=str(path), target="cls", group="patient")
    assert [column.name for column in source.columns] == ["place"], "the group is no input"
    splits = prepare(source, NOWHERE, cuts=Cuts(test=0.2, validation=0.2), seed=0).splits
    parts = {name: set(patient[split.inputs[:, 0].astype(int)]) for name, split in splits.items()}
    assert len(parts["train"] | parts["validation"] | parts["test"]) == 20
    assert sum(map(len, parts.values())) == 20, "none is in two parts"
    path = table(tmp_path, g=patient, place=np.arange(200), cls=rng.choice(["x", "y"], 200))
    numbers = Csv(path=str(path), target="cls", group="g")
    assert len(np.unique(numbers.load(NOWHERE)["train"].groups)) == 20


@pytest.mark.parametrize("kind", ["numbers", "dates"])
def test_the_latest_rows_are_held_out(kind: str, tmp_path: Path) -> None:
    order = np.random.default_rng(6).permutation(100)
    when = order if kind == "numbers" else [str(np.datetime64("2020-01-01") + int(i)) for i in order]
    path = table(tmp_path, when=when, place=order, cls=["x", "y"] * 50)
    source = Csv(path=str(path), target="cls", time="when", columns={"when": "ignore"})
    splits = prepare(source, NOWHERE, cuts=Cuts(test=0.2, validation=10), seed=3).splits
    found = {name: sorted(split.inputs[:, 0].astype(int).tolist()) for name, split in splits.items()}
    assert found == {"train": [*range(70)], "validation": [*range(70, 80)], "test": [*range(80, 100)]}
    for cuts in (Cuts(validation=0.1, stratified=True), Cuts(fold=Fold(number=1, of=3))):
        with pytest.raises(DltrainError, match=r"data\.time: cuts by time alone"):
            prepare(source, NOWHERE, cuts=cuts, seed=0)


def test_the_six_lines_of_the_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parent.parent)
    text = Path("docs/tutorial/houses.yaml").read_text()
    assert len(text.splitlines()) == 6
    fit = done("fit", "docs/tutorial/houses.yaml", "--runs-dir", tmp_path, "--json").json
    assert fit["test"]["r2"] >= 0.98 and fit["validation"]["r2"] >= 0.98


def test_what_training_never_saw_is_said_of_a_test_part(tmp_path: Path) -> None:
    train = table(tmp_path, a=["u", "v"] * 10, b=range(20), cls=["x", "y"] * 10)
    test = table(tmp_path, "b.csv", a=["u", "W", "W"], b=range(3), cls=["x", "y", "y"])
    (tmp_path / "t.yaml").write_text(
        CONFIG.format(
            data=f"type: csv, path: {train}, test_path: {test}, target: cls", units=2, loss="cross_entropy", epochs=1
        ).replace(", test: 0.25", "")
    )
    said = done("fit", tmp_path / "t.yaml", "--runs-dir", tmp_path / "runs").err
    assert "b.csv: column 'a': 2 of 3 cells hold what training never saw, the first 'W' in line 3" in said


def test_mean_and_spread_are_of_all_examples_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are: a few large values decide about a heavy-tailed column."""
    monkeypatch.setattr(statistics, "LARGE", 100)
    x = np.random.default_rng(7).standard_t(2, (20_000, 2)).astype(np.float32)
    mean, std = statistics.channel_statistics(x)
    np.testing.assert_allclose(mean, x.mean(axis=0, dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(std, x.std(axis=0, dtype=np.float64), rtol=1e-9)
