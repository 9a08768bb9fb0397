"""Characters as classes: which examples a text makes, and telling the next character."""

import gzip
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from commands import dltrain, done

from dltrain.data import Pixels, Preprocessing, prepare
from dltrain.data.text import Text, read_ending
from dltrain.errors import DataError

NOWHERE = Path("nowhere")


def written(folder: Path, text: str | bytes, name: str = "a.txt") -> str:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return str(folder / name)


def decoded(source: Text, split: str) -> list[tuple[str, str]]:
    """(characters, next one) of every example."""
    found = source.load(NOWHERE)[split]
    windows = found.inputs[np.arange(len(found))]
    assert windows.dtype == np.uint8 and (windows.sum(axis=-1) == 1).all()
    letters = np.array(source.classes)
    return [("".join(w), str(c)) for w, c in zip(letters[windows.argmax(axis=-1)], letters[found.targets], strict=True)]


def test_examples(tmp_path: Path) -> None:
    text = "abcabéab\nab cé"
    source = Text(path=written(tmp_path, text), length=3, stride=2, held_out=(0.0, 0.0))
    assert source.classes == ("\n", " ", "a", "b", "c", "é") and source.input_shape == (3, 6)
    assert list(source.load(NOWHERE)) == ["train"]
    assert decoded(source, "train") == [(text[i : i + 3], text[i + 3]) for i in range(0, len(text) - 3, 2)]
    windows = source.load(NOWHERE)["train"].inputs
    assert np.array_equal(windows.take(np.array([4, 1]))[np.array([0, 1])], windows[np.array([4, 1])])


def test_the_end_is_held_out(tmp_path: Path) -> None:
    text = "".join(chr(97 + i % 7) for i in range(100))
    source = Text(path=written(tmp_path, text), length=4, stride=1, held_out=(0.2, 0.1))
    parts = {"train": text[:70], "validation": text[70:90], "test": text[90:]}
    for split, part in parts.items():
        assert decoded(source, split) == [(part[i : i + 4], part[i + 4]) for i in range(len(part) - 4)]
    assert list(source.load(NOWHERE, only="test")) == ["test"]


def test_shakespeare_comes_along() -> None:
    packed = files("dltrain.data").joinpath("files", "shakespeare.txt.gz").read_bytes()
    text = gzip.decompress(packed).decode()
    assert len(text) == 1_115_394 and text.startswith("First Citizen:")
    source = Text()
    assert source.input_shape == (40, 65) and "".join(source.classes) == "".join(sorted(set(text)))
    assert len(source.load(NOWHERE)["train"]) == -(-(round(len(text) * 0.9) - 40) // 3)
    learned = prepare(source, NOWHERE, seed=0).preprocessing
    assert (set(learned.mean), set(learned.std)) == ({0.0}, {1.0}), "0 and 1 stay"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff\xfe", "not a text in UTF-8"),
        ("aaaa", "holds 1 different characters"),
        ("".join(map(chr, range(32, 1100))), "1,068 different characters"),
        ("abab", "the train part has 4 characters, which is too short for 40"),
    ],
)
def test_refuses(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        source = Text(path=written(tmp_path, text), held_out=(0.0, 0.0))
        assert source.classes
        source.load(NOWHERE)
    with pytest.raises(DataError, match="no such file"):
        assert Text(path="nowhere.txt").classes


def test_what_is_wrong_with_the_text_that_comes_along() -> None:
    with pytest.raises(DataError, match="gz: the train part has 1,003,855 characters, which is too"):
        Text(length=2_000_000).load(NOWHERE)


@pytest.mark.parametrize("shares", ["0.6, 0.6", "0.5, 0.5"])
def test_a_share_must_be_left_to_train_on(shares: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text((CONFIG % "a.txt").replace("0.1, 0.1", shares))
    said = dltrain("validate", tmp_path / "a.yaml")
    place, what = "a.yaml:2:65", f"{shares.replace(',', ' and')} leave nothing to train on"
    assert said.code == 2 and said.errors == [f"{tmp_path}/{place}  data.held_out: {what}"]


CONFIG = """
data: {type: text, path: %s, length: 4, stride: 1, held_out: [0.1, 0.1]}
model: {layers: [flatten, dense: 32, dense: {units: 10, activation: none}]}
optimizer: {adam: {lr: 0.01}}
train: {epochs: 4, batch_size: 32}
"""


def test_from_training_to_predicting(tmp_path: Path) -> None:
    verse = "row row row your boat\n"
    (tmp_path / "a.yaml").write_text(CONFIG % written(tmp_path, verse * 60))
    runs = ["--runs-dir", tmp_path / "runs"]
    fit = done("fit", tmp_path / "a.yaml", *runs, "--json").json
    assert fit["test"]["accuracy"] > 0.9 and "validation" in fit
    for asked, told in (("your bo", "a"), ("w your boat", "\n"), ("r boat\n", "r")):
        path = written(tmp_path, asked, "asked.txt")
        (row,) = done("predict", path, *runs, "--json").json["predictions"]
        assert row["class"] == told
    assert "\\n" in done("predict", written(tmp_path, "your boat", "asked.txt"), *runs).out
    assert "→\\n" in done("eval", *runs).out
    for asked, message in (("ow", "has 2 characters, but the network needs 4"), ("boaX", "'X', among the last 4")):
        said = dltrain("predict", written(tmp_path, asked, "asked.txt"), *runs)
        assert said.code == 1 and message in said.errors[0]
    table = dltrain("predict", written(tmp_path, "character\na\n", "a.csv"), *runs)
    assert table.code == 1 and "trained on a text, not on files that end in .csv" in table.errors[0]


def test_a_network_that_was_not_trained_on_a_text(tmp_path: Path) -> None:
    learned = Preprocessing((8, 8, 1), ("a", "b"), "none", (0.0,), (1.0,), Pixels())
    with pytest.raises(DataError, match="not trained on a text"):
        read_ending(Path(written(tmp_path, "abc")), learned)
