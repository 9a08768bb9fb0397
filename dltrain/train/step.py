"""One step: for each update a batch in shards forward and backward, the sum, the penalty, the check, the change."""

from collections.abc import Iterable
from functools import partial, reduce
from typing import Any

from dltrain.backend import Device, GraphCache, Replay, StepScalars, eager, kernels
from dltrain.engine import gradients
from dltrain.errors import DivergedError
from dltrain.job.inputs import StepInputs
from dltrain.job.job import Job
from dltrain.job.loader import StepKey
from dltrain.job.parallel import Sums, ThreadPool
from dltrain.job.update import Update
from dltrain.job.values import array_of, compute, count_right, count_verdicts, loss_of
from dltrain.nn import Buffer, Layer, Parameter
from dltrain.ops import add
from dltrain.spans import in_layer, span, timed
from dltrain.train.diagnostics import observe
from dltrain.train.step_metrics import FiniteGuard, StepMetrics, UpdateMetrics, fetch

Array = Any
Arrays = dict[str, Array]


def train_step(
    job: Job,
    pool: ThreadPool,
    replay: Replay,
    batch: Array,
    key: StepKey,
    rates: dict[str, float],
    state: Arrays,
    measure_update: bool,
    guard: FiniteGuard | None = None,
) -> StepMetrics:
    """Take every update that is due on these examples (indices into the training split): each sees the weights that
    the one before it made.

    replay: of this job, see `replay_for`. rates: the learning rate of each update. state: of the optimizers, changed
    in place. measure_update: whether to compare the weights before and after, which costs a copy of them.
    Raises DivergedError, with everything as it was, when a loss or a gradient is not finite. With a guard it does
    not look: then nothing is changed either, and `StepMetrics.check` tells later.
    """
    due = [update for update in job.updates if update.is_due(key.step)]
    kept = kept_arrays(job, due, state) if guard or len(due) > 1 else []
    inputs = StepInputs(job, batch, key)
    metrics = StepMetrics(key, batch, [])
    try:
        for update in due:
            rate = rates[update.name]
            metrics.updates.append(take_update(job, update, pool, replay, inputs, rate, state, measure_update, guard))
    except DivergedError:
        for array, before in kept:
            array[...] = before
        raise
    if guard is not None:
        guard.undo(kept)
    return metrics


def kept_arrays(job: Job, due: list[Update], state: Arrays) -> list[tuple[Array, Array]]:
    """All that these updates change, with copies."""
    weights = [p.data for update in due for p in update.parameters.values()]
    buffers = [buffer.data for update in due for layer in update.layers for buffer in layer.buffers.values()]
    return [(array, array.copy()) for array in [*weights, *buffers, *state.values()]]


