"""What `fit` shows while it trains: lines, and the live view with its layers."""

import io
from typing import Any

import pytest
from commands import done
from rich.console import Console
from test_advice import layer

from dltrain.cli import console, live
from dltrain.cli.console import sparkline
from dltrain.cli.live import Lines, LiveView

Row = dict[str, Any]


class Clock:
    """Stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(live, "time", stopped)
    return stopped


def step(number: int, epoch: int = 1, loss: float = 0.5) -> Row:
    values = {"loss": loss, "data_loss": loss, "penalty": 0.0, "accuracy": 0.75, "lr": 3e-3}
    return {"epoch": epoch, "step": number, **values, "examples_per_second": 1234.5}


def epoch(number: int) -> Row:
    train = {"loss": 0.5, "data_loss": 0.5, "penalty": 0.0, "accuracy": 0.8}
    validation = {"loss": 0.4, "accuracy": 0.9}
    return {"epoch": number, "step": 10 * number, "train": train, "validation": validation, "seconds": 2.0}


def shown(view: LiveView, width: int = 100, running: list[Row] | None = None) -> str:
    out = Console(file=io.StringIO(), width=width, force_terminal=False)
    out.print(view._view(running or [], width))
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_lines_are_those_of_epochs_and_of_long_silence(clock: Clock) -> None:
    said: list[str] = []
    lines = Lines(said.append)
    lines.started(steps=100, epochs=10)
    for number in range(1, 11):
        clock.now += 7
        lines.stepped(step(number), list)
    lines.finished_epoch(epoch(1), [layer(dead_units=24, dead_share=0.375),
                                    layer("few", dead_units=8, dead_share=0.1)])  # fmt: skip
    lines.ended()
    assert said == [
        "epoch 1/10 · step 5/100 · loss 0.5000 accuracy 0.7500 · 11:05 left",
        "epoch 1/10 · step 10/100 · loss 0.5000 accuracy 0.7500 · 10:30 left",
        "epoch 1/10 · train loss 0.5000 accuracy 0.8000 · validation loss 0.4000 accuracy 0.9000 · "
        "dead units dense1 24/64 · 2.0 s",
    ]


@pytest.fixture
def view(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> LiveView:
    """After two epochs, the second one with a layer that has died."""
    pictures: list[Any] = []

    class Screen:
        def update(self, picture: Any, refresh: bool) -> None:
            assert refresh
            pictures.append(picture)

        def stop(self) -> None:
            pictures.append("stopped")

    monkeypatch.setattr(console, "live", Screen)
    monkeypatch.setattr(console, "info", lambda line: None)
    found = LiveView("digits", {"a": 10, "b": 10}, 0.69)
    found.pictures = pictures  # type: ignore[attr-defined]
    found.started(steps=30, epochs=3)
    for number in range(1, 21):
        clock.now += 0.1
        found.stepped(step(number, 1 + (number > 10), loss=2.0 / number), list)
        if number % 10 == 0:
            dead = 0.0 if number == 10 else 0.5
            found.finished_epoch(epoch(number // 10), [
                layer("conv1", number // 10, dead_share=dead, dead_units=int(64 * dead), update_ratio=2e-3),
                layer("dense1", number // 10, dead_share=None, gradient_norm=0.25 * number),
            ])  # fmt: skip
    return found


def test_the_live_view_says_how_far_how_well_and_what_is_sick(view: LiveView) -> None:
    text = shown(view, 120)
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines[1].startswith("digits  epoch 2/3  ━") and lines[1].endswith("20/30  0:01 left")
    assert lines[2].split()[:2] == ["loss", "0.1000"] and "█" in lines[2] and "validation 0.4000" in lines[2]
    assert "lr 0.003  1,234 examples/s" in lines[2] and lines[3].split()[:2] == ["accuracy", "0.7500"]
    conv, dense = (next(line for line in lines if line.startswith(name)) for name in ("conv1", "dense1"))
    assert conv.split() == ["conv1", "50%", "▁█", "2.0e-03", "▁▁", "1.0e+00", "▁▁"]
    assert dense.split() == ["dense1", "–", "1.0e-03", "▁▁", "5.0e+00", "▁█"]
    told = " ".join(" ".join(lines[lines.index(dense) + 1 :]).split())
    assert told.startswith("▲ conv1: 50 % of its 64 units are dead in epoch 2; try a lower optimizer.lr")
    assert "[" not in text, "no markup is shown as it is written"


def test_the_layers_are_shown_from_the_first_picture_on(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the running epoch, asked for once for each picture; marked as soon as there is enough to judge by."""
    pictures: list[str] = []

    class Screen:
        def update(self, picture: Any, refresh: bool) -> None:
            out = Console(file=io.StringIO(), width=100)
            out.print(picture)
            pictures.append(out.file.getvalue())  # type: ignore[attr-defined]

    asked: list[int] = []

    def look() -> list[Row]:
        asked.append(len(pictures))
        return [layer("conv1", dead_share=0.75, update_ratio=None),
                layer("dense1", dead_share=None, update_ratio=None)]  # fmt: skip

    monkeypatch.setattr(console, "live", Screen)
    view = LiveView("digits", {"a": 10, "b": 10}, 0.69)
    view.started(steps=300, epochs=3)
    for number in range(1, 41):
        clock.now += 0.1
        view.stepped(step(number), look)
    assert asked == list(range(len(pictures))) and len(pictures) == 14
    first, last = (next(line.split() for line in page.splitlines() if "conv1 " in line) for page in pictures[::13])
    assert first == last == ["conv1", "75%", "▁", "1.0e+00", "▁"], "no column without a number in it"
    judged = [number for number, page in enumerate(pictures) if "▲ conv1: 75 % of its 64 units are dead in epo" in page]
    assert judged == list(range(7, 14)), "step 22 is the first one drawn after step 20"


