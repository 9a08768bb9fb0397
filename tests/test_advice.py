"""Advice: every rule speaks beyond its limit and in a training that has the fault, and is silent on healthy ones."""

import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from builders import make_job
from commands import dltrain, done

from dltrain.data import Split
from dltrain.job.settings import Rule
from dltrain.report.advice import RULES, Seen, advise
from dltrain.report.headline import Headline
from dltrain.report.record import Record
from dltrain.run.rundir import RunDir, all_runs
from dltrain.spec import load, shipped_configs

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
TEN = dict.fromkeys("abcdefghij", 10)
GUESSING = float(np.log(10))


def layer(name: str = "dense1", epoch: int = 1, **values: Any) -> Row:
    healthy = {
        "units": 64, "activation": "relu", "dead_units": 0, "dead_share": 0.0, "gradient_norm": 1.0, "weight_norm": 1.0,
        "update_ratio": 1e-3, "activation_mean": 0.1, "activation_std": 1.0, "saturated_share": None,
    }  # fmt: skip
    return {"epoch": epoch, "layer": name, **healthy, **values}


def epochs(*losses: float, validation: tuple[float, ...] = (), penalty: float = 0, accuracy: float = 0.9) -> list[Row]:
    rows: list[Row] = []
    for i, loss in enumerate(losses):
        train = {"loss": loss + penalty, "data_loss": loss, "penalty": penalty, "accuracy": accuracy}
        watched = {"validation": {"loss": validation[i]}} if validation else {}
        rows.append({"epoch": i + 1, "step": 10 * (i + 1), "train": train, **watched})
    return rows


def game(*right: float) -> list[Row]:
    return [{"epoch": i + 1, "step": 10 * (i + 1), "train": {"loss/a": 1.0, "right/a": r}} for i, r in enumerate(right)]


def over(what: str, row: Row) -> Seen:
    return Seen([{"epoch": 9, "step": 200, "train": {"loss/a": 1.0}}], [], played={what: [row]})


def updates(first: float, second: float) -> Seen:
    return Seen(epochs(0.5, 0.4), [layer(update_ratio=first), layer("dense2", update_ratio=second)])


def depth(ratio: float) -> list[Row]:
    return [layer("a", gradient_norm=ratio), layer("b"), layer("c", gradient_norm=2.0, weight_norm=2.0)]


# rule -> (what a run has shown, given the measured value; the side of the limit on which it is sick)
MEASURED: dict[str, tuple[Callable[[float], Seen], int]] = {
    "diverged": (lambda value: Seen([], [], status="diverged" if value > 0 else "done"), 1),
    "start_loss": (lambda value: Seen([], [], {"data_loss": value + GUESSING}, TEN, GUESSING), 1),
    "dead_units": (lambda value: Seen([], [layer(dead_share=value)]), 1),
    "vanishing_gradients": (lambda value: Seen([], depth(value)), -1),
    "exploding_gradients": (lambda value: Seen([], depth(value)), 1),
    "saturated": (lambda value: Seen([], [layer(activation="tanh", dead_share=None, saturated_share=value)]), 1),
    "large_updates": (lambda value: updates(value, 1e-3), 1),
    "small_updates": (lambda value: updates(value, 0.0), -1),
    "loss_grew": (lambda value: Seen(epochs(value * GUESSING), [], None, TEN, GUESSING), 1),
    "behind_linear": (
        lambda value: Seen(epochs(*[0.5] * 5), [], headline=Headline("test", "r2", 0.5, 9, (0.4, 0.6), 0.6 + value)),
        1,
    ),
    "learns_nothing": (lambda value: Seen(epochs(3.0, value * GUESSING), [], None, TEN, GUESSING), 1),
    "underfitting": (lambda value: Seen(epochs(*[1.5] * 6, accuracy=value), [], None, TEN, GUESSING), -1),
    "overfitting": (lambda value: Seen(epochs(0.9, 0.5, 0.2, validation=(1.0, 1.1, value)), []), 1),
    "penalty_dominates": (lambda value: Seen(epochs(0.5, penalty=0.5 * value), []), 1),
    "class_imbalance": (lambda value: Seen([], [], None, {"a": round(1000 * value), "b": 1000}), 1),
    "judge_never_wrong": (lambda value: Seen(game(0.7, 0.9, value), []), 1),
    "judge_knows_nothing": (lambda value: Seen(game(0.7, 0.5, value), []), -1),
    "mode_collapse": (
        lambda value: over("made", {"value": "fake", "real": "image", "spread": 2 * value, "real_spread": 2.0}),
        -1,
    ),
    "ignored_input": (lambda value: over("heeded", {"network": "maker", "input": "noise", "share": value}), -1),
}

