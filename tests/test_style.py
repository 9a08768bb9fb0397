"""Style: losses of pictures by their formulas, a picture that is trained, and an eye that is not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import plain_style
import pytest
from commands import dltrain, done
from PIL import Image

from dltrain import ops
from dltrain.data import SOURCES
from dltrain.data.pictures.painting import Pictures
from dltrain.engine import Tensor
from dltrain.errors import DataError
from dltrain.nn import LOSSES
from dltrain.run.rundir import RunDir, figures_file

Array = Any
SHAPE = (2, 3, 4, 5)


def numbers(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape or SHAPE)


def test_losses_of_pictures_are_known() -> None:
    """test_ops.py holds their ops against the formulas."""
    x, t = numbers(0), numbers(1)
    found = {name: LOSSES[name] for name in LOSSES if LOSSES[name].of_pictures}  # type: ignore[attr-defined]
    assert {*found} == {"gram", "content", "total_variation"}
    for name, loss in found.items():
        settings = {} if name == "total_variation" else {"targets": t}
        expected = getattr(plain_style, name)(x, **settings, count=7)
        assert float(loss()(Tensor(x), t, 7).data) == pytest.approx(expected, rel=1e-12)


def test_the_texture_does_not_ask_where() -> None:
    """Neither the order of the positions nor their number; a content of another size is refused."""
    x, wide = numbers(0), np.concatenate([numbers(0)] * 2, axis=2)
    shuffled = x.reshape(2, 12, 5)[:, ::-1].reshape(SHAPE)
    assert float(ops.gram(Tensor(x), targets=shuffled).data) == pytest.approx(0, abs=1e-20)
    assert float(ops.gram(Tensor(x), targets=wide).data) == pytest.approx(0, abs=1e-20)
    for name, function in (("content", ops.content), ("gram", ops.gram)):
        with pytest.raises(ValueError, match=f"{name} takes"):
            function(Tensor(x), targets=numbers(0, 2, 3, 4, 6))


# --- data -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a photograph, wider than high, and a painting."""
    monkeypatch.chdir(tmp_path)
    for name, size, seed in (("photo.png", (40, 24), 0), ("paint.png", (30, 50), 1)):
        small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(name)
    return tmp_path


def pixels(name: str, size: tuple[int, int] | None = None) -> Array:
    with Image.open(name) as file:
        return np.asarray(file.resize(size or file.size, Image.Resampling.BILINEAR))


def test_pictures_are_cut_from_the_middle(here: Path) -> None:
    source = Pictures(content=("photo.png",), style="paint.png", size=24, times=3, test_content=("paint.png",))
    splits = source.load(here)
    assert splits["train"].inputs.shape == (3, 24, 24, 3) and source.classes == ("photo", "paint")
    whole = pixels("photo.png")
    assert np.array_equal(splits["train"].inputs[2], whole[:, 8:32])
    assert splits["test"].targets.tolist() == [1] and np.array_equal(
        splits["test"].inputs[0], splits["train"].values["style"][0]
    )
    crops = Pictures(content=("photo.png", "paint.png"), style="paint.png", size=16, crops=5).load(here)["train"]
    assert crops.inputs.shape == crops.values["style"].shape == (5, 16, 16, 3)
    assert crops.targets.tolist() == [0, 1, 0, 1, 0] and not np.array_equal(crops.inputs[0], crops.inputs[2])
    with pytest.raises(DataError, match=r"gone\.png: no such file, neither here nor in"):
        SOURCES["pictures"](content=("gone.png",), style="paint.png").load(here)


# --- a picture that is trained --------------------------------------------------------------------------------------

STYLE = """\
data: {type: pictures, content: [photo.png], style: paint.png, size: 16, times: 8, normalize: signed}
networks:
  eye: {trainable: false, layers: [conv: {channels: 6, name: first}, conv: {channels: 6, name: second}]}
  canvas: [picture: content]
values: {painting: canvas}
updates:
  canvas:
    - gram: {of: {eye: painting}, target: {eye: style}, at: [first]}
    - content: {of: {eye: painting}, target: {eye: content}, at: [first], weight: 0.01}
    - total_variation: {of: painting, weight: 0.01}
optimizer: {type: adam, lr: 0.05}
train: {epochs: 4, batch_size: 1}
show: {pictures: [content, style, painting], every: 16}
"""


def fit(*words: object) -> RunDir:
    return RunDir(Path(done("fit", "style.yaml", "--json", *words).json["run"]))


def test_a_photograph_takes_the_texture_of_a_painting(here: Path) -> None:
    """It starts as the photograph, the eye stays as it was, and any number of threads and a break change no bit."""
    Path("style.yaml").write_text(STYLE)
    run = fit("--threads", 1, "checkpoint.every_steps=5")
    losses = [row["train"]["loss"] for row in run.rows(run.metrics) if row["event"] == "epoch"]
    assert losses[-1] < 0.3 * losses[0]
    frozen = fit("optimizer.lr=1e-30", "train.epochs=1").checkpoint("last").weights
    photo = pixels("photo.png", (26, 16))[:, 5:21]
    np.testing.assert_allclose(frozen["canvas.picture1.weight"], photo / 127.5 - 1, atol=0.02)
    after = run.checkpoint("last").weights
    assert all(np.array_equal(frozen[name], after[name]) for name in after if name.startswith("eye."))
    half = fit("--threads", 2, "train.max_steps=13")
    done("fit", "--resume", half.path, "train.max_steps=null", "--threads", 1)
    assert half.status()["weights_sha256"] == run.status()["weights_sha256"]
    done("predict", run.path, "--value", "painting", "--count", 1, "--output", "p.png")
    assert pixels("p.png").shape[1] > 16


