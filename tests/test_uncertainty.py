"""Intervals, baselines, curves and thresholds: against definitions, outside values and what must hold on average."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import dltrain, done

from dltrain.backend import open_device
from dltrain.evaluation import baseline
from dltrain.metrics.curves import at_threshold, best_threshold, curves
from dltrain.metrics.scores import from_confusion
from dltrain.metrics.uncertainty import of_confusion, of_labels, of_numbers, wilson
from dltrain.report.headline import headline_of
from dltrain.run.rundir import RunDir
from dltrain.spec import build_job, examples_of, load, restore, settle

Array = Any


@pytest.mark.parametrize(
    ("right", "examples", "low", "high"),
    [  # scipy.stats.binomtest(right, examples).proportion_ci(method="wilson")
        (44, 50, 0.7619518261679702, 0.9438239984906772),
        (0, 10, 0.0, 0.27753279986288926),
        (10, 10, 0.7224672001371107, 1.0),
    ],
)
def test_shares(right: int, examples: int, low: float, high: float) -> None:
    assert wilson(right, examples) == pytest.approx((low, high), abs=1e-12)


def answers(rng: Any, n: int) -> tuple[Array, Array]:
    y = rng.normal(size=(n, 2)) * [1, 50] + [0, 1e4]
    return y, y + rng.normal(size=(n, 2)) * [0.5, 25]


@pytest.mark.parametrize("n", [200, 4000])
def test_about_95_of_100_intervals_of_numbers_hold_the_truth(n: int) -> None:
    """mae of normal errors of 0.5 and 25 is their mean times sqrt(2 / pi); r2 is 1 - 0.25. Of many examples a part is
    drawn again."""
    rng, held = np.random.default_rng(0), {"mae": 0, "r2": 0}
    truth = {"mae": (0.5 + 25) / 2 * (2 / np.pi) ** 0.5, "r2": 0.75}
    for _ in range(60):
        found = of_numbers(*answers(rng, n))
        for name, value in truth.items():
            held[name] += found[name][0] <= value <= found[name][1]
    assert all(count >= 50 for count in held.values()), held
    assert of_numbers(*answers(np.random.default_rng(1), n)) == of_numbers(*answers(np.random.default_rng(1), n))


def test_more_examples_say_more() -> None:
    widths = [np.ptp(of_numbers(*answers(np.random.default_rng(2), n))["r2"]) for n in (500, 2000, 8000)]
    assert 1.5 < widths[0] / widths[1] < 2.7 and 1.5 < widths[1] / widths[2] < 2.7


def test_targets_that_are_all_alike_have_no_r2() -> None:
    assert list(of_numbers(np.ones((30, 1)), np.linspace(0, 1, 30)[:, None])) == ["mae"]


def test_intervals_of_averages_over_classes() -> None:
    rng, held = np.random.default_rng(3), {"recall": 0, "f1": 0}
    truth = np.array([[0.4, 0.1, 0], [0.1, 0.2, 0.05], [0, 0.05, 0.1]])
    expected = from_confusion(np.round(truth * 10**6).astype(int))
    for _ in range(80):
        found = of_confusion(rng.multinomial(400, truth.ravel()).reshape(3, 3))
        for name in held:
            held[name] += found[name][0] <= expected[name] <= found[name][1]
    assert all(count >= 69 for count in held.values()), held


def scored(ties: bool) -> tuple[Array, Array]:
    rng = np.random.default_rng(4)
    positive = rng.random(300) < 0.2
    scores = rng.normal(size=300) + positive
    return (scores.round(1) if ties else scores), positive


@pytest.mark.parametrize("ties", [False, True])
def test_curves_are_what_every_threshold_gives(ties: bool) -> None:
    scores, positive = scored(ties)
    found = curves(scores, positive)
    assert found
    rates = []
    for threshold in sorted(set(scores), reverse=True):
        said = scores >= threshold
        tp, fp = float((said & positive).sum()), float((said & ~positive).sum())
        rates.append([fp / (~positive).sum(), tp / positive.sum(), tp / said.sum()])
    fpr, tpr, precision = np.array(rates).T
    assert {tuple(point) for point in found["roc"]} <= {(0.0, 0.0), *zip(fpr, tpr, strict=True)}
    assert {tuple(point) for point in found["precision_recall"]} <= set(zip(tpr, precision, strict=True))
    assert found["average_precision"] == pytest.approx((np.diff([0, *tpr]) * precision).sum(), abs=1e-12)
    pairs = (scores[positive][:, None] > scores[~positive]) + (scores[positive][:, None] == scores[~positive]) / 2
    assert found["auc"] == pytest.approx(pairs.mean(), abs=1e-12)
    assert found["prevalence"] == positive.mean()
    assert curves(scores, positive | True) is None and best_threshold(scores, positive & False) is None


@pytest.mark.parametrize("ties", [False, True])
def test_the_threshold_of_the_best_f1(ties: bool) -> None:
    scores, positive = scored(ties)
    threshold = best_threshold(scores, positive)
    assert threshold is not None and threshold not in scores
    each = [at_threshold(scores, positive, value)["f1"] for value in scores]
    assert at_threshold(scores, positive, threshold)["f1"] == pytest.approx(max(each))


def test_rates_at_a_threshold() -> None:
    scores, positive = np.array([3.0, 2, 1, 0]), np.array([True, False, True, True])
    assert at_threshold(scores, positive, 1.5) == {"accuracy": 0.25, "precision": 0.5, "recall": 1 / 3, "f1": 0.4}
    assert at_threshold(scores, positive, 9)["precision"] is None


# --- in a run --------------------------------------------------------------------------------------------------------

CONFIG = """
data: {type: npz, path: data.npz, validation: 0.25, test: 0.25}
model: {layers: [dense: 6, {dense: {units: 2, activation: none}}]}
train: {epochs: 3}
optimizer: {adam: {lr: 0.05}}
"""


def trained(folder: Path, *words: Any, rare: bool = False, **arrays: Any) -> Any:
    draw = np.random.default_rng(5)
    x = draw.normal(size=(800, 3)).astype(np.float32)
    y = (x[:, 0] + 0.5 * draw.normal(size=800) > (1.3 if rare else 0)).astype(int)
    np.savez(folder / "data.npz", **({"x_train": x, "y_train": y} | arrays))
    (folder / "c.yaml").write_text(CONFIG.replace("data.npz", str(folder / "data.npz")))
    return done("fit", folder / "c.yaml", *words, "--runs-dir", folder / "runs", "--json")


def test_a_run_carries_its_interval_its_baselines_its_curves_and_its_threshold(tmp_path: Path) -> None:
    run = Path(trained(tmp_path).json["run"])
    found = json.loads((run / "eval" / "test.json").read_bytes())
    right = round(found["accuracy"] * 200)
    assert found["intervals"]["accuracy"] == pytest.approx(wilson(right, 200))
    assert found["positive"] == "1" and found["curves"]["auc"] > 0.7
    threshold = found["threshold"]
    assert threshold["chosen_on"] == "validation" and threshold["half"]["accuracy"] == found["accuracy"]
    assert threshold["half"]["recall"] == found["per_class"][1]["recall"]
    baselines = json.loads((run / "description.json").read_bytes())["baselines"]
    assert baselines["test"]["linear"]["accuracy"] > 0.8 and 0.4 < baselines["test"]["simple"]["accuracy"] < 0.6
    assert baselines["test"]["simple"]["recall"] == 0.5
    evaluated = done("eval", run, "--json").json
    for key in ("intervals", "curves", "threshold", "positive"):
        assert evaluated[key] == found[key], "eval finds the same"
    assert evaluated["baselines"] == baselines["test"]
    page = (run / "report.html").read_text()
    texts = ("linear model", "95 %:", "True positive rate over false", "Precision over recall", "Threshold chosen")
    for text in texts:
        assert text in page
    said = done("eval", run)
    assert "a linear model " in said.out and "with 95 % confidence" in said.out
    assert "chosen on validation examples: accuracy" in said.out


def test_the_positive_class_is_the_one_that_is_named(tmp_path: Path) -> None:
    run = Path(trained(tmp_path, "metrics.positive=0", rare=True).json["run"])
    found = json.loads((run / "eval" / "test.json").read_bytes())
    assert found["positive"] == "0" and found["curves"]["prevalence"] > 0.8
    said = dltrain("fit", tmp_path / "c.yaml", "metrics.positive=yes", "--runs-dir", tmp_path / "runs")
    assert said.code == 2 and "metrics.positive: 'yes' is none of two classes; npz has the classes 0, 1" in said.err


def test_with_rare_classes_accuracy_is_no_headline(tmp_path: Path) -> None:
    said = trained(tmp_path, rare=True)
    assert "test        balanced accuracy 0." in said.err and "always the most common class 0.5000" in said.err
    found = json.loads((Path(said.json["run"]) / "eval" / "test.json").read_bytes())
    headline = headline_of(found, {})
    assert headline and headline.key == "recall" and headline.value == found["recall"] and headline.interval
    assert found["accuracy"] > headline.value


def test_numbers_have_the_mean_and_a_linear_model_beside_them(tmp_path: Path) -> None:
    """That of least squares, to four digits of what numpy's lstsq gives."""
    draw = np.random.default_rng(6)
    x = draw.normal(size=(800, 3)).astype(np.float32)
    y = (x @ [1, 2, 3] + 7 + draw.normal(size=800)).astype(np.float32)[:, None]
    test = {"x_test": x[600:], "y_test": y[600:], "x_train": x[:600], "y_train": y[:600]}
    words = ("loss=mse", "model.layers.1.units=1", "data.test=0", "metrics.best=r2")
    run = Path(trained(tmp_path, *words, "data.validation=0.1", **test).json["run"])
    found = json.loads((run / "eval" / "test.json").read_bytes())
    low, high = found["intervals"]["r2"]
    assert low < found["r2"] < high
    ones = np.ones((800, 1))
    weights = np.linalg.lstsq(np.hstack([x, ones])[:600], y[:600], rcond=None)[0]
    left = y[600:] - np.hstack([x, ones])[600:] @ weights
    baselines = json.loads((run / "description.json").read_bytes())["baselines"]["test"]
    assert baselines["linear"]["r2"] == pytest.approx(1 - left.var() / y[600:].var(), abs=5e-3)
    assert abs(baselines["simple"]["r2"]) < 0.05


