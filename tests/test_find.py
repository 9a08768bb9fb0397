"""What RUN and GROUP mean on the command line."""

import json
import logging
import os
from pathlib import Path

import pytest

from dltrain.errors import RunError
from dltrain.run.find import find_group, find_run, find_runs
from dltrain.run.group import Group
from dltrain.run.rundir import all_runs


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    for i, name in enumerate(["20260101-100000-digits", "20260101-100000-digits-2", "20260102-000000-cifar"]):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.yaml").write_text("")
        os.utime(folder / name / "config.yaml", (1000 + i, 1000 + i))
    (folder / ".new-abc").mkdir()
    (folder / ".new-abc" / "config.yaml").write_text("")
    (folder / "empty").mkdir()
    (folder / "notes.txt").write_text("")
    return folder


@pytest.fixture
def grouped(runs: Path) -> Path:
    """Beside these runs a group, whose first member began in the same second, and one of the same name."""
    for group, members in {
        "20260103-000000-digits": ["20260103-000000-seed0", "20260103-000001-seed1"],
        "20260104-000000-lr": ["20260104-000000-fold1", "20260104-000009-fold2"],
        "20260105-000000-lr": ["20260105-000000-fold1"],
    }.items():
        (runs / group).mkdir()
        plan = {"smoke": False, "members": [{"label": member[16:], "changes": []} for member in members]}
        (runs / group / "group.json").write_text(json.dumps(plan))
        for member in members:
            (runs / group / member).mkdir()
            (runs / group / member / "config.yaml").write_text("")
    return runs


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (None, "20260102-000000-cifar"),
        ("latest", "20260102-000000-cifar"),
        ("cifar", "20260102-000000-cifar"),
        ("20260101-100000-digits", "20260101-100000-digits"),  # a whole name, although it is a part of another one
        ("digits", "20260101-100000-digits"),  # whole but for the date
        ("digits-2", "20260101-100000-digits-2"),
    ],
)
def test_a_run_is_found_by_name_or_part_of_it(text: str | None, name: str, runs: Path) -> None:
    assert find_run(text, runs).path == runs / name


def test_a_run_is_found_by_its_path_wherever_it_is(runs: Path, tmp_path: Path) -> None:
    moved = tmp_path / "kept"
    (runs / "20260102-000000-cifar").rename(moved)
    assert find_run(str(moved), runs).path == moved
    assert find_run(str(moved) + "/", tmp_path / "nowhere").path == moved


def test_the_newest_is_told_by_time_not_by_name(runs: Path) -> None:
    os.utime(runs / "20260101-100000-digits" / "config.yaml", (2000, 2000))
    assert find_run(None, runs).path.name == "20260101-100000-digits"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("digit", "'digit' fits 2 runs in .*: 20260101-100000-digits, 20260101-100000-digits-2; ambiguous"),
        ("20260", "fits 3 runs"),
        ("mnist", "no run 'mnist' in .*`dltrain runs` lists"),
        pytest.param("x" * 5000, "no run", id="too long for a path"),
        ("a\0b", "no run"),
        ("", "fits 3 runs"),
    ],
)
def test_what_is_said_where_none_is_found(text: str, said: str, runs: Path) -> None:
    with pytest.raises(RunError, match=said):
        find_run(text, runs)


