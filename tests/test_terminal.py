"""What a person at a terminal sees: tables that fit, a bar while something takes long, the line that goes on."""

import io
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from commands import dltrain, done
from rich.console import Console

from dltrain import progress
from dltrain.cli import console
from dltrain.errors import Interrupted

Show = Callable[..., tuple[str, str]]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """A function that shows a table at a terminal of this width: (stdout, stderr)."""

    def show(width: int, *table: Any) -> tuple[str, str]:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(width))
        said: list[str] = []
        monkeypatch.setattr(console, "info", said.append)
        console.result_table(*table)
        out = capsys.readouterr().out
        for code in ("\x1b[1m", "\x1b[0m"):
            out = out.replace(code, "")
        return out, " ".join(said)

    return show


COLUMNS = ["run", "optimizer.lr", "accuracy", "loss over epochs", "what came of it"]
ROWS = [["20261130-101500-digits_cnn-lr=0.001", 0.001, 0.98765, "▁▂▃▄▅▆▇█▁▂▃▄", "no clear difference from the best"]]


@pytest.mark.parametrize(
    ("width", "expendable", "gone"),
    [
        (140, [], []),
        (104, [], []),
        (80, [], ["what came of it"]),
        (80, ["loss over epochs"], ["loss over epochs"]),
        (60, ["loss over epochs"], ["loss over epochs", "what came of it"]),
        (40, ["loss over epochs", "accuracy"], COLUMNS[1:]),
    ],
)
def test_columns_are_left_out_by_priority(terminal: Show, width: int, expendable: list[str], gone: list[str]) -> None:
    out, err = terminal(width, COLUMNS, ROWS, expendable)
    lines = out.splitlines()
    assert max(map(len, map(str.rstrip, lines))) <= width
    head = " ".join(" ".join(line.split()) for line in lines)
    assert all((column in head) == (column not in gone) or " " in column for column in COLUMNS)
    assert ("0.9877" in out) == ("accuracy" not in gone) and ROWS[0][0] in out, "no number and no name is broken"
    said = " ".join(err.split())
    assert said == (
        f"left out at {width} columns: {', '.join(gone)}; a wider terminal or --json shows all" if gone else ""
    )


def test_a_pipe_gets_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    console.result_table(COLUMNS, ROWS * 2, ["accuracy"])
    said = capsys.readouterr()
    assert said.err == "" and len(said.out.splitlines()) == 3 and "best" in said.out.splitlines()[1]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal, and nobody waits before a bar is drawn."""
    drawn = io.StringIO()
    monkeypatch.setattr(console, "_err", lambda: Console(file=drawn, force_terminal=True, width=80))
    monkeypatch.setattr(console, "PATIENCE", 0.0)
    return drawn


def test_a_bar_shows_how_far_and_goes_away(screen: io.StringIO) -> None:
    with console.progress("work"):
        for number in progress.over([1, 2], "outer"):
            for _ in progress.over(range(2), "inner"):
                if number == 2:
                    time.sleep(0.4)
    text = screen.getvalue()
    assert "outer" in text and "inner" not in text and "━" in text and "left" in text
    assert text.rindex("\x1b[2K") > text.rindex("left"), "the line is wiped"


def test_the_share_of_loops_in_loops() -> None:
    told: list[tuple[str, float]] = []
    with progress.watched(lambda what, share: told.append((what, share))):
        for _ in progress.over("ab", "outer"):
            for letter in progress.over("cdef", "inner"):
                if letter == "e":
                    break
    assert [share for _, share in told] == [0, 0, 0.125, 0.25, 0.5, 0.5, 0.625, 0.75, 1]
    assert told[0] == ("outer", 0) and told[1] == ("", 0)
    assert list(progress.over("ab", "unwatched")) == ["a", "b"] and len(told) == 9


@pytest.mark.parametrize(
    "command",
    [("lr-find", "smoke"), ("check", "smoke"), ("eval",), ("predict", "INPUT"), ("visualize", "--layer", "conv1"),
     ("compare", "runs")],
)  # fmt: skip
def test_what_takes_long_has_a_bar(command: tuple[str, ...], screen: io.StringIO, ran: Any, tmp_path: Any) -> None:
    heard: list[float] = []
    tell = console._Bar.tell
    with patch.object(console._Bar, "tell", lambda bar, *told: (heard.append(told[1]), tell(bar, *told))):
        words = [ran["input"] if word == "INPUT" else ran["runs"] if word == "runs" else word for word in command]
        more = [] if command[0] in ("lr-find", "check") else ["--runs-dir", ran["runs"]]
        done(*words, *more)
    assert heard and max(heard) == 1 and console._bar is None


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    import numpy as np

    runs = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        done("fit", "smoke", "--max-steps", 2, "--seed", seed, "--runs-dir", runs)
    np.savez(runs.parent / "new.npz", x=np.zeros((3, 8, 8, 1), np.float32))
    return {"runs": runs, "input": runs.parent / "new.npz"}


def test_ctrl_c_prints_the_line_that_resumes(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def stop(*_: Any) -> None:
        raise Interrupted("interrupted; the training so far is saved in it", 130)

    monkeypatch.setattr("dltrain.api.fit", stop)
    said = dltrain("fit", "smoke", "--runs-dir", tmp_path)
    (run,) = tmp_path.iterdir()
    assert said.code == 130 and f"resume with: dltrain fit --resume {run}\n" in said.err
    said = dltrain("fit", "smoke", "--seeds", 2, "--runs-dir", tmp_path / "groups")
    (group,) = (tmp_path / "groups").iterdir()
    assert said.err.count("resume with: ") == 1 and f"resume with: dltrain fit --resume {group}\n" in said.err
