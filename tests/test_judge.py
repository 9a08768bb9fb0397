"""A judge says of pictures what its run would predict, and shows what its last layer gets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import done

from dltrain.evaluation.evaluate import predict
from dltrain.job.judge import Judge
from dltrain.run.rundir import RunDir
from dltrain.spec import restore

Array = np.ndarray[Any, Any]
CONFIG = """
data: {type: npz, path: PATH}
model: {layers: [{conv: {channels: 4}}, max_pool, flatten, {dense: 6}, {dense: {units: UNITS, activation: none}}]}
loss: LOSS
train: {max_steps: 3, batch_size: 16}
"""
LOSSES = {"cross_entropy": 3, "binary_cross_entropy": 1}


def colours(count: int = 40, classes: int = 3) -> tuple[Array, Array]:
    """Bytes (N, 8, 8, 3) in which a class's channel is brighter."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 200, (count, 8, 8, 3)), np.arange(count) % classes
    x[np.arange(count), :, :, y] += 55
    return x.astype(np.uint8), y


def judge_of(folder: Path, loss: str) -> Judge:
    x, y = colours(classes=max(2, LOSSES[loss]))
    names = np.array(["red", "green", "blue"][: y.max() + 1])
    np.savez(folder / "x.npz", x_train=x, y_train=y, class_names=names)
    path = folder / "c.yaml"
    text = CONFIG.replace("PATH", str(folder / "x.npz")).replace("LOSS", loss).replace("UNITS", str(LOSSES[loss]))
    path.write_text(text)
    run = RunDir(Path(done("fit", path, "--runs-dir", folder, "--json").json["run"]))
    found = restore(run, "last", "cpu")
    return Judge("it", run.path, found.model, found.loss, found.checkpoint.preprocessing, found.device, batch_size=16)


@pytest.mark.parametrize("loss", LOSSES)
def test_it_says_what_its_run_predicts(loss: str, tmp_path: Path) -> None:
    judge, (x, _) = judge_of(tmp_path, loss), colours()
    said = judge(x / 255)
    expected = predict(judge.network, judge.loss, judge.learned.ready(x), judge.device, 16)
    np.testing.assert_allclose(said.probabilities, expected, rtol=1e-5)
    assert said.probabilities.shape == (40, max(2, LOSSES[loss])) and said.features.shape == (40, 6)
    weights = judge.network.weights()
    logits = said.features @ weights["dense2.weight"] + weights["dense2.bias"]
    assert loss == "binary_cross_entropy" or np.ptp(logits - np.log(said.probabilities), axis=1).max() < 1e-5
    if loss == "binary_cross_entropy":
        np.testing.assert_allclose(1 / (1 + np.exp(-logits[:, 0])), said.probabilities[:, 1], rtol=1e-4)
    assert judge.weights_sha256 == json.loads((judge.run / "status.json").read_text())["weights_sha256"]


def test_grey_pictures_are_coloured_for_it_and_classes_have_numbers(tmp_path: Path) -> None:
    judge, (x, _) = judge_of(tmp_path, "cross_entropy"), colours()
    grey = x[..., :1] / 255
    np.testing.assert_array_equal(judge(grey).features, judge(grey.repeat(3, axis=3)).features)
    assert [judge.number_of(name) for name in ("blue", "red", "pink")] == [2, 0, None]
    assert judge.problem_with((8, 8, 1)) is judge.problem_with((8, 8, 3)) is None
    for shape in ((8, 9, 3), (8, 8, 2), (16, 16, 3)):
        assert f"takes (8, 8, 3), no pictures of shape {shape}" in str(judge.problem_with(shape))
    judge.loss.classification = False
    assert "tells no classes" in str(judge.problem_with((8, 8, 3)))
