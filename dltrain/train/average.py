"""Averaged weights: the mean over the steps so far in which newer steps count more.

With a decay d the weights of k steps ago count d^k, and all shares add up to 1: after step t (from 1)

    average += (1 - d) / (1 - d^t) · (weights - average)

so the first step's weights are the first average, and initial weights never count (the bias correction of Kingma and
Ba, "Adam", 2015, section 3). Averages of the steps of SGD: Polyak and Juditsky, "Acceleration of Stochastic
Approximation by Averaging", 1992. Buffers such as running statistics are averaged like weights.
"""

from copy import deepcopy
from dataclasses import replace
from typing import Any

from dltrain.backend import Device
from dltrain.job.job import Job
from dltrain.spans import span
from dltrain.train.step_metrics import FiniteGuard

Array = Any
Arrays = dict[str, Array]


def new_average(job: Job) -> Arrays:
    """For the model's parameters and buffers, once they have values; nothing where the config wants no average."""
    return {} if job.train.average is None else {name: array.copy() for name, array in job.model.weights().items()}


def load_average(average: Arrays, kept: Arrays, device: Device) -> None:
    """Copy it from a checkpoint. Raises KeyError or ValueError where it is that of another network."""
    for name, array in average.items():
        if (kept[name].shape, kept[name].dtype.kind) != (array.shape, "f"):
            raise ValueError(f"the average of {name} does not fit")
        array[...] = device.asarray(kept[name])


def follow(job: Job, average: Arrays, step: int, guard: FiniteGuard | None = None) -> None:
    """Take in the weights after a step, which count from 1. Changes the arrays in place, unless the guard objects."""
    decay = job.train.average
    if decay is None:
        return
    with span("average"):
        kept = guard.keep([*average.values()]) if guard else []
        share = (1 - decay) / (1 - decay**step)
        for name, array in job.model.weights().items():
            average[name] += share * (array - average[name])
        if guard:
            guard.undo(kept)


def with_average(job: Job, average: Arrays) -> Job:
    """The job with a model that holds the averages; itself where there are none."""
    if not average:
        return job
    in_place = {id(part.data): average[name] for name, part in job.model.state.items()}
    model, updates, values = deepcopy((job.model, job.updates, job.values), in_place)
    return replace(job, model=model, updates=updates, values=values)
