"""A batch is named values: what else a data set knows of its examples goes wherever inputs and targets go."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dltrain.backend import Device, to_host
from dltrain.data import (
    AUGMENTATIONS,
    SOURCES,
    Augmentation,
    Cuts,
    Fold,
    Preprocessing,
    Source,
    Split,
    Value,
    generated,
    load_split,
    prepare,
)
from dltrain.data.pictures.digits import Digits
from dltrain.errors import DataError, SettingError, ShapeError
from dltrain.job.loader import DataLoader, StepKey

NOWHERE = Path("nowhere")
KEY = StepKey(seed=3, epoch=2, step=5)


class Made(Source):
    """Pictures with a further value of every kind; each tells the number of its example."""

    input_shape = (6, 5, 3)
    classes = ("even", "odd")
    further = (
        Value("twin", "picture", (6, 5, 3)),
        Value("shade", "picture", (6, 5, 1)),
        Value("number", "numbers", (2,)),
        Value("third", "class", (), ("a", "b", "c")),
        Value("flags", "labels", (2,), ("x", "y")),
    )

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        return {name: made(40) for name in ("train", "test") if only in (None, name)}


def made(examples: int) -> Split:
    i = np.arange(examples)
    images = np.random.default_rng(0).integers(0, 256, (examples, 6, 5, 3), np.uint8)
    values = {
        "twin": images,
        "shade": images[..., :1].copy(),
        "number": np.stack([i, -i], axis=1).astype(np.float32),
        "third": i % 3,
        "flags": np.stack([i % 2, i % 3 == 0], axis=1).astype(np.float32),
    }
    return Split(images, i % 2, values=values)


def loader(split: Split, learned: Preprocessing, device: Device, *augment: Augmentation) -> DataLoader:
    return DataLoader(split, learned, augment, device)


# What a data set says


@pytest.mark.parametrize("name", list(SOURCES))
def test_every_data_set_names_its_values_differently(name: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"size": (4, 4)} if name == "image_folder" else {}
    needs_files = name in ("csv", "npz", "image_folder", "pictures")
    if needs_files:
        return  # their classes are in the files; tests/test_sources.py reads some
    names = [value.name for value in SOURCES[name](**settings).values]
    assert len(set(names)) == len(names) >= 2 and "" not in names and not any("." in name for name in names)


def test_inputs_and_targets_have_their_usual_names() -> None:
    found = {name: SOURCES[name]().values for name in ("digits", "penguins", "valley", "signals")}
    assert [(v.name, v.kind, v.shape, v.count) for v in found["digits"]] == [
        ("image", "picture", (8, 8, 1), 64), ("label", "class", (), 10)
    ]  # fmt: skip
    assert [(v.name, v.kind, v.shape) for v in found["valley"]] == [
        ("input", "numbers", (5,)), ("target", "numbers", (1,))
    ]  # fmt: skip
    assert [v.name for v in found["penguins"]] == [v.name for v in found["signals"]] == ["input", "label"]


def test_values_of_another_kind_than_promised_are_refused() -> None:
    split = made(40)
    wrong = {
        "twin": split.values["twin"].astype(np.float32), "shade": split.values["twin"],
        "number": split.values["number"].astype(np.float64), "third": split.values["third"] + 1,
        "flags": split.values["flags"][:, :1],
    }  # fmt: skip
    for name, part in wrong.items():
        source = Made()
        source.load = lambda *_, part=part, name=name: {"train": replace(split, values={**split.values, name: part})}  # type: ignore[misc, assignment]
        with pytest.raises(DataError, match=f"as '{name}', but holds none such"):
            prepare(source, NOWHERE, seed=0)
    with pytest.raises(DataError, match="40 inputs but 39 third"):
        replace(split, values={"third": np.arange(39)})


# Where examples go, their values go


def number_of(split: Split) -> np.ndarray:
    return split.values["number"][:, 0].astype(int)


def test_cutting_and_folding_keep_the_values_with_their_examples() -> None:
    for cuts in (Cuts(validation=0.25), Cuts(fold=Fold(number=2, of=4)), Cuts(validation=10, stratified=True)):
        splits = prepare(Made(), NOWHERE, cuts=cuts, seed=4).splits
        assert sorted([*number_of(splits["train"]), *number_of(splits["validation"])]) == list(range(40))
        for split in splits.values():
            whole = made(40).take(number_of(split))
            assert np.array_equal(split.inputs, whole.inputs) and list(split.values) == list(whole.values)
            assert all(np.array_equal(part, whole.values[name]) for name, part in split.values.items())
        assert load_split(Made(), NOWHERE, "validation", cuts=cuts, seed=4).sha256() == splits["validation"].sha256()


def test_the_hash_covers_every_value_and_its_name() -> None:
    split = made(8)
    plain = replace(split, values={})
    others = [split, plain, *(replace(split, values={name: part}) for name, part in split.values.items())]
    for name, part in split.values.items():
        changed = part.copy()
        changed[-1] = 1 - changed[-1]
        others.append(replace(split, values=split.values | {name: changed}))
    others.append(replace(split, values={"other": split.values["third"]}))
    assert len({other.sha256() for other in others}) == len(others)
    assert made(8).sha256() == split.sha256()


def test_made_up_examples_have_every_value() -> None:
    prepared = generated(Made(), seed=1, examples=30)
    for split in prepared.splits.values():
        assert all(value.holds(split.values[value.name]) and len(split) == 30 for value in Made.further)


# What a batch holds


@pytest.mark.parametrize("normalize", ["channel", "signed", "unit", "none"])
def test_a_batch_holds_all_of_them_by_name(normalize: Any, device: Device) -> None:
    prepared = prepare(Made(), NOWHERE, normalize=normalize, seed=0)
    split, chosen = prepared.splits["train"], np.array([7, 0, 31])
    of = loader(split, prepared.preprocessing, device)
    values = {name: to_host(part) for name, part in of.values(chosen, 4, KEY).items()}
    assert list(values) == ["image", "label", "twin", "shade", "number", "third", "flags"]
    assert list(values) == [value.name for value in prepared.preprocessing.values]
    images, targets = of.examples(chosen, 4, KEY)
    assert np.array_equal(values["image"], to_host(images)) and np.array_equal(values["label"], to_host(targets))
    for name in ("number", "third", "flags"):
        assert np.array_equal(values[name], split.values[name][chosen])
    for name in ("twin", "shade"):
        part, pixels = split.values[name].astype(np.float64), split.values[name][chosen].astype(np.float64)
        expected = {
            "channel": (pixels - part.mean(axis=(0, 1, 2))) / part.std(axis=(0, 1, 2)),
            "signed": pixels / 127.5 - 1, "unit": pixels / 255, "none": pixels,
        }  # fmt: skip
        np.testing.assert_allclose(values[name], expected[normalize], atol=1e-5 if normalize != "none" else 0)
        assert values[name].dtype == device.dtype


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_what_moves_pixels_moves_all_pictures_of_an_example_alike(name: str, device: Device) -> None:
    settings: dict[str, Any] = {"crop": {"padding": 2}, "cutout": {"size": 2}, "rotation": {"degrees": 90.0}}
    change = AUGMENTATIONS[name](**settings.get(name, {}))
    prepared = prepare(Made(), NOWHERE, normalize="unit", augment=(change,), seed=0)
    of = loader(prepared.splits["train"], prepared.preprocessing, device, change)
    plain, changed = (of.values(np.arange(40), 0, key) for key in (None, KEY))
    plain, changed = ({key: to_host(part) for key, part in values.items()} for values in (plain, changed))
    assert not np.array_equal(changed["image"], plain["image"])
    with_input = changed if change.moves else plain
    assert np.array_equal(changed["twin"], with_input["image"])
    assert np.array_equal(changed["shade"], with_input["image"][..., :1])
    assert all(np.array_equal(changed[key], plain[key]) for key in ("label", "number", "third", "flags"))
    again = to_host(of.values(np.arange(20, 40), 20, KEY)["twin"])
    assert np.array_equal(again, changed["twin"][20:]), "an example depends on its shard"


def test_pixels_of_pictures_of_two_sizes_are_not_moved() -> None:
    class Large(Made):
        further = (Value("large", "picture", (12, 10, 3)),)

    with pytest.raises(ShapeError, match=r"flip moves the pixels .* large has shape \(12, 10, 3\) beside \(6, 5, 3\)"):
        prepare(Large(), NOWHERE, augment=(AUGMENTATIONS["flip"](),), seed=0)
    Large().check_augmentation(AUGMENTATIONS["colour_jitter"]())


# Ranges of pixels


@pytest.mark.parametrize(("normalize", "low"), [("signed", -1.0), ("unit", 0.0)])
def test_black_and_white_are_the_ends_of_the_range(normalize: Any, low: float) -> None:
    prepared = prepare(Digits(), NOWHERE, normalize=normalize, seed=0)
    learned, inputs = prepared.preprocessing, np.asarray(prepared.splits["test"].inputs)  # 0 to 16
    ready = learned.ready(inputs)
    assert (ready.min(), ready.max()) == (low, 1.0)
    assert np.array_equal(learned.original(ready).round(), inputs)
    assert np.array_equal(learned.pixels.to_pixels(learned.original(ready)), learned.pixels.to_pixels(inputs))


def test_only_pictures_with_black_and_white_have_a_range() -> None:
    with pytest.raises(SettingError, match=r"signed is for pictures, not for examples of \(5,\)"):
        prepare(SOURCES["valley"](), NOWHERE, normalize="signed", seed=0)
    split = Split(np.random.default_rng(0).normal(7, 20, (9, 4, 4, 1)).astype(np.float32), np.arange(9) % 2)
    with pytest.raises(SettingError, match=r"unit needs black and white; say them with data\.pixel_range"):
        Preprocessing.learn(split, classes=("a", "b"), normalize="unit")


# What a checkpoint keeps

LEARNED = prepare(Made(), NOWHERE, seed=0).preprocessing


def test_the_values_survive_a_checkpoint() -> None:
    again = Preprocessing.from_json(json.loads(json.dumps(LEARNED.to_json())))
    assert again == LEARNED and [value.name for value in again.further] == [value.name for value in Made.further]
    older = {key: part for key, part in LEARNED.to_json().items() if key != "values"}
    assert Preprocessing.from_json(older).named.keys() == {"image", "label"}


@pytest.mark.parametrize("place", range(len(LEARNED.values)))
@pytest.mark.parametrize(
    "change",
    [
        {"name": 1}, {"name": "number"}, {"kind": "sound"}, {"kind": None}, {"shape": None}, {"shape": [0]},
        {"shape": [True]}, {"shape": [9] * 9}, {"classes": []}, {"classes": [1]}, {"mean": [0.0, 0.0]}, {"mean": ["a"]},
        {"mean": [float("nan")] * 3, "std": [1.0] * 3}, {"std": None}, {"mean": [0.0] * 3, "std": [0.0] * 3}, {"x": 1},
    ],
    ids=str,
)  # fmt: skip
def test_damaged_values_are_refused(change: dict[str, Any], place: int) -> None:
    raw = LEARNED.to_json()
    values = [dict(value) for value in raw["values"]]
    if change == {"name": "number"} and values[place]["name"] == "number":
        change = {"name": "third"}
    values[place] |= change
    for damaged in (values, values[:1], [*values, values[-1]], {}, None, "values"):
        with pytest.raises(DataError, match="damaged"):
            Preprocessing.from_json(raw | {"values": damaged})
