"""How do time and memory of a training step grow with the batch, the image, the width and the depth?

python benchmarks/scaling.py [--threads 2] [--kernels auto]      needs pygal for the picture

A net of `depth` convolutions 3x3 of `width` channels, a mean over each channel and a dense layer; one setting changes
at a time. Every point is a `dltrain fit --profile` of its own process on random images. Beside it stands the floor: the
same multiplications at the speed that matrix products reach on as many threads. Results go to results/scaling.json,
scaling.svg and the table in README.md.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import record

from dltrain.backend.process import available_cores
from dltrain.backend.process import settle as settle_process
from dltrain.run.find import find_run
from dltrain.spec import build_model, load

HERE = Path(__file__).parent
BASE = {"batch": 64, "image": 32, "width": 32, "depth": 4}
SWEEPS = {
    "batch": (32, 64, 128, 256, 512, 1024, 2048, 4096),
    "image": (16, 32, 48, 64, 96, 128),
    "width": (8, 16, 32, 64, 128),
    "depth": (2, 4, 8, 16, 32),
}
CORES = (1, 2, 4, 8, 16, 32, 64)
CONNECT = ("conv", "dense")  # the ops whose arithmetic the floor counts
SERIAL = ("checks and probes", "penalty", "log")  # what one thread does for all shards, or between steps
SPREAD = ("update", "norms")  # what threads share in small pieces

Point = dict[str, Any]


def write_config(folder: Path, setting: dict[str, int]) -> Path:
    """The config of a point, and two batches of random images for it."""
    rng = np.random.default_rng(0)
    count, size = 2 * setting["batch"], setting["image"]
    images = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    np.savez(folder / "images.npz", x_train=images, y_train=np.arange(count) % 10)
    conv = f"    - conv: {{channels: {setting['width']}, kernel: 3, padding: same}}\n"
    path = folder / "scaling.yaml"
    path.write_text(
        f"data: {{type: npz, path: {folder / 'images.npz'}}}\n"
        f"model:\n  layers:\n{conv * setting['depth']}"
        "    - global_average_pool\n    - dense: {units: 10, activation: none}\n"
        f"train: {{epochs: 1000, batch_size: {setting['batch']}}}\n"
    )
    return path


def arithmetic(config: Path, batch: int) -> float:
    """Floating-point operations of a step's matrix products: forward, and for the gradients of weights and of inputs.

    Nobody wants the gradient of the images.
    """
    each = [layer.multiply_adds for layer in build_model(load(config)).layers]
    return 2.0 * batch * (3 * sum(each) - each[0])


def measure(setting: dict[str, int], threads: int, kernels: str, steps: int) -> Point:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        config = write_config(folder, setting)
        command = [sys.executable, "-m", "dltrain", "fit", str(config), "--profile", "--quiet", "--kernels", kernels]
        command += ["--max-steps", str(steps), "--threads", str(threads), "--runs-dir", text]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"exit code {process.returncode} of {' '.join(command)}")
        run = find_run(None, folder)
        rates = [row["examples_per_second"] for row in run.rows(run.metrics) if row["event"] == "step"]
        profile = json.loads(run.profile.read_text())
        return {
            **setting,
            "kernels": json.loads(run.environment.read_text())["kernels"],
            "gflop": arithmetic(config, setting["batch"]) / 1e9,
            "ms": 1000 * setting["batch"] / median(rates[steps // 2 :]),
            "memory_mb": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6,
            "shards": shards(profile),
            "shares": shares(profile["rows"]),
            "shards_ms": profile["busy_ms"] - spent(profile["rows"], SERIAL + SPREAD),
            "spread_ms": spent(profile["rows"], SPREAD),
            "serial_ms": spent(profile["rows"], SERIAL),
        }


def shards(profile: dict[str, Any]) -> int:
    return round(max(float(row["calls"]) for row in profile["rows"] if row["what"] == "conv"))


def spent(rows: list[dict[str, Any]], stages: tuple[str, ...]) -> float:
    return float(sum(row["ms"] for row in rows if row["what"] in stages))


def shares(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of the time in which threads were busy."""
    inside = sum(row["share"] for row in rows if row["what"] in CONNECT)
    other = sum(row["share"] for row in rows if row["forward_ms"] is not None) - inside
    return {"products": inside, "other_ops": other, "outside_ops": 1 - inside - other}


