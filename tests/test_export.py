"""`dltrain export-metrics` and the event files for TensorBoard: the same numbers as in the logs."""

import csv
import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import dltrain, done

tensorboardX = pytest.importorskip("tensorboardX")
from tensorboardX.proto.event_pb2 import Event  # noqa: E402

QUICK = ("--max-steps", 5, "data.validation=3700", "train.batch_size=64", "train.epochs=2")


def rows(path: Path, event: str | None = None) -> list[dict[str, Any]]:
    found = map(json.loads, path.read_text().splitlines())
    return [row for row in found if event is None or row["event"] == event]


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """(tag, step) -> value. A record is its length, a checksum, the event, a checksum."""
    (path,) = folder.glob("events.out.tfevents.*")
    data, at = path.read_bytes(), 0
    found = {}
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        at += 16 + length
        for value in event.summary.value:
            assert (value.tag, event.step) not in found
            found[value.tag, event.step] = value.simple_value
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    return Path(done("fit", "smoke", *QUICK, "logging.tensorboard=true", "--runs-dir", folder, "--json").json["run"])


def test_event_files_hold_what_the_logs_hold(run: Path, tmp_path: Path) -> None:
    expected: dict[tuple[str, int], float] = {}
    for row in rows(run / "metrics.jsonl", "step"):
        expected |= {(f"step/{key}", row["step"]): row[key] for key in row.keys() - {"event", "epoch", "step"}}
    step = {}
    for row in rows(run / "metrics.jsonl", "epoch"):
        step[row["epoch"]] = row["step"]
        for split in ("train", "validation"):
            expected |= {(f"{split}/{key}", row["step"]): value for key, value in row[split].items()}
    for row in rows(run / "layers.jsonl"):
        for key, value in row.items():
            if key not in ("epoch", "units", "dead_units") and isinstance(value, float):
                expected[f"{key}/{row['layer']}", step[row["epoch"]]] = value
    assert len(expected) > 60
    assert scalars(run / "tensorboard") == {key: pytest.approx(value, rel=1e-6) for key, value in expected.items()}
    said = done("export-metrics", run, "--tensorboard", tmp_path / "tb")
    assert said.out == f"{tmp_path / 'tb'}\n"
    assert scalars(tmp_path / "tb") == scalars(run / "tensorboard"), "an earlier run gives the same afterwards"


def test_tables(run: Path, tmp_path: Path) -> None:
    said = done("export-metrics", run, "--csv", tmp_path / "deep" / "tables", "--json").json
    names = ["steps", "epochs", "layers"]
    assert said == {"run": str(run), "written": [str(tmp_path / "deep" / "tables" / f"{name}.csv") for name in names]}
    logged = [rows(run / "metrics.jsonl", "step"), rows(run / "metrics.jsonl", "epoch"), rows(run / "layers.jsonl")]
    for path, expected in zip(said["written"], logged, strict=True):
        table = list(csv.DictReader(Path(path).read_text().splitlines()))
        assert len(table) == len(expected)
        for line, row in zip(table, expected, strict=True):
            for key, value in row.items():
                cells = {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
                for name, inner in cells.items():
                    assert key == "event" or line[name] == ("" if inner is None else str(inner))


def test_without_the_library_it_says_what_to_install(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    for words in (["fit", "smoke", "logging.tensorboard=true", "--runs-dir", tmp_path],
                  ["export-metrics", run, "--tensorboard", tmp_path / "tb", "--csv", tmp_path / "csv"]):  # fmt: skip
        said = dltrain(*words)
        assert said.code == 2 and len(said.errors) == 1 and "pip install '.[tensorboard]'" in said.errors[0]
    assert list(tmp_path.iterdir()) == []
    done("fit", "smoke", *QUICK, "--runs-dir", tmp_path)  # nobody else needs it


def test_nothing_asked_for(run: Path) -> None:
    said = dltrain("export-metrics", run)
    assert (said.code, said.errors) == (2, ["export-metrics: nothing to do; name a folder with --csv or --tensorboard"])