@pytest.mark.parametrize("width", [80, 120])
def test_columns_stay_where_they_are(view: LiveView, width: int) -> None:
    """From the first step to the last, whole titles and whole numbers, while figures and their courses grow."""
    def places() -> list[list[int]]:
        lines = shown(view, width).splitlines()
        head, figures = next(line for line in lines if line.startswith("layer ")), lines[2]
        assert all(title in head for title in ("dead units", "update ratio", "gradient")) and "…" not in head + figures
        return [[head.index(title) for title in ("dead", "update", "gradient")], [figures.index("validation"),
                figures.index("lr 0.0")]]  # fmt: skip

    before = places()
    view._row |= {"loss": 123.25, "lr": 0.0001}
    for number in range(3, 40):
        view._layers.append(layer("conv1", number, dead_share=1.0, dead_units=64, update_ratio=2e-3 * number))
        view._losses["loss"] += [float(number)] * 10
    assert places() == before


def test_dead_units_are_shown_where_advice_speaks_of_them(view: LiveView) -> None:
    assert "dead units" in shown(view)
    view._muted = ["dead_units"]
    assert "dead units" not in shown(view)
    view._muted = []
    view._layers = [layer("conv1", 1, dead_share=0.2)]
    assert "dead units" not in shown(view) and "update ratio" in shown(view)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_it_fits_any_terminal(view: LiveView, width: int) -> None:
    assert all(len(line) <= width for line in shown(view, width).splitlines())


def test_it_is_drawn_four_times_a_second_at_most_and_taken_away(view: LiveView) -> None:
    pictures = view.pictures  # type: ignore[attr-defined]
    assert 5 <= len(pictures) <= 4 * 2 + 1, "two seconds went by"
    view.ended()
    view.ended()
    assert pictures[-1] == "stopped" and pictures.count("stopped") == 1


@pytest.mark.parametrize("style", ["none", "lines", "live", "auto"])
def test_ways_to_watch(style: str, tmp_path: Any) -> None:
    words = ["--max-steps", 1, "data.validation=3700", "--runs-dir", tmp_path]
    said = done("fit", "smoke", *words, "--progress", style)
    assert ("epoch 1/1 · train" in said.err) == (style != "none")
    assert "examples/s" not in said.err, "nobody looks at a pipe, even where the live view is asked for"
    assert "run " in said.err and "test        loss" in said.out


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [([], 5, ""), ([1.0], 5, "▁"), ([3, 3, 3], 5, "▁▁▁"), ([0, 7], 2, "▁█"), (list(range(8)), 8, "▁▂▃▄▅▆▇█"),
     (list(range(16)), 8, "▁▂▃▄▅▆▇█"), (list(range(9)), 8, "▁▃▅▇█")],
)  # fmt: skip
def test_sparklines(values: list[float], width: int, expected: str) -> None:
    assert sparkline(values, width) == expected
