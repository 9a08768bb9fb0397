"""Pictures in folders: how they are read, what is refused, and a set that is decoded ahead of the training."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import train
from commands import done
from conftest import device_of
from PIL import Image

from dltrain.data import ahead as module
from dltrain.data import prepare
from dltrain.data.ahead import Ahead, parts, read_all
from dltrain.data.pictures.image_folder import ImageFiles, ImageFolder
from dltrain.data.pictures.images import ENDINGS, read_image
from dltrain.data.source import OnDemand
from dltrain.errors import DataError
from dltrain.spec import build_job, loads, settle

NOWHERE = Path("nowhere")
COLOURS = {"blue": (0, 0, 250), "green": (0, 250, 0), "red": (250, 0, 0)}


def folder_of(place: Path, each: int = 5, size: tuple[int, int] = (8, 6), seed: int = 0) -> Path:
    """Pictures of a colour for each class, a little different from each other; size: (height, width)."""
    rng = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (place / name).mkdir(parents=True)
        for i in range(each):
            pixels = np.clip(np.array(colour) + rng.integers(-40, 41, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / name / f"{i:03}.png")
    return place


# --- which pictures --------------------------------------------------------------------------------------------------


def test_classes_and_pictures(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "a")
    (place / "green" / "deeper").mkdir()
    Image.new("L", (3, 3), 7).save(place / "green" / "deeper" / "x.JPG")
    (place / "green" / "notes.txt").write_text("no picture")
    (place / ".hidden").mkdir()
    source = ImageFolder(path=str(place), size=(8, 6))
    assert source.input_shape == (8, 6, 3) and source.classes == ("blue", "green", "red")
    splits = source.load(NOWHERE)
    assert list(splits) == ["train"] and np.bincount(splits["train"].targets).tolist() == [5, 6, 5]
    inputs = splits["train"].inputs
    assert isinstance(inputs, np.ndarray) and inputs.dtype == np.uint8 and inputs.shape == (16, 8, 6, 3)
    expected = [np.array(Image.open(path)) for path in sorted((place / "blue").iterdir())]
    assert np.array_equal(inputs[:5], expected)
    assert inputs[:, :, :, 2].mean(axis=(1, 2)).argmax() in range(5)
    grey = ImageFolder(path=str(place), size=(4, 4), channels=1).load(NOWHERE)["train"].inputs
    assert grey.shape == (16, 4, 4, 1)
    assert grey[10].tolist() == np.full((4, 4, 1), 7).tolist(), "its folder comes after the files before it"


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_splits_of_its_own(validation: str, tmp_path: Path) -> None:
    for i, name in enumerate(("train", "test", validation)):
        folder_of(tmp_path / name, each=4 - i, seed=i)
    for picture in (tmp_path / "test" / "red").iterdir():
        picture.unlink()
    (tmp_path / "test" / "red").rmdir()  # a class may be missing there
    splits = ImageFolder(path=str(tmp_path), size=(8, 6)).load(NOWHERE)
    assert {name: len(split) for name, split in splits.items()} == {"train": 12, "test": 6, "validation": 6}
    assert list(ImageFolder(path=str(tmp_path), size=(8, 6)).load(NOWHERE, only="test")) == ["test"]
    (tmp_path / "test" / "pink").mkdir()
    with pytest.raises(DataError, match="'pink' is no class of the training part"):
        ImageFolder(path=str(tmp_path), size=(8, 6)).load(NOWHERE)


@pytest.mark.parametrize(
    "names", [("Train", "Valid", "TEST"), ("training", "dev", "Testing"), ("TRAIN", "VAL", "test")]
)
def test_names_of_splits(names: tuple[str, ...], tmp_path: Path) -> None:
    for i, name in enumerate(names):
        folder_of(tmp_path / name, each=4 - i, seed=i)
    (tmp_path / "extra").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    source = ImageFolder(path=str(tmp_path), size=(8, 6))
    sizes = {name: len(split) for name, split in source.load(NOWHERE).items()}
    assert sizes == {"train": 12, "validation": 9, "test": 6}
    assert source.notes == (
        f"{tmp_path}: left out beside {names[0]}: extra; classes belong into the splits' folders",
    )  # fmt: skip


def test_folders_that_could_be_two_things(tmp_path: Path) -> None:
    for name in ("train", "val", "valid"):
        folder_of(tmp_path / "twice" / name, each=1)
    with pytest.raises(DataError, match=r"val and .*valid are both for validation; put them into one"):
        ImageFolder(path=str(tmp_path / "twice"), size=(8, 6)).load(NOWHERE)
    for name in ("val", "test"):
        folder_of(tmp_path / "none" / name, each=1)
    with pytest.raises(DataError, match=r"none: holds test, val, but no folder train"):
        ImageFolder(path=str(tmp_path / "none"), size=(8, 6)).load(NOWHERE)
    folder_of(tmp_path / "class", each=1)
    (tmp_path / "class" / "red").rename(tmp_path / "class" / "test")
    source = ImageFolder(path=str(tmp_path / "class"), size=(8, 6))
    assert len(source.load(NOWHERE)["train"]) == 3 and source.classes == ("blue", "green", "test")
    assert source.notes == (
        f"{tmp_path / 'class' / 'test'} is taken for a class, for there is no folder train beside it",
    )
    folder_of(tmp_path / "outer" / "inner", each=1)
    with pytest.raises(DataError, match=f"did you mean data.path: {tmp_path / 'outer' / 'inner'}"):
        ImageFolder(path=str(tmp_path / "outer"), size=(8, 6)).load(NOWHERE)


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "a", each=2)
    plain = ImageFolder(path=str(place), size=(8, 6)).load(NOWHERE)["train"].sha256()
    for hidden in ("red/._000.png", "red/.DS_Store", "red/Thumbs.db", ".ipynb_checkpoints/x.png",
                   "__MACOSX/red/._1.png", "red/.ipynb_checkpoints/000.png"):  # fmt: skip
        (place / hidden).parent.mkdir(parents=True, exist_ok=True)
        (place / hidden).write_bytes(b"junk")
    source = ImageFolder(path=str(place), size=(8, 6))
    assert source.load(NOWHERE)["train"].sha256() == plain and source.notes == ()
    for other in ("red/a.svg", "blue/b.SVG", "blue/photo", "list.csv", "stray.png"):
        (place / other).write_bytes(b"junk")
    assert source.load(NOWHERE)["train"].sha256() == plain
    assert source.notes == (
        f"{place}: 5 of 11 files are left out, which are no pictures in a class's folder (2 .svg, 1 without an ending, "
        "1 .csv, 1 .png; the first is blue/b.SVG); save pictures as PNG or JPEG",
    )


def test_every_format_is_found(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "a", each=1)
    for ending in ENDINGS:
        kind = {".jfif": "JPEG", ".jpe": "JPEG", ".pnm": "PPM", ".pbm": "PPM", ".pgm": "PPM", ".dib": "BMP"}.get(ending)
        Image.new("RGB", (9, 9), (10, 20, 30)).save(place / "red" / f"x{ending.upper()}", kind)
    split = ImageFolder(path=str(place), size=(8, 6)).load(NOWHERE)["train"]
    assert np.bincount(split.targets).tolist() == [1, 1, 1 + len(ENDINGS)]
    assert isinstance(split.inputs, np.ndarray) and abs(split.inputs[3:].mean(axis=(0, 1, 2)) - [10, 20, 30]).max() < 2


def test_what_was_left_out_of_pictures_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = folder_of(tmp_path / "a", each=1)
    Image.fromarray(np.full((9, 9), 40000, np.uint16)).save(place / "green" / "deep.png")
    Image.new("RGB", (9, 9)).save(
        place / "red" / "many.gif", save_all=True, append_images=[Image.new("RGB", (9, 9), "red")]
    )
    source = ImageFolder(path=str(place), size=(8, 6))
    source.load(NOWHERE)
    many, deep = "several in one file, of which the first is read", "16 bits a channel, of which the upper 8 are read"
    assert source.notes == (
        f"1 of 5 pictures: {many}; the first is {place / 'red' / 'many.gif'}",
        f"1 of 5 pictures: {deep}; the first is {place / 'green' / 'deep.png'}",
    )
    source = ImageFolder(path=str(place), size=(8, 6), memory=0)
    inputs = source.load(NOWHERE)["train"].inputs
    assert not caplog.records
    for _ in range(2):
        inputs[np.arange(5)]
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"{place / 'green' / 'deep.png'} and perhaps others: {deep}",
        f"{place / 'red' / 'many.gif'} and perhaps others: {many}",
    ], "once each"


def test_background(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "a", each=1)
    Image.new("RGBA", (8, 6), (9, 9, 9, 0)).save(place / "red" / "x.png")
    for background, expected in (("white", [255] * 3), ("black", [0] * 3), ((1, 2, 3), [1, 2, 3])):
        source = ImageFolder(path=str(place), size=(8, 6), background=background)
        prepared = prepare(source, NOWHERE, seed=0)
        assert prepared.splits["train"].inputs[3, 0, 0].tolist() == expected
        assert prepared.preprocessing.pixels.background == background


def test_refuses(tmp_path: Path) -> None:
    def refused(place: Path) -> str:
        with pytest.raises(DataError) as caught:
            source = ImageFolder(path=str(place), size=(8, 6))
            assert source.classes
            source.load(NOWHERE)
        return str(caught.value)

    assert "no such folder" in refused(tmp_path / "nowhere")
    assert "no such folder" in refused(Path(__file__))
    place = folder_of(tmp_path / "a", each=2)
    (place / "empty").mkdir()
    (place / "empty" / "a.txt").touch()
    assert refused(place).startswith(f"{place / 'empty'}: this class is empty")
    (place / "empty" / "a.txt").rename(place / "empty" / "a.png")
    assert refused(place).startswith(f"{place / 'empty' / 'a.png'}: not an image that can be read")
    (tmp_path / "b" / "only").mkdir(parents=True)
    assert "holds 1 folders" in refused(tmp_path / "b")


# --- how they are read -----------------------------------------------------------------------------------------------


def test_a_picture_is_turned_as_its_exif_data_say(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)
    across = pixels.transpose(1, 0, 2)
    turned = {1: pixels, 3: pixels[::-1, ::-1], 6: across[:, ::-1], 8: across[::-1]}
    for orientation, expected in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
        assert np.array_equal(read_image(tmp_path / "a.png", expected.shape), expected)


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[..., 3] = [[0, 51, 255], [255, 255, 0]]
    expected = [[255, 204, 0], [0, 0, 255]]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels[..., 2:]).save(tmp_path / "b.png")  # grey and alpha
    for name in "ab":
        assert read_image(tmp_path / f"{name}.png", (2, 3, 1))[..., 0].tolist() == expected
        assert read_image(tmp_path / f"{name}.png", (2, 3, 3))[..., 1].tolist() == expected
    indexed = Image.fromarray(np.array([[0, 1, 2], [2, 2, 0]], np.uint8), "L").convert("P")
    indexed.putpalette([9, 9, 9, 1, 2, 3, 10, 20, 30])
    indexed.save(tmp_path / "c.png", transparency=0)
    found = read_image(tmp_path / "c.png", (2, 3, 3)).tolist()
    assert found[0] == [[255] * 3, [1, 2, 3], [10, 20, 30]] and found[1][2] == [255] * 3


def test_large_jpegs_are_about_what_they_were(tmp_path: Path) -> None:
    across = np.linspace(0, 255, 400)[None, :, None] * np.ones((300, 1, 3))
    Image.fromarray(across.astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    found = read_image(tmp_path / "a.jpg", (12, 16, 3)).astype(float)
    np.testing.assert_allclose(found, across.reshape(12, 25, 16, 25, 3).mean(axis=(1, 3)), atol=4)


# --- more than fits into memory --------------------------------------------------------------------------------------


class Counted(OnDemand):
    """Inputs that note which of them were made."""

    def __init__(self, n: int, width: int = 4):
        super().__init__((n, width), np.float32)
        self.made: list[int] = []
        self.lock = threading.Lock()

    def example(self, index: int) -> Any:
        with self.lock:
            self.made.append(index)
        return np.full(self.shape[1:], index, self.dtype)

    def take(self, indices: Any) -> OnDemand:
        raise NotImplementedError

    def marks(self) -> bytes:
        raise NotImplementedError


def test_what_is_asked_for_is_what_comes() -> None:
    inputs = Counted(500)
    ahead = Ahead(inputs)
    order = np.random.default_rng(0).permutation(500)
    for _ in range(2):
        inputs.made.clear()
        ahead.plan(order)
        for first in range(0, 500, 30):
            assert ahead[order[first : first + 30]][:, 0].tolist() == order[first : first + 30].tolist()
        assert sorted(inputs.made) == list(range(500)), "each was made once"
    assert ahead[np.array([7, 7, 3])][:, 3].tolist() == [7, 7, 3], "also what nobody announced"
    assert np.concatenate(list(parts(inputs, order[:99])))[:, 0].tolist() == order[:99].tolist()
    assert np.array_equal(read_all(inputs)[:, 1], np.arange(500))


def test_only_a_few_are_made_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEWEST", 32)
    monkeypatch.setattr(module, "WINDOW", 1)
    inputs = Counted(1000)
    ahead = Ahead(inputs)
    order = np.arange(1000)[::-1].copy()
    ahead.plan(order)
    assert ahead[order[:5]][0, 0] == 999
    ahead._pool.shutdown()
    assert sorted(inputs.made, reverse=True) == order[:48].tolist(), "its run and two after it"
    ahead = Ahead(inputs)
    inputs.made.clear()
    ahead.plan(order)
    ahead[order[600:605]]  # a training that goes on in the middle of an epoch
    ahead._pool.shutdown()
    assert set(inputs.made) <= set(order[560:640].tolist()), "its run, two before and two after it"
    big = Counted(1, width=1 << 20)
    assert (Ahead(big).run, Ahead(big).window) == (1, 32)


def test_no_more_threads_than_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    ahead = Ahead(Counted(500))
    ahead.plan(np.arange(500))
    assert ahead[np.arange(30)][:, 0].tolist() == list(range(30)) and len(ahead._pool._threads) <= 2


def test_several_threads_may_ask() -> None:
    inputs = Counted(2000)
    ahead, order = Ahead(inputs), np.random.default_rng(0).permutation(2000)
    ahead.plan(order)
    wrong = []

    def ask(part: Any) -> None:
        for first in range(0, len(part), 16):
            if ahead[part[first : first + 16]][:, 0].tolist() != part[first : first + 16].tolist():
                wrong.append(first)

    threads = [threading.Thread(target=ask, args=(order[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and sorted(inputs.made) == list(range(2000))


CONFIG = """
data: {{type: image_folder, path: {path}, size: [8, 6], memory: {memory}, validation: 0.2, test: 0.2, augment: [flip]}}
model: {{layers: [conv: 4, flatten, dense: {{units: 3, activation: none}}]}}
train: {{epochs: 2, batch_size: 24, shard_size: 7, max_steps: {max_steps}}}
"""


@pytest.mark.parametrize("max_steps", ["null", 3])
def test_streaming_changes_no_bits(max_steps: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded at the start or on the way, on any threads; also where an epoch is broken off."""
    monkeypatch.setattr(module, "WINDOW", 1)
    place = folder_of(tmp_path / "pictures", each=30)
    device, found = device_of(np.float32), set()
    for memory, threads in ((1, 1), (0, 1), (0, 2), (0, 4)):
        spec = loads(CONFIG.format(path=place, memory=memory, max_steps=max_steps))
        job = build_job(settle(spec, device), device, NOWHERE)
        result, _ = train(job, tmp_path, threads)
        found.add((result["weights_sha256"], str(result["test"]), job.preprocessing.mean))
    assert len(found) == 1


