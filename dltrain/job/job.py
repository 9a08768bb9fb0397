"""All that a training needs, built from a config."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from math import log
from typing import Any

import numpy as np

from dltrain.backend import Device
from dltrain.data import Preprocessing
from dltrain.job.answering import Answering, answering
from dltrain.job.judge import Judge
from dltrain.job.loader import DataLoader
from dltrain.job.settings import (
    CheckpointSettings,
    DiagnosticsSettings,
    LoggingSettings,
    ShowSettings,
    TrainSettings,
    WriteSettings,
)
from dltrain.job.start import Start
from dltrain.job.update import Update, all_values
from dltrain.metrics.figures import Asked
from dltrain.metrics.settings import MetricsSettings
from dltrain.nn import Drawn, Loss, Network, Networks, OneHot, Value
from dltrain.nn.graph import Vertex, outline, outline_together
from dltrain.nn.summary import summarise
from dltrain.optim import Optimizer
from dltrain.run.checkpoint import Checkpoint

SMALL = 1 << 24  # parameters: of a larger model a second set of gradients would take too much memory


@dataclass(frozen=True, kw_only=True)
class Job:
    """model: what is trained, one network or several. updates: taken one after the other in every step.
    loaders: "train", and "validation" and "test" where there are such splits.

    values: all that have a name. asked: the figures of pictures. judges: by the names of their runs in these.
    train.shard_size is a number here. notes: see `Source.notes`, column_facts `columns.facts`.
    starts: what came of start values that are loaded.
    muted: advice and checks that are not to speak.
    data_sha256: of each split, see `Split.sha256`; nothing for a smoke test, which takes a part.
    config: the text that all of this was built from, resolved; every checkpoint holds it.
    """

    seed: int
    device: Device
    model: Network | Networks
    updates: tuple[Update, ...]
    loaders: dict[str, DataLoader]
    preprocessing: Preprocessing
    values: dict[str, Value] = field(default_factory=dict)
    asked: tuple[Asked, ...] = ()
    judges: dict[str, Judge] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    starts: tuple[Start, ...] = ()
    column_facts: Sequence[dict[str, Any]] = ()
    muted: tuple[str, ...] = ()
    write: WriteSettings | None = None
    data_sha256: dict[str, str] = field(default_factory=dict)
    config: str = ""
    mixup: float = 0.0
    train: TrainSettings
    metrics: MetricsSettings
    show: ShowSettings = field(default_factory=ShowSettings)
    checkpoint: CheckpointSettings
    logging: LoggingSettings
    diagnostics: DiagnosticsSettings

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.loaders["train"].size // self.train.step_size)

    @property
    def total_steps(self) -> int:
        planned = self.train.epochs * self.steps_per_epoch
        return min(planned, self.train.max_steps or planned)

    @property
    def total_epochs(self) -> int:
        """Those that begin, where nothing ends the training early."""
        return -(-self.total_steps // self.steps_per_epoch)

    @property
    def shard_size(self) -> int:
        """Also on a GPU that of the config where batch_norm's statistics are taken over a shard."""
        return self.train.shard_size_on(self.device.is_cpu or self.model.mixes_examples)

    @cached_property
    def is_game(self) -> bool:
        """Whether updates play against each other: then no one number says how good the training is."""
        return len(self.updates) > 1

    @property
    def update(self) -> Update:
        """The only one, or the first."""
        return self.updates[0]

    @property
    def held_out(self) -> str | None:
        """The split that figures of the whole training are of; None where nothing is held out."""
        return next((split for split in ("test", "validation") if split in self.loaders), None)

    @property
    def loss(self) -> Loss:
        """Of a lone network."""
        return self.update.terms[0].loss

    @property
    def optimizer(self) -> Optimizer:
        """Of the only update."""
        return self.update.optimizer

    @property
    def network(self) -> Network:
        """The only one of a config with `model`."""
        assert isinstance(self.model, Network)
        return self.model

    @cached_property
    def drawn(self) -> list[Drawn]:
        """The values that are drawn by chance."""
        return [value for value in all_values(self.updates) if isinstance(value, Drawn)]

    @cached_property
    def coded(self) -> list[OneHot]:
        """The values that are classes, made numbers."""
        return [value for value in all_values(self.updates) if isinstance(value, OneHot)]

    @cached_property
    def answering(self) -> Network | Answering | None:
        """What gives each example one answer, which is looked at; None where nothing does."""
        return answering(self.model, self.updates, [*self.preprocessing.named], self.device)

    def learning_rate(self, step: int, losses: list[float], update: Update | None = None) -> float:
        """Of the step that follows so many. losses: the figure that decides, of each epoch so far."""
        update = update or self.update
        done, planned = step / self.steps_per_epoch, self.total_steps / self.steps_per_epoch
        return update.optimizer.lr * update.schedule(done, planned, losses, 1 / self.steps_per_epoch)

    def learning_rates(self, step: int, losses: list[float]) -> dict[str, float]:
        """Of each update by its name."""
        return {update.name: self.learning_rate(step, losses, update) for update in self.updates}

    def new_optimizer_state(self) -> dict[str, Any]:
        """Of all optimizers, once the parameters have values."""
        return {name: array for update in self.updates for name, array in update.new_state().items()}

    @cached_property
    def why_not_captured(self) -> str:
        """Why no step may be captured and replayed; empty where one may. A plugin may do other things in every step."""
        parts = [part for update in self.updates for part in (update.optimizer, *(term.loss for term in update.terms))]
        for part in (*self.model.layers, *parts):
            if not type(part).__module__.startswith("dltrain."):
                return f"{type(part).__name__} is a plugin's"
        parameters = sum(p.size for p in self.model.parameters.values())
        return f"the model is large: {parameters:,} parameters" if parameters > SMALL else ""

    def other_data(self, checkpoint: Checkpoint) -> list[str]:
        """`the test data have changed` for every split that is not as it was; of old checkpoints less is known."""
        now, then = self.data_sha256, checkpoint.data_sha256 or self.data_sha256
        others = [split for split in now | then if now.get(split) != then.get(split)]
        known = checkpoint.preprocessing  # how picture files are read, and what values are called, says nothing of it
        if not others and known != replace(self.preprocessing, pixels=known.pixels, values=known.values):
            others = ["train"]
        known_as = [(("training" if split == "train" else split), rest) for split, *rest in map(str.split, others)]
        return [f"the {' '.join([split, 'data', *rest])} have changed" for split, rest in known_as]

    def adopt(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint as if it came from the data that are here."""
        return replace(checkpoint, data_sha256=self.data_sha256, preprocessing=self.preprocessing)

    def class_counts(self, split: str) -> dict[str, int] | None:
        """The examples of each class by name, None where numbers are predicted."""
        classes = self.preprocessing.classes
        if not self.answering or not self.loss.classification or not classes:
            return None
        counts = np.bincount(self.loaders[split].targets(), minlength=len(classes)).tolist()
        return dict(zip(classes, counts, strict=True))

    @property
    def guessing(self) -> float | None:
        """The loss of answers that know only how frequent the classes are, as they count: ln C where all C are equally
        frequent. None where the loss is no entropy."""
        counts = (self.class_counts("train") or {}).values()
        weights = self.preprocessing.class_weights or [1.0] * len(counts)
        parts = [n * w for n, w in zip(counts, weights, strict=True) if n]
        if not parts or not self.loss.entropy or len(parts) < 2:
            return None
        return -sum(part / sum(parts) * log(part / sum(parts)) for part in parts)

    def outline(self) -> list[Vertex]:
        """The computation graph of a step."""
        if isinstance(self.model, Network):
            return outline(self.model, self.device, self.loss)
        return outline_together({update.name: update.terms for update in self.updates}, self.device)

    def describe(self) -> dict[str, Any]:
        """What is trained on what: "model", "graph", "data", "guessing". Kept with the run."""
        learned = self.preprocessing
        splits: dict[str, dict[str, Any]] = {}
        for name, loader in self.loaders.items():
            counts = self.class_counts(name)
            digest = sha256(np.ascontiguousarray(loader.targets()).data).hexdigest()
            splits[name] = {"examples": loader.size, "targets_sha256": digest}
            splits[name] |= {} if counts is None else {"class_counts": counts}
        return {
            "model": summarise(self.model, self.train.batch_size),
            "graph": [vertex.to_json() for vertex in self.outline()],
            "guessing": self.guessing,
            "muted": self.muted,
            "data": {
                "classes": learned.classes,
                "class_weights": learned.class_weights,
                "pixels": learned.pixels.to_json(),
                "notes": self.notes,
                "columns": list(self.column_facts),
                "target_scale": learned.target_scale and learned.target_scale.to_json(),
                "splits": splits,
            },
        }
