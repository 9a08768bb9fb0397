"""The values of a config computed for examples: in training, with what is seen on the way, and when one only asks."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial, reduce
from typing import Any

from dltrain.backend import Device, kernels
from dltrain.engine import Tensor, no_grad
from dltrain.job.inputs import Shard
from dltrain.job.loader import StepKey, random_words
from dltrain.job.update import Pass, Update
from dltrain.nn import Applied, Context, Drawn, Inside, Layer, OneHot, Term, Value, in_order, taken_whole
from dltrain.ops import add, multiply

Array = Any
Arrays = dict[str, Array]
Tap = Callable[[str, Layer, Array], None]
Record = Callable[[str, Layer, Arrays], None]


def loss_of(
    term: Term, found: Arrays, count: Array, shares: tuple[float, ...] = (1.0,), others: tuple[Array, ...] = ()
) -> Tensor:
    """shares, others: of a mixture, see `Shard`; they are other labels than the term's target."""
    losses = []
    for of, target in term.pairs:
        wanted = array_of(found[target.name]) if isinstance(target, Value) else target
        loss = term.loss(found[of.name], wanted, count)
        if others:  # of the only network, whose targets are the labels
            each = [loss, *(term.loss(found[of.name], these, count) for these in others)]
            loss = reduce(add, map(multiply, each, shares))
        losses.append(loss)
    total: Tensor = reduce(add, losses)
    return total if term.weight == 1 else multiply(total, term.weight)


def count_right(term: Term, found: Arrays) -> Array:
    """How many answers are right. term: whose target is a class."""
    output, target = term.pairs[0]
    assert isinstance(target, Value)
    logits = term.loss.logits(array_of(found[output.name]))
    rows = logits.reshape(-1, logits.shape[-1])  # of a sequence one at each position
    return kernels(rows).count_right(rows, found[target.name].reshape(-1))


def count_verdicts(verdicts: Sequence[tuple[Value, float, bool]], found: Arrays) -> Array:
    """How many examples are judged rightly, as a mean over the verdicts, and over the parts where there are several."""
    each = []
    for value, middle, above in verdicts:
        y = array_of(found[value.name])
        each.append(((y > middle) == above).reshape(len(y), -1).mean(axis=1).sum())
    return sum(each) / len(each)


def compute(
    update: Update, given: Arrays, shard: Shard, key: StepKey, tap: Tap, record: Record | None = None
) -> Arrays:
    """The values of an update for a shard, by name, as in training. given: those from outside, (N, …) each.

    tap, record: as in `Context`, with the mark of the pass; they are told of the networks that the update trains.
    """
    found = dict(given)
    for value in update.applied:
        context = context_of(value, update.passes.get(value.name), shard, key, tap, record)
        with nullcontext() if value.name in update.trained else no_grad():
            apply(value, found, context, update.inside.get(value.name, ()), value.name in update.whole)
    return found


def apply(value: Applied, found: Arrays, context: Context, within: Sequence[Inside], whole: bool) -> None:
    """Put the value beside those that it is made of, and what is wanted from within it. whole: else that alone."""
    inside: dict[str, Any] = {each.layer: None for each in within}
    y = value([found[below.name] for below in value.of], context, inside, whole)
    if y is not None:
        found[value.name] = y
    for each in within:
        found[each.name] = inside[each.layer]


def context_of(
    value: Applied, seen: Pass | None, shard: Shard, key: StepKey, tap: Tap, record: Record | None
) -> Context:
    """seen: where what happens in the network counts, because it is trained."""
    first, n = shard.first * (value.over or 1), shard.examples * (value.over or 1)

    def words(purpose: str, layer: str, words_each: int) -> Array:
        return random_words(shard.kernels, key, purpose, f"{value.key}{layer}", first, n, words_each)

    if not value.network.trainable:
        return Context(words=words, examples=n, batch_statistics=value.batch_statistics)
    if seen is None:
        return Context(training=True, words=words, examples=n)
    marked = None if record is None else partial(record, seen.mark)
    return Context(training=True, words=words, examples=n, record=marked, tap=partial(tap, seen.mark))


def compute_values(
    wanted: Sequence[Value], given: Arrays, device: Device, first: int, examples: int, seed: int = 0
) -> Arrays:
    """The values and all that they are made of, by name, with the networks as they are asked and not trained.

    given: what the data set has, (N, …) each; nothing where that is not needed. first: the position of the first
    example among all that are looked at. examples: N.
    What is drawn by chance, also by dropout with `always`, is the same each time for the n-th example and a seed.
    """
    found, words = dict(given), chance(device, first, examples, seed)
    order, whole = in_order(wanted), taken_whole(wanted)
    with no_grad():
        for value in order:
            if isinstance(value, Drawn):
                drawn = words("", 1, "value", value.name, value.distribution.words_each)
                found[value.name] = value.distribution.draw(drawn, device.dtype)
            elif isinstance(value, OneHot):
                found[value.name] = value(found[value.of.name], device.dtype)
            elif isinstance(value, Applied):
                parts = value.over or 1
                context = Context(
                    words=partial(words, value.key, parts),
                    examples=examples * parts,
                    batch_statistics=value.batch_statistics,
                )
                within = [each for each in order if isinstance(each, Inside) and each.whole is value]
                apply(value, found, context, within, value.name in whole)
    return {name: array_of(value) for name, value in found.items()}


def chance(device: Device, first: int, examples: int, seed: int) -> Callable[..., Array]:
    """(key, parts, purpose, layer, words_each) -> the random words of these examples, outside training."""

    def words(key: str, parts: int, purpose: str, layer: str, words_each: int) -> Array:
        where = {"epoch": 0, "step": 0, "first": first * parts, "examples": examples * parts, "words_each": words_each}
        return device.kernels.example_words(seed, purpose, f"{key}{layer}", **where)

    return words


def array_of(value: Array) -> Array:
    """Of a Tensor, or of what the data set gave."""
    return value.data if isinstance(value, Tensor) else value
