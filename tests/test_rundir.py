"""A run directory: whole from the moment it has its name, and honest about what became of the run."""

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import checkpoint, make_job, new_run, train

from dltrain.errors import ConfigError, RunError
from dltrain.run import rundir
from dltrain.run.progress import Position
from dltrain.run.rundir import RunDir, all_runs
from dltrain.train import loop

# --- creating --------------------------------------------------------------------------------------------------------


def test_a_new_run(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "a" / "runs", "digits", "config\n", "source\n", {"numpy": "2"})
    assert run.path.parent == tmp_path / "a" / "runs"
    date, time, name = run.path.name.split("-")
    assert (len(date), len(time), name) == (8, 6, "digits") and (date + time).isdigit()
    assert sorted(p.name for p in run.path.iterdir()) == [
        "checkpoints", "config.yaml", "env.json", "layers.jsonl", "metrics.jsonl", "source.yaml", "status.json",
    ]  # fmt: skip
    assert (run.config.read_text(), run.source.read_text()) == ("config\n", "source\n")
    assert json.loads(run.environment.read_text()) == {"numpy": "2"}
    status = run.status()
    assert (status["status"], status["pid"], status["host"]) == ("running", os.getpid(), socket.gethostname())
    assert [p.name for p in run.path.parent.iterdir()] == [run.path.name], "no draft is left"


def test_runs_of_the_same_second_get_different_directories(tmp_path: Path) -> None:
    found: list[RunDir] = []

    def create() -> None:
        for _ in range(10):
            found.append(new_run(tmp_path))

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({run.path for run in found}) == len(list((tmp_path / "runs").iterdir())) == 40
    assert all(run.config.is_file() for run in found)