def test_labels_have_intervals_the_most_common_ones_and_a_linear_model_beside_them(tmp_path: Path) -> None:
    """The third label is rare, so to say the first two of everything has the best micro F1 of constant answers."""
    draw = np.random.default_rng(7)
    x = draw.normal(size=(600, 3))
    y = x + 0.7 * draw.normal(size=x.shape) > [-0.5, 0, 1.5]
    rows = [",".join([*map(str, a), *map(str, b)]) for a, b in zip(x.round(3), y.astype(int), strict=True)]
    (tmp_path / "labels.csv").write_text("\n".join(["a,b,c,p,q,r", *rows]))
    data = f"{{type: csv, path: {tmp_path}/labels.csv, target: [p, q, r], validation: 0.2, test: 0.3}}"
    words = (f"data={data}", "model.layers.1.units=3", "loss=binary_cross_entropy")
    said = trained(tmp_path, *words)
    run = Path(said.json["run"])
    found = json.loads((run / "eval" / "test.json").read_bytes())
    for key in ("f1_micro", "exact_match"):
        low, high = found["intervals"][key]
        assert low < found[key] < high
    beside = json.loads((run / "description.json").read_bytes())["baselines"]["test"]
    targets = load_split_of(run)
    always = 2 * targets[:, :2].sum() / (targets.sum() + 2 * len(targets))
    assert beside["simple"]["f1_micro"] == pytest.approx(always)
    assert beside["simple"]["f1_micro"] < beside["linear"]["f1_micro"] < 1
    assert "test        micro F1 0." in said.err and "always the most common labels 0." in said.err


