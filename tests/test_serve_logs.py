"""What the live page reads of logs while they are written: every row once, in bounded memory, none of it wrong."""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dltrain.run.group import Group, Member
from dltrain.run.reader import parse, readable
from dltrain.run.rundir import RunDir
from dltrain.run.tail import Tail
from dltrain.serve import logs as logs_module
from dltrain.serve import watch as watch_module
from dltrain.serve.logs import Logs
from dltrain.serve.thinned import MOST_KEYS, Thinned
from dltrain.serve.watch import Watch


def steps(first: int, last: int, loss: float = 1.0) -> list[dict[str, Any]]:
    return [{"event": "step", "epoch": 1, "step": i, "loss": loss / i, "lr": 0.1} for i in range(first, last + 1)]


def new_run(runs: Path, name: str = "a", rows: int = 3) -> RunDir:
    run = RunDir.create(runs, name, "seed: 0\n", "seed: 0\n", {})
    run.append(run.metrics, *steps(1, rows))
    run.end(status="done", epochs=1, steps=rows, validation={"loss": 0.5})
    return run


def everything(tail: Tail) -> tuple[list[dict[str, Any]], bool]:
    found, anew = tail.read()
    while rows := tail.read()[0]:
        found += rows
    return found, anew


# --- a log that is being written ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_every_row_comes_once_wherever_the_writer_is(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = random.Random(seed)
    monkeypatch.setattr("dltrain.run.tail.PIECE", choose.choice([50, 200, 1 << 20]))
    rows = steps(1, 300)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    tail, found, at = Tail(tmp_path / "log"), [], 0
    while at < len(text):
        piece = text[at : at + choose.randint(1, 2000)]
        with open(tmp_path / "log", "ab") as file:
            file.write(piece)
        at += len(piece)
        found += everything(tail)[0]
        assert not tail.damaged, "a line that is not whole yet is not damaged"
    assert found == rows


def test_a_log_that_was_cut_comes_once_more(tmp_path: Path) -> None:
    """Also where it has grown beyond its old length before anybody looked."""
    path = tmp_path / "log"
    for kept, written in ((2, []), (2, steps(3, 90, loss=7.0)), (0, steps(1, 3))):
        path.write_text("".join(json.dumps(row) + "\n" for row in steps(1, 40)))
        tail = Tail(path)
        assert everything(tail)[0] == steps(1, 40)
        new = [*steps(1, kept), *written]
        path.write_text("".join(json.dumps(row) + "\n" for row in new))
        assert everything(tail) == (new, True)
        assert everything(tail) == ([], False)


