"""All checks, in the order in which they are shown."""

from collections.abc import Callable, Collection, Iterator

import numpy as np

from dltrain import progress
from dltrain.check import examples, leaks, start
from dltrain.check.finding import Finding, skipped
from dltrain.check.learn import one_batch_by_heart
from dltrain.check.numeric import gradient_check
from dltrain.check.subject import Subject
from dltrain.job.job import Job
from dltrain.nn import Loss, Network

Check = Callable[[Subject], Finding]
CHECKS: tuple[Check, ...] = (
    start.shapes,
    start.output,
    examples.reading,
    examples.classes,
    examples.layout,
    examples.parts,
    examples.leaks,
    leaks.duplicates,
    leaks.near_duplicates,
    examples.labels,
    examples.value_range,
    start.loss_at_start,
    start.activations,
    start.dead_units,
    start.gradients_arrive,
    start.gradient_depth,
    start.first_update,
    start.penalty,
    gradient_check,
    one_batch_by_heart,
)


# Those that look at one answer for each example.
OF_ANSWERS: tuple[Check, ...] = (
    examples.classes,
    examples.parts,
    examples.leaks,
    leaks.duplicates,
    leaks.near_duplicates,
    examples.labels,
    examples.value_range,
    one_batch_by_heart,
)


# Those that need no weights and hardly any time: `fit` says what they find before it begins.
QUICK: tuple[Check, ...] = (start.output, examples.classes, examples.layout)


def quick_checks(job: Job) -> list[Finding]:
    """What is not as it should be, as far as a short look shows."""
    if not _has_answers(job):
        return []
    subject = Subject(job)
    with np.errstate(all="ignore"):
        found = [check(subject) for check in QUICK]
    return [finding for finding in found if finding.status in ("warning", "failed") and finding.check not in job.muted]


def _has_answers(job: Job) -> bool:
    """Whether one network gives each example one answer."""
    return isinstance(job.answering, Network)


def check_without_data(model: Network, loss: Loss, muted: Collection[str]) -> list[Finding]:
    """What a config alone shows not to be as it should be."""
    found = [start.last_activation(model, loss)]
    return [finding for finding in found if finding.status in ("warning", "failed") and finding.check not in muted]


def run_checks(subject: Subject) -> Iterator[Finding]:
    """Each finding as soon as it is known. Every check starts from the same weights, which none of them changes."""
    subject.initialised()
    for check in progress.over(CHECKS, "checks"):
        with np.errstate(all="ignore"):  # what is not finite is looked for, not warned of
            looked = _has_answers(subject.job) or check not in OF_ANSWERS
            finding = check(subject) if looked else skipped(check.__name__, "it is for one answer to each example")
        if finding.check not in subject.job.muted:
            yield finding
