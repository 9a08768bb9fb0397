"""Trials that Optuna's TPE asks for, by what earlier ones came to (Bergstra et al., "Algorithms for Hyper-Parameter
Optimization", NeurIPS 2011).

The study is a file in the sweep's folder, or a database. Who asks is alone in the folder; what a trial has come to is
read from its runs, so it does not matter who trained it.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from dltrain.errors import ConfigError, DltrainError
from dltrain.metrics.settings import is_higher_better
from dltrain.random import words as random_words
from dltrain.run.group import Group, Member
from dltrain.run.rundir import ENDED
from dltrain.sweep.plan import Plan
from dltrain.sweep.ranges import Integers, LogUniform, Range, Text, Uniform

EXTRA = "strategy: tpe wants Optuna; install it with: pip install '.[sweep]'"
JOURNAL = "optuna.journal"


def require_optuna() -> Any:
    """Raises ConfigError."""
    try:
        import optuna
    except ImportError:
        raise ConfigError(EXTRA) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def require_storage(url: str) -> None:
    """Raises ConfigError for one that would be a secret in a file, DltrainError for one that cannot be used."""
    if urlsplit(url).password:
        raise ConfigError(
            "--storage: a password in the URL would be kept in the sweep's folder; leave it out and set PGPASSWORD, "
            "or write it into ~/.pgpass"
        )
    optuna = require_optuna()
    with _told(optuna):
        optuna.storages.get_storage(url)


def ask(group: Group, plan: Plan, figure: str) -> list[Member]:
    """The runs of the next trial, or of those that were asked for by a process that was killed before it wrote them
    down. Nobody else may be in the folder. Raises DltrainError where the storage cannot be used."""
    assert group.sweep
    optuna = require_optuna()
    known = len(group.members) // plan.seeds
    with _told(optuna):
        study = _study(optuna, group, figure)
        trials = study.get_trials(deepcopy=False)
        _tell(optuna, study, trials, group, plan, figure)
        if len(trials) <= known:
            seed = int(random_words(plan.seed, "tpe", step=known, count=1)[0]) >> 32
            study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            study.ask({axis.key: _distribution(optuna, axis.range) for axis in plan.axes})
            trials = study.get_trials(deepcopy=False)
    found = []
    for trial in trials[known : group.sweep.trials]:
        values = [_text(axis.range, trial.params[axis.key]) for axis in plan.axes]
        found += plan.members(trial.number, values, group.sweep.words, group.sweep.seed)
    return found


def _study(optuna: Any, group: Group, figure: str) -> Any:
    assert group.sweep
    storage: Any = group.sweep.storage
    if storage is None:
        path = group.path / JOURNAL
        _cut_torn_line(path)
        backend = optuna.storages.journal.JournalFileBackend(str(path), lock_obj=_NoLock())
        storage = optuna.storages.JournalStorage(backend)
    direction = "maximize" if is_higher_better(figure) else "minimize"
    return optuna.create_study(storage=storage, study_name=group.sweep.study, direction=direction, load_if_exists=True)


class _NoLock:
    """Of the journal: who asks is alone in the folder already."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _cut_torn_line(path: Any) -> None:
    """What a process that was killed wrote in part would spoil the line after it."""
    if path.exists() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        with open(path, "r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
            os.fsync(file.fileno())


def _tell(optuna: Any, study: Any, trials: Sequence[Any], group: Group, plan: Plan, figure: str) -> None:
    """What trials have come to whose runs have all ended."""
    states, runs = optuna.trial.TrialState, group.runs()
    for trial in trials:
        members = group.members[trial.number * plan.seeds : (trial.number + 1) * plan.seeds]
        if trial.state != states.RUNNING or not members:
            continue
        statuses = [runs[m.label].last_status() if m.label in runs else {} for m in members]
        if any(status.get("status") not in ENDED for status in statuses):
            continue
        found = [(status.get("validation") or {}).get(figure) for status in statuses]
        values = [value for value in found if isinstance(value, int | float)]
        mean = sum(values) / len(values) if len(values) == len(found) else None
        if mean is None or any(status["status"] == "diverged" for status in statuses):
            study.tell(trial.number, state=states.FAIL)
        elif any(status["status"] == "pruned" for status in statuses):
            optuna.trial.Trial(study, trial._trial_id).report(mean, int(statuses[0].get("epochs") or 0))
            study.tell(trial.number, state=states.PRUNED)
        else:
            study.tell(trial.number, mean)


def _distribution(optuna: Any, range_: Range) -> Any:
    match range_:
        case LogUniform(low=low, high=high):
            return optuna.distributions.FloatDistribution(low, high, log=True)
        case Uniform(low=low, high=high):
            return optuna.distributions.FloatDistribution(low, high)
        case Integers(low=low, high=high):
            return optuna.distributions.IntDistribution(low, high)
    return optuna.distributions.CategoricalDistribution(list(range_.all))


def _text(range_: Range, value: Any) -> Text:
    if isinstance(range_, Uniform):
        return range_.text(value)
    return str(value)


@contextmanager
def _told(optuna: Any) -> Iterator[None]:
    """Optuna's remarks are not for who trains; what goes wrong in its storage is told in a line."""
    from sqlalchemy.exc import SQLAlchemyError  # Optuna brings it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (optuna.exceptions.OptunaError, SQLAlchemyError, ValueError, ImportError) as error:
        raise DltrainError(f"Optuna: {' '.join(str(error).split())[:300]}") from None
