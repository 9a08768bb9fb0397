"""`dltrain sweep`: trials are ordinary runs, trained once by any number of workers, and the end says which is best."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import dltrain, done, start
from endurance.harness import Place

from dltrain.cli.worker import How, Worker
from dltrain.errors import Pruned
from dltrain.run.claim import Claim
from dltrain.run.group import Group, Member
from dltrain.run.rundir import RunDir
from dltrain.sweep.pruning import Pruning, given_up, judging
from dltrain.train import loop

SPACE = """\
strategy: sobol
trials: 4
space:
  optimizer.lr: {log_uniform: [1e-4, 1e-1]}
  train.batch_size: {integers: [16, 40]}
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A config that trains in a tenth of a second."""
    return Place(tmp_path)


def sweep_of(place: Place, space: str = SPACE) -> list[object]:
    """The words of the command."""
    (place.folder / "sweep.yaml").write_text(space)
    return ["sweep", place.config, place.folder / "sweep.yaml", "--runs-dir", place.runs]


def results(place: Place) -> dict[str, tuple[Any, ...]]:
    """Of each trial what it came to."""
    (group,) = place.runs.glob("[!.]*")
    return {
        label: (run.last_status()["status"], run.last_status().get("weights_sha256"))
        for label, run in Group.read(group).runs().items()
    }


def test_trials_are_the_runs_that_they_would_be_alone(place: Place) -> None:
    said = done(*sweep_of(place), "--workers", 2, "--json")
    found = said.json
    assert [Path(run["run"]).name[16:] for run in found["runs"]] == [f"trial{n:04}" for n in range(4)]
    group = Group.read(Path(found["group"]))
    for member, run in zip(group.members, found["runs"], strict=True):
        alone = done("fit", place.config, *member.changes, "--runs-dir", place.folder / "alone", "--json").json
        assert alone["weights_sha256"] == run["weights_sha256"]
    assert not (group.path / "claims").exists()


def test_it_ends_with_the_answer_a_page_a_table_and_the_best_config(place: Place) -> None:
    words = sweep_of(place, f"seeds: 3\n{SPACE}")
    said = done(*words)
    (path,) = place.runs.glob("[!.]*")
    assert said.out.endswith(f"\ngroup {path}: sweep.html, sweep.csv, best.yaml\n")
    assert re.search(r"best by validation loss: lr \S+, batch_size \d+ \(\d\.\d+ ± \d\.\d+\)", said.out)
    rows = list(csv.DictReader((path / "sweep.csv").read_text().splitlines()))
    assert len(rows) == 12 and [row["rank"] for row in rows] == [str(n) for n in range(1, 5) for _ in range(3)]
    means = [sum(float(row["validation loss"]) for row in rows[i : i + 3]) / 3 for i in range(0, 12, 3)]
    assert means == sorted(means) and not any("test" in key for key in rows[0])
    best = RunDir(path / rows[0]["run"])
    again = done("fit", path / "best.yaml", "--runs-dir", place.folder / "alone", "--json").json
    assert again["weights_sha256"] == best.last_status()["weights_sha256"]
    page = (path / "sweep.html").read_text()
    assert page.count('class="strand') == 4 and 'aria-label="4 variants over optimizer.lr, train.batch_size, ' in page
    assert done("compare", path, "--json").json["judged"] == "validation loss"


@pytest.mark.slow
def test_the_same_command_adds_and_leaves_what_is_there(place: Place) -> None:
    words = sweep_of(place)
    first = done(*words, "--trials", 2, "--json").json
    before = {run["run"]: (Path(run["run"]) / "status.json").read_bytes() for run in first["runs"]}
    assert done(*words, "--trials", 2, "--json").json == first, "nothing is left to train"
    more = done(*words, "--json").json
    assert more["group"] == first["group"] and len(more["runs"]) == 4 and more["runs"][:2] == first["runs"]
    assert {path: (Path(path) / "status.json").read_bytes() for path in before} == before
    other = sweep_of(place, SPACE.replace("trials: 4", "trials: 1").replace("1e-4", "1e-3"))
    assert done(*other, "--json").json["group"] != first["group"], "another space is another sweep"
    assert done(*other, "--name", "again", "--json").json["group"].endswith("-again")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_goes_on(number: int, place: Place) -> None:
    words = [*sweep_of(place), "train.epochs=60", "--workers", 2]
    process = start(*words)
    deadline = time.monotonic() + 60
    logs = "*/*/metrics.jsonl"
    while time.monotonic() < deadline and sum(log.stat().st_size > 0 for log in place.runs.glob(logs)) < 2:
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    (group,) = place.runs.glob("[!.]*")
    assert process.returncode == 128 + number, err
    assert f"resume with: dltrain fit --resume {group} --jobs 2" in err and "Traceback" not in err, err
    assert any(state == "interrupted" for state, _ in results(place).values())
    done("fit", "--resume", group, "--jobs", 2)
    interrupted = results(place)
    assert len(interrupted) == 4 and {state for state, _ in interrupted.values()} == {"done"}
    place.clear()
    done(*words)
    assert results(place) == interrupted


def test_jobs_train_a_group_to_the_same_bits(place: Place) -> None:
    words = ["fit", place.config, "--seeds", 3, "--json", "--runs-dir"]
    one, two = (done(*words, place.folder / f"{jobs}", "--jobs", jobs).json for jobs in (1, 2))
    assert [run["weights_sha256"] for run in one["runs"]] == [run["weights_sha256"] for run in two["runs"]]
    assert one["variants"][0]["results"] == two["variants"][0]["results"]


def test_a_worker_takes_over_what_a_dead_one_left(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is killed in the second of three; another in the same folder continues that one and leaves the first."""
    whole = done("fit", place.config, "--seeds", 3, "--json", "--runs-dir", place.folder / "whole").json
    plain, steps = loop.train_step, []

    def step(*arguments: Any) -> Any:
        steps.append(0)
        if len(steps) == 24:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*arguments)

    if (child := os.fork()) == 0:
        loop.train_step = step
        dltrain("fit", place.config, "--seeds", 3, "--runs-dir", place.runs)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (group,) = place.runs.glob("[!.]*")
    found = done("fit", "--resume", group, "--json").json
    assert [run["weights_sha256"] for run in found["runs"]] == [run["weights_sha256"] for run in whole["runs"]]
    resumed = [bool(RunDir(Path(run["run"])).last_status().get("resumed")) for run in found["runs"]]
    assert resumed == [False, True, False]


