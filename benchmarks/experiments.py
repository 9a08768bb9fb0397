"""What the experiments that come as configs show, over seeds: python benchmarks/experiments.py [--seeds 5] [NAME…]
→ results/experiments.json

Each variant of a config is trained with every seed, which is that of made-up data as well. `mnist_pooling` needs MNIST
below DLTRAIN_DATA.
"""

import argparse
import tempfile
from statistics import mean, stdev
from typing import Any

from record import write

import dltrain
from dltrain.errors import DivergedError

DENSE = "model.layers=[flatten, {dense: 32}, {dense: {units: 3, activation: none}}]"
AVERAGE = ("model.layers.1.type=average_pool", "model.layers.3.type=average_pool")
# config -> variant -> changes; {seed} is replaced
EXPERIMENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "dying_relu": {"relu": (), "leaky_relu": ("model.activation=leaky_relu",)},
    "playground_circle_l1": {"proximal": ("data.seed={seed}",)},
    "playground_circle_l2": {"l2": ("data.seed={seed}",)},
    "circle_by_hand": {"x, y, x², y²": ("data.seed={seed}",), "x, y": ("data.seed={seed}", "data.features=[x, y]")},
    "few_digits_dropout": {
        "dropout": (), "without": ("model.layers.dropout1.rate=0", "model.layers.dropout2.rate=0"),
    },
    "signals_conv": {"conv": ("data.seed={seed}",), "dense": ("data.seed={seed}", DENSE)},
    "volumes_conv": {"conv": ("data.seed={seed}",)},
    "noisy_digits_blur": {"blur": (), "without": ("~model.layers.conv1",)},
    "digits_svm": {"C = 100": ()},
    "penguins_mlp": {"10 split seeds": ()},
    "mnist_pooling": {"max": (), "average": AVERAGE},
}  # fmt: skip


def result(config: str, changes: tuple[str, ...], seed: int, runs: str) -> dict[str, Any]:
    """What is to be seen of one training."""
    changes = (*(change.format(seed=seed) if "{seed}" in change else change for change in changes), f"seed={seed}")
    try:
        run = dltrain.load(config, changes).fit(runs_dir=runs)
    except DivergedError:
        return {"seed": seed, "diverged": True}
    found: dict[str, Any] = {"seed": seed, "train": run.result["train"]["loss"], "test": run.result["test"]}
    last = run.result["epochs"]
    dead = [row for row in run.layers if row["epoch"] == last and row["dead_units"] is not None]
    if dead:
        found["dead_share"] = sum(row["dead_units"] for row in dead) / sum(row["units"] for row in dead)
    if config.startswith("playground"):
        weight = run._directory.checkpoint("last").weights["dense1.weight"]
        found["weights"] = [round(float(w), 4) for w in weight.ravel()]
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EXPERIMENTS)}")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as runs:
        for config in arguments.names or EXPERIMENTS:
            for variant, changes in EXPERIMENTS[config].items():
                seeds = range(10 if config == "penguins_mlp" else arguments.seeds)
                rows = [result(config, changes, seed, runs) for seed in seeds]
                right = [row["test"]["accuracy"] for row in rows if "test" in row]
                summary = {"accuracy": mean(right), "deviation": stdev(right) if len(right) > 1 else None}
                figures.setdefault(config, {})[variant] = summary | {"runs": rows}
                print(f"{config}, {variant}: accuracy {mean(right):.4f} over {len(right)} seeds", flush=True)
    write("experiments", {"experiments": figures})


if __name__ == "__main__":
    main()
