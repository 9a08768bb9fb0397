"""A network that tells the next token is asked again and again: it writes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dltrain.backend import Device, to_host
from dltrain.data import Preprocessing
from dltrain.data.tokens import Unit, cut, joined, numbers
from dltrain.engine import no_grad
from dltrain.errors import DataError
from dltrain.job.settings import WriteSettings
from dltrain.nn import Context, Network, Recurrent
from dltrain.random import generator

Array = Any
Memory = dict[str, tuple[Array, ...]]


@dataclass(frozen=True)
class Draft:
    """tokens: all so far, the prompt first. chances: log-probability of each next token, (V,). memory: what recurrent
    layers remember. likelihood: log-probability of what was written after the prompt."""

    tokens: tuple[int, ...]
    chances: Array
    memory: Memory
    likelihood: float = 0.0


class Writer:
    """Recurrent networks go on from what they remember; others read their last positions again for every token.

    A text is written by itself, whatever else is written, and on the CPU in float64 chosen from, so that the same seed
    gives the same text.
    """

    def __init__(self, network: Network, device: Device):
        self.network, self.device = network, device
        self.goes_on = goes_on(network)

    def begin(self, tokens: Sequence[int]) -> Draft:
        """tokens: at least one."""
        memory: Memory = {}
        return Draft(tuple(tokens), self._chances(tokens, memory), memory)

    def extended(self, draft: Draft, token: int) -> Draft:
        tokens, memory = (*draft.tokens, token), dict(draft.memory)
        chances = self._chances([token] if self.goes_on else tokens, memory)
        return Draft(tokens, chances, memory, draft.likelihood + float(draft.chances[token]))

    def _chances(self, tokens: Sequence[int], memory: Memory) -> Array:
        if not self.goes_on:
            tokens = tokens[-self.network.in_shape[0] :]
        x = self.device.asarray(np.array([tokens]).astype(self.device.dtype))
        with no_grad():
            y = to_host(self.network(x, Context(memory=memory if self.goes_on else None)).data).astype(np.float64)
        logits = y[0, -1] if y.ndim == 3 else y[0]
        shifted = logits - logits.max()
        return shifted - np.log(np.exp(shifted).sum())

    def sample(
        self,
        prompt: Sequence[int],
        length: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        seed: int = 0,
        number: int = 0,
    ) -> Iterator[int]:
        """The tokens that come after the prompt, one by one, each drawn by how probable it is.

        temperature: by which logits are divided; 0 takes the most probable one. top_k: of so many only. number: of
        several texts from one seed which one.
        """
        draft = self.begin(prompt)
        for step in range(length):
            token = drawn(draft.chances, temperature, top_k, generator(seed, "write", str(number), step=step).random())
            yield token
            if step + 1 < length:
                draft = self.extended(draft, token)

    def search(self, prompt: Sequence[int], length: int, beam: int) -> list[int]:
        """The most probable text of so many tokens that a beam search of this width finds: of all continuations of the
        `beam` best texts the best ones stay (Lowerre, "The HARPY Speech Recognition System", 1976)."""
        drafts = [self.begin(prompt)]
        for _ in range(length):
            scores = np.concatenate([draft.likelihood + draft.chances for draft in drafts])
            best = np.argsort(-scores, kind="stable")[:beam]
            width = len(drafts[0].chances)
            drafts = [self.extended(drafts[place // width], place % width) for place in map(int, best)]
        return list(drafts[0].tokens[len(prompt) :])


def goes_on(network: Network) -> bool:
    """Whether what it remembers of the positions before is all that it needs of them."""
    return all(isinstance(layer, Recurrent) or not (layer.mixes or layer.window) for layer in network.layers)


def drawn(chances: Array, temperature: float, top_k: int | None, at: float) -> int:
    """The token at this place, from 0 to 1, in the sum of all probabilities."""
    order = np.argsort(-chances, kind="stable")
    if temperature == 0:
        return int(order[0])
    allowed = order[:top_k]
    shares = np.exp((chances[allowed] - chances[order[0]]) / temperature)
    place = int(np.searchsorted(shares.cumsum() / shares.sum(), at, side="right"))
    return int(allowed[min(place, len(allowed) - 1)])  # sums of shares may end just below 1


def write_texts(
    network: Network, learned: Preprocessing, settings: WriteSettings, device: Device, seed: int
) -> list[str]:
    """What the network writes after the prompt. Raises DataError where it was not trained to, or the prompt holds what
    it does not know."""
    if not learned.reads_text or not learned.values[1].is_text:
        raise DataError("the network was not trained to tell what follows every position of a text")
    unit: Unit = "word" if learned.values[0].kind == "words" else "character"
    known = learned.vocabulary or ()
    prompt = numbers(cut(settings.prompt, unit), known).tolist()
    if not prompt:
        raise DataError("the prompt is empty; a network goes on from something, were it the end of a line")
    writer, texts = Writer(network, device), []
    for number in range(1 if settings.beam else settings.texts):
        if settings.beam:
            found = writer.search(prompt, settings.length, settings.beam)
        else:
            temperature = 1.0 if settings.temperature is None else settings.temperature
            by: dict[str, Any] = {"temperature": temperature, "top_k": settings.top_k}
            found = list(writer.sample(prompt, settings.length, **by, seed=seed, number=number))
        whole = joined([known[token] for token in (*prompt, *found)], unit)
        texts.append(whole.removeprefix(joined([known[token] for token in prompt], unit)))
    return texts