def peak(threads: int) -> float:
    """GFLOP/s of float32 matrix products, one on each thread at the same time: the best of many moments."""
    settle_process()
    size, repeats = 1024, 5
    matrices = [np.random.default_rng(i).random((2, size, size), np.float32) for i in range(threads)]
    results = [np.empty((size, size), np.float32) for _ in range(threads)]

    def multiply(i: int) -> None:
        for _ in range(repeats):
            np.matmul(matrices[i][0], matrices[i][1], out=results[i])

    best = math.inf
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(10):
            started = time.perf_counter()
            list(pool.map(multiply, range(threads)))
            best = min(best, time.perf_counter() - started)
    return threads * repeats * 2 * size**3 / best / 1e9


def slope(points: list[Point], x: str, y: str) -> float | None:
    """The exponent of y ~ x^exponent, by least squares over the logarithms; 1 is linear, below 1 better."""
    if len(points) < 2:
        return None
    logs = np.log([[point[x], point[y]] for point in points])
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def simulated(points: list[Point]) -> dict[str, dict[str, float]]:
    """How many times as fast as on one core, from the measured parts of a step.

    The shards run in rounds of one for each core, then what all share and what is serial follow. Memory is taken to be
    as fast for all cores, and a shard not to be split.
    """
    found = {}
    for point in points:
        each = point["shards_ms"] / point["shards"]
        times = {
            cores: math.ceil(point["shards"] / cores) * each + point["spread_ms"] / cores + point["serial_ms"]
            for cores in CORES
        }
        found[str(point["batch"])] = {str(cores): round(times[1] / ms, 2) for cores, ms in times.items()}
    return found


# --- what is shown ------------------------------------------------------------------------------------------------


