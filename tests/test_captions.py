"""Networks that say what they see: how words are chosen, how right they are beside what needs no insight, and what the
commands say of it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import dltrain, done
from PIL import Image
from test_sentences import SMALL

from dltrain.backend import to_host
from dltrain.data.tokens import sentence_words
from dltrain.evaluation.sentence_figures import judge_sentences
from dltrain.evaluation.sentences import GREEDY, Speaker, told_by
from dltrain.job.settings import WriteSettings
from dltrain.job.values import compute_values
from dltrain.report.sentences import marked
from dltrain.spec import build_job, loads, settle
from dltrain.spec.job import open_device

ATTENTION = SMALL.replace(
    "{gru: {units: 12, start: seen}}", "{positional: learned}, {attention: {heads: 2, causal: true}}"
).replace("embedding: 8", "embedding: 12")
NETS = {"gru": SMALL, "attention": ATTENTION}


def speaker(net: str, **settings: Any) -> tuple[Any, Speaker, dict[str, Any]]:
    """Of a network whose weights are large enough that words differ, asked about 6 faces."""
    device = open_device("cpu")
    job = build_job(settle(loads(NETS[net]), device), device, Path("nowhere"))
    job.model.initialise(1, device)
    for parameter in job.model.parameters.values():
        parameter.data = parameter.data * 3
    told = told_by(job.update.terms)
    assert told is not None
    by = Speaker(told, device, 0, WriteSettings(**settings) if settings else GREEDY)
    return job, by, job.loaders["test"].values(np.arange(6))


def likelihood(job: Any, by: Speaker, given: dict[str, Any], said: Any) -> Any:
    """Of each sentence, by teacher forcing: from all its words at once."""
    shifted = np.concatenate([np.zeros((len(said), 1), int), np.maximum(said[:, :-1], 0)], axis=1)
    name = by.told.value.name
    y = to_host(compute_values([by.told.value], given | {by.told.before: shifted}, by.device, 0, 6)[name])
    y = y.astype(np.float64)
    chances = y - np.log(np.exp(y - y.max(-1, keepdims=True)).sum(-1, keepdims=True)) - y.max(-1, keepdims=True)
    each = np.take_along_axis(chances, np.maximum(said, 0)[..., None], axis=2)[..., 0]
    return np.where(said >= 0, each, 0).sum(axis=1), chances


@pytest.mark.parametrize("net", NETS)
def test_greedily_each_word_is_the_most_probable_one(net: str) -> None:
    job, by, given = speaker(net)
    said = by.say(given, 0, 6)
    _, chances = likelihood(job, by, given, said)
    assert (np.where(said >= 0, chances.argmax(axis=2), -1)[:, : said.shape[1]] == said).all()
    assert by.goes_on == (net == "gru") and len({tuple(row) for row in said.tolist()}) > 1


@pytest.mark.parametrize("net", NETS)
def test_a_beam_finds_what_is_at_least_as_probable(net: str) -> None:
    job, greedy, given = speaker(net)
    _, beam, _ = speaker(net, beam=5)
    first, _ = likelihood(job, greedy, given, padded(greedy.say(given, 0, 6)))
    second, _ = likelihood(job, greedy, given, padded(beam.say(given, 0, 6)))
    assert (second >= first - 1e-4).all() and ((second > first + 1e-3).any() or net == "attention")
    _, one, _ = speaker(net, beam=1)
    np.testing.assert_array_equal(one.say(given, 0, 6), greedy.say(given, 0, 6))


def padded(said: Any) -> Any:
    return np.pad(said, ((0, 0), (0, 20 - said.shape[1])), constant_values=-1)


def test_what_is_drawn_depends_on_the_example_and_the_seed_alone() -> None:
    _, by, given = speaker("gru", temperature=1.0)
    whole = padded(by.say(given, 0, 6))
    half = {name: value[3:] for name, value in given.items()}
    np.testing.assert_array_equal(padded(by.say(half, 3, 3)), whole[3:])
    _, again, _ = speaker("gru", temperature=1.0)
    np.testing.assert_array_equal(padded(again.say(given, 0, 6)), whole)
    again.seed = 1
    assert (padded(again.say(given, 0, 6)) != whole).any()
    _, one, _ = speaker("gru", temperature=1.0, top_k=1)
    _, greedy, _ = speaker("gru")
    np.testing.assert_array_equal(padded(one.say(given, 0, 6)), padded(greedy.say(given, 0, 6)))


def test_baselines_by_hand() -> None:
    """nearest: of all training pictures the one at the smallest distance. blind: what is said of their mean."""
    job, by, _ = speaker("gru")
    train, test = job.loaders["train"], job.loaders["test"]
    known = job.preprocessing.vocabulary
    judged = judge_sentences(job.updates, job.preprocessing, train, test, job.device, 64, None, 0)
    assert judged is not None
    exact, _, words = judged.rows
    assert [row["figure"] for row in judged.rows] == ["exact_match", "bleu", "words_right"]
    assert exact["baselines"].keys() == {"nearest", "blind"} and exact["examples"] == test.size

    x, y = train.examples(np.arange(train.size))[0].reshape(train.size, -1), test.examples(np.arange(test.size))[0]
    nearest = [int(((x - one.reshape(-1)) ** 2).sum(axis=1).argmin()) for one in y]
    wanted, others = test.targets(), train.targets()[nearest]
    there = wanted != -1
    assert words["baselines"]["nearest"] == pytest.approx(float((wanted == others)[there].mean()), abs=1e-9)
    mean = {"image": x.mean(axis=0, dtype=np.float64).reshape(1, 16, 16, 3).astype(np.float32)}
    blind = padded(by.say(mean, 0, 1))
    assert words["baselines"]["blind"] == pytest.approx(float((wanted == blind)[there].mean()), abs=1e-9)
    said = judged.shown[0]["said"]
    assert said == sentence_words(by.say(test.values(np.arange(1)), 0, 1)[0].tolist(), known)
    assert len(judged.inputs) == len(judged.shown) == 24


# --- the commands -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captions")
    (folder / "small.yaml").write_text(SMALL + "write: {beam: 2}\n")
    return Path(done("fit", folder / "small.yaml", "--runs-dir", folder, "--json").json["run"])


def test_figures_stand_beside_their_baselines(run: Path) -> None:
    out = done("eval", run).out
    assert [line.split()[0] for line in out.splitlines() if "/said" in line] == [
        "exact_match/said", "bleu/said", "words_right/said",
    ]  # fmt: skip
    assert "nearest" in out and "blind" in out
    kept = done("eval", run, "--json").json["pictures"]
    assert len(kept["sentences"]) == 24 and kept["sentences"][0].keys() == {"wanted", "said"}


def test_predict_says_what_it_sees(run: Path, tmp_path: Path) -> None:
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    found = done("predict", run, *sorted(tmp_path.glob("*.png")), "--json").json["predictions"]
    assert [row.keys() for row in found] == [{"input", "text"}] * 3 and all(type(row["text"]) is str for row in found)
    table = tmp_path / "said.csv"
    done("predict", run, tmp_path, "--output", table)
    lines = table.read_text().splitlines()
    assert lines[0] == "input,text" and [line.split(",")[1] for line in lines[1:]] == [row["text"] for row in found]
    warm = [done("predict", run, tmp_path / "0.png", "--temperature", 2, "--seed", s).out for s in (1, 1, 2, 3)]
    assert warm[0] == warm[1] and len(set(warm)) > 1


def test_the_report_marks_wrong_words(run: Path) -> None:
    page = Path(done("report", run).out.strip().splitlines()[-1]).read_text()
    assert page.count('<img src="data:image/png') >= 24 and "<mark>" in page and "test sentences right" in page
    shutil.move(run / "eval" / "test-sentences.safetensors", run / "moved")
    try:
        assert "<mark>" in Path(done("report", run).out.strip().splitlines()[-1]).read_text(), "without its pictures"
    finally:
        shutil.move(run / "moved", run / "eval" / "test-sentences.safetensors")


def test_marked_words() -> None:
    found = marked(["a", "sad", "face", "with", "a", "hat"], ["a", "happy", "face", "with", "hat", "hat"])
    assert [word for word, wrong in found["said"] if wrong] == ["happy", "hat"]
    assert [word for word, missed in found["wanted"] if missed] == ["sad", "a"]
    assert marked(["a"], ["a"]) == {"said": [("a", False)], "wanted": None}


def test_the_same_bits_after_a_kill_and_again(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    common = ("--runs-dir", tmp_path, "--json")
    whole = done("fit", path, *common, "--name", "whole").json
    first = done("fit", path, *common, "--name", "parts", "--max-steps", 3).json
    again = done("fit", "--resume", first["run"], "train.max_steps=6", "--json").json
    assert again["weights_sha256"] == whole["weights_sha256"] and again["pictures"] == whole["pictures"]
    assert "equal, bit for bit" in done("verify", whole["run"]).out


WRONG = {
    "--beam": (("--beam", 2, "--top-k", 3), "--beam leaves nothing to chance: leave out --temperature and --top-k"),
    "--length": (("--length", 3), "--length is for --prompt; a sentence ends by itself"),
    "--prompt": (("--prompt", "a"), "this run trained several networks"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_predict_cannot_do_with_it(run: Path, tmp_path: Path, case: str) -> None:
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    flags, message = WRONG[case]
    said = dltrain("predict", run, *([tmp_path / "a.png"] if case != "--prompt" else []), *flags)
    assert said.code == (2 if case == "--beam" else 1) and message in said.err


MISTAKES = {
    "write={texts: 3}": "write.texts: is for texts that go on; a sentence begins and ends by itself",
    "values.said={mouth: [sentence, seen]}": "sentence is a sentence, which networks tell; they take sentence.before",
    "updates.both.minimise=[{mse: {of: said, target: sentence}}]": "sentence is a text, and mse is not for texts",
    "updates.both.minimise=[{cross_entropy: {of: seen, target: sentence}}]": "it must have shape (20, 27)",
    "networks.mouth.layers.gru1.start=nobody": "there is no layer 'nobody' here",
    "networks.mouth.layers.gru1.units=13": "seen has shape (12,), but the state that the layer begins with is (13,)",
    "data.hold_out=words": "data.hold_out",
    "data.target=name": "data.target",
    "write={beam: 3, top_k: 2}": "write.top_k: a beam search leaves nothing to chance; keep `beam` or this",
    "metrics.report=[exact_match]": "an update has no exact_match; this one has loss, accuracy, perplexity",
    "values.said={mouth: [label.before, seen]}": "there is no value 'label.before'",
}


@pytest.mark.parametrize("change", MISTAKES)
def test_mistakes_have_a_place(tmp_path: Path, change: str) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    said = dltrain("validate", path, change)
    assert said.code == 2 and MISTAKES[change] in said.err and "Traceback" not in said.err
