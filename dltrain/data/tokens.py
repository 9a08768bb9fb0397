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


def numbers(tokens: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """Of each its place in the vocabulary. Raises DataError for one that has none, where none stands for others."""
    places = {token: place for place, token in enumerate(known)}
    other = places.get(UNKNOWN, -1)
    found = np.fromiter((places.get(token, other) for token in tokens), np.int64, len(tokens))
    if (found < 0).any():
        raise DataError(f"{tokens[int(np.argmin(found))]!r} is none that the network knows")
    return found