def tables(figures: dict[str, Any]) -> str:
    lines = [
        f"Measured on {figures['date']}, {figures['threads']} threads, {figures['kernels']} kernels; matrix products "
        f"reach {figures['peak_gflops']:.0f} GFLOP/s. Unless it is the one that changes: "
        + ", ".join(f"{key} {value}" for key, value in BASE.items())
        + ".",
        "",
        "| | GFLOP a step | ms | floor, ms | of the floor's speed | memory, MB | products | other ops | outside ops |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, sweep in figures["sweeps"].items():
        for point in sweep["points"]:
            parts = " | ".join(f"{share:.0%}" for share in point["shares"].values())
            lines.append(
                f"| {name} {point[name]} | {point['gflop']:.1f} | {point['ms']:.1f} | {point['floor_ms']:.1f} "
                f"| {point['floor_ms'] / point['ms']:.0%} | {point['memory_mb']:.0f} | {parts} |"
            )
    lines += ["", "Time grows as arithmetic to the power of (1 is linear, below 1 better): "]
    lines[-1] += ", ".join(
        f"{name} {sweep['slope']:.2f}" for name, sweep in figures["sweeps"].items() if sweep["slope"] is not None
    )
    lines[-1] += (
        ". The last three columns share out the time in which threads were busy. Above 100%: where channels fill "
        "vectors, Winograd's minimal filtering needs fewer multiplications than are counted."
    )
    if simulation := figures["simulated_speed_up"]:
        lines += [
            "",
            "On more cores, **simulated** from the measured parts of a step (shards in rounds, then the serial rest; "
            "memory as fast for all, no shard split), times as fast as one core:",
            "",
            "| batch | " + " | ".join(f"{cores} core{'s' * (cores > 1)}" for cores in CORES) + " |",
            "|---|" + "--:|" * len(CORES),
        ]
        lines += [f"| {batch} | " + " | ".join(map(str, row.values())) + " |" for batch, row in simulation.items()]
    return "\n".join(lines)


def draw(figures: dict[str, Any], path: Path) -> None:
    """Milliseconds over arithmetic, both logarithmic, with the floor as a line."""
    import pygal
    from pygal.style import CleanStyle

    def text(exponent: float) -> str:
        return f"{float(f'{10**exponent:.3g}'):,g}"

    points = [point for sweep in figures["sweeps"].values() for point in sweep["points"]]
    chart = pygal.XY(
        js=[],
        style=CleanStyle,
        width=800,
        height=500,
        title="A training step: time beside its arithmetic",
        x_title="GFLOP",
        y_title="ms",
        x_value_formatter=text,
        value_formatter=text,
        explicit_size=True,
    )
    for axis, key in (("x_labels", "gflop"), ("y_labels", "ms")):
        lowest, highest = (pick(math.log10(point[key]) for point in points) for pick in (min, max))
        setattr(chart, axis, list(range(math.floor(lowest), math.ceil(highest) + 1)))
    ends = [pick(point["gflop"] for point in points) for pick in (min, max)]
    floor = [(math.log10(x), math.log10(1000 * x / figures["peak_gflops"])) for x in ends]
    chart.add("floor", floor, show_dots=False, stroke_style={"dasharray": "6, 4"})
    for name, sweep in figures["sweeps"].items():
        chart.add(name, [(math.log10(point["gflop"]), math.log10(point["ms"])) for point in sweep["points"]])
    path.write_bytes(chart.render())


def write_readme(text: str) -> None:
    """Between the two marks in README.md."""
    path = HERE / "README.md"
    marked = re.compile(r"(<!-- scaling -->\n).*(<!-- end of scaling -->)", re.S)
    content = path.read_text(encoding="utf-8")
    if not marked.search(content):
        raise SystemExit(f"{path} has lost its marks <!-- scaling --> and <!-- end of scaling -->")
    picture = "![time of a training step beside its arithmetic](results/scaling.svg)"
    path.write_text(marked.sub(lambda m: f"{m[1]}{picture}\n\n{text}\n{m[2]}", content), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--kernels", default="auto", choices=["auto", "numpy", "native"])
    parser.add_argument("--steps", type=int, default=8, help="of each point; the first half is not counted")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many processes counts")
    parser.add_argument(
        "--limit", type=float, default=math.inf, help="leave out points of more GFLOP, for a quick look"
    )
    arguments = parser.parse_args()
    record.forbid_blas_settings()
    import pygal  # noqa: F401  rather now than after all the measuring

    reached = peak(arguments.threads)
    print(f"matrix products: {reached:.0f} GFLOP/s on {arguments.threads} threads", flush=True)
    sweeps: dict[str, Any] = {}
    for name, values in SWEEPS.items():
        points = []
        for value in values:
            setting = BASE | {name: value}
            with tempfile.TemporaryDirectory() as folder:
                if arithmetic(write_config(Path(folder), setting), setting["batch"]) / 1e9 > arguments.limit:
                    continue
            tries = [
                measure(setting, arguments.threads, arguments.kernels, arguments.steps) for _ in range(arguments.rounds)
            ]
            point = min(tries, key=lambda point: point["ms"])
            point["floor_ms"] = 1000 * point["gflop"] / reached
            points.append(point)
            print(name, value, f"{point['ms']:.1f} ms, {point['memory_mb']:.0f} MB", flush=True)
        sweeps[name] = {"points": points, "slope": slope(points, "gflop", "ms")}
    figures = {
        "date": time.strftime("%Y-%m-%d"),
        "threads": arguments.threads,
        "kernels": next(point["kernels"] for sweep in sweeps.values() for point in sweep["points"]),
        "peak_gflops": reached,
        "simulated_speed_up": simulated(sweeps["batch"]["points"]),
        "sweeps": sweeps,
    }
    record.write("scaling", figures)
    draw(figures, record.RESULTS / "scaling.svg")
    write_readme(tables(figures))
    print(tables(figures))


if __name__ == "__main__":
    main()
