"""Several data sets beside each other: `data: {plain: …, glasses: …}`, each with its own settings and order."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import device_of

from dltrain.backend import to_host
from dltrain.data import Preprocessing
from dltrain.errors import ConfigError, DataError
from dltrain.job.loader import DataLoader, StepKey
from dltrain.spec import build_model, build_sources, load, loads
from dltrain.spec.data import Examples, load_examples, prepare_examples

NOWHERE = Path("nowhere")
MODEL = "model: {layers: [flatten, dense: {units: 10, activation: none}]}\n"
DIGITS = "{type: digits, normalize: signed, validation: 23, augment: [{crop: 1}]}"
TWO = f"data:\n  plain: {DIGITS}\n  noisy: {{digits: {{noise: 2, validation: 3800}}}}\n{MODEL}"
BATCH = "train: {batch_size: 16}\n"


def examples(text: str = TWO, smoke: bool = False) -> Examples:
    spec = loads(text)
    return prepare_examples(spec, build_sources(spec), NOWHERE, smoke)


@pytest.fixture(scope="module")
def two() -> Examples:
    """3,800 plain digits to train on and 23 noisy ones, which begin again 165 times in an epoch."""
    return examples()


def loaders(found: Examples) -> dict[str, DataLoader]:
    return found.loaders(device_of(np.float32))


# The section


def test_a_round_trip_keeps_names_and_settings() -> None:
    spec = loads(TWO, overrides=["data.noisy.noise=3", "+data.third={type: mnist}"])
    assert list(spec.sources) == ["plain", "noisy", "third"]
    assert [(source.type, source.path) for source in spec.sources.values()] == [
        ("digits", "data.plain"), ("digits", "data.noisy"), ("mnist", "data.third")
    ]  # fmt: skip
    again = loads(spec.to_yaml())
    assert again == spec and again.resolved() == spec.resolved()
    assert spec.sources["noisy"].settings["noise"] == 3.0
    assert "noise: 3.0                            # override" in spec.to_yaml()
    assert loads(f"data: {{lone: digits}}\n{MODEL}").has_several_sources
    assert not loads(TWO, overrides=["data=digits"]).has_several_sources


@pytest.mark.parametrize(
    ("data", "problems"),
    [
        ("{plain: {type: digits, nois: 1}, other: mnis}",
         ["config:1:30  data.plain.nois: unknown key; did you mean 'noise'?",
          "config:1:47  data.other: unknown data set 'mnis'; did you mean 'mnist'?"]),
        ("{plain: {digits: {noise: no}}, other: [mnist]}",
         ["config:1:32  data.plain.noise: expected a number", "config:1:45  data.other: expected a data set, got the"]),
        ("{plain: digits, normalize: unit}", ["config:1:34  data.normalize: belongs to one of the data sets, as in d"]),
        ("{plain: digits, normalise: unit}",
         ["config:1:34  data.normalise: unknown key; did you mean data.plain.normalize?"]),
        ("{plain: digits, validaton: 0.1}",
         ["config:1:34  data.validaton: unknown key; did you mean data.plain.validation?"]),
        ("{a-b: digits, 2c: digits}", ["config:1:8  data.a-b: the name of a", "config:1:21  data.2c: the"]),
        ("{plain: digits, other: {}}", ["config:1:30  data.other: 'type' is missing"]),
        # still a lone one that is written wrongly
        ("{digits: {noise: 1}, augment: [flip]}", ["config:1:7  data: augment must be indented below digits"]),
        ("{digits: {type: digits}}", ["config:1:7  data: says its type twice"]),
        ("{normalize: none, mixup: 0.1}", ["config:1:7  data: 'type' is missing"]),
    ],
)  # fmt: skip
def test_mistakes_have_their_places(data: str, problems: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        loads(f"data: {data}\n{MODEL}")
    assert len(error.value.problems) == len(problems)
    for line, start in zip(error.value.problems, problems, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("{plain: {type: digits, augment: [flip, {crop: 9}]}}", r"config:1:\d+  data.plain.augment\[1\]: crop with"),
        ("{a: digits, b: {type: digits, mixup: 0.3}}", r"config:1:\d+  data.b.mixup: is for a lone data set"),
        ("{a: digits, b: {type: mnist, class_weights: balanced}}", r"config:1:\d+  data.b.class_weights: is for a"),
    ],
)
def test_what_does_not_suit_the_data_has_its_place(data: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        build_sources(loads(f"data: {data}\n{MODEL}"))


def test_a_model_takes_a_lone_data_set() -> None:
    with pytest.raises(ConfigError, match=r"config:2:3  data: plain, noisy are data sets by name, for `networks`"):
        build_model(loads(TWO))


def test_a_setting_that_only_the_examples_refute_is_named_with_its_data_set() -> None:
    with pytest.raises(ConfigError, match=r"^data.b.validation: 5000 would take 5000 of 3823 training examples"):
        examples(f"data: {{a: digits, b: {{type: digits, validation: 5000}}}}\n{MODEL}")
    with pytest.raises(ConfigError, match=r"^data.b.normalize: unit is for pictures"):
        examples(f"data: {{a: digits, b: {{type: xor, normalize: unit}}}}\n{MODEL}")


# The examples


def test_every_value_is_known_by_the_name_of_its_data_set(two: Examples) -> None:
    known = two.preprocessing.named
    assert list(known) == ["plain", "plain.label", "noisy", "noisy.label"]
    assert [value.name for value in known.values()] == list(known)
    assert known["noisy"].shape == (8, 8, 1) and known["plain.label"].classes == tuple("0123456789")
    values = loaders(two)["train"].values(np.array([[5, 0], [9, 22]]))
    assert list(values) == list(known)
    for column, name in enumerate(("plain", "noisy")):
        split, learned = two.sets[name].splits["train"], two.sets[name].preprocessing
        chosen = np.array([[5, 9], [0, 22]])[column]
        np.testing.assert_allclose(to_host(values[name]), learned.ready(split.inputs[chosen]), rtol=1e-5, atol=1e-6)
        assert np.array_equal(to_host(values[f"{name}.label"]), split.targets[chosen])
    assert to_host(values["plain"]).min() == -1 and to_host(values["noisy"]).min() != -1  # each has its own scale


def test_each_has_an_order_of_its_own_and_begins_again_in_a_new_one(two: Examples) -> None:
    train = loaders(two)["train"]
    assert (train.size, train.beside[0].size) == (3800, 23)
    orders = [train.order(seed=7, epoch=epoch) for epoch in (1, 2, 3)]
    for order in orders:
        assert order.shape == (3800, 2) and sorted(order[:, 0]) == list(range(3800))
    turns = np.concatenate([order[:, 1] for order in orders])[: 23 * 495].reshape(-1, 23)
    assert all(sorted(turn) == list(range(23)) for turn in turns)  # 11,400 examples without a gap at an epoch's end
    assert len({turn.tobytes() for turn in turns}) == len(turns)
    assert np.array_equal(train.order(seed=7, epoch=3), orders[2])  # no state: as after a resumption
    again = loaders(examples(TWO.replace("noisy:", "other:")))["train"].order(seed=7, epoch=1)
    assert np.array_equal(again[:, 0], orders[0][:, 0]) and not np.array_equal(again[:, 1], orders[0][:, 1])


def test_of_equal_data_sets_the_orders_differ() -> None:
    train = loaders(examples(f"data: {{a: digits, b: digits}}\n{MODEL}"))["train"]
    order = train.order(seed=0, epoch=1)
    assert (order[:, 0] == order[:, 1]).mean() < 0.01


def test_what_is_augmented_depends_on_the_place_in_the_batch_and_the_name(two: Examples) -> None:
    both = examples(TWO.replace("validation: 3800", "validation: 23, augment: [{crop: 1}]").replace("noise: 2, ", ""))
    train, key, rows = loaders(both)["train"], StepKey(seed=1, epoch=1, step=4), np.arange(20)[:, None].repeat(2, 1)
    whole, part = train.values(rows, 0, key), train.values(rows[8:], 8, key)
    assert all(np.array_equal(whole[name][8:], part[name]) for name in whole)
    plain = train.values(rows)
    shifts = [(whole[name] != plain[name]).any(axis=(1, 2, 3)) for name in ("plain", "noisy")]
    assert shifts[0].any() and shifts[1].any() and not np.array_equal(*shifts)
    alone = loaders(two)["train"].values(np.stack([np.arange(20), np.arange(20)], axis=1), 0, key)
    assert np.array_equal(alone["plain"], whole["plain"])  # whoever stands beside it


def test_a_split_is_there_where_every_data_set_has_it() -> None:
    found = examples(f"data: {{a: {{type: digits, validation: 100}}, b: digits}}\n{MODEL}")
    assert found.splits == ["train", "test"] and list(loaders(found)) == ["train", "test"]
    assert found.notes == ("a has validation examples, but b has none: they are not used",)
    assert list(found.sha256) == ["train of a", "test of a", "train of b", "test of b"]


def test_the_rows_of_an_evaluation_stand_as_they_are(two: Examples) -> None:
    validation = loaders(two)["validation"]
    assert (validation.size, validation.beside[0].size) == (23, 3800)
    assert np.array_equal(validation.rows(20, 40), [[20, 20], [21, 21], [22, 22]])
    assert np.array_equal(loaders(two)["train"].rows(22, 24), [[22, 22], [23, 0]])
    lone = loaders(examples(f"data: digits\n{MODEL}"))["test"]
    assert np.array_equal(lone.rows(1795, 9999), [1795, 1796])


def test_made_up_examples_stand_in_for_files_that_are_not_here() -> None:
    found = examples(f"data: {{a: mnist, b: cifar10}}\n{MODEL}{BATCH}", smoke=True)
    loader = loaders(found)["train"]
    assert {name: part.shape for name, part in loader.values(loader.order(0, 1)).items()} == {
        "a": (32, 28, 28, 1), "a.label": (32,), "b": (32, 32, 32, 3), "b.label": (32,)
    }  # fmt: skip
    assert found.sha256 == {}


# What a checkpoint keeps


def test_a_checkpoint_knows_all_of_them(two: Examples) -> None:
    learned = two.preprocessing
    again = Preprocessing.from_json(json.loads(json.dumps(learned.to_json())))
    assert again == learned and again.named == learned.named
    spec = loads(TWO)
    loader, hashes = load_examples(spec, again, "test", NOWHERE, device_of(np.float32))
    assert hashes == {key: value for key, value in two.sha256.items() if key.startswith("test")}
    rows = loader.rows(0, 9)
    expected = loaders(two)["test"].values(rows)
    assert all(np.array_equal(part, expected[name]) for name, part in loader.values(rows).items())
    with pytest.raises(DataError, match=r"\(xor as noisy\) has changed since the training"):
        load_examples(loads(TWO, overrides=["data.noisy=xor"]), again, "test", NOWHERE, device_of(np.float32))


@pytest.mark.parametrize(
    "change", [{"beside": None}, {"beside": [1]}, {"beside": "x"}, {"source": 3}, {"source": "noisy"}]
)
def test_a_damaged_description_is_refused(change: dict, two: Examples) -> None:
    raw = two.preprocessing.to_json()
    deep = {"beside": [raw["beside"][0] | {"source": "third", "beside": [raw["beside"][0]]}]}
    for damaged in (change, deep):
        with pytest.raises(DataError, match="damaged"):
            Preprocessing.from_json(raw | damaged)


def test_the_example_of_the_shipped_configs_still_has_one() -> None:
    assert list(load("digits_cnn").sources) == [""] and load("vgg16").sources == {}
