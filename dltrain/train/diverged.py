"""What is worth knowing about a training whose numbers left the finite: the content of diverged.json."""

from typing import Any

import numpy as np

from dltrain.backend import to_host
from dltrain.engine import no_grad
from dltrain.nn import Layer
from dltrain.train.feed import Moment
from dltrain.train.job import Job
from dltrain.train.mixup import mixed_examples
from dltrain.train.step import forward

Array = Any


def ranges(job: Job, batch: Array | None, moment: Moment) -> dict[str, Any]:
    """For each layer the lowest and highest finite weight, and of its outputs for this batch; how many are not finite.

    The update of a failed step has not happened, so its forward pass can be repeated. batch: None where it was no
    step that failed.
    """
    found: dict[str, dict[str, Any]] = {layer.name: {} for layer in job.model.layers if layer.observed}
    for name, parameter in job.model.named_parameters():
        layer, _, part = name.rpartition(".")
        found[layer][part] = _range([to_host(parameter.data)])
    outputs: dict[str, list[Array]] = {name: [] for name in found}

    def tap(layer: Layer, y: Array) -> None:
        outputs[layer.name].append(to_host(y).copy())

    if batch is not None:
        with no_grad(), np.errstate(all="ignore"):
            for shard in range(-(-len(batch) // job.shard_size)):
                first = shard * job.shard_size
                x, _ = mixed_examples(job.feeds["train"], batch, first, job.shard_size, moment, job.mixup)
                forward(job, x, first, moment, tap)
        for name, parts in outputs.items():
            found[name]["output"] = _range(parts)
    return found


def _range(parts: list[Array]) -> dict[str, Any]:
    values = np.concatenate([part.reshape(-1) for part in parts])
    finite = values[np.isfinite(values)]
    ends = {"lowest": float(finite.min()), "highest": float(finite.max())} if len(finite) else {}
    return {**ends, "not_finite": len(values) - len(finite)}
