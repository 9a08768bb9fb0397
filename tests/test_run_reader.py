"""Files of a run may be a stranger's: size, depth and numbers have bounds, and no terminal obeys them."""

import json
import re
import shutil
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import dltrain, done
from safetensors.numpy import save

from dltrain.errors import RunError
from dltrain.run.reader import DEEPEST, LONGEST_LINE, parse, read_json, readable

SOUND = {
    "a row": {"event": "step", "step": 7, "loss": 1.5e-300, "train": {"loss": None}},
    "the largest seed": {"seed": 2**64 - 1, "other": -(2**63)},
    "as deep as may be": eval("[" * DEEPEST + "]" * DEEPEST),
    "a hash and a version": {"sha256": "1" * 64, "version": "0.3.31.188.0", "name": "NaN 1e999 Infinity"},
    "letters": {"é": "\u2028 \\ud83d"},
}


@pytest.mark.parametrize("name", SOUND)
def test_what_a_training_writes_is_read(name: str) -> None:
    assert parse(json.dumps(SOUND[name]).encode()) == SOUND[name]


BAD = {
    "a long number": (b'{"a": ' + b"9" * 21 + b"}", "a whole number of 21 digits"),
    "a longer number": (b'{"a": -' + b"9" * 5000 + b"}", "a whole number of 5,000 digits"),
    "a large number": (b'{"a": 1e999}', "a number that is too large"),
    "no number": (b'{"a": NaN}', "NaN is no number"),
    "no number either": (b'{"a": [-Infinity]}', "-Infinity is no number"),
    "deep": (b"[" * 33 + b"]" * 33, "more than 32 levels"),
    "deep in objects": (b'{"a":' * 40 + b"1" + b"}" * 40, "more than 32 levels"),
    "too deep for Python": (b"[" * 200_000, "nested too deeply"),
    "not UTF-8": (('{"a": ' + "9" * 30 + "}").encode("utf-16"), "codec can't decode"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_has_no_bounds_is_refused(name: str, tmp_path: Path) -> None:
    content, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        parse(content)
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunError, match=r"a\.json: cannot be read"):
        read_json(tmp_path / "a.json")
    assert readable(b'{"a": 1}\n' + content + b"\n{}\n") == ([{"a": 1}], 9)


def test_large_files_are_not_read_to_their_end(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"{}" + b" " * 100)
    assert read_json(tmp_path / "a.json", 102) == {}
    with pytest.raises(RunError, match="it has more than 101 bytes"):
        read_json(tmp_path / "a.json", 101)
    line = json.dumps({"a": "x" * (LONGEST_LINE - 10)}).encode() + b"\n"
    assert len(line) <= LONGEST_LINE and len(readable(line)[0]) == 1
    assert readable(b"{}\n" + line[:5] + b"x" * 99 + line[5:])[0] == [{}]


# --- commands on such files ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    return Path(done("fit", "smoke", "--max-steps", 3, "--runs-dir", folder, "--json").json["run"])


def changed(name: str, **values: object) -> Callable[[Path], object]:
    """A JSON file of a run with other values; strings that begin with = are put in as they are."""

    def change(run: Path) -> None:
        text = json.dumps(json.loads((run / name).read_text()) | values)
        for value in values.values():
            if isinstance(value, str) and value.startswith("="):
                text = text.replace(json.dumps(value), value[1:])
        (run / name).write_text(text)

    return change


def pictures(run: Path) -> None:
    """20,000 x 1,000 pixels each, in a file that says so."""
    found = run / "eval" / "test.json"
    told = json.loads(found.read_text())
    mistake = {"index": 0, "class": "0", "taken_for": "1", "confidence": 0.5, "of_class": 0.1}
    found.write_text(json.dumps(told | {"mistakes": [mistake]}))
    inputs = np.zeros((1, 20_000, 1_000, 1), np.uint8)
    (run / "eval" / "test-mistakes.safetensors").write_bytes(save({"inputs": inputs}))


def rewritten(run: Path) -> None:
    log = run / "metrics.jsonl"
    log.write_text(log.read_text().replace('"loss": ', '"\\u001b]0;owned\\u0007": "\\u001b[2J", "loss": ', 1))


DIGITS, DEEP, SCREEN = "=" + "9" * 4000, "=" + "[" * 40 + "]" * 40, "\x1b]0;owned\x07\x1b[2J"
HOSTILE: dict[str, Callable[[Path], object]] = {
    "a foreign log": rewritten,
    "a deep environment": changed("env.json", numpy=DEEP),
    "a very deep environment": lambda run: (run / "env.json").write_bytes(b'{"numpy": ' + b"[" * 100_000),
    "an environment that writes to the screen": changed("env.json", numpy=SCREEN, kernels=SCREEN),
    "digits in a status": changed("status.json", steps=DIGITS),
    "many digits in a status": changed("status.json", train={str(i): DIGITS for i in range(2000)}),
    "a large status": changed("status.json", host="x" * 50_000_000),
    "a continuation of nothing": changed("status.json", resumed=[{"at": "x"}]),
    "a status that writes to the screen": changed("status.json", status=SCREEN, started=SCREEN),
    "a deep description": changed("description.json", model=DEEP),
    "digits in a description": changed("description.json", guessing=DIGITS),
    "huge pictures": pictures,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_commands_on_hostile_runs(name: str, kept: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(kept, tmp_path / "runs" / kept.name))
    HOSTILE[name](run)
    for words in (["verify", run], ["report", run], ["runs", "--runs-dir", run.parent], ["compare", run, kept]):
        started = time.process_time()
        said = dltrain(*words)
        assert time.process_time() - started < 3, words
        assert said.code in (0, 1), said.err
        assert "Traceback" not in said.err and "bug in dltrain" not in said.err, (words, said.err)
        assert "\x1b" not in said.out + said.err and "\x07" not in said.out + said.err, words


def forged(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """The newest checkpoint with another description, whose hash is right; `=` as above."""
    (path,) = (run / "checkpoints").iterdir()
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    about = json.loads(header["__metadata__"]["dltrain"])
    change(about)
    text = re.sub(r'"=([^"]*)"', r"\1", json.dumps(about, sort_keys=True))
    header["__metadata__"] = {"dltrain": text, "sha256": sha256(text.encode()).hexdigest()}
    new = json.dumps(header).encode()
    path.write_bytes(len(new).to_bytes(8, "little") + new + data[8 + size :])


DESCRIPTIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a shape of many digits": lambda about: about["preprocessing"].update(input_shape=[8, 8, DIGITS]),
    "a huge shape": lambda about: about["preprocessing"].update(input_shape=[8, 8, 2**40]),
    "a shape of many axes": lambda about: about["preprocessing"].update(input_shape=[1] * 5000),
    "a mean that is deep": lambda about: about["preprocessing"].update(mean=[DEEP]),
    "white that is infinite": lambda about: about["preprocessing"]["pixels"].update(white="=1e999"),
    "a step of many digits": lambda about: about["position"].update(step=DIGITS),
    "many units": lambda about: about.update(config=about["config"].replace("units: 10", f"units: {'9' * 30}")),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_forged_checkpoints(name: str, kept: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(kept, tmp_path / kept.name))
    forged(run, DESCRIPTIONS[name])
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 8, 8, 1), np.uint8))
    said = dltrain("predict", run, tmp_path / "x.npz")
    assert said.code in (1, 2) and "bug in dltrain" not in said.err and len(said.err) < 1000, said.err


def test_a_foreign_log_is_shown_as_text(kept: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(kept, tmp_path / kept.name))
    rewritten(run)
    said = dltrain("verify", run)
    assert said.code == 1 and "was \\x1b[2J, is None" in said.err.replace("\n", " ")
