"""All that a training needs, built from a config."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dltrain.backend import Device
from dltrain.data import Preprocessing
from dltrain.nn import Loss, Model, Penalty
from dltrain.nn.summary import summarise
from dltrain.optim import Optimizer, Schedule
from dltrain.train.feed import Feed
from dltrain.train.settings import (
    CheckpointSettings,
    DiagnosticsSettings,
    LoggingSettings,
    MetricsSettings,
    TrainSettings,
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """feeds: "train", and "validation" and "test" where there are such splits.

    kinds: layer name -> its type in the config. train.shard_size is a number here.
    """

    seed: int
    device: Device
    model: Model
    kinds: dict[str, str]
    loss: Loss
    penalty: Penalty
    optimizer: Optimizer
    schedule: Schedule
    feeds: dict[str, Feed]
    preprocessing: Preprocessing
    mixup: float = 0.0
    train: TrainSettings
    metrics: MetricsSettings
    checkpoint: CheckpointSettings
    logging: LoggingSettings
    diagnostics: DiagnosticsSettings

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.feeds["train"].size // self.train.step_size)

    @property
    def total_steps(self) -> int:
        planned = self.train.epochs * self.steps_per_epoch
        return min(planned, self.train.max_steps or planned)

    @property
    def shard_size(self) -> int:
        return self.train.shard_size_on(self.device.is_cpu)

    def describe(self) -> dict[str, Any]:
        """What is trained on what, {"model", "data"}: kept with the run, to be read where the data set is not."""
        learned = self.preprocessing
        splits: dict[str, dict[str, Any]] = {name: {"examples": feed.size} for name, feed in self.feeds.items()}
        if self.loss.classification and learned.classes:
            for name, feed in self.feeds.items():
                counts = np.bincount(feed.targets(), minlength=len(learned.classes)).tolist()
                splits[name]["class_counts"] = dict(zip(learned.classes, counts, strict=True))
        return {
            "model": summarise(self.model, self.kinds, self.train.batch_size),
            "data": {
                "classes": learned.classes,
                "class_weights": learned.class_weights,
                "white": learned.white,
                "splits": splits,
            },
        }
