"""What only a process of its own can show: signals, terminals, pipes that close, encodings."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import done, in_a_process, start, strict

pty = pytest.importorskip("pty", reason="needs terminals as Unix has them")

FOREVER = ("~train.max_steps", "train.epochs=10000", "data.validation=3700")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # what a terminal acts on instead of showing it
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|38;5;\d+)m")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_saves_and_ends(number: int, code: int, tmp_path: Path) -> None:
    process = start("fit", "smoke", *FOREVER, "--json", "--runs-dir", tmp_path)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch"):
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in err
    result = strict(out)
    (told,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert told.endswith(f"the training so far is saved in {result['run']}")
    assert result["status"] == "interrupted" and {"train", "validation"} <= result.keys() and "test" not in result
    status = strict((Path(result["run"]) / "status.json").read_text())
    assert status["last"] == f"step-{result['steps']:08d}.safetensors"
    assert done("eval", result["run"], "--quiet").out.startswith("test  loss ")


def at_a_terminal(*words: object, **environment: str) -> tuple[str, str]:
    """What the command says on stderr, which is a terminal, and on stdout, which is not."""
    ours, theirs = pty.openpty()
    process = start(*words, stderr=theirs, COLUMNS="100", TERM="xterm-256color", **environment)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # Linux's way of saying that the other side is closed
        pass
    finally:
        os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said.decode(), out


@pytest.mark.parametrize("colours", [True, False])
def test_a_terminal_gets_a_live_view_with_the_time_left(colours: bool, tmp_path: Path) -> None:
    variables = {} if colours else {"NO_COLOR": "1"}
    said, out = at_a_terminal("fit", "smoke", "--json", "--runs-dir", tmp_path, **variables)
    assert strict(out)["status"] == "done"
    assert bool(COLOUR.search(said)) == colours
    plain = CONTROL.sub("", said)
    assert re.search(r"smoke +epoch 1/1 +━.* 1/40 .* left", plain) and "examples/s" in plain and "loss " in plain
    assert len(re.findall(r"epoch 1/1 · train loss", plain)) == 1, "the line of an epoch is there beside the view"
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") == 1, "the cursor must come back"
    _, _, after = said.rpartition("\x1b[?25h")
    assert after.startswith("\r\x1b[1A\x1b[2K") and "examples/s" not in after, "the view must go"


def test_a_quiet_terminal(tmp_path: Path) -> None:
    said, out = at_a_terminal("fit", "smoke", "--max-steps", 1, "--quiet", "--json", "--runs-dir", tmp_path)
    assert said == "" and strict(out)["steps"] == 1


@pytest.mark.parametrize("words", ["--help", "inspect-params smoke", "inspect-params smoke --json"])
def test_nobody_reads(words: str) -> None:
    process = start(*words.split())
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()  # before anything is written
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), said) == (1, "")


def test_letters_that_the_output_cannot_show() -> None:
    said = in_a_process("validate", "smoke", PYTHONIOENCODING="ascii")
    assert (said.code, said.err) == (0, "")
    assert said.out == "smoke: valid; 4 layers, 8?8?1 ? 10, 1,370 parameters\n"


def test_a_file_whose_name_is_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.yaml")
    (tmp_path / name).write_text("seed: x\n")
    said = in_a_process("validate", name, cwd=tmp_path)
    assert said.code == 2 and len(said.errors) == 2 and "Traceback" not in said.err


def test_it_runs_where_nothing_can_be_written(tmp_path: Path) -> None:
    """stdout and stderr closed, as some schedulers do."""
    shell = 'exec "$0" -m dltrain fit smoke --max-steps 1 --runs-dir "$1" >&- 2>&-'
    process = subprocess.run(["sh", "-c", shell, sys.executable, str(tmp_path)], timeout=60)
    (run,) = tmp_path.iterdir()
    assert process.returncode == 0 and strict((run / "status.json").read_text())["status"] == "done"
