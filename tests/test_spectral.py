"""Spectral normalisation of weights: by singular values that numpy finds, and against PyTorch 2.13 in float64:

layer.weight = torch.sin(torch.arange(1.0, …)).reshape(…); torch.nn.utils.parametrizations.spectral_norm(layer)
all entries of _u alike, and of _v; x = torch.sin(torch.arange(1.0, …)).reshape(…); three times y = layer(x);
(y * torch.cos(torch.arange(1.0, …)).reshape(y.shape)).sum().backward(); SGD with lr 0.1; then layer.eval()
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build, images, make_job, train

from dltrain.backend import Device, open_device, to_host
from dltrain.check.numeric import gradient_check
from dltrain.check.subject import Subject
from dltrain.engine import Tensor, distinct, gradients
from dltrain.job.parallel import auto_shard_size
from dltrain.nn import Context
from dltrain.nn.spectral import SpectralNorm
from dltrain.ops.spectral import as_matrix

Array = Any

# torch.nn.Linear(3, 2, bias=False) of x (4, 3), Conv1d(4, 2, 3, bias=False) of (2, 4, 4),
# ConvTranspose1d(4, 4, 3, groups=2, bias=False) of (2, 4, 4):
# the last loss, then the first of layer.parametrizations.weight.original, _u, _v and layer(x)
PYTORCH: dict[str, tuple[dict[str, Any], tuple[int, ...], tuple[int, ...], list[float], list[list[float]]]] = {
    "dense": (
        {"units": 2}, (4, 3), (2, 3), [-0.5197522064598993],
        [
            [0.6499612035406076, 0.7148856747094428, 0.12254755341461786, -0.8714485472659256],
            [0.6016765693526759, -0.7987398236547334],
            [0.6209111868082887, 0.7583224476204803, 0.19853554727354555],
            [0.685398523564917, -1.0340128855868385, -0.6839275835822795],
        ],
    ),
    "conv": (
        {"channels": 2}, (2, 4, 4), (2, 4, 3), [1.4792156605576583],
        [
            [1.010926172604478, 0.7789393807360144, -0.16920068551813935, -0.7826470724038651],
            [0.5444590305767079, 0.8387874367344037],
            [0.31418453244613465, 0.4612236765812663, 0.18421589950954392],
            [0.18294595261883187, -0.3326652064564437, -0.012156955854367109],
        ],
    ),
    "conv_transpose": (
        {"channels": 4, "groups": 2}, (2, 4, 4), (4, 2, 3), [-1.3910769520551758],
        [
            [0.9915663838386204, 1.1302416997715, 0.2297780093111137, -0.6349797835107446],
            [0.7269743823820334, -0.6866645814080271],
            [0.32853219281642276, 0.3747289385609782, 0.07640162634361117],
            [0.06724180466173853, 0.2743572679747858, 0.3968608489516295],
        ],
    ),
}  # fmt: skip


def ours(x: Array) -> Array:
    """Channels last, of what PyTorch has with channels second; weights with their axes reversed."""
    return np.moveaxis(x, 1, -1)


@pytest.mark.parametrize("kind", PYTORCH)
def test_pytorch_says_the_same(kind: str, device: Device):
    settings, shape, weight_shape, (wanted_loss,), wanted = PYTORCH[kind]
    x = ours(np.sin(np.arange(1, 1 + np.prod(shape), dtype=float)).reshape(shape))
    model = build([(kind, settings | {"bias": False, "spectral_norm": True})], x.shape[1:])
    w = np.sin(np.arange(1, 1 + np.prod(weight_shape), dtype=float)).reshape(weight_shape).T
    weight, buffers = model.parameters[f"{kind}1.weight"], model.buffers
    weight.data = device.asarray(w)
    for buffer in buffers.values():
        buffer.data = device.asarray(np.full(buffer.shape, 1 / np.sqrt(buffer.shape[0])))
    seen: dict[str, Any] = {}
    training = Context(training=True, record=lambda layer, values: seen.update(values))
    for _ in range(3):
        y = model(Tensor(device.asarray(x)), training)
        n, *size, channels = y.shape
        slopes = ours(np.cos(np.arange(1, 1 + y.data.size, dtype=float)).reshape(n, channels, *size))
        loss = (y * device.asarray(slopes)).sum()
        weight.data = weight.data - 0.1 * gradients(loss, [weight])[0]
        for name, buffer in buffers.items():
            buffer.data = seen[name.removeprefix(f"{kind}1.")]
    u, v = (to_host(buffer.data) for buffer in buffers.values())
    kernel, inputs = (weight_shape[2], weight_shape[1 if kind == "conv" else 0]) if kind != "dense" else (1, 3)
    y = to_host(model(x if device.is_cpu else device.asarray(x), Context()).data)
    assert to_host(loss.data) == pytest.approx(wanted_loss, rel=1e-12)
    found = [to_host(weight.data).T, u, v.reshape(kernel, inputs).T, np.moveaxis(y, -1, 1)]
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine.ravel()[: len(theirs)], theirs, rtol=1e-11)


@pytest.mark.parametrize(("shape", "axis"), [((7, 5), -1), ((3, 3, 4, 6), -1), ((3, 2, 4, 6), -2), ((5, 1), -1)])
def test_by_and_by_the_largest_singular_value_is_1(shape: tuple[int, ...], axis: int, device: Device):
    part, w = SpectralNorm(shape, axis, trainable=True), device.asarray(distinct(*shape))
    for i, buffer in enumerate(part.buffers.values()):
        buffer.data = device.asarray(np.random.default_rng(i).normal(size=buffer.shape))
    for _ in range(20):
        part.begin_with(w)
    y = to_host(part(Tensor(w), Context()).data)
    assert np.linalg.svd(as_matrix(y, axis), compute_uv=False)[0] == pytest.approx(1, rel=1e-9)
    np.testing.assert_allclose(y * to_host(w).ravel()[0], to_host(w) * y.ravel()[0], rtol=1e-12)


SPECTRAL = {"spectral_norm": True, "activation": "relu"}
LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("conv", {"channels": 6, "kernel": 3} | SPECTRAL),
    ("conv_transpose", {"channels": 4} | SPECTRAL),
    ("flatten", {}),
    ("dense", {"units": 10, "spectral_norm": True}),
]


def test_a_trained_network_s_layers_stretch_nothing(tmp_path: Path):
    """At the start, after 15 iterations, and after a training whose every step took one more; in evaluation the vectors
    of the last step are used and stay. They are no parameters, but part of every checkpoint."""
    job = make_job(LAYERS, {"train": images(70)}, epochs=6, shard_size=22)
    job.model.initialise(job.seed, job.device)

    def stretches() -> list[float]:
        found = []
        for layer in job.model.layers:
            if layer.parameters:
                used = layer._weight(Context())  # type: ignore[attr-defined]
                matrix = as_matrix(used.data, layer.outputs_axis)  # type: ignore[attr-defined]
                found.append(float(np.linalg.svd(matrix, compute_uv=False)[0]))
        return found

    assert stretches() == pytest.approx([1, 1, 1], abs=0.15)
    first = {name: np.array(buffer.data) for name, buffer in job.model.buffers.items()}
    _, run = train(job, tmp_path)
    assert stretches() == pytest.approx([1, 1, 1], abs=0.15)
    kept = run.checkpoint("last").weights
    for name, before in first.items():
        assert name not in job.model.parameters and not np.array_equal(kept[name], before)
        assert np.linalg.norm(kept[name]) == pytest.approx(1, abs=1e-5)
    assert [name for name in first if name.startswith("conv1")] == ["conv1.spectral_norm.u", "conv1.spectral_norm.v"]
    assert auto_shard_size(job.model, 1 << 20) < 1 << 20, "what a shard holds does not matter to it"


def test_weights_that_are_all_0_stay_so():
    model = build([("dense", {"units": 3, "spectral_norm": True})], (4,), init="zeros")
    model.initialise(0, open_device("cpu"))
    seen: dict[str, Any] = {}
    x = np.ones((2, 4), np.float32)
    for context in (Context(), Context(training=True, record=lambda _, values: seen.update(values))):
        assert not model(x, context).data.any()
    assert all(np.isfinite(a).all() and a.any() for a in seen.values()), "other weights can still come"


def test_what_is_frozen_keeps_its_vectors():
    model = build([("dense", {"units": 3, "spectral_norm": True, "trainable": False})], (4,))
    model.initialise(0, open_device("cpu"))
    x = np.ones((2, 4), np.float32)
    training = Context(training=True, record=lambda *_: pytest.fail("vectors of frozen weights"))
    assert np.array_equal(model(x, training).data, model(x, Context()).data)


def test_the_gradient_check_goes_through_it():
    found = gradient_check(Subject(make_job(LAYERS, {"train": images(30)})).initialised())
    assert found.status == "passed", found
