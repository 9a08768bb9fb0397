"""Pictures of a game while it trains, afterwards, and measured: true to the networks, without a trace in the bits."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import dltrain, done
from PIL import Image

from dltrain.data import Digits
from dltrain.evaluation.pictures import Pictures
from dltrain.metrics.distributions import frechet_distance
from dltrain.metrics.pictures import nearest, spread
from dltrain.report.grid import draw_values, png, to_bytes
from dltrain.run.rundir import RunDir
from dltrain.spec import examples_of, find_judges, loads, restore

Array = np.ndarray[Any, Any]
JUDGE = """
data: {type: digits, normalize: signed}
model: {layers: [flatten, {dense: 12}, {dense: {units: 10, activation: none}}]}
optimizer: {type: adam, lr: 1e-2}
train: {max_steps: 60, batch_size: 64}
"""
GAN = """
data: {type: digits, normalize: signed}
networks:
  generator: [{dense: 32}, {dense: {units: 64, activation: tanh}}, {reshape: [8, 8, 1]}]
  discriminator: [flatten, {dense: {units: 32, activation: leaky_relu}}, {dense: {units: 1, activation: none}}]
values:
  noise: {normal: 4}
  fake: {generator: noise}
updates:
  discriminator:
    - binary_cross_entropy: {of: {discriminator: image}, target: 1}
    - binary_cross_entropy: {of: {discriminator: fake}, target: 0}
  generator:
    - binary_cross_entropy: {of: {discriminator: fake}, target: 1}
