"""Every op against plain formulas and finite differences, driven by the table in tests/cases.py."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import plain
import plain_sequences
import plain_style
import pytest
from cases import CASES, Case, cases_of, outputs_of, rng
from conftest import device_of

from dltrain.backend import Device, to_host
from dltrain.engine import OPS, GradientMismatch, Tensor, gradcheck, gradients
from dltrain.engine.gradcheck import weigh
from dltrain.errors import DataError, ShapeError
from dltrain.ops import FUSED
from dltrain.registry import settings_of

Array = Any
every_op = pytest.mark.parametrize("op", sorted(OPS))


def dense(x: Array, w: Array, bias: Array | None, activation: str | None = None) -> Array:
    return plain.ACTIVATIONS[activation](np.einsum("ni,io->no", x, w) + (0 if bias is None else bias))


def conv(x: Array, w: Array, bias: Array | None, activation: str | None = None, **settings: Any) -> Array:
    return plain.ACTIVATIONS[activation](plain.conv(x, w, **settings) + (0 if bias is None else bias))


def conv_transpose(x: Array, w: Array, bias: Array | None, activation: str | None = None, **settings: Any) -> Array:
    return plain.ACTIVATIONS[activation](plain.conv_transpose(x, w, **settings) + (0 if bias is None else bias))


def pad(x: Array, padding: Any, mode: str = "zero") -> Array:
    modes: Any = {"zero": "constant", "replicate": "edge", "reflect": "reflect"}
    return np.pad(x, ((0, 0), *padding, (0, 0)), mode=modes[mode])


# op -> the same in numpy: the shortest formula that anybody would believe
def as_matrix(w: Array, axis: int) -> Array:
    """All inputs by all outputs."""
    outputs = np.moveaxis(w, axis, 0)
    return np.array([one.ravel() for one in outputs]).T


FORMULAS: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "absolute_sum": lambda x: np.abs(x).sum(),
    "add": np.add,
    "attention": plain_sequences.attention,
    "average_pool": plain.average_pool,
    "batch_norm": plain.batch_norm,
    "binary_cross_entropy": plain.binary_cross_entropy,
    "clip": lambda x, min=None, max=None: np.clip(x, min, max),
    "concatenate": lambda *parts, axis=0: np.concatenate(parts, axis),
    "content": plain_style.content,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "cos": np.cos,
    "cross_entropy": plain.cross_entropy,
    "dense": dense,
    "divide": np.divide,
    "dropout": plain.dropout,
    "elu": lambda x, alpha=1.0: np.where(x > 0, x, alpha * (np.exp(x) - 1)),
    "embedding": lambda table, tokens: np.array([table[int(i)] for i in tokens.flat]).reshape(*tokens.shape, -1),
    "exp": np.exp,
    "gelu": plain.gelu,
    "group_norm": plain.group_norm,
    "gru": plain_sequences.gru,
    "spectral_norm": lambda w, u, v, axis: w / np.einsum("i,io,o", v, as_matrix(w, axis), u),
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hinge": plain.hinge,
    "gram": plain_style.gram,
    "huber": plain.huber,
    "index": lambda x, key: x[key],
    "layer_norm": plain.layer_norm,
    "leaky_relu": lambda x, slope=0.01: np.where(x > 0, x, slope * x),
    "log": np.log,
    "log_sigmoid": lambda x: -np.log(1 + np.exp(-x)),
    "lstm": plain_sequences.lstm,
    "mae": plain.mae,
    "matmul": np.matmul,
    "max": np.max,
    "max_pool": plain.max_pool,
    "maximum": np.maximum,
    "mean": np.mean,
    "minimum": np.minimum,
    "labels_cross_entropy": plain.labels_cross_entropy,
    "mse": plain.mse,
    "multiply": np.multiply,
    "negative": np.negative,
    "p_norm": lambda x, p: (np.abs(x) ** p).sum() ** (1 / p),
    "pad": pad,
    "power": np.power,
    "prelu": lambda x, slope: np.where(x > 0, x, slope * x),
    "relu": plain.ACTIVATIONS["relu"],
    "relu6": plain.ACTIVATIONS["relu6"],
    "reshape": np.reshape,
    "rnn": plain_sequences.rnn,
    "selu": plain.ACTIVATIONS["selu"],
    "sigmoid": plain.ACTIVATIONS["sigmoid"],
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sin": np.sin,
    "softmax": plain.softmax,
    "softplus": plain.ACTIVATIONS["softplus"],
    "split": lambda x, sections, axis=0: np.split(x, sections, axis),
    "sqrt": np.sqrt,
    "square_sum": lambda x: (x**2).sum(),
    "stack": lambda *parts, axis=0: np.stack(parts, axis),
    "subtract": np.subtract,
    "sum": np.sum,
    "tanh": plain.ACTIVATIONS["tanh"],
    "total_variation": plain_style.total_variation,
    "transpose": np.transpose,
    "upsample": plain.upsample,
    "weigh": lambda *outputs, weights: sum((w * y).sum() for w, y in zip(weights, outputs, strict=True)),
    "where": np.where,
}


@contextmanager
def saying(case: Case) -> Iterator[None]:
    """Failures name the case."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"case: {case}")
        raise


