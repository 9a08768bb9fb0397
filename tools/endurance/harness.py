"""A tiny training by the real command line, in processes that can be killed, starved and listened to."""

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from commands import dltrain

from dltrain.run.rundir import RunDir
from dltrain.train import loop

TIMES = re.compile(rb'"(examples_per_second|seconds)": [0-9.e+-]+')
EVERY = 3  # steps between two checkpoints
CONFIG = f"""\
data: {{type: npz, path: data.npz, validation: 0.2}}
model:
  layers:
    - dense: 6
    - dropout: 0.2
    - dense: {{units: 3, activation: none}}
optimizer: {{type: adam, lr: 1e-2}}
schedule: {{type: cosine, warmup: 1}}
train: {{epochs: 4, batch_size: 16, shard_size: 16}}
checkpoint: {{every_steps: {EVERY}}}
"""


@dataclass
class Place:
    """A folder with a config, its data and room for runs. expected: what an unbroken training leaves."""

    folder: Path
    shard_size: int = 16

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        targets = rng.integers(0, 3, 100)
        inputs = (rng.normal(size=(100, 5)) + targets[:, None]).astype(np.float32)
        np.savez(self.folder / "data.npz", x_train=inputs[:80], y_train=targets[:80], x_test=inputs[80:],
                 y_test=targets[80:])  # fmt: skip
        self.config = self.folder / "tiny.yaml"
        text = CONFIG.replace("data.npz", str(self.folder / "data.npz"))
        self.config.write_text(text.replace("shard_size: 16", f"shard_size: {self.shard_size}"))
        self.runs = self.folder / "runs"
        self.begin()
        self.expected = remains(self.only_run())
        self.clear()

    def begin(self) -> int:
        return said(dltrain("fit", self.config, "--runs-dir", self.runs, "--threads", 1, "--quiet"))

    def resume(self) -> int:
        return said(dltrain("fit", "--resume", self.only_run().path, "--threads", 1, "--quiet"))

    def go_on(self) -> int:
        """Continue the run, or start it where it was killed before there was one."""
        return self.resume() if self.has_run() else self.begin()

    def has_run(self) -> bool:
        return self.runs.is_dir() and any(not path.name.startswith(".") for path in self.runs.iterdir())

    def only_run(self) -> RunDir:
        (path,) = (path for path in self.runs.iterdir() if not path.name.startswith("."))
        return RunDir(path)

    def clear(self) -> None:
        shutil.rmtree(self.runs, ignore_errors=True)

    def orphans(self) -> list[Path]:
        return [path for path in self.runs.rglob(".*")]

    def finish(self) -> None:
        """In a new process, nothing must stand in the way, and what is left must be what an unbroken run leaves."""
        code, told, _ = Child(self.go_on).wait()
        assert code == 0, f"not resumable: {told}"
        found = remains(self.only_run())
        assert found == self.expected, "the continued training left something else"
        assert not self.orphans(), f"left over: {self.orphans()}"


def said(result: Any) -> int:
    """The exit code; what went wrong goes to whoever started this process."""
    if result.code:
        print(result.err, file=sys.stderr, flush=True)
    return int(result.code)


def remains(run: RunDir) -> dict[str, Any]:
    """All that a training leaves, apart from times and where it ran."""
    kept = run.checkpoint("last")
    arrays = kept.weights | kept.optimizer | {name: a for name, a in kept.epoch.items() if name != "seconds"}
    arrays |= {f"average of {name}": a for name, a in kept.average.items()}
    progress = {key: value for key, value in vars(kept.progress).items() if key != "seconds"}
    lost = ("pid", "host", "started", "resumed", "ranks")
    return {
        "arrays": {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()},
        "position": (kept.position, progress),
        "metrics": TIMES.sub(b"", run.metrics.read_bytes()),
        "layers": run.layers.read_bytes(),
        "checkpoints": run.saved_steps(),
        "status": {key: value for key, value in run.status().items() if key not in lost},
    }


class Child:
    """A copy of this process that does one thing and tells when: `b` a step is taken, `S` and `E` around a save."""

    def __init__(self, work: Callable[[], int], limit: Callable[[], None] = lambda: None):
        listen, self._tell = os.pipe()
        err, self._err = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(listen), os.close(err)
            os.dup2(self._err, 2)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            code = 99
            try:
                self._watch()
                limit()
                code = work()
            except KeyboardInterrupt:
                code = 130  # where there is no training yet, the shell's own code
            except BaseException as error:
                print(f"escaped: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        os.close(self._tell), os.close(self._err)
        self._listen, self._heard, self.events = listen, err, ""

    def _watch(self) -> None:
        plain_save, plain_step = RunDir.save, loop.log_step

        def save(*args: Any, **settings: Any) -> None:
            os.write(self._tell, b"S")
            plain_save(*args, **settings)
            os.write(self._tell, b"E")

        def step(*args: Any) -> None:
            plain_step(*args)
            os.write(self._tell, b"b")

        RunDir.save, loop.log_step = save, step  # type: ignore[method-assign]

    def until(self, event: str, count: int) -> None:
        """Until something has happened so many times, or the process has ended."""
        while self.events.count(event) < count and (heard := os.read(self._listen, 1)):
            self.events += heard.decode()

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 60) -> tuple[int, str, float]:
        """(exit code, minus the number of the signal that ended it; what it said on stderr; seconds it took)."""
        started = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, seconds)
        previous = signal.signal(signal.SIGALRM, lambda *_: self.kill())
        try:
            told = b"".join(iter(lambda: os.read(self._heard, 65536), b"")).decode(errors="replace")
            while heard := os.read(self._listen, 65536):
                self.events += heard.decode()
            _, status = os.waitpid(self.pid, 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
            os.close(self._listen), os.close(self._heard)
        return os.waitstatus_to_exitcode(status), told, time.monotonic() - started

    @property
    def in_a_save(self) -> bool:
        return self.events.rstrip("b").endswith("S")
