"""From a spec to a model: shapes that fit, and the position of the layer where one does not."""

from pathlib import Path

import numpy as np
import pytest

from dltrain.data import Digits
from dltrain.errors import ConfigError
from dltrain.spec import build_model, build_source, load, loads

PARAMETERS = {
    "lecture_conv_exercise": 27,
    "mnist_lenet5": 61_706,
    "vgg16": 138_357_544,
    "cifar_cnn": 2_168_362,
}


@pytest.mark.parametrize("name, count", PARAMETERS.items())
def test_parameters_of_known_networks(name: str, count: int) -> None:
    model = build_model(load(name))
    assert sum(parameter.size for parameter in model.parameters.values()) == count


def test_shapes_and_names() -> None:
    model = build_model(load("mnist_lenet5"))
    assert model.in_shape == (28, 28, 1)
    assert [(layer.name, layer.out_shape) for layer in model.layers] == [
        ("conv1", (28, 28, 6)),
        ("average_pool1", (14, 14, 6)),
        ("conv2", (10, 10, 16)),
        ("average_pool2", (5, 5, 16)),
        ("flatten1", (400,)),
        ("dense1", (120,)),
        ("dense2", (84,)),
        ("dense3", (10,)),
    ]
    assert build_model(load("lecture_conv_exercise")).out_shape == (6, 6, 3)
    assert isinstance(build_source(load("digits_cnn")), Digits)
    assert build_source(load("vgg16")) is None


MISFITS = {
    "data: digits\nmodel:\n  layers:\n  - conv: {channels: 4, kernel: 9}": (
        "c.yaml:4:5  model.layers[0] (conv1): does not fit its input (8, 8, 1): the kernel covers 9 positions but the "
        "input has only 8 + 0 + 0 = 8 with padding; use a smaller kernel or more padding"
    ),
    "data: digits\nmodel:\n  layers:\n  - relu\n  - dense: {units: 10, name: out}": (
        "c.yaml:5:5  model.layers[1] (out): the last layer gives (8, 8, 10), but digits has 10 classes; it must give "
        "(10,); a dense layer works at every position: put `- flatten` before the first one"
    ),
    "data: digits\nmodel:\n  layers:\n  - flatten\n  - dense: 12": (
        "c.yaml:5:5  model.layers[1] (dense1): the last layer gives (12,), but digits has 10 classes; "
        "it must give (10,)"
    ),
    "data: digits\nmodel:\n  layers:\n  - flatten\n  - dense: 10\nloss: mse": (
        "c.yaml:6:7  loss: mse is for numbers to predict, but digits has 10 classes; use cross_entropy"
    ),
    "data: digits\nmodel:\n  layers:\n  - flatten\n  - dense: 1\nloss: binary_cross_entropy": (
        "c.yaml:6:7  loss: binary_cross_entropy is for two classes, but digits has 10 classes; use cross_entropy"
    ),
    "data: {type: digits, augment: [flip, crop: 9]}\nmodel:\n  layers:\n  - flatten\n  - dense: 10": (
        "c.yaml:1:38  data.augment[1]: crop with padding 9 could leave nothing of images of shape (8, 8, 1); "
        "it must be below 8"
    ),
    "data: {type: text, targets: every, mixup: 0.3}\nmodel: {layers: [embedding: 4, dense: vocabulary]}": (
        "c.yaml:1:43  data.mixup: blends inputs, but those are tokens, which cannot be blended; leave it out"
    ),
    "data: {type: digits, mixup: 0.3}\nmodel: {layers: [embedding: {units: 4, tokens: 17}, flatten, dense: 10]}": (
        "c.yaml:1:29  data.mixup: blends inputs, but those are tokens, which cannot be blended; leave it out"
    ),
}


def test_one_output_tells_two_classes_apart(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", x_train=np.zeros((4, 3)), y_train=np.array([0, 1, 0, 1]))
    text = f"data: {{npz: '{tmp_path}/two.npz'}}\nloss: binary_cross_entropy\nmodel:\n  layers:\n  - dense: "
    assert build_model(loads(text + "1")).out_shape == (1,)
    with pytest.raises(ConfigError, match=r"gives \(2,\), but npz has 2 classes; it must give \(1,\) with bin"):
        build_model(loads(text + "2"))


@pytest.mark.parametrize("text, message", MISFITS.items(), ids=range(len(MISFITS)))
def test_what_does_not_fit(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_model(loads(text, "c.yaml"))
    assert caught.value.problems == [message]
