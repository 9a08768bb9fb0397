"""The configs that come with dltrain: each is explained, valid, and runs."""

import re
from pathlib import Path

import pytest
import yaml
from commands import dltrain, done

from dltrain.spec import build_model, load, loads, shipped_configs

CONFIGS = shipped_configs()
WITHOUT_DATA = {"efficientnet_lite0", "vgg16", "lecture_conv_exercise", "weight_sharing"}
EXPERIMENTS = {
    "circle_by_hand", "deep_sigmoid", "digits_svm", "dying_relu", "few_digits_dropout", "mnist_pooling",
    "noisy_digits_blur", "penguins_mlp", "playground_circle_l1", "playground_circle_l2", "signals_conv", "valley",
    "volumes_conv",
}  # fmt: skip

DESIGN = """
version: 1
seed: 0
data: {type: cifar10, validation: 0, normalize: channel, augment: []}
model:
  activation: relu            # default for conv and dense layers
  init: he_normal
  layers:
    - conv: {channels: 32, kernel: 3, padding: same}
    - conv: {channels: 32, kernel: 3, padding: same}
    - max_pool: 2
    - dropout: 0.25
    - conv: {channels: 64, kernel: 3, padding: same}
    - conv: {channels: 64, kernel: 3, padding: same}
    - max_pool: 2
    - dropout: 0.25
    - flatten
    - dense: {units: 512}
    - dropout: 0.5
    - dense: {units: 10, activation: none}
loss: cross_entropy
penalty: {l2: 0}
optimizer: {type: adam, lr: 1e-3}
schedule: constant
train: {epochs: 10, batch_size: 128}
"""


def test_what_is_shipped() -> None:
    nets = {
        "cifar_cnn",
        "cifar_finetune",
        "cifar_five",
        "cifar_residual",
        "cifar_resnet20",
        "cifar_unet_denoise",
        "char_gru",
        "char_lstm",
        "char_transformer",
        "digit_codes",
        "digit_codes_lexicon",
        "digit_codes_reader",
        "digits_cnn",
        "digits_conditional_gan",
        "digits_gan",
        "faces_attributes",
        "faces_gan",
        "mnist_gan",
        "faces_captions",
        "faces_cyclegan",
        "faces_pix2pix",
        "faces_pix2pix_l1",
        "mnist_judge",
        "mnist_lenet5",
        "mnist_photographs_cyclegan",
        "openmoji_captions",
        "openmoji_colour",
        "smoke",
        "style_network",
        "style_picture",
    }
    assert set(CONFIGS) == nets | EXPERIMENTS | WITHOUT_DATA
    assert {name for name, path in CONFIGS.items() if load(path).data is None} == WITHOUT_DATA


@pytest.mark.parametrize("name", CONFIGS)
def test_the_header_says_what_it_teaches(name: str) -> None:
    header = re.match(r"(#.*\n)+", CONFIGS[name].read_text(encoding="utf-8"))
    assert header and header[0].startswith(f"# {name}: ") and "# What it teaches: " in header[0]


@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_valid(name: str) -> None:
    assert done("validate", name).out.startswith(f"{name}: valid; ")
    yaml.safe_load(CONFIGS[name].read_text(encoding="utf-8"))  # other tools can read it too


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - WITHOUT_DATA))
def test_smoke(name: str, tmp_path: Path) -> None:
    """Two batches of training and one of validation, whether or not the data set is there."""
    said = done("fit", name, "--smoke", "--data-dir", tmp_path / "empty", "--runs-dir", tmp_path / "runs", "--json")
    result = said.json
    assert (result["status"], result["epochs"], result["steps"]) == ("done", 1, 2)
    assert {"train", "validation", "test"} <= result.keys()
    (checkpoint,) = Path(result["run"]).glob("checkpoints/*")
    assert checkpoint.name == "step-00000002.safetensors"


@pytest.mark.parametrize("name", sorted(WITHOUT_DATA))
def test_what_is_only_to_count_says_so(name: str, tmp_path: Path) -> None:
    said = dltrain("fit", name, "--smoke", "--runs-dir", tmp_path / "runs")
    assert said.code == 2 and "has no data to train on; it can be inspected only" in said.errors[0]
    assert not (tmp_path / "runs").exists()


def test_cifar_cnn_is_the_one_that_measurements_are_made_with() -> None:
    assert load("cifar_cnn").resolved() == loads(DESIGN).resolved()


def test_smoke_takes_forty_steps() -> None:
    spec = load("smoke")
    assert spec.train.max_steps == 40 and sum(p.size for p in build_model(spec).parameters.values()) < 10_000