def test_the_table_covers_every_op_and_setting():
    assert {case.op for case in CASES} == set(OPS) == set(FORMULAS)
    assert len({str(case) for case in CASES}) == len(CASES), "two cases have one name"
    for op, function in OPS.items():
        tried = {key for case in cases_of(op) for key in case.settings}
        assert tried == set(settings_of(function.__wrapped__)), f"{op}: a setting without a case"  # type: ignore[attr-defined]
    for op in ("conv", "conv_transpose", "dense"):
        assert {case.settings.get("activation") for case in cases_of(op)} == {None, *FUSED}


@every_op
def test_values(op: str, device: Device):
    for case in cases_of(op):
        with saying(case):
            got = outputs_of(case.function(device)(*case.arrays(device)))
            wanted = FORMULAS[op](*case.inputs, **case.settings)
            for y, value in zip(got, wanted if isinstance(wanted, list) else [wanted], strict=True):
                assert y.shape == np.shape(value)
                np.testing.assert_allclose(to_host(y.data), value, rtol=1e-12, atol=1e-12)


@every_op
def test_gradients(op: str, device: Device):
    for case in cases_of(op):
        with saying(case):
            gradcheck(case.function(device), *case.arrays(device), directions=3 if device.name == "cpu" else 1)


@every_op
def test_float32_stays_float32(op: str, device_name: str):
    """No value and no gradient is upcast, and both are those of float64 but for rounding."""
    narrow, wide = device_of(np.float32, device_name), device_of(np.float64, device_name)
    for case in cases_of(op):
        with saying(case):
            results = []
            for device in (narrow, wide):
                tensors = [Tensor(x) for x in case.arrays(device)]
                outputs = outputs_of(case.function(device)(*tensors))
                weights = [device.asarray(np.cos(np.arange(y.data.size)).reshape(y.shape)) for y in outputs]
                grads = gradients(weigh(*outputs, weights=weights), tensors)
                results.append([y.data for y in outputs] + grads)
            for found, exact in zip(*results, strict=True):
                assert found.dtype == np.float32
                np.testing.assert_allclose(to_host(found), to_host(exact), rtol=1e-4, atol=1e-5)


@every_op
def test_nothing_that_is_borrowed_is_written_to(op: str, device: Device):
    """Inputs, settings and the gradients that arrive belong to others."""
    for case in cases_of(op):
        with saying(case):
            arrays = case.arrays(device)
            before = [to_host(x).copy() for x in arrays]
            outputs = outputs_of(case.function(device)(*(Tensor(x) for x in arrays)))
            values = [to_host(y.data).copy() for y in outputs]
            arriving = [device.asarray(rng(i).normal(size=y.shape)) for i, y in enumerate(outputs)]
            copies = [to_host(g).copy() for g in arriving]
            apply_vjps(outputs[0].node, arriving)
            for now, then in ((arrays, before), ([y.data for y in outputs], values), (arriving, copies)):
                for x, y in zip(now, then, strict=True):
                    assert np.array_equal(to_host(x), y)


