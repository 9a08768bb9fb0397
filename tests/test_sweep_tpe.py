"""`strategy: tpe`: Optuna asks, whoever trains answers; the study survives whoever dies."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from commands import dltrain, done
from endurance.harness import Place
from test_sweep import place as place  # a fixture
from test_sweep import sweep_of

from dltrain.run.group import Group
from dltrain.sweep import tpe
from dltrain.sweep.plan import read_plan

TPE = """\
strategy: tpe
trials: 14
space:
  optimizer.lr: {log_uniform: [1e-4, 1]}
  train.batch_size: {integers: [16, 40]}
  optimizer.type: {choice: [sgd, adam]}
"""


def changes(place: Place) -> list[list[str]]:
    (group,) = place.runs.glob("[!.]*")
    return [member.changes for member in Group.read(group).members]


def test_without_the_extra_it_says_what_to_install(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    said = dltrain(*sweep_of(place, TPE))
    assert said.code == 2 and said.errors == ["strategy: tpe wants Optuna; install it with: pip install '.[sweep]'"]


@pytest.fixture
def optuna() -> Any:
    return pytest.importorskip("optuna")


def test_it_asks_by_what_others_came_to(optuna: Any, place: Place) -> None:
    """After the first ten, which are drawn, trials gather where the loss is low."""
    found = done(*sweep_of(place, TPE), "train.epochs=2", "--json").json
    group = Group.read(Path(found["group"]))
    assert len(found["runs"]) == 14 and [m.label for m in group.members][-1] == "trial0013"
    plan = read_plan(group.space)
    study = tpe._study(optuna, group, "loss")
    told = [trial.value for trial in study.trials if trial.value is not None]
    assert told == [run["validation"]["loss"] for run in found["runs"]][: len(told)] and len(told) >= 13
    assert tpe.ask(group, plan, "loss") == [], "all have been asked for"


def test_the_same_trials_every_time(optuna: Any, place: Place) -> None:
    """One worker, once undisturbed and once killed in the midst: between an ask and its trial's end."""
    words = [*sweep_of(place, TPE), "train.epochs=1", "--trials", 12, "--workers", 1]
    done(*words)
    undisturbed = changes(place)
    place.clear()
    process = subprocess.Popen([sys.executable, "-m", "dltrain", *map(str, words)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(place.runs.glob("*/*trial*/metrics.jsonl"))) < 4:
        time.sleep(0.01)
    process.kill()
    process.wait()
    done(*words)
    assert changes(place) == undisturbed


def test_what_was_asked_for_and_not_written_down_is_not_lost(optuna: Any, place: Place) -> None:
    done(*sweep_of(place, TPE), "train.epochs=1", "--trials", 3)
    group = Group.read(next(place.runs.glob("[!.]*")))
    plan = read_plan(group.space)
    grown = group.grow([], 4)
    first = tpe.ask(grown, plan, "loss")
    journal = group.path / tpe.JOURNAL
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "tri')  # a line that a killed process did not finish
    assert tpe.ask(grown, plan, "loss") == first and [m.label for m in first] == ["trial0003"]


def test_seeds_are_told_as_their_mean(optuna: Any, place: Place) -> None:
    found = done(*sweep_of(place, f"seeds: 2\n{TPE}"), "train.epochs=1", "--trials", 3, "--workers", 2, "--json").json
    labels = [Path(run["run"]).name[16:] for run in found["runs"]]
    assert labels == [f"trial000{n}-seed{s}" for n in range(3) for s in range(2)]
    group = Group.read(Path(found["group"]))
    study = tpe._study(optuna, group, "loss")
    losses = [run["validation"]["loss"] for run in found["runs"]]
    assert study.trials[0].value == pytest.approx((losses[0] + losses[1]) / 2)


def test_a_password_is_not_kept(optuna: Any, place: Place) -> None:
    said = dltrain(*sweep_of(place, TPE), "--storage", "postgresql://me:secret@host/studies")
    assert said.code == 2 and "PGPASSWORD" in said.err and "secret" not in said.err and not place.has_run()


def test_a_storage_that_cannot_be_reached_is_told(optuna: Any, place: Place) -> None:
    said = dltrain(*sweep_of(place, TPE), "--storage", "sqlite:////nowhere/at/all.db")
    assert said.code == 1 and said.errors[0].startswith("Optuna: ") and not place.has_run(), said.err
    said = dltrain(*sweep_of(place, TPE), "--storage", "nowhere")
    assert said.code == 1 and said.errors[0].startswith("Optuna: ") and not place.has_run(), said.err


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of a real one, alone in a folder and listening on a socket there."""
    pytest.importorskip("psycopg", reason="no driver of PostgreSQL: pip install 'psycopg[binary]'")
    if not shutil.which("initdb") or not shutil.which("pg_ctl"):
        pytest.skip("no PostgreSQL: initdb and pg_ctl are not there")
    user = {"user": "nobody"} if os.geteuid() == 0 else {}  # it does not run as root
    with TemporaryDirectory() as folder:  # not in pytest's, which are root's alone
        if user:
            shutil.chown(folder, "nobody")

        def run(*words: str) -> None:
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)  # type: ignore[call-overload]

        data = f"{folder}/data"
        run("initdb", "-D", data, "-U", "tester", "--auth=trust", "--no-sync")
        run(
            "pg_ctl",
            "-D",
            data,
            "-o",
            f"-c listen_addresses= -k {folder} -c fsync=off",
            "-l",
            f"{folder}/log",
            "-w",
            "start",
        )
        try:
            yield f"postgresql://tester@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")


@pytest.mark.outside
def test_a_study_in_postgresql(optuna: Any, place: Place, postgres: str) -> None:
    """Two workers, one of them killed; the database has every trial once, told."""
    words = [*sweep_of(place, TPE), "train.epochs=1", "--trials", 8, "--storage", postgres]
    process = subprocess.Popen([sys.executable, "-m", "dltrain", *map(str, words)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(place.runs.glob("*/*trial*/metrics.jsonl"))) < 3:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    found = done(*words, "--workers", 2, "--json").json
    group = Group.read(Path(found["group"]))
    assert len(found["runs"]) == 8 and not (group.path / tpe.JOURNAL).exists()
    study = optuna.load_study(study_name=group.sweep.study, storage=postgres)  # type: ignore[union-attr]
    assert [trial.number for trial in study.trials] == list(range(8))
    assert sum(trial.state.is_finished() for trial in study.trials) >= 6