def test_a_directory_that_is_no_run(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is no run directory: it has no config\.yaml"):
        find_run(str(runs / "empty"), runs)
    (runs / "20260102-100000-ghost").mkdir()
    for text in ("empty", "20260102-100000-ghost", "ghost"):
        with pytest.raises(RunError, match=rf"{text} is no run directory: it has no config\.yaml; .* lists the runs"):
            find_run(text, runs)
    for text in (None, "latest"):
        with pytest.raises(RunError, match=r"there is no run in .*; start one with: dltrain fit CONFIG"):
            find_run(text, tmp_path / "nowhere")


def test_all_runs_are_listed_oldest_first(runs: Path, tmp_path: Path) -> None:
    assert [run.path.name[9:] for run in all_runs(runs)] == ["100000-digits", "100000-digits-2", "000000-cifar"]
    assert all_runs(tmp_path / "nowhere") == []


def test_a_name_means_the_newest_of_it_and_a_line_says_so(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dltrain")
    for stamp in ("20260102-000001", "20260101-110000"):
        (runs / f"{stamp}-digits").mkdir()
        (runs / f"{stamp}-digits" / "config.yaml").write_text("")
    newest = runs / "20260102-000001-digits"
    assert find_run("digits", runs).path == newest and find_runs("digits", runs)[0].path == newest
    assert caplog.messages == [f"digits: the newest of 3 with that name, {newest}"] * 2
    caplog.clear()
    assert find_run("cifar", runs).path.name == "20260102-000000-cifar" and not caplog.messages
    with pytest.raises(RunError, match=r"'igits' fits 4 runs.*20260101-110000-digits.*ambiguous; use a longer name"):
        find_run("igits", runs)


def test_a_smoke_run_is_told_unless_its_path_was_written(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    smoke, whole = runs / "20260102-000000-cifar", runs / "20260101-100000-digits"
    for run, status in ((smoke, {"status": "done", "smoke": True}), (whole, {"status": "done"})):
        (run / "status.json").write_text(json.dumps(status))
    for text, what in (("cifar", "'cifar'"), (smoke.name, f"{smoke.name!r}"), (None, "the newest run")):
        assert find_run(text, runs).path == smoke
        assert caplog.messages == [f"{what}, {smoke}, is of --smoke: two batches, perhaps of made-up data"]
        caplog.clear()
    assert find_run("digits", runs).path == whole and find_run(str(smoke), runs).path == smoke
    assert not caplog.messages


# --- beside groups ---------------------------------------------------------------------------------------------------

FIRST = "20260103-000000-digits"
SEEDS = ["20260103-000000-seed0", "20260103-000001-seed1"]


def found(text: str, runs: Path) -> dict[str, object]:
    """What a text means to `eval`, to `fit --resume` and to `compare`: names, or the message."""

    def run() -> object:
        return find_run(text, runs).path.name

    def group() -> object:
        return where.path.name if (where := find_group(text, runs)) else run()

    def several() -> object:
        return [run.path.name for run in find_runs(text, runs)]

    told: dict[str, object] = {}
    for name, look in (("eval", run), ("resume", group), ("compare", several)):
        try:
            told[name] = look()
        except RunError as error:
            told[name] = str(error).removeprefix(repr(text)).split(":")[0].split(" in ")[0].strip()
    return told


@pytest.mark.parametrize(
    ("text", "run", "resume", "compare"),
    [
        (FIRST, "is a group of 2 runs", FIRST, SEEDS),
        ("20260103", "fits 2 runs", FIRST, SEEDS),  # part of the group's name and of its members'
        ("20260103-000000", SEEDS[0], FIRST, SEEDS),
        ("seed", "fits 2 runs", "fits 2 runs", SEEDS),
        ("seed0", SEEDS[0], SEEDS[0], SEEDS[:1]),
        (f"{FIRST}/{SEEDS[1]}", SEEDS[1], SEEDS[1], SEEDS[1:]),
        # without its date the name of a run and of a group; `digits-2` has it as a part only
        ("digits", "20260101-100000-digits", FIRST, SEEDS),
        ("lr", "is a group of 1 runs", "20260105-000000-lr", ["20260105-000000-fold1"]),
        ("fold1", "20260105-000000-fold1", "20260105-000000-fold1", ["20260105-000000-fold1"]),
        ("fold2", "20260104-000009-fold2", "20260104-000009-fold2", ["20260104-000009-fold2"]),
        ("nothing", "no run 'nothing'", "no run 'nothing'", "no run 'nothing'"),
        ("a\0b", "no run 'a\\x00b'", "no run 'a\\x00b'", "no run 'a\\x00b'"),
    ],
)
def test_names_of_runs_and_groups(text: str, run: str, resume: str, compare: str | list[str], grouped: Path) -> None:
    assert found(text, grouped) == {"eval": run, "resume": resume, "compare": compare}


def test_paths_of_groups_and_folders(grouped: Path) -> None:
    assert find_group(str(grouped / FIRST), Path("nowhere")) == Group.read(grouped / FIRST)
    for text in (str(grouped / FIRST), str(grouped / FIRST) + "/"):
        assert [run.path.name for run in find_runs(text, Path("nowhere"))] == SEEDS
    assert len(find_runs(str(grouped), Path("nowhere"))) == 8
    assert find_group("latest", grouped) is None and len(find_runs("latest", grouped)) == 1
