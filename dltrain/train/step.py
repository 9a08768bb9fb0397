"""One step: a batch in shards forward and backward, the sum, the penalty, the check, the update."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from math import isfinite, sqrt
from typing import Any

from dltrain.backend import Late, kernels, to_host
from dltrain.engine import Tensor, gradients
from dltrain.errors import DivergedError
from dltrain.nn import Context, Layer, Penalty
from dltrain.ops import add, multiply
from dltrain.train.feed import Moment, random_words
from dltrain.train.job import Job
from dltrain.train.mixup import Mixture, mixed_examples
from dltrain.train.probes import LayerProbe, observe
from dltrain.train.shards import Crew, Sums

Array = Any
Tap = Callable[[Layer, Array], None]


@dataclass(frozen=True)
class StepReport:
    """data_loss is a mean over the batch, by the examples' weights, whose sum is `weight`: their number where all count
    the same. accuracy is None in regression; the norm is before clipping."""

    examples: int
    weight: float
    data_loss: float
    penalty: float
    accuracy: float | None
    gradient_norm: float
    lr: float


def train_step(
    job: Job,
    crew: Crew,
    batch: Array,
    moment: Moment,
    lr: float,
    state: dict[str, Array],
    probes: dict[str, LayerProbe],
    measure_update: bool,
) -> StepReport:
    """Train on these examples (indices into the training split) and add what was seen to the probes.

    measure_update: whether to compare the weights before and after, which costs a copy of them.
    Raises DivergedError, before anything is changed, when the loss or a gradient is not finite.
    """
    weighed = job.loss.class_weights is not None
    count = job.loss.count(job.feeds["train"].targets_of(batch)) if weighed else len(batch)
    sums = crew.run(-(-len(batch) // job.shard_size), lambda shard: _train_shard(job, batch, moment, shard, count))
    parameters = job.model.trainable_parameters()
    data_loss = float(to_host(sums["loss"]))
    penalty, penalty_gradients = penalise(job)
    grads = _complete({name: sums[f"gradient/{name}"] for name in parameters}, crew)
    for name, gradient in penalty_gradients.items():
        grads[name] = grads[name] + gradient

    seen = {name: to_host(value) for name, value in sums.items() if not name.startswith("gradient/")}
    squares = dict(zip(grads, crew.each(list(grads.values()), _square), strict=True))
    norm = sqrt(sum(squares.values())) if all(map(isfinite, squares.values())) else float("nan")
    if not isfinite(data_loss + penalty) or not isfinite(norm):
        raise _where_it_broke(job, seen, squares, data_loss, penalty, moment)
    for layer_name, probe in probes.items():
        probe.add(seen, len(batch))
        if any(parameter.trainable for parameter in probe.layer.parameters.values()):
            probe.gradient_norm.add(sqrt(sum(squares.get(f"{layer_name}.{p}", 0) for p in probe.layer.parameters)))

    clip = job.train.clip_norm
    if clip is not None and norm > clip:
        grads = {name: g * (clip / norm) for name, g in grads.items()}
    before = {name: p.data.copy() for name, p in parameters.items() if measure_update and p.kind == "weight"}
    pieces = job.optimizer.pieces({name: p.data for name, p in parameters.items()}, grads, state)
    crew.each(pieces, lambda piece: job.optimizer.update_one(piece[0], piece[1], piece[2], lr, moment.step))
    for rule, layers in _penalties(job):
        for layer in layers:
            rule.after_update(layer.parameters.values(), lr)
    for name, old in before.items():
        size = sqrt(_square(old))
        if size > 0:
            probes[name.rpartition(".")[0]].update_ratio.add(sqrt(_square(parameters[name].data - old)) / size)

    correct = seen.get("correct")
    return StepReport(
        examples=len(batch),
        weight=float(to_host(count)) if weighed else len(batch),
        data_loss=data_loss,
        penalty=penalty,
        accuracy=None if correct is None else int(correct) / len(batch),
        gradient_norm=norm,
        lr=lr,
    )


def forward(job: Job, batch: Array, moment: Moment, shard: int, tap: Tap) -> tuple[Tensor, Mixture]:
    """The outputs for this shard's examples, as in training, and the targets that they are mixed from."""
    first = shard * job.shard_size
    count = min(job.shard_size, len(batch) - first)
    x, mixture = mixed_examples(job.feeds["train"], batch, first, count, moment, job.mixup)

    def words(purpose: str, layer: str, words_each: int) -> Array:
        return random_words(job.device, moment, purpose, layer, first, count, words_each)

    return job.model(x, Context(training=True, words=words, tap=tap)), mixture


