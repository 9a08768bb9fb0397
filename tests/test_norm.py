"""Normalisation against PyTorch 2.13 in float64, whose answers stand here as numbers. Channels go second and back:

x = torch.sin(torch.arange(1.0, 25.0)).reshape(2, 3, 4); w = torch.cos(torch.arange(1.0, 25.0)).reshape(2, 3, 4)
scale = torch.tensor([1.5, -0.5, 2.0, 0.25]); shift = torch.tensor([0.1, 0.2, -0.3, 0.4])
y = F.layer_norm(x, (4,), scale, shift)   # F.group_norm(x, 2, …), F.instance_norm(x, weight=scale, bias=shift)
(y * w).sum().backward(); y.flatten()[:4], x.grad.flatten()[:4], scale.grad, shift.grad
"""

from typing import Any

import numpy as np
import pytest
from builders import build

from dltrain.backend import Device, to_host
from dltrain.engine import OPS, Tensor, gradients
from dltrain.nn import Penalty

Array = Any
SHAPE = (2, 3, 4)
SCALE, SHIFT = np.array([1.5, -0.5, 2.0, 0.25]), np.array([0.1, 0.2, -0.3, 0.4])

# name -> (op, settings, first outputs, first gradients by x, gradients by scale)
PYTORCH: dict[str, tuple[str, dict[str, Any], list[float], list[float], list[float]]] = {
    "layer": (
        "layer_norm", {},
        [1.34515482862, -0.26552946319, -0.724656813162, 0.01279156528],
        [1.149200013483, 0.194740043172, -2.406842628031, 1.062902571377],
        [-1.985227357421, -1.32863600374, 1.287092556585, 2.327620714938],
    ),
    "two groups": (
        "group_norm", {"groups": 2},
        [1.757627765561, -0.40071044236, 0.312765468346, 0.171512453294],
        [1.219679500656, 0.370426868674, -2.648747233575, 0.060031317062],
        [-0.023162721252, -0.693667085965, 0.578487768843, 0.237811179029],
    ),
    "instance": (
        "group_norm", {"groups": 4},
        [1.552041847224, -0.496693359475, 0.302065270915, 0.188960151742],
        [1.263632775556, 0.145735240393, -2.777305665088, -0.226632248837],
        [-0.006803110148, -0.758418799081, 0.646116013333, 0.208703334302],
    ),
}  # fmt: skip
BY_SHIFT = [-0.002611587379, -0.497954978916, -0.535480859275, -0.080688107113]


def wave(function: Any, first: int = 1) -> Array:
    return function(np.arange(first, first + np.prod(SHAPE), dtype=float)).reshape(SHAPE)


@pytest.mark.parametrize("name", PYTORCH)
def test_pytorch_says_the_same(name: str, device: Device):
    op, settings, *wanted = PYTORCH[name]
    x, scale, shift = (Tensor(device.asarray(a)) for a in (wave(np.sin), SCALE, SHIFT))
    y = OPS[op](x, scale, shift, **settings)
    grads = gradients((y * device.asarray(wave(np.cos))).sum(), [x, scale, shift])
    found = [to_host(a).ravel()[:4] for a in (y.data, *grads)]
    for ours, theirs in zip(found, [*wanted, BY_SHIFT], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-12)


@pytest.mark.parametrize("kind", ["layer_norm", "group_norm", "instance_norm"])
def test_what_comes_out_has_mean_0_and_variance_1_until_scale_and_shift_are_learned(kind: str, device: Device):
    settings = {"groups": 2} if kind == "group_norm" else {}
    model = build([(kind, settings)], (40, 6))
    model.initialise(0, device)
    layer = model.layers[0]
    over = {"layer_norm": (2,), "group_norm": (1, 3), "instance_norm": (1,)}[kind]
    cut = (3, 40, 2, 3) if kind == "group_norm" else (3, 40, 6)
    x = np.random.default_rng(0).normal(7, 3, (3, 40, 6))
    y = to_host(layer(Tensor(device.asarray(x)), context=None).data).reshape(cut)
    np.testing.assert_allclose(y.mean(over), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(over), 1, rtol=1e-3)
    layer.parameters["scale"].data = device.asarray(np.full(6, 3.0))
    layer.parameters["shift"].data = device.asarray(np.full(6, -1.0))
    z = to_host(layer(Tensor(device.asarray(x)), context=None).data).reshape(cut)
    np.testing.assert_allclose(z, 3 * y - 1, rtol=1e-12)


def test_penalties_leave_norms_out_unless_they_cover_biases():
    parameters = build([("dense", {"units": 4}), ("layer_norm", {})], (3,)).parameters
    assert [p for p in parameters if Penalty(l2=1.0).covers(parameters[p])] == ["dense1.weight"]
    assert all(Penalty(l2=1.0, biases=True).covers(p) for p in parameters.values())
    frozen = build([("layer_norm", {"trainable": False})], (3,)).parameters
    assert not any(Penalty(l2=1.0, biases=True).covers(p) for p in frozen.values())


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="group_norm of 4 channels in 3 groups"):
        OPS["group_norm"](Tensor(wave(np.sin)), None, None, groups=3)
