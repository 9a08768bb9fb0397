"""How long does a whole `dltrain fit CONFIG` of an epoch take as a process, and how much memory, beside PyTorch's?

python benchmarks/epoch.py [--net cifar_resnet20] [--threads 2] [--rounds 3]

Needs torch, and CIFAR-10 under DLTRAIN_DATA.

A process imports, reads the files, trains an epoch, classifies the test images and saves: benchmarks/torch_cifar.py is
the same training in PyTorch. In turn, medians. `seconds` is the whole process; `epoch_seconds` the training alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import record
from sides import KERNELS, TORCH_MODES, built_kernels

from dltrain.backend.process import available_cores
from dltrain.data import default_data_dir
from dltrain.run.find import find_run

Side = Callable[[str, str, int, int | None], dict[str, float]]


def run_process(command: list[str]) -> tuple[float, float, str]:
    """(seconds, peak memory in MB, what it printed). Raises SystemExit when it fails."""
    with tempfile.TemporaryFile("w+") as output:
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, *command], stdout=output, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)  # the usage of this child alone
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"exit code {process.returncode} of {' '.join(command)}")
        output.seek(0)
        unit = 1 if sys.platform == "darwin" else 1024
        return seconds, usage.ru_maxrss * unit / 1e6, output.read()


def ours(net: str, kernels: str, threads: int, max_steps: int | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as runs:
        command = ["-m", "dltrain", "fit", net, "train.epochs=1", "--quiet", "--json", "--runs-dir", runs]
        command += ["--kernels", kernels]
        command += ["--threads", str(threads), *([] if max_steps is None else ["--max-steps", str(max_steps)])]
        seconds, memory, output = run_process(command)
        run = find_run(json.loads(output)["run"], Path(runs))
        return row(seconds, memory, run.rows(run.metrics)[-1]["seconds"], json.loads(output)["test"]["accuracy"])


def torch(net: str, mode: str, threads: int, max_steps: int | None) -> dict[str, float]:
    script = Path(__file__).with_name("torch_cifar.py")
    command = [str(script), str(default_data_dir()), "--net", net, "--mode", mode, "--threads", str(threads)]
    command += [] if max_steps is None else ["--max-steps", str(max_steps)]
    seconds, memory, output = run_process(command)
    result = json.loads(output)
    return row(seconds, memory, result["seconds"], result["test_accuracy"])


def row(seconds: float, memory: float, epoch: float, accuracy: float) -> dict[str, float]:
    values = {"seconds": seconds, "epoch_seconds": epoch, "peak_memory_mb": memory, "test_accuracy": accuracy}
    return {key: round(value, 4) for key, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="cifar_cnn", choices=["cifar_cnn", "cifar_resnet20"])
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", type=lambda text: text.split(","), default=["eager", "channels_last+fused"])
    parser.add_argument("--kernels", type=lambda text: text.split(","))
    parser.add_argument("--max-steps", type=int, help="fewer than an epoch, for a quick look")
    arguments = parser.parse_args()
    chosen = arguments.kernels or built_kernels()
    if wrong := set(arguments.modes) - set(TORCH_MODES) | set(chosen) - set(KERNELS):
        parser.error(f"unknown: {', '.join(wrong)}; there are {', '.join((*TORCH_MODES, *KERNELS))}")
    record.forbid_blas_settings()

    sides: dict[str, tuple[Side, str]] = {f"ours, {kernels}": (ours, kernels) for kernels in chosen}
    sides |= {f"torch, {mode}": (torch, mode) for mode in arguments.modes}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(arguments.rounds):
        for name, (side, mode) in sides.items():
            rounds[name].append(side(arguments.net, mode, arguments.threads, arguments.max_steps))
            print(name, rounds[name][-1], flush=True)
    medians = {name: {key: median(row[key] for row in rows) for key in rows[0]} for name, rows in rounds.items()}
    figures = {
        "net": arguments.net,
        "threads": arguments.threads,
        "max_steps": arguments.max_steps,
        "medians": medians,
        "compared": {f"ours, {kernels}": compare(medians, f"ours, {kernels}") for kernels in chosen},
        "rounds": rounds,
    }
    print(json.dumps(figures["compared"], indent=2))
    record.write("epoch" if arguments.net == "cifar_cnn" else f"epoch_{arguments.net}", figures)


def compare(medians: dict[str, dict[str, float]], ours: str) -> dict[str, Any]:
    """speed: torch's best process / ours, above 1 is faster. memory: ours / the leanest of torch, below 1 is less."""
    theirs = [row for name, row in medians.items() if name.startswith("torch")]
    found = {
        "speed": min(row["seconds"] for row in theirs) / medians[ours]["seconds"],
        "memory": medians[ours]["peak_memory_mb"] / min(row["peak_memory_mb"] for row in theirs),
    }
    if "torch, eager" in medians:  # in its default layout, what most people run; the training alone
        found["ours_over_torch"] = medians[ours]["epoch_seconds"] / medians["torch, eager"]["epoch_seconds"]
    return {key: round(value, 3) for key, value in found.items()}


if __name__ == "__main__":
    main()
