"""What the experiments that come as configs show, over seeds: python benchmarks/experiments.py [--seeds 5] [NAME…]
→ results/experiments.json and, for all of them, the table in README.md

Each variant of a config is trained with every seed, which is that of made-up data as well. `mnist_pooling` needs MNIST
below DLTRAIN_DATA.
"""

import argparse
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from record import write

import dltrain
from dltrain.api import Run
from dltrain.errors import DivergedError

Figures = dict[str, float]
README = Path(__file__).parent / "README.md"
MARKED = re.compile(r"(<!-- experiments -->\n).*(<!-- end of experiments -->)", re.S)
RELU = ("model.activation=relu", "model.init=normal")
PENGUINS = "penguins_mlp"  # one split of so few examples says little
DENSE = "model.layers=[flatten, {dense: 32}, {dense: {units: 3, activation: none}}]"

# config -> variant -> changes; {seed} is replaced
EXPERIMENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "deep_sigmoid": {
        "sigmoid": (),
        "relu": ("model.activation=relu", "model.init=he_normal"),
        "relu, too small": (*RELU, "model.init.std=0.05"),
        "relu, too large": (*RELU, "model.init.std=0.5"),
    },
    "dying_relu": {"relu": (), "leaky_relu": ("model.activation=leaky_relu",)},
    "valley": {
        name: (f"optimizer={{type: {name}, lr: {lr}}}", "data.seed={seed}")
        for name, lr in {"sgd": 0.5, "momentum": 0.1, "nesterov": 0.1, "adam": 0.1}.items()
    },
    "playground_circle_l1": {"L1, proximal": ("data.seed={seed}",)},
    "playground_circle_l2": {"L2": ("data.seed={seed}",)},
    "few_digits_dropout": {
        "dropout": (),
        "without": ("model.layers.dropout1.rate=0", "model.layers.dropout2.rate=0"),
    },
    "signals_conv": {"conv": ("data.seed={seed}",), "dense": ("data.seed={seed}", DENSE)},
    "noisy_digits_blur": {"blur": (), "without": ("~model.layers.conv1",)},
    "volumes_conv": {"conv": ("data.seed={seed}",)},
    "mnist_pooling": {
        "maximum": (),
        "average": ("model.layers.1.type=average_pool", "model.layers.3.type=average_pool"),
    },
    PENGUINS: {"mlp": ()},
    "digits_svm": {"C = 100": ()},
    "circle_by_hand": {"x, y, x², y²": ("data.seed={seed}",), "x, y": ("data.seed={seed}", "data.features=[x, y]")},
}


def accuracy(run: Run) -> Figures:
    return {"test accuracy": run.result["test"]["accuracy"]}


def by_depth(run: Run) -> Figures:
    last = run.result["epochs"]
    norms = [row["gradient_norm"] for row in run.layers if row["epoch"] == last]
    return {"gradient norm of the first layer, by that of the last": norms[0] / norms[-1]} | accuracy(run)


def dead(run: Run) -> Figures:
    rows = [row for row in run.layers if row["epoch"] == run.result["epochs"] and row["dead_units"] is not None]
    share = {"dead units": sum(row["dead_units"] for row in rows) / sum(row["units"] for row in rows)} if rows else {}
    return share | accuracy(run)


def steps(run: Run) -> Figures:
    """From the first step on whose loss is below 0.01."""
    losses = [row["loss"] for row in run.metrics if row["event"] == "step"]
    return {"steps to a loss of 0.01": next(i for i, loss in enumerate(losses, start=1) if loss < 0.01)}


def zeros(run: Run) -> Figures:
    weights = run._directory.checkpoint("last").weights["dense1.weight"].ravel()
    useless = [0, 1, 4, 5, 6]  # all but x² and y²
    return {
        "useless features at 0, of 5": int((weights[useless] == 0).sum()),
        "useful ones at 0, of 2": int((weights == 0).sum() - (weights[useless] == 0).sum()),
    } | accuracy(run)


def gap(run: Run) -> Figures:
    return {"test loss, by training loss": run.result["test"]["loss"] / run.result["train"]["loss"]} | accuracy(run)


SEEN: dict[str, Callable[[Run], Figures]] = {
    "deep_sigmoid": by_depth,
    "dying_relu": dead,
    "valley": steps,
    "playground_circle_l1": zeros,
    "playground_circle_l2": zeros,
    "few_digits_dropout": gap,
}


def measure(config: str, changes: tuple[str, ...], seed: int, runs: str) -> Figures | None:
    """What is to be seen of one training; None where it diverged."""
    changed = [change.format(seed=seed) if "{seed}" in change else change for change in changes]
    try:
        run = dltrain.load(config, [*changed, f"seed={seed}"]).fit(runs_dir=runs)
    except DivergedError:
        return None
    return SEEN.get(config, accuracy)(run)


def table(experiments: dict[str, Any]) -> str:
    lines = ["| config | variant | seeds | mean ± standard deviation |", "|---|---|--:|---|"]
    for config, variants in experiments.items():
        for variant, found in variants.items():
            shown = [f"{name} {f['mean']:.3g} ± {f['deviation']:.2g}" for name, f in found["figures"].items()]
            diverged = [f"{found['diverged']} diverged"] if found["diverged"] else []
            lines.append(f"| `{config}` | {variant} | {found['seeds']} | {'; '.join(shown + diverged)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5, help=f"at least 2; 10 for {PENGUINS}")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EXPERIMENTS)}")
    arguments = parser.parse_args()
    experiments: dict[str, Any] = {}
    for config in arguments.names or EXPERIMENTS:
        for variant, changes in EXPERIMENTS[config].items():
            with tempfile.TemporaryDirectory() as runs:
                count = 10 if config == PENGUINS else arguments.seeds
                found = [measure(config, changes, seed, runs) for seed in range(count)]
            held = [figures for figures in found if figures is not None]
            summary = {
                name: {"mean": mean(values), "deviation": stdev(values), "of each": values}
                for name, values in ((name, [figures[name] for figures in held]) for name in (held or [{}])[0])
            }
            result = {"seeds": count, "diverged": count - len(held), "figures": summary}
            experiments.setdefault(config, {})[variant] = result
            print(table({config: {variant: result}}).splitlines()[-1], flush=True)
    if arguments.names:
        return
    write("experiments", {"experiments": experiments})
    text = README.read_text(encoding="utf-8")
    README.write_text(MARKED.sub(lambda m: m[1] + table(experiments) + "\n" + m[2], text), encoding="utf-8")


if __name__ == "__main__":
    main()
