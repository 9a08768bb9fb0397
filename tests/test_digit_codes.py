"""Codes of digits, and modules that are trained apart, chained and trained together."""

import os
from pathlib import Path

import numpy as np
import pytest
from commands import dltrain, done

from dltrain.data.pictures.digit_codes import DigitCodes
from dltrain.errors import ConfigError
from dltrain.spec import load

REAL = pytest.mark.skipif("DLTRAIN_DATA" not in os.environ, reason="DLTRAIN_DATA is not set")


def test_perfect_digits_spell_their_codes() -> None:
    source = DigitCodes(codes=7, length=3, digits="perfect", examples=20)
    splits = source.load(Path("nowhere"))
    assert {name: len(split) for name, split in splits.items()} == {"train": 20, "validation": 7, "test": 7}
    assert len(set(source.classes)) == 7 and source.input_shape == (3, 10)
    for inputs, target in zip(splits["train"].inputs, splits["train"].targets, strict=True):
        assert "".join(map(str, np.asarray(inputs).argmax(axis=1).tolist())) == source.classes[target]
    with pytest.raises(ConfigError, match=r"data.codes: at most"):
        DigitCodes(codes=60, length=2)


@REAL
def test_written_digits_are_those_of_the_code() -> None:
    """Without noise every picture is one of MNIST's of the right digit; with noise only the noise is new."""
    from dltrain.data.pictures.mnist import Mnist

    mnist = Mnist().load(Path(os.environ["DLTRAIN_DATA"]), only="test")["test"]
    clean, noisy = (DigitCodes(noise=noise).load(Path(os.environ["DLTRAIN_DATA"]), only="test")["test"]
                    for noise in (0.0, 0.5))  # fmt: skip
    known = {np.asarray(pixels).tobytes(): digit for pixels, digit in zip(mnist.inputs, mnist.targets, strict=True)}
    for inputs, target in zip(np.asarray(clean.inputs)[:50], clean.targets, strict=False):
        pixels = (inputs * 255).round().astype(np.uint8)
        assert "".join(str(known[part.tobytes()]) for part in pixels) == DigitCodes().classes[target]
    assert np.array_equal(clean.targets, noisy.targets)
    inside = np.asarray(noisy.inputs)
    assert inside.min() == 0 and inside.max() == 1 and 0.1 < np.abs(inside - np.asarray(clean.inputs)).mean() < 0.4


PARTS = """\
data: {type: digit_codes, codes: 4, length: 2, digits: perfect, examples: 40, normalize: none}
networks: {reader: {load: first}, lexicon: {layers: [flatten, dense: {units: 4, activation: none}]}}
values: {read: {reader: digits, over: 2, then: softmax}, found: {lexicon: read}}
updates: {both: {networks: [reader, lexicon], minimise: [cross_entropy: {of: found, target: label}]}}
optimizer: {type: adam, lr: 0.1}
train: {epochs: 3, batch_size: 20}
"""
FIRST = """\
data: {type: npz, path: one.npz, normalize: none, validation: 10}
model: {layers: [dense: {units: 10, activation: none}]}
optimizer: {type: adam, lr: 0.1}
train: {epochs: 2, batch_size: 10}
"""


def test_compare_tells_alone_chained_and_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone is what the module's own run reached, chained what validation says before the first step; also after a
    run was continued, and beside one that started from nothing."""
    monkeypatch.chdir(tmp_path)
    digits = np.arange(60) % 10
    np.savez("one.npz", x_train=np.eye(10, dtype=np.float32)[digits], y_train=digits)
    Path("first.yaml").write_text(FIRST)
    Path("parts.yaml").write_text(PARTS)
    alone = done("fit", "first.yaml", "--name", "first", "--json").json["validation"]["accuracy"]
    done("fit", "parts.yaml", "--name", "tuned", "--threads", 1, "train.max_steps=2")
    done("fit", "--resume", "tuned", "train.max_steps=null", "--threads", 1)
    done("fit", "parts.yaml", "--name", "scratch", "networks.reader.load=null")
    asis = done("fit", "parts.yaml", "--name", "asis", "train.max_steps=1", "optimizer.lr=1e-30", "--json").json
    found = done("compare", "tuned", "scratch", "--json").json["reused"]
    tuned, scratch = sorted(found, key=lambda row: not row["alone"])
    assert tuned["alone"] == {"reader": alone}
    assert tuned["chained"]["mean"] == asis["validation"]["accuracy"]
    assert tuned["tuned"]["mean"] > tuned["chained"]["mean"]
    assert scratch["alone"] == {} and scratch["chained"] is None and scratch["tuned"]["mean"] > 0
    table = done("compare", "tuned", "scratch").out
    assert "alone" in table and "tuned together" in table and f"reader {alone:.4f}" in table
    two = dltrain("compare", "first", "first")
    assert two.code and "nothing to compare" in two.err


def test_the_shipped_modules_fit_together() -> None:
    """The chain has the layers of both, one reader for all five digits."""
    spec = load("digit_codes")
    assert spec.networks and spec.values and spec.values["read"].settings["over"] == 5
    for name, part in spec.networks.items():
        alone = load(f"digit_codes_{name}").model
        assert alone and [layer.type for layer in part.layers] == [layer.type for layer in alone.layers]
