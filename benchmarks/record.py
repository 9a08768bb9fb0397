"""Where, when and with what a figure was measured."""

import json
import os
import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dltrain
from dltrain.backend import open_device
from dltrain.backend.process import settle
from dltrain.run.environment import environment

RESULTS = Path(__file__).parent / "results"


def forbid_blas_settings() -> None:
    """Variables such as OPENBLAS_CORETYPE can halve numpy's speed: measure without them."""
    found = [name for name in os.environ if name.startswith(("OPENBLAS_", "OMP_", "MKL_"))]
    if found:
        raise SystemExit(f"unset {' '.join(found)} before measuring")


def write(name: str, figures: dict[str, Any]) -> None:
    """Keep the figures in results/NAME.json with the machine, the versions and the date."""
    settle()  # says of BLAS what holds while we train
    env = environment(open_device("cpu"), 0, [])
    machine = {"cpu": env["cpu"], "cores": os.cpu_count(), "platform": platform.platform(), "blas": env["blas"]}
    versions = {"dltrain": dltrain.__version__} | {package: _version(package) for package in ("numpy", "torch", "jax")}
    content = {"date": date.today().isoformat(), "machine": machine, "versions": versions, **figures}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    print(f"→ {path}")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