def _train_shard(job: Job, batch: Array, moment: Moment, shard: int, count: Array) -> Sums:
    """The gradient of this shard's part of the loss, and what its layers gave. count: as in `Loss`, of the batch."""
    sums: Sums = {}

    def tap(layer: Layer, y: Array) -> None:
        sums.update(observe(layer, y))

    output, mixture = forward(job, batch, moment, shard, tap)
    loss = _loss(job, output, mixture, count)
    sums |= scores(job, output, mixture[0][1])
    sums["loss"] = loss.data
    parameters = job.model.trainable_parameters()
    for name, gradient in zip(parameters, gradients(loss, list(parameters.values()), late=True), strict=True):
        sums[f"gradient/{name}"] = gradient
    return sums


def _complete(grads: dict[str, Any], crew: Crew) -> dict[str, Array]:
    """The gradients, with the late ones computed."""
    pieces = []
    for name, gradient in grads.items():
        if isinstance(gradient, Late):
            grads[name], parts = gradient.pieces()
            pieces += parts
    crew.each(pieces, lambda piece: kernels(piece[0]).outer(*piece))
    return grads


def _loss(job: Job, output: Tensor, mixture: Mixture, count: Array) -> Tensor:
    losses = [job.loss(output, targets, count) for _, targets in mixture]
    if len(losses) > 1:
        losses = [multiply(loss, share) for loss, (share, _) in zip(losses, mixture, strict=True)]
    return reduce(add, losses)


def scores(job: Job, output: Tensor, targets: Array) -> Sums:
    """How many of these examples are right; nothing in regression."""
    if not job.loss.classification:
        return {}
    return {"correct": (job.loss.logits(output.data).argmax(axis=1) == targets).sum()}


def _penalties(job: Job) -> list[tuple[Penalty, list[Layer]]]:
    """Each penalty and the layers that it is for: the config's, and those of layers with one of their own."""
    own = [(layer.penalty, [layer]) for layer in job.model.layers if layer.penalty is not None]
    return [(job.penalty, [layer for layer in job.model.layers if layer.penalty is None]), *own]


def penalise(job: Job) -> tuple[float, dict[str, Array]]:
    """The value of all penalties, and its gradients by the name of the parameter. Once for a batch, after the tree."""
    value = 0.0
    grads: dict[str, Array] = {}
    for penalty, layers in _penalties(job):
        covered = {
            f"{layer.name}.{name}": parameter
            for layer in layers
            for name, parameter in layer.parameters.items()
            if penalty.covers(parameter)
        }
        smooth, stepped = penalty.terms([list(layer.parameters.values()) for layer in layers])
        value += sum(float(to_host(term.data)) for term in (smooth, stepped) if term is not None)
        if smooth is not None:
            grads |= dict(zip(covered, gradients(smooth, list(covered.values())), strict=True))
    return value, grads


def _square(x: Array) -> float:
    return float(to_host(kernels(x).square_sum(x)))


def _where_it_broke(
    job: Job, seen: Sums, squares: dict[str, float], data_loss: float, penalty: float, moment: Moment
) -> DivergedError:
    """Forward, the first layer whose output is not finite; else backward, the last whose gradient is not."""
    at = f"step {moment.step} (epoch {moment.epoch})"
    help_ = "try a lower learning rate, train.clip_norm or a smaller init"

    def error(what: str, layer: str | None = None) -> DivergedError:
        return DivergedError(f"diverged at {at}: {what}; {help_}", layer)

    for layer in job.model.layers:
        if layer.observed and not isfinite(float(seen[f"sum/{layer.name}"].sum())):
            return error(f"the output of layer {layer.name} is not finite", layer.name)
    if not isfinite(data_loss):
        return error(f"the loss is {data_loss} although every layer's output is finite")
    for name in reversed(squares):
        if not isfinite(squares[name]):
            return error(f"the gradient of {name} is not finite", name.rpartition(".")[0])
    return error(f"the penalty is {penalty}")
