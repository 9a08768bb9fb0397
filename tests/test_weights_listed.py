"""`dltrain weights`: what a run's weights are like, by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import dltrain, done
from PIL import Image

from dltrain.report.weights import draw_weights, statistics
from dltrain.run.rundir import RunDir


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    words = ["--max-steps", 2, "checkpoint.every_steps=1", "checkpoint.keep=9"]
    return Path(done("fit", "smoke", *words, "--runs-dir", runs, "--json").json["run"])


def test_every_array_of_the_checkpoint_is_listed(run: Path, tmp_path: Path) -> None:
    found: dict[str, Any] = {row.pop("name"): row for row in done("weights", run, "--json").json["weights"]}
    kept = RunDir(run).checkpoint("last").weights
    assert list(found) == list(kept)
    for name, array in kept.items():
        row = found[name]
        assert row["shape"] == list(array.shape) and row["zeros"] == np.count_nonzero(array == 0)
        figures = [row[key] for key in ("mean", "sd", "min", "max")]
        assert figures == pytest.approx([f(array.astype(float)) for f in (np.mean, np.std, np.min, np.max)])
    said = done("weights", run, "--layer", "dense1", "--output", tmp_path / "w.png").out.splitlines()
    assert [line.split()[0] for line in said[1:]] == ["dense1.bias", "dense1.weight"]
    with Image.open(tmp_path / "w.png") as picture:
        assert picture.format == "PNG"
    wrong = dltrain("weights", run, "--layer", "dense")
    assert wrong.code == 2 and "this run has those of conv1, dense1" in wrong.errors[0]


def test_exact_zeros_are_counted_and_drawn_in_a_colour_of_their_own() -> None:
    last = np.array([[0.0, 1e-9, 2.0], [-2.0, 0.0, np.nan]], np.float32)
    assert statistics(last) == {"shape": [2, 3], "mean": None, "sd": None, "min": None, "max": None, "zeros": 2}
    colours = {colour for _, colour in draw_weights({"w": np.nan_to_num(last)}, 2, {}, 1).getcolors() or []}
    assert {(205, 205, 205), (36, 90, 146), (178, 80, 13)} <= colours
    grey = [dict(map(reversed, draw_weights({"w": last}, 2, first, 1).getcolors() or []))[205, 205, 205]
            for first in ({}, {"w": last * 3})]  # fmt: skip
    assert grey[1] == pytest.approx(2 * grey[0], rel=0.05), "the first one stands beside it"
