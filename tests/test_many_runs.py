"""A folder with many runs, some of them damaged, moved or copied."""

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import dltrain, done
from PIL import Image

from dltrain.run.files import Lock

DAMAGE = [
    lambda run: (run / "status.json").unlink(),
    lambda run: (run / "status.json").write_bytes(b""),
    lambda run: (run / "status.json").write_bytes(b"\xff\xfe{"),
    lambda run: (run / "status.json").write_text("[" * 100_000),
    lambda run: (run / "status.json").write_text('{"status": 3}'),
    lambda run: (run / "status.json").write_text('{"status": "done", "test": [1]}'),
    lambda run: (run / "status.json").write_text('{"status": "done", "steps": 1' + "0" * 5000 + "}"),
    lambda run: (run / "status.json").write_text('{"status": "done", "best_loss": NaN}'),
    lambda run: ((run / "status.json").unlink(), (run / "status.json").mkdir()),
    lambda run: ((run / "status.json").unlink(), (run / "status.json").symlink_to("status.json")),
]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    return Path(done("fit", "smoke", "--max-steps", 2, "--runs-dir", folder, "--json").json["run"])


def test_a_hundred_runs_of_which_ten_are_damaged(one: Path, tmp_path: Path) -> None:
    names = [f"20260101-{number:06d}-r" for number in range(100)]
    for name in names:
        shutil.copytree(one, tmp_path / name)
    bad = sorted(random.Random(0).sample(names, len(DAMAGE)))
    for name, damage in zip(bad, DAMAGE, strict=True):
        damage(tmp_path / name)
    said = done("runs", "--runs-dir", tmp_path, "--json")
    assert [row["run"] for row in said.json["runs"]] == [name for name in names if name not in bad]
    assert [row["run"] for row in said.json["damaged"]] == bad
    warned = [line for line in said.err.splitlines() if line.startswith("warning: ")]
    assert [line.split()[1] for line in warned] == [f"{name}:" for name in bad] and "Traceback" not in said.err
    assert len(done("runs", "--runs-dir", tmp_path).out.splitlines()) == 91
    healthy = next(name for name in names if name not in bad)
    done("eval", healthy, "--runs-dir", tmp_path)


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_run_elsewhere_is_evaluated_and_asked(how: str, one: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(one, tmp_path / "here" / "run"))
    Image.fromarray(np.arange(0, 256, 4, np.uint8).reshape(8, 8)).save(tmp_path / "x.png")

    def answers(run: Path) -> list[object]:
        evaluated = done("eval", run, "--json").json
        return [evaluated["loss"], evaluated["confusion"], done("predict", run, tmp_path / "x.png", "--json").json]

    before = answers(here)
    there = tmp_path / "elsewhere" / "another name"
    there.parent.mkdir()
    shutil.move(here, there) if how == "moved" else shutil.copytree(here, there)
    status = json.loads((there / "status.json").read_text())
    (there / "status.json").write_text(json.dumps(status | {"host": "another machine", "pid": 1}))
    assert answers(there) == before


STRANGE = {
    "metrics.jsonl": lambda path, outside: path.symlink_to(outside / "precious"),
    "checkpoints": lambda path, outside: path.symlink_to(outside),
    "eval": lambda path, outside: path.symlink_to(outside),
    "train.log": lambda path, outside: path.symlink_to("/dev/null"),
    "status.json": lambda path, outside: os.mkfifo(path),
    "env.json": lambda path, outside: os.mkfifo(path),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_links_and_pipes_lead_nowhere(name: str, one: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(one, tmp_path / "runs" / "run"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"not yours\n" * 9999)
    shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink(missing_ok=True)
    STRANGE[name](run / name, outside)
    for words in (["fit", "--resume", run, "train.max_steps=3"], ["eval", run], ["report", run], ["verify", run],
                  ["compare", tmp_path / "runs", one]):  # fmt: skip
        said = dltrain(*words)
        assert said.code == 1 and said.errors == [
            f"{run / name}: a link, pipe or device has no place in a run; remove it"
        ]
    (damaged,) = done("runs", "--runs-dir", tmp_path / "runs", "--html", tmp_path / "x.html", "--json").json["damaged"]
    assert "has no place in a run" in damaged["problem"]
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_bytes() == b"not yours\n" * 9999


ODD = {
    "metrics.jsonl": [
        '{"event": "step"}',
        '{"event": "epoch", "epoch": [], "train": 3, "step": 1e300, "seconds": "x"}',
    ],
    "layers.jsonl": ["{}", '{"layer": [], "epoch": 1}'],
    "description.json": ['{"model": 3}', "[" * 100_000],
    "eval/test.json": ['{"split": "test", "mistakes": [], "confusion": 3}', "[" * 100_000],
    "config.yaml": ["a: &a [x]\nb: *a\n", "!!python/object/apply:os.system [id]\n"],
}


@pytest.mark.parametrize("name", ODD)
def test_what_no_training_wrote_is_named(name: str, one: Path, tmp_path: Path) -> None:
    """By a page, a table or a comparison, which otherwise take the word of a run."""
    for number, content in enumerate(ODD[name]):
        run = Path(shutil.copytree(one, tmp_path / str(number) / "run"))
        (run / name).write_text(content + "\n")
        for words in (["report", run], ["compare", run, one], ["export-metrics", run, "--csv", tmp_path / "tables"],
                      ["verify", run]):  # fmt: skip
            said = dltrain(*words)
            assert said.code in (0, 1, 2) and not any("bug" in error for error in said.errors), (words, said.err)
        done("runs", "--runs-dir", run.parent, "--html", tmp_path / "x.html")
    assert dltrain("compare", run, one).code != 0 or name not in ("metrics.jsonl", "config.yaml")


def test_a_lock_ends_with_its_process(one: Path, tmp_path: Path) -> None:
    """See also test_death: after 1,000 kills nothing stands in the way."""
    run = Path(shutil.copytree(one, tmp_path / "run"))
    lock = Lock(run)
    assert dltrain("fit", "--resume", run, "train.max_steps=3").code == 1
    lock.release()
    assert sorted(path.name for path in run.iterdir() if "lock" in path.name) == []
    assert dltrain("fit", "--resume", run, "train.max_steps=3").code == 0
