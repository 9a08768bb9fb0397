"""What the machine and the trainings on it use: processors, memory and, where NVIDIA's tool is at hand, GPUs.

Read from /proc; where there is none (macOS, Windows) only that is said.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PROC = Path("/proc")
ASK_GPU = ("nvidia-smi", "--query-gpu=name,utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits")
GPU_EVERY = 2.0  # seconds: the tool takes a good part of one


class Meter:
    """Use since the last time it was asked."""

    def __init__(self) -> None:
        self._busy: dict[str, tuple[float, float]] = {}  # of what -> (when, seconds of a processor until then)
        self._gpus: tuple[float, list[dict[str, Any]]] = (0.0, [])
        self._ask_gpu = [found, *ASK_GPU[1:]] if (found := shutil.which(ASK_GPU[0])) else []

    def sample(self, processes: Mapping[str, int]) -> dict[str, Any]:
        """processes: of each run that trains here. {"time", "cores", "cpu", "memory", "runs", "gpus"}: cpu in cores,
        memory in bytes, None where it cannot be known."""
        found: dict[str, Any] = {"time": time.time(), "cores": os.cpu_count(), "gpus": self._gpu_use()}
        found["cpu"] = self._rate("", _machine_seconds())
        found["memory"] = _memory()
        found["runs"] = {
            run: {"cpu": self._rate(run, _process_seconds(pid)), "memory": _process_memory(pid)}
            for run, pid in processes.items()
        }
        return found

    def _rate(self, what: str, seconds: float | None) -> float | None:
        now = time.monotonic()
        before = self._busy.get(what)
        if seconds is None:
            return None
        self._busy[what] = (now, seconds)
        return None if before is None or now <= before[0] else max(0.0, (seconds - before[1]) / (now - before[0]))

    def _gpu_use(self) -> list[dict[str, Any]]:
        if self._ask_gpu and time.monotonic() - self._gpus[0] > GPU_EVERY:
            try:
                said = subprocess.run(self._ask_gpu, capture_output=True, text=True, timeout=2, check=True).stdout
                self._gpus = (time.monotonic(), [_gpu(line) for line in said.splitlines()])
            except (OSError, subprocess.SubprocessError, ValueError):
                self._ask_gpu, self._gpus = [], (0.0, [])
        return self._gpus[1]


def _gpu(line: str) -> dict[str, Any]:
    name, use, used, total = line.rsplit(", ", 3)
    return {"name": name, "use": float(use) / 100, "memory": [float(used) * 2**20, float(total) * 2**20]}


def _machine_seconds() -> float | None:
    try:
        words = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
        idle = int(words[3]) + int(words[4])
        return (sum(map(int, words)) - idle) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _memory() -> list[float] | None:
    """Used, and all there is."""
    try:
        lines = dict(line.split(":") for line in (PROC / "meminfo").read_text().splitlines())
        total, free = (1024.0 * int(lines[key].split()[0]) for key in ("MemTotal", "MemAvailable"))
        return [total - free, total]
    except (OSError, ValueError, KeyError):
        return None


def _process_seconds(pid: int) -> float | None:
    try:
        words = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _process_memory(pid: int) -> float | None:
    try:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
        return float(pages * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, IndexError):
        return None
