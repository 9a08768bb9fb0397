"""Layers of sequences: where they begin, what padding may not change, what they carry from call to call."""

from typing import Any

import numpy as np
import pytest
from builders import build
from conftest import device_of

from dltrain.backend import Device, to_host
from dltrain.engine import Tensor, distinct, gradients
from dltrain.nn import Context
from dltrain.spec import loads
from dltrain.spec.build import build_model

Array = Any
NETS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "rnn": [("rnn", {"units": 5, "return": "last"})],
    "lstm": [("lstm", {"units": 5}), ("lstm", {"units": 4, "return": "last"})],
    "gru": [("gru", {"units": 5}), ("gru", {"units": 4, "return": "last"})],
}


def ready(layers: Any, in_shape: tuple[int, ...], device: Device, dtype: Any = np.float32) -> Any:
    model = build(layers, in_shape)
    model.initialise(0, device)
    return model


@pytest.mark.parametrize("net", NETS)
def test_padding_changes_no_bit(net: str, device_name: str) -> None:
    """Of the outputs and of every gradient, however long it is and whatever stands in it."""
    device = device_of(np.float32, device_name)
    lengths, found = np.array([3, 6, 1, 5]), []
    x = distinct(4, 6, 3)
    for positions, filling in ((6, 0.0), (9, 0.0), (17, 100.0)):
        model = ready(NETS[net], (positions, 3), device)
        padded = np.full((4, positions, 3), filling)
        for i, length in enumerate(lengths):
            padded[i, :length] = x[i, :length]
        given = Tensor(device.asarray(padded))
        y = model(given, Context(lengths=device.asarray(lengths)))
        dx, *grads = gradients((y * y).sum(), [given, *model.parameters.values()])
        real = [to_host(dx)[i, :length] for i, length in enumerate(lengths)]
        assert not any(to_host(dx)[i, length:].any() for i, length in enumerate(lengths))
        found.append([to_host(y.data), *real, *map(to_host, grads)])
    for others in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], others, strict=True))


def test_attention_sees_no_padding(device: Device) -> None:
    lengths, x = np.array([3, 6, 1, 5]), distinct(4, 6, 4)
    model, outputs = ready([("attention", {"heads": 2})], (6, 4), device), []
    for filling in (0.0, 100.0):
        padded = np.where(np.arange(6)[:, None] < lengths[:, None, None], x, filling)
        y = model(Tensor(device.asarray(padded)), Context(lengths=device.asarray(lengths)))
        outputs.append([to_host(y.data)[i, :length] for i, length in enumerate(lengths)])
    assert all(np.array_equal(a, b) for a, b in zip(*outputs, strict=True))


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_a_sequence_in_pieces_is_the_sequence(kind: str, device: Device) -> None:
    """With a memory each call goes on where the one before ended; without one each begins anew."""
    x, layers = distinct(2, 7, 3), [(kind, {"units": 4}), (kind, {"units": 3})]
    model = ready(layers, (7, 3), device)
    whole = to_host(model(device.asarray(x), Context()).data)
    memory: dict[str, Any] = {}
    parts = [model(device.asarray(x[:, at]), Context(memory=memory)) for at in (slice(4), slice(4, 5), slice(5, 7))]
    assert np.array_equal(np.concatenate([to_host(part.data) for part in parts], axis=1), whole)
    anew = to_host(model(device.asarray(x[:, 4:]), Context()).data)
    assert not np.allclose(anew, whole[:, 4:])


def test_a_causal_position_does_not_depend_on_those_after_it(device: Device) -> None:
    model = ready([("positional", {"encoding": "learned"}), ("attention", {"causal": True})], (6, 4), device)
    x = distinct(1, 6, 4)
    whole = to_host(model(device.asarray(x), Context()).data)
    shorter = to_host(model(device.asarray(x[:, :4]), Context()).data)
    np.testing.assert_allclose(shorter, whole[:, :4], rtol=1e-12)
    free = ready([("attention", {})], (6, 4), device)
    assert not np.allclose(to_host(free(device.asarray(x[:, :4]), Context()).data),
                           to_host(free(device.asarray(x), Context()).data)[:, :4])  # fmt: skip


TEXT = """
model:
  input: [6]
  layers:
    - embedding: {units: 4, tokens: 9}
    - attention: 2
    - gru: 16
    - gru: {units: 16, return: last, init: zeros}
    - dense: 3
"""


def test_they_start_in_a_way_of_their_own_unless_told() -> None:
    """Whatever init the model has; with init for a layer, its biases start at 0."""
    model = build_model(loads(TEXT))
    model.initialise(0, device_of(np.float64))
    data = {name: p.data for name, p in model.parameters.items()}
    for name in ("weight", "recurrent_weight", "bias", "recurrent_bias"):
        w = data[f"gru1.{name}"]
        assert np.abs(w).max() <= 1 / 4 and np.abs(w).max() > 0.2 and abs(w.std() - 1 / np.sqrt(48)) < 0.02, name
        assert not data[f"gru2.{name}"].any()
    assert np.abs(data["attention1.weight"]).max() <= np.sqrt(6 / 8) < 1.2 * np.abs(data["attention1.weight"]).max()
    assert 0.7 < data["embedding1.weight"].std() < 1.3
    spec = loads(TEXT)
    assert spec.model.layers[2].settings["init"] is None and spec.model.layers[4].settings["init"] is not None
    assert loads(spec.to_yaml()) == spec
