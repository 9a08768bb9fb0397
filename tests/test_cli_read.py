"""The commands that only look: `eval` and `predict` on trained runs, `validate`, `runs`, `env`."""

import csv
import gzip
import json
import os
import re
import shutil
import socket
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import dltrain, done, strict
from PIL import Image
from test_cifar_reader import batch, example
from test_cli_fit import write_regression
from test_data import idx

from dltrain import __version__
from dltrain.data import Digits, Split
from dltrain.metrics.settings import CLASSES
from dltrain.run.files import Lock

Row = dict[str, Any]
SMALL = {
    "cifar_cnn": [f"model.layers.{layer}=4" for layer in ("conv1.channels", "conv2.channels", "conv3.channels",
                                                          "conv4.channels", "dense1.units")],
    "mnist_lenet5": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Row:
    """What `fit` said of three epochs, of which the last, with a far higher learning rate, is not the best."""
    changes = ["data.validation=3700", "~train.max_steps", "train.epochs=3", "schedule={step: {every: 2, factor: 20}}"]
    return done("fit", "smoke", *changes, "--runs-dir", tmp_path_factory.mktemp("runs"), "--json").json


@pytest.fixture(scope="module")
def run(trained: Row) -> Path:
    return Path(trained["run"])


@pytest.fixture(scope="module")
def test_digits() -> Split:
    return Digits().load(Path(), only="test")["test"]


def rows_of(run: Path, event: str) -> list[Row]:
    return [row for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if row["event"] == event]


# --- eval --------------------------------------------------------------------------------------------------------


def test_eval_says_what_fit_said(trained: Row, run: Path) -> None:
    epochs = [row["validation"] for row in rows_of(run, "epoch")]
    best = min(epochs, key=lambda found: found["loss"])
    assert best != epochs[-1] == trained["validation"], "nothing to tell best and last apart by"
    for expected, words in (
        (trained["test"], []),
        (epochs[-1], ["--split", "validation", "--threads", 1]),
        (best, ["--split", "validation", "--checkpoint", "best"]),
    ):
        found = done("eval", run, *words, "--json").json
        assert {key: found[key] for key in ("loss", "accuracy")} == expected


@pytest.mark.parametrize(("split", "examples"), [("test", 1797), ("validation", 3700), ("train", 123)])
def test_eval_by_class(split: str, examples: int, run: Path) -> None:
    found = done("eval", run, "--split", split, "--json").json
    more = ("examples", "same_data", "intervals", "baselines", "averages", "per_class", "confusion")
    assert tuple(found) == ("run", "split", "loss", *CLASSES, *more)
    assert (found["run"], found["split"], found["examples"]) == (str(run), split, examples)
    confusion = np.array(found["confusion"])
    assert confusion.shape == (10, 10) and confusion.sum() == examples
    assert found["accuracy"] == np.trace(confusion) / examples
    for i, row in enumerate(found["per_class"]):
        right, of, taken = confusion[i, i], confusion[i].sum(), confusion[:, i].sum()
        rates = {"recall": right / of if of else None, "precision": right / taken if taken else None}
        rates["f1"] = 2 * right / (of + taken) if of + taken else None
        assert row == {"class": str(i), "examples": of, **rates}
    kept = strict((run / "eval" / f"{split}.json").read_text())
    analysed = found.keys() - {"run", "baselines"}
    assert {key: kept[key] for key in analysed} == {key: found[key] for key in analysed}
    assert kept["checkpoint"] == "last" and {"calibration", "mistakes"} <= kept.keys()


def test_eval_in_words_and_without_naming_the_run(run: Path) -> None:
    said = done("eval", "--runs-dir", run.parent)
    assert said.err == f"run {run}: last checkpoint on the test split, 1,797 examples\n"
    title, headline, _, about, *table = said.out.splitlines()
    assert headline.startswith("test  accuracy 0.") and "always the most common class 0.1" in headline
    assert re.fullmatch(r"test  loss [\d.]+  accuracy 0\.\d{4}  (\w+ 0\.\d{4}  )+\(1,797 examples\)", title)
    assert about.startswith("per class") and len(table) == 11 and "→9" in table[0]
    for name in ("latest", run.name, run.name[4:]):
        assert done("eval", name, "--runs-dir", run.parent, "--quiet").out == said.out


def write_cifar_test(folder: Path) -> None:
    (folder / "cifar-10-batches-py").mkdir()
    (folder / "cifar-10-batches-py" / "test_batch").write_bytes(batch(*example(7)))


def write_mnist_test(folder: Path) -> None:
    draw = np.random.default_rng(0)
    (folder / "mnist").mkdir()
    for name, array in (("images-idx3", draw.integers(0, 256, (7, 28, 28))), ("labels-idx1", draw.integers(0, 10, 7))):
        content = gzip.compress(idx(array.astype(np.uint8)))
        (folder / "mnist" / f"t10k-{name}-ubyte.gz").write_bytes(content)


@pytest.mark.parametrize(
    ("config", "write_test"), [("cifar_cnn", write_cifar_test), ("mnist_lenet5", write_mnist_test)]
)
def test_eval_needs_the_files_of_its_split_only(config: str, write_test: Any, tmp_path: Path) -> None:
    places = ["--data-dir", tmp_path, "--runs-dir", tmp_path / "runs"]
    done("fit", config, *SMALL[config], "train.batch_size=4", "--smoke", *places)
    write_test(tmp_path)
    found = done("eval", "--data-dir", tmp_path, "--runs-dir", tmp_path / "runs", "--json").json
    assert found["examples"] == 7
    said = dltrain("eval", "--split", "train", *places)
    assert said.code == 1 and re.match(r"\d of \d files are missing in .*(train-images|data_batch_1)", said.errors[0])


def test_a_data_set_that_has_changed(tmp_path: Path) -> None:
    config = write_regression(tmp_path, train=20, test=10)
    done("fit", config, "--runs-dir", tmp_path / "runs")
    found = done("eval", "--runs-dir", tmp_path / "runs", "--json").json
    assert tuple(found) == ("run", "split", "loss", "mae", "r2", "examples", "same_data", "intervals", "baselines")
    assert found["examples"] == 10
    said = dltrain("eval", "--runs-dir", tmp_path / "runs", "--split", "validation")
    remedy = "--split says which to take; data.validation: 0.2 in the config would cut one for the next training"
    assert (said.code, said.errors) == (1, [f"the data set has no validation split, only train and test: {remedy}"])
    x, y = np.ones((4, 3)), np.ones((4, 2))
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=x * 1e38, y_test=y)
    said = dltrain("eval", "--runs-dir", tmp_path / "runs")
    assert said.code == 3 and said.errors[0].startswith("the loss over these 4 examples is inf")
    np.savez(tmp_path / "data.npz", x_train=x[:, :2], y_train=y)
    said = dltrain("eval", "--runs-dir", tmp_path / "runs")
    assert said.code == 1 and "data set (npz) has changed since" in said.errors[0]


