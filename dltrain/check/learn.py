"""Can the network learn a few examples by heart? If not, it will not learn many."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dltrain import progress
from dltrain.backend import to_host
from dltrain.check.finding import WEIGHTS, Finding, judged
from dltrain.check.subject import Subject, without_dropout
from dltrain.engine import Tensor, gradients
from dltrain.nn import Context
from dltrain.optim import OPTIMIZERS, Optimizer

Array = Any
EXAMPLES = 16
STEPS = 400
KNOWN = 0.05  # of the variance of the targets, where numbers are to be predicted


@dataclass(frozen=True)
class Attempt:
    """steps taken. start, left: the share of examples or labels wrong, or of the variance of the targets, first and at
    best."""

    steps: int
    start: float
    left: float


def one_batch_by_heart(subject: Subject) -> Finding:
    """The first examples over and over, without dropout, augmentation, penalty and schedule."""
    labels = subject.job.loss.multilabel
    goal = 0.0 if labels or subject.class_names is not None else KNOWN
    own = memorise(subject, subject.job.optimizer, goal)
    what = "of the labels are wrong" if labels else "are wrong" if goal == 0 else "of the variance is left"
    if not np.isfinite(own.start):
        return Finding("learns_by_heart", "failed", "the loss is not finite", f"nothing can be learnt; {WEIGHTS}")
    share = f"{own.left:.0%} {what}" if own.left else "all correct"
    overfits = "overfits" if own.left <= goal else "does not overfit"
    found = f"{overfits} {min(EXAMPLES, subject.train.size)} examples: {share} after {own.steps} steps"
    advice = ""
    if not own.left <= goal:
        other = memorise(subject, OPTIMIZERS["adam"](lr=1e-3), goal)
        if other.left <= goal:
            advice = f"adam at 1e-3 does it in {other.steps} steps: look at optimizer.lr (`dltrain lr-find`)"
        else:
            advice = "adam at 1e-3 cannot do it either: look at the layers, their init and activation, and at the data"
    return judged(
        "learns_by_heart",
        found,
        (not own.left <= own.start / 2, "failed", advice),
        (own.left > goal, "warning", advice),
        steps=own.steps,
        left=own.left,
    )


def memorise(subject: Subject, optimizer: Optimizer, goal: float) -> Attempt:
    """Train a copy on the first few examples until no more than `goal` is left or the steps are used up."""
    job = subject.job
    model = without_dropout(job.network)
    x, targets = subject.train.examples(subject.first_batch[:EXAMPLES])
    words = subject.words(len(targets))
    parameters = dict(model.trainable_parameters)
    weights = {name: p.data for name, p in parameters.items()}
    state = optimizer.new_state(weights)
    start = best = float("inf")
    for step in progress.over(range(1, STEPS + 1), "learning by heart"):
        output = model(Tensor(x), Context(training=True, words=words))
        loss = job.loss(output, targets, job.loss.count(targets))
        if not np.isfinite(float(to_host(loss.data))):
            break
        left = _left(subject, to_host(job.loss.logits(output.data)), to_host(targets))
        start, best = (left if step == 1 else start), min(best, left)
        if best <= goal:
            break
        grads = dict(zip(parameters, gradients(loss, list(parameters.values())), strict=True))
        optimizer.update(weights, _clipped(grads, job.train.clip_norm), state, optimizer.lr, step)
    return Attempt(step, start, best)


def _left(subject: Subject, output: Array, targets: Array) -> float:
    if subject.class_names is not None:
        return float((output.argmax(axis=-1) != targets).mean())
    if subject.job.loss.multilabel:
        return float(((output > 0) != (targets > 0.5)).mean())
    return float(np.mean((output - targets) ** 2) / max(float(targets.var(axis=0).mean()), 1e-30))


def _clipped(grads: dict[str, Array], limit: float | None) -> dict[str, Array]:
    if limit is None:
        return grads
    norm = sum(float(to_host((g * g).sum())) for g in grads.values()) ** 0.5
    return {name: g * (limit / norm) for name, g in grads.items()} if norm > limit else grads