def test_statistics_of_a_large_set_come_from_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = str(folder_of(tmp_path / "pictures", each=30))
    source = ImageFolder(path=place, size=(8, 6), memory=0)
    whole = source.load(NOWHERE)["train"].inputs
    assert isinstance(whole, ImageFiles)
    mean = prepare(source, NOWHERE, seed=0).preprocessing.mean
    np.testing.assert_allclose(mean, read_all(whole).mean(axis=(0, 1, 2)), rtol=1e-12)
    monkeypatch.setattr("dltrain.data.statistics.SAMPLE", 9)
    monkeypatch.setattr("dltrain.data.statistics.LARGE", 90 * 8 * 6 * 3 - 1)
    learned = prepare(source, NOWHERE, seed=0).preprocessing
    in_memory = prepare(ImageFolder(path=place, size=(8, 6)), NOWHERE, seed=0).preprocessing
    np.testing.assert_allclose(in_memory.mean, mean, rtol=1e-12, err_msg="of all that is in memory")
    line = "data.normalize: mean and spread are those of 9 of the 90 training examples, at equal distances, for all of "
    assert [note.startswith(line) for note in prepare(source, NOWHERE, seed=0).notes] == [True]
    assert not prepare(source, NOWHERE, normalize="none", seed=0).notes
    assert not prepare(ImageFolder(path=place, size=(8, 6)), NOWHERE, seed=0).notes
    sample = read_all(whole)[::10].reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(learned.mean, sample.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(learned.std, sample.std(axis=0), rtol=1e-12)


def test_from_training_to_predicting(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "pictures", each=30)
    (tmp_path / "a.yaml").write_text(CONFIG.format(path=place, memory=0, max_steps="null"))
    runs = ["--runs-dir", tmp_path / "runs", "--json"]
    said = done("fit", tmp_path / "a.yaml", "train.epochs=8", *runs)
    assert said.json["test"]["accuracy"] == 1.0
    assert "train: 58 examples (blue " in said.err and "test: 18 examples (" in said.err
    asked = done("predict", place / "red" / "003.png", place / "blue" / "001.png", *runs).json["predictions"]
    assert [row["class"] for row in asked] == ["red", "blue"]


def test_a_damaged_picture_ends_the_training_by_its_name(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "pictures", each=30)
    (place / "red" / "017.png").write_bytes((place / "red" / "017.png").read_bytes()[:60])
    spec = loads(CONFIG.format(path=place, memory=0, max_steps="null").replace("[flip]", "[flip], normalize: none"))
    device = device_of(np.float32)
    with pytest.raises(DataError, match=r"017\.png: not an image that can be read"):
        train(build_job(settle(spec, device), device, NOWHERE), tmp_path)
