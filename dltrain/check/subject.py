"""What the checks look at: a job with fresh weights, and one batch that went through it forward and backward."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from dltrain.backend import to_host
from dltrain.engine import Tensor, gradients
from dltrain.job.job import Job
from dltrain.job.loader import StepKey, random_words
from dltrain.nn import Context, Dropout, Layer, Network
from dltrain.random import permutation

Array = Any
PIECE = 1024  # examples made ready at a time
MOST_BYTES = 512 << 20  # that the outputs of all layers may take, and their gradients again


@dataclass(frozen=True)
class LayerTrace:
    """What one batch gave at a layer, on the host. output and gradient (of the loss): (N, *out_shape)."""

    layer: Layer
    output: Array
    gradient: Array


@dataclass(frozen=True)
class Trace:
    """One batch forward and backward. gradients: parameter name -> gradient of the data loss, on the host."""

    loss: float
    layers: list[LayerTrace]
    gradients: dict[str, Array]


class Subject:
    """The job under examination. Once it is `initialised`, its model has the weights that a training starts from.

    class_names: None where numbers are to be predicted.
    """

    def __init__(self, job: Job):
        self.job = job
        self.train = job.loaders["train"]
        self.seen: dict[str, Any] = {}  # by split, what `leaks` has looked at
        self.class_names = job.preprocessing.classes if job.loss.classification else None
        each = 8 * sum(prod(layer.out_shape) for layer in job.model.layers)
        wanted = max(64, min(job.train.batch_size, 256))
        self.examples = min(wanted, self.train.size, max(2, MOST_BYTES // each))

    def initialised(self) -> "Subject":
        self.job.model.initialise(self.job.seed, self.job.device)
        return self

    def input_name(self, number: int) -> str:
        """What users call an input of the network, the last axis of its shape."""
        names = [column.name for column in self.job.preprocessing.columns or () for _ in range(column.width)]
        if number < len(names):
            return f"column {names[number]}"
        return f"{'channel' if len(self.job.network.in_shape) == 3 else 'input'} {number}"

    @property
    def step_key(self) -> StepKey:
        return StepKey(self.job.seed, epoch=1, step=1)

    @cached_property
    def shuffled(self) -> Array:
        """The order in which the first epoch sees the training examples."""
        return permutation(self.train.size, self.job.seed, "order", epoch=1)

    @property
    def first_batch(self) -> Array:
        """The examples that the first epoch begins with, as indices into the training split."""
        return self.shuffled[: self.examples]

    @cached_property
    def trace(self) -> Trace:
        """The first examples through the network as in training: augmented, with dropout."""
        x, targets = self.train.examples(self.first_batch, 0, self.step_key)
        return trace(self.job, x, targets, Context(training=True, words=self.words(len(targets))))

    @cached_property
    def guess(self) -> float:
        """The loss of answering the same to everything: 0 for each class, how frequent each label is, or the mean
        of the targets."""
        x, targets = self.train.examples(self.first_batch)
        output = self.job.device.xp.zeros((len(targets), *self.job.network.out_shape), x.dtype)
        if self.class_names is None:
            known = to_host(self.train.targets_of(np.arange(self.train.size)))  # as the network should give them
            mean = known.mean(axis=0)
            if self.job.loss.multilabel:
                share = np.clip(mean, 1e-6, 1 - 1e-6)
                mean = np.log(share / (1 - share))
            output = output + self.job.device.asarray(mean)
        return float(to_host(self.job.loss(Tensor(output), targets, self.job.loss.count(targets)).data))

    def words(self, examples: int) -> Callable[[str, str, int], Array]:
        """The random words of the first step."""

        def draw(purpose: str, layer: str, each: int) -> Array:
            return random_words(self.job.device.kernels, self.step_key, purpose, layer, 0, examples, each)

        return draw

    def inputs(self, split: str, indices: Array) -> Iterator[Array]:
        """Normalised inputs of these examples, a piece after the other, on the host."""
        for start in range(0, len(indices), PIECE):
            yield to_host(self.job.loaders[split].examples(indices[start : start + PIECE])[0])


def trace(job: Job, x: Array, targets: Array, context: Context) -> Trace:
    """Run a batch through the job's model and back. Called with jobs on two devices, it shows where they differ."""
    outputs = list(job.network.outputs(Tensor(x), context))
    loss = job.loss(outputs[-1][1], targets, job.loss.count(targets))
    parameters = job.model.parameters
    found = gradients(loss, [*(y for _, y in outputs), *parameters.values()])
    layers = [
        LayerTrace(layer, to_host(y.data), to_host(g))
        for (layer, y), g in zip(outputs, found[: len(outputs)], strict=True)
    ]
    by_name = dict(zip(parameters, map(to_host, found[len(outputs) :]), strict=True))
    return Trace(float(to_host(loss.data)), layers, by_name)


def without_dropout(model: Network) -> Network:
    """A copy that shares nothing, in which nothing is left to chance."""
    copy = deepcopy(model)
    for layer in copy.layers:
        if isinstance(layer, Dropout):
            layer.rate = 0.0
    return copy


def rms(x: Array) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))
