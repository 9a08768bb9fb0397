"""Weights in and out: files of strangers, PyTorch's layout against PyTorch's definitions, names that are matched."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch_files
from builders import build
from safetensors.numpy import save

from dltrain.backend import open_device
from dltrain.errors import DataError, SettingError
from dltrain.nn import Context, Network
from dltrain.spec import build_model, loads
from dltrain.weights.files import read_weights, write_weights
from dltrain.weights.layout import torch_state
from dltrain.weights.match import LoadSettings, match

Array = Any
NUMBERS = np.arange(6, dtype=np.float32).tobytes()


def eighths(start: int, *shape: int) -> Array:
    return (start + np.arange(np.prod(shape, dtype=int))).reshape(shape) / 8


# What torch 2.13 wrote into golden/torch_state.pth: the numbers of `net` count up in eighths, through all its tensors.
GOLDEN: dict[str, Array] = {
    "net.conv.weight": eighths(0, 3, 2, 3, 2), "net.norm.weight": eighths(36, 3), "net.norm.bias": eighths(39, 3),
    "net.norm.running_mean": eighths(42, 3), "net.norm.running_var": eighths(45, 3),
    "net.norm.num_batches_tracked": np.array(0), "net.up.weight": eighths(48, 3, 4, 2, 2),
    "net.up.bias": eighths(96, 4),
    "net.dense.weight": eighths(100, 5, 24), "net.dense.bias": eighths(220, 5), "half": eighths(0, 4),
    "brain": eighths(0, 4), "double": eighths(0, 4), "turned": eighths(0, 2, 3).T, "part": eighths(0, 10)[2:8:2],
    "whole": np.arange(4), "kept": eighths(0, 4),
}  # fmt: skip


def test_a_checkpoint_of_pytorch_holds_what_pytorch_wrote() -> None:
    found = read_weights(torch_files.GOLDEN)
    assert [*found] == [*GOLDEN]
    for name, array in found.items():
        assert array.shape == GOLDEN[name].shape and np.array_equal(array, GOLDEN[name]), name
    kinds = {"half": "float16", "brain": "float32", "double": "float64", "whole": "int64"}
    assert {name: found[name].dtype.name for name in kinds} == kinds


@pytest.mark.parametrize(
    ("value", "storages", "what"),
    [
        (b"cos\nsystem\n(" + torch_files.text("touch x") + b"tR", {}, "'os.system'"),
        (b"cnumpy\nndarray\n", {}, "'numpy.ndarray'"),
        (torch_files.storage(6, "QInt8Storage"), {"0": NUMBERS}, "'torch.QInt8Storage'"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R", {}, "a tensor without numbers"),
        (torch_files.tensor((6,), (1,), 6), {}, "are missing"),
        (torch_files.tensor((6,), (1,), 7), {"0": NUMBERS}, "more or less than"),
        (torch_files.tensor((6,), (1,), 6, kind="DoubleStorage"), {"0": NUMBERS}, "more or less than"),
        (torch_files.tensor((6,), (1,), 6, offset=1), {"0": NUMBERS}, "not inside"),
        (torch_files.tensor((2, 3), (4, 1), 6), {"0": NUMBERS}, "not inside"),
        (torch_files.tensor((6,), (-1,), 6), {"0": NUMBERS}, "whole numbers"),
        (torch_files.tensor((6,), (1, 1), 6), {"0": NUMBERS}, "whole numbers"),
        (torch_files.tensor((2**30, 2**30), (0, 0), 6), {"0": NUMBERS}, "not inside"),
        (torch_files.tensor((0,), (1,), 6), {"0": NUMBERS}, "empty"),
        (b"h\x00", {}, "nothing was kept as 0"),
        (b"\x93", {}, "has no place"),
    ],
)
def test_what_is_more_than_tensors_is_refused_by_name(
    value: bytes, storages: dict[str, bytes], what: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(torch_files.pth(torch_files.described(value), storages))
    with pytest.raises(DataError, match=what) as told:
        read_weights(path)
    assert str(path) in str(told.value)


def test_a_dict_in_itself_ends(tmp_path: Path) -> None:
    """`a = {}; a['x'] = a`, and 40 dicts that each stand twice in the next."""
    itself = b"\x80\x02}q\x00" + torch_files.text("x") + b"h\x00s."
    doubled = b"\x80\x02}q\x00"
    for n in range(1, 40):
        last = b"h" + bytes([n - 1])
        doubled += b"}q" + bytes([n]) + b"(" + torch_files.text("l") + last + torch_files.text("r") + last + b"u"
    for description in (itself, doubled + b"."):
        (tmp_path / "x.pth").write_bytes(torch_files.pth(description, {}))
        with pytest.raises(DataError, match="without end"):
            read_weights(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (torch_files.pth(torch_files.described(b"N"), {}, zipfile.ZIP_DEFLATED), "compressed"),
        (torch_files.pth(torch_files.described(b"N"), {}, byteorder=b"big"), "little-endian"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "damaged at byte"),
        (b"PK nonsense", "no PyTorch checkpoint that can be read"),
        (b"", "it begins otherwise"),
    ],
)
def test_another_zip_is_refused(content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(DataError, match=what):
        read_weights(tmp_path / "x.pth")


def test_bfloat16_of_safetensors_becomes_float32(tmp_path: Path) -> None:
    halves = np.array([1.5, -3.0], "<f4").view("<u2")[1::2]  # bfloat16 is the first half of float32
    raw = save({"a": halves.copy()})
    size = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + size].replace(b'"U16"', b'"BF16"')
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + size :])
    assert read_weights(tmp_path / "x.safetensors")["a"].tolist() == [1.5, -3.0]


@pytest.mark.parametrize("name", ["x.safetensors", "x.npz", "x.pth", "x.pt", "x.bin"])
def test_what_is_no_file_of_weights_is_told(name: str, tmp_path: Path) -> None:
    for content in (None, b"nonsense"):
        if content:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read_weights(tmp_path / name)


# --- the layout ------------------------------------------------------------------------------------------------------


def conv2d(x: Array, weight: Array, stride: int, padding: int, groups: int) -> Array:
    """PyTorch's Conv2d as its documentation defines it. x (N, C, H, W), weight (out, C / groups, kH, kW)."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    out, cut, rows, columns = weight.shape
    size = [(x.shape[2] - rows) // stride + 1, (x.shape[3] - columns) // stride + 1]
    y = np.zeros((len(x), out, *size))
    for o in range(out):
        first = o // (out // groups) * cut
        for i in range(size[0]):
            for j in range(size[1]):
                seen = x[:, first : first + cut, i * stride :, j * stride :][:, :, :rows, :columns]
                y[:, o, i, j] = (seen * weight[o]).sum(axis=(1, 2, 3))
    return y


def conv_transpose2d(x: Array, weight: Array, stride: int) -> Array:
    """PyTorch's ConvTranspose2d: every input number puts its kernel down. weight (in, out, kH, kW)."""
    _, out, rows, columns = weight.shape
    y = np.zeros((len(x), out, (x.shape[2] - 1) * stride + rows, (x.shape[3] - 1) * stride + columns))
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            put = np.einsum("nc,cohw->nohw", x[:, :, i, j], weight)
            y[:, :, i * stride : i * stride + rows, j * stride : j * stride + columns] += put
    return y


def norm(x: Array, state: dict[str, Array], name: str) -> Array:
    """BatchNorm in evaluation, of channels in axis 1."""
    parts = ("running_mean", "running_var", "weight", "bias")
    mean, variance, weight, bias = (state[f"{name}.{part}"].reshape(-1, *[1] * (x.ndim - 2)) for part in parts)
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def mixed(seed: int = 0) -> Network:
    """Every layer whose numbers lie otherwise in PyTorch, with values that are all different."""
    model = build(
        [
            ("conv", {"channels": 6, "groups": 2, "stride": 2, "padding": 1, "activation": "none"}),
            ("batch_norm", {}),
            ("conv_transpose", {"channels": 3, "kernel": 2, "stride": 2, "activation": "none", "bias": False}),
            ("flatten", {}),
            ("batch_norm", {}),
            ("prelu", {}),
            ("dense", {"units": 7, "activation": "none"}),
            ("dense", {"units": 2, "activation": "none", "bias": False}),
        ],
        (5, 6, 4),
    )
    rng = np.random.default_rng(seed)
    for part in model.state.values():
        part.data = rng.uniform(0.5, 1.5, part.shape)
    return model


def test_the_exported_layout_is_pytorchs() -> None:
    model = mixed()
    state = torch_state(model, model.weights())
    x = np.random.default_rng(1).normal(size=(3, 5, 6, 4))
    y = conv2d(x.transpose(0, 3, 1, 2), state["conv1.weight"], 2, 1, 2) + state["conv1.bias"][:, None, None]
    y = conv_transpose2d(norm(y, state, "batch_norm1"), state["conv_transpose1.weight"], 2)
    y = norm(y.reshape(3, -1), state, "batch_norm2")
    y = np.where(y > 0, y, state["prelu1.weight"] * y) @ state["dense1.weight"].T + state["dense1.bias"]
    np.testing.assert_allclose(model(x, Context()).data, y @ state["dense2.weight"].T, rtol=1e-12)


def test_a_norm_within_a_layer_is_a_module_within_a_module() -> None:
    layers = "[{conv: {channels: 3, norm: batch_norm}}, flatten, {dense: {units: 2, norm: layer_norm}}]"
    model = build_model(loads(f"model: {{input: [4, 4, 2], layers: {layers}}}"))
    assert isinstance(model, Network)
    state = torch_state(model, {name: np.zeros(part.shape) for name, part in model.state.items()})
    assert {name: array.shape for name, array in state.items()} == {
        "conv1.weight": (3, 2, 3, 3), "conv1.norm.weight": (3,), "conv1.norm.bias": (3,),
        "conv1.norm.running_mean": (3,), "conv1.norm.running_var": (3,), "dense1.weight": (2, 12),
        "dense1.norm.weight": (2,), "dense1.norm.bias": (2,),
    }  # fmt: skip


def test_the_parts_of_sequence_layers_are_called_and_turned_as_pytorchs() -> None:
    """By the state_dict() of torch.nn.GRU(3, 2) and MultiheadAttention(4, 2); for numbers, test_torch_sequences.py."""
    layers = "[{embedding: {units: 3, tokens: 7}}, {gru: 2}, {dense: 4}, {attention: {heads: 2}}]"
    model = build_model(loads(f"model: {{input: [5], layers: {layers}}}"))
    assert isinstance(model, Network)
    weights = {name: np.random.default_rng(0).normal(size=part.shape) for name, part in model.state.items()}
    state = torch_state(model, weights)
    assert {name: array.shape for name, array in state.items()} == {
        "embedding1.weight": (7, 3), "gru1.weight_ih_l0": (6, 3), "gru1.weight_hh_l0": (6, 2),
        "gru1.bias_ih_l0": (6,), "gru1.bias_hh_l0": (6,), "dense1.weight": (4, 2), "dense1.bias": (4,),
        "attention1.in_proj_weight": (12, 4), "attention1.in_proj_bias": (12,), "attention1.out_proj.weight": (4, 4),
        "attention1.out_proj.bias": (4,),
    }  # fmt: skip
    assert np.array_equal(state["attention1.out_proj.weight"], weights["attention1.output_weight"].T)


def test_what_is_exported_comes_back(tmp_path: Path) -> None:
    model = mixed()
    for name, kind, torch in (("a.npz", "npz", False), ("a.safetensors", "safetensors", False),
                              ("b.safetensors", "torch-safetensors", True)):  # fmt: skip
        arrays = torch_state(model, model.weights()) if torch else model.weights()
        write_weights(tmp_path / name, arrays, kind)  # type: ignore[arg-type]
        other = mixed(seed=5)
        found = match(other, read_weights(tmp_path / name), LoadSettings(path=name), "model.load", torch)
        assert not found.own and not found.left
        other.start_values = found.arrays
        other.initialise(0, open_device("cpu", "float64"))
        assert all(np.array_equal(other.weights()[key], value) for key, value in model.weights().items())


# --- names -----------------------------------------------------------------------------------------------------------


def matched(arrays: dict[str, Array], torch: bool = False, **settings: Any) -> Any:
    layers = [("dense", {"units": 3, "activation": "none"}), ("dense", {"units": 3, "activation": "none"})]
    model = build([*layers, ("batch_norm", {})], (4,))
    return match(model, arrays, LoadSettings(path="x", **settings), "model.load", torch)


def test_patterns_name_layers_and_arrays() -> None:
    arrays = {
        "body.0.linear.weight": np.zeros((3, 4)), "body.0.linear.bias": np.zeros(3), "n.running_mean": np.zeros(3),
        "body.1.linear.weight": np.zeros((3, 3)), "body.1.linear.bias": np.zeros(3), "n.running_var": np.zeros(3),
        "n.weight": np.zeros(3), "n.bias": np.zeros(3), "n.num_batches_tracked": np.array(7),
        "head.w": np.zeros((9, 9)),
    }  # fmt: skip
    names: dict[str, str | None] = {"dense1": "body.0.linear", "dense2.*": "body.1.linear.*", "batch_norm1": "n"}
    found = matched(arrays, True, names=names)
    assert found.sources == {
        "dense1.weight": "body.0.linear.weight", "dense1.bias": "body.0.linear.bias",
        "dense2.weight": "body.1.linear.weight", "dense2.bias": "body.1.linear.bias",
        "batch_norm1.scale": "n.weight", "batch_norm1.shift": "n.bias", "batch_norm1.running_mean": "n.running_mean",
        "batch_norm1.running_variance": "n.running_var",
    }  # fmt: skip
    assert found.left == ("head.w",) and not found.own
    found = matched(arrays, True, names={"dense2": None, "batch*": None, "dense1.*": "body.0.linear.*"})
    assert [*found.sources] == ["dense1.weight", "dense1.bias"] and len(found.own) == 6


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ({"dense3": "a"}, "dense3 fits nothing in this model"),
        ({"*": "*", "dense1": "dense2"}, "dense1 fits nothing in this model that an earlier line leaves"),
        ({"dense*": "a"}, "as many"),
        ({"*****": "*****"}, "at most 3"),
        ({"batch*1": "n*"}, "there is no n_norm.scale"),
        ({"dense1": "dense2"}, r"dense1.weight: dense2.weight is float32 3×3, not float 4×3"),
        ({"dense1": "elsewhere"}, "there is no elsewhere.weight"),
    ],
)
def test_what_does_not_fit_is_told(names: dict[str, str], what: str) -> None:
    parts = ("scale", "shift", "running_mean", "running_variance")
    arrays = {name: np.zeros(3) for name in ("dense1.bias", "dense2.bias", *(f"batch_norm1.{part}" for part in parts))}
    arrays |= {"dense1.weight": np.zeros((4, 3), "f4"), "dense2.weight": np.zeros((3, 3), "f4")}
    assert str(matched(arrays)) == "8 of 8 arrays"
    with pytest.raises(SettingError, match=what):
        matched(arrays, names=names)


