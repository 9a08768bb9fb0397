"""How near texts are to those that were wanted, each a sequence of tokens."""

from collections import Counter
from collections.abc import Hashable, Sequence
from math import exp, log

Text = Sequence[Hashable]
BASELINES = NEAREST, BLIND = ("nearest", "blind")  # what stands beside a figure of sentences
LONGEST = 4  # tokens in a row that BLEU compares


def exact(wanted: Sequence[Text], said: Sequence[Text]) -> float:
    """The share of texts that are right from the first token to the last."""
    return sum(list(a) == list(b) for a, b in zip(wanted, said, strict=True)) / len(wanted)


def words_right(wanted: Sequence[Text], said: Sequence[Text]) -> float:
    """The share of places, that after the last token among them, at which a text says what is wanted."""
    right = places = 0
    for reference, text in zip(wanted, said, strict=True):
        places += len(reference) + 1
        right += sum(a == b for a, b in zip(reference, text, strict=False)) + (len(reference) == len(text))
    return right / places


def bleu(wanted: Sequence[Text], said: Sequence[Text]) -> float:
    """BLEU-4 of a whole corpus with one reference for each text, from 0 to 1: the geometric mean of the shares of 1, 2,
    3 and 4 tokens in a row that are in the reference too, each counted no more often than it is there, times
    e^(1 - wanted / said) where less was said than wanted.

    Papineni, Roukos, Ward, Zhu, "BLEU: a Method for Automatic Evaluation of Machine Translation", 2002. 0 where nothing
    of one length is right; a corpus without texts of four tokens has no BLEU-4, which is 0 as well.
    """
    right, made = [0] * LONGEST, [0] * LONGEST
    for reference, text in zip(wanted, said, strict=True):
        for n in range(1, LONGEST + 1):
            found, there = _in_a_row(text, n), _in_a_row(reference, n)
            right[n - 1] += sum((found & there).values())
            made[n - 1] += found.total()
    if not all(right):
        return 0.0
    precision = sum(log(r / m) for r, m in zip(right, made, strict=True)) / LONGEST
    lengths = sum(map(len, wanted)) / sum(map(len, said))
    return exp(precision + min(0.0, 1 - lengths))


def _in_a_row(text: Text, n: int) -> Counter[tuple[Hashable, ...]]:
    return Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))
