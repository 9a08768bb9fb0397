"""What a step is given: the values of its examples from the data set, and what is drawn by chance beside them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dltrain.backend import Reference
from dltrain.job.loader import StepKey, mixed_examples, random_words
from dltrain.nn import Term

if TYPE_CHECKING:
    from dltrain.job.job import Job

Array = Any
Arrays = dict[str, Array]


@dataclass(frozen=True)
class Shard:
    """values: by name, (N, …) each. first: the position of the first of its examples in the batch.

    shares, other_labels: where examples are mixed, of how much of which labels the loss is made; the first share is
    that of the targets among the values.
    """

    kernels: Reference
    values: Arrays
    first: int
    examples: int
    shares: tuple[float, ...] = (1.0,)
    other_labels: tuple[Array, ...] = ()


class StepInputs:
    """Of a batch, the same for every update of the step. batch: indices into the training split."""

    def __init__(self, job: "Job", batch: Array, key: StepKey):
        self.job, self.batch, self.key = job, batch, key
        self._made: dict[int, Shard] = {}  # for a later update of this step

    def of(self, number: int) -> Shard:
        """Threads may ask for different ones at once."""
        made = self._made.get(number) or self._make(number)
        if len(self.job.updates) > 1:
            self._made[number] = made
        return made

    def count(self, term: Term) -> Array:
        """What makes a mean over the batch of a sum over examples."""
        if term.ends:
            return self.job.loaders["train"].asked(term.target, self.batch)
        if term.loss.class_weights is None:
            return len(self.batch) * term.answers
        return term.loss.count(self.job.loaders["train"].targets_of(self.batch))

    def _make(self, number: int) -> Shard:
        job, key, loader = self.job, self.key, self.job.loaders["train"]
        first = number * job.shard_size
        here = self.batch[first : first + job.shard_size]
        kernels, size = job.device.kernels, len(here)
        if job.mixup:
            x, mixture = mixed_examples(loader, self.batch, first, job.shard_size, key, job.mixup)
            (_, labels), *others = mixture
            shares, other_labels = tuple(share for share, _ in mixture), tuple(label for _, label in others)
            values = dict(zip(job.preprocessing.named, (x, labels), strict=False))
            return Shard(kernels, values, first, size, shares, other_labels)
        values = loader.values(here, first, key)
        for drawn in job.drawn:
            words = random_words(kernels, key, "value", drawn.name, first, size, drawn.distribution.words_each)
            values[drawn.name] = drawn.distribution.draw(words, job.device.dtype)
        for coded in job.coded:
            values[coded.name] = coded(values[coded.of.name], job.device.dtype)
        return Shard(kernels, values, first, size)
