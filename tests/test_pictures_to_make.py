"""The data sets that networks learn to make pictures from: faces, emojis, digits on photographs."""

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_data import REAL

from dltrain.data import SOURCES, Cuts, MissingData, Split, prepare
from dltrain.data.pictures.cifar10 import Cifar10
from dltrain.data.pictures.faces import ATTRIBUTES, Faces
from dltrain.data.pictures.mnist import Mnist
from dltrain.data.pictures.mnist_photographs import MnistPhotographs
from dltrain.data.pictures.openmoji import KEPT, OpenMoji
from dltrain.errors import ConfigError, DataError, SettingError
from dltrain.spec import build_sources, loads
from dltrain.spec.build import placed

NOWHERE = Path("nowhere")
DATA = Path(os.environ.get("DLTRAIN_DATA", "nowhere"))
MODEL = "model: {layers: [flatten, dense: {units: 2, activation: none}]}\n"

# Faces


def faces(**settings: Any) -> dict[str, Split]:
    return Faces(**settings).load(NOWHERE)


@pytest.mark.parametrize(
    ("pairs", "sizes", "with_glasses"),
    [("none", (5000, 1000), 0.20), ("parts", (3600, 400), 0.30), ("glasses", (4400, 1200), 0.50)],
)
def test_how_many_faces_there_are(pairs: Any, sizes: tuple[int, int], with_glasses: float) -> None:
    splits = faces(pairs=pairs)
    assert tuple(map(len, splits.values())) == sizes
    assert abs(splits["train"].targets.mean() - with_glasses) < 0.01
    for split in splits.values():
        assert split.inputs.shape == (len(split), 16, 16, 3) and split.inputs.dtype == np.uint8
        assert np.array_equal(split.targets, split.values["glasses"])
    prepare(Faces(pairs=pairs), NOWHERE, seed=0, cuts=Cuts(validation=0.1))  # the values are what is promised
    one = Faces(pairs=pairs).load(NOWHERE, only="test")["test"]
    assert one.sha256() == splits["test"].sha256()


@REAL
def test_faces_are_the_originals() -> None:
    original = {name: np.load(DATA / "faces" / f"{name}.npz")["x"] for name in ("faces", "glasses", "parts")}
    mixed, twins, painted = faces(), faces(pairs="glasses"), faces(pairs="parts")
    bare, dressed = original["glasses"][:5000], original["glasses"][5000:]
    for found, wanted in (
        (mixed["train"].inputs, original["faces"][:5000]), (mixed["test"].inputs, original["faces"][5000:]),
        (painted["train"].inputs, original["parts"][:3600]), (painted["test"].inputs, original["parts"][3600:4000]),
        (painted["train"].values["parts"], original["parts"][4000:7600]),
        (painted["test"].values["parts"], original["parts"][7600:]),
        (twins["train"].inputs, np.concatenate([bare[:2200], dressed[2200:4400]])),
        (twins["test"].inputs, np.concatenate([bare[4400:], dressed[4400:]])),
        (twins["test"].values["counterpart"], np.concatenate([dressed[4400:], bare[4400:]])),
    ):  # fmt: skip
        assert np.array_equal(found, wanted)


def test_a_counterpart_is_the_same_person_the_other_way() -> None:
    splits = faces(pairs="glasses")
    for split in splits.values():
        changed = (split.inputs != split.values["counterpart"]).any(axis=-1).reshape(len(split), -1).sum(axis=1)
        assert 10 < changed.mean() < 40 and changed.min() > 0 and changed.max() < 70  # of 256 pixels: the glasses alone
    train, test = splits["train"], splits["test"]
    assert np.array_equal(train.targets, np.repeat([0, 1], 2200)) and np.array_equal(
        test.targets, np.repeat([0, 1], 600)
    )
    assert np.array_equal(test.inputs[:600], test.values["counterpart"][600:])
    seen = {person.tobytes() for person in (*train.inputs, *train.values["counterpart"])}
    assert np.mean([person.tobytes() in seen for person in test.inputs]) < 0.02


def test_a_part_map_shows_every_part_in_its_colour() -> None:
    test = faces(pairs="parts")["test"]
    glasses = (test.values["parts"] == [0, 255, 255]).all(axis=-1).any(axis=(1, 2))
    assert np.array_equal(glasses, test.targets == 1)
    shirt = (test.values["parts"] == [0, 255, 0]).all(axis=-1)
    assert shirt.any(axis=(1, 2)).all()
    same = [np.array_equal(picture, parts) for picture, parts in zip(test.inputs, test.values["parts"], strict=True)]
    assert not any(same)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_can_be_the_target_and_is_a_value(name: Any) -> None:
    source = Faces(target=name)
    train = source.load(NOWHERE)["train"]
    assert np.array_equal(train.targets, train.values[name])
    assert np.unique(train.targets).tolist() == list(range(len(source.classes)))