@every_op
def test_memory_layout_does_not_matter(op: str, device: Device):
    """Views with gaps, as slicing and transposing make them, give what contiguous arrays give."""
    for case in cases_of(op):
        with saying(case):
            results = []
            for change in (lambda x: x, lambda x: with_gaps(device, x)):
                tensors = [Tensor(change(x)) for x in case.arrays(device)]
                outputs = outputs_of(case.function(device)(*tensors))
                arriving = [change(device.asarray(rng(i).normal(size=y.shape))) for i, y in enumerate(outputs)]
                results.append([y.data for y in outputs] + apply_vjps(outputs[0].node, arriving))
            for x, y in zip(*results, strict=True):
                np.testing.assert_allclose(to_host(x), to_host(y), rtol=1e-12, atol=1e-12)


def apply_vjps(node: Any, arriving: list[Array]) -> list[Array]:
    g = tuple(arriving) if node.several else arriving[0]
    if callable(node.vjps):
        found = node.vjps(g, [t is not None for t in node.inputs])
    else:
        found = [vjp(g) if t is not None else None for t, vjp in zip(node.inputs, node.vjps, strict=True)]
    return [part for part, t in zip(found, node.inputs, strict=True) if t is not None]


def with_gaps(device: Device, x: Array) -> Array:
    """The same values with their axes reversed in memory and a gap after each."""
    roomy = device.xp.zeros((*x.shape[::-1], 2), x.dtype)
    view = roomy[..., 0].transpose()
    view[...] = x
    return view


# --- would the checks notice? -----------------------------------------------------------------------------------------

WRONG: dict[str, Callable[[Array], Array]] = {
    "negated": lambda g: -g,
    "multiplied by 1.001": lambda g: g * 1.001,
    "zeroed": lambda g: g * 0,
}


def spoiled(case: Case, position: int, change: Callable[[Array], Array], device: Device) -> Callable[..., Any]:
    """The case's op with the gradient of one of its inputs changed."""
    function = case.function(device)

    def call(*tensors: Any) -> Any:
        result = function(*tensors)
        node = outputs_of(result)[0].node
        assert node is not None
        vjps = node.vjps
        if callable(vjps):
            node.vjps = lambda g, needed: [
                change(part) if i == position else part for i, part in enumerate(vjps(g, needed))
            ]
        else:
            node.vjps = [(lambda g: change(vjps[position](g))) if i == position else v for i, v in enumerate(vjps)]
        return result

    return call


@every_op
@pytest.mark.parametrize("wrong", WRONG)
def test_every_wrong_gradient_is_caught_by_every_case(op: str, wrong: str):
    device = device_of(np.float64)
    for case in cases_of(op):
        with saying(case):
            for position in case.positions:
                with pytest.raises(GradientMismatch):
                    gradcheck(spoiled(case, position, WRONG[wrong], device), *case.arrays(device))


# --- what the table cannot say ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_extreme_values_stay_finite(size: float, device_name: str):
    device = device_of(np.float32, device_name)
    rows = device.asarray(np.array([[size, -size, 0.0], [-size, -size, -size], [size, size, 0.0]]))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for op, settings in (
            ("softmax", {}), ("sigmoid", {}), ("tanh", {}), ("elu", {}), ("selu", {}), ("softplus", {}), ("silu", {}),
            ("relu6", {}), ("hard_swish", {}), ("softmax", {"axis": 0}),
            ("log_sigmoid", {}),
            ("gelu", {}), ("p_norm", {"p": 3.0}), ("p_norm", {}),
            ("cross_entropy", {"targets": device.asarray(np.array([1, 2, 0])), "label_smoothing": 0.1}),
            ("cross_entropy", {"targets": device.asarray(np.array([0, 0, 1])), "count": 3}),
            ("hinge", {"targets": device.asarray(np.array([1, 2, 0])), "count": 3}),
            ("mae", {"targets": rows * 0.5, "count": 3}), ("huber", {"targets": rows * 0.5, "count": 3}),
        ):  # fmt: skip
            x = Tensor(rows)
            y = OPS[op](x, **settings)
            (g,) = gradients(y.sum() if y.shape else y, [x])
            assert np.isfinite(to_host(y.data)).all() and np.isfinite(to_host(g)).all(), op


