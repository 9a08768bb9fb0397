"""`dltrain fit`, from the command line to the run directory."""

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Said, dltrain, done, strict
from safetensors.numpy import load_file

from dltrain.run import rundir
from dltrain.spec import shipped_configs
from dltrain.train import loop

RESULT = ("run", "status", "epochs", "steps", "train", "validation", "test", "weights_sha256")
STEP = ("event", "epoch", "step", "loss", "data_loss", "penalty", "accuracy", "lr", "gradient_norm",
        "examples_per_second")  # fmt: skip
LAYER = {"layer", "type", "activation", "units", "dead_units", "dead_share", "gradient_norm", "weight_norm",
         "update_ratio", "activation_mean", "activation_std", "saturated_share"}  # fmt: skip
QUICK = ("--max-steps", 2, "data.validation=64", "train.batch_size=32")  # a training of two steps


def rows(path: Path) -> list[dict[str, Any]]:
    """Lines of strict JSON, each one ended."""
    text = path.read_text()
    assert text.endswith("\n")
    return [strict(line) for line in text.splitlines()]


def origins(run: Path) -> dict[str, str]:
    """`key: value` -> where it came from, in a run's config.yaml."""
    lines = (run / "config.yaml").read_text().splitlines()
    return {line.partition("#")[0].strip(" -"): line.partition("# ")[2] for line in lines if "# " in line}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Said:
    return done("fit", "smoke", "--runs-dir", tmp_path_factory.mktemp("smoke"), "--json")


@pytest.fixture(scope="module")
def run(smoke: Said) -> Path:
    return Path(smoke.json["run"])


# --- what it says ------------------------------------------------------------------------------------------------


def test_the_result(smoke: Said) -> None:
    result = smoke.json
    assert tuple(result) == RESULT
    assert (result["status"], result["epochs"], result["steps"]) == ("done", 1, 40)
    assert tuple(result["train"]) == ("loss", "data_loss", "penalty", "accuracy")
    assert tuple(result["validation"]) == tuple(result["test"]) == ("loss", "accuracy")
    assert 0.6 < result["train"]["accuracy"] < result["test"]["accuracy"] < result["validation"]["accuracy"] < 1


def test_the_hash_is_over_the_weights_in_the_checkpoint(smoke: Said, run: Path) -> None:
    status = strict((run / "status.json").read_text())
    arrays = load_file(run / "checkpoints" / status["last"])
    digest = hashlib.sha256()
    for name in sorted(name for name in arrays if name.startswith("weights/")):
        array = arrays[name].astype("<f4")
        digest.update(f"{name.removeprefix('weights/')}\0<f4\0{array.shape}\0".encode() + array.tobytes())
    assert digest.hexdigest() == smoke.json["weights_sha256"] == status["weights_sha256"]


def test_in_a_pipe_each_epoch_is_a_line(smoke: Said, run: Path, tmp_path: Path) -> None:
    first, ends, train, validation, test, *epochs, headline, last = smoke.err.splitlines()
    assert re.match(r"test +accuracy 0.\d{4}, from 0.\d{4} to 0.\d{4} with 95 % confidence; a linear", headline)
    assert last == f"report      {run / 'report.html'}"
    assert first == f"run {run}: 1,370 parameters, cpu" and len(epochs) == 1
    assert ends == "train.max_steps ends it after 40 of 540 steps"
    assert train.startswith("train: 3,441 examples (0 ") and validation.startswith("validation: 382 examples (0 ")
    assert test == "test: 1,797 examples (0 178, 1 182, 2 177, 3 183, 4 181, 5 182, 6 181, 7 179, 8 174, 9 180)"
    said = done("fit", "smoke", "~train.max_steps", "train.epochs=3", "data.validation=3700", "--runs-dir", tmp_path)
    epochs = said.err.splitlines()[4:-2]
    score = r"loss \d+\.\d{4} accuracy [01]\.\d{4}"
    for number, line in enumerate(epochs, start=1):
        assert re.fullmatch(rf"epoch {number}/3 · train {score} · validation {score}( · dead .*)? · [\d.]+ s", line)
    assert len(epochs) == 3
    assert re.fullmatch(
        rf"(train|validation|test) +{score.replace(' a', '  a')}\n" * 3
        + r"weights     sha256 [0-9a-f]{16}…\nrun         \S+\n",
        said.out,
    )
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", said.out + said.err), "a control character"
    (log,) = (path.read_text().splitlines() for path in tmp_path.glob("*/train.log"))
    assert [line.partition("epoch")[2] for line in log] == [line.partition("epoch")[2] for line in epochs]


def test_quiet(smoke: Said, tmp_path: Path) -> None:
    for place in (0, 2):  # before the command or after it
        words: list[object] = ["fit", "smoke", *QUICK, "--json", "--runs-dir", tmp_path]
        words.insert(place, "--quiet")
        said = done(*words)
        assert said.err == "" and said.json["status"] == "done"


# --- what it keeps -----------------------------------------------------------------------------------------------