def test_of_several_targets_every_value_is_a_label() -> None:
    source = Faces(target=("skin", "hair", "shirt", "glasses"))
    train = source.load(NOWHERE)["train"]
    assert source.multilabel and train.targets.shape == (5000, 33) and len(source.classes) == 33
    assert (train.targets.sum(axis=1) == 4).all()
    for name in source.targets:
        columns = [i for i, label in enumerate(source.classes) if label.startswith(f"{name} ")]
        assert np.array_equal(train.targets[:, columns].argmax(axis=1), train.values[name])


@pytest.mark.parametrize("only", [{"glasses": "true"}, {"glasses": "no", "mood": "sad"}, {"hair": "#bd1700"}])
def test_only_some_faces(only: dict[str, str]) -> None:
    source = Faces(only=only)
    every, some = faces(), source.load(NOWHERE)
    names = {value.name: value.classes or () for value in source.further}
    for split, part in some.items():
        kept = np.ones(len(every[split]), bool)
        for name, value in only.items():
            code = names[name].index({"true": "yes"}.get(value, value))
            assert (part.values[name] == code).all()
            kept &= every[split].values[name] == code
        assert part.sha256() == every[split].take(np.flatnonzero(kept)).sha256() and 0 < kept.sum() < len(kept)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (
            "{type: faces, only: {glases: true}}",
            r"config:1:27  data.only: there is no attribute 'glases'; there are",
        ),
        ("{type: faces, only: {hair: red}}", r"config:1:27  data.only: hair is never 'red'; it is #009bbd"),
        ("{type: faces, target: []}", r"config:1:29  data.target: names one attribute, or a list of different ones"),
        ("{a: digits, b: {type: faces, only: {hat: 3}}}", r"config:1:42  data.b.only: hat is never '3'; it is no, yes"),
    ],
)
def test_an_attribute_that_there_is_not(data: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        placed(build_sources)(loads(f"data: {data}\n{MODEL}"))


def test_no_face_with_all_of_that() -> None:
    with pytest.raises(SettingError, match=r"no face of the train part has hat: yes, hat_colour: none"):
        faces(only={"hat": "yes", "hat_colour": "none"})


def test_a_round_trip_keeps_what_is_only() -> None:
    spec = loads(f"data: {{type: faces, only: {{glasses: true}}}}\n{MODEL}")
    again = loads(spec.to_yaml())
    assert again == spec and again.sources[""].settings["only"] == {"glasses": "true"}
    assert len(build_sources(again)[""].load(NOWHERE)["test"]) == faces()["test"].values["glasses"].sum()


def test_faces_are_small_and_attributed() -> None:
    folder = files("dltrain.data").joinpath("files")
    assert len(folder.joinpath("faces.npz").read_bytes()) < 1_000_000
    text = folder.joinpath("ATTRIBUTION.md").read_text()
    assert all(word in text for word in ("DiceBear", "Pixel Art", "CC0 1.0", "tools/faces"))


# Digits on photographs


@REAL
def test_a_digit_lies_over_its_photograph() -> None:
    splits = MnistPhotographs().load(DATA)
    digits, photographs = Mnist().load(DATA), Cifar10().load(DATA)
    assert [len(split) for split in splits.values()] == [30_000, 10_000]
    train = splits["train"]
    assert np.array_equal(train.targets, digits["train"].targets[30_000:])
    behind = photographs["test"].inputs
    for image, digit in zip(splits["test"].inputs[:50], digits["test"].inputs, strict=False):
        digit = np.pad(digit, ((2, 2), (2, 2), (0, 0))).astype(int)
        empty = np.broadcast_to(digit == 0, image.shape)
        (photograph,) = behind[(behind[:, empty] == image[empty]).all(axis=1)]
        assert np.array_equal(image, np.abs(photograph.astype(int) - digit))
    assert train.sha256() == MnistPhotographs().load(DATA, only="train")["train"].sha256()


@REAL
def test_plain_digits_are_the_other_half() -> None:
    splits = MnistPhotographs(background="none").load(DATA)
    digits = Mnist().load(DATA)
    for name, part in {"train": digits["train"].take(np.arange(30_000)), "test": digits["test"]}.items():
        assert np.array_equal(splits[name].inputs[:, 2:30, 2:30, 1:2], part.inputs)
        assert not splits[name].inputs[:, :2].any() and np.array_equal(splits[name].targets, part.targets)


@pytest.mark.parametrize("background", ["photographs", "none"])
def test_without_their_files_it_says_which_are_missing(background: Any, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="dltrain data download mnist"):
        MnistPhotographs(background=background).load(tmp_path)


# Emojis


def npz(folder: Path, **changes: Any) -> Path:
    """64 emojis of 64x64 in two groups that are kept, and one that is not; every fifth has a skin tone."""
    rng = np.random.default_rng(0)
    groups = ["food-drink", "objects", "flags"]
    meta = [[f"{i:X}", groups[i % 3], "sub", f"name {i}", "1" if i % 5 == 0 else "", f"{i:X}"] for i in range(64)]
    arrays: dict[str, Any] = {
        "color": rng.integers(0, 256, (64, 64, 64, 3), np.uint8),
        "black": rng.integers(0, 256, (64, 64, 64, 1), np.uint8), "meta": np.array(meta),
    }  # fmt: skip
    arrays = {name: array for name, array in (arrays | changes).items() if array is not None}
    np.savez(folder / "emojis.npz", **arrays)
    return folder / "emojis.npz"


def test_an_emoji_and_its_lines_stay_together(tmp_path: Path) -> None:
    source = OpenMoji(path=str(npz(tmp_path)))
    splits = source.load(NOWHERE)
    kept = [i for i in range(64) if i % 3 != 2 and i % 5 != 0]
    assert {name: len(split) for name, split in splits.items()} == {"train": len(kept) - len(kept) // 8, "test": 4}
    arrays = np.load(tmp_path / "emojis.npz")
    small = {key: arrays[key].reshape(64, 32, 2, 32, 2, -1).mean(axis=(2, 4)) for key in ("color", "black")}
    found = []
    for split in splits.values():
        for image, lines, group in zip(split.inputs, split.values["lines"], split.targets, strict=True):
            (i,) = [i for i in kept if np.abs(small["color"][i] - image).max() <= 0.5]
            assert np.abs(small["black"][i] - lines).max() <= 0.5 and KEPT[group] == arrays["meta"][i, 1]
            found.append(i)
    assert sorted(found) == kept
    prepare(source, NOWHERE, normalize="signed", seed=0)


@REAL
def test_the_split_is_that_of_the_published_pictures() -> None:
    splits = OpenMoji().load(DATA)
    assert (len(splits["train"]), len(splits["test"])) == (1251, 178)
    assert set(np.concatenate([split.targets for split in splits.values()])) <= set(range(len(KEPT)))


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    for i in range(9):
        for name in ("color", "black"):
            (tmp_path / name / "618x618").mkdir(parents=True, exist_ok=True)
            shade = (20 * i, 0, 255) if name == "color" else (10 * i,) * 3
            Image.new("RGB", (40, 40), shade).save(tmp_path / name / "618x618" / f"{i:X}.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "color" / "lonely.png")
    splits = OpenMoji(path=str(tmp_path)).load(NOWHERE)
    assert (len(splits["train"]), len(splits["test"])) == (8, 1)
    for split in splits.values():
        assert np.array_equal(split.inputs[:, 0, 0, 0], 2 * split.values["lines"][:, 0, 0, 0])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"meta": None}, "there is no array 'meta'"),
        ({"black": np.zeros((64, 64, 64, 3), np.uint8)}, "must be bytes"),
        ({"color": np.zeros((64, 64, 64, 3), np.float32)}, "must be bytes"),
        ({"color": np.zeros((64, 60, 60, 3), np.uint8)}, "must be bytes"),
        ({"color": np.zeros((60, 64, 64, 3), np.uint8)}, "must be bytes"),
        ({"meta": np.zeros((64, 6), "U4")}, "holds 0 such pictures; at least 8 are needed"),
        ({"meta": np.zeros((64, 6))}, "must be bytes"),
        ({"color": np.array([{}], object)}, "not an npz file that can be read"),
    ],
)
def test_an_archive_of_something_else(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=problem):
        OpenMoji(path=str(npz(tmp_path, **changes))).load(NOWHERE)


def test_damaged_archives_and_folders_give_one_error(tmp_path: Path) -> None:
    content = npz(tmp_path).read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(content[: rng.integers(1, len(content))] if rng.random() < 0.5 else content)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        (tmp_path / "emojis.npz").write_bytes(damaged)
        try:
            OpenMoji(path=str(tmp_path / "emojis.npz")).load(NOWHERE)
        except DataError as error:
            assert str(tmp_path) in str(error)
    with pytest.raises(DataError, match="has no folder 'color'"):
        OpenMoji(path=str(tmp_path)).load(NOWHERE)
    with pytest.raises(MissingData, match=r"openmoji64\.npz: is not here\. Get the pictures from https"):
        OpenMoji().load(tmp_path)
    assert "CC BY-SA 4.0" in (SOURCES["openmoji"].__doc__ or "")
