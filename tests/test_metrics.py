"""Figures of merit against hand-checked tables and definitions by brute force, and that they decide what is best."""

from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import make_job, rows, train
from commands import dltrain, done

from dltrain.data import Split
from dltrain.errors import ConfigError
from dltrain.evaluation.evaluate import evaluate
from dltrain.job.parallel import ThreadPool
from dltrain.metrics.scores import FROM_SCORES, Answers, from_confusion, from_scores
from dltrain.metrics.settings import CLASSES, HIGHER, LABELS, METRICS, NUMBERS, TEXTS, MetricsSettings
from dltrain.nn import Context
from dltrain.spec import build_model, loads
from dltrain.train import loop

Array = np.ndarray[Any, Any]


def measured(name: str, scores: Any, targets: Any, **settings: Any) -> float | None:
    answers = Answers(np.array(scores, np.float64), np.array(targets), MetricsSettings(**settings))
    return from_scores(answers, [name])[name]


def logits(probabilities: list[list[float]]) -> Array:
    return np.log(probabilities)


LABEL_SCORES = [[1, -1, 2], [-1, 3, -2], [2, 2, -1], [-3, -1, -1]]
LABEL_TARGETS = [[1, 0, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]]
# figure, scores, targets, settings, the value worked out by hand
BY_HAND: list[tuple[str, Any, Any, dict[str, Any], float | None]] = [
    # ranks of the right class: 1, 2, 3, and 2 because of equal scores the first is ahead
    ("top_k", [[3, 2, 1], [3, 2, 1], [3, 2, 1], [1, 1, 0]], [0, 1, 2, 1], {"top_k": 1}, 0.25),
    ("top_k", [[3, 2, 1], [3, 2, 1], [3, 2, 1], [1, 1, 0]], [0, 1, 2, 1], {"top_k": 2}, 0.75),
    ("top_k", [[3, 2, 1], [3, 2, 1], [3, 2, 1], [1, 1, 0]], [0, 1, 2, 1], {}, 1.0),
    # positives 0.4 and 0.8, negatives 0.1 and 0.6: three of the four pairs are in order
    ("auc", logits([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4], [0.2, 0.8]]), [0, 0, 1, 1], {}, 0.75),
    ("auc", [[0, 1], [0, 1], [0, 2]], [0, 1, 1], {}, 0.75),  # a tie counts half
    ("auc", [[1, 1]] * 4, [0, 1, 1, 1], {}, 0.5),
    ("auc", [[0, 1], [1, 0]], [0, 1], {}, 0.0),
    ("auc", [[1, 2], [1, 3]], [1, 1], {}, None),
    # class 0: (0.5 over 0.3, 0.2) 1; class 1: 0.4 over 0.3, not over 0.5: 0.5; class 2: 0.5 over 0.2 and 0.1: 1
    ("auc", logits([[0.5, 0.3, 0.2], [0.3, 0.4, 0.3], [0.2, 0.3, 0.5]]), [0, 1, 2], {}, 1.0),
    ("auc", logits([[0.5, 0.4, 0.1], [0.4, 0.4, 0.2], [0.2, 0.3, 0.5]]), [0, 1, 2], {}, (1 + 0.75 + 1) / 3),
    # bins (0.5, 0.75] and (0.75, 1]: 2 · |0.5 - 0.65| and 2 · |1 - 0.85|, over 4
    ("calibration_error", logits([[0.4, 0.6], [0.7, 0.3], [0.8, 0.2], [0.1, 0.9]]), [1, 1, 0, 1],
     {"calibration_bins": 4}, 0.15),
    ("calibration_error", logits([[0.5, 0.5], [0.5, 0.5]]), [0, 1], {}, 0.0),  # 0.5 is right half of the time
    ("calibration_error", [[0, 800], [0, 800]], [0, 0], {}, 1.0),
    ("mae", [[1.0, 2], [3, 4]], [[2.0, 2], [3, 1]], {}, 1.0),
    ("r2", [[1.0], [2], [4]], [[1.0], [2], [3]], {}, 0.5),
    ("r2", [[1.0, 0], [2, 5], [3, 10]], [[1.0, 10], [2, 5], [3, 0]], {}, (1 - 3) / 2),
    ("r2", [[1.0], [2]], [[3.0], [3]], {}, None),
    # scikit-learn 1.9, accuracy_score and f1_score: labels 0 to 2 have F1 of 1, 2/3 and 0
    ("exact_match", LABEL_SCORES, LABEL_TARGETS, {}, 0.25),
    ("f1_micro", LABEL_SCORES, LABEL_TARGETS, {}, 2 / 3),
    ("f1_micro", [[-1.0, -1]], [[0, 0]], {}, None),
    ("f1_macro", LABEL_SCORES, LABEL_TARGETS, {}, (1 + 2 / 3 + 0) / 3),
]  # fmt: skip


