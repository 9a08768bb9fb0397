"""What is updated in one go: parameters side by side and in pieces, with the bits of one after the other."""

from typing import Any

import numpy as np
import pytest
from conftest import device_of

from dltrain.backend import Device, to_host
from dltrain.engine import Tensor, distinct
from dltrain.optim import OPTIMIZERS
from dltrain.train.updater import Updater

SHAPES = {"a": (3, 3, 2), "few": (5,), "b": (40, 3), "one": (1, 1), "c": (7, 2)}
SIZES = {  # few_to_update, piece_of_update -> how many pieces
    "one by one": (0, 1000, 5),
    "all together": (1000, 1000, 1),
    "few together": (10, 1000, 4),
    "some together, in pieces": (20, 7, 6 + 18),
    "only one is small enough": (1, 7, 3 + 1 + 18 + 1 + 2),
}


def parameters_on(device: Device) -> dict[str, Tensor]:
    return {name: Tensor(device.asarray(distinct(*shape, seed=i))) for i, (name, shape) in enumerate(SHAPES.items())}


def gradients_of(step: int, device: Device) -> dict[str, Any]:
    return {
        name: device.asarray(distinct(*shape, seed=10 * step + i)) for i, (name, shape) in enumerate(SHAPES.items())
    }


def update(updater: Updater, steps: range, device: Device) -> list[int]:
    """How many pieces there were in each step."""
    counts = []
    for step in steps:
        pieces = updater.pieces(gradients_of(step, device))
        for w, g, slots in reversed(pieces):
            updater.optimizer.update_one(w, g, slots, 0.1 / step, step)
        counts.append(len(pieces))
    return counts


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_bits_are_those_of_one_parameter_after_the_other(
    name: str, sizes: str, device: Device, monkeypatch: pytest.MonkeyPatch
):
    few, piece, count = SIZES[sizes]
    monkeypatch.setattr(type(device.kernels), "few_to_update", few)
    monkeypatch.setattr(type(device.kernels), "piece_of_update", piece)
    optimizer, parameters = OPTIMIZERS[name](), parameters_on(device)
    updater = Updater(optimizer, parameters)
    held = {name: p.data for name, p in parameters.items()}, dict(updater.state)

    alone = {name: p.data for name, p in parameters_on(device).items()}
    state = optimizer.new_state(alone)
    for step in range(1, 5):
        optimizer.update(alone, gradients_of(step, device), state, 0.1 / step, step)
    assert update(updater, range(1, 5), device) == [count] * 4

    assert updater.state.keys() == state.keys()
    assert all(p.data is held[0][name] for name, p in parameters.items()), "updates are in place"
    assert all(array is held[1][name] for name, array in updater.state.items())
    for name, p in parameters.items():
        assert p.shape == SHAPES[name]
        np.testing.assert_array_equal(to_host(p.data), to_host(alone[name]))
    for name, array in updater.state.items():
        np.testing.assert_array_equal(to_host(array), to_host(state[name]))


@pytest.mark.parametrize("few", [0, 20])
def test_goes_on_from_a_state_that_was_kept(few: int, device: Device, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(device.kernels), "few_to_update", few)
    unbroken = Updater(OPTIMIZERS["adam"](), parameters_on(device))
    update(unbroken, range(1, 3), device)
    kept = {name: to_host(array).copy() for name, array in unbroken.state.items()}
    weights = {name: Tensor(device.asarray(to_host(p.data).copy())) for name, p in unbroken.parameters.items()}
    update(unbroken, range(3, 6), device)

    resumed = Updater(OPTIMIZERS["adam"](), weights)
    resumed.load(kept, device)
    update(resumed, range(3, 6), device)
    for name, p in unbroken.parameters.items():
        np.testing.assert_array_equal(to_host(resumed.parameters[name].data), to_host(p.data))


def test_a_state_of_other_parameters_is_refused():
    device = device_of(np.float32)
    updater = Updater(OPTIMIZERS["momentum"](), parameters_on(device))
    with pytest.raises(KeyError):
        updater.load({}, device)
    for wrong in (np.zeros((3, 40), np.float32), np.zeros((40, 3), np.int64)):
        with pytest.raises(ValueError, match="b/velocity of the optimizer does not fit"):
            updater.load({**updater.state, "b/velocity": wrong}, device)