def test_the_run_directory(run: Path) -> None:
    assert re.fullmatch(r"\d{8}-\d{6}-smoke", run.name)
    assert {path.name for path in run.iterdir()} == {
        "config.yaml", "source.yaml", "env.json", "status.json", "metrics.jsonl", "layers.jsonl", "train.log",
        "checkpoints", "description.json", "eval", "report.html",
    }  # fmt: skip
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000040.safetensors"]
    assert (run / "source.yaml").read_text() == shipped_configs()["smoke"].read_text()
    environment = strict((run / "env.json").read_text())
    assert environment["command"][1:3] == ["fit", "smoke"] and environment["device"] == "cpu"


def test_the_logs(smoke: Said, run: Path) -> None:
    *steps, epoch = rows(run / "metrics.jsonl")
    assert {tuple(row) for row in steps} == {STEP} and [row["step"] for row in steps] == list(range(1, 41))
    assert all(row["event"] == "step" and row["epoch"] == 1 and 0 <= row["accuracy"] <= 1 for row in steps)
    assert epoch["event"] == "epoch" and {"epoch", "train", "validation"} <= epoch.keys()
    assert epoch["train"] == smoke.json["train"] and epoch["validation"] == smoke.json["validation"]
    layers = rows(run / "layers.jsonl")
    assert [(row["layer"], row["type"]) for row in layers] == [("conv1", "conv"), ("dense1", "dense")]
    assert all(row.keys() - {"epoch"} == LAYER for row in layers)


# --- options -----------------------------------------------------------------------------------------------------

OPTIONS: dict[str, tuple[list[object], dict[str, str]]] = {
    "--seed": (["--seed", 5], {"seed: 5": "--seed"}),
    "--max-steps": (["--max-steps", 1], {"max_steps: 1": "--max-steps"}),
    "--device": (["--device", "cpu"], {"device: cpu": "--device"}),
    "none": ([], {"device: cpu": "auto", "shard_size: 32": "auto", "channels: 8": "smoke.yaml:8"}),
    "no seed": ([], {"seed: 0": "default"}),
    "a=b": (["optimizer.lr=1e-3"], {"lr: 0.001": "override"}),
    "+a=b": (["+train.clip_norm=2"], {"clip_norm: 2.0": "override"}),
    "shard size": (["train.shard_size=16"], {"shard_size: 16": "override"}),
    "~a": (["~train.batch_size"], {"batch_size: 128": "default"}),
}


@pytest.mark.parametrize(("words", "expected"), OPTIONS.values(), ids=OPTIONS)
def test_what_was_asked_for_is_written_down(words: list[object], expected: dict[str, str], tmp_path: Path) -> None:
    said = done("fit", "smoke", *QUICK, *words, "--runs-dir", tmp_path / "new" / "runs", "--json")
    found = origins(Path(said.json["run"]))
    assert {line: found.get(line) for line in expected} == expected


def test_the_config_of_a_run_repeats_it(tmp_path: Path) -> None:
    words = ["--seed", 7, "--max-steps", 2, "train.batch_size=70", "train.shard_size=30", "--runs-dir", tmp_path]
    words += ["model.layers.conv1.channels=4", "model.layers.conv2.channels=4"]
    first = done("fit", "digits_cnn", *words, "--threads", 1, "--json").json
    again = done("fit", Path(first["run"]) / "config.yaml", "--threads", 3, "--runs-dir", tmp_path, "--json").json
    other = done("fit", "digits_cnn", *words, "--seed", 8, "--json").json
    assert {**again, "run": ""} == {**first, "run": ""}
    assert other["weights_sha256"] != first["weights_sha256"]
    threads = [strict((Path(result["run"]) / "env.json").read_text())["threads"] for result in (first, again)]
    assert threads == [1, 3]


