"""Which learning rate fits: train a copy with a rate that grows at every step, look where the loss is lowest, and
compare short trainings with constant rates from there on.

The sweep is that of Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3, with a rate
that grows by a factor, as in fastai. It shows where a training breaks down, but it spends one step at each rate; which
of the rates below is the best depends on how long one trains. So from a tenth of the rate with the lowest loss, the
usual suggestion, short trainings go up until they become worse. Of those that are as good as the best one the lowest
rate is taken (the one standard error rule of Breiman et al., "Classification and Regression Trees", 1984, section 3.4).
"""

from dataclasses import asdict, dataclass
from math import exp, isfinite, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain import progress
from dltrain.errors import DivergedError
from dltrain.job.job import Job
from dltrain.job.loader import StepKey
from dltrain.job.parallel import ThreadPool
from dltrain.train.diagnostics import Probes
from dltrain.train.step import replay_for, train_step

LOWEST, HIGHEST = 1e-6, 10.0
STEPS = 140  # of the sweep: 20 for each factor of ten; and of a short training
BLOWN_UP = 3.0  # times the loss at the start: no higher rate is worth a step
WINDOW = 5  # steps to either side that a loss is averaged with
FALL = 0.1  # the share of the loss at the start that must go for a curve to say anything
FACTOR = 10**0.5  # from one short training to the next


@dataclass(frozen=True)
class Trial:
    """A short training. losses: of the last quarter of its steps; empty where it diverged."""

    rate: float
    losses: NDArray[Any]

    @property
    def loss(self) -> float:
        return float(self.losses.mean()) if len(self.losses) else float("inf")

    def is_worse_than(self, other: "Trial") -> bool:
        """By more than a standard error of the difference; both saw the same examples in the same order."""
        if not len(self.losses) or not len(other.losses):
            return self.loss > other.loss
        difference = self.losses - other.losses
        return bool(difference.mean() > difference.std() / len(difference) ** 0.5)


@dataclass(frozen=True)
class Sweep:
    """rates and losses of the steps taken; smooth: each loss averaged with those beside it.

    tried: rate and loss of each short training, None where it diverged.
    suggestion: None where the curve is unusable. reason: in words, either way.
    """

    rates: list[float]
    losses: list[float]
    smooth: list[float]
    tried: list[tuple[float, float | None]]
    suggestion: float | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Not finite are only losses that ended a sweep, and those are not kept."""
        return asdict(self)


def find_rate(job: Job, pool: ThreadPool) -> Sweep:
    """Everything starts from the job's own initial weights, which are drawn again afterwards."""
    rates = [LOWEST * exp(log(HIGHEST / LOWEST) * i / (STEPS - 1)) for i in range(STEPS)]
    losses = _train(job, pool, rates, "growing rate")
    smooth = _smooth(losses)
    lowest, why_not = lowest_of(rates, smooth)
    curve = rates[: len(losses)], losses, smooth.tolist()
    if lowest is None:
        return Sweep(*curve, [], None, why_not)
    trials = _climb(job, pool, lowest / 10)
    job.model.initialise(job.seed, job.device)
    chosen = choose(trials)
    tried = [(trial.rate, trial.loss if isfinite(trial.loss) else None) for trial in trials]
    if chosen is None:
        return Sweep(*curve, tried, None, f"no suggestion: even at {lowest / 10:.1e} a short training diverges")
    reason = f"{chosen.rate:.1e}: the lowest of the rates that are best after {_steps(job)} steps"
    return Sweep(*curve, tried, chosen.rate, f"{reason}; above {lowest:.1e} the loss rises")


def choose(trials: list[Trial]) -> Trial | None:
    """The lowest rate that is not worse than the best; None where all diverged."""
    best = min(trials, key=lambda trial: trial.loss)
    return next((t for t in trials if not t.is_worse_than(best)), None) if isfinite(best.loss) else None


def _climb(job: Job, pool: ThreadPool, rate: float) -> list[Trial]:
    """Short trainings at higher and higher rates, each with the config's schedule in short, to the first bad one."""
    steps, planned = _steps(job), job.total_steps / job.steps_per_epoch
    shape = [job.update.schedule(planned * step / steps, planned, [], planned / steps) for step in range(steps)]
    trials: list[Trial] = []
    while not trials or (rate <= HIGHEST and not trials[-1].is_worse_than(min(trials, key=lambda trial: trial.loss))):
        losses = np.array(_train(job, pool, [rate * height for height in shape], f"short training at {rate:.1e}"))
        trials.append(Trial(rate, losses[steps * 3 // 4 :] if len(losses) == steps else losses[:0]))
        rate *= FACTOR
    return trials


def _steps(job: Job) -> int:
    return min(STEPS, job.total_steps)


def _train(job: Job, pool: ThreadPool, rates: list[float], what: str) -> list[float]:
    """The losses of a training from the start, a step at each of the rates; fewer where it breaks down."""
    loader, size = job.loaders["train"], job.train.step_size
    losses: list[float] = []
    job.model.initialise(job.seed, job.device)
    state, replay = job.new_optimizer_state(), replay_for(job)
    probes, epoch, order = Probes(job.model), 0, np.empty(0, np.intp)
    with np.errstate(all="ignore"):  # what is not finite ends it
        for step, rate in enumerate(progress.over(rates, what), start=1):
            if not len(order):
                epoch += 1
                loader.expect(order := loader.order(job.seed, epoch))
            batch, order = order[:size], order[size:]
            try:
                figures = train_step(job, pool, replay, batch, StepKey(job.seed, epoch, step), {"": rate}, state, False)
            except DivergedError:
                break
            report = figures.report(probes).updates[0]
            losses.append(report.data_loss + report.penalty)
            if losses[-1] > BLOWN_UP * losses[0]:
                break
    return losses


def _smooth(losses: list[float]) -> NDArray[Any]:
    """Averages over the steps to both sides, in equal numbers, so that the curve is not shifted."""
    values = np.array(losses)
    reach = [min(WINDOW, i, len(values) - 1 - i) for i in range(len(values))]
    return np.array([values[i - r : i + r + 1].mean() for i, r in enumerate(reach)])


def lowest_of(rates: list[float], smooth: NDArray[Any]) -> tuple[float | None, str]:
    """(the rate with the lowest loss, ""), or (None, why the curve says nothing)."""
    if len(smooth) < 2 * WINDOW:
        return None, f"no suggestion: the training breaks down within {len(smooth) + 1} steps, even at tiny rates"
    start, lowest = float(smooth[: 2 * WINDOW].mean()), int(smooth.argmin())
    fall = 1 - float(smooth[lowest]) / start if start else 0.0
    if fall < FALL:
        little = f"{max(fall, 0):.0%}"
        return None, f"no suggestion: at no rate does the loss fall by more than {little}; `dltrain check` may say why"
    if lowest >= len(smooth) - WINDOW:
        return None, f"no suggestion: the loss still falls at a rate of {rates[-1]:.1e}, the highest one tried"
    return rates[lowest], ""