def test_nobody_trains_what_another_trains(place: Place) -> None:
    """A worker passes what is held, waits for its end, and goes on with it when its holder lets go."""
    group = Group.create(place.runs, "two", place.config.read_text(), [Member("a", []), Member("b", ["seed=1"])], False)
    claim = Claim.take(group.path, "a")
    assert claim
    ended: list[str] = []

    def told(member: Member, error: Exception | None, over: int) -> None:
        ended.append(member.label)
        assert Claim.take(group.path, "a") is None or member.label == "a"
        claim.release(ended=False)

    Worker(group.path, How(None, 1, "auto"), lambda training, *_: training.fit() and None, told).work()
    assert ended == ["b", "a"] and not (group.path / "claims").exists()


def test_a_claim_dies_with_its_process(tmp_path: Path) -> None:
    take = f"from dltrain.run.claim import Claim; c = Claim.take(Path({str(tmp_path)!r}), 'a')"
    text = f"import time; from pathlib import Path; {take}; print(c is not None, flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"True\n"
    assert Claim.take(tmp_path, "a") is None and Claim.take(tmp_path, "b")
    process.kill()
    process.communicate()
    assert Claim.take(tmp_path, "a")


# --- pruning -----------------------------------------------------------------------------------------------------


def test_the_median_rule() -> None:
    others = [[5.0, 4.0], [5.0, 3.0], [5.0, 2.0]]
    assert given_up([9.0, 3.0], others, "loss", 3) is None, "as good as the median is good enough"
    assert given_up([2.9, 9.0], others, "loss", 3) is None, "the best so far counts"
    assert given_up([9.0, 3.1], others, "loss", 3) == (
        "pruned after epoch 2: validation loss 3.1000 at best, the median of 3 earlier trials is 3.0000"
    )
    assert given_up([9.0, 3.1], others, "loss", 4) is None, "too few to judge by"
    assert given_up([0.0, 0.0, 9.0], others, "loss", 1) is None, "nobody has come so far"
    assert (
        given_up([0.2, 0.3], [[0.1, 0.5]], "accuracy", 1) and given_up([0.5, 0.3], [[0.1, 0.5]], "accuracy", 1) is None
    )


def test_who_is_judged_by_whom() -> None:
    """Of the same seed, and far enough before; so the workers' pace is nothing that decides."""
    members = [Member(f"{trial}-{seed}", []) for trial in range(5) for seed in "ab"]
    group = Group(Path(), members, False)
    assert [m.label for m in judging(group, members[9], 2, 3)] == ["0-b", "1-b"]
    assert judging(group, members[4], 2, 3) == []
    assert [m.label for m in judging(group, members[6], 2, 3)] == ["0-a"]


BAD_LAST = """\
strategy: grid
prune: {median: 2}
space: {optimizer.lr: {choice: [0.02, 0.03, 0.01, 1e-7, 0.1]}}
"""


