"""Sentences: made of attributes, as long as they are, learned as far as they go; what stands beyond their end never
counts."""

from json import loads as loads_json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import device_of

from dltrain import ops
from dltrain.api import load
from dltrain.data import SOURCES, Split
from dltrain.data.pictures.face_sentences import pair
from dltrain.data.tokens import END, UNKNOWN, sentence_numbers, sentence_vocabulary, sentence_words
from dltrain.engine import Tensor, distinct, gradients
from dltrain.errors import DataError, SettingError
from dltrain.job.inputs import StepInputs
from dltrain.job.loader import StepKey, before
from dltrain.nn import LAYERS, Context, Network
from dltrain.ops import cross_entropy
from dltrain.spec import build_job, loads, settle
from dltrain.spec.job import open_device

SMALL = """
data: {type: faces, target: sentence, hold_out: sentences, only: {hat: true}}
networks:
  eye: [flatten, {dense: {units: 12, activation: none}}, layer_norm]
  mouth:
    inputs: [words, seen]
    layers: [{embedding: 8}, {concat: seen}, {gru: {units: 12, start: seen}}, {dense: {units: vocabulary, activation: none}}]
values: {seen: {eye: image}, said: {mouth: [sentence.before, seen]}}
updates: {both: {networks: [eye, mouth], minimise: [{cross_entropy: {of: said, target: sentence}}]}}
optimizer: {type: adam, lr: 1e-2}
train: {epochs: 1, max_steps: 6, batch_size: 32, shard_size: 8}
"""  # noqa: E501


def faces(**settings: Any) -> tuple[Any, dict[str, Split], dict[str, list[list[str]]]]:
    source = SOURCES["faces"](target="sentence", **settings)
    splits = source.load(Path("nowhere"))
    return source, splits, {
        name: [sentence_words(row, source.classes) for row in split.targets.tolist()] for name, split in splits.items()
    }  # fmt: skip


def job_of(text: str) -> Any:
    device = open_device("cpu")
    return build_job(settle(loads(text), device), device, Path("nowhere"))


# --- data -------------------------------------------------------------------------------------------------------------


def test_a_sentence_says_what_the_attributes_say() -> None:
    source, splits, said = faces()
    names = {value.name: value for value in source.further}
    test = splits["test"]
    for number in range(0, len(test), 97):
        words = said["test"][number]
        face = {name: names[name].classes[test.values[name][number]] for name in test.values}
        assert words[:5] == ["a", face["mood"], "face", "with", face["hair_length"]] and words[6] == "hair"
        assert ("glasses" in words) == (face["glasses"] == "yes") and ("hat" in words) == (face["hat"] == "yes")
        assert ("beard" in words) == (face["beard"] == "yes") and words[-2] == "in"
        assert "glasses" not in words or words[words.index("glasses") - 1] == face["lenses"]
    assert len(source.classes) == 2 + 25 and source.classes[:2] == (END, UNKNOWN)


@pytest.mark.parametrize(("hold_out", "of"), [("sentences", " ".join), ("pairs", lambda words: pair(tuple(words)))])
def test_what_is_held_out_is_in_no_training_sentence(hold_out: str, of: Any) -> None:
    _, splits, said = faces(hold_out=hold_out)
    assert {of(words) for words in said["train"]}.isdisjoint({of(words) for words in said["test"]})
    assert sum(map(len, splits.values())) == 6000 and len(splits["test"]) > 800
    assert {word for words in said["test"] for word in words} <= {word for words in said["train"] for word in words}


def test_held_out_faces_are_of_all_kinds_alone() -> None:
    with pytest.raises(SettingError, match=r"data\.hold_out: is for faces of all kinds, without `pairs: parts`"):
        SOURCES["faces"](hold_out="pairs", pairs="parts")


