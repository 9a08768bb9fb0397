"""How gradients change weights. Knows arrays only."""

from dltrain.optim import adam, adaptive, sgd  # noqa: F401  (registered by being imported)
from dltrain.optim.optimizer import OPTIMIZERS, Optimizer
from dltrain.optim.schedule import SCHEDULES, Schedule

__all__ = ["OPTIMIZERS", "SCHEDULES", "Optimizer", "Schedule"]
