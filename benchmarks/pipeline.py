"""Does a training on an image folder larger than memory keep up with one that is read at the start? Its memory?

python benchmarks/pipeline.py [--threads 2] [--rounds 3]      needs CIFAR-10 under DLTRAIN_DATA

The same pictures (CIFAR-10, stretched, as JPEG) and the same net, once read at the start (`data.memory` large), once
decoded while the training goes on (`data.memory: 0`), in turn, each as a process, for an epoch; and streamed again from
a quarter of the pictures, for the memory. Where all cores compute, decoding takes its share of them.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import record

from dltrain.backend.process import available_cores
from dltrain.data import SOURCES, default_data_dir
from dltrain.run.find import find_run

NET = """
data: {{type: image_folder, path: {path}, size: [{size}, {size}], memory: {memory}}}
model:
  layers:
    - conv: {{channels: 32, padding: same}}
    - conv: {{channels: 32, padding: same}}
    - max_pool: 2
    - conv: {{channels: 64, padding: same}}
    - conv: {{channels: 64, padding: same}}
    - global_average_pool
    - dense: {{units: 10, activation: none}}
train: {{epochs: 1, batch_size: {batch}}}
"""
BATCH = 64
PICTURES = {32: 16384, 96: 4096}  # by size, in pixels
MEMORY = {"in memory": 4096, "streamed": 0}  # MB


def write_pictures(folder: Path, size: int, count: int) -> None:
    """In a process of its own: what a process has once needed counts as its children's peak memory."""
    from PIL import Image

    split = SOURCES["cifar10"]().load(default_data_dir())["train"]
    for i in range(count):
        place = folder / str(split.targets[i])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(split.inputs[i]).resize((size, size), Image.Resampling.BICUBIC).save(place / f"{i}.jpg")


def train(folder: Path, size: int, memory: int, threads: int) -> tuple[float, float]:
    """(pictures a second, peak memory in MB)"""
    with tempfile.TemporaryDirectory() as runs:
        config = Path(runs) / "pipeline.yaml"
        config.write_text(NET.format(path=folder, size=size, memory=memory, batch=BATCH))
        command = [sys.executable, "-m", "dltrain", "fit", str(config), "--quiet", "--threads", str(threads)]
        command += ["--runs-dir", runs]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"exit code {process.returncode} of {' '.join(command)}")
        run = find_run(None, Path(runs))
        rates = [row["examples_per_second"] for row in run.rows(run.metrics) if row["event"] == "step"]
        unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
        return len(rates) / sum(1 / rate for rate in rates), usage.ru_maxrss * unit / 1e6


def measure(size: int, threads: int, rounds: int) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as text:
        places = {count: Path(text) / str(count) for count in (PICTURES[size], PICTURES[size] // 4)}
        for count, folder in places.items():
            writer = multiprocessing.get_context("spawn").Process(target=write_pictures, args=(folder, size, count))
            writer.start()
            writer.join()
        sides = [("in memory", PICTURES[size]), ("streamed", PICTURES[size]), ("streamed", PICTURES[size] // 4)]
        found: dict[tuple[str, int], list[tuple[float, float]]] = {side: [] for side in sides}
        for _ in range(rounds):
            for kind, count in sides:
                found[kind, count].append(train(places[count], size, MEMORY[kind], threads))
                print(size, kind, count, found[kind, count][-1], flush=True)
        return [
            {
                "size": size,
                "pictures": count,
                "kind": kind,
                "per_second": round(median(rate for rate, _ in values), 1),
                "memory_mb": round(median(memory for _, memory in values)),
            }
            for (kind, count), values in found.items()
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    record.forbid_blas_settings()
    rows = [row for size in PICTURES for row in measure(size, arguments.threads, arguments.rounds)]
    lines = ["| pictures | | a second | of the speed in memory | memory, MB |", "|---|---|--:|--:|--:|"]
    for row in rows:
        (whole,) = (r["per_second"] for r in rows if r["size"] == row["size"] and r["kind"] == "in memory")
        share = float(str(row["per_second"])) / float(str(whole))
        lines.append(
            f"| {row['pictures']:,} of {row['size']}x{row['size']} | {row['kind']} | {row['per_second']:.0f} "
            f"| {share:.0%} | {row['memory_mb']} |"
        )
    print("\n".join(lines))
    record.write("pipeline", {"threads": arguments.threads, "rows": rows})


if __name__ == "__main__":
    main()
