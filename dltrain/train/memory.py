"""What to say when a GPU's memory is too small for a step: the batch that would fit, found by trying."""

from typing import Any

from dltrain.errors import DeviceError
from dltrain.train.feed import Moment
from dltrain.train.job import Job
from dltrain.train.step import fits

Array = Any


def out_of_memory(job: Job, batch: Array, moment: Moment) -> DeviceError:
    """The error to raise. Call it when the arrays of the failed step are gone."""
    size = job.train.batch_size
    told = f"out of memory on the GPU with train.batch_size {size}"
    parts = 2
    while size // parts:
        if fits(job, batch[: size // parts], moment):
            fit, updates = size // parts, job.train.accumulate * parts
            same = f"; with train.accumulate={updates} as well the updates stay the same" if size % parts == 0 else ""
            return DeviceError(f"{told}: tried, and train.batch_size={fit} fits{same}")
        parts *= 2
    return DeviceError(f"{told}: tried, and not even a batch of 1 fits; --device cpu has more memory")
