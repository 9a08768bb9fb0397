"""How long is a training step, ours against PyTorch's and JAX's? A B A B in one run, best and median.

python benchmarks/train_step.py [--nets cifar_cnn,mlp] [--threads 2]    needs torch, and MNIST and CIFAR-10 under
                                                                       DLTRAIN_DATA; jax takes part where installed

A step is everything between two batches: gather and normalise, forward, backward, update, read the loss. Ours is the
step of `dltrain fit` with its log and its diagnostics. All sides train the same net from the same weights, with the
same dropout, batch and optimizer; before the race each must give our losses without dropout.
"""

import argparse
from collections.abc import Callable
from statistics import median
from typing import Any, TypeVar

import record
from nets import NETS, Net
from sides import KERNELS, TORCH_MODES, Side, built_kernels, modes_for

from dltrain.backend.process import available_cores

WARM = 2  # steps at the start of every turn that are not counted: caches and threads come back from another's
# How far the losses of the first steps may differ, relatively. From the second on they have been through backward and
# update; Adam's first updates are ±lr however small the gradient, so rounding grows quickly there.
TOLERANCES = (1e-4, 1e-2, 2e-2)

T = TypeVar("T")


def race(sides: dict[str, Side], steps: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Milliseconds a step, for every side: the median of all steps, and the best round's."""
    times: dict[str, list[list[float]]] = {mode: [] for mode in sides}
    for number in range(rounds + 1):  # the first one is for compilers and allocators
        for mode, side in list(sides.items()):
            count = WARM + (steps if number else 1)
            taken = attempt(mode, lambda side=side, count=count: side.steps(count))  # type: ignore[misc]
            if taken is None:
                del sides[mode], times[mode]
            elif number:
                times[mode].append([1000 * seconds for seconds, _ in taken[WARM:]])
    return {
        mode: {
            "median_ms": round(median(ms for turn in turns for ms in turn), 3),
            "best_ms": round(min(map(median, turns)), 3),
            "rounds_ms": [round(median(turn), 3) for turn in turns],
        }
        for mode, turns in times.items()
    }


def attempt(mode: str, work: Callable[[], T]) -> T | None:
    """What work gives; None, and a word why, where this side cannot."""
    try:
        return work()
    except RuntimeError as error:
        print(f"{mode} is out:\n{error}", flush=True)
        return None


def check(net: Net, modes: list[str], threads: int) -> None:
    """Same weights and batches, no dropout: the losses must be the same. Compiled nets are the eager ones' modules."""
    found = {}
    for mode in modes:
        if "compile" not in mode:
            side = Side(net, mode, threads, dropout=False)
            found[mode] = [loss for _, loss in side.steps(len(TOLERANCES))]
            side.stop()
    reference = found[modes[0]]
    for mode, losses in found.items():
        if any(abs(a - b) > limit * abs(a) for a, b, limit in zip(reference, losses, TOLERANCES, strict=True)):
            raise SystemExit(f"{mode} computes something else: losses {losses}, ours {reference}")


def measure(name: str, modes: list[str], kernels: list[str], threads: int, steps: int | None, rounds: int) -> None:
    net = NETS[name]
    others = [mode for mode in modes_for(net) if mode in modes]
    check(net, [*kernels, *others], threads)
    sides = {mode: Side(net, mode, threads) for mode in [*kernels, *others]}
    found = race(sides, steps or net.steps, rounds)
    for side in sides.values():
        side.stop()
    torch = {mode: row["median_ms"] for mode, row in found.items() if mode in TORCH_MODES}
    if not torch:
        raise SystemExit("no mode of torch is left to compare with")
    best = min(torch, key=lambda mode: torch[mode])
    print(f"\n{name}, {threads} threads; ratio = torch's best median ({best}) / this one's")
    print(f"{'':<30}{'median ms':>12}{'best ms':>12}{'ratio':>8}")
    for mode, row in found.items():
        row["ratio"] = round(torch[best] / row["median_ms"], 3)
        label = f"ours, {mode}" if mode in kernels else mode if mode == "jax" else f"torch, {mode}"
        print(f"{label:<30}{row['median_ms']:>12.2f}{row['best_ms']:>12.2f}{row['ratio']:>8.2f}", flush=True)
    figures = {
        "net": name,
        "threads": threads,
        "steps": steps or net.steps,
        "torch_best_mode": best,
        "ratio": {mode: found[mode]["ratio"] for mode in kernels},
        "sides": found,
    }
    usual = threads == available_cores()
    record.write(f"train_step_{name}" if usual else f"train_step_{name}_{threads}_threads", figures)


def main() -> None:
    def names(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=names, default=list(NETS), help="with commas; all unless said otherwise")
    parser.add_argument("--modes", type=names, default=[*TORCH_MODES, "jax"], help="of the others")
    parser.add_argument("--kernels", type=names, help="ours, native,numpy where both are built")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--steps", type=int, help="of each side's turn; about two seconds' worth unless given")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    kernels = arguments.kernels or built_kernels()
    for given, known in (
        (arguments.nets, NETS),
        (kernels, KERNELS),
        (arguments.modes, [*TORCH_MODES, "jax"]),
    ):
        if wrong := set(given) - set(known):
            parser.error(f"unknown: {', '.join(wrong)}; there are {', '.join(known)}")
    record.forbid_blas_settings()
    for name in arguments.nets:
        measure(name, arguments.modes, kernels, arguments.threads, arguments.steps, arguments.rounds)


if __name__ == "__main__":
    main()
