"""Dropout: scaled while training, gone in evaluation, and a mask that belongs to the example."""

from typing import Any

import numpy as np
import pytest
from builders import build
from test_layers import make

from dltrain.backend import Device, to_host
from dltrain.engine import Tensor
from dltrain.nn import Context
from dltrain.random import example_words


def words_of(first: int, examples: int, device: Device) -> Any:
    def words(purpose: str, layer: str, words_each: int) -> Any:
        drawn = example_words(5, purpose, layer, epoch=1, step=2, first=first, examples=examples, words_each=words_each)
        return device.asarray(drawn)

    return words


def test_dropout_is_scaled_while_training_and_gone_in_evaluation(device: Device):
    layer = make("dropout", (1000,), rate=0.25)
    x = Tensor(device.asarray(np.ones((40, 1000))))
    assert layer(x, Context()) is x
    y = to_host(layer(x, Context(training=True, words=words_of(0, 40, device))).data)
    assert set(np.unique(y)) == {0, 1 / 0.75}
    assert abs(y.mean() - 1) < 0.01
    assert make("dropout", (1000,), rate=0.0)(x, Context(training=True)) is x


def test_dropout_that_is_always_on_is_the_same_noise_in_every_evaluation(device: Device):
    """Of an example by its position, whatever the batch; of every layer its own; in training that of the step."""
    layer, other = build([("dropout", {"rate": 0.25, "always": True})] * 2, (1000,)).layers
    x = Tensor(device.asarray(np.ones((40, 1000))))
    y = to_host(layer(x, Context()).data)
    assert set(np.unique(y)) == {0, 1 / 0.75} and abs(y.mean() - 1) < 0.01
    assert np.array_equal(y, to_host(layer(x, Context()).data))
    later = to_host(layer(Tensor(x.data[:3]), Context(first=10)).data)
    assert np.array_equal(later, y[10:13]) and not np.array_equal(y[0], y[1])
    assert not np.array_equal(y, to_host(other(x, Context()).data))
    words = words_of(0, 40, device)
    plain = make("dropout", (1000,), rate=0.25)
    assert np.array_equal(*(to_host(each(x, Context(True, words)).data) for each in (layer, plain)))
    with pytest.raises(ValueError, match="needs random words"):
        layer(x, Context(training=True))


def test_a_mask_belongs_to_the_example_not_to_the_shard(device: Device):
    layer = make("dropout", (3, 7), rate=0.5)
    x = device.asarray(np.ones((10, 3, 7)))
    whole = to_host(layer(Tensor(x), Context(True, words_of(0, 10, device))).data)
    for size in (1, 3, 4):
        parts = [
            layer(Tensor(x[start : start + size]), Context(True, words_of(start, len(x[start : start + size]), device)))
            for start in range(0, 10, size)
        ]
        assert np.array_equal(np.concatenate([to_host(part.data) for part in parts]), whole)


def test_two_dropout_layers_have_masks_of_their_own(device: Device):
    x = Tensor(device.asarray(np.ones((4, 50))))
    layers = build([("dropout", {"rate": 0.5})] * 2, (50,)).layers
    masks = [to_host(layer(x, Context(True, words_of(0, 4, device))).data) for layer in layers]
    assert not np.array_equal(*masks)


def test_dropout_without_words_says_so():
    with pytest.raises(ValueError, match="dropout1: dropout in training needs random words"):
        make("dropout", (3,))(Tensor([[1.0, 2.0, 3.0]]), Context(training=True))