def test_a_confident_mistake_about_one_of_two_classes(device: Device):
    logits = Tensor(device.asarray(np.array([[1e30], [-1e30], [1e30], [0.0]])))
    loss = OPS["binary_cross_entropy"](logits, targets=device.asarray(np.array([1, 0, 0, 1])), count=1)
    assert float(to_host(loss.data)) == 1e30
    assert to_host(gradients(loss, [logits])[0]).ravel().tolist() == [0, 0, 1, -0.5]


def test_cross_entropy_of_a_confident_mistake_is_the_distance(device: Device):
    logits = Tensor(device.asarray(np.array([[0.0, 1e4], [1e4, 0.0]])))
    loss = OPS["cross_entropy"](logits, targets=device.asarray(np.array([0, 0])), count=2)
    assert float(to_host(loss.data)) == 5000.0
    (g,) = gradients(loss, [logits])
    assert np.array_equal(to_host(g), [[-0.5, 0.5], [0, 0]])


@pytest.mark.parametrize(("op", "where"), [("relu", 0.0), ("absolute_sum", 0.0)])
def test_the_gradient_at_the_kink_is_zero(op: str, where: float, device: Device):
    x = Tensor(device.asarray(np.array([where, 1.0])))
    (g,) = gradients(OPS[op](x).sum(), [x])
    assert to_host(g).tolist() == [0, 1]


def test_an_activation_of_one_of_numpys_numbers():
    """Arithmetic on arrays of no dimension gives numbers, on which nothing can work in place."""
    found = {"relu": 0.0, "leaky_relu": -0.06, "elu": np.expm1(-6.0), "softplus": np.log1p(np.exp(-6.0))}
    for name, wanted in found.items():
        assert OPS[name](Tensor(-2.0) * Tensor(3.0)).data == pytest.approx(wanted, rel=1e-12), name


def test_the_norm_of_nothing_has_no_direction(device: Device):
    for p in (1.0, 2.0, 3.5):
        x = Tensor(device.asarray(np.zeros((2, 3))))
        y = OPS["p_norm"](x, p=p)
        assert float(to_host(y.data)) == 0 and not to_host(gradients(y, [x])[0]).any()
        x = Tensor(device.asarray(np.array([0.0, 3.0, 0.0])))
        assert to_host(gradients(OPS["p_norm"](x, p=p), [x])[0]).tolist() == [0, 1, 0]


def test_equal_maxima(device: Device):
    """`max` shares the gradient among equals, `max_pool` gives it to the first."""
    x = Tensor(device.asarray(np.array([[[1.0], [2.0], [2.0], [0.0]]])))
    assert to_host(gradients(x.max(), [x])[0]).ravel().tolist() == [0, 0.5, 0.5, 0]
    pooled = OPS["max_pool"](x, kernel=4, stride=4)
    assert to_host(gradients(pooled.sum(), [x])[0]).ravel().tolist() == [0, 1, 0, 0]


def test_whole_powers_are_smooth_at_zero(device: Device):
    x = Tensor(device.asarray(np.array([0.0, -2.0])))
    for exponent, slopes in ((1, [1, 1]), (2, [0, -4]), (3, [0, 12])):
        assert to_host(gradients((x**exponent).sum(), [x])[0]).tolist() == slopes


