"""Collect what finished runs achieved: python benchmarks/accuracy.py RUN…  →  results/accuracy.json

The runs come from, for example, `dltrain fit cifar_cnn --seed 0`. Figures are those of the last checkpoint on the test
split; seconds are of training alone, summed over the epochs.
"""

import json
import sys
from pathlib import Path
from typing import Any

from dltrain.run.find import find_run
from dltrain.run.rundir import RunDir
from dltrain.spec import load

RESULTS = Path(__file__).parent / "results" / "accuracy.json"


def figures(run: RunDir) -> dict[str, Any]:
    status, spec = run.status(), load(run.config)
    env = json.loads(run.environment.read_text())
    epochs = [row for row in run.rows(run.metrics) if row["event"] == "epoch"]
    return {
        "run": run.path.name,
        "seed": spec.seed,
        "status": status["status"],
        "epochs": status["epochs"],
        "test": status["test"],
        "weights_sha256": status["weights_sha256"],
        "training_seconds": round(sum(row["seconds"] for row in epochs), 1),
        "threads": env["threads"],
        "kernels": env["kernels"],
        "started": status["started"],
        "cpu": env["cpu"],
        "versions": {key: env[key] for key in ("dltrain", "python", "numpy")},
    }


def main() -> None:
    found = [figures(find_run(argument, Path("runs"))) for argument in sys.argv[1:]]
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    for row in found:
        print(f"{row['run']}: test accuracy {row['test']['accuracy']:.4f}, {row['training_seconds']} s of training")


if __name__ == "__main__":
    main()
