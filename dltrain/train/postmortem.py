"""What is said of a step that failed: its numbers left the finite, or a GPU's memory was too small."""

import shlex
from dataclasses import asdict
from typing import Any

import numpy as np

from dltrain.backend import to_host
from dltrain.engine import no_grad
from dltrain.errors import DeviceError, DivergedError
from dltrain.job.inputs import StepInputs
from dltrain.job.job import Job
from dltrain.job.loader import StepKey
from dltrain.job.values import compute
from dltrain.nn import Layer
from dltrain.run.sink import Sink
from dltrain.train.state import TrainState
from dltrain.train.step import fits

Array = Any


def postmortem(job: Job, state: TrainState, sink: Sink, error: DivergedError) -> dict[str, Any]:
    """What diverged.json says; `replay` is there where the weights before the failed step are kept."""
    where, batch = state.position, error.batch
    replay = {"replay": f"dltrain verify {shlex.quote(str(sink.path))} --from-step {where.step} --steps 1"}
    return {
        "message": str(error),
        "layer": error.layer,
        **asdict(where),
        **(replay if batch is not None and where.step in sink.saved_steps() else {}),
        "last_gradient_norms": list(state.norms),
        "batch": None if batch is None else to_host(batch).tolist(),
        "ranges": ranges(job, batch, StepKey(job.seed, where.epoch, where.step + 1)),
    }


def ranges(job: Job, batch: Array | None, key: StepKey) -> dict[str, Any]:
    """For each layer the lowest and highest finite weight, and of its outputs for this batch; how many are not finite.

    The update of a failed step has not happened, so its forward pass can be repeated. batch: None where it was no
    step that failed.
    """
    found: dict[str, dict[str, Any]] = {layer.name: {} for layer in job.model.layers if layer.observed}
    for layer in job.model.layers:
        for part, parameter in layer.parameters.items():
            found[layer.name][part] = _range([to_host(parameter.data)])
    outputs: dict[str, list[Array]] = {name: [] for name in found}

    def tap(mark: str, layer: Layer, y: Array) -> None:
        outputs[layer.name].append(to_host(y).copy())

    if batch is not None:
        with no_grad(), np.errstate(all="ignore"):
            inputs = StepInputs(job, batch, key)
            for shard in map(inputs.of, range(-(-len(batch) // job.shard_size))):
                for update in job.updates:
                    compute(update, shard.values, shard, key, tap)
        for name, parts in outputs.items():
            found[name] |= {"output": _range(parts)} if parts else {}
    return found


def _range(parts: list[Array]) -> dict[str, Any]:
    values = np.concatenate([part.reshape(-1) for part in parts])
    finite = values[np.isfinite(values)]
    ends = {"lowest": float(finite.min()), "highest": float(finite.max())} if len(finite) else {}
    return {**ends, "not_finite": len(values) - len(finite)}


def out_of_memory(job: Job, batch: Array, key: StepKey) -> DeviceError:
    """What to say when a GPU's memory is too small: the batch that would fit, found by trying.

    Call it when the arrays of the failed step are gone.
    """
    size = job.train.batch_size
    told = f"out of memory on the GPU with train.batch_size {size}"
    parts = 2
    while size // parts:
        if fits(job, batch[: size // parts], key):
            fit, updates = size // parts, job.train.accumulate * parts
            same = f"; with train.accumulate={updates} as well the updates stay the same"
            same = same if size % parts == 0 and not job.model.mixes_examples else ""  # statistics would not
            return DeviceError(f"{told}: tried, and train.batch_size={fit} fits{same}")
        parts *= 2
    return DeviceError(f"{told}: tried, and not even a batch of 1 fits; --device cpu has more memory")
