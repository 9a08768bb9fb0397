"""The same questions of several networks, update by update: is the loss near that of networks that know nothing, does a
gradient reach all that is trained, and does the loss of one batch fall?"""

from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np

from dltrain.backend import to_host
from dltrain.check.finding import WEIGHTS, Finding, judged
from dltrain.engine import Tensor, gradients
from dltrain.job.inputs import StepInputs
from dltrain.job.job import Job
from dltrain.job.loader import StepKey
from dltrain.job.update import Update
from dltrain.job.values import compute, loss_of
from dltrain.nn import Networks, shape_text
from dltrain.ops import add
from dltrain.train.step import clipped

Array = Any
EXAMPLES = 16
STEPS = 60


def check_game(job: Job) -> Iterator[Finding]:
    """Each finding as soon as it is known. Every update starts from the initial weights of all networks and plays
    alone: the others stay as they are."""
    assert isinstance(job.model, Networks)
    muted = job.muted
    with np.errstate(all="ignore"):  # what is not finite is looked for, not warned of
        if "shapes" not in muted:
            yield _shapes(job, job.model)
        for update in job.updates:
            job.model.initialise(job.seed, job.device)
            yield from (found for found in _Played(job, update).findings() if found.check not in muted)


def _shapes(job: Job, model: Networks) -> Finding:
    each = []
    for name, network in model.networks.items():
        taken = " and ".join(map(shape_text, network.in_shapes)) or "nothing"
        count = sum(parameter.size for parameter in network.parameters.values())
        each.append(f"{name} {taken} → {shape_text(network.out_shape)}, {count:,} parameters")
    size = job.loaders["train"].size
    return judged(
        "shapes",
        f"{'; '.join(each)}; {size:,} examples, {job.steps_per_epoch:,} steps an epoch",
        (
            job.train.step_size > size,
            "warning",
            f"a step takes {job.train.step_size:,} examples, more than there are: each epoch is one step",
        ),
    )


class _Played:
    """An update on the same few examples over and over, with the same random numbers, without schedule and penalty."""

    def __init__(self, job: Job, update: Update):
        self.job, self.update = job, update
        self.key = StepKey(job.seed, epoch=1, step=1)
        first = job.loaders["train"].order(job.seed, 1)[: min(EXAMPLES, job.shard_size)]
        self.inputs = StepInputs(job, first, self.key)
        self.counts = [self.inputs.count(term) for term in update.terms]

    def findings(self) -> Iterator[Finding]:
        update, of = self.update, f"{self.update.name}: " if self.update.name else ""
        parameters = update.parameters
        weights = {name: parameter.data for name, parameter in parameters.items()}
        state = update.optimizer.new_state(weights)
        unreached, losses = dict.fromkeys(parameters), []
        for step in range(1, STEPS + 1):
            loss, nothing = self.loss()
            losses.append(float(to_host(loss.data)))
            if step == 1:
                yield self.at_start(of, losses[0], nothing)
            if not np.isfinite(losses[-1]):
                break
            grads = dict(zip(parameters, gradients(loss, [*parameters.values()]), strict=True))
            for name in [name for name in unreached if to_host(grads[name]).any()]:
                del unreached[name]
            if update.clip_norm is not None:
                norm = sum(float(to_host((g * g).sum())) for g in grads.values()) ** 0.5
                grads = clipped(self.job.device, grads, norm, update.clip_norm)
            update.optimizer.update(weights, grads, state, update.optimizer.lr, step)
        yield judged(
            "gradients",
            f"{of}{len(parameters) - len(unreached)} of {len(parameters)} parameters get one",
            (
                bool(unreached),
                "failed",
                f"in {len(losses)} steps none reaches {', '.join(unreached)}: dead units, or no path to the loss",
            ),
            missing=[*unreached],
        )
        start, best = losses[0], min(losses, default=np.nan)
        advice = "look at its optimizer.lr, and at the layers, their init and activation"
        yield judged(
            "learns_by_heart",
            f"{of}on {len(self.inputs.batch)} examples the loss falls from {start:.4g} to {best:.4g} in {len(losses)} "
            "steps, while the other networks stay as they are",
            (not np.isfinite(losses).all(), "failed", f"then it is not finite; {advice}"),
            (best > 0.98 * start, "warning", f"it hardly falls; {advice}"),
            steps=len(losses),
            left=best,
        )

    def loss(self) -> tuple[Tensor, float]:
        """As the networks are, and where they answered 0 to everything."""
        shard, terms = self.inputs.of(0), self.update.terms
        found = compute(self.update, shard.values, shard, self.key, lambda *_: None)
        losses = [loss_of(term, found, count) for term, count in zip(terms, self.counts, strict=True)]
        zeros = dict(found)
        for of in {of.name for term in terms for of, _ in term.pairs}:
            y = found[of]
            zeros[of] = Tensor((y.data if isinstance(y, Tensor) else y) * 0)
        nothing = (loss_of(term, zeros, count) for term, count in zip(terms, self.counts, strict=True))
        return reduce(add, losses), sum(float(to_host(loss.data)) for loss in nothing)

    def at_start(self, of: str, loss: float, nothing: float) -> Finding:
        advice = f"the outputs are too large at the start: normalise the inputs, or {WEIGHTS}"
        return judged(
            "loss_at_start",
            f"{of}{loss:.4g}; where all that is judged is 0 it is {nothing:.4g}",
            (not np.isfinite(loss), "failed", advice),
            (loss > 1000 * nothing > 0, "failed", advice),
            (loss > 10 * nothing > 0, "warning", advice),
            loss=loss,
            guess=nothing,
        )
