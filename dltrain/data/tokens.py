"""Texts as tokens: characters, or words and signs; each is a number, its place in a vocabulary."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dltrain.errors import DataError

Unit = Literal["character", "word"]
UNKNOWN = "<unknown>"
END = "<end>"  # of a sentence; it stands before its first word as well
NOTHING = -1  # where a sentence is over
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]|\n")  # a word, a sign, or the end of a line
CLOSING, OPENING = set(".,;:!?)]}\n"), set("([{\n")


def cut(text: str, unit: Unit) -> list[str]:
    """Characters as they are; or words, signs and ends of lines, without what is between them."""
    return list(text) if unit == "character" else WORD.findall(text)


def joined(tokens: Sequence[str], unit: Unit) -> str:
    """The text that they are of; of words with a space wherever one is usual."""
    if unit == "character":
        return "".join(tokens)
    text = ""
    for before, token in zip(["\n", *tokens], tokens, strict=False):
        text += token if before in OPENING or token in CLOSING else f" {token}"
    return text


def vocabulary(tokens: Iterable[str], most: int | None = None) -> tuple[str, ...]:
    """The different tokens in order; with `most` that many: one for all others, and the most frequent."""
    counts = Counter(tokens)
    if most is None:
        return tuple(sorted(counts))
    frequent = sorted(counts, key=lambda token: (-counts[token], token))[: most - 1]
    return (UNKNOWN, *sorted(frequent))


def sentence_vocabulary(sentences: Iterable[Sequence[str]], most: int | None = None) -> tuple[str, ...]:
    """END, one token for all words that are not among them, and the different words in order; with `most` the most
    frequent ones, so many tokens in all, or `<3>` and so on in the places that are left."""
    found = vocabulary((word for sentence in sentences for word in sentence), None if most is None else most - 1)
    words = tuple(word for word in found if word != UNKNOWN)
    free = 0 if most is None else most - 2 - len(words)
    return (END, UNKNOWN, *words, *(f"<{2 + len(words) + number}>" for number in range(free)))


def sentence_numbers(sentences: Sequence[Sequence[str]], known: Sequence[str], length: int) -> NDArray[np.int64]:
    """(N, length): the words, END, and NOTHING from there on. Raises DataError for a sentence that is too long."""
    found = np.full((len(sentences), length), NOTHING, np.int64)
    for row, sentence in zip(found, sentences, strict=True):
        if len(sentence) >= length:
            raise DataError(f"{' '.join(sentence)!r} has {len(sentence)} words; with {END} there is room for {length}")
        row[: len(sentence) + 1] = numbers([*sentence, END], known)
    return found


def sentence_words(tokens: Iterable[int], known: Sequence[str]) -> list[str]:
    """Those up to END or NOTHING."""
    words = []
    for token in tokens:
        if token == NOTHING or known[token] == END:
            break
        words.append(known[token])
    return words


def numbers(tokens: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """Of each its place in the vocabulary. Raises DataError for one that has none, where none stands for others."""
    places = {token: place for place, token in enumerate(known)}
    other = places.get(UNKNOWN, -1)
    found = np.fromiter((places.get(token, other) for token in tokens), np.int64, len(tokens))
    if (found < 0).any():
        raise DataError(f"{tokens[int(np.argmin(found))]!r} is none that the network knows")
    return found