def load_split_of(run: Path) -> Any:
    """The targets of a run's test examples."""
    loader, same = examples_of(restore(RunDir(run), "last", None), "test", run)
    assert same
    return loader.targets()


def test_the_interval_of_micro_f1_holds_what_it_should() -> None:
    """Of 200 samples from one population, some 95 % have the population's figure in their interval."""
    draw = np.random.default_rng(8)
    targets = draw.random((200, 150, 4)) < [0.5, 0.3, 0.2, 0.1]
    said = targets ^ (draw.random(targets.shape) < 0.2)
    right, either = (targets & said).sum(), targets.sum() + said.sum()
    intervals = [of_labels(a, b)["f1_micro"] for a, b in zip(targets, said, strict=True)]
    held = np.mean([low <= 2 * right / either <= high for low, high in intervals])
    assert 0.9 < held < 0.99


def test_what_a_run_is_compared_with_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Path(trained(tmp_path).json["run"])
    before = json.loads((run / "description.json").read_bytes())["baselines"]
    monkeypatch.setattr(baseline, "baselines", lambda job: pytest.fail("measured again"))
    done("fit", "--resume", run, "train.epochs=4")
    done("verify", run)
    assert json.loads((run / "description.json").read_bytes())["baselines"] == before
    for damage in ("{}", '{"baselines": 5}', '{"baselines": {"nothing": {}}}', "x"):
        (run / "description.json").write_text(damage)
        with pytest.raises(BaseException, match="measured again"):
            baseline.known_baselines(job_of(run), run)


def job_of(run: Path) -> Any:
    device = open_device("cpu")
    return build_job(settle(load(run / "config.yaml"), device), device, run)


def test_who_is_behind_a_linear_model_is_told(tmp_path: Path) -> None:
    words = ("optimizer.lr=1e-6", "train.epochs=5")
    assert "[behind_linear]" in trained(tmp_path, *words).err
    assert RunDir(next((tmp_path / "runs").iterdir())).status()["status"] == "done"