# rule -> (model, overrides) of a training that has the fault
PLAIN = "layers: [flatten, dense: 32, dense: {units: 10, activation: none}]"


GAME = """
networks:
  maker: [{dense: {units: 64, activation: none}}, {reshape: [8, 8, 1]}]
  judge: [flatten, {dense: 32}, {dense: {units: 1, activation: none}}]
values: {noise: {normal: 4}, fake: {maker: noise}}
updates:
  judge:
    - binary_cross_entropy: {of: {judge: image}, target: 1}
    - binary_cross_entropy: {of: {judge: fake}, target: 0}
  maker: [binary_cross_entropy: {of: {judge: fake}, target: 1}]
"""


NOISY = """
networks:
  maker:
    inputs: [picture, chance]
    layers: [flatten, concat: chance, dense: 64, dense: {units: 64, activation: none}, reshape: [8, 8, 1]]
values: {noise: {normal: 4}, again: {maker: [image, noise]}}
updates: {maker: [mse: {of: again, target: image}]}
schedule: cosine
"""


def deep(layers: int) -> str:
    return PLAIN.replace("dense: 32", ", ".join(["dense: 32"] * layers))


SICK: dict[str, tuple[str, list[str]]] = {
    "diverged": (f"activation: leaky_relu, {PLAIN}", ["optimizer={type: sgd, lr: 1e5}"]),
    "start_loss": ("init: {type: normal, std: 1.0}, " + PLAIN, ["optimizer={type: sgd, lr: 1e-4}", "train.epochs=1"]),
    "dead_units": (PLAIN, ["optimizer={type: adam, lr: 0.5}"]),
    "vanishing_gradients": (f"activation: sigmoid, init: glorot_uniform, {deep(8)}", ["train.epochs=1"]),
    "exploding_gradients": (
        "activation: tanh, init: {type: normal, std: 0.6}, " + deep(24),
        ["optimizer={type: sgd, lr: 1e-4}", "train.epochs=1"],
    ),
    "saturated": ("activation: tanh, init: {type: normal, std: 1.0}, " + PLAIN, ["train.epochs=1"]),
    "large_updates": (f"activation: leaky_relu, {PLAIN}", ["optimizer={type: adam, lr: 0.1}"]),
    "small_updates": (PLAIN, ["optimizer={type: sgd, lr: 1e-7}"]),
    "loss_grew": (PLAIN, ["optimizer={type: adam, lr: 1e6}", "train.epochs=1"]),
    "behind_linear": (PLAIN, ["optimizer={type: sgd, lr: 1e-4}", "train.epochs=5"]),
    "learns_nothing": (PLAIN, ["optimizer={type: sgd, lr: 1e-7}"]),
    "underfitting": (
        f"activation: tanh, {PLAIN.replace('32', '1')}",
        ["optimizer={type: adam, lr: 0.03}", "train.epochs=14", "schedule={step: {every: 9, factor: 1e-3}}"],
    ),
    "overfitting": (
        f"activation: leaky_relu, {PLAIN}",
        ["optimizer={type: adam, lr: 0.02}", "train.epochs=60", "data.validation=3623"],
    ),
    "penalty_dominates": (PLAIN, ["penalty.l2=0.5", "train.epochs=1"]),
    "class_imbalance": (PLAIN.replace("10", "3"), ["data={type: npz, path: FOLDER/data.npz}", "train.epochs=1"]),
    "judge_never_wrong": (GAME, ["updates.maker.optimizer.lr=1e-6", "optimizer.lr=1e-2", "train.epochs=8"]),
    "judge_knows_nothing": (GAME, ["updates.judge.optimizer.lr=1e-7", "networks.judge.layers.dense1.init=zeros"]),
    "mode_collapse": (
        GAME,
        [
            "+updates.maker.minimise.1={mse: {of: fake, target: image, weight: 100}}",
            "values.noise.normal.std=0.1",
            "updates.maker.optimizer.lr=1e-2",
            "train={batch_size: 32, epochs: 40}",
        ],
    ),
    "ignored_input": (NOISY, ["optimizer.lr=5e-3", "train={batch_size: 32, epochs: 60}"]),
}


