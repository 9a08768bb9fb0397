"""How right the sentences are that networks tell: figures of held-out examples, each beside what needs no insight.

nearest: the sentence of the training example that is nearest in what sentences are about. blind: what the network says
when that is withheld, the mean of the training examples in its place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dltrain.backend import Device, to_host
from dltrain.data import Preprocessing
from dltrain.data.tokens import sentence_words
from dltrain.evaluation.sentences import GREEDY, Speaker, told_by
from dltrain.job.loader import DataLoader
from dltrain.job.settings import WriteSettings
from dltrain.job.update import Update
from dltrain.metrics.text import BLIND, NEAREST, bleu, exact, words_right

Array = Any
Row = dict[str, Any]
FIGURES = {"exact_match": exact, "bleu": bleu, "words_right": words_right}
SHOWN = 24  # sentences that are kept for the report, with what they are about
LARGE = 1 << 16  # numbers in an input that is too large to be kept
PIECE = 250  # examples at a time
MOST_NUMBERS = 1 << 26  # in the training examples among which the nearest one is looked for, 256 MB


@dataclass(frozen=True)
class Judged:
    """rows: as those of pictures, see `picture_figures.measure`. shown: {"wanted", "said"} of the first examples.
    inputs: theirs, as the data set has them."""

    rows: list[Row]
    shown: list[Row]
    inputs: Array


def judge_sentences(
    updates: Sequence[Update],
    learned: Preprocessing,
    train: DataLoader,
    held: DataLoader,
    device: Device,
    batch: int,
    settings: WriteSettings | None,
    seed: int,
    between: Callable[[], None] = lambda: None,
) -> Judged | None:
    """None where no network learns to tell sentences. settings: how words are chosen; greedily without. between: called
    before each batch; may raise to end it."""
    told = told_by(term for update in updates for term in update.terms)
    if told is None:
        return None
    speaker = Speaker(told, device, seed, settings or GREEDY)
    return _Sentences(speaker, learned.named[told.sentence.name].classes or (), train, held, batch).measure(between)


class _Sentences:
    """Those of a speaker. vocabulary: its words. held: examples that are told about. train: all that there were to
    learn from."""

    def __init__(self, speaker: Speaker, vocabulary: tuple[str, ...], train: DataLoader, held: DataLoader, batch: int):
        self.speaker, self.vocabulary, self.train, self.held, self.batch = speaker, vocabulary, train, held, batch
        self.sentence, self.about = speaker.told.sentence.name, [value.name for value in speaker.told.about]

    def measure(self, between: Callable[[], None]) -> Judged:
        wanted, said, vectors = [], [], []
        for start in range(0, self.held.size, self.batch):
            between()
            values = self.held.values(self.held.rows(start, start + self.batch))
            wanted += self._texts(to_host(values[self.sentence]))
            said += self._texts(self.speaker.say(values, start, len(values[self.sentence])))
            vectors.append(self._vectors(values))
        found = np.concatenate(vectors)
        beside = {NEAREST: self._nearest(found, between), BLIND: self._blind(len(wanted))}
        rows = [
            {
                "name": f"{name}/{self.speaker.told.value.name}", "figure": name, "to": self.sentence, "in": None,
                "of": self.speaker.told.value.name, "examples": len(wanted), "better": "higher",
                "value": figure(wanted, said),
                "baselines": {other: figure(wanted, texts) for other, texts in beside.items() if texts},
            }
            for name, figure in FIGURES.items()
        ]  # fmt: skip
        shown = [{"wanted": a, "said": b} for a, b in zip(wanted[:SHOWN], said[:SHOWN], strict=True)]
        inputs = self.held.originals(self.held.rows(0, len(shown)))
        return Judged(rows, shown, inputs if inputs[:1].size < LARGE else inputs[:0])

    def _texts(self, tokens: Array) -> list[list[str]]:
        return [sentence_words(row, self.vocabulary) for row in tokens.tolist()]

    def _vectors(self, values: dict[str, Array]) -> Array:
        """All that sentences are about, side by side, (N, D)."""
        if not self.about:
            return np.zeros((len(values[self.sentence]), 0), np.float32)
        parts = [to_host(values[name]).astype(np.float32) for name in self.about]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    def _nearest(self, asked: Array, between: Callable[[], None]) -> list[list[str]]:
        """Of the training examples, of so many large ones at equal distances as fit into memory; none where sentences
        are about nothing."""
        width = asked.shape[1]
        if not width:
            return []
        number = min(self.train.size, max(1, MOST_NUMBERS // width))
        chosen = np.arange(number) * self.train.size // number
        best = np.full(len(asked), np.inf)
        found: list[list[str]] = [[] for _ in asked]
        for start in range(0, number, PIECE):
            between()
            values = self.train.values(self.train.rows(0, self.train.size)[chosen[start : start + PIECE]])
            there, texts = self._vectors(values), self._texts(to_host(values[self.sentence]))
            distances = (there**2).sum(axis=1) - 2 * asked @ there.T
            nearest = distances.argmin(axis=1)
            nearer = np.take_along_axis(distances, nearest[:, None], axis=1)[:, 0]
            for i in np.flatnonzero(nearer < best).tolist():
                best[i], found[i] = nearer[i], texts[nearest[i]]
        return found

    def _blind(self, count: int) -> list[list[str]]:
        """The same sentence for all, greedily chosen."""
        if not self.about:
            return []
        sums: dict[str, Array] = {}
        for start in range(0, self.train.size, PIECE):
            values = self.train.values(self.train.rows(start, start + PIECE))
            for name in self.about:
                sums[name] = sums.get(name, 0) + to_host(values[name]).sum(axis=0, keepdims=True, dtype=np.float64)
        device = self.speaker.device
        mean = {name: device.asarray(total / self.train.size) for name, total in sums.items()}
        return self._texts(self.speaker.say(mean, 0, 1)) * count
