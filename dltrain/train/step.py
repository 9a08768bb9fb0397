"""One step: a batch in shards forward and backward, the sum, the penalty, the check, the update."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial, reduce
from typing import Any

from dltrain.backend import Late, Now, Scripts, kernels
from dltrain.engine import Tensor, gradients
from dltrain.nn import Context, Layer, Model
from dltrain.ops import add, multiply
from dltrain.train.diagnostics import observe
from dltrain.train.job import Job
from dltrain.train.loader import Mixture, StepKey, mixed_examples, random_words
from dltrain.train.shards import Crew, Sums
from dltrain.train.step_metrics import FiniteGuard, StepMetrics, fetch
from dltrain.train.updater import Updater

Array = Any
Tap = Callable[[Layer, Array], None]
Work = Callable[..., Sums]
Repeat = Callable[..., Sums]  # of _by_script or _once
WORTH_SQUARING = 1 << 21  # numbers that take as long to square and add as to wake a thread, several times
SQUARED = "squared gradient"  # Σ g² of a gradient that is complete already
SHORT = 1_000_000_000  # multiplications forward: of a longer step Python is too small a part to keep its arrays for it
SHORT_IN_NUMPY = 500_000_000  # the same, where the arrays in between are kept as well


def train_step(
    job: Job,
    crew: Crew,
    scripts: Scripts,
    batch: Array,
    moment: StepKey,
    lr: float,
    updater: Updater,
    measure_update: bool,
    guard: FiniteGuard | None = None,
) -> StepMetrics:
    """Train on these examples (indices into the training split).

    scripts: of this job; short steps are repeated from them.
    measure_update: whether to compare the weights before and after, which costs a copy of them.
    Raises DivergedError, before anything is changed, when the loss or a gradient is not finite. With a guard it does
    not look: then nothing is changed either, and `StepMetrics.check` tells later.
    """
    weighed = job.loss.class_weights is not None
    count = job.loss.count(job.loaders["train"].targets_of(batch)) if weighed else len(batch)
    now = Now(moment.step, moment.epoch, lr)
    repeat = partial(_by_script, scripts, now) if is_repeated(job, len(batch)) else _once
    sums = crew.run(
        -(-len(batch) // job.shard_size), lambda shard: _train_shard(job, batch, moment, shard, count, repeat)
    )
    parameters = job.model.trainable_parameters
    terms, penalty_gradients = penalise(job)
    grads, known = _complete({name: sums.pop(f"gradient/{name}") for name in parameters}, crew)
    known |= {name: sums.pop(key) for name in parameters if (key := f"{SQUARED}/{name}") in sums}
    for name, gradient in penalty_gradients.items():
        grads[name] = grads[name] + gradient
        known.pop(name, None)
    rest = {name: g for name, g in grads.items() if name not in known}
    if rest:
        known |= crew.lent(lambda: repeat("norms", rest.values(), lambda: _squares(rest, crew)))
    squares = {name: known[name] for name in grads}
    figures = StepMetrics(
        key=moment,
        examples=len(batch),
        lr=lr,
        stats=sums | ({"weight": count} if weighed else {}),
        penalty=terms,
        squares=squares,
        update_norms={},
    )
    weights = {name: p.data for name, p in parameters.items()}
    kept: list[tuple[Array, Array]] = []
    clip = job.train.clip_norm
    if guard is None:
        (figures,) = fetch([figures], job.device)
        figures.check(job.model)
        if clip is not None and figures.norm > clip:
            grads = {name: g * (clip / figures.norm) for name, g in grads.items()}
    else:
        norm = guard.judge(figures)
        kept = guard.keep([*weights.values(), *updater.state.values()])
        if clip is not None:
            scale = job.device.xp.minimum(clip / norm, 1).astype(job.device.dtype)
            grads = {name: g * scale for name, g in grads.items()}
    before = {name: w.copy() for name, w in weights.items() if measure_update and parameters[name].kind == "weight"}
    changed = [*weights.values(), *updater.state.values()]
    crew.lent(lambda: repeat("update", grads.values(), lambda: _update(updater, crew, grads, now), changed))
    for rule, layers in job.penalties:
        for layer in layers:
            rule.after_update(layer.parameters.values(), lr)
    if guard is not None:
        guard.undo(kept)
    for name, old in before.items():
        figures.update_norms[name] = (_square(old), _square(weights[name] - old))
    return figures


def is_repeated(job: Job, examples: int) -> bool:
    """Whether steps of so many examples need Python once and are repeated from a script or a tape then."""
    if job.device.kernels.shares:
        return job.repeatable and examples * job.model.multiply_adds <= SHORT and examples <= job.shard_size
    return job.device.is_cpu and job.repeatable and fits_a_tape(job.model, examples, job.mixup)


def fits_a_tape(model: Model, examples: int, mixup: float) -> bool:
    """Whether numpy's calls of so many examples are worth keeping, with their arrays."""
    return examples * model.multiply_adds <= SHORT_IN_NUMPY and not mixup  # its shares are no arrays


