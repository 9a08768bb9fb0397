"""Texts as tokens and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltrain.data.tokens import UNKNOWN, cut, joined, numbers, vocabulary
from dltrain.errors import DataError


def test_words_signs_and_lines() -> None:
    text = "Wenn's regnet, wird man nass!\n(Oder nicht: l’été.)\n"
    tokens = cut(text, "word")
    assert tokens == [
        "Wenn's", "regnet", ",", "wird", "man", "nass", "!", "\n", "(", "Oder", "nicht", ":", "l’été", ".", ")", "\n",
    ]  # fmt: skip
    assert joined(tokens, "word") == text


@given(st.text())
def test_characters_are_the_text_and_words_settle(text: str) -> None:
    assert joined(cut(text, "character"), "character") == text
    tokens = cut(text, "word")
    assert cut(joined(tokens, "word"), "word") == tokens


def test_the_vocabulary_is_in_order_and_keeps_the_frequent() -> None:
    tokens = "b a c a b a d".split()  # noqa: SIM905
    assert vocabulary(tokens) == ("a", "b", "c", "d") and vocabulary(tokens, 9) == (UNKNOWN, "a", "b", "c", "d")
    assert vocabulary(tokens, 3) == (UNKNOWN, "a", "b")
    assert vocabulary(tokens, 4) == (UNKNOWN, "a", "b", "c"), "of equally frequent ones the first in order"


def test_numbers_are_places() -> None:
    assert numbers(["c", "a", "x"], (UNKNOWN, "a", "c")).tolist() == [2, 1, 0]
    with pytest.raises(DataError, match="'x' is none that the network knows"):
        numbers(["a", "x"], ("a", "c"))
