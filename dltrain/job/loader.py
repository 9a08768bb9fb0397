"""A split on its device, handed out in shards of batches, augmented and mixed."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dltrain.backend import Device, Reference, to_host
from dltrain.data import Ahead, Augmentation, OnDemand, Preprocessing, Split, Value
from dltrain.data.tokens import NOTHING
from dltrain.data.values import BEFORE, by_name
from dltrain.random import generator, permutation
from dltrain.spans import timed

Array = Any
Mixture = list[tuple[float, Array]]  # (share, targets): a loss is Σ share · loss of these targets


@dataclass(frozen=True)
class StepKey:
    """Where in a training a random number is drawn: part of every key. step counts from 1 through the whole run."""

    seed: int
    epoch: int
    step: int


class DataLoader:
    """inputs stay as the data set has them (uint8 for images); a shard is augmented and normalised when it is used.
    Those that float32 has too few digits for are normalised at the start, and so are numbers to predict.

    beside: of the other data sets of a config that has several, each in an order of its own. Indices are then (n, 1 +
    others), a column for each, the first one's first; all but `values` is about that one alone.
    """

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        augment: tuple[Augmentation, ...],
        device: Device,
        beside: tuple["DataLoader", ...] = (),
    ):
        self.size, self.source, self.beside = len(split), preprocessing.source, beside
        self.augment = augment
        self._xp = device.xp
        self._device = device
        self._ahead: Ahead | None = None
        self._preprocessing, self._given = preprocessing, split.targets
        early = preprocessing.wide and not isinstance(split.inputs, OnDemand)
        if isinstance(split.inputs, OnDemand):
            self._ahead = Ahead(split.inputs)
        else:
            inputs = preprocessing.completed(split.inputs)
            if early:
                inputs = preprocessing.ready(inputs, device.dtype)
            self._inputs = device.asarray(inputs.astype(device.dtype) if inputs.dtype == np.float64 else inputs)
        scale = preprocessing.target_scale
        self._targets = device.asarray(split.targets if scale is None else scale.scaled(split.targets))
        # As large as an example: numpy is slow at broadcasting over a last axis as short as the channels.
        self._scale, self._shift = (
            device.asarray(np.broadcast_to(values, preprocessing.input_shape).copy())
            for values in ((np.ones(1), np.zeros(1)) if early else preprocessing.scale_and_shift(device.dtype))
        )
        self._early = early
        self._further = [_Further(value, split.values[value.name], device) for value in preprocessing.further]
        sentences = {
            name: split.targets if at == 1 else split.values[value.name]
            for at, (name, value) in enumerate(by_name(preprocessing.values, preprocessing.source).items())
            if value.ends
        }
        self._before = {f"{name}{BEFORE}": device.asarray(before(part)) for name, part in sentences.items()}
        self._lengths = {name: (part != NOTHING).sum(axis=1) for name, part in sentences.items()}

    @property
    def is_on_demand(self) -> bool:
        """Whether an input is made when it is asked for, which takes a while."""
        return self._ahead is not None

    def targets(self) -> Array:
        """All of them, on the host, in their own units."""
        return self._given

    def in_units(self, outputs: Array) -> Array:
        """What a network says of numbers to predict, or what the loss compares it with, in the targets' own units."""
        return self._preprocessing.target_units(outputs)

    def targets_of(self, indices: Array) -> Array:
        """Those of these examples, on the device."""
        return self._targets[self._device.asarray(self._own(indices))]

    def asked(self, name: str, indices: Array) -> Array:
        """How many tokens these sentences have together, a number on the device: an array, so that no captured call
        takes it for the same in every step."""
        for column, loader in enumerate((self, *self.beside)):
            if name in loader._lengths:
                own = indices[:, column] if self.beside else indices
                return self._device.asarray(np.array(loader._lengths[name][own].sum(), self._device.dtype))
        raise KeyError(name)

    def originals(self, indices: Array) -> Array:
        """The inputs of these examples as the data set has them, on the host."""
        indices = self._own(indices)
        if self._ahead is None:
            found = to_host(self._inputs[self._device.asarray(indices)])
            return self._preprocessing.original(found).astype(np.float32) if self._early else found
        return self._ahead[indices] if len(indices) else np.empty((0, *self._ahead.inputs.shape[1:]))

    def _own(self, indices: Array) -> Array:
        """The column of this data set."""
        return indices[:, 0] if self.beside else indices

    def rows(self, start: int, stop: int) -> Array:
        """The indices of the examples `start` to `stop`, as they stand; of fewer beside them some come again."""
        places = np.arange(start, min(stop, self.size))
        return np.stack([places % loader.size for loader in (self, *self.beside)], axis=1) if self.beside else places

    def order(self, seed: int, epoch: int) -> Array:
        """A new order of all examples for each epoch, on the host. What is beside them goes on where the epoch before
        ended, and begins again in a new order when it is through."""
        columns = [loader._places(seed, (epoch - 1) * self.size, self.size) for loader in (self, *self.beside)]
        return np.stack(columns, axis=1) if self.beside else columns[0]

    def _places(self, seed: int, start: int, count: int) -> Array:
        """So many examples in the order in which they come, of which `start` came before."""
        turns, places = np.divmod(start + np.arange(count), self.size)
        found = np.empty(count, np.intp)
        for turn in np.unique(turns).tolist():
            order = permutation(self.size, seed, f"order/{self.source}" if self.source else "order", epoch=turn + 1)
            found[turns == turn] = order[places[turns == turn]]
        return found

    def expect(self, order: Array) -> None:
        """These examples will be asked for in about this order: what is not in memory can be made ahead."""
        if self._ahead is not None:
            coming = self._own(order)
            _, first_times = np.unique(coming, return_index=True)
            self._ahead.plan(coming[np.sort(first_times)])
        for column, loader in enumerate(self.beside, start=1):
            loader.expect(order[:, column])

    @timed("batch")
    def examples(self, indices: Array, first: int = 0, key: StepKey | None = None) -> tuple[Array, Array]:
        """(inputs, targets) of these examples, ready for the model.

        first: the position of the first one in its batch. key: given in training, where augmentation is on.
        """
        return self._examples(self._own(indices), self._words(len(indices), first, key))

    @timed("batch")
    def values(self, indices: Array, first: int = 0, key: StepKey | None = None) -> dict[str, Array]:
        """The same by name, and all else that is known of the examples: what `Preprocessing.named` lists."""
        words = self._words(len(indices), first, key)
        own = self._own(indices)
        at = self._device.asarray(own)
        found = [*self._examples(own, words), *(self._moved(value, at, words) for value in self._further)]
        values = dict(zip(self._preprocessing.named, found, strict=False))  # those of the others follow
        values |= {name: part[at] for name, part in self._before.items()}
        for column, loader in enumerate(self.beside, start=1):
            values |= loader.values(indices[:, column], first, key)
        return values

    def _words(self, examples: int, first: int, key: StepKey | None) -> list[Array]:
        """What decides each augmentation; nothing where there is none."""
        if key is None:
            return []
        k, own = self._device.kernels, f"{self.source}/" if self.source else ""
        return [
            random_words(k, key, "augment", f"{own}{i}", first, examples, change.words_each)
            for i, change in enumerate(self.augment)
        ]

    def _examples(self, indices: Array, words: list[Array]) -> tuple[Array, Array]:
        at = self._device.asarray(indices)
        k = self._device.kernels
        made = None if self._ahead is None else self._device.asarray(self._ahead[indices])
        if not words:
            inputs, where = (self._inputs, at) if made is None else (made, None)
            return k.normalise(inputs, where, self._scale, self._shift), self._targets[at]
        images = self._inputs[at] if made is None else made
        for change, drawn in zip(self.augment, words, strict=True):
            images = change(self._xp, images, drawn)
        return k.normalise(images, None, self._scale, self._shift), self._targets[at]

    def _moved(self, value: "_Further", at: Array, words: list[Array]) -> Array:
        """A further value of these examples; of a picture the pixels are where the inputs' are."""
        if value.scale is None:
            return value.part[at]
        moves = [(change, drawn) for change, drawn in zip(self.augment, words, strict=False) if change.moves]
        images = value.part[at] if moves else value.part
        for change, drawn in moves:
            images = change(self._xp, images, drawn)
        return self._device.kernels.normalise(images, None if moves else at, *value.scale)


