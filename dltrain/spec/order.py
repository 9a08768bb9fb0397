"""What rank 0 tells the others to train with it: all that they need but the data."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dltrain.backend import choose_kernels, open_device
from dltrain.errors import RunError
from dltrain.job.job import Job
from dltrain.run.checkpoint import Checkpoint
from dltrain.run.environment import differences, environment
from dltrain.run.sink import Nothing, Sink
from dltrain.spec.job import build_job
from dltrain.spec.load import loads

Array = Any
Arrays = dict[str, Array]


def order_for(job: Job, path: Path, smoke: bool, threads: int | None, checkpoint: Checkpoint | None) -> Arrays:
    """path: of the run, for messages."""
    told = {
        "config": job.config,
        "path": str(path),
        "smoke": smoke,
        "kernels": job.device.kernels.name,
        "data_sha256": job.data_sha256,
        "environment": environment(job.device, threads, sys.argv),
    }
    saved = checkpoint.to_bytes() if checkpoint else b""
    return {"train": _bytes(json.dumps(told).encode()), "checkpoint": _bytes(saved)}


def take(order: Arrays, data_dir: Path, threads: int | None) -> tuple[Job, Sink, Checkpoint | None]:
    """What an order is about, on another rank. Raises RunError where this one would compute something else."""
    told = json.loads(order["train"].tobytes())
    path = Path(told["path"])
    checkpoint = None
    if order["checkpoint"].size:
        with TemporaryDirectory() as folder:
            file = Path(folder) / "checkpoint.safetensors"
            file.write_bytes(order["checkpoint"].tobytes())
            checkpoint = Checkpoint.read(file)
    device = open_device("cpu")
    if device.kernels.name != told["kernels"]:
        choose_kernels(told["kernels"])
    spec = loads(told["config"], filename=str(path / "config.yaml"))
    job = build_job(spec, device, data_dir, told["smoke"], checkpoint, checkpoint is None)
    if others := differences(told["environment"], environment(device, threads, sys.argv)):
        raise RunError(f"{'; '.join(others)}: equal bits want the same environment on all ranks")
    if others := [split for split, digest in job.data_sha256.items() if digest != told["data_sha256"].get(split)]:
        raise RunError(f"the data here are others ({', '.join(others)})")
    return replace(job, config=told["config"]), Nothing(path), checkpoint


def _bytes(content: bytes) -> Array:
    return np.frombuffer(content, np.uint8)