def test_damage_ends_a_log_until_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"step": 1}\n{"step": 2, oops\n{"step": 3}\n')
    tail = Tail(path)
    assert everything(tail)[0] == [{"step": 1}] and tail.damaged
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    assert everything(tail)[0] == [{"step": 2}, {"step": 3}] and not tail.damaged


ODD = [
    '{"a": NaN}', '{"a": 1e999}', '{"a": 1' + "0" * 30 + "}", '{"a": ' + "[" * 40 + "]" * 40 + "}", "[1]", "", '{"a"',
    '{"a": 1}, {"b": 2}', '{"a": "x', 'y"}', '{"a": [1', "2]}", "7", '{"e": "1e500"}', '{"a": 1e-400}', "\x00",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_a_whole_log_is_read_as_its_lines_are(seed: int) -> None:
    """The quick way gives what a line at a time gives, whatever stands there."""
    choose = random.Random(seed)
    lines = [choose.choice([json.dumps(steps(i, i)[0]), json.dumps({"train": {"loss": 1.0}}), *ODD[: 2 * (seed % 9)]])
             for i in range(1, choose.randint(2, 40))]  # fmt: skip
    content = "".join(line + "\n" for line in lines).encode() + b'{"torn": '
    expected: list[Any] = []
    for line in lines:
        try:
            expected.append(parse(line.encode()))
        except ValueError:
            break
        if not isinstance(expected[-1], dict):
            expected.pop()
            break
    rows, length = readable(content)
    assert rows == expected
    assert content[:length].count(b"\n") == len(rows)


# --- curves in bounded memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_buckets_hold_the_extremes_and_the_mean(seed: int) -> None:
    choose = np.random.default_rng(seed)
    n = int(choose.integers(1, 700))
    values = choose.normal(size=n)
    holes = choose.random(n) < 0.2
    table = Thinned(32)
    at = 0
    while at < n:
        end = at + int(choose.integers(1, 90))
        part = range(at, min(end, n))
        table.extend([float(i) for i in part], [{"a": None if holes[i] else float(values[i])} for i in part])
        at = end
    found = table.since(0)
    assert table.buckets == len(found["x"]) <= 32 and found["x"][-1] == n - 1
    for b in range(table.buckets):
        part = [i for i in range(b * table.stride, min(n, (b + 1) * table.stride)) if not holes[i]]
        shown = found["figures"]["a"]
        if not part:
            assert shown["mean"][b] is None
            continue
        assert shown["mean"][b] == pytest.approx(values[part].mean(), rel=1e-5, abs=1e-12)
        if table.stride > 1:
            assert shown["low"][b] == pytest.approx(values[part].min(), rel=1e-5)
            assert shown["high"][b] == pytest.approx(values[part].max(), rel=1e-5)
    tail = table.since(table.buckets - 1)
    assert tail["x"] == found["x"][-1:] and tail["from"] == table.buckets - 1


def test_what_is_no_number_is_a_gap() -> None:
    table = Thinned(4)
    table.extend([1, 2, 3], [{"a": 1}, {"a": "<b>"}, {"a": True}])
    assert table.since(0)["figures"]["a"]["mean"] == [1.0, None, None]
    table.extend([4], [{f"k{i}": 1.0 for i in range(2 * MOST_KEYS)}])
    assert len(table.keys) == MOST_KEYS and table.left_out


def test_tiny_and_huge_numbers_stay_what_they_are() -> None:
    table = Thinned(8)
    values = [0.0, 1e-308, -1e300, 1.23456789e-7, 123456789.0]
    table.extend(range(5), [{"a": v} for v in values])
    assert table.since(0)["figures"]["a"]["mean"] == pytest.approx(values, rel=1e-5)


# --- runs ----------------------------------------------------------------------------------------------------------


def test_a_run_that_goes_on_from_a_checkpoint_shows_what_it_then_wrote(tmp_path: Path) -> None:
    run = new_run(tmp_path, rows=50)
    logs = Logs(run)
    while logs.pull():
        pass
    assert logs.last["step"] == 50
    length = len("".join(json.dumps(row) + "\n" for row in steps(1, 10)))
    os.truncate(run.metrics, length)
    run.append(run.metrics, *steps(11, 20, loss=9.0))
    while logs.pull():
        pass
    found = logs.steps.since(0)
    assert found["x"] == list(range(1, 21)) and logs.generation == 1
    assert found["figures"]["loss"]["mean"][-1] == pytest.approx(9.0 / 20)


def test_rows_of_strangers_are_not_believed(tmp_path: Path) -> None:
    run = new_run(tmp_path, rows=1)
    odd = [
        {"event": "step", "step": "7"},
        {"event": "step"},
        {"event": []},
        {"event": "epoch", "step": 1, "train": 3},
        {},
    ]
    run.append(run.metrics, *odd)
    run.append(run.layers, {"layer": 7, "epoch": 1}, {"layer": "x"}, {"layer": "x", "epoch": 1, "dead_share": {}})
    logs = Logs(run)
    while logs.pull():
        pass
    assert logs.steps.rows == 1 and logs.epochs.rows == 1 and list(logs.layers) == ["x"]


def test_only_so_many_runs_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "OPEN", 3)
    for i in range(6):
        new_run(tmp_path, f"r{i}")
    watch = Watch(tmp_path)
    watch.sweep()
    assert len(watch.runs) == 6
    for key in watch.runs:
        assert watch.logs(key).last["step"] == 3
    assert len(watch._open) == 3


def test_too_many_layers_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_module, "MOST_LAYERS", 4)
    run = new_run(tmp_path)
    run.append(run.layers, *({"layer": f"l{i}", "epoch": 1} for i in range(9)))
    logs = Logs(run)
    logs.pull()
    assert len(logs.layers) == 4 and logs.problem and "some are not shown" in logs.problem


def test_runs_that_come_go_and_change_are_noticed(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "runs")
    watch.sweep()
    assert watch.runs == {} and watch.version == 0, "a folder that is not there yet has no runs"
    run = new_run(tmp_path / "runs", "a")
    watch.sweep()
    ((key, listed),) = watch.runs.items()
    assert key == run.path.name and listed.row["status"] == "done" and listed.row["validation"] == {"loss": 0.5}
    version = watch.version
    watch.sweep()
    assert watch.version == version, "nothing has changed"
    run.update_status(status="failed")
    watch.sweep()
    assert watch.version > version and watch.runs[key].row["status"] == "failed"
    shutil.rmtree(run.path)
    watch.sweep()
    assert watch.runs == {} and key in watch.removed


def test_the_settings_of_a_group_are_what_its_members_do_not_share(tmp_path: Path) -> None:
    members = [
        Member(f"lr{lr}-seed{s}", ["train.epochs=2", f"optimizer.lr={lr}", f"seed={s}"])
        for lr in (1, 2)
        for s in (0, 1)
    ]
    group = Group.create(tmp_path, "g", "seed: 0\n", members, smoke=False)
    for member in members:
        new_run(group.path, member.label)
    watch = Watch(tmp_path)
    watch.sweep()
    found = {listed.run.path.name[16:]: listed.row for listed in watch.runs.values()}
    assert {label: row["settings"] for label, row in found.items()} == {
        m.label: {"optimizer.lr": m.label[2]} for m in members
    }
    assert {row["group"] for row in found.values()} == {group.path.name}


def test_a_strange_run_is_named_and_waits_for_nobody(tmp_path: Path) -> None:
    good, piped, broken = (new_run(tmp_path, name) for name in ("good", "piped", "broken"))
    (piped.path / "status.json").unlink()
    os.mkfifo(piped.path / "status.json")
    (broken.path / "status.json").write_text("{")
    watch = Watch(tmp_path)
    watch.sweep()
    rows = {listed.run.path.name[16:]: listed.row for listed in watch.runs.values()}
    assert "problem" not in rows["good"] and rows["good"]["status"] == "done"
    assert "a link, pipe or device has no place in a run" in rows["piped"]["problem"]
    assert "cannot be read" in rows["broken"]["problem"] and good.path.exists()