def test_the_tables_are_complete() -> None:
    assert MEASURED.keys() == SICK.keys() == RULES.keys()


@pytest.mark.parametrize("name", RULES)
def test_a_rule_speaks_beyond_its_limit_only(name: str) -> None:
    make, sick = MEASURED[name]
    limit = RULES[name].limit
    beyond, within = limit + sick * max(limit, 1e-6) * 0.02, limit - sick * max(limit, 1e-6) * 0.02
    (found,) = [advice for advice in advise(make(beyond)) if advice.rule == name]
    assert found.text and found.remedy and found.text[-1] not in ".;" and found.remedy[-1] not in ".;"
    assert name not in [advice.rule for advice in advise(make(within))]


@pytest.mark.parametrize("name", SICK)
def test_a_training_with_the_fault_is_told(name: str, tmp_path: Path) -> None:
    model, overrides = SICK[name]
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x_train=draw.normal(size=(90, 4)), y_train=np.repeat([0, 1, 2], [5, 80, 5]))
    config = tmp_path / "sick.yaml"
    config.write_text(
        "data: {type: digits, validation: 3300}\ntrain: {batch_size: 64, epochs: 3}\n"
        + (model if "networks:" in model else f"model: {{{model}}}\n")
    )
    words = [word.replace("FOLDER", str(tmp_path)) for word in overrides]
    said = dltrain("fit", config, *words, "--runs-dir", tmp_path / "runs", "--threads", 1)
    assert said.code == (3 if name == "diverged" else 0), said.err
    (run,) = all_runs(tmp_path / "runs")
    found = {advice.rule: advice for advice in Record.read(run).advice}
    assert name in found
    told = [line for line in said.err.splitlines() if line.startswith("▲ ")]
    assert len(told) == min(3, len(found)), "said at the end of the training, three at most"


@pytest.mark.parametrize(("config", "words"), [
    ("smoke", []),
    ("digits_cnn", ["--max-steps", 81]),
    ("digits_svm", ["--max-steps", 120]),  # its loss is no entropy
    ("noisy_digits_blur", ["--max-steps", 90]),  # its first layer is not trained
])  # fmt: skip
def test_healthy_trainings_get_no_advice(config: str, words: list[Any], tmp_path: Path) -> None:
    result = done("fit", config, *words, "--runs-dir", tmp_path, "--json").json
    assert Record.read(RunDir(Path(result["run"]))).advice == []


# What the shipped configs that show a fault are told; all others are healthy and get no advice.
TOLD = {
    "deep_sigmoid": {"vanishing_gradients", "learns_nothing"},
    "dying_relu": {"dead_units", "large_updates"},
    "mnist_judge": {"dead_units"},
}
# to their end: each takes many minutes, or begins where another one ended
UNTRAINED = {"cifar_five", "cifar_finetune", "digit_codes", "style_network", "style_picture"}


def test_the_shipped_configs_were_told_what_is_wrong_with_them_and_nothing_else() -> None:
    """When they were trained to their end, by benchmarks/advice.py."""
    found = json.loads((ROOT / "benchmarks" / "results" / "advice.json").read_text())["configs"]
    assert found.keys() == {name for name, path in shipped_configs().items() if load(path).data} - UNTRAINED
    assert {name: set(told) for name, told in found.items() if told} == TOLD


