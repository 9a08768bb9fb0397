"""`dltrain verify`: what a run kept is what its config gives, and every way in which it is not is noticed."""

import re
import signal
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from commands import dltrain, done, strict

from dltrain.run.checkpoint import Checkpoint
from dltrain.run.rundir import RunDir
from dltrain.train import loop

BEGIN = ("fit", "smoke", "data.validation=64", "train.batch_size=32", "train.max_steps=6", "--threads", 2)
KEEP = ("checkpoint.every_steps=2", "checkpoint.keep=9")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("runs")
    return RunDir(Path(done(*BEGIN, *KEEP, "--runs-dir", folder, "--json").json["run"]))


def files(run: RunDir) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("words", "weights", "rows"),
    [
        ([], [2, 4, 6], 6 + 1 + 2),
        (["--from-step", 4], [6], 2 + 1 + 2),
        (["--steps", 3], [2], 3),
        (["--from-step", 2, "--steps", 1, "--threads", 1], [], 1),
    ],
)
def test_a_run_is_what_it_says(words: list[Any], weights: list[int], rows: int, run: RunDir) -> None:
    before = files(run)
    found = done("verify", run.path, *words, "--json").json
    assert [kept["step"] for kept in found["weights"]] == weights and all(kept["equal"] for kept in found["weights"])
    assert found["rows"] == rows and found["differences"] == found["environment"] == []
    assert done("verify", run.path).out.splitlines()[-1] == "verdict     equal, bit for bit"
    assert found["verdict"] == "equal, bit for bit"
    assert files(run) == before, "it writes nothing"


def forged(run: RunDir, step: int, change: float) -> bytes:
    """The file of a checkpoint before one of its weights was changed a little; hashes are right."""
    path = run.checkpoints / f"step-{step:08d}.safetensors"
    before, kept = path.read_bytes(), Checkpoint.read(path)
    bias = kept.weights["dense1.bias"].copy()
    bias[3] += change * abs(bias).max()
    replace(kept, weights=kept.weights | {"dense1.bias": bias}).write(path)
    return before


def test_one_changed_weight_is_found(run: RunDir) -> None:
    before = forged(run, 4, 1e-6)
    try:
        said = dltrain("verify", run.path)
        assert said.code == 1 and said.errors == ["weights after step 4: differ by up to 1.0e-06 of the largest"]
        assert said.out.splitlines()[-1] == f"verdict     different: {said.errors[0]}"
        assert dltrain("verify", run.path, "--from-step", 4).code == 1, "what follows from it differs"
    finally:
        (run.checkpoints / "step-00000004.safetensors").write_bytes(before)


def test_one_changed_row_is_found(run: RunDir) -> None:
    before = run.metrics.read_text()
    run.metrics.write_text(before.replace('"step": 5, "loss": ', '"step": 5, "loss": 1'))
    said = dltrain("verify", run.path)
    run.metrics.write_text(before)
    assert said.code == 1 and len(said.errors) == 1 and said.errors[0].startswith("loss of step 1 5: was 1")
    assert said.out.splitlines()[-1] == f"verdict     different: {said.errors[0]}"


@pytest.mark.parametrize(("change", "code"), [(1e-6, 0), (1e-3, 1)])
def test_another_environment_has_a_tolerance(change: float, code: int, run: RunDir) -> None:
    facts = strict(run.environment.read_text())
    run.write_json(run.environment, facts | {"cpu": "another one"})
    before = forged(run, 6, change)
    try:
        said = dltrain("verify", run.path)
    finally:
        run.write_json(run.environment, facts)
        (run.checkpoints / "step-00000006.safetensors").write_bytes(before)
    assert said.code == code and "environment cpu: another one, now " in said.out
    assert "tolerance   6e-05" in said.out and "after step 4: equal" in said.out
    verdict = said.out.splitlines()[-1]
    assert verdict.startswith("verdict     different: weights" if code else "verdict     equal within the tolerance")


def test_a_divergence_is_repeated(tmp_path: Path) -> None:
    said = dltrain("fit", "smoke", "optimizer={sgd: {lr: 1e6}}", "--runs-dir", tmp_path)
    (path,) = tmp_path.iterdir()
    told = strict((path / "diverged.json").read_text())
    assert said.code == 3 and told["layer"] in ("conv1", "dense1") and len(told["batch"]) == 64
    assert told["ranges"]["dense1"]["weight"]["not_finite"] == 0 and len(told["last_gradient_norms"]) == told["step"]
    assert any(entry.get("output", {}).get("not_finite") for entry in told["ranges"].values())
    again = done(*told["replay"].split()[1:])
    assert f"as it did then: {said.errors[0]}" in again.out
    told["step"] += 1
    RunDir(path).write_json(path / "diverged.json", told)
    assert dltrain("verify", path).code == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from-step", 3], "there is no such checkpoint"),
        (["--from-step", 6], "nothing is known of this run after step 6"),
    ],
)
def test_what_cannot_be_verified(words: list[Any], message: str, run: RunDir) -> None:
    said = dltrain("verify", run.path, *words)
    assert said.code == 1 and len(said.errors) == 1 and message in said.errors[0]


def test_it_takes_the_time_that_it_needs(tmp_path: Path) -> None:
    """The run had finished well within its max_time; a repetition on a slower machine has not ended early."""
    kept = RunDir(Path(done(*BEGIN, "train.max_time=1e9", "--runs-dir", tmp_path, "--json").json["run"]))
    kept.config.write_text(re.sub("max_time: .*", "max_time: 1e-9", kept.config.read_text()))
    before = files(kept)
    assert done("verify", kept.path, "--json").json["weights"] == [{"step": 6, "equal": True, "difference": 0.0}]
    assert files(kept) == before


def test_a_repetition_that_ends_early_differs_and_writes_nothing(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(run)
    monkeypatch.setattr(loop, "stops_early", lambda *_: True)
    said = dltrain("verify", run.path)
    assert (said.code, said.errors) == (1, ["the repeated training ended early, after step 0"])
    assert files(run) == before


def test_an_interrupted_comparison(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    before, step, calls = files(run), loop.train_step, count(1)

    def interrupted(*args: Any) -> Any:
        if next(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return step(*args)

    monkeypatch.setattr(loop, "train_step", interrupted)
    said = dltrain("verify", run.path)
    assert said.code == 130 and "interrupted after step 3; nothing was written" in said.err
    assert "saved" not in said.err and files(run) == before


def test_rows_of_another_environment_do_not_count(run: RunDir) -> None:
    facts = strict(run.environment.read_text())
    run.write_json(run.environment, facts | {"cpu": "another one"})
    said = dltrain("verify", run.path, "--steps", 1)
    run.write_json(run.environment, facts)
    assert said.code == 1 and "nothing to compare steps 0 to 1 with" in said.errors[0]
