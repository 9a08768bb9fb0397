"""Ranks that fail in every way, at any moment, and trainings that go on with another number of them."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from dltrain.cli.ranks import find_mpiexec
from dltrain.errors import DeviceError
from endurance.harness import Place, remains

HANGS = 60.0  # seconds after which nobody waits any longer
MOST = 4  # ranks
# What happens on one rank -> the exit code of all.
INSIDE = {"error": 1, "memory": 1, "disk": 1, "diverge": 3}
OUTSIDE = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 138, signal.SIGKILL: 137}
# Run by every rank when it starts: it says who it is, and fails where it is told to.
PLUGIN = """\
import errno, json, os, sys, time
from pathlib import Path
from dltrain.run.rundir import RunDir
from dltrain.train import loop

rank = os.environ.get("PMI_RANK", "")
if rank and "FAIL" in os.environ:
    told = json.loads(os.environ["FAIL"])
    folder = Path(told["folder"])
    (folder / f"pid-{rank}").write_text(str(os.getpid()))
    plain_step, plain_save = loop.train_step, RunDir.save

    def now():
        (folder / "at").write_text(repr(time.time()))

    def step(job, pool, replay, batch, key, *more):
        (folder / f"step-{rank}").write_text(str(key.step))
        if rank == str(told["rank"]) and key.step == told["step"]:
            kind = told["kind"]
            if kind == "diverge":
                next(iter(job.model.parameters.values())).data[...] = float("nan")
                now()
            elif kind in ("error", "memory") or (kind == "disk" and rank != "0"):
                now()
                raise {"error": ValueError("boom"), "memory": MemoryError("too much"),
                       "disk": OSError(errno.ENOSPC, "No space left on device", "data.npz")}[kind]
        time.sleep(told["pause"])
        return plain_step(job, pool, replay, batch, key, *more)

    def save(run, checkpoint, *more, **settings):
        if told["kind"] == "disk" and rank == str(told["rank"]) and checkpoint.position.step >= told["step"]:
            now()
            raise OSError(errno.ENOSPC, "No space left on device", str(run.path))
        plain_save(run, checkpoint, *more, **settings)

    loop.train_step, RunDir.save = step, save