def test_serious_advice_comes_first_and_the_worst_layer_is_named() -> None:
    rows = [layer("a", e, dead_share=s) for e, s in ((1, 0.3), (2, 0.1), (3, 0.3), (4, 0.4))]
    rows += [layer("b", e, dead_share=s, units=200) for e, s in ((1, 0.1), (2, 0.6), (3, 0.61), (4, 0.7))]
    seen = Seen(epochs(0.9, 0.8, 0.7, 0.6, penalty=2.0), sorted(rows, key=lambda row: row["epoch"]))
    dead, penalty = advise(seen)
    assert (dead.rule, dead.layer, dead.serious) == ("dead_units", "b", True)
    assert dead.text == "b: 70 % of its 200 units are dead since epoch 2 (a: 40 %)"
    assert (penalty.rule, penalty.serious) == ("penalty_dominates", False)


def test_guessing_costs_less_where_classes_are_unequal() -> None:
    def guessing(*counts: int, loss: str = "cross_entropy") -> float | None:
        y = np.repeat(np.arange(len(counts)), counts)
        return make_job(splits={"train": Split(np.zeros((len(y), 6)), y)}, loss=loss).guessing

    assert guessing(5, 5, 5) == pytest.approx(np.log(3))
    assert guessing(90, 10, 0) == pytest.approx(0.325083)
    assert guessing(5, 5, 5, loss="hinge") is None, "900 is no bad start for a loss of 100 times what is missing"


def test_what_is_not_known_is_no_reason_to_speak() -> None:
    unknown = layer(gradient_norm=None, weight_norm=None, update_ratio=None, dead_share=None)
    assert advise(Seen([], [])) == advise(Seen(epochs(2.0), [unknown, unknown, unknown])) == []


def test_numbers_that_grew_are_measured_by_their_first_loss() -> None:
    """A loss that is no entropy, such as a squared error, has no price of guessing."""
    begun = {"data_loss": 2.0}
    told = {loss: [a.rule for a in advise(Seen(epochs(loss), [], begun))] for loss in (1.0, 19.9, 20.1, 2.7e13)}
    assert told == {1.0: [], 19.9: [], 20.1: ["loss_grew"], 2.7e13: ["loss_grew"]}


def test_the_names_of_rules_and_checks_may_be_muted() -> None:
    """Names are stable: whoever muted one must not hear it again."""
    assert get_args(Rule) == tuple(RULES)
    seen = Seen(epochs(0.5, penalty=2.0), [layer(dead_share=0.7)])
    assert [a.rule for a in advise(seen)] == ["dead_units", "penalty_dominates"]
    assert [a.rule for a in advise(replace(seen, muted=("dead_units",)))] == ["penalty_dominates"]


def test_what_is_muted_is_said_nowhere(tmp_path: Path) -> None:
    changes = ["optimizer.lr=1e6", "model.layers.7.activation=relu"]
    words = ["digits_cnn", *changes, "--max-steps", 3, "--runs-dir", tmp_path]
    loud = done("fit", *words)
    assert "[loss_grew]" in loud.err and "[output]" in loud.err and "[large_updates]" not in loud.err
    names = [line.rpartition("[")[2].rstrip("]") for line in loud.err.splitlines() if line[:2] in ("▲ ", "wa")]
    quiet = done("fit", *words, f"advice.mute=[{', '.join(names)}]")
    assert "▲" not in quiet.err and "warning" not in quiet.err
    assert json.loads(done("report", "--runs-dir", tmp_path, "--json").out)["advice"] == []
    checked = dltrain("check", "digits_cnn", *changes, "advice.mute=[output]", "--json").json
    assert "output" not in [finding["check"] for finding in checked["findings"]]
    said = dltrain("fit", *words, "advice.mute=[dead_unit]")
    assert said.code == 2 and said.errors[0].endswith("got the list [dead_unit]; did you mean 'dead_units'?")


def test_the_page_of_rules_is_of_these_rules() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "make_advice_page.py"))["advice_page"]()
    assert (ROOT / "docs" / "advice.md").read_text(encoding="utf-8") == page
    assert all(f"`{name}`" in page for name in RULES)
