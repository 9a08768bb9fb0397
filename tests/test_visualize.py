"""`dltrain visualize`: made inputs that beat every example, and pictures of both."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import standin
from commands import dltrain, done
from PIL import Image

from dltrain.nn import Context, Network
from dltrain.report import features
from dltrain.report.features import feature_grid
from dltrain.run.rundir import RunDir
from dltrain.spec import examples_of, restore

TWO = """
data: {type: npz, path: two.npz}
model: {layers: [flatten, {dense: {units: 1, activation: none}}]}
loss: binary_cross_entropy
optimizer: {type: adam, lr: 1e-3}
train: {max_steps: 2, batch_size: 20}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained network with a layer of each kind that can be looked at."""
    folder = tmp_path_factory.mktemp("visualize")
    layers = "model.layers=[{conv: 8}, max_pool, flatten, {dense: {units: 12, activation: sigmoid}}, \
{dense: {units: 10, activation: none}}]"
    said = done("fit", "smoke", layers, "--runs-dir", folder, "--json")
    return Path(said.json["run"])


@pytest.mark.parametrize(
    "words",
    [
        ["conv1"],
        ["conv1", "--minimize"],
        ["max_pool1"],
        ["dense1"],
        ["dense2", "--unit", "3", "--unit", "0"],
        ["conv1", "--unit", "1", "--device", "cuda"],
    ],
    ids=" ".join,
)
def test_the_made_input_beats_every_example(words: list[str], run: Path, tmp_path: Path) -> None:
    layer, *options = words
    with standin.installed():
        found = done("visualize", run, "--layer", layer, *options, "--output", tmp_path / "a.png", "--json").json
    sign = -1 if "--minimize" in words else 1
    for row in found["units"]:
        ranked = [sign * value for value in row["activations"]]
        assert sign * row["activation"] > ranked[0] and ranked == sorted(ranked, reverse=True)
    units = [row["unit"] for row in found["units"]]
    asked = [int(word) for word in options if word.isdigit()]
    assert units == asked if asked else len(set(units)) == 6
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape[0] > len(units) * 72 and picture.std() > 20


def test_the_numbers_are_those_of_the_network(run: Path, tmp_path: Path) -> None:
    """The examples named are the best of all, by a plain forward pass."""
    found = done("visualize", run, "--layer", "dense2", "--unit", "4", "--json").json
    assert Path(found["picture"]) == run / "visualize" / "dense2.png" and Path(found["picture"]).is_file()
    restored = restore(RunDir(run), "last", "cpu")
    values = outputs(restored)[:, 4]
    (row,) = found["units"]
    assert row["examples"] == np.argsort(-values, kind="stable")[:8].tolist()
    assert row["activations"] == pytest.approx(np.sort(values)[::-1][:8], abs=1e-5)


def test_a_convolution_is_measured_by_what_it_passes_on(run: Path) -> None:
    found = done("visualize", run, "--layer", "conv1", "--unit", "2", "--unit", "5", "--json").json
    restored = restore(RunDir(run), "last", "cpu")
    values = outputs(restored, layers=1).mean(axis=(1, 2))
    for row in found["units"]:
        best = np.sort(values[:, row["unit"]])[::-1][:8]
        assert row["activations"] == pytest.approx(best, abs=1e-5) and best.min() >= 0


def test_the_one_output_for_two_classes_is_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Path
) -> None:
    named = []

    def draw(title: str, found: Any, loader: Any, learned: Any, names: Any) -> Any:
        named.append(list(names))
        return feature_grid(title, found, loader, learned, names)

    monkeypatch.setattr(features, "feature_grid", draw)
    rng = np.random.default_rng(0)
    images, y = rng.integers(0, 255, (60, 6, 6, 1)).astype(np.uint8), np.arange(60) % 2
    np.savez(tmp_path / "two.npz", x_train=images, y_train=y, x_test=images, y_test=y, class_names=["no", "yes"])
    (tmp_path / "two.yaml").write_text(TWO)
    two = done("fit", tmp_path / "two.yaml", f"data.path={tmp_path / 'two.npz'}", "--runs-dir", tmp_path, "--json")
    done("visualize", two.json["run"], "--layer", "dense1")
    done("visualize", run, "--layer", "dense2", "--unit", "0")
    assert named == [["yes"], list("0123456789")]


def outputs(restored: Any, layers: int | None = None) -> Any:
    """What the first so many layers, or all of them, make of the training examples."""
    loader, _ = examples_of(restored, "train", Path())
    model = Network(restored.model.layers[:layers], restored.model.in_shape)
    return model(loader.examples(np.arange(loader.size))[0], Context()).data


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layer", "conv7"], "--layer conv7: there is no such layer; this network has conv1, max_pool1, flatten1"),
        (["--layer", "conv1", "--unit", "8"], "--unit 8: conv1 has 8 units, 0 to 7"),
    ],
    ids=["layer", "unit"],
)
def test_what_is_not_there(words: list[str], message: str, run: Path) -> None:
    said = dltrain("visualize", run, *words)
    assert said.code == 2 and said.errors[0].startswith(message)
    assert dltrain("visualize", run).code == 2  # --layer must be given