def test_a_directory_has_its_name_only_once_its_config_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        assert all_runs(tmp_path / "runs") == [] and path.parent.name.startswith(".")
        if path.name == "env.json":
            raise OSError("no space left on device")
        path.write_bytes(data)

    monkeypatch.setattr(rundir, "write_atomically", full)
    with pytest.raises(OSError, match="no space left"):
        new_run(tmp_path)
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "ü", "a b", "x" * 101, "a\n"])
def test_names_that_cannot_be(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run name"):
        new_run(tmp_path, name)
    assert not (tmp_path / "runs").exists()


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_is_changed_key_by_key(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.update_status(steps=3, train={"loss": 1.0})
    run.update_status(steps=4)
    assert (run.status()["steps"], run.status()["train"], run.status()["status"]) == (4, {"loss": 1.0}, "running")


def test_a_run_whose_process_is_gone_has_crashed(tmp_path: Path) -> None:
    code = "import os, pathlib, sys, builders; builders.new_run(pathlib.Path(sys.argv[1])); os._exit(1)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parent, check=False)
    (run,) = all_runs(tmp_path / "runs")
    assert run.status()["status"] == "crashed"
    run.update_status(host="another machine")
    assert run.status()["status"] == "running", "nobody can know here"
    run.update_status(host=socket.gethostname(), status="done")
    assert run.status()["status"] == "done"


def test_a_run_is_held_by_one_process(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    same = RunDir(run.path)
    assert same.status()["status"] == "running" and not same.is_free()
    with pytest.raises(RunError, match=rf"is being trained by process {os.getpid()} on {socket.gethostname()}"):
        same.hold()
    run.release()
    assert same.status()["status"] == "crashed" and same.is_free()
    same.hold()
    assert run.status()["status"] == "running"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b'{"status": 3}', b"\xff\xfe", b'{"status": "done"} x'])
def test_a_damaged_status_is_a_run_error(damage: bytes, tmp_path: Path) -> None:
    run = new_run(tmp_path)
    (run.path / "status.json").write_bytes(damage)
    with pytest.raises(RunError, match=r"status\.json"):
        run.status()


# --- logs ------------------------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_dropped_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = new_run(tmp_path)
    assert run.rows(run.metrics) == []
    run.append(run.metrics, {"step": 1, "name": "naïve\u2028"}, {"step": 2})
    text = run.metrics.read_text()
    for cut in range(len(text.splitlines(keepends=True)[0]), len(text) - 2):
        run.metrics.write_text(text[:cut])
        caplog.clear()
        assert run.rows(run.metrics) == [{"step": 1, "name": "naïve\u2028"}]
        assert ("never finished" in caplog.text) == (not text[:cut].endswith("\n"))
    run.metrics.write_text('{"step": 1}\n{"step": \n{"step": 3}\n')
    assert run.rows(run.metrics) == [{"step": 1}] and "metrics.jsonl:2: damaged; 2 lines" in caplog.text


def test_rows_wait_a_moment_for_others_and_never_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0
    monkeypatch.setattr("time.monotonic", lambda: clock)
    run = new_run(tmp_path)

    def written() -> list[int]:
        return [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()]

    run.log_step({"step": 1})
    assert written() == [1]
    clock += 0.01
    run.log_step({"step": 2})
    assert written() == [1]
    clock += 0.1
    run.log_step({"step": 3})
    assert written() == [1, 2, 3]
    run.log_step({"step": 4})
    run.append(run.metrics, {"step": 5})  # order is kept
    assert written() == [1, 2, 3, 4, 5]
    for step, look in enumerate([lambda: run.rows(run.metrics), run.log_lengths, run.flush], start=6):
        run.log_step({"step": step})
        assert written()[-1] == step - 1
        look()
        assert written()[-1] == step


def test_what_json_has_not_is_never_written(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            run.append(run.metrics, {"loss": value})
        with pytest.raises(ValueError, match="JSON"):
            run.update_status(best_loss=value)
    assert run.rows(run.metrics) == [] and "best_loss" not in run.status()


# --- checkpoints -----------------------------------------------------------------------------------------------------


def save(run: RunDir, step: int, best: bool, keep: int = 1) -> list[str]:
    kept = checkpoint(step)
    kept = replace(kept, position=Position(step, 1, step), progress=replace(kept.progress, best_step=None))
    run.save(kept, best, keep)
    return sorted(os.listdir(run.checkpoints))


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    for which in ("last", "best"):
        with pytest.raises(RunError, match=f"no {which} checkpoint yet"):
            run.checkpoint(which)
    name = "step-{:08d}.safetensors".format
    assert save(run, 1, True) == [name(1)]
    assert save(run, 2, False) == [name(1), name(2)]
    assert save(run, 3, False) == [name(1), name(3)]
    assert [run.checkpoint(which).position.step for which in ("last", "best")] == [3, 1]
    assert save(run, 4, True) == [name(4)]
    assert save(run, 4, False) == [name(4)]
    assert [run.checkpoint(which).position.step for which in ("last", "best")] == [4, 4]


@pytest.mark.parametrize("keep", [1, 2, 3, 10])
def test_the_newest_few_are_kept_beside_the_best(keep: int, tmp_path: Path) -> None:
    run = new_run(tmp_path)
    for step in range(1, 8):
        save(run, step, step == 2, keep)
    assert run.saved_steps() == sorted({2, *range(max(1, 8 - keep), 8)})


def test_what_a_broken_save_left_is_removed_when_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the writing of the last checkpoint and the removing of older ones, of which nobody comes again."""
    whole, broken = new_run(tmp_path / "whole"), new_run(tmp_path / "broken")
    for step in (1, 2, 3):
        save(whole, step, step == 1)
        if step == 3:
            monkeypatch.setattr(RunDir, "_remove_older", lambda *_: None)
        save(broken, step, step == 1)
    monkeypatch.undo()
    assert (whole.saved_steps(), broken.saved_steps()) == ([1, 3], [1, 2, 3])
    kept = broken.checkpoint("last")
    kept = replace(kept, progress=replace(kept.progress, best_step=1))
    broken.reopen(kept, {}, None, 1)
    assert broken.saved_steps() == [1, 3]


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = new_run(tmp_path)
    for step in (1, 2, 3):
        save(run, step, step == 3, keep=3)
    paths = sorted(run.checkpoints.iterdir())
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    assert run.checkpoint("last").position.step == 2 and str(paths[2]) in caplog.text
    with pytest.raises(RunError, match=paths[2].name):
        run.checkpoint("best")
    for path in paths[:2]:
        path.write_bytes(b"")
    with pytest.raises(RunError, match=r"step-00000001.*damaged checkpoint"):
        run.checkpoint("last")


def test_a_checkpoint_that_is_gone_is_a_run_error(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    save(run, 1, True)
    (run.checkpoints / "step-00000001.safetensors").unlink()
    with pytest.raises(RunError, match="no such checkpoint"):
        run.checkpoint("last")
    run.update_status(last="../../outside.safetensors")
    with pytest.raises(RunError, match="no such checkpoint"):
        run.checkpoint("last")


@pytest.mark.parametrize(("every", "steps"), [(1, [4, 8, 12, 16]), (2, [8, 16]), (3, [12, 16]), (9, [16])])
def test_checkpoints_are_written_every_so_many_epochs_and_at_the_end(
    every: int, steps: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    plain = RunDir.save

    def watched(self: RunDir, kept: Any, best: bool, keep: int) -> None:
        if not best:
            saved.append(kept.position.step)
        plain(self, kept, best, keep)

    monkeypatch.setattr(RunDir, "save", watched)
    # a loss that only rises: the first epoch is the best one
    losses = iter(range(1, 5))
    monkeypatch.setattr(loop, "validate", lambda *_: {"loss": next(losses, 9)})
    train(make_job(checkpoints={"every_epochs": every}, epochs=4), tmp_path)
    assert saved == [step for step in steps if step != 4]


# --- finding ---------------------------------------------------------------------------------------------------------
