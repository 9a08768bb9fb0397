"""Texts whose every position has a target: examples, losses, what is trained, told and written."""

import json
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import dltrain, done

from dltrain import ops
from dltrain.backend import Device, to_host
from dltrain.data import Preprocessing, prepare
from dltrain.data.text import Text
from dltrain.data.tokens import UNKNOWN, joined
from dltrain.engine import Tensor, distinct, gradients
from dltrain.errors import SettingError

NOWHERE = Path("nowhere")
VERSE = "row row row your boat\ngently down the stream\n"
CONFIG = """
data: {type: text, path: %s, targets: every, length: 8, held_out: [0.1, 0.1]}
model: {layers: [embedding: 8, %s: {units: 24}, dense: {units: vocabulary, activation: none}]}
optimizer: {adam: {lr: 0.02}}
train: {epochs: 8, batch_size: 16}
write: {prompt: "row", length: 12, texts: 2}
"""


def written(folder: Path, text: str, name: str = "a.txt") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize(("length", "stride"), [(5, None), (4, 2)])
def test_every_position_has_the_next_as_target(length: int, stride: int | None, tmp_path: Path) -> None:
    source = Text(path=written(tmp_path, VERSE), length=length, stride=stride, targets="every", held_out=(0.0, 0.0))
    split = source.load(NOWHERE)["train"]
    starts = range(0, len(VERSE) - length, stride or length)
    letters = np.array(source.classes)
    assert ["".join(row) for row in letters[split.inputs]] == [VERSE[i : i + length] for i in starts]
    assert ["".join(row) for row in letters[split.targets]] == [VERSE[i + 1 : i + length + 1] for i in starts]
    assert source.input_shape == (length,) and [v.kind for v in source.values] == ["characters"] * 2


def test_words_are_those_of_the_training_part(tmp_path: Path) -> None:
    text = "a b a b c a b a b a, x y\n" * 3 + "new words only here now\n" * 2
    source = Text(
        path=written(tmp_path, text), length=3, targets="every", unit="word", vocabulary=5, held_out=(0.2, 0.0)
    )
    assert source.classes == (UNKNOWN, "\n", ",", "a", "b")
    splits = source.load(NOWHERE)
    assert set(np.unique(splits["validation"].targets)) <= {0, 1}, "what the training part does not have is unknown"
    rows = splits["train"].inputs[0]
    assert joined([source.classes[i] for i in rows], "word") == "a b a"
    with pytest.raises(SettingError, match="words need `targets: every`"):
        Text(unit="word")


def test_tokens_stay_whole_numbers_in_a_checkpoint() -> None:
    learned = prepare(Text(targets="every", length=9), NOWHERE, seed=0).preprocessing
    assert learned.reads_text and set(learned.mean) == {0.0} and set(learned.std) == {1.0}
    assert learned.vocabulary == Text().classes
    again = Preprocessing.from_json(json.loads(json.dumps(learned.to_json())))
    assert again == learned


def test_a_loss_over_positions_is_that_of_all_of_them(device: Device) -> None:
    logits, targets = distinct(2, 3, 4), np.array([[0, 3, 1], [2, 2, 0]])
    results = []
    for shape in ((2, 3), (6,)):
        x = Tensor(device.asarray(logits.reshape(*shape, 4)))
        y = ops.cross_entropy(x, device.asarray(targets.reshape(shape)), label_smoothing=0.1)
        results.append([y.data, *(g.reshape(6, 4) for g in gradients(y, [x]))])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(to_host(a), to_host(b))
    with pytest.raises(ValueError, match="takes scores"):
        ops.cross_entropy(device.asarray(logits), device.asarray(targets[:, :2]))


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_from_training_to_writing(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CONFIG % (written(tmp_path, VERSE * 40), kind))
    runs = ["--runs-dir", tmp_path / "runs"]
    fit = done("fit", tmp_path / "a.yaml", *runs, "--json").json
    found = fit["test"]
    assert found["accuracy"] > 0.85 and found["perplexity"] == pytest.approx(exp(found["loss"]))
    assert fit["validation"]["loss"] < log(3)
    evaluated = done("eval", *runs, "--json").json
    assert {key: evaluated[key] for key in ("loss", "accuracy", "perplexity")} == pytest.approx(
        {key: found[key] for key in ("loss", "accuracy", "perplexity")}
    )

    run = Path(fit["run"])
    kept = json.loads((run / "written.json").read_text())
    assert kept["prompt"] == "row" and len(kept["texts"]) == 2 and all(len(text) == 12 for text in kept["texts"])
    page = (run / "report.html").read_text()
    assert "Generated text" in page
    greedy = done(
        "predict", *runs, "--prompt", "row row row your boat\ngent", "--length", "8", "--temperature", "0"
    ).out
    assert greedy == "row row row your boat\ngently down \n"
    asked: list[Any] = ["predict", *runs, "--prompt", "row", "--length", "40", "--json"]
    first, again, other = (done(*asked, "--seed", seed).json["text"] for seed in (1, 1, 2))
    assert first == again != other and len(first) == 40
    assert done(*asked, "--beam", "3").json["text"].startswith(" ")
    for words, message in ((["--prompt", "Row"], "'R' is none that the network knows"), ([], "--prompt")):
        said = dltrain("predict", *runs, *words)
        assert said.code != 0 and message in said.errors[0]


EVERY = "data: {type: text, targets: every"
LAST = "\nmodel: {layers: [embedding: 3, gru: {units: 65, return: last}]}"
MISTAKES = {
    "write: {prompt: a}\ndata: digits": "write: is for a network that tells what follows every position of a text",
    f"{EVERY}}}\nloss: hinge": "loss: hinge is not for texts; use cross_entropy",
    f"{EVERY}, unit: char}}": "data.unit",
    "data: digits\nmodel: {layers: [flatten, embedding: 3]}": "stands for the different tokens of a text",
    f"{EVERY}}}\nmetrics: {{best: f1}}": "text has no f1; it has loss, accuracy, perplexity",
    f"{EVERY}}}{LAST}": "the last layer gives (65,), but text has 65 classes; it must give (40, 65)",
}


@pytest.mark.parametrize("change", MISTAKES)
def test_mistakes(change: str, tmp_path: Path) -> None:
    layers = "[embedding: 3, dense: {units: vocabulary, activation: none}]"
    (tmp_path / "a.yaml").write_text(change + ("" if "model" in change else f"\nmodel: {{layers: {layers}}}"))
    said = dltrain("validate", tmp_path / "a.yaml")
    assert said.code == 2 and MISTAKES[change] in " ".join(said.errors), said.errors
