"""What PyTorch 2.13 gives for the layers of sequences, weights transposed: their gates, biases and gradients."""

from typing import Any

import numpy as np
import pytest
from builders import build

from dltrain.backend import Device, to_host
from dltrain.engine import Tensor, gradients
from dltrain.nn import Context

Array = Any

# m = torch.nn.GRU(2, 2, batch_first=True), in float64; or RNN, LSTM, MultiheadAttention(4, 2, batch_first=True)
# for i, p in enumerate(m.parameters()):
#     p.data = ((torch.arange(p.numel()) * (3 + i)) % 7 - 3).reshape(p.shape) / 4
# x = ((torch.arange(12) * 5) % 7 - 3.0).reshape(2, 3, 2) / 2
# y, _ = m(x); (y * (torch.arange(12) % 3).reshape(2, 3, 2)).sum().backward()
# for attention 24 and (2, 3, 4), and m(x, x, x, attn_mask=torch.triu(torch.ones(3, 3, dtype=torch.bool), 1))
WANTED: dict[str, tuple[dict[str, Any], list[float], list[float]]] = {  # layer: settings, y, x.grad
    "rnn": (
        {"units": 2},
        [-0.358357398351, -0.124353001772, -0.851702504049, 0.924188120238, -0.941961778587, 0.996244834017,
         -0.809301070202, 0.848283639958, -0.891861790886, 0.993042411808, 0.165617283141, 0.788499364978],
        [1.095609231654, -0.279014058504, -0.389048151333, -0.00130096996, -0.073286659719, -0.003748115347,
         0.257359551845, -0.07360510924, -0.130449497345, -0.002154242262, -0.162025059501, -0.189134375714],
    ),
    "lstm": (
        {"units": 2},
        [0.198364859596, 0.129738422691, 0.078989271845, -0.022027207125, 0.051382391884, -0.008278699935,
         -0.025774083057, -0.099561393389, -8.0732533e-05, -0.038328489908, 0.156940048719, 0.101768683771],
        [-0.13126535872, 0.064312446357, -0.041425219189, 0.108643998534, -0.040190378598, 0.067086566844,
         0.023463510728, 0.140585895675, -0.052879162449, 0.080202569338, -0.174092475179, 0.089279040312],
    ),
    "gru": (
        {"units": 2},
        [0.614757413471, 0.610494368528, 0.478974687195, 0.156720888209, 0.568148164232, 0.111747985803,
         -0.096377148071, -0.165179131882, 0.116024633398, -0.191641302422, 0.717975471504, 0.638421921895],
        [-0.428332501423, 0.846201958921, 0.157338234605, 0.371832741706, -0.321315401802, 0.662905725593,
         0.034859581765, 0.303292761797, -0.233804735099, 0.587300899915, -0.306207611967, 0.623156931694],
    ),
    "attention": (
        {"heads": 2, "causal": True},
        [-0.125, 0.96875, -1.21875, -1.4375, -0.896638143262, 0.360876678357, 0.095569145132, -0.302072708254,
         -0.262451535558, 0.748913699084, -0.803939548029, -1.063193717593, 0.03125, 0.90625, -1.0625, -1.28125,
         -1.185256436946, 0.884152612064, 0.340374813572, 0.23409701508, -1.834803164432, 0.775080559386,
         1.169280740992, 1.129732786875],
        [3.643527194123, -1.23624449721, 3.179814511259, -1.564450127454, -0.889251265997, 0.485154672295,
         -0.351973019604, 0.62048338192, 0.669888346521, -0.531296875983, 1.156268880181, -0.195680429186,
         1.928034743691, -0.858242128672, 1.759487372379, -0.989799450392, 0.826759840649, -0.37584871531,
         1.009857579869, 0.0066479749, 0.333847572848, -0.137935712927, 0.038345570699, -0.238503714357],
    ),
}  # fmt: skip
# in the order of m.parameters()
NAMES = ("weight", "recurrent_weight", "bias", "recurrent_bias")
OF_ATTENTION = ("weight", "bias", "output_weight", "output_bias")


@pytest.mark.parametrize("kind", WANTED)
def test_values_and_gradients(kind: str, device: Device) -> None:
    settings, wanted, slopes = WANTED[kind]
    channels = len(wanted) // 6
    model = build([(kind, settings)], (3, channels))
    for i, name in enumerate(OF_ATTENTION if kind == "attention" else NAMES):
        parameter = model.layers[0].parameters[name]
        theirs = (np.arange(parameter.size) * (3 + i) % 7 - 3).reshape(parameter.shape[::-1]) / 4
        parameter.data = device.asarray(np.ascontiguousarray(theirs.T))
    number = np.arange(6 * channels)
    x = Tensor(device.asarray((number * 5 % 7 - 3).reshape(2, 3, channels) / 2))
    y = model(x, Context())
    np.testing.assert_allclose(to_host(y.data).ravel(), wanted, rtol=0, atol=1e-11)
    (found,) = gradients((y * device.asarray((number % 3.0).reshape(y.shape))).sum(), [x])
    np.testing.assert_allclose(to_host(found).ravel(), slopes, rtol=0, atol=1e-11)