def test_without_strict_the_rest_starts_as_drawn_unless_nothing_fits() -> None:
    arrays = {"dense1.weight": np.zeros((4, 3)), "dense1.bias": np.zeros(3), "dense2.weight": np.zeros((5, 5))}
    found = matched(arrays, strict=False)
    assert found.sources == {"dense1.weight": "dense1.weight", "dense1.bias": "dense1.bias"}
    assert str(found) == (
        "2 of 8 arrays; not from there: dense2.weight, dense2.bias, batch_norm1.scale, batch_norm1.shift, "
        "batch_norm1.running_mean and 1 more; not used of it: dense2.weight"
    )
    with pytest.raises(SettingError, match="nothing fits"):
        matched({"other.weight": np.zeros(3)}, strict=False)


# --- what PyTorch wrote before 1.6 --------------------------------------------------------------------------------


def old_file(value: bytes, numbers: dict[str, bytes], system: bytes = b"\x88") -> bytes:
    """Pickles of magic, protocol, the system, `{'a': value}` and the keys, then the numbers of each storage."""
    begin = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    protocol, about = b"\x80\x02M\xe9\x03.", b"\x80\x02}" + torch_files.text("little_endian") + system + b"s."
    keys = b"\x80\x02](" + b"".join(map(torch_files.text, numbers)) + b"e."
    stored = b"".join((len(raw) // 4).to_bytes(8, "little") + raw for raw in numbers.values())
    return begin + protocol + about + torch_files.described(value) + keys + stored


def test_a_file_of_the_time_before_zips(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(whole := old_file(torch_files.tensor((2, 3), (3, 1), 6), {"0": NUMBERS}))
    assert read_weights(path)["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    wrong = [
        old_file(torch_files.tensor((7,), (1,), 7), {"0": NUMBERS}),
        old_file(torch_files.tensor((6,), (1,), 6), {"1": NUMBERS}),
        old_file(torch_files.tensor((6,), (1,), 6), {"0": NUMBERS}, system=b"\x89"),
        old_file(b"cos\nsystem\n(" + torch_files.text("touch x") + b"tR", {}),
        *(whole[:end] for end in range(len(whole))),
    ]
    for content in wrong:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.pth"):
            read_weights(path)
    rng = np.random.default_rng(0)
    for _ in range(2000):  # damaged bytes: numbers, or one clear error
        damaged = bytearray(whole)
        damaged[int(rng.integers(len(whole)))] = int(rng.integers(256))
        path.write_bytes(bytes(damaged))
        try:
            read_weights(path)
        except DataError as error:
            assert "x.pth" in str(error)
