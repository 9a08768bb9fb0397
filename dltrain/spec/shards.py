"""Whether a batch has something to do for everybody."""

from dltrain.backend import Ranks
from dltrain.errors import ConfigError, DeviceError
from dltrain.job.job import Job


def require_shards(job: Job, ranks: Ranks) -> None:
    """Raises ConfigError where a batch has fewer shards than there are ranks, DeviceError where they are on a GPU."""
    if ranks.size == 1:
        return
    if not job.device.is_cpu:
        raise DeviceError(f"{ranks.size} ranks train together on CPUs only; use --device cpu")
    batch, size = min(job.train.step_size, job.loaders["train"].size), job.shard_size
    shards = -(-batch // size)
    if shards >= ranks.size:
        return
    told = f"train.shard_size: {batch} examples in shards of {size} make {shards}, too few for {ranks.size} ranks"
    if batch < ranks.size:
        raise ConfigError(f"{told}; a larger train.batch_size has more")
    fits = 1 << ((batch // ranks.size).bit_length() - 1)
    bits = "other bits, and batch_norm's statistics are over so many" if job.model.mixes_examples else "other bits"
    raise ConfigError(f"{told}; train.shard_size={fits} makes {-(-batch // fits)} ({bits})")