def before(sentences: Array) -> Array:
    """What stands before each token, (N, T): END, which opens a sentence as it closes it, before the first one, and
    where nothing is any more."""
    shifted = np.zeros_like(sentences)
    shifted[:, 1:] = np.where(sentences[:, :-1] == NOTHING, 0, sentences[:, :-1])
    return shifted


class _Further:
    """A further value of all examples on the device. scale: of a picture, see `apply`."""

    def __init__(self, value: Value, part: Array, device: Device):
        self.part = device.asarray(part)
        self.scale: tuple[Array, Array] | None = None
        if value.kind == "picture":
            mean, std = np.array(value.mean), np.array(value.std)
            full = (np.broadcast_to(c.astype(device.dtype), value.shape).copy() for c in (1 / std, -mean / std))
            self.scale = (device.asarray(next(full)), device.asarray(next(full)))


@timed("random numbers")
def random_words(
    of: Reference, key: StepKey, purpose: str, layer: str, first: int, examples: int, words_each: int
) -> Array:
    return of.example_words(
        key.seed,
        purpose,
        layer,
        epoch=key.epoch,
        step=key.step,
        first=first,
        examples=examples,
        words_each=words_each,
    )


def mixed_examples(
    loader: DataLoader, batch: Array, first: int, count: int, key: StepKey, alpha: float
) -> tuple[Array, Mixture]:
    """(inputs, mixture) of the examples first … first + count of a training batch, after mixup (Zhang et al., mixup:
    Beyond Empirical Risk Minimization, 2018).

    Each is share · itself + (1 - share) · another one of the batch, which is augmented like it; with alpha 0 it is
    itself. share: from Beta(alpha, alpha), the same for the whole batch, the larger of the two.
    """
    here = slice(first, first + count)
    x, targets = loader.examples(batch[here], first, key)
    if alpha == 0:
        return x, [(1.0, targets)]
    where = {"epoch": key.epoch, "step": key.step}
    drawn = float(generator(key.seed, "mixup", "share", **where).beta(alpha, alpha))
    share = max(drawn, 1 - drawn)
    partners = batch[permutation(len(batch), key.seed, "mixup", **where)]
    others, their_targets = loader.examples(partners[here], first, key)
    return x * share + others * (1 - share), [(share, targets), (1 - share, their_targets)]