def forward(job: Job, x: Array, first: int, moment: StepKey, tap: Tap) -> Tensor:
    """The outputs for these examples, as in training. first: the position of the first one in its batch."""

    def words(purpose: str, layer: str, words_each: int) -> Array:
        return random_words(kernels(x), moment, purpose, layer, first, len(x), words_each)

    return job.model(x, Context(training=True, words=words, tap=tap))


def fits(job: Job, batch: Array, moment: StepKey) -> bool:
    """Whether the device's memory holds what these examples need forward and backward, as one shard. Tries it out."""
    job.device.release_memory()
    try:
        _train_shard(job, batch, moment, 0, len(batch))
    except MemoryError:
        return False
    return True


def _by_script(
    scripts: Scripts,
    now: Now,
    what: Hashable,
    given: Iterable[Array],
    work: Work,
    *more: Sequence[Array],
    **named: Sequence[Array],
) -> Sums:
    return scripts.run(what, [*given], now, work, *more, **named)


def _once(what: Hashable, given: Iterable[Array], work: Work, *_: Sequence[Array], data: Sequence[Array] = ()) -> Sums:
    return work(*data)


def _train_shard(job: Job, batch: Array, moment: StepKey, shard: int, count: Array, repeat: Repeat = _once) -> Sums:
    """The gradient of this shard's part of the loss, and what its layers gave. count: as in `Loss`, of the batch."""
    first = shard * job.shard_size
    x, mixture = mixed_examples(job.loaders["train"], batch, first, job.shard_size, moment, job.mixup)
    # Late: for who adds up several shards, or shares a product among threads; of several batches it would be too much.
    whole = len(x) == len(batch)
    late = job.train.accumulate == 1 and not (whole and (job.device.kernels.shares or repeat is not _once))

    def back_and_forth(x: Array, *targets: Array) -> Sums:
        sums: Sums = {}
        output = forward(job, x, first, moment, lambda layer, y: sums.update(observe(layer, y)))
        loss = _loss(job, output, [(share, t) for (share, _), t in zip(mixture, targets, strict=True)], count)
        sums |= scores(job, output, targets[0])
        sums["loss"] = loss.data
        parameters = job.model.trainable_parameters
        for name, gradient in zip(parameters, gradients(loss, list(parameters.values()), late=late), strict=True):
            sums[f"gradient/{name}"] = gradient
            if whole and not isinstance(gradient, Late):
                sums[f"{SQUARED}/{name}"] = _square(gradient)
        return sums

    weights, data = [p.data for p in job.model.parameters.values()], [x, *(targets for _, targets in mixture)]
    return repeat(("gradients", shard, len(batch)), weights, back_and_forth, data=data)


def _complete(grads: dict[str, Any], crew: Crew) -> tuple[dict[str, Array], Sums]:
    """The gradients, with the late ones computed, and of these Σ g², added up while they are still in the cache."""
    late = {name: gradient.pieces() for name, gradient in grads.items() if isinstance(gradient, Late)}
    names = [name for name, (_, pieces) in late.items() for _ in pieces]

    def compute(piece: tuple[Array, list[Array], Array]) -> Array:
        kernels(piece[0]).outer(*piece)
        return _square(piece[0])

    squares: Sums = {}
    found = crew.each([piece for _, pieces in late.values() for piece in pieces], compute)
    for name, square in zip(names, found, strict=True):
        squares[name] = squares[name] + square if name in squares else square
    return grads | {name: gradient for name, (gradient, _) in late.items()}, squares


def _squares(grads: dict[str, Array], crew: Crew) -> Sums:
    return dict(zip(grads, crew.each(list(grads.values()), _square, WORTH_SQUARING), strict=True))


def _update(updater: Updater, crew: Crew, grads: dict[str, Array], now: Now) -> Sums:
    update_one = updater.optimizer.update_one
    crew.each(updater.pieces(grads), lambda piece: update_one(piece[0], piece[1], piece[2], now.lr, now.step))
    return {}


def _loss(job: Job, output: Tensor, mixture: Mixture, count: Array) -> Tensor:
    losses = [job.loss(output, targets, count) for _, targets in mixture]
    if len(losses) > 1:
        losses = [multiply(loss, share) for loss, (share, _) in zip(losses, mixture, strict=True)]
    return reduce(add, losses)


def scores(job: Job, output: Tensor, targets: Array) -> Sums:
    """How many of these examples are right; nothing in regression."""
    if not job.loss.classification:
        return {}
    logits = job.loss.logits(output.data)
    return {"correct": kernels(logits).count_right(logits, targets)}


def penalise(job: Job) -> tuple[list[Array], dict[str, Array]]:
    """The terms of all penalties, and their gradients by the parameter's name. Once for a batch, after the tree."""
    values: list[Array] = []
    grads: dict[str, Array] = {}
    for penalty, layers in job.penalties:
        covered = {
            f"{layer.name}.{name}": parameter
            for layer in layers
            for name, parameter in layer.parameters.items()
            if penalty.covers(parameter)
        }
        smooth, stepped = penalty.terms([list(layer.parameters.values()) for layer in layers])
        values += [term.data for term in (smooth, stepped) if term is not None]
        if smooth is not None:
            grads |= dict(zip(covered, gradients(smooth, list(covered.values())), strict=True))
    return values, grads


def _square(x: Array) -> Array:
    return kernels(x).square_sum(x)
