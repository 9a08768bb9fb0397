"""300 random networks, with every op in at least 10 of them, against MyGrad: the loss and every gradient, in float64.

A network is a graph of layers, some of which join earlier outputs, with a block of ops after each of them, a loss,
and a penalty of its first weights.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mygrad as mg
import numpy as np
import plain
import pytest
from blocks_of_sequences import SEQUENCES
from builders import AFFINE, build
from conftest import device_of
from mygrad.nnet.losses import multiclass_hinge, softmax_crossentropy
from test_composed import ACTIVATIONS, TWINS, LayerList, dense, own, standardised

from dltrain import ops
from dltrain.backend import Device, to_host
from dltrain.engine import OPS, Tensor, distinct, gradients, tensor
from dltrain.engine.gradcheck import weigh
from dltrain.errors import ShapeError
from dltrain.nn import INPUT, NORMS, Context
from dltrain.window import Window

Array = Any
JOINS = {"add", "concat", "multiply"}
NETWORKS = 300
EXAMPLES = 3


def random_layers(seed: int) -> tuple[tuple[int, ...], LayerList]:
    """Some convolutions and poolings whose windows tile their input, then some dense layers."""
    rng = np.random.default_rng(seed)

    def pick(*choices: Any) -> Any:
        return choices[rng.integers(len(choices))]

    names = [name for name in ACTIVATIONS if name]
    dimensions = pick(1, 2, 2, 3)
    in_shape = (*(int(n) for n in rng.integers(4, (17, 9, 7)[dimensions - 1], dimensions)), pick(1, 2, 4))
    layers: LayerList = []
    shape = in_shape
    wanted = pick(2, 3, 4)
    for _ in range(100):
        if len(layers) >= wanted:
            break
        if rng.random() < 0.15 and max(shape[:-1]) <= 6:
            layers.append(resized(rng, shape))
            shape = build(layers, in_shape).out_shape
            continue
        kind = pick("conv", "conv", "conv", "max_pool", "average_pool")
        window: dict[str, Any] = {
            "kernel": tuple(pick(1, 2, 3) for _ in range(dimensions)),
            "stride": tuple(pick(1, 1, 2, 3) for _ in range(dimensions)),
        }
        if kind == "conv":
            groups = pick(1, shape[-1])
            window |= {"padding": tuple(pick(0, 1) for _ in range(dimensions)), "dilation": pick(1, 2)}
        try:
            w = Window.of(shape[:-1], **window)
        except ShapeError:
            continue
        tiles = all((i - e) % s == 0 for i, e, s in zip(w.padded_size, w.extent, w.stride, strict=True))
        if not tiles or any(k * d > i for k, d, i in zip(w.kernel, w.dilation, w.padded_size, strict=True)):
            continue  # MyGrad refuses these
        if kind == "conv":
            window |= {"channels": groups * pick(1, 2), "groups": groups, "bias": pick(True, False)}
            window |= {"activation": pick("none", *names), "norm": pick(None, NORMS["group_norm"](groups=1, **AFFINE))}
            window |= {"spectral_norm": not layers and seed % 3 == 0}
        layers.append((kind, window))
        shape = (*w.out_size, window.get("channels", shape[-1]))
        if rng.random() < 0.4:
            layers.extend(joined(rng, layers, in_shape))
            shape = build(layers, in_shape).out_shape
    if rng.integers(2):
        layers.append((pick(*names), {}))
    layers.append((pick("flatten", "flatten", "global_average_pool", "global_max_pool"), {}))
    for _ in range(pick(0, 1)):
        layers.append(dense(5, pick(*names)))
    if rng.random() < 0.3:
        layers.extend(joined(rng, layers, in_shape))
    layers.append(dense(3, bias=pick(True, False)))
    return in_shape, layers


def resized(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[str, dict[str, Any]]:
    """A layer after which there are more positions."""
    small = min(shape[:-1])
    choices: LayerList = [
        ("conv_transpose", {"channels": 2, "kernel": 2, "stride": int(rng.integers(1, 3)), "activation": "tanh"}),
        ("conv_transpose", {"channels": shape[-1], "groups": shape[-1], "stride": 2, "output_padding": 1}),
        ("pad", {"mode": "replicate" if small == 1 else str(rng.choice(["zero", "reflect", "replicate"]))}),
        ("upsample", {"mode": str(rng.choice(["nearest", "bilinear"]))}),
    ]
    return choices[rng.integers(len(choices))]


def joined(rng: np.random.Generator, layers: LayerList, in_shape: tuple[int, ...]) -> LayerList:
    """A layer that joins the last one with another, itself perhaps, whose output fits; values stay small."""
    net = build(layers, in_shape)
    shapes = {INPUT: in_shape} | {layer.name: layer.out_shape for layer in net.layers}
    choices = [("concat", name) for name, shape in shapes.items() if shape[:-1] == net.out_shape[:-1]]
    choices += [(kind, name) for name, shape in shapes.items() for kind in ("add", "multiply")
                if shape == net.out_shape]  # fmt: skip
    kind, name = choices[rng.integers(len(choices))]
    last = net.layers[-1].name
    of = ((last, name) if rng.integers(2) else (name, last, last)) if rng.integers(2) else name
    return [(kind, {"of": of}), ("tanh", {})]


# --- blocks: the same function written with our ops and with MyGrad's -------------------------------------------------
#
# x: (N, …, C), p: parameters (C,), w: random words; the shape stays.


def all_but_last(x: Any) -> tuple[int, ...]:
    return tuple(range(len(x.shape) - 1))


def outer(x: Any, p: Any, matmul: Callable[..., Any]) -> Any:
    """Times the matrix p pᵀ."""
    c = x.shape[-1]
    return matmul(matmul(x.reshape(-1, c), p.reshape(c, 1)), p.reshape(1, c)).reshape(*x.shape)


def turned(x: Any, transpose: Callable[[Any], Any]) -> Any:
    y = transpose(x)
    return x * transpose(y * y)


def fixed_words(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(0).integers(0, 2**64, (shape[0], ops.dropout_words(shape[1:])), np.uint64)


def our_dropout(x: Any, device: Device) -> Any:
    return ops.dropout(x, rate=0.25, words=device.asarray(fixed_words(x.shape)))


Block = tuple[Callable[[Any, Any, Device], Any], Callable[[Any, Any], Any]]
BLOCKS: dict[str, Block] = {
    "negative": (lambda x, p, d: -x, lambda x, p: -x),
    "add": (lambda x, p, d: x + p, lambda x, p: x + p),
    "subtract": (lambda x, p, d: p - x, lambda x, p: p - x),
    "multiply": (lambda x, p, d: x * p, lambda x, p: x * p),
    "divide": (lambda x, p, d: (x + p) / (1 + x * x), lambda x, p: (x + p) / (1 + x * x)),
    "exp": (lambda x, p, d: p * (-x * x).exp(), lambda x, p: p * mg.exp(-x * x)),
    "log": (lambda x, p, d: x * (1 + x * x).log(), lambda x, p: x * mg.log(1 + x * x)),
    "power": (lambda x, p, d: (1 + x * x) ** p, lambda x, p: (1 + x * x) ** p),
    "sqrt": (lambda x, p, d: p * ops.sqrt(1 + x * x), lambda x, p: p * mg.sqrt(1 + x * x)),
    "abs": (lambda x, p, d: ops.abs(x) * p, lambda x, p: mg.absolute(x) * p),
    "sin": (lambda x, p, d: ops.sin(x * p), lambda x, p: mg.sin(x * p)),
    "cos": (lambda x, p, d: ops.cos(x * p), lambda x, p: mg.cos(x * p)),
    "clip": (lambda x, p, d: ops.clip(x * p, min=-0.4, max=0.7), lambda x, p: mg.clip(x * p, -0.4, 0.7)),
    "maximum": (lambda x, p, d: ops.maximum(x, 0.1 * p), lambda x, p: mg.maximum(x, 0.1 * p)),
    "minimum": (lambda x, p, d: ops.minimum(p * x, 0.1 * x), lambda x, p: mg.minimum(p * x, 0.1 * x)),
    "where": (
        lambda x, p, d: ops.where(x > 0.1, x * p, -x),
        lambda x, p: mg.where(x.data > 0.1, x * p, -x),
    ),
    "stack": (
        lambda x, p, d: ops.stack(x * p, x * x, axis=1).sum(axis=1),
        lambda x, p: mg.sum(mg.stack((x * p, x * x), axis=1), axis=1),
    ),
    "log_sigmoid": (lambda x, p, d: ops.log_sigmoid(x) * p, lambda x, p: -mg.logaddexp(0, -x) * p),
    "index by places": (
        lambda x, p, d: x[[0, -1, 0]] * p,
        lambda x, p: mg.stack((x[0], x[-1], x[0])) * p,
    ),
    "matmul": (lambda x, p, d: outer(x, p, ops.matmul), lambda x, p: outer(x, p, mg.matmul)),
    "sum": (
        lambda x, p, d: x + 0.1 * x.sum(axis=-1, keepdims=True),
        lambda x, p: x + 0.1 * mg.sum(x, axis=-1, keepdims=True),
    ),
    "mean": (
        lambda x, p, d: x - x.mean(axis=all_but_last(x), keepdims=True) * p,
        lambda x, p: x - mg.mean(x, axis=all_but_last(x), keepdims=True) * p,
    ),
    "max": (
        lambda x, p, d: x - x.max(axis=-1, keepdims=True) * p,
        lambda x, p: x - mg.max(x, axis=-1, keepdims=True) * p,
    ),
    "transpose": (
        lambda x, p, d: turned(x, ops.transpose),
        lambda x, p: turned(x, lambda y: mg.transpose(y)),
    ),
    "index": (lambda x, p, d: x[::-1, ..., ::-1] * p, lambda x, p: x[::-1, ..., ::-1] * p),
    "concatenate": (
        lambda x, p, d: ops.concatenate(x[1:] * p, x[:1], axis=0),
        lambda x, p: mg.concatenate((x[1:] * p, x[:1]), axis=0),
    ),
    "split": (
        lambda x, p, d: ops.concatenate(*ops.split(x * p, sections=x.shape[-1], axis=-1)[::-1], axis=-1),
        lambda x, p: (x * p)[..., ::-1],
    ),
    "dropout": (
        lambda x, p, d: our_dropout(x, d),
        lambda x, p: x * plain.dropout(np.ones(x.shape), 0.25, fixed_words(x.shape)),
    ),
    "batch_norm": (
        lambda x, p, d: x + ops.batch_norm(x, p, p, epsilon=0.1)[0],
        lambda x, p: x + standardised(x, all_but_last(x), 0.1) * p + p,
    ),
    "layer_norm": (
        lambda x, p, d: x + ops.layer_norm(x, p, p, epsilon=0.1),
        lambda x, p: x + standardised(x, -1, 0.1) * p + p,
    ),
    "group_norm": (
        lambda x, p, d: x + ops.group_norm(x, p, p, groups=x.shape[-1], epsilon=0.1),
        lambda x, p: x + standardised(x, tuple(range(1, x.ndim - 1)), 0.1) * p + p,
    ),
    "prelu": (lambda x, p, d: ops.prelu(x, p), lambda x, p: mg.where(x > 0, x, x * p)),
    "gelu by tanh": (
        lambda x, p, d: ops.gelu(x, approximate="tanh"),
        lambda x, p: x * (1 + mg.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    ),
} | {
    name: (lambda x, p, d, name=name: OPS[name](x), lambda x, p, name=name: ACTIVATIONS[name](x))
    for name in ACTIVATIONS
    if name and name != "softmax"
}
BLOCKS |= SEQUENCES


def distances(y: Any, targets: Array) -> Any:
    return mg.absolute(y - targets)


LOSSES: dict[str, Callable[[Any, Array], Any]] = {  # MyGrad's; targets are classes for the first three
    "cross_entropy": softmax_crossentropy,
    "hinge": multiclass_hinge,
    "binary_cross_entropy": lambda y, t: mg.mean(mg.logaddexp(0, y[:, 0]) - y[:, 0] * t),
    "labels_cross_entropy": lambda y, t: mg.mean(mg.logaddexp(0, y) - y * t),
    "mse": lambda y, t: mg.mean((y - t) ** 2),
    "mae": lambda y, t: mg.mean(distances(y, t)),
    "huber": lambda y, t: mg.mean(mg.where(distances(y, t) < 1, distances(y, t) ** 2 / 2, distances(y, t) - 0.5)),
}
PENALTIES: dict[str, Callable[[Any], Any]] = {
    "absolute_sum": lambda w: mg.sum(mg.absolute(w)),
    "square_sum": lambda w: mg.sum(w**2),
    "p_norm": lambda w: mg.sum(w**2) ** 0.5,
}


@dataclass(frozen=True)
class Network:
    in_shape: tuple[int, ...]
    layers: LayerList
    blocks: list[str | None]  # after each layer
    loss: str
    penalty: str

    @classmethod
    def random(cls, seed: int) -> "Network":
        in_shape, layers = random_layers(seed)
        rng = np.random.default_rng(1000 + seed)
        blocks = [str(rng.choice(list(BLOCKS))) if rng.random() < 0.8 else None for _ in layers[:-1]]
        blocks = [None if kind in JOINS else block for block, (kind, _) in zip(blocks, layers, strict=False)]
        # By turns, not by chance: each is in as many networks as any other.
        loss, penalty = list(LOSSES)[seed % len(LOSSES)], list(PENALTIES)[seed // len(LOSSES) % len(PENALTIES)]
        return cls(in_shape, layers, [*blocks, None], loss, penalty)


def in_order(x: Any) -> Any:
    """Copied into C order: in others MyGrad's convolution reads what is not its own, and says nothing."""
    return x.reshape(-1).reshape(*x.shape)


