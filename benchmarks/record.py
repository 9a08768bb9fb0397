"""Where, when and with what a figure was measured."""

import json
import os
import platform
from datetime import date
from pathlib import Path
from typing import Any

import numpy
import torch

import dltrain
from dltrain.backend import open_device
from dltrain.train.environment import environment

RESULTS = Path(__file__).parent / "results"


def forbid_blas_settings() -> None:
    """Variables such as OPENBLAS_CORETYPE can halve numpy's speed: measure without them."""
    found = [name for name in os.environ if name.startswith(("OPENBLAS_", "OMP_", "MKL_"))]
    if found:
        raise SystemExit(f"unset {' '.join(found)} before measuring")


def write(name: str, figures: dict[str, Any]) -> None:
    """Print the figures and keep them in results/NAME.json with the machine, the versions and the date."""
    env = environment(open_device("cpu"), torch.get_num_threads(), [])
    machine = {"cpu": env["cpu"], "cores": os.cpu_count(), "platform": platform.platform(), "blas": env["blas"]}
    versions = {"dltrain": dltrain.__version__, "numpy": numpy.__version__, "torch": torch.__version__}
    content = {"date": date.today().isoformat(), "machine": machine, "versions": versions, **figures}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
