"""Whatever is wrong becomes an exit code and one line for each mistake: what, where, what to do. Never a traceback."""

import gzip
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import Said, dltrain, done
from PIL import Image
from test_cli_fit import write_regression
from test_data import write_mnist
from test_spec_resolved import mutated

from dltrain.cli.app import app
from dltrain.spec import shipped_configs

NOT_THERE = "shipped: " + ", ".join(shipped_configs())


def check(said: Said, code: int, *messages: str) -> None:
    """The exit code, nothing on stdout, and for each message exactly one error that holds it, in this order."""
    assert "Traceback" not in said.err and "this is a bug" not in said.err, said.err
    assert (said.code, said.out) == (code, ""), said.err
    assert len(said.errors) == len(messages), said.err
    for error, message in zip(said.errors, messages, strict=True):
        assert message in error


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in an empty folder, where data sets and runs are looked for and made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLTRAIN_DATA", str(tmp_path))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return Path(done("fit", "smoke", "--max-steps", 1, "--runs-dir", folder, "--json").json["run"])


# --- configs -----------------------------------------------------------------------------------------------------

DIGITS = "data: digits\n"
MODEL = "model: {layers: [flatten, {dense: {units: 10, activation: none}}]}\n"

CONFIGS: dict[str, tuple[str | bytes, list[str]]] = {
    "unknown key": (DIGITS + MODEL + "optimzer: sgd\n", ["c.yaml:3:1  optimzer: unknown key; did you mean"]),
    "wrong type": (DIGITS + MODEL + "train: {epochs: many}\n", ["c.yaml:3:17  train.epochs: expected a whole number"]),
    "wrong value": (DIGITS + MODEL + "loss: mes\n", ["c.yaml:3:7  loss: unknown loss 'mes'; did you mean 'mse'?"]),
    "duplicate key": (DIGITS + DIGITS + MODEL, ["c.yaml:2:1  duplicate key 'data', first in line 1"]),
    "tab": (DIGITS + MODEL + "train:\n\tepochs: 3\n", ["c.yaml:4:1  a tab character; indent with spaces"]),
    "anchor": (DIGITS + MODEL + "seed: &a 3\n", ["c.yaml:3:7  the anchor &a is not supported"]),
    "empty": ("", ["c.yaml:1:1  the file is empty; a config needs at least `model`"]),
    "binary": (bytes(range(128, 256)), ["c.yaml:1:1  is not UTF-8 text; save the file as UTF-8"]),
    "zeros": (bytes(100), ["c.yaml:1:1  the character '\\x00' may not stand in YAML"]),
    "no is a word": (
        DIGITS + "model: {layers: [flatten, {dense: {units: 10, bias: no}}]}\n",
        ["c.yaml:2:53  model.layers[1].dense.bias: expected true or false or null, got 'no'"],
    ),
    "a layer that does not fit": (
        DIGITS + "model:\n  layers:\n  - conv: {channels: 4, kernel: 9, padding: valid}\n",
        ["c.yaml:4:5  model.layers[0] (conv1): does not fit its input (8, 8, 1): "],
    ),
    "the wrong number of classes": (
        DIGITS + "model: {layers: [flatten, dense: 9]}\n",
        ["c.yaml:2:27  model.layers[1] (dense1): the last layer gives (9,), but digits has 10 classes; it must give"],
    ),
    "a loss for other data": (DIGITS + MODEL + "loss: mse\n", ["c.yaml:3:7  loss: mse is for numbers to predict"]),
    "several, in the order of the file": (
        "seed: -1\n" + DIGITS + "model: {layers: [flaten, {dense: {unit: 10}}]}\ntrain: {epochs: 0, epoch: 3}\n",
        [
            "c.yaml:1:7  seed: expected a whole number from 0",
            "c.yaml:3:18  model.layers[0]: unknown layer 'flaten'; did you mean 'flatten'?",
            "c.yaml:3:26  model.layers[1].dense: 'units' is missing",
            "c.yaml:3:35  model.layers[1].dense.unit: unknown key; did you mean 'units'?",
            "c.yaml:4:17  train.epochs: expected a whole number above 0, got '0'",
            "c.yaml:4:20  train.epoch: unknown key; did you mean 'epochs'?",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", ["fit", "validate", "inspect-params"])
@pytest.mark.parametrize(("text", "messages"), CONFIGS.values(), ids=CONFIGS)
def test_configs(text: str | bytes, messages: list[str], command: str) -> None:
    Path("c.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    check(dltrain(command, "c.yaml"), 2, *messages)
    assert not Path("runs").exists()


# What only the data show, so that `validate` cannot say it.
UNSUITABLE: dict[str, tuple[str, str]] = {
    "more than there is": (
        "data: {type: digits, validation: 9999}",
        "c.yaml:1:34  data.validation: 9999 would take 9999 of 3823 training examples; it must take at least one",
    ),
    "a test part of its own": (
        "data: {type: digits, test: 0.1}",
        "c.yaml:1:28  data.test: the data set has test examples",
    ),
    "weights of other classes": (
        "data: {type: digits, class_weights: [1, 2]}",
        "c.yaml:1:37  data.class_weights: 2 weights, but there are 10 classes",
    ),
    "no such column": (
        "data: {type: csv, path: t.csv, target: knd}",
        "c.yaml:1:40  data.target: t.csv has no column 'knd'; it has a, kind",
    ),
}


@pytest.mark.parametrize(("text", "message"), UNSUITABLE.values(), ids=UNSUITABLE)
def test_settings_that_do_not_suit_the_data(text: str, message: str) -> None:
    Path("t.csv").write_text("a,kind\n1,x\n2,y\n")
    Path("c.yaml").write_text(f"{text}\n{MODEL}")
    check(dltrain("fit", "c.yaml"), 2, message)
    assert not Path("runs").exists()


def test_numbers_are_what_they_look_like() -> None:
    Path("c.yaml").write_text(DIGITS + MODEL + "optimizer: {type: adam, lr: 1e-3}\n")
    assert "lr: 0.001 " in done("validate", "c.yaml", "--show").out
    assert "lr: 1e-05 " in done("validate", "c.yaml", "optimizer.lr=1e-5", "--show").out


@pytest.mark.parametrize("seed", range(50))
def test_mutated_configs(seed: int) -> None:
    choose = random.Random(10_000 + seed)
    Path("m.yaml").write_text(mutated(choose.choice(list(shipped_configs().values())).read_text(), choose))
    said = dltrain("validate", "m.yaml")
    if said.code:
        check(said, said.code, *["m.yaml:" if said.code == 2 else ""] * len(said.errors))
        assert said.errors and said.code in (1, 2)


# --- usage -------------------------------------------------------------------------------------------------------

USAGE: dict[str, tuple[list[object], int, str]] = {
    "unknown command": (["fitt", "smoke"], 2, "No such command 'fitt'"),
    "unknown option": (["fit", "smoke", "--epoch", 3], 2, "No such option: --epoch"),
    "no config": (["fit"], 2, "CONFIG"),
    "no threads": (["fit", "smoke", "--threads", 0], 2, "Invalid value for '--threads': expected 1 or more"),
    "too many threads": (["fit", "smoke", "--threads", 999], 2, "Invalid value for '--threads': expected 256 or less"),
    "threads in words": (["fit", "smoke", "--threads", "two"], 2, "value for '--threads': expected a whole number"),
    "a word of no option": (["fit", "smoke", "--progress", "no"], 2, "'--progress': 'no' is not one of 'auto'"),
    "no device": (["fit", "smoke", "--device", "gpuu"], 2, "Invalid value for '--device': 'gpuu' is not one of 'auto'"),
    "no number": (["fit", "smoke", "--seed", "x"], 2, "--seed"),
    "no steps": (["fit", "smoke", "--max-steps", 0], 2, "--max-steps"),
    "an unknown format": (["export", "--format", "onnx"], 2, "'safetensors', 'npz', 'torch-safetensors'"),
    "no such device": (["fit", "smoke", "--device", "gpu"], 2, "--device"),
    "no such split": (["eval", "--split", "tset"], 2, "--split"),
    "no such config": (["fit", "nothing"], 2, f"nothing: no such config file; {NOT_THERE}"),
    "a misspelt config": (["validate", "digits_cn"], 2, "digits_cn: no such config file; did you mean 'digits_cnn'?"),
    "a folder as config": (["fit", "."], 2, ".: is a folder, not a config file"),
    "no text as config": (["validate", "a\0b"], 2, "a\\x00b: no such config file"),
    "a name with a slash": (["fit", "smoke", "--name", "a/b"], 2, "run name 'a/b': letters, digits"),
    "an unknown key": (["fit", "smoke", "optimizer.rate=3"], 2, "override 'optimizer.rate=3'  optimizer.rate: unknown"),
    "no such layer": (["fit", "smoke", "model.layers.conv9.channels=3"], 2, "no entry 'conv9' in the list; did you"),
    "no key": (["validate", "smoke", "train.epochs"], 2, "expected KEY=VALUE, +KEY=VALUE or ~KEY"),
    "a seed too large": (["fit", "smoke", "--seed", 2**64], 2, "--seed  seed: expected a whole number from 0"),
    "nothing to train on": (["fit", "vgg16"], 2, "data: this config has no data to train on; it can be inspected only"),
    "too much validation": (["fit", "smoke", "data.validation=5000"], 2, "data.validation: 5000 would take"),
    "no cupy": (["fit", "smoke", "--device", "cuda"], 1, "with: pip install '.[gpu]', or use"),
    "no run": (["eval"], 2, "there is no run in runs; start one with: dltrain fit CONFIG"),
    "no such run": (["eval", "x"], 2, "no run 'x' in runs; `dltrain runs` lists those that exist"),
    "nothing to verify": (["verify", "x"], 2, "no run 'x' in runs; `dltrain runs` lists those that exist"),
    "no such run, but one nearly so": (["eval", "latets"], 2, "no run 'latets' in runs; did you mean 'latest'? `"),
    "no layer to look into": (["visualize"], 2, "there is no run in runs"),
    "a second config": (["fit", "smoke", "digits_cnn"], 2, "digits_cnn: only one CONFIG at a time"),
    "a second config, a file": (["check", "smoke", "x.yaml"], 2, "x.yaml: only one CONFIG at a time"),
    "a run called latest": (["fit", "smoke", "--name", "latest"], 2, "run name 'latest': the word stands for the"),
    "a group called latest": (["fit", "smoke", "--seeds", "2", "--name", "latest"], 2, "run name 'latest': the word"),
    "a table as a folder": (["export-metrics", "--csv", "a.csv"], 2, "a.csv: names a file; say a folder"),
    "dot as svg": (["graph", "smoke", "--format", "dot", "--output", "a.svg"], 2, "a.svg: the name must end in .dot"),
    "neither config nor run": (["inspect-params", "x"], 2, f"x: no such config file; {NOT_THERE}; no run 'x' in runs"),
    "nothing to check": (["check", "vgg16"], 2, "data: this config has no data to train on; it can be inspected only"),
    "nothing to sweep": (["lr-find", "vgg16"], 2, "data: this config has no data to train on; it can be inspected"),
    "no space": (["sweep", "smoke", "x.yaml"], 2, "x.yaml: cannot be read: No such file or directory"),
    "no workers": (["sweep", "smoke", "x.yaml", "--workers", 0], 2, "'--workers': expected 1 or more"),
    "nothing to report": (["report", "x"], 2, "no run 'x' in runs"),
    "nothing to compare": (["compare", "x"], 2, "no run 'x' in runs"),
    "nothing to export": (["export-metrics", "x"], 2, "export-metrics: nothing to do"),
    "a file to serve": (["serve", "/dev/null"], 2, "/dev/null: is a file; name a directory of runs"),
    "no port": (["serve", "--port", 0], 2, "--port"),
    "a list as svg": (["graph", "smoke", "--captured", "--format", "svg"], 2, "--captured prints a list; leave"),
    "no such run to look into": (["look", "x"], 2, "no run 'x' in runs; `dltrain runs` lists"),
    "no such weights": (["weights", "x"], 2, "no run 'x' in runs; `dltrain runs` lists"),
    "no graph": (["graph", "x"], 2, f"x: no such config file; {NOT_THERE}; no run 'x' in runs"),
    "no run to look into": (["visualize", "x", "--layer", "conv1"], 2, "no run 'x' in runs; `dltrain runs` lists"),
    "a folder that is no run": (["eval", "/"], 2, "/ is no run directory: it has no config.yaml"),
    "predict without a run": (["predict", "x.png"], 2, "x.png: no such file; and no run 'x.png' in runs"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "code", "message"), USAGE.values(), ids=USAGE)
def test_usage(words: list[object], code: int, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)  # as where it is not installed
    check(dltrain(*words), code, message)


def test_without_a_command_there_is_help() -> None:
    said = dltrain()
    assert said.code == 2 and "Usage: dltrain" in said.out + said.err


@pytest.mark.parametrize("place", [0, 3])
def test_only_debug_shows_a_traceback(place: int) -> None:
    words: list[object] = ["fit", "nothing", "a=b"]
    words.insert(place, "--debug")
    said = dltrain(*words)
    assert said.code == 2 and "Traceback" in said.err and said.errors == [f"nothing: no such config file; {NOT_THERE}"]
    assert "Traceback" not in dltrain("fit", "nothing").err, "it must not be remembered"


# --- data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "files", "page"),
    [
        ("cifar_cnn", ["6 of 6 files", "data_batch_1", "data_batch_5", "test_batch"], "cs.toronto.edu"),
        ("mnist_lenet5", ["4 of 4 files", "train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"], "yann.lecun.com"),
    ],
)
def test_missing_data(config: str, files: list[str], page: str) -> None:
    said = dltrain("fit", config, "--data-dir", "here")
    check(said, 1, page)
    for part in [*files, "in here/", "put them into that folder", "--data-dir", "DLTRAIN_DATA"]:
        assert part in said.errors[0]


def test_damaged_data() -> None:
    write_mnist(Path(), train_images=gzip.compress(b"what is this"))
    check(dltrain("fit", "mnist_lenet5"), 1, "mnist/train-images-idx3-ubyte.gz: damaged: it does not begin like an idx")
    config = write_regression(Path(), train=20)
    whole = Path("data.npz").read_bytes()
    for damaged in (whole[:-100], whole[:200] + b"????" + whole[204:], b"nothing"):
        Path("data.npz").write_bytes(damaged)
        check(dltrain("fit", config, "--runs-dir", "runs"), 1, "data.npz: not an npz file that can be read")
    Path("data.npz").unlink()
    for words in (["fit"], ["validate"], ["fit", "--smoke"]):
        said = dltrain(*words, config)
        check(said, 2, "data.npz: no such file (a path is taken from the folder where the command")
        assert said.errors[0].startswith(f"{config}:1:") and "  data.path: data.npz" in said.errors[0]
    assert not Path("runs").exists()


# --- runs --------------------------------------------------------------------------------------------------------


def spoil_checkpoint(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4] + b"oops")


def never_saved(run: Path) -> None:
    next(run.glob("*/step*")).unlink()
    (run / "status.json").write_text('{"status": "done"}')


RUNS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no checkpoint": (never_saved, "has no last checkpoint yet"),
    "checkpoint gone": (lambda run: next(run.glob("*/step*")).unlink(), "there is no such checkpoint"),
    "checkpoint damaged": (lambda run: spoil_checkpoint(next(run.glob("*/step*"))), "is not what was saved"),
    "checkpoint empty": (lambda run: next(run.glob("*/step*")).write_bytes(b""), "damaged checkpoint"),
    "no run": (lambda run: (run / "config.yaml").unlink(), "is no run directory: it has no config.yaml"),
}


@pytest.mark.parametrize(("spoil", "message"), RUNS.values(), ids=RUNS)
def test_runs_that_cannot_be_used(spoil: Callable[[Path], object], message: str, run: Path) -> None:
    shutil.copytree(run, "spoilt")
    spoil(Path("spoilt"))
    Image.new("L", (8, 8)).save("a.png")
    for words in (["eval", "spoilt"], ["predict", "spoilt", "a.png"]):
        check(dltrain(*words), 2 if "no run directory" in message else 1, message)


def test_the_last_checkpoint_needs_no_status(run: Path) -> None:
    shutil.copytree(run, "spoilt")
    Path("spoilt/status.json").write_text("[")
    done("eval", "spoilt")
    said = dltrain("eval", "spoilt", "--checkpoint", "best")
    check(said, 1, "status.json: cannot be read")
    Path("spoilt/status.json").unlink()
    done("eval", "spoilt")


def test_a_name_that_fits_several_runs() -> None:
    for name in ("20260101-000000-a", "20260101-000001-a"):
        (Path("runs") / name).mkdir(parents=True)
        (Path("runs") / name / "config.yaml").touch()
    message = "'0101' fits 2 runs in runs: 20260101-000000-a, 20260101-000001-a; ambiguous; use a longer name"
    check(dltrain("eval", "0101"), 2, message)
    check(dltrain("predict", "0101", "a.png"), 2, message)
    check(dltrain("inspect-params", "0101"), 2, message)


def test_a_file_in_place_of_the_runs_folder() -> None:
    Path("taken").touch()
    for place in ("taken", "taken/runs"):
        said = dltrain("fit", "smoke", "--max-steps", 1, "--runs-dir", place)
        check(said, 1, f"{place}: no run can be kept here (")


# --- inputs to predict -------------------------------------------------------------------------------------------


def write_inputs() -> None:
    Path("notes.txt").write_text("no picture")
    Path("cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("L", (8, 8)).save("good.png")
    Path("folder").mkdir()
    Path("f.csv").mkdir()
    np.savez("shape.npz", x=np.ones((4, 7, 8, 1)))
    np.savez("names.npz", a=np.ones((4, 8, 8, 1)), b=np.ones(4))
    np.savez("nan.npz", x=np.full((4, 8, 8, 1), np.nan))
    Path("broken.npz").write_bytes(b"PK")


INPUTS: dict[str, tuple[list[str], int, list[str]]] = {
    "no input": ([], 2, ["predict needs at least one INPUT: an image, a table, a txt file, an array x in npz"]),
    "text": (["notes.txt"], 1, ["notes.txt: not an image that can be read"]),
    "cut": (["good.png", "cut.png"], 1, ["cut.png: not an image that can be read"]),
    "missing": (["a.png", "good.png", "b.npz"], 1, ["a.png: no such file", "b.npz: no such file"]),
    "folder": (["folder"], 1, ["folder: holds no file that ends in .bmp, "]),
    "pattern": (["*.tga"], 1, ["*.tga: no file fits this pattern"]),
    "a column to keep": (["good.png", "--keep", "a"], 1, ["good.png: is no table, so it has no column 'a' to keep"]),
    "nothing that can be read": (["cut.png", "--skip-bad"], 1, ["no input could be answered"]),
    "neither csv nor jsonl": (["good.png", "--output", "out.txt"], 2, ["out.txt: the name must end in .csv or .jsonl"]),
    "wrong shape": (["shape.npz"], 1, ["shape.npz: x is float64 (4, 7, 8, 1), but the network takes numbers"]),
    "two arrays": (["names.npz"], 1, ["names.npz: no array is called x"]),
    "not numbers": (["nan.npz"], 1, ["nan.npz: x holds values that are not finite"]),
    "no npz": (["broken.npz"], 1, ["broken.npz: not an npz file that can be read"]),
    "no folder": (["good.png", "--output", "no/such/out.csv"], 1, ["no/such/out.csv: there is no folder no/such"]),
    "output is a folder": (["good.png", "--output", "f.csv"], 1, ["f.csv: cannot be written: Is a directory"]),
}


@pytest.mark.parametrize(("words", "code", "messages"), INPUTS.values(), ids=INPUTS)
def test_inputs(words: list[str], code: int, messages: list[str], run: Path) -> None:
    write_inputs()
    check(dltrain("predict", run, *words, "--quiet"), code, *messages)


# --- what cannot be written --------------------------------------------------------------------------------------

# Command -> words before the name of what it writes, and how that name must end.
OUTPUTS: dict[str, tuple[list[str], str]] = {
    "report": (["RUN", "--output"], ".html"),
    "compare": (["RUN", "another", "--html"], ".html"),
    "runs": (["--html"], ".html"),
    "graph": (["smoke", "--output"], ".svg"),
    "lr-find": (["smoke", "--svg"], ".svg"),
    "check": (["smoke", "--samples"], ".png"),
    "weights": (["RUN", "--output"], ".png"),
    "visualize": (["RUN", "--layer", "conv1", "--unit", "0", "--output"], ".png"),
    "export": (["RUN", "--output"], ".safetensors"),
}


@pytest.mark.parametrize("command", OUTPUTS)
def test_outputs_are_named_when_they_cannot_be_written(command: str, run: Path) -> None:
    shutil.copytree(run, "another")
    typed, ending = OUTPUTS[command]
    words = [str(run) if word == "RUN" else word for word in typed]
    place = f"no/such/file{ending}"
    said = dltrain(command, *words, place)
    assert (said.code, said.errors) == (1, [f"{place}: cannot be written: No such file or directory"]), said.err
    said = dltrain(command, *words, "picture.pdf")
    assert said.code == 2 and said.errors[0].startswith(f"picture.pdf: the name must end in {ending}"), said.err
    assert not Path("picture.pdf").exists()


def test_every_command_is_in_the_tables() -> None:
    tested = {words[0] for words, _, _ in USAGE.values()} | {"predict"}
    never_wrong = {"runs", "env"}
    assert tested - {"fitt"} | never_wrong == {command.name for command in app.registered_commands}