JUDGE = """\
data: {type: pictures, content: [photo.png, paint.png], style: paint.png, size: 8, times: 4}
model: {layers: [conv: {channels: 4, name: first}, conv: {channels: 4, name: second}, flatten, dense: {units: 2}]}
train: {epochs: 1, batch_size: 4}
"""
NETWORK = """\
data:
  {type: pictures, content: [photo.png], test_content: [paint.png], style: paint.png, size: 16, crops: 12,
   normalize: signed}
networks:
  eye: {trainable: false, layers: [conv: {channels: 6, name: first}]}
  painter:
    - conv: {channels: 4, stride: 2, padding: 1, norm: instance_norm}
    - upsample: 2
    - conv: {channels: 3, padding: same, activation: tanh}
values: {painting: {painter: content}}
updates:
  painter:
    - gram: {of: {eye: painting}, target: {eye: style}, at: [first]}
train: {epochs: 1, batch_size: 4}
metrics:
  pictures:
    - gram: {of: painting, to: style, in: judge, at: [first, second]}
    - content: {of: painting, to: content, in: judge, at: [second]}
"""


def test_a_network_paints_pictures_of_any_size_and_a_judge_of_another_size_looks_at_them(here: Path) -> None:
    Path("judge.yaml").write_text(JUDGE)
    Path("style.yaml").write_text(NETWORK)
    done("fit", "judge.yaml")
    run = fit()
    rows = {row["figure"]: row for row in json.loads((run.path / figures_file("test")).read_text())["figures"]}
    assert {*rows["gram"]["baselines"]} == {"noise", "copy", "colours matched", "histograms matched"}
    assert rows["content"]["baselines"]["copy"] == 0 < rows["content"]["value"]
    # the test picture is the painting itself
    assert (
        [rows["gram"]["baselines"][name] for name in ("copy", "histograms matched")] == [0, 0] < [rows["gram"]["value"]]
    )
    for height, width in ((16, 16), (31, 17)):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)).save("any.png")
        said = done("predict", run.path, "any.png", "--output", "out.png", "--json").json
        assert said["value"] == "painting" and pixels("out.png").shape == (height, width, 3)
    for words, what in (
        (("any.png",), "painting is a picture; --output FILE.png says where it goes"),
        (("any.png", "--value", "content", "--output", "o.png"), "allowed: painting"),
        (("any.png", "photo.png", "--output", "o.png"), "2 pictures are given; --output FILE.png is for one"),
        (("any.png", "--output", "o.csv"), "the name must end in .png"),
    ):
        said_wrong = dltrain("predict", run.path, *words)
        assert said_wrong.code == 2 and what in said_wrong.err, said_wrong.err
    for at, what in (
        ("third", "no such layer of positions 'third'"),
        ("dense1", "no such layer of positions 'dense1'"),
    ):
        said_wrong = dltrain("fit", "style.yaml", f"metrics.pictures.1.at=[{at}]")
        assert said_wrong.code == 2 and what in said_wrong.err, said_wrong.err


def test_a_run_that_is_loaded_by_name_lies_in_runs_dir(here: Path) -> None:
    Path("judge.yaml").write_text(JUDGE)
    Path("again.yaml").write_text(JUDGE.replace("model: {", "model: {load: judge, "))
    first = Path(done("fit", "judge.yaml", "--runs-dir", "else", "--json").json["run"])
    said = done("fit", "again.yaml", "--runs-dir", "else", "--json", "optimizer.lr=1e-30")
    assert "start values from else/" in said.err
    weights = [RunDir(path).checkpoint("last").weights for path in (first, Path(said.json["run"]))]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert dltrain("fit", "again.yaml").code == 2, "in `runs` there is none"
    done("fit", "again.yaml", "--runs-dir", "else", "--seeds", "2")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("networks.canvas=[picture: photo]", "there is no value 'photo' in the data; allowed: content, label, style"),
        ("networks.canvas=[picture: label]", "a picture is (height, width, channels), but label is ()"),
        ("updates.canvas.minimise.2.target=0", "total_variation takes no `target`"),
        ("updates.canvas.minimise.1.target=0", "content compares positions of a picture (H, W, C) with those of"),
        ("~updates.canvas.minimise.0.target", "gram needs a `target`"),
        ("updates.canvas.minimise.0.at=[third]", "is made by no layer 'third'; allowed: first, second"),
    ],
)
def test_what_cannot_be_painted_is_told(change: str, what: str, here: Path) -> None:
    Path("style.yaml").write_text(STYLE)
    said = dltrain("fit", "style.yaml", change)
    assert said.code == 2 and what in said.err, said.err


def test_a_lone_model_has_no_such_loss(here: Path) -> None:
    Path("m.yaml").write_text("data: digits\nmodel: {layers: [flatten, dense: 10]}\nloss: gram\n")
    said = dltrain("validate", "m.yaml")
    assert said.code == 2 and "m.yaml:3:7  loss: gram is for pictures, a part of what `updates` minimise" in said.err
