"""Looking without learning: losses and scores over a split, and predictions."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from math import exp, isfinite, isqrt
from typing import Any

import numpy as np

from dltrain import progress
from dltrain.backend import Device, all_to_host, kernels, to_host
from dltrain.engine import no_grad
from dltrain.errors import DivergedError
from dltrain.job.answering import Answering
from dltrain.job.job import Job
from dltrain.job.loader import DataLoader
from dltrain.job.parallel import Sums, ThreadPool
from dltrain.job.settings import TrainSettings
from dltrain.job.update import Update
from dltrain.job.values import compute_values, count_right, loss_of
from dltrain.metrics.row import figures_in
from dltrain.metrics.scores import FROM_SCORES, Answers, from_confusion, from_scores, per_label
from dltrain.metrics.settings import CLASSES, LABELS, NUMBERS, MetricsSettings
from dltrain.nn import Context, Loss, Network, Term
from dltrain.ops import sigmoid, softmax

Array = Any
DEFAULTS = MetricsSettings()
LARGEST_EXPONENT = 700.0  # e to the 710 is no float any more


def evaluate(
    model: Network | Answering,
    loss: Loss,
    loader: DataLoader,
    pool: ThreadPool,
    batch_size: int,
    shard_size: int,
    settings: MetricsSettings = DEFAULTS,
    names: Collection[str] = (),
    between: Callable[[], None] = lambda: None,
    see: Callable[[Array, Array, Array], None] | None = None,
) -> dict[str, Any]:
    """{"loss", "examples"} of a split, the figures in `names` that go with the loss, and for classes all that
    `from_confusion` gives.

    The loss is the data loss, a mean over examples, by the weights of their classes where there are such. between:
    called before each batch; may raise to end it.
    Raises DivergedError when the loss is not finite.
    see: called by every shard of this rank, on its own thread, with (indices, outputs, targets) of its examples.
    """
    losses: list[Array] = []
    confusion: Array = 0
    names = FROM_SCORES.keys() & names & set(CLASSES if loss.classification else LABELS if loss.multilabel else NUMBERS)
    answers: dict[int, tuple[Array, Array]] = {}  # first example of a shard -> its outputs and targets

    def shard_sums(batch: Array, shard: int) -> Sums:
        indices = batch[shard * shard_size : (shard + 1) * shard_size]
        x, wanted = loader.examples(indices)
        output = model(x, Context(first=int(indices[0])))
        logits = loss.logits(output.data)
        if see is not None:
            see(indices, logits, wanted)
        if names:
            answers[int(indices[0])] = logits, wanted
        sums = {"loss": loss(output, wanted, 1).data}
        if loss.classification:
            sums["confusion"] = kernels(logits).confusion(wanted, logits.argmax(axis=1), logits.shape[1])
        return sums

    loader.expect(pool.own(np.arange(loader.size), batch_size, shard_size))
    with no_grad():
        for start in progress.over(range(0, loader.size, batch_size), "examples"):
            between()
            batch = np.arange(start, min(loader.size, start + batch_size))
            sums = pool.tree_sum(-(-len(batch) // shard_size), partial(shard_sums, batch))
            losses.append(sums["loss"])
            if loss.classification:
                confusion = sums["confusion"] + confusion
    result: dict[str, Any] = {"loss": _mean_loss(losses, loss, loader), "examples": loader.size}
    if loss.classification:
        result |= from_confusion(to_host(confusion).reshape(isqrt(confusion.size), -1))
    if names:
        parts = zip(*pool.everyones(answers).values(), strict=True)
        scores, targets = (np.concatenate(all_to_host(part)) for part in parts)
        if not loss.classification:
            scores, targets = loader.in_units(scores), loader.in_units(targets)
        given = Answers(scores.astype(np.float64), targets, settings)
        result |= from_scores(given, names) | ({"per_class": per_label(given)} if loss.multilabel else {})
    return result


def _mean_loss(sums: list[Array], loss: Loss, loader: DataLoader) -> float:
    """Of all examples, from the sum of each batch. Raises DivergedError when it is not finite."""
    total = sum(map(float, all_to_host(sums)), 0.0)  # waits for a GPU once, not after every batch
    if not isfinite(total):
        raise DivergedError(
            f"the loss over these {loader.size:,} examples is {total}: the weights have grown too large"
        )
    weighed = loss.class_weights is not None
    return total / (float(to_host(loss.count(loader.targets_of(np.arange(loader.size))))) if weighed else loader.size)


def validate(job: Job, pool: ThreadPool, between: Callable[[], None]) -> dict[str, Any] | None:
    """The figures of the validation examples that the config names; None where there are none of these."""
    if "validation" not in job.loaders:
        return None
    if job.answering is None:
        found = evaluate_updates(job.updates, job.loaders["validation"], pool, job.device, job.train, between)
        return figures_in(found)
    sizes, names = (job.train.batch_size, job.shard_size), job.metrics.named
    found = evaluate(job.answering, job.loss, job.loaders["validation"], pool, *sizes, job.metrics, names, between)
    return {key: found[key] for key in names if key in found}


def evaluate_updates(
    updates: Sequence[Update],
    loader: DataLoader,
    pool: ThreadPool,
    device: Device,
    settings: TrainSettings,
    between: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """The loss of every update over a split, with the networks as they are asked, and the share of right answers where
    it is about classes. Raises DivergedError when one is not finite."""
    losses: dict[str, Array] = {}
    size = settings.shard_size_on(device.is_cpu)
    wanted = [value for update in updates for value in update.compared]

    def shard_sums(batch: Array, start: int, shard: int) -> Sums:
        first, here = start + shard * size, batch[shard * size : (shard + 1) * size]
        found = compute_values(wanted, loader.values(here), device, first, len(here))
        sums: Sums = {}
        for update in updates:
            for number, term in enumerate(update.terms):
                sums[f"{update.called('loss')} {number}"] = loss_of(term, found, 1).data
            if update.answer is not None:
                sums[update.called("accuracy")] = count_right(update.answer, found)
        return sums

    loader.expect(pool.own(loader.rows(0, loader.size), settings.batch_size, size))
    with no_grad():
        for start in progress.over(range(0, loader.size, settings.batch_size), "examples"):
            between()
            batch = loader.rows(start, start + settings.batch_size)
            sums = pool.tree_sum(-(-len(batch) // size), partial(shard_sums, batch, start))
            losses = {name: sums[name] + losses.get(name, 0) for name in sums}
    found: dict[str, float] = {}
    for update in updates:
        name = update.called("loss")
        found[name] = sum(
            float(to_host(losses[f"{name} {number}"])) / answers_in(term, loader)
            for number, term in enumerate(update.terms)
        )
        if update.answer is not None:
            name = update.called("accuracy")
            found[name] = float(to_host(losses[name])) / answers_in(update.answer, loader)
        if update.terms[0].is_sequence:
            found[update.called("perplexity")] = exp(min(found[update.called("loss")], LARGEST_EXPONENT))
    for name, value in found.items():
        if not isfinite(value):
            raise DivergedError(f"{name} over these {loader.size:,} examples is {value}: weights have grown too large")
    return {**found, "examples": loader.size}


def answers_in(term: Term, loader: DataLoader) -> float:
    """How many answers a loss, or a share of right ones, is the mean of, over all examples."""
    if term.ends:
        return float(to_host(loader.asked(term.target, loader.rows(0, loader.size))))
    return loader.size * term.answers


def predict(model: Network, loss: Loss, x: Array, device: Device, batch_size: int, first: int = 0) -> Array:
    """Outputs for inputs that are ready for the model, on the host: probabilities of classes and labels. Numbers are as
    the network gives them, see `Preprocessing.target_units`. (N, *out_shape)

    first: the position of the first one among all that are asked about, where they come in parts.
    """
    parts = []
    with no_grad():
        for start in range(0, len(x), batch_size):
            output = model(device.asarray(x[start : start + batch_size]), Context(first=first + start)).data
            if loss.classification or loss.multilabel:
                output = (softmax if loss.classification else sigmoid)(loss.logits(output)).data
            parts.append(to_host(output))
    return np.concatenate(parts)
