"""`fit --seeds`, `--vary`: a group trains what single runs would, survives interruption, and says what diverged."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import dltrain, done

from dltrain.run.group import Group
from dltrain.run.rundir import RunDir
from dltrain.train import loop

SHORT = ("smoke", "train.max_steps=4", "train.batch_size=32")


def hashes(group: str) -> dict[str, str]:
    """Member -> SHA-256 of its weights."""
    found = done("fit", "--resume", group, "--json").json["runs"]
    return {Path(run["run"]).name[16:]: run["weights_sha256"] for run in found}


def test_each_member_is_the_run_that_it_would_be_alone(tmp_path: Path) -> None:
    words = ["--vary", "optimizer.type=sgd,adam", "--seeds", 2, "--seed", 5, "--name", "both"]
    found = done("fit", *SHORT, *words, "--runs-dir", tmp_path, "--json").json
    assert Path(found["group"]).name[16:] == "both" and {run["status"] for run in found["runs"]} == {"done"}
    got = {Path(run["run"]).name[16:]: run["weights_sha256"] for run in found["runs"]}
    assert list(got) == ["sgd-seed5", "sgd-seed6", "adam-seed5", "adam-seed6"] and len(set(got.values())) == 4
    alone = done("fit", *SHORT, "optimizer.type=adam", "--seed", 6, "--runs-dir", tmp_path, "--json").json
    assert alone["weights_sha256"] == got["adam-seed6"]
    listed = done("runs", "--runs-dir", tmp_path, "--json").json["runs"]
    assert sorted(row["run"][16:] for row in listed) == ["adam-seed5", "adam-seed6", "sgd-seed5", "sgd-seed6", "smoke"]
    assert done("eval", "sgd-seed5", "--runs-dir", tmp_path, "--json").json["split"] == "test"


def test_an_interrupted_group_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM in the second of three runs. What was finished stays; in the end all is as if nothing had happened."""
    plain, calls = loop.train_step, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(0)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(*arguments)

    whole = done("fit", *SHORT, "--seeds", 3, "--runs-dir", tmp_path / "whole", "--json").json["group"]
    monkeypatch.setattr(loop, "train_step", interrupted)
    said = dltrain("fit", *SHORT, "--seeds", 3, "--runs-dir", tmp_path / "broken")
    (group,) = (tmp_path / "broken").iterdir()
    assert said.code == 143 and f"resume with: dltrain fit --resume {group}" in said.err
    assert len(Group.read(group).runs()) == 2
    first = next(group.glob("*-seed0"))
    before = (first / "status.json").read_bytes()
    assert hashes(str(group)) == hashes(whole)
    assert len(calls) == 12 and (first / "status.json").read_bytes() == before


@pytest.mark.parametrize("way", [lambda path: path.symlink_to("nowhere"), lambda path: path.touch()])
def test_no_folder_to_keep_it_in(way: Callable[[Path], None], tmp_path: Path) -> None:
    way(tmp_path / "runs")
    said = dltrain("fit", *SHORT, "--seeds", 2, "--runs-dir", tmp_path / "runs")
    assert (said.code, len(said.errors)) == (1, 1) and "runs: no group can be kept here (File exists)" in said.err


def test_one_that_diverges_does_not_stop_the_others(tmp_path: Path) -> None:
    said = dltrain("fit", *SHORT, "optimizer=sgd", "--vary", "optimizer.lr=0.01,1e30,0.02", "--runs-dir", tmp_path)
    assert said.code == 3 and said.errors[-1] == "1 of 3 runs diverged: lr1e30"
    rows = [line.split() for line in said.out.splitlines()[1:4]]
    states = {row[0].rpartition("-")[2]: row[2] for row in rows}
    assert states == {"lr0.01": "done", "lr1e30": "diverged", "lr0.02": "done"}
    assert rows[2][0].endswith("-lr1e30"), "what has no result comes last"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*SHORT, "--vary", "optimizer.lr=0.1,fast"], "optimizer.lr: expected a number above 0"),
        ([*SHORT, "--vary", "optimizer.lr"], "write it as KEY=VALUE"),
        (["--seeds", "2"], "want a CONFIG"),
        ([*SHORT, "--seeds", "2", "--resume", "x"], "want a CONFIG"),
        ([*SHORT, "--seeds", "2", "--profile"], "--profile is for single runs"),
        ([*SHORT, "--seeds", "2", "--name", "a/b"], "run name 'a/b'"),
    ],
    ids=["value", "vary", "config", "resume", "profile", "name"],
)
def test_what_is_refused_leaves_nothing(words: list[str], message: str, tmp_path: Path) -> None:
    said = dltrain("fit", *words, "--runs-dir", tmp_path / "runs")
    assert said.code == 2 and message in said.err and not (tmp_path / "runs").exists()


def test_a_group_is_continued_as_planned(tmp_path: Path) -> None:
    group = done("fit", *SHORT, "--seeds", 2, "--runs-dir", tmp_path, "--smoke", "--json").json["group"]
    said = dltrain("fit", "--resume", group, "--max-steps", 9)
    assert said.code == 2 and "continues as it was planned" in said.errors[0]


def test_auto_takes_the_unfinished_group_of_the_same_plan(tmp_path: Path) -> None:
    words = ("fit", *SHORT, "--seeds", 2, "--runs-dir", tmp_path, "--resume", "auto", "--json")
    first = done(*words).json
    last = RunDir(Path(first["runs"][1]["run"]))
    assert done(*words).json["group"] != first["group"], "a finished one is not taken"
    last.update_status(status="interrupted")
    assert done(*words, "optimizer.lr=1e-3").json["group"] != first["group"], "another plan is another group"
    last.hold()
    assert done(*words).json["group"] != first["group"], "somebody trains it"
    last.release()
    assert done(*words).json == first


def test_a_group_among_the_runs(tmp_path: Path) -> None:
    """Its members have reports; `runs` tells whose they are; the group is compared by its name."""
    found = done("fit", *SHORT, "--seeds", 2, "--name", "twins", "--runs-dir", tmp_path, "--json").json
    done("fit", *SHORT, "--runs-dir", tmp_path, "--json")
    assert all((Path(run["run"]) / "report.html").is_file() for run in found["runs"])
    assert found["test"]["loss"]["count"] == 2 and found["test"]["loss"]["sd"] > 0
    name = Path(found["group"]).name
    assert [row.get("group") for row in done("runs", "--runs-dir", tmp_path, "--json").json["runs"]] == [
        name,
        name,
        None,
    ]
    page = tmp_path / "runs.html"
    assert done("runs", "--runs-dir", tmp_path, "--html", page).out.split()[0] == "group"
    assert page.read_text().count(f"of {name}</div>") == 2
    (variant,) = done("compare", "twins", "--runs-dir", tmp_path, "--json").json["variants"]
    assert variant["runs"] == [run["run"] for run in found["runs"]]
    varied = done("fit", *SHORT, "--vary", "train.epochs=1,2", "--runs-dir", tmp_path, "--json").json
    assert len(varied["variants"]) == 2, "a mean over different settings says nothing"
    assert varied["judged"] == "validation loss" and varied["test"]["loss"]["count"] == 1
