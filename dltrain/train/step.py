"""One step: a batch in shards forward and backward, the sum, the penalty, the check, the update."""

from collections.abc import Callable, Iterable
from functools import partial, reduce
from typing import Any

from dltrain.backend import Device, GraphCache, Replay, StepScalars, eager, kernels
from dltrain.engine import Tensor, gradients
from dltrain.nn import Context, Layer, Parameter
from dltrain.ops import add, multiply
from dltrain.spans import in_layer, span, timed
from dltrain.train.diagnostics import observe
from dltrain.train.job import Job
from dltrain.train.loader import StepKey, mixed_examples, random_words
from dltrain.train.parallel import Sums, ThreadPool
from dltrain.train.step_metrics import FiniteGuard, StepMetrics, fetch

Array = Any
Arrays = dict[str, Array]
Tap = Callable[[Layer, Array], None]
Record = Callable[[Layer, Arrays], None]
MAX_REPLAYED_MACS = 1_000_000_000  # forward; of a longer step Python is too small a part to keep its arrays for it


def train_step(
    job: Job,
    pool: ThreadPool,
    replay: Replay,
    batch: Array,
    key: StepKey,
    lr: float,
    state: Arrays,
    measure_update: bool,
    guard: FiniteGuard | None = None,
) -> StepMetrics:
    """Train on these examples (indices into the training split).

    replay: of this job, see `replay_for`. state: of the optimizer, changed in place.
    measure_update: whether to compare the weights before and after, which costs a copy of them.
    Raises DivergedError, before anything is changed, when the loss or a gradient is not finite. With a guard it does
    not look: then nothing is changed either, and `StepMetrics.check` tells later.
    """
    parameters = job.model.trainable_parameters
    weights = {name: p.data for name, p in parameters.items()}
    weighed, replay = job.loss.class_weights is not None, partial(replay, scalars=StepScalars(key.step, key.epoch, lr))
    count = job.loss.count(job.loaders["train"].targets_of(batch)) if weighed else len(batch)

    shards = -(-len(batch) // job.shard_size)
    sums = pool.tree_sum(shards, lambda shard: shard_sums(job, batch, key, shard, count, replay))
    grads = {name: sums.pop(f"gradient/{name}") for name in weights}
    buffers = {name: b.data for name, b in job.model.buffers.items() if f"buffer/{name}" in sums}
    statistics = {name: sums.pop(f"buffer/{name}") / len(batch) for name in buffers}
    penalty, penalty_grads = penalise(job)
    grads |= {name: grads[name] + g for name, g in penalty_grads.items()}
    with pool.intra_op():
        squares = replay("norms", lambda: {name: _square(g) for name, g in grads.items()}, reads=grads.values())
    seen = sums | ({"weight": count} if weighed else {})
    metrics = StepMetrics(key, batch, lr, seen, penalty, squares, update_norms={})

    changed, kept = [*weights.values(), *buffers.values(), *state.values()], []
    if guard is None:
        (metrics,) = fetch([metrics], job.device)
        metrics.check(job.model)
        norm: Array = metrics.norm
    else:
        norm, kept = guard.judge(metrics), guard.keep(changed)
    if job.train.clip_norm is not None:
        grads = clipped(job.device, grads, norm, job.train.clip_norm)
    before = {name: w.copy() for name, w in weights.items() if measure_update and parameters[name].kind == "weight"}

    @timed("update")
    def update() -> Arrays:
        job.optimizer.update(weights, grads, state, lr, key.step)
        return {}

    with pool.intra_op():
        replay("update", update, reads=grads.values(), changes=[*weights.values(), *state.values()])

    def rate_of(name: str) -> Array:
        return job.optimizer.rate([state[f"{name}/{slot}"] for slot in job.optimizer.slots], lr, key.step)

    for rule, layers in job.penalties:
        rule.after_update(parameters_of(layers), rate_of)
    for name, seen_now in statistics.items():
        buffers[name] += job.model.buffers[name].momentum * (seen_now - buffers[name])
    if guard is not None:
        guard.undo(kept)
    for name, old in before.items():
        metrics.update_norms[name] = (_square(old), _square(weights[name] - old))
    return metrics


def replay_for(job: Job) -> Replay:
    """What runs the steps of this job: short ones are captured once and replayed."""
    return eager if why_eager(job) else GraphCache().replay


def why_eager(job: Job) -> str:
    """Why Python goes through every step of this job; empty where it need not."""
    macs = job.train.step_size * job.model.multiply_adds
    if not job.device.kernels.capturable:
        return f"{job.device.kernels.name} kernels cannot be replayed"
    if job.train.step_size > job.shard_size:
        return "a batch is computed in several shards"
    if macs > MAX_REPLAYED_MACS:
        return f"a step takes {macs:.1e} multiplications forward: Python is a small part of it"
    return job.why_not_captured


@timed("graph and layers in Python")
def shard_sums(job: Job, batch: Array, key: StepKey, shard: int, count: Array, replay: Replay) -> Sums:
    """The gradient of this shard's part of the loss, and what its layers gave. count: as in `Loss`, of the batch."""
    first = shard * job.shard_size
    x, mixture = mixed_examples(job.loaders["train"], batch, first, job.shard_size, key, job.mixup)
    shares, targets = zip(*mixture, strict=True)
    parameters = job.model.trainable_parameters

    def forward_backward(x: Array, *targets: Array) -> Sums:
        sums: Sums = {}

        def record(layer: Layer, values: Arrays) -> None:
            sums.update({f"buffer/{layer.name}.{name}": value * len(x) for name, value in values.items()})

        output = forward(job, x, first, key, lambda layer, y: sums.update(observe(layer, y)), record)
        with in_layer("loss"):
            losses = [job.loss(output, these, count) for these in targets]
            loss = losses[0] if len(losses) == 1 else reduce(add, map(multiply, losses, shares))
        if job.loss.classification:
            with span("scores"):
                logits = job.loss.logits(output.data)
                sums["correct"] = kernels(logits).count_right(logits, targets[0])
        sums["loss"] = loss.data
        found = gradients(loss, list(parameters.values()))
        return sums | {f"gradient/{name}": g for name, g in zip(parameters, found, strict=True)}

    weights = [p.data for p in job.model.parameters.values()]
    return replay(("gradients", shard, len(batch)), forward_backward, [x, *targets], reads=weights)


def forward(job: Job, x: Array, first: int, key: StepKey, tap: Tap, record: Record | None = None) -> Tensor:
    """The outputs for these examples, as in training. first: the position of the first one in its batch."""

    def words(purpose: str, layer: str, words_each: int) -> Array:
        return random_words(kernels(x), key, purpose, layer, first, len(x), words_each)

    return job.model(x, Context(training=True, words=words, record=record, tap=tap))


@timed("penalty")
def penalise(job: Job) -> tuple[list[Array], Arrays]:
    """The terms of all penalties, and their gradients by the parameter's name. Once for a batch, after the tree."""
    values: list[Array] = []
    grads: Arrays = {}
    for penalty, layers in job.penalties:
        covered = {name: parameter for name, parameter in parameters_of(layers).items() if penalty.covers(parameter)}
        smooth, stepped = penalty.terms([list(layer.parameters.values()) for layer in layers])
        values += [term.data for term in (smooth, stepped) if term is not None]
        if smooth is not None:
            grads |= dict(zip(covered, gradients(smooth, list(covered.values())), strict=True))
    return values, grads


def parameters_of(layers: Iterable[Layer]) -> dict[str, Parameter]:
    """By their names in the model."""
    return {f"{layer.name}.{name}": p for layer in layers for name, p in layer.parameters.items()}


def clipped(device: Device, grads: Arrays, norm: Array, limit: float) -> Arrays:
    """The gradients, scaled down to this joint L2 norm where theirs is larger. norm: a number, on a GPU an array."""
    if device.is_cpu and norm <= limit:
        return grads
    scale = limit / norm if device.is_cpu else device.xp.minimum(limit / norm, 1).astype(device.dtype)
    return {name: g * scale for name, g in grads.items()}


def fits(job: Job, batch: Array, key: StepKey) -> bool:
    """Whether the device's memory holds what these examples need forward and backward, as one shard. Tries it out."""
    job.device.release_memory()
    try:
        shard_sums(job, batch, key, 0, len(batch), eager)
    except MemoryError:
        return False
    return True


@timed("norms")
def _square(x: Array) -> Array:
    return kernels(x).square_sum(x)