# --- predict -----------------------------------------------------------------------------------------------------


def test_predict_agrees_with_eval(run: Path, test_digits: Split, tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", x=test_digits.inputs)
    predictions = done("predict", run, tmp_path / "all.npz", "--json").json["predictions"]
    assert predictions[5]["input"] == f"{tmp_path / 'all.npz'}[5]"
    confusion = np.zeros((10, 10), int)
    for target, row in zip(test_digits.targets, predictions, strict=True):
        assert tuple(row) == ("input", "class", "probabilities")
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert row["class"] == max(row["probabilities"], key=row["probabilities"].__getitem__)
        confusion[target, int(row["class"])] += 1
    assert confusion.tolist() == done("eval", run, "--json").json["confusion"]


def test_predict_from_pictures(run: Path, test_digits: Split, tmp_path: Path) -> None:
    pixels = np.round(test_digits.inputs[:12, :, :, 0] * (255 / 16)).astype(np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    np.savez(tmp_path / "x.npz", x=test_digits.inputs[:12])
    files = [tmp_path / f"{i}.png" for i in range(12)]
    by_picture = done("predict", *files, "--runs-dir", run.parent, "--json").json["predictions"]
    by_number = done("predict", "latest", tmp_path / "x.npz", "--runs-dir", run.parent, "--json").json["predictions"]
    assert [row["class"] for row in by_picture] == [row["class"] for row in by_number]
    assert [row["input"] for row in by_picture] == list(map(str, files))
    for name, mode in (("big.jpg", "RGB"), ("small.bmp", "L")):
        Image.fromarray(pixels[0]).resize((31, 17)).convert(mode).save(tmp_path / name)
    said = done("predict", run, tmp_path / "big.jpg", tmp_path / "small.bmp", tmp_path / "x.npz", "--quiet")
    header, *lines = said.out.splitlines()
    assert header.split() == ["input", "class", "probability"] and len(lines) == 14 and said.err == ""


def test_predict_into_a_table(run: Path, test_digits: Split, tmp_path: Path) -> None:
    np.savez(tmp_path / "a, b.npz", test_digits.inputs[:3])
    target = tmp_path / "out.csv"
    said = done("predict", run, tmp_path / "a, b.npz", "--output", target)
    assert said.out == "" and said.err.endswith(f"wrote {target}: 3 predictions\n")
    header, *rows = csv.reader(target.read_text().splitlines())
    assert header == ["input", "class", *"0123456789"] and len(rows) == 3
    assert rows[2][0] == f"{tmp_path / 'a, b.npz'}[2]"
    expected = done("predict", run, tmp_path / "a, b.npz", "--output", target, "--json").json["predictions"][2]
    assert rows[2][1] == expected["class"]
    assert list(map(float, rows[2][2:])) == list(expected["probabilities"].values())


def test_numbers_predicted_when_the_data_set_is_gone(tmp_path: Path) -> None:
    config = write_regression(tmp_path, train=20)
    done("fit", config, "--runs-dir", tmp_path / "runs")
    np.savez(tmp_path / "new.npz", x=np.eye(3))
    words = ["predict", "regression", tmp_path / "new.npz", "--runs-dir", tmp_path / "runs"]
    before = done(*words, "--json")
    (tmp_path / "data.npz").unlink()
    assert done(*words, "--json").out == before.out
    for row in before.json["predictions"]:
        assert tuple(row) == ("input", "values") and len(row["values"]) == 2
    assert done(*words).out.splitlines()[0].split() == ["input", "value0", "value1"]
    np.savez(tmp_path / "huge.npz", x=list(product([-3e38, 3e38], repeat=3)))
    said = dltrain("predict", tmp_path / "huge.npz", "--runs-dir", tmp_path / "runs", "--quiet")
    assert said.code == 1 and len(said.err.splitlines()) == 1
    assert re.match(r".*huge.npz\[\d\]: the network's output is not finite", said.errors[0])
    done(*words, "--output", tmp_path / "out.csv")
    header, *lines = csv.reader((tmp_path / "out.csv").read_text().splitlines())
    assert header == ["input", "value0", "value1"] and len(lines) == 3
    assert "total 26 parameters" in done("inspect-params", "regression", "--runs-dir", tmp_path / "runs").out
    assert dltrain("eval", "--runs-dir", tmp_path / "runs").errors[0].startswith(f"{tmp_path / 'data.npz'}: no such")


# --- validate, runs, env -----------------------------------------------------------------------------------------


def test_validate(tmp_path: Path) -> None:
    assert done("validate", "smoke").out == "smoke: valid; 4 layers, 8×8×1 → 10, 1,370 parameters\n"
    found = done("validate", "smoke", "model.layers.conv1.channels=2", "--json").json
    assert found == {"valid": True, "layers": 4, "parameters": 20 + 330}
    shown = done("validate", "smoke", "seed=3", "--show").out
    (tmp_path / "resolved.yaml").write_text(shown)
    again = done("validate", tmp_path / "resolved.yaml", "--show").out
    values = [[line.partition("#")[0].rstrip() for line in text.splitlines()] for text in (shown, again)]
    assert values[0] == values[1] and "seed: 3" in values[0]


def test_runs(run: Path, trained: Row, tmp_path: Path) -> None:
    assert done("runs", "--runs-dir", tmp_path / "none").out.startswith(f"no runs in {tmp_path / 'none'}; start one")
    assert done("runs", "--runs-dir", tmp_path / "none", "--json").json == {"runs": [], "damaged": []}
    for name, status in {
        "a-crashed": {"status": "running", "pid": 2**22 + 1, "host": socket.gethostname(), "steps": 12345},
        "b-running": {"status": "running", "pid": os.getpid(), "host": socket.gethostname(), "best_loss": None},
        "c-damaged": None,
    }.items():
        (tmp_path / name).mkdir()
        shutil.copy(run / "config.yaml", tmp_path / name)
        (tmp_path / name / "status.json").write_text("{" if status is None else json.dumps(status))
    (tmp_path / "no-run").mkdir()
    shutil.copytree(run, tmp_path / "d-whole")
    lock = Lock(tmp_path / "b-running")
    said = done("runs", "--runs-dir", tmp_path, "--json")
    crashed, running, whole = said.json["runs"]
    assert crashed == {"run": "a-crashed", "status": "crashed", "steps": 12345}
    assert running == {"run": "b-running", "status": "running"}
    assert tuple(whole) == ("run", "status", "started", "epochs", "steps", "best_loss", "validation", "test")
    assert (whole["steps"], whole["test"]) == (trained["steps"], trained["test"])
    assert said.err.startswith(f"warning: c-damaged: {tmp_path / 'c-damaged' / 'status.json'}: cannot be read")
    header, *lines = done("runs", "--runs-dir", tmp_path).out.splitlines()
    assert header.split("  ")[0].strip() == "run" and "best loss" in header and "validation accuracy" in header
    assert "test" not in header, "who chooses by test figures reports luck"
    assert [line.split()[:2] for line in lines] == [
        ["a-crashed", "crashed"], ["b-running", "running"], ["d-whole", "done"],
    ]  # fmt: skip
    lock.release()
    assert "12,345" in lines[0] and f"{whole['best_loss']:.4g}" in lines[2]


def test_env() -> None:
    found = done("env", "--json").json
    assert {"dltrain", "python", "numpy", "blas", "cpu", "cores", "device", "threads", "variables"} <= found.keys()
    assert found["dltrain"] == __version__ and found["blas"][0]["num_threads"] == 1
    lines = done("env").out.splitlines()
    assert [line.split()[0] for line in lines] == list(found) and not re.search(r"[{}\[\]']", lines[3])


def test_version() -> None:
    assert done("--version").out == f"dltrain {__version__}\n"