"""


@cache
def why_not() -> str:
    """Why there are no ranks here; empty where there are."""
    try:
        told = subprocess.run(
            [find_mpiexec(), "-n", "2", sys.executable, "-c", "from mpi4py import MPI; print(MPI.COMM_WORLD.size)"],
            capture_output=True,
            timeout=60,
        )
    except DeviceError as error:
        return str(error)
    except subprocess.TimeoutExpired:
        return "mpiexec hangs"
    if b"".join(told.stdout.split()) == b"22":
        return ""
    return f"no mpi4py for this mpiexec: {told.stderr.decode()[-200:]}"


class Ranks:
    """Trainings of a place on several ranks."""

    def __init__(self, place: Place):
        self.place = place
        self.plugin = place.folder / "fail.py"
        self.plugin.write_text(PLUGIN)

    def command(self, ranks: int, launched: bool) -> list[str]:
        """launched: by `--ranks`, else by mpiexec itself."""
        here = ["fit", "--threads", "1", "--quiet", "--plugin", str(self.plugin)]
        run = self.place.has_run() and ["--resume", str(self.place.only_run().path)]
        words = [*here, *(run or [str(self.place.config), "--runs-dir", str(self.place.runs)])]
        program = [sys.executable, "-m", "dltrain"]
        if ranks == 1:
            return [*program, *words]
        if launched:
            return [*program, *words, "--ranks", f"{ranks}"]
        return [find_mpiexec(), "-n", f"{ranks}", *program, *words]

    def fail(
        self, kind: str, ranks: int, rank: int, step: int, launched: bool, then: Callable[[int], None]
    ) -> tuple[int, str, float]:
        """(exit code, what was said on stderr, seconds from the failure to the end of all). then: called with the
        process of the rank once it has come to the step."""
        for left in (*self.place.folder.glob("pid-*"), *self.place.folder.glob("step-*"), self.place.folder / "at"):
            left.unlink(missing_ok=True)
        told = {"kind": kind, "rank": rank, "step": step, "folder": str(self.place.folder), "pause": 0.02}
        process = subprocess.Popen(
            self.command(ranks, launched),
            env=os.environ | {"FAIL": json.dumps(told)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        at = self.place.folder / f"step-{rank}"
        while kind == "signal" and process.poll() is None:
            if at.exists() and (text := at.read_text()) and int(text) >= step:
                then(int((self.place.folder / f"pid-{rank}").read_text()))
                break
            time.sleep(0.005)
        try:
            said, _ = process.communicate(timeout=HANGS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"{kind} on rank {rank} of {ranks}, step {step}: it hangs") from None
        ended = time.time()
        when = self.place.folder / "at"
        return (
            process.returncode,
            said.decode(errors="replace"),
            ended - float(when.read_text()) if when.exists() else -1.0,
        )


def failures(count: int, seed: int, folder: Path) -> dict[str, object]:
    """A random failure of a random rank at a random step; then the training goes on under another number of ranks."""
    assert not why_not(), why_not()
    rng = random.Random(seed)
    place = Place(folder, shard_size=4)
    ranks = Ranks(place)
    slowest, kinds, late = 0.0, dict[str, int](), 0
    for number in range(count):
        place.clear()
        size, launched = rng.randint(2, MOST), rng.random() < 0.5
        rank, step = rng.randrange(size), rng.randint(1, 14)
        kind = rng.choice([*INSIDE, *OUTSIDE])
        name = kind if isinstance(kind, str) else kind.name
        about = f"{number}: {name}, rank {rank} of {size}, step {step}, {'--ranks' if launched else 'mpiexec'}"

        def send(pid: int, kind: str | signal.Signals = kind) -> None:
            time.sleep(rng.random() * 0.03)
            (place.folder / "at").write_text(repr(time.time()))
            os.kill(pid, kind)  # type: ignore[arg-type]

        inside = isinstance(kind, str)
        code, said, seconds = ranks.fail(kind if inside else "signal", size, rank, step, launched, send)
        wanted = INSIDE[kind] if isinstance(kind, str) else OUTSIDE[kind]
        if kind == signal.SIGKILL and not launched:
            wanted = signal.SIGKILL
        if code == 0:
            late += 1  # it came when all was done
        else:
            assert code == wanted, f"{about}: exit code {code}\n{said}"
            kinds[name] = kinds.get(name, 0) + 1
            slowest = max(slowest, seconds)
            print(f"{about}: all ended after {seconds:.2f} s", flush=True)
            status = place.only_run().status()
            told = status.get("ended_by", {})
            if kind == signal.SIGKILL:
                assert status["status"] == "crashed" and ("reason" in told) == launched, f"{about}: {status}"
            else:
                assert {"rank", "host", "step", "reason"} <= told.keys(), f"{about}: {status}\n{said}"
                assert kind == "diverge" or told["rank"] == rank, f"{about}: {status}\n{said}"
                assert "error:" in said, f"{about}: {said}"
        other = rng.choice([n for n in range(1, MOST + 1) if n != size])
        again = subprocess.run(ranks.command(other, True), capture_output=True, timeout=HANGS)
        assert again.returncode == 0, f"{about}: not resumable with {other} ranks: {again.stderr.decode()}"
        assert remains(place.only_run()) == place.expected, f"{about}: {other} ranks left something else"
        assert not place.orphans(), f"{about}: left over: {place.orphans()}"
    return {
        "failures": kinds, "after the end": late, "hangs": 0, "lost": 0, "other bits": 0,
        "slowest end in seconds": round(slowest, 2),
    }  # fmt: skip