optimizer: {type: adam, lr: 2e-3}
train: {max_steps: 25, batch_size: 50}
"""
SHOW = "show: {pictures: [fake, image], every: 10, count: 5}\n"
METRICS = """
metrics:
  pictures:
    - frechet: {of: fake, to: image, in: reader, examples: 200}
    - class_entropy: {of: fake, in: reader}
    - recognised: {of: fake, in: reader, as: '3', to: image}
    - recognised: {of: image, in: reader, as: label, name: read}
    - spread: {of: fake, to: image}
    - nearest: {of: fake, to: image}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs: `plain`, the game without pictures; `shown`, with all; `reader`, the judge."""
    path = tmp_path_factory.mktemp("pictures")
    configs = {"reader": JUDGE, "plain": GAN, "shown": GAN + SHOW + METRICS}
    for name, text in configs.items():
        (path / f"{name}.yaml").write_text(text)
        done("fit", path / f"{name}.yaml", "--runs-dir", path / "runs", "--threads", 2)
    return path


def run_of(folder: Path, name: str) -> RunDir:
    (path,) = (folder / "runs").glob(f"*-{name}")
    return RunDir(path)


def samples(run: RunDir) -> dict[int, bytes]:
    return {step: run.sample(step).read_bytes() for step in run.sampled_steps()}


def pictures_of(folder: Path, name: str) -> Pictures:
    found = restore(run_of(folder, name), "last", "cpu")
    return Pictures(found.values, found.checkpoint.preprocessing, found.device, 50)


def digits(split: str) -> Array:
    """(N, 8, 8, 1) from black to white."""
    return Digits().load(Path())[split].inputs / 16


def test_pictures_change_nothing_of_the_training(folder: Path) -> None:
    plain, shown = (run_of(folder, name) for name in ("plain", "shown"))
    assert plain.result()["weights_sha256"] == shown.result()["weights_sha256"]
    assert list(samples(shown)) == [0, 10, 20, 25] and not plain.samples.exists()
    assert len(set(samples(shown).values())) == 4, "at every step others"


def test_threads_and_interruptions_leave_the_same_pictures(folder: Path) -> None:
    expected = samples(run_of(folder, "shown"))
    words = (folder / "shown.yaml", "--runs-dir", folder / "runs", "--threads", 1, "--name", "halted")
    done("fit", *words, "--max-steps", 14, "checkpoint.every_steps=5")
    run = run_of(folder, "halted")
    assert list(samples(run)) == [0, 10, 14]
    for later in (14, 20):  # as if it had been killed later than it was saved
        run.write(run.sample(later), b"of a future that never was")
    for path in run.checkpoints.glob("step-00000014*"):
        path.unlink()
    done("fit", "--resume", run.path, "train.max_steps=25", "--threads", 3)
    assert samples(run) == expected


def test_a_grid_of_a_value_is_what_the_network_makes(folder: Path) -> None:
    made = pictures_of(folder, "shown").make(["fake"], None, 5)["fake"]
    path = folder / "grid.png"
    words = ("predict", run_of(folder, "shown").path, "--value", "fake", "--count", 5, "--output", path)
    assert done(*words).out == f"{path}\n"
    sheet = np.asarray(Image.open(path))[..., 0]
    for number, picture in enumerate((made[..., 0] * 255).round().astype(np.uint8)):
        left = 12 + 8 + number * 80
        np.testing.assert_array_equal(sheet[42 : 42 + 72 : 9, left : left + 72 : 9], picture)
    first = path.read_bytes()
    done(*words)
    assert path.read_bytes() == first, "the same each time"
    found = done(*words, "--seed", 1, "--json").json
    assert found == {"run": str(words[1]), "values": ["fake"], "count": 5, "picture": str(path)}
    assert path.read_bytes() != first, "with another seed others"


def test_what_is_made_of_noise_needs_no_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Digits, "load", lambda *args, **settings: pytest.fail("the data set was read"))
    done("predict", run_of(folder, "shown").path, "--value", "fake", "--output", folder / "a.PNG")


def test_pictures_are_in_the_units_of_the_data(folder: Path) -> None:
    """Black is 0 and white is 1, however the network has them."""
    made_by = pictures_of(folder, "shown")
    expected = digits("test")[:7]
    loader_of = {}
    for normalize in ("signed", "unit", "channel", "none"):
        config = folder / f"{normalize}.yaml"
        config.write_text(GAN.replace("signed", normalize).replace("max_steps: 25", "max_steps: 1"))
        done("fit", config, "--runs-dir", folder / "runs")
        found = restore(run_of(folder, normalize), "last", "cpu")
        loader_of[normalize], _ = examples_of(found, "test", Path())
        made_by = Pictures(found.values, found.checkpoint.preprocessing, found.device, 3)
        np.testing.assert_allclose(made_by.make(["image"], loader_of[normalize], 7)["image"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--value", "fakes"], "--value fakes: no picture is called so in {run}; did you mean 'fake'? allowed: {all}"),
        (["--value", "noise"], "--value noise: no picture is called so in {run}; allowed: {all}"),
        (["--value", "fake", "--output", "a.csv"], "a.csv: the name must end in .png, which says how it is written"),
        (["--value", "fake", "--output"], None),
        (["x.png", "--value", "fake"],
         "--value with INPUT is for pictures that networks make of it; {run} makes none"),
    ],
)  # fmt: skip
def test_mistakes_of_predict(words: list[str], message: str | None, folder: Path) -> None:
    run = run_of(folder, "shown").path
    said = dltrain("predict", run, *words)
    assert said.code == 2
    if message is not None:
        assert said.errors == [message.format(run=run, all="image, fake")]


# --- figures ---------------------------------------------------------------------------------------------------------


def figures(run: RunDir, split: str = "test") -> dict[str, Any]:
    kept = json.loads((run.path / "eval" / f"{split}-pictures.json").read_text())
    return {row["name"]: row for row in kept["figures"]}


def test_figures_are_those_of_the_pictures(folder: Path) -> None:
    run = run_of(folder, "shown")
    found, made_by = figures(run), pictures_of(folder, "shown")
    spec = loads((folder / "shown.yaml").read_text())
    judge = find_judges(spec, folder / "runs", "cpu")["reader"]
    test, train = digits("test"), digits("train")
    fake = made_by.make(["fake"], None, 1000)["fake"]
    row = found["frechet/fake"]
    features = {name: judge(x[:200]).features for name, x in (("fake", fake), ("test", test), ("train", train))}
    assert row["value"] == pytest.approx(frechet_distance(features["fake"], features["test"]), rel=1e-4)
    assert row["baselines"]["real"] == pytest.approx(frechet_distance(features["train"], features["test"]), rel=1e-4)
    assert row["baselines"].keys() == {"real", "noise", "mean picture"} and row["examples"] == 200
    assert row["baselines"]["noise"] > row["baselines"]["real"] < row["value"]
    assert found["spread/fake"]["value"] == pytest.approx(spread(fake), rel=1e-4)
    assert found["spread/fake"]["baselines"]["real"] == pytest.approx(spread(test[:1000]), rel=1e-4)
    assert found["spread/fake"]["baselines"]["mean picture"] == pytest.approx(0, abs=1e-6)
    assert found["nearest/fake"]["value"] == pytest.approx(nearest(fake, train), rel=1e-4)
    assert found["nearest/fake"]["baselines"]["real"] == pytest.approx(nearest(test[:1000], train), rel=1e-4)
    said = judge(fake).probabilities
    assert found["recognised/fake"]["value"] == (said.argmax(axis=1) == 3).mean()
    assert found["class_entropy/fake"]["baselines"].keys() == {"noise"}, "without real pictures"
    labels = Digits().load(Path())["test"].targets[:1000]
    assert found["read"]["value"] == (judge(test[:1000]).probabilities.argmax(axis=1) == labels).mean() > 0.5
    assert found["read"]["baselines"].keys() == {"noise"}
    assert run.result()["pictures"] == {name: row["value"] for name, row in found.items()}


def test_the_judge_is_named_by_its_weights(folder: Path) -> None:
    run, judge = run_of(folder, "shown"), run_of(folder, "reader")
    digest = judge.result()["weights_sha256"]
    assert f"judge reader: {judge.path}, weights sha256 {digest}\n" in run.log.read_text()
    kept = json.loads((run.path / "eval" / "test-pictures.json").read_text())
    assert kept["judges"] == {"reader": {"run": str(judge.path), "weights_sha256": digest}}
    assert (kept["split"], kept["checkpoint"], kept["same_data"]) == ("test", "last", True)


def test_eval_measures_the_same_and_shows_it(folder: Path) -> None:
    run = run_of(folder, "shown")
    before = figures(run)
    said = done("eval", run.path, "--json")
    assert figures(run) == before and said.json["pictures"]["figures"] == [*before.values()]
    shown = done("eval", run.path)
    lines = [line.split() for line in shown.out.splitlines()]
    assert ["figure", "value", "real", "noise", "mean", "picture", "better"] in lines
    row = before["spread/fake"]
    assert [row["name"], f"{row['value']:.4f}", f"{row['baselines']['real']:.4f}"] in [line[:3] for line in lines]
    assert "not with published values" in shown.err
    page = (run.path / "report.html").read_text()
    assert "spread/fake" in page and "not with published values" in page and "reader is" in page


def test_the_training_part_is_halved_where_nothing_is_held_out(folder: Path) -> None:
    run = run_of(folder, "shown")
    done("eval", run.path, "--split", "train")
    row = figures(run, "train")["nearest/fake"]
    train = digits("train")
    half = len(train) // 2
    expected = nearest(train[half : half + 1000], train[:half])
    assert row["baselines"]["real"] == pytest.approx(expected, rel=1e-4)


def test_without_its_judge_nothing_begins(folder: Path, tmp_path: Path) -> None:
    """But a smoke test does, and says what it left out."""
    config = folder / "shown.yaml"
    text = config.read_text()
    line = 1 + text[: text.index("in: reader")].count("\n")
    column = 1 + text.splitlines()[line - 1].index("reader")
    said = dltrain("fit", config, "--runs-dir", tmp_path / "empty")
    assert said.code == 2 and len(said.errors) == 1
    assert said.errors[0].startswith(f"{config}:{line}:{column}  metrics.pictures[0].in: ")
    assert said.errors[0].endswith("it judges pictures, so train it first: dltrain fit CONFIG --name reader")
    assert not (tmp_path / "empty").exists()
    shipped = tmp_path / "shipped.yaml"
    shipped.write_text(text.replace("in: reader", "in: digits_cnn"))
    assert dltrain("fit", shipped, "--runs-dir", tmp_path).errors[0].endswith("train it first: dltrain fit digits_cnn")
    said = done("fit", config, "--smoke", "--runs-dir", tmp_path, "--json")
    assert "left out, metrics.pictures[0].in" in said.err
    assert said.json["pictures"].keys() == {"spread/fake", "nearest/fake"}


WRONG = [
    ("frechet: {of: fakes, to: image, in: reader}", "of", "there is no value 'fakes'; did you mean 'fake'? allowed: "),
    ("spread: {of: noise, to: image}", "of", "noise has shape (4,); a picture is (height, width, 1 or 3)"),
    ("spread: {of: fake, to: label}", "to", "label has shape (); a picture is (height, width, 1 or 3)"),
    ("ssim: {of: fake, to: image}", "of", "ssim looks at windows of 11 x 11 pixels; fake is smaller"),
    ("recognised: {of: fake, in: reader, as: nine}", "as", "tells no 'nine'; allowed: 0, 1"),
    ("recognised: {of: fake, in: reader, as: image}", "as", "image is not the class of an example"),
    ("spread: {of: fake, to: image, where: {value: image}}", "where", "takes `colour: [RED, GREEN"),
    ("spread: {of: fake, to: image, where: {value: image, colour: [0, 0, 0]}}", "where.colour", "image is grey"),
    ("spread: {of: fake, to: image, name: read}", "", "two figures are called 'read'; give one of them a `name`"),
]  # fmt: skip


@pytest.mark.parametrize(("figure", "where", "message"), WRONG)
def test_mistakes_in_a_config(figure: str, where: str, message: str, folder: Path) -> None:
    config = folder / "wrong.yaml"
    first = "spread: {of: fake, to: image, name: read}"
    config.write_text(f"{GAN}metrics:\n  pictures:\n    - {first}\n    - {figure}\n")
    said = dltrain("fit", config, "--runs-dir", folder / "runs")
    path = "metrics.pictures[1]" + (f".{where}" if where else "")
    assert said.code == 2 and any(f"  {path}: " in error and message in error for error in said.errors), said.err


def test_a_value_to_show_must_be_a_picture(folder: Path) -> None:
    (folder / "wrong.yaml").write_text(GAN + "show: {pictures: [fake, nois]}\n")
    said = dltrain("validate", folder / "wrong.yaml")
    assert said.code == 2 and "show.pictures[1]: there is no value 'nois'; did you mean 'noise'?" in said.errors[0]


def test_averaged_weights_make_the_pictures(folder: Path) -> None:
    """As `eval` and `predict` take them."""
    config = folder / "averaged.yaml"
    config.write_text(GAN.replace("max_steps: 25", "max_steps: 25, average: 0.9") + SHOW)
    done("fit", config, "--runs-dir", folder / "runs")
    run = run_of(folder, "averaged")
    restored = restore(run, "last", "cpu")
    loader, _ = examples_of(restored, "test", Path())
    assert restored.checkpoint.average
    shades = pictures_of(folder, "averaged").make(["fake", "image"], loader, 5)
    sheet = draw_values("fake, image after 25 steps", {name: to_bytes(x) for name, x in shades.items()})
    assert samples(run)[25] == png(sheet)
    assert samples(run)[25] != samples(run_of(folder, "shown"))[25]


COPIER = """
data: {type: digits, normalize: signed}
networks:
  copier: [{conv: {channels: 1, kernel: 1, activation: tanh}}]
updates:
  copier: [mae: {of: {copier: image}, target: image}]
values: {copied: {copier: image}}
train: {max_steps: 1}
metrics: {pictures: [recognised: {of: copied, in: reader, as: label}]}
"""


def test_runs_of_a_group_are_judged_by_one_beside_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(COPIER)
    shutil.copytree(run_of(folder, "reader").path, tmp_path / "reader")
    group = Path(done("fit", tmp_path / "c.yaml", "--runs-dir", tmp_path, "--seeds", 2, "--json").json["group"])
    members = [RunDir(path) for path in group.glob("*-seed*")]
    assert len(members) == 2 and all(figures(run)["recognised/copied"]["baselines"]["copy"] > 0.5 for run in members)
