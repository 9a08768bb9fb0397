"""What a run's bits may depend on, written into env.json."""

import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from dltrain import __version__
from dltrain.backend import Device
from dltrain.backend.process import available_cores
from dltrain.registry import PLUGINS

VARIABLES = ("OPENBLAS_", "OMP_", "MKL_", "CUPY_", "CUBLAS_", "NPY_", "NVIDIA_TF32", "DLTRAIN_")
MOST_LETTERS = 200  # of a value that is shown
HARMLESS = {"threads", "command", "cores", "platform", "kernels_note"}


def environment(device: Device, threads: int | None, command: list[str]) -> dict[str, Any]:
    """Versions, machine, BLAS and the variables that change what is computed."""
    blas = [
        {key: info.get(key) for key in ("internal_api", "version", "architecture", "num_threads")}
        for info in threadpool_info()
        if info.get("user_api") == "blas"
    ]
    return {
        "dltrain": __version__,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "blas": blas,
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "device": device.name,
        **({} if device.is_cpu else {"gpu": device.describe()}),
        "kernels": device.kernels.name,
        **({"kernels_note": device.kernels.note} if device.kernels.note else {}),
        "dtype": device.dtype.name,
        "threads": threads or available_cores(),
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)},
        "plugins": list(PLUGINS),
        "command": command,
    }


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """`numpy: 2.4.6, now 2.5.0` for whatever may change bits; empty means that equal bits are promised."""
    return [
        f"{key}: {_short(old.get(key))}, now {_short(new.get(key))}"
        for key in sorted((old.keys() | new.keys()) - HARMLESS)
        if _bits(old.get(key)) != _bits(new.get(key))
    ]


def _bits(value: Any) -> Any:
    """Without thread counts and folders, which change no bits."""
    if isinstance(value, list):
        return [_bits(entry) for entry in value]
    if isinstance(value, dict):
        return {k: v for k, v in value.items() if "num_threads" not in k.lower() and k != "DLTRAIN_DATA"}
    return value


def _short(value: Any) -> str:
    if value in (None, {}, []):
        return "nothing"
    text = " ".join(str(value).split())
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