def test_a_bad_trial_is_given_up(place: Place) -> None:
    words = sweep_of(place, BAD_LAST)
    said = done(*words, "--workers", 2)
    states = {label: state for label, (state, _) in results(place).items()}
    assert states == {f"trial{n:04}": "pruned" if n == 3 else "done" for n in range(5)}
    (path,) = place.runs.glob("[!.]*")
    run = Group.read(path).runs()["trial0003"]
    reason = run.last_status()["ended_by"]["reason"]
    assert reason.startswith("pruned after epoch 1: validation loss ") and reason in said.err
    last = list(csv.DictReader((path / "sweep.csv").read_text().splitlines()))[-1]
    assert (last["status"], last["epochs"], last["ended_by"]) == ("pruned", "1", reason)
    assert said.out.splitlines()[5].split()[2] == "pruned"
    assert "test" not in run.last_status() and run.saved_steps(), "it can be given its whole length"
    done("fit", "--resume", run.path)
    assert run.last_status()["status"] == "done"


def test_what_was_given_up_counts_as_far_as_it_came(place: Place) -> None:
    """Else only ever better ones would be left to be measured by: the third is worse than the first alone, yet better
    than the median of both."""
    done(*sweep_of(place, "strategy: grid\nprune: {median: 1}\nspace: {optimizer.lr: {choice: [0.1, 1e-7, 0.05]}}\n"))
    assert [state for state, _ in results(place).values()] == ["done", "pruned", "done"]


@pytest.mark.slow
def test_what_was_given_up_before_a_kill_is_given_up_after_it(place: Place) -> None:
    """Killed between its last epoch and the word about it."""
    done(*sweep_of(place, BAD_LAST))
    group = Group.read(next(place.runs.glob("[!.]*")))
    runs = group.runs()
    pruned = runs["trial0003"]
    others = [runs[f"trial{n:04}"] for n in range(2)]
    with pytest.raises(Pruned, match="pruned after epoch 1"):
        Pruning(pruned, others, "loss", 2).started(20, 4)
    before = (pruned.metrics.read_bytes(), pruned.last_status()["ended_by"], pruned.last_status()["weights_sha256"])
    pruned.update_status(status="running", ended_by=None)
    done("fit", "--resume", group.path)
    assert (pruned.metrics.read_bytes(), pruned.last_status()["ended_by"], results(place)["trial0003"][1]) == before


# --- what goes wrong ---------------------------------------------------------------------------------------------


def test_a_trial_that_diverges_is_an_answer(place: Place) -> None:
    said = done(*sweep_of(place, "strategy: grid\nspace: {optimizer.lr: {choice: [0.1, 1e30]}}\n"), "optimizer=sgd")
    assert [state for state, _ in results(place).values()] == ["done", "diverged"]
    assert "trial0001 diverged" in said.err and "best by validation loss: lr 0.1" in said.out


def test_a_trial_that_does_not_fit_stops_no_other(place: Place) -> None:
    """A window of 9 without padding: neither value is wrong by itself."""
    kernel, padding = (
        "model.layers.conv1.kernel: {choice: [3, 9]}",
        "model.layers.conv1.padding: {choice: [valid, same]}",
    )
    words = sweep_of(place, f"strategy: sobol\ntrials: 4\nspace: {{{kernel}, {padding}}}\n")
    said = dltrain("sweep", "smoke", *words[2:], "train.max_steps=2")
    assert said.code == 1 and len(said.errors) == 1 and said.errors[0].startswith("1 of 4 runs failed: trial000"), (
        said.err
    )
    assert said.err.count("does not fit its input (8, 8, 1)") == 1
    assert [state for state, _ in results(place).values()] == ["done"] * 3 and "best by validation loss" in said.out


@pytest.mark.parametrize(
    ("space", "words", "message"),
    [
        ("space: {optimizer.lr: {uniform: [0.1, 1]}}\n", [], "how many trials? Write `trials: 30`, or give --trials"),
        (SPACE, ["data.validation=0"], "a sweep chooses by validation examples, of which there are none"),
        (SPACE, ["--storage", "sqlite:///a.db"], "--storage keeps Optuna's study: it is for `strategy: tpe`"),
        (SPACE.replace("optimizer.lr", "optimizer.rate"), [], "sweep.yaml:4:"),
        (SPACE, ["--name", "a/b"], "run name 'a/b'"),
        (SPACE, ["train.epochs=none"], "train.epochs: expected a whole number"),
    ],
    ids=["trials", "validation", "storage", "space", "name", "override"],
)
def test_what_is_refused_leaves_nothing(space: str, words: list[str], message: str, place: Place) -> None:
    said = dltrain(*sweep_of(place, space), *words)
    assert said.code == 2 and len(said.errors) == 1 and message in said.err
    assert not place.has_run()


def test_jobs_are_for_groups(place: Place) -> None:
    said = dltrain("fit", place.config, "--jobs", 2)
    assert said.code == 2 and said.errors == ["--jobs is for a group: --seeds, --vary, --folds, or --resume GROUP"]