def take_update(
    job: Job,
    update: Update,
    pool: ThreadPool,
    replay: Replay,
    inputs: StepInputs,
    lr: float,
    state: Arrays,
    measure_update: bool,
    guard: FiniteGuard | None,
) -> UpdateMetrics:
    """Forward and backward, the sum, the penalty, the check, the change of the weights."""
    key, batch, parameters = inputs.key, inputs.batch, update.parameters
    weights = {name: p.data for name, p in parameters.items()}
    counts = [inputs.count(term) for term in update.terms]
    scalars = StepScalars(key.step, key.epoch, lr)

    shards = -(-len(batch) // job.shard_size)
    sums = pool.tree_sum(
        shards, lambda shard: shard_sums(job, update, inputs, shard, counts, partial(replay, scalars=scalars))
    )
    grads = {name: sums.pop(f"gradient/{name}") for name in weights}
    moves = [(buffer, sums.pop(at) / len(batch)) for buffer, at in buffer_sums(update) if at in sums]
    penalty, penalty_grads = penalise(update)
    grads |= {name: grads[name] + g for name, g in penalty_grads.items()}
    with pool.intra_op():
        squares = replay(
            (update.called("norms"),),
            lambda: {name: _square(g) for name, g in grads.items()},
            reads=grads.values(),
            scalars=scalars,
        )
    metrics = UpdateMetrics(update, key, batch, lr, sums | counted(update, counts), penalty, squares, update_norms={})

    if guard is None:
        (metrics,) = fetch([metrics], job.device)
        metrics.check()
        norm: Array = metrics.norm
    else:
        norm = guard.judge(metrics)
    if update.clip_norm is not None:
        grads = clipped(job.device, grads, norm, update.clip_norm)
    before = {name: w.copy() for name, w in weights.items() if measure_update and parameters[name].kind == "weight"}
    change_weights(update, weights, grads, update.own_state(state), pool, replay, scalars)
    for buffer, seen_now in moves:
        buffer.data += buffer.momentum * (seen_now - buffer.data)
    for name, old in before.items():
        metrics.update_norms[name] = (_square(old), _square(weights[name] - old))
    return metrics


def counted(update: Update, counts: list[Array]) -> Arrays:
    """What losses and right answers are shares of, where it is not the number of examples."""
    terms = list(zip(update.terms, counts, strict=True))
    weighed = [count for term, count in terms if term.loss.class_weights is not None or term.ends]
    asked = [count for term, count in terms if term is update.answer and term.ends]
    return ({"weight": weighed[0]} if weighed else {}) | ({"answers": asked[0]} if asked else {})


def change_weights(
    update: Update,
    weights: Arrays,
    grads: Arrays,
    state: Arrays,
    pool: ThreadPool,
    replay: Replay,
    scalars: StepScalars,
) -> None:
    """By the optimizer, and by penalties that act afterwards. state: of this update's optimizer."""
    taken = update.taken(scalars.step)

    @timed("update")
    def change(names: list[str], rate: float) -> Arrays:
        update.optimizer.update({name: weights[name] for name in names}, grads, state, rate, taken)
        return {}

    with pool.intra_op():
        for factor, names in update.by_rate.items():
            slots = [state[f"{name}/{slot}"] for name in names for slot in update.optimizer.slots]
            replay(
                (update.called("update"), factor),
                partial(change, names, scalars.lr * factor),
                reads=[grads[name] for name in names],
                changes=[*(weights[name] for name in names), *slots],
                scalars=scalars._replace(step=taken, lr=scalars.lr * factor),
            )

    def rate_of(name: str) -> Array:
        slots = [state[f"{name}/{slot}"] for slot in update.optimizer.slots]
        return update.optimizer.rate(slots, scalars.lr * update.lr_factors.get(name, 1.0), taken)

    for rule, layers in update.penalties:
        rule.after_update(parameters_of(layers), rate_of)


def buffer_sums(update: Update) -> list[tuple[Buffer, str]]:
    """Each buffer that a pass moves, and where its sum is, in order."""
    return [
        (buffer, f"buffer/{layer.name}.{name}{each.mark}")
        for each in update.passes.values()
        for layer in each.value.network.layers
        for name, buffer in layer.buffers.items()
    ]


def replay_for(job: Job) -> Replay:
    """What runs the steps of this job: where nothing speaks against it they are captured once and replayed."""
    return eager if why_eager(job) else GraphCache().replay


def why_eager(job: Job) -> str:
    """Why Python goes through every step of this job; empty where it need not."""
    if not job.device.kernels.capturable:
        return f"{job.device.kernels.name} kernels cannot be replayed"
    if job.train.step_size > job.shard_size:
        return "a batch is computed in several shards"
    return job.why_not_captured


@timed("graph and layers in Python")
def shard_sums(job: Job, update: Update, inputs: StepInputs, shard: int, counts: list[Array], replay: Replay) -> Sums:
    """The gradient of this shard's part of the loss, and what its layers gave. counts: as in `Loss`, of the batch, for
    each term."""
    here = inputs.of(shard)
    names = [value.name for value in update.given]

    def forward_backward(*arrays: Array) -> Sums:
        sums: Sums = {}

        def tap(mark: str, layer: Layer, y: Array) -> None:
            sums.update({f"{name}{mark}": value for name, value in observe(layer, y).items()})

        def record(mark: str, layer: Layer, values: Arrays) -> None:
            weighed = {name: kernels(value).multiply(value, here.examples) for name, value in values.items()}
            sums.update({f"buffer/{layer.name}.{name}{mark}": value for name, value in weighed.items()})

        found = compute(update, dict(zip(names, arrays, strict=False)), here, inputs.key, tap, record)
        others = arrays[len(names) :]
        with in_layer("loss"):
            losses = [
                loss_of(term, found, count, here.shares, others)
                for term, count in zip(update.terms, counts, strict=True)
            ]
            loss = reduce(add, losses)
        if update.answer is not None:
            with span("scores"):
                sums["correct"] = count_right(update.answer, found)
        sums |= {f"verdict/{value.name}": array_of(found[value.name]) for value, *_ in update.verdicts}
        sums["loss"] = loss.data
        grads = gradients(loss, list(update.parameters.values()))
        return sums | {f"gradient/{name}": g for name, g in zip(update.parameters, grads, strict=True)}

    arrays = [*(here.values[name] for name in names), *here.other_labels]
    if here.other_labels:  # in other shares in every step
        return forward_backward(*arrays)
    weights = [p.data for p in update.reads]
    sums = replay((update.called("gradients"), shard, len(inputs.batch)), forward_backward, arrays, reads=weights)
    if update.verdicts:  # counted here, for numpy does it and would keep the step from being replayed
        given = {name: sums.pop(f"verdict/{name}") for name in {value.name for value, *_ in update.verdicts}}
        sums["right"] = count_verdicts(update.verdicts, given)
    return sums


@timed("penalty")
def penalise(update: Update) -> tuple[list[Array], Arrays]:
    """The terms of its penalties, and their gradients by the parameter's name. Once for a batch, after the tree."""
    values: list[Array] = []
    grads: Arrays = {}
    for penalty, layers in update.penalties:
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
        inputs = StepInputs(job, batch, key)
        for update in job.updates:
            shard_sums(job, update, inputs, 0, [inputs.count(term) for term in update.terms], eager)
    except MemoryError:
        return False
    return True


@timed("norms")
def _square(x: Array) -> Array:
    return kernels(x).square_sum(x)
