"""How good are the rates that `dltrain lr-find` suggests? python benchmarks/lr_find.py  →  results/lr_find.json

Each network is trained at every rate of a grid and at the suggested one, with several seeds; compared are the training
losses of the last epoch, which are means over many more examples than validation has. The rule was made with the first
four networks in sight; the others were only measured. Takes about a quarter of an hour on two idle cores.
"""

import json
import subprocess
import sys
import tempfile
from statistics import mean
from typing import Any

from record import write

NETS: dict[str, list[str]] = {
    "linear with sgd": ["docs/tutorial/linear.yaml", "train.epochs=5"],
    "mlp with momentum": ["docs/tutorial/mlp.yaml", "train.epochs=3"],
    "digits_cnn with adam": ["digits_cnn", "train.epochs=3"],
    "mnist_lenet5 with adam": ["mnist_lenet5", "train.max_steps=400"],
    "signals_conv with adam": ["signals_conv", "train.epochs=10"],
    "few_digits_dropout with adam": ["few_digits_dropout", "train.epochs=10"],
}
SEEDS = (0, 1)
GRID = [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1]


def dltrain(command: str, *arguments: str) -> dict[str, Any]:
    """What a command says with --json; of a training that diverged, what it said until then."""
    words = [sys.executable, "-m", "dltrain", command, *arguments, "--json", "--quiet"]
    result: dict[str, Any] = json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=False).stdout)
    return result


def loss_at(words: list[str], rate: float, runs: str) -> float | None:
    """The mean over the seeds; None where one of them diverged."""
    losses = []
    for seed in SEEDS:
        result = dltrain("fit", *words, f"optimizer.lr={rate:g}", f"seed={seed}", "--runs-dir", runs)
        if result["status"] != "done":
            return None
        losses.append(result["train"]["loss"])
    return float(mean(losses))


def main() -> None:
    nets: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as runs:
        for name, words in NETS.items():
            suggestion = dltrain("lr-find", *words)["suggestion"]
            losses = {f"{rate:g}": loss_at(words, rate, runs) for rate in GRID}
            best = min(loss for loss in losses.values() if loss is not None)
            own = loss_at(words, suggestion, runs)
            assert own is not None
            nets[name] = {"grid": losses, "suggestion": suggestion, "loss": own, "above_best": own / best - 1}
            write("lr_find", {"seeds": SEEDS, "nets": nets})
            print(f"{name}: {suggestion:g} gives {own:.4g}, {own / best - 1:+.1%} beside the grid's best", flush=True)


if __name__ == "__main__":
    main()