def test_every_figure_has_a_case() -> None:
    assert {case[0] for case in BY_HAND} == set(FROM_SCORES)
    assert {*CLASSES, *NUMBERS, *LABELS, *TEXTS, "loss"} == set(METRICS) and set(METRICS) >= HIGHER
    assert set(FROM_SCORES) == set(METRICS) - {"loss", "accuracy", "precision", "recall", "f1", "perplexity"}


@pytest.mark.parametrize(("name", "scores", "targets", "settings", "expected"), BY_HAND)
def test_by_hand(name: str, scores: Any, targets: Any, settings: dict[str, Any], expected: float | None) -> None:
    found = measured(name, scores, targets, **settings)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-12))


def softmax(scores: Array) -> Array:
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def auc_by_pairs(scores: Array, targets: Array) -> float:
    p, areas = softmax(scores) if scores.shape[1] > 2 else scores - scores[:, ::-1], []
    for c in range(p.shape[1]):
        pairs = list(product(p[targets == c, c], p[targets != c, c]))
        if pairs:
            areas.append(sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs))
    return sum(areas) / len(areas)


def auc_by_area(scores: Array, targets: Array) -> float:
    """Trapezoids under the curve of true against false positive rates, threshold by threshold; two classes."""
    margin = scores[:, 1] - scores[:, 0]
    curve = [(0.0, 0.0)]
    for threshold in sorted(set(margin), reverse=True):
        taken = margin >= threshold
        curve.append((taken[targets == 0].mean(), taken[targets == 1].mean()))
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(curve))


def calibration_by_loop(scores: Array, targets: Array, bins: int) -> float:
    p, error = softmax(scores), 0.0
    for i in range(bins):
        inside = [(row.max(), row.argmax() == t) for row, t in zip(p, targets, strict=True)
                  if i / bins < row.max() <= (i + 1) / bins]  # fmt: skip
        if inside:
            confidence, right = np.mean([c for c, _ in inside]), np.mean([r for _, r in inside])
            error += len(inside) / len(targets) * abs(right - confidence)
    return error


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_by_brute_force(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, 80)
    scores = rng.integers(-10, 11, (80, classes)) / 8  # with many equal ones, and exact differences
    scores[np.arange(80), targets] += 1
    if classes > 2:
        targets[targets == classes - 1] = 0  # a class without examples
    assert measured("auc", scores, targets) == pytest.approx(auc_by_pairs(scores, targets), rel=1e-12)
    if classes == 2:
        assert measured("auc", scores, targets) == pytest.approx(auc_by_area(scores, targets), rel=1e-12)
    for bins in (1, 10, 15):
        found = measured("calibration_error", scores, targets, calibration_bins=bins)
        assert found == pytest.approx(calibration_by_loop(scores, targets, bins), abs=1e-12)
    for k in (1, 2, classes):
        ranked = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        expected = np.mean([target in row for target, row in zip(targets, ranked, strict=True)])
        assert measured("top_k", scores, targets, top_k=k) == expected
    assert measured("top_k", scores, targets, top_k=1) == (scores.argmax(axis=1) == targets).mean()


def test_precision_recall_and_f1() -> None:
    found = from_confusion(np.array([[5, 1, 0, 0], [2, 2, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0]]))
    rates = [[row[key] for key in ("examples", "precision", "recall", "f1")] for row in found["per_class"]]
    assert rates == [
        [6, 5 / 8, 5 / 6, 10 / 14], [5, 2 / 4, 2 / 5, 4 / 9], [2, None, 0, 0], [0, 0, None, 0],
    ]  # fmt: skip
    for row in found["per_class"][:2]:
        harmonic = 2 / (1 / row["precision"] + 1 / row["recall"])
        assert row["f1"] == pytest.approx(harmonic)
    # scikit-learn 1.9: precision_score and f1_score with average="macro" and zero_division=0, balanced_accuracy_score
    assert found["precision"] == pytest.approx(0.28125)
    assert found["f1"] == pytest.approx(0.28968253968253965)
    assert found["recall"] == pytest.approx(0.41111111111111115)
    assert found["averages"]["macro"] == {key: found[key] for key in ("precision", "recall", "f1")}
    assert found["averages"]["weighted"]["f1"] == pytest.approx((6 * 10 / 14 + 5 * 4 / 9) / 13)
    assert found["averages"]["weighted"]["recall"] == pytest.approx(found["accuracy"]) == pytest.approx(7 / 13)


# --- in an evaluation, in a training, in a config --------------------------------------------------------------------