def check(net: Network, device: Device) -> None:
    """The loss to 1e-10, and every gradient: ‖a − b‖ <= 1e-8 ‖b‖. One that is 0 but for rounding is measured by the
    whole gradient."""
    model = build(net.layers, net.in_shape, init="glorot_uniform")
    model.initialise(1, device)
    for i, p in enumerate(model.parameters.values()):
        if p.kind == "bias":
            p.data = device.asarray(distinct(*p.shape, seed=i))
    x = distinct(EXAMPLES, *net.in_shape)
    extra = [
        distinct(layer.out_shape[-1], seed=20 + i, lowest=0.3, highest=1.5) for i, layer in enumerate(model.layers)
    ]
    classes = {"cross_entropy": 3, "hinge": 3, "binary_cross_entropy": 2}.get(net.loss)
    targets = np.arange(EXAMPLES) % classes if classes else distinct(EXAMPLES, 3, seed=9)
    targets = targets > 0 if net.loss == "labels_cross_entropy" else targets
    parameters = model.parameters

    ours, parts = Tensor(device.asarray(x)), [Tensor(device.asarray(p)) for p in extra]
    values: dict[str, Any] = {INPUT: ours}
    for layer, block, p in zip(model.layers, net.blocks, parts, strict=True):
        y = layer(*(values[name] for name in model.sources[layer.name]), context=Context())
        values[layer.name] = y = BLOCKS[block][0](y, p, device) if block else y
    y = y[:, :1] if net.loss == "binary_cross_entropy" else y
    data_loss = OPS[net.loss](y, targets=device.asarray(targets), count=EXAMPLES)
    first = next(iter(parameters.values()))
    weights = [device.asarray(np.array(w)) for w in (1.0, 0.01)]
    loss = weigh(data_loss, OPS[net.penalty](first), weights=weights)
    found = [to_host(g) for g in gradients(loss, [ours, *parts, *parameters.values()])]

    theirs, their_parts = mg.tensor(x), [mg.tensor(p) for p in extra]
    twins = {key: mg.tensor(to_host(p.data)) for key, p in parameters.items()}
    values = {INPUT: in_order(mg.moveaxis(theirs, -1, 1))}
    for layer, block, p in zip(model.layers, net.blocks, their_parts, strict=True):
        y = TWINS[layer.kind](layer, own(layer, twins), *(values[name] for name in model.sources[layer.name]))
        y = in_order(mg.moveaxis(BLOCKS[block][1](mg.moveaxis(y, 1, -1), p), -1, 1)) if block else y
        values[layer.name] = y
    their_loss = LOSSES[net.loss](y, targets) + 0.01 * PENALTIES[net.penalty](next(iter(twins.values())))
    their_loss.backward()
    expected = [np.zeros(t.shape) if t.grad is None else t.grad for t in (theirs, *their_parts, *twins.values())]

    np.testing.assert_allclose(float(to_host(loss.data)), their_loss.item(), rtol=1e-10)
    whole = np.sqrt(sum((b**2).sum() for b in expected))
    for name, a, b in zip(["input", *net.blocks, *parameters], found, expected, strict=True):
        assert np.linalg.norm(a - b) <= 1e-8 * max(np.linalg.norm(b), 1e-5 * whole), f"{name} in {net}"


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The names of the ops that nodes are made by."""
    names: set[str] = set()

    class Noted(tensor.Node):
        __slots__ = ()

        def __init__(self, *args: Any):
            names.add(sys._getframe(1).f_locals["function"].__name__)
            super().__init__(*args)

    monkeypatch.setattr(tensor, "Node", Noted)
    yield names


def test_three_hundred_networks(used: set[str]):
    device, networks_with = device_of(np.float64), Counter[str]()
    for seed in range(NETWORKS):
        used.clear()
        check(Network.random(seed), device)
        networks_with.update(used)
    of_pictures = {"gram", "content", "total_variation"}  # tests/test_style.py holds them to their formulas
    assert networks_with.keys() == OPS.keys() - of_pictures
    assert min(networks_with.values()) >= 10, networks_with.most_common()[::-1]


def test_some_on_the_stand_in():
    for seed in range(0, NETWORKS, 10):
        check(Network.random(seed), device_of(np.float64, "standin"))


@pytest.mark.parametrize("op", ["gelu", "p_norm", "max_pool"])
def test_a_wrong_gradient_would_be_noticed(op: str, monkeypatch: pytest.MonkeyPatch):
    """By a millionth: in the first network that holds the op."""
    plain_apply = tensor._apply_vjps

    def spoiled(node: Any, *args: Any) -> Any:
        found = plain_apply(node, *args)
        if node.op == op:
            found = [None if g is None else g * (1 + 1e-6) for g in found]
        return found

    class Named(tensor.Node):
        __slots__ = ("op",)

        def __init__(self, *args: Any):
            super().__init__(*args)
            self.op = sys._getframe(1).f_locals["function"].__name__

    monkeypatch.setattr(tensor, "Node", Named)
    monkeypatch.setattr(tensor, "_apply_vjps", spoiled)
    with pytest.raises(AssertionError, match="in Network"):
        for seed in range(60):
            check(Network.random(seed), device_of(np.float64))
