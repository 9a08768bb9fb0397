"""Pictures made from pictures: compared with copies, in regions, over several data sets, each in its own units."""

from pathlib import Path

import numpy as np
import pytest
from commands import dltrain, done
from test_pictures import GAN, METRICS, SHOW, figures, samples

from dltrain.data.pictures.faces import Faces
from dltrain.evaluation.pictures import Pictures
from dltrain.metrics.figures import FIGURES
from dltrain.run.rundir import RunDir
from dltrain.spec import examples_of, loads, restore
from dltrain.spec.shipped import find_config

PAINTER = """
data: {type: npz, path: PATH, normalize: signed}
networks:
  painter: [{conv: {channels: 3, kernel: 1, activation: tanh}}]
values:
  painted: {painter: image}
updates:
  painter: [mae: {of: painted, target: image}]
train: {max_steps: 3, batch_size: 8}
metrics:
  pictures:
    - mae: {of: painted, to: image}
    - psnr: {of: painted, to: image}
    - ssim: {of: painted, to: image}
    - histogram: {of: painted, to: image}
    - spread: {of: painted, to: image, where: {value: image, colour: [0, 255, 0]}}
    - mae: {of: painted, to: image, where: {value: image, like: painted}, name: same}
"""


def test_a_copy_of_the_input_and_regions_stand_beside(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 12, 12, 3)).astype(np.uint8)
    x[:, :4] = [0, 255, 0]
    x[5:9, :4] = [0, 230, 0]
    np.savez(tmp_path / "x.npz", x_train=x[20:], y_train=np.arange(40) % 2, x_test=x[:20], y_test=np.arange(20) % 2)
    (tmp_path / "c.yaml").write_text(PAINTER.replace("PATH", str(tmp_path / "x.npz")))
    run = RunDir(Path(done("fit", tmp_path / "c.yaml", "--runs-dir", tmp_path, "--json", "--debug").json["run"]))
    found = figures(run)
    assert found["mae/painted"]["baselines"]["copy"] == 0 < found["mae/painted"]["value"]
    assert found["psnr/painted"]["baselines"]["copy"] == 100 and found["ssim/painted"]["baselines"]["copy"] == 1
    assert "real" not in found["mae/painted"]["baselines"] and found["histogram/painted"]["baselines"]["copy"] == 1
    green = found["spread/painted"]
    assert green["baselines"]["copy"] == green["baselines"]["real"] == pytest.approx(0, abs=1e-6)
    assert green["baselines"]["noise"] > 0.02
    assert found["same"]["value"] is None or found["same"]["value"] < 0.5 / 255
    done("predict", run.path, "--value", "painted", "--count", 3, "--output", tmp_path / "a.png")
    assert done("predict", run.path, "--value", "painted", "--output", tmp_path / "a.png", "--json").json["values"] == [
        "image", "painted",
    ]  # fmt: skip


def test_every_figure_can_be_written_in_a_config() -> None:
    written = METRICS + PAINTER + find_config("style_picture").read_text()
    assert {*FIGURES} == {name for name in FIGURES if f" {name}:" in written}


def test_a_lone_model_shows_its_examples(tmp_path: Path) -> None:
    words = ("fit", "smoke", "--max-steps", 1, "data.validation=3700", "show.pictures=[image]", "show.count=2")
    run = RunDir(Path(done(*words, "--runs-dir", tmp_path, "--json").json["run"]))
    assert run.sampled_steps() == [0, 1] and len(set(samples(run).values())) == 2, "of other steps"


def test_a_training_keeps_no_more_pictures_than_a_disk_can_hold(tmp_path: Path) -> None:
    words = ("fit", "smoke", "show={pictures: [image], every: 2}", "train={epochs: 9999, max_steps: 5000}")
    said = dltrain(*words, "--runs-dir", tmp_path)
    assert said.code == 2
    assert "show.every: pictures would be kept 2,500 times; 5 steps or more are enough" in said.errors[0]
    assert list(tmp_path.iterdir()) == []


def test_a_resolved_config_says_the_same() -> None:
    for text in (GAN + SHOW + METRICS, PAINTER):
        spec = loads(text)
        again = loads(spec.to_yaml())
        assert (again.metrics, again.show) == (spec.metrics, spec.show) and spec.figures


TWO = """
data:
  plain: {type: faces, pairs: glasses, only: {glasses: no}, normalize: signed}
  glasses: {type: faces, pairs: glasses, only: {glasses: yes}}
networks: {take_off: [conv: {channels: 3, kernel: 1, activation: tanh}]}
values: {bare: {take_off: glasses}}
updates: {take_off: [mae: {of: bare, target: plain}]}
train: {max_steps: 1, batch_size: 16}
metrics:
  pictures:
    - mae: {of: bare, to: glasses.counterpart, examples: 50}
    - mae: {of: bare, to: plain, where: {value: glasses, like: glasses.counterpart}, examples: 50, name: elsewhere}
"""


def test_pictures_of_several_data_sets_and_of_further_values(tmp_path: Path) -> None:
    """Each in the units that it has in the training."""
    (tmp_path / "two.yaml").write_text(TWO)
    run = RunDir(Path(done("fit", tmp_path / "two.yaml", "--runs-dir", tmp_path, "--json").json["run"]))
    sets = {name: Faces(pairs="glasses", only={"glasses": w}) for name, w in (("plain", "no"), ("glasses", "yes"))}
    splits = {name: faces.load(Path())["test"] for name, faces in sets.items()}
    expected = {name: split.inputs for name, split in splits.items()}
    expected |= {f"{name}.counterpart": split.values["counterpart"] for name, split in splits.items()}
    found = restore(run, "last", "cpu")
    made_by = Pictures(found.values, found.checkpoint.preprocessing, found.device, 3)
    for name, shades in made_by.make(expected, examples_of(found, "test", Path())[0], 7).items():
        np.testing.assert_allclose(shades, expected[name][:7] / 255, atol=1e-6, err_msg=name)
    assert made_by.source_of("bare") == "glasses"
    rows, bytes_of = figures(run), {name: pixels[:50].astype(float) for name, pixels in expected.items()}
    away = np.abs(bytes_of["glasses"] - bytes_of["glasses.counterpart"]).mean() / 255
    assert rows["mae/bare"]["baselines"]["copy"] == pytest.approx(away, rel=1e-5) and away > 0.02
    assert rows["elsewhere"]["baselines"]["copy"] < 0.5 / 255 < rows["elsewhere"]["value"]
