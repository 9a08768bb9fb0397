"""Exact match and BLEU of texts, against sums by hand and what must hold for any text."""

from math import exp, log

import pytest

from dltrain.metrics.text import bleu, exact

CAT = ["the", "cat", "is", "on", "the", "mat"]


def test_exact_match_is_of_the_whole_text() -> None:
    assert exact([CAT, CAT, ["a"]], [CAT, CAT[:-1], ["a"]]) == pytest.approx(2 / 3)


def test_bleu_by_hand() -> None:
    """Candidate `the the cat is on mat` beside `the cat is on the mat`.

    One in a row: the 2 of 2, cat, is, on, mat: 6 of 6. Two: `the cat`, `cat is`, `is on` of 5. Three: `the cat is`,
    `cat is on` of 4. Four: `the cat is on` of 3. Equally long, so no penalty.
    """
    said = ["the", "the", "cat", "is", "on", "mat"]
    assert bleu([CAT], [said]) == pytest.approx((6 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25, rel=1e-12)


def test_a_token_counts_no_more_often_than_it_is_wanted() -> None:
    """The example of the paper, section 2.1: seven times `the` has a precision of 2/7, and no two in a row."""
    assert bleu([CAT], [["the"] * 7]) == 0
    said = [*CAT, *["the"] * 7]  # 13: of one 6, of two 5 of 12, of three 4 of 11, of four 3 of 10
    assert bleu([CAT], [said]) == pytest.approx((6 / 13 * 5 / 12 * 4 / 11 * 3 / 10) ** 0.25, rel=1e-12)


def test_what_is_too_short_is_punished_over_the_corpus() -> None:
    """10 tokens where 12 are wanted, all right: e^(1 - 12 / 10)."""
    assert bleu([CAT, CAT], [CAT[:4], CAT]) == pytest.approx(exp(1 - 12 / 10), rel=1e-12)


def test_sums_are_over_the_corpus_not_means_of_texts() -> None:
    other = ["a", "dog", "runs", "home"]
    said = [CAT, ["a", "dog", "runs", "away"]]  # of one 9 of 10, of two 7 of 8, of three 5 of 6, of four 3 of 4
    shares = [9 / 10, 7 / 8, 5 / 6, 3 / 4]
    assert bleu([CAT, other], said) == pytest.approx(exp(sum(map(log, shares)) / 4), rel=1e-12)


def test_the_same_is_1_and_nothing_right_is_0() -> None:
    assert bleu([CAT], [CAT]) == 1 and bleu([CAT], [["a", "b", "c", "d", "e", "f"]]) == 0
    assert bleu([["a", "b", "c"]], [["a", "b", "c"]]) == 0, "no four tokens in a row"