def test_an_evaluation_measures_all_answers_in_any_shards(tmp_path: Path) -> None:
    """The same bits whatever threads and shards, and on the examples in their order."""
    job = make_job(splits={"train": rows(70), "test": rows(70, seed=1)}, epochs=1)
    train(job, tmp_path)
    loader = job.loaders["test"]
    found = []
    for threads, batch, shard in ((1, 70, 70), (4, 22, 6), (1, 22, 6)):
        pool = ThreadPool(threads)
        found.append(evaluate(job.model, job.loss, loader, pool, batch, shard, MetricsSettings(top_k=2), METRICS))
        pool.close()
    assert found[1] == found[2], "the bits depend on threads"
    for other in found[1:]:
        assert {key: other[key] for key in CLASSES} == pytest.approx({key: found[0][key] for key in CLASSES}, rel=1e-6)
    x, targets = loader.examples(np.arange(70))
    scores = job.model(x, Context()).data
    assert found[0]["auc"] == measured("auc", scores, targets)
    assert found[0]["top_k"] == measured("top_k", scores, targets, top_k=2) > found[0]["accuracy"]
    assert found[0]["calibration_error"] == measured("calibration_error", scores, targets)


def test_figures_of_a_regression(tmp_path: Path) -> None:
    split = rows(70)
    numbers = Split(split.inputs, split.inputs[:, :3].copy())
    metrics = {"best": "r2", "report": ("mae", "r2")}
    job = make_job(splits={"train": numbers, "validation": numbers}, loss="mse", metrics=metrics, epochs=3)
    result, run = train(job, tmp_path)
    assert list(result["validation"]) == ["loss", "mae", "r2"] and "r2" not in result["train"]
    epochs = [row["validation"]["r2"] for row in run.rows(run.metrics) if row["event"] == "epoch"]
    assert run.status()["best_r2"] == max(epochs) and "best_loss" not in run.status()


def fake(name: str, values: list[float | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the validation find these."""
    given = iter(values)
    monkeypatch.setattr(loop, "validate", lambda *_: {"loss": 1.0, name: next(given)})


@pytest.mark.parametrize("name", METRICS[1:])
def test_the_chosen_figure_decides_what_is_best(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [0.5, None, *([0.9, 0.1] if name in HIGHER else [0.1, 0.9]), 0.2, 0.2]
    fake(name, values, monkeypatch)
    job = make_job(epochs=6, metrics={"best": name}, early_stopping={"patience": 2})
    result, run = train(job, tmp_path)
    assert run.checkpoint("best").position.epoch == 3
    assert run.status()[f"best_{name}"] == values[2]
    assert result["epochs"] == 5, "it stops after two epochs without a better one"


def test_higher_is_better_where_it_should_be() -> None:
    assert set(METRICS) - HIGHER == {"loss", "calibration_error", "mae", "perplexity"}


CONFIG = """
data: {{type: penguins, test: 0.3, validation: {validation}, stratified: true}}
model: {{layers: [dense: {{units: 3, activation: none}}]}}
train: {{epochs: 3, batch_size: 32}}
metrics: {{best: {best}, report: [f1, top_k, auc], top_k: 2}}
"""


def test_a_config_with_metrics(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CONFIG.format(best="auc", validation=0.2))
    fit = done("fit", tmp_path / "a.yaml", "--runs-dir", tmp_path / "runs", "--json").json
    assert list(fit["validation"]) == list(fit["test"]) == ["loss", "accuracy", "f1", "top_k", "auc"]
    found = done("eval", "--runs-dir", tmp_path / "runs", "--json").json
    assert {key: found[key] for key in fit["test"]} == fit["test"]
    assert [key for key in found if key in METRICS] == ["loss", *CLASSES]
    assert "best auc" in done("runs", "--runs-dir", tmp_path / "runs").out
    said = done("eval", "--runs-dir", tmp_path / "runs").out
    assert f"auc {found['auc']:.4f}" in said and "f1" in said


def test_refuses_what_the_data_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"metrics\.best: penguins has no r2; it has loss, accuracy, top_k"):
        build_model(loads(CONFIG.format(best="r2", validation=0)))
    with pytest.raises(ConfigError, match=r"5:31  metrics\.report: penguins has no mae"):
        build_model(loads(CONFIG.format(best="loss", validation=0).replace("f1", "mae")))
    (tmp_path / "a.yaml").write_text(CONFIG.format(best="auc", validation=0))
    said = dltrain("fit", tmp_path / "a.yaml", "--runs-dir", tmp_path / "runs")
    assert said.code == 2 and "5:17  metrics.best: auc is measured on validation examples" in said.errors[0]
