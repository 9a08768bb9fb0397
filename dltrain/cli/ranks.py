"""`fit` on several ranks: who starts them, and what those do that rank 0 leads."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

from dltrain.backend import Ranks
from dltrain.backend.ranks import EXTRA, Failure, World
from dltrain.cli import console
from dltrain.data import default_data_dir
from dltrain.errors import AGREED, DeviceError
from dltrain.run.rundir import RunDir
from dltrain.spec.order import take
from dltrain.train.callbacks import Callback
from dltrain.train.loop import fit
from dltrain.train.stopping import ENDING

KILLED = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)  # a rank was; mpiexec ends with the signal's number
TOLD_IN = "RUN_OF_RANKS"  # the variable with the file in which rank 0 says where its run is


def launch(ranks: int) -> int:
    """This very command on so many ranks of this machine. The exit code."""
    mpiexec = find_mpiexec()
    with TemporaryDirectory() as folder:
        told = Path(folder) / "run"
        command = [mpiexec, "-n", str(ranks), sys.executable, "-m", "dltrain", *_without_ranks(sys.argv[1:])]
        # a session of its own: a Ctrl-C at the terminal reaches the ranks once, by way of here
        process = subprocess.Popen(command, env=os.environ | {TOLD_IN: str(told)}, start_new_session=True)
        for number in ENDING:
            signal.signal(number, lambda number, frame: process.send_signal(number))
        code = process.wait()
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        _close(told, code)
    return 128 + abs(code) if code < 0 or code in KILLED else code


def _close(told: Path, code: int) -> None:
    """Say of the run what its ranks could not say any more."""
    with suppress(FileNotFoundError):
        run = RunDir(Path(told.read_text()))
        if run.last_status().get("status") == "running" and run.is_free():
            reason = f"a rank was killed: mpiexec ended with {code}"
            run.update_status(status="crashed", ended_by={"host": run.last_status().get("host"), "reason": reason})
            console.error(f"{reason}; to go on: dltrain fit --resume {run.path}")


def say_where(run: Path) -> None:
    """For whoever has launched the ranks."""
    if TOLD_IN in os.environ:
        Path(os.environ[TOLD_IN]).write_text(str(run.absolute()))


def find_mpiexec() -> str:
    """That of the environment first. Raises DeviceError."""
    found = which("mpiexec", path=os.path.dirname(sys.executable)) or which("mpiexec")
    if found is None:
        raise DeviceError(f"--ranks starts mpiexec, which is not to be found; {EXTRA}")
    return found


def _without_ranks(words: list[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if not (skip or word == "--ranks" or word.startswith("--ranks=")):
            kept.append(word)
        skip = word == "--ranks"
    return kept


def follow(ranks: Ranks, data_dir: Path | None, threads: int | None) -> int:
    """Train what rank 0 orders, until it says with which code to end."""
    assert isinstance(ranks, World)
    if not console.shows_tracebacks():
        console.be_quiet()  # rank 0 speaks for all
    failure: Failure | None = None
    while True:
        order: dict[str, Any] = ranks.await_order(failure)
        failure = None
        if "end" in order:
            ranks.close()
            return int(order["end"])
        try:
            job, sink, checkpoint = take(order, data_dir or default_data_dir(), threads or ranks.threads)
            fit(job, sink, threads, Callback(), checkpoint, ranks)
        except AGREED as error:
            failure = ranks.failure(error)
        except BaseException as error:
            ranks.fail(ranks.failure(error))
            raise
