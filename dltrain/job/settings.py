"""What the `train`, `checkpoint`, `logging`, `diagnostics` and `advice` sections of a config may say."""

from dataclasses import dataclass
from typing import Literal

from dltrain.registry import Count, NonNegative, Positive, Rate

# What may change when a run is continued: where it computes, how long it is, and what is kept of it. A section stands
# for all its keys.
RESUMABLE = ("device", "train.epochs", "train.max_steps", "show", "checkpoint", "logging", "advice")


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop when the figure `metrics.best` has not become better by `min_delta` for `patience` epochs."""

    patience: Count = 5
    min_delta: NonNegative = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Length and cutting of the training.

    shard_size: examples that are computed together; part of what decides the bits, so "auto" becomes a number when the
    config is resolved, a function of the model and the batch size only.
    accumulate: batches whose gradients are added up before the weights change: the same update as with batches so
    many times as large, in the memory of one; batch_norm keeps to the statistics of each.
    clip_norm: gradients are scaled down so that their joint L2 norm is at most this.
    average: validation, the test and later `eval` and `predict` use an average of the weights after every step so far
    (running statistics too) in which those of k steps ago count average^k; 0.999 is usual. The weights before the first
    step never count. The training itself goes on from its own weights; `weights_sha256` and the losses of the training
    are of those.
    max_time: seconds after which the running step is the last one; where that is depends on the machine.
    """

    epochs: Count = 10
    max_steps: Count | None = None
    max_time: Positive | None = None
    batch_size: Count = 128
    accumulate: Count = 1
    shard_size: Count | Literal["auto"] = "auto"
    clip_norm: Positive | None = None
    average: Rate | None = None
    early_stopping: EarlyStopping | None = None

    @property
    def step_size(self) -> int:
        """Examples between two updates of the weights."""
        return self.batch_size * self.accumulate

    def shard_size_on(self, cpu: bool) -> int:
        """Of a settled config, where shard_size is a number. A GPU takes a batch as one shard."""
        assert isinstance(self.shard_size, int)
        return self.shard_size if cpu else self.batch_size


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """When the training is saved, besides at its end and whenever the watched loss is the lowest so far.

    every_epochs, every_steps, every_minutes: whichever comes first.
    keep: how many of the newest checkpoints stay, besides the best one.
    """

    every_epochs: Count = 1
    every_steps: Count | None = None
    every_minutes: Positive | None = None
    keep: Count = 2


@dataclass(frozen=True, kw_only=True)
class ShowSettings:
    """Pictures that are made while the training goes on, into samples/ of the run, for its report.

    pictures: values that are pictures, by name; of the same noise and the same held-out examples each time.
    every: how many steps there are between two times, of which the start and the end are two more. count: how many
    examples.
    """

    pictures: tuple[str, ...] = ()
    every: Count = 100
    count: Count = 24

    def is_due(self, step: int) -> bool:
        return bool(self.pictures) and step % self.every == 0


@dataclass(frozen=True, kw_only=True)
class LoggingSettings:
    """every: steps between two step rows of metrics.jsonl. tensorboard: whether event files are written as well."""

    every: Count = 1
    tensorboard: bool = False


@dataclass(frozen=True, kw_only=True)
class DiagnosticsSettings:
    """update_every: steps between two measurements of the update ratio ‖Δw‖ / ‖w‖; the first of an epoch is one."""

    update_every: Count = 10


@dataclass(frozen=True, kw_only=True)
class WriteSettings:
    """What a network that was trained on a text (with targets: every) writes at the end, for the report; or how one
    that tells sentences about something chooses its words, which needs no prompt, length and texts.

    prompt: what it goes on from. length: of what it writes, in tokens. texts: how many, from one seed each other ones.
    temperature: by which it divides its logits: below 1 it keeps to what is probable, with 0 it takes the most
    probable token; 1 unless set, and 0 of sentences. top_k: of so many most probable tokens only. beam: instead of
    chance, a beam search of this width.
    """

    prompt: str = "\n"
    length: Count = 300
    texts: Count = 1
    temperature: NonNegative | None = None
    top_k: Count | None = None
    beam: Count | None = None


Check = Literal[
    "reading", "shapes", "output", "classes", "targets", "layout", "parts", "leaks", "duplicates",
    "near_duplicates", "labels", "range",
    "loss_at_start", "activations", "dead_units", "gradients", "gradient_depth", "first_update", "penalty",
    "gradient_check", "learns_by_heart",
]  # fmt: skip
Rule = Literal[
    "diverged", "start_loss", "dead_units", "vanishing_gradients", "exploding_gradients", "saturated", "large_updates",
    "small_updates", "loss_grew", "learns_nothing", "behind_linear", "underfitting", "overfitting", "penalty_dominates",
    "class_imbalance", "judge_never_wrong", "judge_knows_nothing", "mode_collapse", "ignored_input",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AdviceSettings:
    """mute: rules of docs/advice.md and checks of `dltrain check` that are not to speak, by the names in brackets."""

    mute: tuple[Rule | Check, ...] = ()
