"""Networks that tell a sentence of something else, such as a picture, are asked word by word."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dltrain.backend import Device, to_host
from dltrain.data.tokens import NOTHING
from dltrain.data.values import BEFORE
from dltrain.engine import no_grad
from dltrain.evaluation.writing import drawn, goes_on
from dltrain.job.settings import WriteSettings
from dltrain.job.values import chance, compute_values
from dltrain.nn import Applied, Context, Given, Term, Value, in_order
from dltrain.random import generator

Array = Any
Arrays = dict[str, Array]
GREEDY = WriteSettings(temperature=0.0)
ENDED = 0  # the token of END


@dataclass(frozen=True, eq=False)
class Told:
    """value: the chances of each next word, made by one network of the words before it and of others. sentence: what it
    is compared with."""

    value: Applied
    sentence: Given

    @property
    def before(self) -> str:
        return f"{self.sentence.name}{BEFORE}"

    @property
    def others(self) -> list[Value]:
        """What else the network takes."""
        return [value for value in self.value.of if value.name != self.before]

    @property
    def about(self) -> list[Given]:
        """What of the data they are made of: what the sentences are about."""
        return [value for value in in_order(self.others) if isinstance(value, Given)]


def told_by(terms: Iterable[Term]) -> Told | None:
    """The first sentence that a network learns to tell word by word; None where there is none."""
    for term in terms:
        value, sentence = term.pairs[0]
        if not term.ends:
            continue
        if isinstance(value, Applied) and isinstance(sentence, Given) and value.over is None:
            told = Told(value, sentence)
            names = [each.name for each in value.of]
            if names.count(told.before) == 1 and told.before not in {v.name for v in in_order(told.others)}:
                return told
    return None


class Speaker:
    """Recurrent networks go on from what they remember; others read the whole sentence again for every word."""

    def __init__(self, told: Told, device: Device, seed: int = 0, settings: WriteSettings = GREEDY):
        self.told, self.device, self.seed, self.settings = told, device, seed, settings
        self.length = told.sentence.shape[0]
        self.goes_on = goes_on(told.value.network)

    def say(self, given: Arrays, first: int, examples: int) -> Array:
        """The sentences of these examples, (N, T) int64: words, END, and NOTHING from there on.

        given: at least what they are about, (N, …) each. first: the position of the first one among all that are asked
        about; what is drawn by chance depends on it and the seed.
        """
        others = compute_values(self.told.others, given, self.device, first, examples, self.seed)
        width = self.settings.beam or 1
        spread = {value.name: others[value.name].repeat(width, axis=0) for value in self.told.others}
        with no_grad():
            tokens = self._search(spread, first, examples, width) if width > 1 else self._draw(spread, first, examples)
        over = np.cumsum(tokens == ENDED, axis=1) - (tokens == ENDED) > 0
        return np.where(over, NOTHING, tokens)

    def _draw(self, others: Arrays, first: int, examples: int) -> Array:
        memory: Arrays = {}
        tokens: Array = np.zeros((examples, 0), np.int64)
        temperature = 0.0 if self.settings.temperature is None else self.settings.temperature
        while tokens.shape[1] < self.length and not (tokens == ENDED).any(axis=1).all():
            chances, step = self._chances(others, tokens, memory, first), tokens.shape[1]
            said = chances.argmax(axis=1)
            for number in range(examples) if temperature else ():
                at = generator(self.seed, "sentence", str(first + number), step=step).random()
                said[number] = drawn(chances[number], temperature, self.settings.top_k, at)
            tokens = np.concatenate([tokens, said[:, None]], axis=1)
        return tokens

    def _search(self, others: Arrays, first: int, examples: int, width: int) -> Array:
        """The most probable sentence that a beam search of this width finds for each example; one that has ended stays
        as it is."""
        memory: Arrays = {}
        tokens: Array = np.zeros((examples * width, 0), np.int64)
        likelihood = np.where(np.arange(examples * width) % width, -np.inf, 0.0)  # one beginning each
        ended = np.zeros(examples * width, bool)
        while tokens.shape[1] < self.length and not ended.all():
            chances = self._chances(others, tokens, memory, first)
            chances[ended] = -np.inf
            chances[ended, ENDED] = 0.0
            words = chances.shape[1]
            scores = (likelihood[:, None] + chances).reshape(examples, width * words)
            best = np.argsort(-scores, axis=1, kind="stable")[:, :width]
            likelihood = np.take_along_axis(scores, best, axis=1).reshape(-1)
            rows = (np.arange(examples)[:, None] * width + best // words).reshape(-1)
            said = (best % words).reshape(-1)
            tokens, ended = np.concatenate([tokens[rows], said[:, None]], axis=1), ended[rows] | (said == ENDED)
            at = self.device.asarray(rows)
            memory.update({name: tuple(state[at] for state in states) for name, states in memory.items()})
        return tokens[::width]

    def _chances(self, others: Arrays, tokens: Array, memory: Arrays, first: int) -> Array:
        """The log-probability of each next word after these, (N, V), float64 on the host. memory: changed."""
        value, at = self.told.value, tokens.shape[1]
        before = np.concatenate([np.full((len(tokens), 1), ENDED), tokens], axis=1)
        after = ((0, 0), (0, self.length - at - 1))  # what is not there yet, no network that is causal looks at
        before = before[:, -1:] if self.goes_on else np.pad(before, after)
        given = others | {self.told.before: self.device.asarray(before)}
        words = partial(chance(self.device, first, len(tokens), self.seed), value.key, 1)
        context = Context(
            words=words, examples=len(tokens), batch_statistics=value.batch_statistics,
            memory=memory if self.goes_on else None,
        )  # fmt: skip
        made = value([given[each.name] for each in value.of], context, {})
        assert made is not None
        logits = to_host(made.data).astype(np.float64)
        logits = logits[:, -1 if self.goes_on else at]
        shifted = logits - logits.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
