"""What several ranks cost: `python benchmarks/ranks.py overhead [CONFIG …]`, `mpiexec -n 2 python … parts`.

overhead: steps of two ranks with one thread each, beside those of one rank with two threads, in turns; on two cores
both have the same to compute with. parts: for gradients of several sizes, what packing, handing over, adding and
handing out take. Of both the shortest times count as well as the medians: other programs only make them longer.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dltrain.backend.packed import pack
from dltrain.backend.ranks import World, world
from dltrain.cli.ranks import find_mpiexec

MEGABYTES = (0.1, 1, 5, 20)
REPEATS = 30
PAIRS = int(os.environ.get("PAIRS", "3"))


def seconds_an_example(ranks: int, words: list[str]) -> tuple[float, float]:
    """The median and the shortest of a run's steps but the first five."""
    with tempfile.TemporaryDirectory() as folder:
        program = [
            sys.executable,
            "-m",
            "dltrain",
            "fit",
            *words,
            "--runs-dir",
            folder,
            "-q",
            "--threads",
            f"{3 - ranks}",
        ]
        started = [find_mpiexec(), "-n", "2", *program] if ranks == 2 else program
        subprocess.run(started, check=True, capture_output=True)
        (log,) = Path(folder).glob("*/metrics.jsonl")
        rows = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [row for row in rows if row["event"] == "step"][5:]
    times = [1 / float(row["examples_per_second"]) for row in steps]
    return statistics.median(times), min(times)


def overhead(words: list[str]) -> None:
    words = words or ["cifar_cnn", "train.max_steps=25", "train.shard_size=16"]
    found: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for _ in range(PAIRS):
        for ranks in found:
            found[ranks].append(seconds_an_example(ranks, words))
        (alone, shortest), (together, shortest_together) = found[1][-1], found[2][-1]
        print(
            f"ratio of medians {together / alone:.3f}, of the shortest {shortest_together / shortest:.3f}", flush=True
        )
    medians = statistics.median(two / one for (one, _), (two, _) in zip(found[1], found[2], strict=True))
    best = min(one for _, one in found[2]) / min(one for _, one in found[1])
    print(f"{' '.join(words)}, {PAIRS} pairs: ratio of medians {medians:.3f}, of the shortest steps {best:.3f}")


def parts() -> None:
    ranks = world()
    assert isinstance(ranks, World) and ranks.size == 2
    for size in MEGABYTES:
        sums = {f"g{i}": np.ones(int(size * 2**18 / 8), np.float32) for i in range(8)}
        took: dict[str, list[float]] = {"pack": [], "hand over": [], "add": [], "hand out": [], "a word": []}
        for _ in range(REPEATS):
            ranks.everyone(0)
            begun = time.perf_counter()
            pack(sums)
            took["pack"].append(time.perf_counter() - begun)
            ranks.everyone(0)
            begun = time.perf_counter()
            told = sums
            if ranks.leads:
                told = ranks.receive(1)
            else:
                ranks.send(sums, 0)
            took["hand over"].append(time.perf_counter() - begun)
            begun = time.perf_counter()
            added = {name: sums[name] + told[name] for name in sums}
            took["add"].append(time.perf_counter() - begun)
            ranks.everyone(0)
            begun = time.perf_counter()
            ranks.broadcast(added if ranks.leads else None)
            took["hand out"].append(time.perf_counter() - begun)
            begun = time.perf_counter()
            ranks.everyone(0)
            took["a word"].append(time.perf_counter() - begun)
        if ranks.leads:
            told_ = ", ".join(
                f"{name} {1e3 * min(times):.3f} ({1e3 * statistics.median(times):.3f})" for name, times in took.items()
            )
            print(f"{size:g} MB, ms: {told_}", flush=True)
    ranks.close()


if __name__ == "__main__":
    parts() if sys.argv[1:2] == ["parts"] else overhead(sys.argv[2:])
