"""What a network writes: by its probabilities, the same for a seed, and whatever else is written."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from builders import build
from conftest import device_of

from dltrain.engine import no_grad
from dltrain.evaluation.writing import Writer
from dltrain.nn import Context

LAYERS: list[tuple[str, dict[str, Any]]] = [("embedding", {"units": 6, "tokens": 5})]
NETS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "rnn": [*LAYERS, ("rnn", {"units": 7}), ("dense", {"units": 5})],
    "lstm": [*LAYERS, ("lstm", {"units": 7}), ("lstm", {"units": 7}), ("dense", {"units": 5})],
    "gru": [*LAYERS, ("gru", {"units": 7}), ("dropout", {}), ("dense", {"units": 5})],
    "attention": [*LAYERS, ("positional", {}), ("attention", {"heads": 2, "causal": True}), ("dense", {"units": 5})],
    "the last alone": [*LAYERS, ("gru", {"units": 7, "return": "last"}), ("dense", {"units": 5})],
}


def writer(net: str, positions: int = 12) -> Writer:
    device = device_of(np.float64)
    model = build(NETS[net], (positions,))
    model.initialise(3, device)
    for parameter in model.parameters.values():
        parameter.data = parameter.data * (1 if net == "attention" else 3)  # to tell tokens apart
    return Writer(model, device)


def chances(by: Writer, tokens: list[int]) -> np.ndarray:
    """Of the next token, from the whole text at once."""
    with no_grad():
        y = by.network(np.array([tokens], float), Context()).data[0]
    logits = y[-1] if y.ndim == 2 else y
    return logits - np.log(np.exp(logits).sum())


@pytest.mark.parametrize("net", NETS)
def test_it_goes_on_as_if_it_read_all_again(net: str) -> None:
    by = writer(net)
    assert by.goes_on == (net != "attention")
    tokens = [2, 0, 4]
    draft = by.begin(tokens)
    for token in (1, 3, 3, 0):
        np.testing.assert_allclose(draft.chances, chances(by, tokens), rtol=1e-12)
        draft, tokens = by.extended(draft, token), [*tokens, token]
    assert draft.tokens == tuple(tokens)


def test_attention_reads_as_far_back_as_it_was_trained() -> None:
    by = writer("attention", positions=4)
    draft = by.begin([2, 0, 4])
    for token in (1, 3):
        draft = by.extended(draft, token)
    np.testing.assert_allclose(draft.chances, chances(by, [0, 4, 1, 3]), rtol=1e-12)


@pytest.mark.parametrize("net", ["gru", "attention"])
def test_greedy_takes_the_most_probable(net: str) -> None:
    by = writer(net)
    tokens = [2]
    for token in by.sample([2], 6, temperature=0):
        assert token == chances(by, tokens).argmax()
        tokens.append(token)
    assert len(tokens) == 7


def test_a_seed_repeats_a_text_and_numbers_tell_texts_apart() -> None:
    texts = {
        (seed, number): tuple(writer("gru").sample([2], 30, seed=seed, number=number))
        for seed, number in product((0, 1), (0, 1, 2))
    }
    assert len(set(texts.values())) == 6
    assert all(tuple(writer("gru").sample([2], 30, seed=s, number=n)) == text for (s, n), text in texts.items())
    assert tuple(writer("gru").sample([2], 12)) == texts[0, 0][:12], "a longer text begins like a shorter one"


def test_tokens_come_as_often_as_they_are_probable() -> None:
    by, draws = writer("gru"), 2000
    for temperature, top_k in ((1.0, None), (0.5, None), (1.0, 2)):
        weights = np.exp(chances(by, [2]) / temperature)
        if top_k:
            weights[np.argsort(weights)[:-top_k]] = 0
        wanted = weights / weights.sum()
        seen = [next(by.sample([2], 1, temperature=temperature, top_k=top_k, number=n)) for n in range(draws)]
        shares = np.bincount(seen, minlength=5) / draws
        assert (np.abs(shares - wanted) <= 4 * np.sqrt(wanted * (1 - wanted) / draws)).all(), (temperature, top_k)


def test_a_wide_beam_finds_the_most_probable_text() -> None:
    by, length = writer("lstm"), 3

    def likelihood(text: tuple[int, ...]) -> float:
        return sum(chances(by, [2, *text[:i]])[token] for i, token in enumerate(text))

    best = max(product(range(5), repeat=length), key=likelihood)
    assert tuple(by.search([2], length, beam=25)) == best
    assert by.search([2], length, beam=1) == list(by.sample([2], length, temperature=0))
