"""Normalisation against PyTorch 2.13 in float64, whose answers stand here as numbers. Channels go second and back:

x = torch.sin(torch.arange(1.0, 25.0)).reshape(2, 3, 4); w = torch.cos(torch.arange(1.0, 25.0)).reshape(2, 3, 4)
scale = torch.tensor([1.5, -0.5, 2.0, 0.25]); shift = torch.tensor([0.1, 0.2, -0.3, 0.4])
y = F.layer_norm(x, (4,), scale, shift)   # F.group_norm(x, 2, …), F.instance_norm(x, weight=scale, bias=shift),
    # F.batch_norm(x, None, None, scale, shift, training=True)
(y * w).sum().backward(); y.flatten()[:4], x.grad.flatten()[:4], scale.grad, shift.grad
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import AFFINE, BATCH_NORM, EVERY_LAYER, build, images, make_job, train
from cases import outputs_of
from conftest import device_of

from dltrain.backend import Device, open_device, to_host
from dltrain.check.numeric import gradient_check
from dltrain.check.subject import Subject
from dltrain.engine import OPS, Tensor, gradients
from dltrain.job.parallel import auto_shard_size
from dltrain.nn import NORMS, Context, Penalty
from dltrain.nn import norm as norm_layers

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
    "batch": (
        "batch_norm", {},
        [1.551134443227, -0.434949436396, 0.254007365665, 0.184752597659],
        [1.05799197558, 0.12704956644, -2.827607217257, -0.199552733952],
        [-0.006559719362, -0.76432229459, 0.659102400143, 0.201374411097],
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
    y = outputs_of(OPS[op](x, scale, shift, **settings))[0]
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


# --- running statistics -----------------------------------------------------------------------------------------------

# bn = torch.nn.BatchNorm1d(4); for k in range(3): bn(torch.sin(torch.arange(1.0 + 24 * k, 25.0 + 24 * k)).reshape(
# 2, 3, 4) with its channels second); bn.running_mean, bn.running_var
RUNNING = (
    [0.005493976810086234, 0.01605096613896546, 0.011850771222502698, -0.0032449681032974487],
    [0.8906062059106987, 0.8867568620462484, 0.8921701770782119, 0.8915140530910928],
)
NORMED = [
    ("conv", {"channels": 4, "activation": "none"}),
    ("batch_norm", {}),
    ("flatten", {}),
    ("dense", {"units": 10}),
]


def state_after(layers: Any, folder: Path, **settings: Any) -> tuple[Any, Any]:
    """(the job, its weights and buffers as they were at first)"""
    job = make_job(layers, {"train": images(70)}, **settings)
    job.model.initialise(job.seed, job.device)
    before = {name: np.array(array) for name, array in job.model.weights().items()}
    train(job, folder)
    return job, before


def test_pytorch_keeps_the_same_running_statistics(device: Device):
    model = build([("batch_norm", {})], SHAPE[1:])
    model.initialise(0, device)
    layer, seen = model.layers[0], []
    for k in range(3):
        x = Tensor(device.asarray(wave(np.sin, 1 + 24 * k)))
        layer(x, Context(training=True, record=lambda layer, values: seen.append(values)))
    for name, theirs in zip(("running_mean", "running_variance"), RUNNING, strict=True):
        running = to_host(layer.buffers[name].data)
        for values in seen:
            running = 0.9 * running + 0.1 * to_host(values[name])
        np.testing.assert_allclose(running, theirs, rtol=1e-12)


@pytest.mark.parametrize("shard_size", [22, 6])
def test_a_step_moves_them_towards_the_mean_over_the_shards(shard_size: int, tmp_path: Path):
    job, before = state_after(NORMED, tmp_path, batch_size=22, shard_size=shard_size, max_steps=1, epochs=1)
    model = build(NORMED, (8, 8, 1))
    model.load(before, job.device)
    loader = job.loaders["train"]
    x, _ = loader.examples(loader.order(job.seed, 1)[:22])
    y = np.asarray(model.layers[0](Tensor(x), Context()).data, np.float64)
    parts = [y[i : i + shard_size].reshape(-1, 4) for i in range(0, 22, shard_size)]
    share = [len(part) / y[..., 0].size for part in parts]
    mean = sum(s * part.mean(0) for s, part in zip(share, parts, strict=True))
    variance = sum(s * part.var(0, ddof=1) for s, part in zip(share, parts, strict=True))
    after = job.model.weights()
    np.testing.assert_allclose(after["batch_norm1.running_mean"], 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after["batch_norm1.running_variance"], 0.9 + 0.1 * variance, rtol=1e-4)


def test_a_last_batch_of_one_row_says_nothing_of_the_variance(tmp_path: Path):
    """23 examples in batches of 22 or shards of 22: PyTorch refuses the one that is left over."""
    rows = [("flatten", {}), ("batch_norm", {}), ("dense", {"units": 10})]
    for number, settings in ((22, {"batch_size": 22}), (23, {"batch_size": 22}), (23, {"batch_size": 23})):
        job = make_job(rows, {"train": images(number)}, shard_size=22, epochs=1, **settings)
        train(job, tmp_path / f"{number}{settings}")
        x, _ = job.loaders["train"].examples(job.loaders["train"].order(job.seed, 1)[:22])
        share = 22 / settings["batch_size"] * 0.1
        wanted = (1 - share) + share * x.reshape(22, -1).var(0, ddof=1)
        np.testing.assert_allclose(job.model.weights()["batch_norm1.running_variance"], wanted, rtol=1e-4)


def test_what_is_frozen_keeps_its_statistics_and_uses_them(tmp_path: Path):
    layers = [NORMED[0], ("batch_norm", {"trainable": False}), *NORMED[2:]]
    job, before = state_after(layers, tmp_path)
    after = job.model.weights()
    for name in ("running_mean", "running_variance", "scale", "shift"):
        assert np.array_equal(after[f"batch_norm1.{name}"], before[f"batch_norm1.{name}"])
    x = Tensor(np.random.default_rng(0).normal(7, 3, (5, 6, 6, 4)).astype(np.float32))
    layer = job.model.layers[1]
    assert np.array_equal(layer(x, Context(training=True)).data, layer(x, Context()).data)
    np.testing.assert_allclose(layer(x, Context()).data, x.data / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_an_evaluation_uses_them_whatever_the_batch():
    model = build([("batch_norm", {"epsilon": 0.5})], (3,))
    weights = {"scale": [1.0, 2.0, 3.0], "shift": [0.0, 1.0, 2.0], "running_mean": [1.0, 0.0, 2.0],
               "running_variance": [3.5, 0.5, 8.5]}  # fmt: skip
    for name, part in model.state.items():
        part.data = np.array(weights[name.rpartition(".")[2]])
    x = np.array([[1.0, 1.0, 1.0], [5.0, -1.0, 2.0]])
    wanted = [[0, 3, 1], [2, -1, 2]]
    for rows in ([0, 1], [1]):
        np.testing.assert_allclose(model(x[rows], Context()).data, np.array(wanted)[rows], rtol=1e-12)


def test_they_are_no_parameters_but_part_of_a_checkpoint():
    model = build(NORMED, (8, 8, 1))
    assert not [name for name in model.parameters if "running" in name]
    assert [name for name in model.state if "running" in name] == [
        "batch_norm1.running_mean", "batch_norm1.running_variance",
    ]  # fmt: skip


def test_a_shard_is_the_whole_batch_by_default():
    assert [auto_shard_size(build(NORMED, (8, 8, 1)), n) for n in (1, 100, 1 << 20)] == [1, 100, 1 << 20]


@pytest.mark.parametrize("op", ["batch_norm", "group_norm"])
def test_float32_numbers_far_from_0_are_normalised_as_well(op: str, device_name: str):
    """A mean of 65,536 of them, summed one after the other, would be off by a thousandth of how far they spread."""
    rng = np.random.default_rng(0)
    x = rng.normal([1000, -3000, 0, 10], 1, (2, 2**15, 4)).astype(np.float32)
    found, wanted = (
        outputs_of(OPS[op](Tensor(device.asarray(x)), None, None, **({"groups": 4} if op == "group_norm" else {})))
        for device in (device_of(np.float32, device_name), device_of(np.float64))
    )
    for ours, exact in zip(found, wanted, strict=True):
        np.testing.assert_allclose(to_host(ours.data), exact.data, rtol=2e-7, atol=2e-5)


# --- as a setting of layers with weights ------------------------------------------------------------------------------

WITHIN: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("conv", {"channels": 4, "padding": "same"}, (6, 5, 2)),
    ("depthwise_conv", {"multiplier": 2}, (6, 2)),
    ("conv_transpose", {"channels": 4, "stride": 2}, (3, 4, 2)),
    ("dense", {"units": 4}, (5,)),
]


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize("kind", list(NORMS))
@pytest.mark.parametrize(("layer", "settings", "in_shape"), WITHIN, ids=[layer for layer, *_ in WITHIN])
def test_a_norm_within_a_layer_is_the_layer_between_product_and_activation(
    layer: str, settings: dict[str, Any], in_shape: tuple[int, ...], kind: str, activation: str, device: Device
):
    """Values, gradients and, in evaluation, those by running statistics; what is recorded of these, too."""
    if kind == "instance_norm" and len(in_shape) == 1:
        return
    own = AFFINE | {"batch_norm": {"momentum": 0.3}, "group_norm": {"groups": 2}}.get(kind, {})
    within = build([(layer, settings | {"norm": NORMS[kind](**own), "activation": activation})], in_shape)
    after = [] if activation == "none" else [(activation, {})]
    apart = build([(layer, settings | {"bias": False, "activation": "none"}), (kind, own), *after], in_shape)
    for model in (within, apart):
        model.initialise(3, device)
        for i, part in enumerate(model.state.values()):
            if part is not model.layers[0].weight:
                part.data = device.asarray(np.random.default_rng(i).uniform(0.5, 1.5, part.shape))
    x, answers = Tensor(device.asarray(np.random.default_rng(9).normal(size=(5, *in_shape)))), []
    for model in (within, apart):
        found: list[Any] = []
        for training in (True, False):
            seen: dict[str, Any] = {}
            context = Context(training, record=lambda _, values, seen=seen: seen.update(values))
            y = model(x, context)
            grads = gradients((y * y * y).sum(), [x, *model.parameters.values()])
            found += [y.data, *grads, *seen.values()]
        answers.append(found)
    assert len(answers[0]) == len(answers[1]) == 2 * (1 + 4) + 2 * (kind == "batch_norm")
    for a, b in zip(*answers, strict=True):
        np.testing.assert_allclose(to_host(a), to_host(b), rtol=1e-12, atol=1e-12)


def test_what_a_norm_within_a_layer_holds_is_the_layer_s(tmp_path: Path):
    """Its running statistics move as those of the layer do, and a checkpoint has them by clear names."""
    first = ("conv", {"channels": 4, "activation": "relu", "norm": BATCH_NORM})
    layers = [first, ("flatten", {}), ("dense", {"units": 10})]
    settings = {"shard_size": 22, "max_steps": 3, "epochs": 1}
    job, before = state_after(layers, tmp_path / "within", **settings)
    names = ["conv1.norm.running_mean", "conv1.norm.running_variance"]
    assert list(job.model.buffers) == names
    assert list(job.model.parameters)[:3] == ["conv1.weight", "conv1.norm.scale", "conv1.norm.shift"]
    apart = [("conv", {"channels": 4, "bias": False, "activation": "none"}), ("batch_norm", {"momentum": 0.3}),
             ("relu", {}), *layers[1:]]  # fmt: skip
    other, _ = state_after(apart, tmp_path / "apart", **settings)
    after, theirs = job.model.weights(), other.model.weights()
    for name in [*names, "conv1.norm.scale", "conv1.weight"]:
        assert not np.array_equal(after[name], before[name])
        np.testing.assert_allclose(after[name], theirs[name.replace("conv1.norm", "batch_norm1")], rtol=1e-3, atol=1e-5)


def test_a_norm_within_a_layer_counts_as_one():
    """The shard is the whole batch; penalties leave it out; a frozen layer's is frozen."""
    settings = {"channels": 4, "norm": BATCH_NORM}
    model = build([("conv", settings)], (8, 8, 1))
    assert auto_shard_size(model, 1 << 20) == 1 << 20
    assert auto_shard_size(build([("conv", {"channels": 4})], (8, 8, 1)), 1 << 20) < 1 << 20
    covered = {biases: [name for name, p in model.parameters.items() if Penalty(l2=1.0, biases=biases).covers(p)]
               for biases in (False, True)}  # fmt: skip
    assert covered == {False: ["conv1.weight"], True: ["conv1.weight", "conv1.norm.scale", "conv1.norm.shift"]}
    frozen = build([("conv", settings | {"trainable": False})], (8, 8, 1))
    assert not frozen.trainable_parameters
    frozen.initialise(0, open_device("cpu"))
    x = np.random.default_rng(0).normal(7, 3, (5, 8, 8, 1)).astype(np.float32)
    training = Context(training=True, record=lambda *_: pytest.fail("statistics of a frozen norm"))
    assert np.array_equal(frozen(x, training).data, frozen(x, Context()).data)


@pytest.mark.parametrize("net", ["normalised within", "normalised within by batches"])
def test_the_gradient_check_goes_through_norms_within_layers(net: str, monkeypatch: pytest.MonkeyPatch):
    job = make_job(EVERY_LAYER[net], {"train": images(30)})
    found = gradient_check(Subject(job).initialised())
    assert found.status == "passed", found
    plain = norm_layers.ops.layer_norm, norm_layers.ops.batch_norm
    for op, right in zip(("layer_norm", "batch_norm"), plain, strict=True):
        monkeypatch.setattr(norm_layers.ops, op, lambda x, s, b, right=right, **more: right(x, to_data(s), b, **more))
    found = gradient_check(Subject(job).initialised())
    assert found.status == "failed" and "dense1: input 2 of shape" in found.advice


def to_data(x: Tensor) -> Array:
    """Its values alone: what is computed from them has no gradient by it."""
    return x.data
