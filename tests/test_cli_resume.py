"""`dltrain fit --resume`: what may change, what is said, and which run `auto` finds."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from commands import dltrain, done, strict
from endurance.harness import TIMES

from dltrain.run.rundir import RunDir

BEGIN = ("fit", "smoke", "data.validation=64", "train.batch_size=32", "train.max_steps=6", "checkpoint.every_steps=2")


def stopped(folder: Path) -> RunDir:
    """A run of six steps that was killed some time after the fourth one."""
    run = RunDir(Path(done(*BEGIN, "checkpoint.keep=9", "--runs-dir", folder, "--json").json["run"]))
    (run.checkpoints / "step-00000006.safetensors").unlink()
    run.update_status(status="running", test=None, last="step-00000004.safetensors", best=None)
    return run


def test_it_goes_on_to_the_same_bits_and_a_finished_run_has_nothing_to_do(tmp_path: Path) -> None:
    whole = done(*BEGIN, "checkpoint.keep=9", "--runs-dir", tmp_path, "--json").json
    run = stopped(tmp_path)
    assert run.status()["status"] == "crashed"
    said = done("fit", "--resume", run.path, "--json")
    assert said.json == whole | {"run": str(run.path)}
    assert f"run {run.path} continues after step 4" in said.err and "environment" not in said.err
    logs = [TIMES.sub(b"", RunDir(Path(path)).metrics.read_bytes()) for path in (whole["run"], run.path)]
    assert logs[0] == logs[1]
    (run.path / ".report.html.0a0b0c0d.tmp").write_bytes(b"half")  # by one that was killed when all else was done
    again = done("fit", "--resume", run.path, "--json")
    assert again.json == said.json and "is finished" in again.err and not list(run.path.rglob(".*"))
    assert len(run.status()["resumed"]) == 1


def test_what_may_change_changes_and_is_written_down(tmp_path: Path) -> None:
    run = stopped(tmp_path)
    before = run.config.read_text()
    # the first word is an override, too
    said = done("fit", "--resume", run.path, "train.max_steps=8", "logging.every=2", "checkpoint.keep=1", "--json")
    assert (said.json["status"], said.json["steps"]) == ("done", 8)
    (entry,) = run.status()["resumed"]
    assert entry["changed"] == {"train.max_steps": [6, 8], "logging.every": [1, 2], "checkpoint.keep": [9, 1]}
    old, new = before.splitlines(), run.config.read_text().splitlines()
    assert [(" ".join(a.split()), " ".join(b.split())) for a, b in zip(old, new, strict=True) if a != b] == [
        ("max_steps: 6 # override", "max_steps: 8 # override"),
        ("keep: 9 # override", "keep: 1 # override"),
        ("every: 1 # default", "every: 2 # override"),
    ]
    assert [row["step"] for row in run.rows(run.metrics) if row["event"] == "step"] == [1, 2, 3, 4, 6, 8]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["optimizer.lr=1"], 2, "optimizer.lr: is 0.01 in .* and cannot become 1.0; a continued run may change device, "
                                "train.epochs, train.max_steps, show, checkpoint, logging, advice only"),
        (["train.clip_norm=1"], 2, "train.clip_norm: is nothing in .* and cannot become 1.0"),
        (["--seed", 1], 2, "seed: is 0 in"),
        (["train.max_steps=3"], 2, "has taken 4 steps, more than the 3 asked for"),
        (["smoke"], 2, "continues with the run's own config: leave smoke out"),
        (["--name", "x"], 2, "--name is for new runs"),
        (["--smoke"], 2, "--smoke is for new runs"),
    ],
)  # fmt: skip
def test_what_may_not_change(words: list[Any], code: int, message: str, tmp_path: Path) -> None:
    run = stopped(tmp_path)
    files = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    said = dltrain("fit", "--resume", run.path, *words)
    assert said.code == code and len(said.errors) == 1 and re.search(message, said.errors[0])
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize(
    ("schedule", "words", "said"),
    [
        # 6 steps an epoch; half a cosine over 6 steps is nearly down, over 12 it is halfway
        ("cosine", ["train.max_steps=12"], "now ends at step 12 instead of 6: learning rate 0.00067 -> 0.005"),
        ("{type: cosine, warmup: 5}", ["train.max_steps=12"], None),  # the first steps are the same
        ("cosine", ["train.epochs=9"], None),  # max_steps ends it all the same
    ],
)
def test_a_schedule_that_spans_the_training(schedule: str, words: list[str], said: str | None, tmp_path: Path) -> None:
    """The weights are those of the longer training from the start, or it says that they are not."""
    quick = (*BEGIN[:3], "train.max_steps=6", "checkpoint.every_steps=2", "optimizer.lr=0.01", f"schedule={schedule}")
    run = RunDir(Path(done(*quick, "--runs-dir", tmp_path, "--json").json["run"]))
    longer = done("fit", "--resume", run.path, *words, "--json")
    whole = done(*quick, *words, "--runs-dir", tmp_path, "--json").json
    assert (longer.json["weights_sha256"] == whole["weights_sha256"]) == (said is None)
    assert (said is None) == ("the schedule now" not in longer.err) and (said or "") in longer.err
    assert ("schedule" in run.status()["resumed"][0]) == (said is not None)


@pytest.mark.parametrize(
    ("train", "change", "said"),
    [
        ("epochs: 1", ["train.max_steps=9999"], "ended by train.epochs; a larger one continues it"),
        ("epochs: 1, max_steps: 69", ["logging.every=2"], "ended by train.max_steps and train.epochs; larger ones"),
        ("epochs: 1, early_stopping: {patience: 1, min_delta: 99}, max_steps: 300", ["train.epochs=2"], None),
        (
            "epochs: 9, early_stopping: {patience: 1, min_delta: 99}",
            ["train.epochs=10"],
            "ended by train.early_stopping",
        ),
    ],
)
def test_nothing_is_left_to_train(train: str, change: list[str], said: str | None, tmp_path: Path) -> None:
    """The key that bounds it is named, of a finished run and of one whose change does not help."""
    config = tmp_path / "a.yaml"
    config.write_text(
        "data: {type: penguins, validation: 0.2}\nmodel: {layers: [dense: {units: 3, activation: none}]}\n"
        f"train: {{batch_size: 4, {train}}}\n"
    )
    run = done("fit", config, "--runs-dir", tmp_path, "--json").json["run"]
    if said:
        assert f"is finished, {said}" in done("fit", "--resume", run).err
    told = done("fit", "--resume", run, *change).err
    assert (f", with nothing left to train: {said}" in told) if said else ("nothing left" not in told)


def test_an_edited_config_is_noticed(tmp_path: Path) -> None:
    run = stopped(tmp_path)
    run.config.write_text(run.config.read_text().replace("lr: 0.01 ", "lr: 0.02 "))
    said = dltrain("fit", "--resume", run.path)
    assert said.code == 2 and "optimizer.lr: is 0.01 in" in said.errors[0]


def test_damage_is_named(tmp_path: Path) -> None:
    run = stopped(tmp_path)
    newest = run.checkpoints / "step-00000004.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    (run.path / "status.json").write_text("{")
    said = done("fit", "--resume", run.path)
    assert "continues after step 2" in said.err and f"warning: {newest}: damaged checkpoint" in said.err
    assert "status.json: cannot be read" in said.err and run.status()["status"] == "done"
    for path in run.checkpoints.iterdir():
        path.write_bytes(b"")
    said = dltrain("fit", "--resume", run.path, "train.max_steps=9")
    assert said.code == 1 and "damaged checkpoint" in said.errors[0], "damaged is not absent"
    for path in run.checkpoints.iterdir():
        path.unlink()
    gone = dltrain("fit", "--resume", run.path)
    for errors in (said.errors, gone.errors):
        assert errors[0].endswith(f"; to train it again: dltrain fit {run.config}")


@pytest.mark.parametrize("damage", [b"garbage\n", b"garbage", b'{"event": "step", "step"', b"[1]\n"])
def test_rows_behind_damage_are_cut_off_so_that_new_ones_can_be_read(damage: bytes, tmp_path: Path) -> None:
    run = stopped(tmp_path)
    lines = run.metrics.read_bytes().splitlines(keepends=True)
    run.metrics.write_bytes(lines[0] + damage + b"".join(lines[2:]))
    said = done("fit", "--resume", run.path)
    assert f"{run.metrics}: had " in said.err and "rows are missing" in said.err
    assert [row["step"] for row in run.rows(run.metrics)] == [1, 5, 6, 6]
    assert run.metrics.read_bytes().endswith(b"\n") and "damaged" not in done("report", run.path).err


def test_a_missing_status_is_written_anew(tmp_path: Path) -> None:
    run = stopped(tmp_path)
    done("fit", "--resume", run.path)
    (run.path / "status.json").unlink()
    said = done("fit", "--resume", run.path)
    assert "nothing left to train" in said.err and run.status()["status"] == "done"


def test_another_environment_is_told(tmp_path: Path) -> None:
    run = stopped(tmp_path)
    facts = strict(run.environment.read_text())
    run.write_json(run.environment, facts | {"numpy": "1.0", "threads": 99, "command": []})
    said = done("fit", "--resume", run.path)
    assert "equal bits are not promised from here on:\n  numpy: 1.0, now " in said.err
    assert len(run.status()["resumed"][0]["environment"]) == 1


def test_auto(tmp_path: Path) -> None:
    auto = (*BEGIN, "--resume", "auto", "--runs-dir", tmp_path, "--json")
    first = done(*auto).json["run"]
    assert done(*auto).json["run"] != first, "a finished one is not taken"
    run = stopped(tmp_path / "other")
    moved = run.path.rename(tmp_path / f"{run.path.name}-moved")  # the name may be taken within the same second
    auto = (*BEGIN, "checkpoint.keep=9", *auto[len(BEGIN) :])
    assert done(*auto, "optimizer.lr=1e-3").json["run"] != str(moved), "another config is another run"
    held = RunDir(moved)
    held.hold()
    assert done(*auto).json["run"] != str(moved), "somebody trains it"
    held.release()
    said = done(*auto)
    assert said.json["run"] == str(moved) and "continues after step 4" in said.err


def test_a_smoke_run_stays_one(tmp_path: Path) -> None:
    result = done("fit", "digits_cnn", "--smoke", "--runs-dir", tmp_path, "--json").json
    run = RunDir(Path(result["run"]))
    run.update_status(status="running")
    said = done("fit", "--resume", run.path, "--json")
    assert said.json == result and "a smoke run of 2 batches an epoch, continues after step 2" in said.err
    assert json.loads((run.path / "status.json").read_bytes())["smoke"] is True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "--resume", "auto"], "--resume auto wants the CONFIG as well"),
        (["fit"], "Missing argument 'CONFIG'"),
        (["fit", "--resume", "nothing"], "no run 'nothing'"),
    ],
)
def test_wrong_usage(words: list[str], message: str, tmp_path: Path) -> None:
    said = dltrain(*words, "--runs-dir", tmp_path / "none")
    assert said.code in (1, 2) and len(said.errors) == 1 and message in said.errors[0]


def test_a_run_that_is_being_trained(tmp_path: Path) -> None:
    run = stopped(tmp_path)
    run.hold()
    said = dltrain("fit", "--resume", run.path)
    assert said.code == 1 and "is being trained by process" in said.errors[0]