def test_dropout_keeps_a_lane_from_the_threshold_on(device: Device):
    lanes = [0, 0x3FFF, 0x4000, 0xFFFF]  # the first is the lowest 16 bits of the word
    words = np.array([[sum(lane << 16 * i for i, lane in enumerate(lanes))]], np.uint64)
    y = OPS["dropout"](device.asarray(np.ones((1, 4))), rate=0.25, words=device.asarray(words))
    assert to_host(y.data).tolist() == [[0, 0, 1 / 0.75, 1 / 0.75]]


def test_dropout_drops_as_often_as_it_says_and_keeps_the_mean(device: Device):
    words = device.asarray(rng(0).integers(0, 2**64, (100, 250), np.uint64))
    x = device.asarray(np.ones((100, 1000)))
    for rate in (0.1, 0.5, 0.8):
        y = to_host(OPS["dropout"](x, rate=rate, words=words).data)
        assert abs((y == 0).mean() - rate) < 0.006
        assert abs(y.mean() - 1) < 0.03
        assert np.allclose(y[y != 0], 1 / (1 - rate), rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: x.reshape(6) @ x, r"matmul of shapes \(6,\) and \(2, 3\): rows of 6 meet columns of 2"),
        (lambda x: x @ 2.0, r"matmul takes vectors and matrices; multiply by a number with \*"),
        (lambda x: OPS["split"](x, sections=2, axis=1), r"axis 1 of shape \(2, 3\) cannot be split into 2 equal parts"),
        (lambda x: OPS["mse"](x, targets=x.data[:, :1], count=2), r"\(2, 3\).*\(2, 1\)"),
        (lambda x: OPS["mae"](x, targets=x.data[0], count=2), r"mae compares .*\(2, 3\).*\(3,\)"),
        (lambda x: OPS["binary_cross_entropy"](x, targets=np.array([0, 1]), count=2), r"logits \(N, 1\), not \(2, 3\)"),
        (lambda x: OPS["embedding"](x, np.array([0, 2])), "2 tokens takes whole numbers from 0 to 1, but got 0 to 2; "),
        (lambda x: OPS["embedding"](x, np.array([-1])), "from 0 to 1, but got -1 to -1; data.normalize: none keeps"),
        (lambda x: OPS["embedding"](x, np.array([0.5])), r"from 0 to 1, but got 0\.5 to 0\.5"),
        (lambda x: OPS["gru"](x, x, x, None, None, None), r"x \(N, T, C\), w \(C, 3 H\) .* \(3 H|not \(2, 3\)"),
        (lambda x: OPS["lstm"](x.reshape(1, 2, 3), np.ones((3, 8)), np.ones((2, 4)), *(None,) * 4), r"not \(1, 2, 3\)"),
        (lambda x: OPS["attention"](*[x.reshape(1, 2, 3)] * 3, heads=2), "with 2 heads"),
        (lambda x: OPS["conv"](x.reshape(1, 2, 3), np.ones((1, 1, 2)), None, groups=2), r"3 .*2 groups"),
        (lambda x: OPS["conv_transpose"](x.reshape(1, 2, 3), np.ones((1, 1, 2)), None), r"3 channels .* \(1, 1, 2\)"),
        (lambda x: OPS["conv_transpose"](x.reshape(1, 2, 3), np.ones((1, 1, 3)), None, groups=2), r"3 .*2 groups"),
        (
            lambda x: OPS["pad"](x.reshape(1, 2, 3), padding=((1, 2),), mode="reflect"),
            r"at most 1 of 2 positions, not 2",
        ),
        (lambda x: OPS["pad"](x.reshape(1, 2, 3), padding=((1, 2),) * 2), r"2 dimensions, but the input has 1"),
        (lambda x: OPS["upsample"](x.reshape(1, 2, 3), factor=(2, 2)), r"2 numbers, but the input has 1"),
    ],
)
def test_refused(call: Callable[[Tensor], Any], says: str):
    with pytest.raises((ValueError, ShapeError, DataError), match=says):
        call(Tensor(np.arange(6.0).reshape(2, 3)))