def test_tokens_and_back() -> None:
    known = sentence_vocabulary([["b", "a"], ["a"]])
    assert known == (END, UNKNOWN, "a", "b")
    assert sentence_vocabulary([["b", "a"], ["a"]], 3) == (END, UNKNOWN, "a"), "the most frequent"
    assert sentence_vocabulary([["b"]], 5) == (END, UNKNOWN, "b", "<3>", "<4>"), "as many as were promised"
    tokens = sentence_numbers([["a", "b"], [], ["c"]], known, 4)
    assert tokens.tolist() == [[2, 3, 0, -1], [0, -1, -1, -1], [1, 0, -1, -1]]
    assert [sentence_words(row, known) for row in tokens.tolist()] == [["a", "b"], [], [UNKNOWN]]
    assert before(tokens).tolist() == [[0, 2, 3, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    with pytest.raises(DataError, match="'a b a' has 3 words; with <end> there is room for 3"):
        sentence_numbers([["a", "b", "a"]], known, 3)


# --- what is not there never counts -----------------------------------------------------------------------------------


def test_beyond_the_end_nothing_has_a_gradient_whatever_stands_there() -> None:
    targets = np.array([[1, 0, -1, -1], [2, 2, 0, -1]])
    found = []
    for noise in (0.0, 50.0):
        logits = Tensor(distinct(2, 4, 3) + noise * (targets < 0)[..., None] * distinct(2, 4, 3, seed=7))
        loss = cross_entropy(logits, targets, count=np.array(5.0))
        (gradient,) = gradients(loss, [logits])
        assert not gradient[targets < 0].any()
        found.append((loss.data, gradient))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_a_class_is_still_no_negative_number() -> None:
    with pytest.raises(ValueError, match="a target is no class"):
        cross_entropy(distinct(3, 4), np.array([0, -1, 2]))


def test_a_loss_is_the_mean_over_all_tokens_of_the_batch() -> None:
    """Not of the shards, which have more or fewer; and so is the figure of an epoch."""
    job = job_of(SMALL)
    loader, batch = job.loaders["train"], np.arange(32)
    tokens = (loader.targets_of(batch) != -1).sum()
    inputs = StepInputs(job, batch, StepKey(0, 1, 1))
    (count,) = [inputs.count(term) for term in job.update.terms]
    assert count == tokens and isinstance(count, np.ndarray), "an array, or a captured step would repeat it"


def test_what_stands_in_the_padding_changes_no_bit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Other tokens before what is not asked: the weights after some steps are the same to the last bit."""
    usual = trained(tmp_path / "a")

    def odd(sentences: Any) -> Any:
        return np.where(sentences == -1, 5, before(sentences))

    monkeypatch.setattr("dltrain.job.loader.before", odd)
    assert trained(tmp_path / "b") == usual


def trained(folder: Path, *changes: str, threads: int = 1) -> str:
    path = folder.with_suffix(".yaml")
    path.write_text(SMALL)
    return str(load(path, changes).fit(runs_dir=folder, threads=threads).result["weights_sha256"])


def test_more_padding_changes_a_loss_by_rounding_alone() -> None:
    logits, targets = distinct(2, 4, 3), np.array([[1, 0, -1, -1], [2, 2, 0, -1]])
    more = (
        np.concatenate([logits, distinct(2, 9, 3, seed=1)], axis=1),
        np.pad(targets, ((0, 0), (0, 9)), constant_values=-1),
    )
    assert float(cross_entropy(*more).data) == pytest.approx(float(cross_entropy(logits, targets).data), rel=1e-14)


def test_the_same_bits_with_any_number_of_threads(tmp_path: Path) -> None:
    assert len({trained(tmp_path / str(threads), threads=threads) for threads in (1, 2, 3)}) == 1
    assert trained(tmp_path / "other", "seed=1") != trained(tmp_path / "first"), "it depends on something"


def test_a_training_counts_tokens(tmp_path: Path) -> None:
    """The epoch's accuracy is the share of all tokens that were asked, and its loss their mean."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    job = job_of(SMALL)
    run = load(path).fit(runs_dir=tmp_path)
    rows = [loads_json(line) for line in (Path(run.result["run"]) / "metrics.jsonl").read_text().splitlines()]
    steps, order = [row for row in rows if row["event"] == "step"], job.loaders["train"].order(0, 1)
    targets = job.loaders["train"].targets()
    counts = [(targets[order[32 * i : 32 * i + 32]] != -1).sum() for i in range(len(steps))]
    for key in ("loss", "accuracy"):
        mean = sum(row[key] * count for row, count in zip(steps, counts, strict=True)) / sum(counts)
        assert run.result["train"][key] == pytest.approx(mean, rel=1e-6), key
    assert len(set(counts)) > 1


def test_a_network_may_tell_all_words_at_once(tmp_path: Path) -> None:
    path = tmp_path / "at_once.yaml"
    path.write_text(
        "data: {type: faces, target: sentence}\nmodel: {layers: [flatten, {dense: {units: 540, activation: none}}, "
        "{reshape: [20, 27]}]}\ntrain: {max_steps: 3, batch_size: 64}"
    )
    assert {"loss", "accuracy", "perplexity"} == load(path).fit(runs_dir=tmp_path).result["test"].keys() - {"examples"}


# --- what takes them --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_a_recurrent_layer_begins_with_what_start_names(kind: str) -> None:
    """As its op does with this start; and a gradient goes back to it."""
    layer = LAYERS[kind]((6, 3), (4,), units=4, start="seen")
    Network([layer], (6, 3), {"": ("input",)}).initialise(0, device_of(np.float64))
    x, start = Tensor(distinct(2, 6, 3)), Tensor(distinct(2, 4))
    y = layer(x, start, context=Context())
    extra = (None,) if kind == "lstm" else ()
    weights = layer.weight, layer.recurrent_weight, layer.bias, layer.recurrent_bias
    wanted = getattr(ops, kind)(x, *weights, start, *extra)
    np.testing.assert_array_equal(y.data, (wanted[0] if kind == "lstm" else wanted).data)
    (gradient,) = gradients(ops.sum(y), [start])
    assert np.abs(gradient).min() > 0


def test_a_row_stands_beside_every_position() -> None:
    row, x = Tensor(distinct(2, 3)), Tensor(distinct(2, 4, 5, 6))
    layer = LAYERS["concat"]((4, 5, 6), (3,), of="row")
    y = layer(x, row, context=Context())
    assert layer.out_shape == y.shape[1:] == (4, 5, 9)
    assert (y.data[..., :6] == x.data).all() and (y.data[..., 6:] == row.data[:, None, None]).all()
    (gradient,) = gradients(ops.sum(y), [row])
    np.testing.assert_allclose(gradient, 20.0)


# --- names of emojis --------------------------------------------------------------------------------------------------


def emojis(path: Path, people: tuple[str, ...]) -> Path:
    """Each in five tones, and once without."""
    rows = [
        (f"{i}-{tone}", "people-body", "", f"{name}: tone {tone}" if tone else name, str(tone or ""), str(i))
        for i, name in enumerate(people)
        for tone in range(6)
    ]
    size = (len(rows), 32, 32)
    np.savez(path, color=np.full((*size, 3), 7, np.uint8), black=np.zeros((*size, 1), np.uint8), meta=np.array(rows))
    return path


def test_of_each_emoji_one_tone_is_held_out(tmp_path: Path) -> None:
    path = str(emojis(tmp_path / "emojis.npz", tuple(f"sign {letter}" for letter in "abcdefgh")))
    source = SOURCES["openmoji"](path=path, target="name", skin_tones=True, vocabulary=20)
    assert source.values[1].count == 20, "before it is read"
    splits = source.load(tmp_path)
    said = {
        name: [" ".join(sentence_words(row, source.classes)) for row in split.targets.tolist()]
        for name, split in splits.items()
    }
    assert len(said["test"]) == 8 and len({text.split()[1] for text in said["test"]}) == 8
    assert len({text.split()[-1] for text in said["test"]}) == 5, "every tone"
    assert len(said["train"]) == 32 and set(said["train"]).isdisjoint(said["test"])
    assert source.values[1].count == 20 and source.classes[-1].startswith("<") and "tone" in source.classes
    again = SOURCES["openmoji"](path=path, target="name", skin_tones=True, vocabulary=20)
    again.recall(None, (END, UNKNOWN, "sign", *source.classes[3:]))
    assert (again.load(tmp_path)["test"].targets == 1).any(), "with the words that it knew"


def test_emojis_without_tones_and_what_is_wrong_with_them(tmp_path: Path) -> None:
    path = str(emojis(tmp_path / "emojis.npz", tuple(f"sign {i}" for i in range(9))))
    assert len(SOURCES["openmoji"](path=path).load(tmp_path)["train"]) == 8
    with pytest.raises(SettingError, match=r"data\.length: .* has 2 words; with its end that is 3"):
        SOURCES["openmoji"](path=path, target="name", length=2).load(tmp_path)
    with pytest.raises(SettingError, match=r"data\.skin_tones: .* is a folder"):
        SOURCES["openmoji"](path=str(tmp_path), skin_tones=True).load(tmp_path)