@pytest.mark.parametrize(
    ("file", "name"),
    [("größe 2.yaml", "gr-e-2"), ("._x.yml", "x"), ("é.yaml", "run"), ("a" * 150 + ".yaml", "a" * 100)],
)
def test_any_name_of_a_config_gives_a_name_of_a_run(file: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.write_text(write_regression(tmp_path, train=5).read_text())
    for words, expected in (([], name), (["--name", "b.2_c"], "b.2_c")):
        run = done("fit", path, *words, "--runs-dir", tmp_path, "--json").json["run"]
        assert Path(run).name[16:] == expected


def test_two_runs_in_one_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Stopped":
            return cls(2026, 7, 31, 12, 0, 0)

    monkeypatch.setattr(rundir, "datetime", Stopped)
    for _ in range(2):
        done("fit", "smoke", *QUICK, "--runs-dir", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["20260731-120000-smoke", "20260731-120000-smoke-2"]


# --- other data, other ends --------------------------------------------------------------------------------------

REGRESSION = """\
data: {{type: npz, path: {path}}}
model: {{layers: [dense: 4, dense: {{units: 2, activation: none}}]}}
loss: mse
train: {{epochs: 2, batch_size: 16}}
"""


def write_regression(folder: Path, config: str = REGRESSION, **splits: int) -> Path:
    """A config, and the npz file with so many examples in each split that it names."""
    draw = np.random.default_rng(0)
    arrays = {f"x_{name}": draw.normal(size=(size, 3)) for name, size in splits.items()}
    np.savez(folder / "data.npz", **arrays, **{f"y{name[1:]}": x[:, :2] - x[:, 1:] for name, x in arrays.items()})
    path = folder / "regression.yaml"
    path.write_text(config.format(path=folder / "data.npz"))
    return path


def test_what_there_is_to_train_on_is_told(tmp_path: Path) -> None:
    """Made-up data, a part without any other, an end before the last epoch; later, that the run is of `--smoke`."""
    config, alone = write_regression(tmp_path, train=40), "no examples to validate or test on; data.validation: 0.1"
    assert alone in done("fit", config, "--runs-dir", tmp_path / "runs").err
    said = done("fit", config, "data.test=8", "--max-steps", 1, "--runs-dir", tmp_path / "runs")
    assert alone not in said.err and "train.max_steps ends it after 1 of " in said.err
    said = done("fit", "mnist_lenet5", "--smoke", "--data-dir", tmp_path, "--runs-dir", tmp_path / "smoke")
    assert said.err.startswith(
        "warning: data: made up for --smoke, with the shapes of mnist, whose files are not here\n"
    )
    assert "is of --smoke: two batches" in done("report", "--runs-dir", tmp_path / "smoke").err
    assert "done (smoke)" in done("runs", "--runs-dir", tmp_path / "smoke").out
    assert "smoke" not in done("report", "--runs-dir", tmp_path / "runs").err


def test_regression_has_no_accuracy_and_a_set_without_parts_none_of_theirs(tmp_path: Path) -> None:
    config = write_regression(tmp_path, train=40, test=20)
    result = done("fit", config, "--runs-dir", tmp_path / "runs", "--json").json
    assert tuple(result) == tuple(key for key in RESULT if key != "validation")
    assert tuple(result["train"]) == ("loss", "data_loss", "penalty") and tuple(result["test"]) == ("loss", "mae", "r2")
    for row in rows(Path(result["run"]) / "metrics.jsonl"):
        assert "accuracy" not in row and "validation" not in row
    write_regression(tmp_path, train=40, validation=8)
    said = done("fit", config, "--runs-dir", tmp_path / "runs")
    figures = r"loss [\d.]+  mae [\d.]+  r2 -?[\d.]+"
    assert re.fullmatch(rf"train       loss [\d.]+\nvalidation  {figures}\nweights .*\nrun .*\n", said.out)
    assert " accuracy " not in said.err


@pytest.mark.parametrize("splits", [{"train": 5}, {"train": 40, "test": 3}, {"train": 90, "validation": 90}], ids=str)
def test_smoke_takes_any_data(splits: dict[str, int], tmp_path: Path) -> None:
    result = done("fit", write_regression(tmp_path, **splits), "--smoke", "--runs-dir", tmp_path / "r", "--json").json
    assert result["steps"] == min(2, -(-splits["train"] // 16)) and result["epochs"] == 1
    assert "validation" in result and ("test" in result) == ("test" in splits)
    assert origins(Path(result["run"]))["epochs: 1"] == "--smoke"


def test_divergence(tmp_path: Path) -> None:
    said = dltrain("fit", "smoke", "optimizer={sgd: {lr: 1e9}}", "--runs-dir", tmp_path, "--json")
    assert said.code == 3 and len(said.errors) == 1
    words = r"diverged at step (\d) \(epoch 1\): the output of layer (conv1|dense1) is not finite; try"
    told = re.match(words, said.errors[0])
    assert told
    result = said.json
    assert tuple(result) == ("run", "status", "epochs", "steps", "weights_sha256")
    assert (result["status"], result["steps"]) == ("diverged", int(told[1]) - 1)
    assert strict((Path(result["run"]) / "diverged.json").read_text())["message"] == said.errors[0]
    assert "diverged" in done("runs", "--runs-dir", tmp_path).out


def raising(error: Exception) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("where", ["initial_state", "train_step"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError("4 TiB"), "out of memory (4 TiB); try a smaller train.batch_size or train.shard_size"),
        (OSError(28, "No space left on device", "a/b"), "a/b: No space left on device"),
        (ValueError("two\nlines"), "this is a bug in dltrain: ValueError: two lines; --debug shows where"),
    ],
)
def test_a_failure_is_one_message_and_the_run_says_so(
    where: str, error: Exception, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, where, raising(error))
    said = dltrain("fit", "smoke", *QUICK, "--runs-dir", tmp_path, "--json")
    assert (said.code, said.errors) == (1, [message])
    assert said.json["status"] == "failed" and "Traceback" not in said.err
    said = dltrain("fit", "smoke", *QUICK, "--runs-dir", tmp_path, "--debug")
    assert said.out == "" and said.err.count("Traceback") == 1 and said.errors == [message]
