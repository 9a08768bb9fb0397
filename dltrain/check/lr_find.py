"""Which learning rate fits: train a copy with a rate that grows at every step, and look where the loss falls.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3, with a rate that grows by a
factor, as in fastai.
"""

from dataclasses import asdict, dataclass
from math import exp, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.errors import DivergedError
from dltrain.train.feed import Moment
from dltrain.train.job import Job
from dltrain.train.shards import Crew
from dltrain.train.step import train_step

LOWEST, HIGHEST = 1e-6, 10.0
STEPS = 140  # 20 for each factor of ten
BLOWN_UP = 3.0  # times the loss at the start: no higher rate is worth a step
WINDOW = 5  # steps to either side that a loss is averaged with
NEARLY = 0.97  # of the fall: a little below the rate with the lowest loss, which is on the edge already
FALL = 0.1  # the share of the loss at the start that must go for a curve to say anything


@dataclass(frozen=True)
class Sweep:
    """rates and losses of the steps taken; smooth: each loss averaged with those beside it.

    suggestion: None where the curve is unusable. reason: in words, either way.
    """

    rates: list[float]
    losses: list[float]
    smooth: list[float]
    suggestion: float | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Not finite are only losses that ended a sweep, and those are not kept."""
        return asdict(self)


def sweep(job: Job, crew: Crew) -> Sweep:
    """Starts from the job's own initial weights, which are drawn again afterwards."""
    feed, size = job.feeds["train"], job.train.batch_size
    rates = [LOWEST * exp(log(HIGHEST / LOWEST) * i / (STEPS - 1)) for i in range(STEPS)]
    losses: list[float] = []
    job.model.initialise(job.seed, job.device)
    state = job.optimizer.new_state(job.model.weights())
    epoch, order = 0, np.empty(0, np.intp)
    with np.errstate(all="ignore"):  # what is not finite ends the sweep
        for step, rate in enumerate(rates, start=1):
            if not len(order):
                epoch += 1
                order = feed.order(job.seed, epoch)
            batch, order = order[:size], order[size:]
            try:
                figures = train_step(job, crew, batch, Moment(job.seed, epoch, step), rate, state, False)
            except DivergedError:
                break
            report = figures.report({})
            losses.append(report.data_loss + report.penalty)
            if losses[-1] > BLOWN_UP * losses[0]:
                break
    job.model.initialise(job.seed, job.device)
    smooth = _smooth(losses)
    return Sweep(rates[: len(losses)], losses, smooth.tolist(), *suggest(rates, smooth))


def _smooth(losses: list[float]) -> NDArray[Any]:
    """Averages over the steps to both sides, in equal numbers, so that the curve is not shifted."""
    values = np.array(losses)
    reach = [min(WINDOW, i, len(values) - 1 - i) for i in range(len(values))]
    return np.array([values[i - r : i + r + 1].mean() for i, r in enumerate(reach)])


def suggest(rates: list[float], smooth: NDArray[Any]) -> tuple[float | None, str]:
    """(rate, why), or (None, why not)."""
    if len(smooth) < 2 * WINDOW:
        return None, f"no suggestion: the training breaks down within {len(smooth) + 1} steps, even at tiny rates"
    start, lowest = float(smooth[: 2 * WINDOW].mean()), int(smooth.argmin())
    fall = 1 - float(smooth[lowest]) / start
    if fall < FALL:
        little = f"{max(fall, 0):.0%}"
        return None, f"no suggestion: at no rate does the loss fall by more than {little}; `dltrain check` may say why"
    if lowest >= len(smooth) - WINDOW:
        return None, f"no suggestion: the loss still falls at a rate of {rates[-1]:.1e}, the highest one tried"
    goal = smooth[lowest] + (1 - NEARLY) * (start - smooth[lowest])
    rate = rates[int(np.flatnonzero(smooth <= goal)[0])]
    return rate, (
        f"{rate:.1e}: the lowest rate by which {NEARLY:.0%} of the fall from {start:.3g} to {smooth[lowest]:.3g} has "
        f"happened; from {rates[lowest]:.1e} on the loss grows again"
    )
