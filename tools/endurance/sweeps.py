"""Sweeps whose workers are killed: every trial is trained once, to the bits that it would have had undisturbed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from dltrain.run.group import Group
from dltrain.run.rundir import ENDED, RunDir
from endurance.harness import Place, remains

PATIENCE = 120.0  # seconds without a trial that ends
SPACE = """\
strategy: sobol
trials: {trials}
prune: {{median: 4}}
space:
  optimizer.lr: {{log_uniform: [1e-3, 1]}}
  train.batch_size: {{integers: [8, 40]}}
  model.layers.dense1.units: {{choice: [4, 6]}}
"""


class Sweeps:
    """Sweeps of a place. undisturbed: what its trials leave, by label."""

    def __init__(self, folder: Path, trials: int):
        self.place = Place(folder)
        self.trials = trials
        self.space = folder / "sweep.yaml"
        self.space.write_text(SPACE.format(trials=trials))
        whole = folder / "whole"
        process = self.start(whole, 2)
        assert process.wait(timeout=PATIENCE + trials) == 0, self.said.read_text()
        self.undisturbed = {label: remains(run) for label, run in group_in(whole).runs().items()}

    @property
    def said(self) -> Path:
        """What all commands said."""
        return self.place.folder / "said.txt"

    def start(self, runs: Path, workers: int) -> "subprocess.Popen[bytes]":
        words = [str(self.place.config), str(self.space), "--runs-dir", str(runs), "--workers", str(workers)]
        command = [sys.executable, "-m", "dltrain", "sweep", *words, "--threads", "1"]
        with self.said.open("ab") as said:
            return subprocess.Popen(command, stdout=said, stderr=said)


def group_in(runs: Path) -> Group:
    (path,) = (path for path in runs.iterdir() if not path.name.startswith("."))
    return Group.read(path)


class Progress:
    """Of a sweep that is going on."""

    def __init__(self, runs: Path):
        self._runs, self._over = runs, set[str]()

    def look(self) -> tuple[int, list[RunDir]]:
        """How many trials have ended, and those that are being trained."""
        training = []
        for path in self._runs.glob("[0-9]*/[0-9]*"):
            if path.name not in self._over and (path / "status.json").exists():
                status = RunDir(path).last_status().get("status")
                if status in ENDED:
                    self._over.add(path.name)
                elif status == "running":
                    training.append(RunDir(path))
        return len(self._over), training


def kills(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Two commands train a sweep of `count` trials in one folder, 3 workers in all, of whom one is killed at random
    some 30 times in 500 trials; a command whose workers are all gone is given again."""
    rng = random.Random(seed)
    sweeps = Sweeps(folder, count)
    wanted = max(2, count * 3 // 50)
    runs = folder / "disturbed"
    progress, killed, again = Progress(runs), 0, 0
    commands = {1: sweeps.start(runs, 1), 2: sweeps.start(runs, 2)}
    last, since = 0, time.monotonic()
    try:
        while any(process.poll() is None for process in commands.values()) or last < count:
            over, training = progress.look()
            if over > last:
                last, since = over, time.monotonic()
            assert time.monotonic() - since < PATIENCE, f"no trial has ended for long: {over} of {count}"
            if killed < wanted and training and over >= (killed + rng.random()) * count / (wanted + 1):
                time.sleep(rng.random() * 0.1)
                run = rng.choice(training)
                if not run.is_free():  # it may have ended in the meantime
                    os.kill(int(run.last_status()["pid"]), signal.SIGKILL)
                    killed += 1
            for workers, process in commands.items():
                if process.poll() is not None and last < count:
                    commands[workers] = sweeps.start(runs, workers)
                    again += 1
            time.sleep(0.01)
    finally:
        for process in commands.values():
            process.terminate()
    codes = [process.wait() for process in commands.values()]
    assert 0 in codes, sweeps.said.read_text()
    group = group_in(runs)
    folders = [path.name for path in group.path.iterdir() if path.is_dir() and path.name != "claims"]
    assert len(group.members) == count and len(folders) == count, f"{len(folders)} runs of {count} trials: {folders}"
    found = group.runs()
    assert found.keys() == sweeps.undisturbed.keys(), found.keys() ^ sweeps.undisturbed.keys()
    for label, run in found.items():
        assert remains(run) == sweeps.undisturbed[label], f"{label} left something else"
    statuses = [run.status()["status"] for run in found.values()]
    resumed = sum(bool(run.status().get("resumed")) for run in found.values())
    return {
        "trials": count, "workers killed": killed, "commands given again": again, "trials continued": resumed,
        "pruned": statuses.count("pruned"), "lost": 0, "trained twice": 0, "other bits": 0,
    }  # fmt: skip
