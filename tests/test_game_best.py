"""The best checkpoint of a game: the last one, or that of a figure of pictures which the config names."""

import json
from pathlib import Path

import pytest
from commands import dltrain, done

PICTURES = "pictures: [{psnr: {of: fake, to: image}}, {mae: {name: far, of: fake, to: image}}, {spread: {of: fake, to: image}}]"  # noqa: E501
SHORT = ("data.validation=80", "train.epochs=4", "train.batch_size=512", "optimizer.lr=0.02", "--threads", 1)


def rows_of(run: Path) -> list[dict[str, dict[str, float]]]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row for row in rows if row["event"] == "epoch"]


@pytest.mark.parametrize(("key", "choose"), [("psnr/fake", max), ("mae/far", min)])
def test_a_figure_of_pictures_chooses_the_epoch(key: str, choose: object, tmp_path: Path) -> None:
    said = done("fit", "digits_gan", *SHORT, f"metrics={{best: {key}, {PICTURES}}}", "--runs-dir", tmp_path, "--json")
    run = Path(said.json["run"])
    values = [row["validation"][key] for row in rows_of(run)]
    best = choose(values)  # type: ignore[operator]
    status = json.loads((run / "status.json").read_text())
    assert len(set(values)) == 4 and status[f"best_{key}"] == best
    assert status["best"] == f"step-{rows_of(run)[values.index(best)]['step']:08}.safetensors"
    assert f"{best:.4g}" in done("runs", "--runs-dir", tmp_path).out
    kept = done("eval", "--checkpoint", "best", "--split", "validation", "--runs-dir", tmp_path, "--json").json
    (figure,) = (row for row in kept["pictures"]["figures"] if row["name"] == key.removeprefix("mae/"))
    assert figure["value"] == pytest.approx(best, rel=1e-6), "what is chosen is what eval measures"


def test_it_can_end_a_game_early_and_a_resumed_game_remembers_it(tmp_path: Path) -> None:
    words = (*SHORT[:1], "train={epochs: 9, batch_size: 512, early_stopping: {patience: 1}}", "optimizer.lr=0.02")
    settings = (*words, f"metrics={{best: psnr/fake, {PICTURES}}}", "--threads", 1, "--runs-dir", tmp_path)
    whole = done("fit", "digits_gan", *settings, "--name", "whole", "--json").json
    rows = rows_of(Path(whole["run"]))
    values = [row["validation"]["psnr/fake"] for row in rows]
    assert len(values) < 9 and values[-1] <= max(values[:-1])
    broken = done("fit", "digits_gan", *settings, "--max-steps", rows[0]["step"], "--name", "broken", "--json").json
    again = done("fit", "--resume", "broken", "train.max_steps=null", "--runs-dir", tmp_path, "--json").json
    assert again["weights_sha256"] == whole["weights_sha256"] != broken["weights_sha256"]
    bests = [json.loads((Path(run["run"]) / "status.json").read_text())["best_psnr/fake"] for run in (again, whole)]
    assert bests == [max(values)] * 2


def test_without_one_the_last_checkpoint_is_the_best(tmp_path: Path) -> None:
    said = done("fit", "digits_gan", *SHORT, "--runs-dir", tmp_path, "--json").json
    status = json.loads((Path(said["run"]) / "status.json").read_text())
    assert status["best"] == status["last"]


def test_there_have_to_be_validation_examples() -> None:
    said = dltrain("fit", "digits_gan", f"metrics={{best: psnr/fake, {PICTURES}}}")
    assert said.code == 2 and "psnr/fake is measured on validation examples, of which there are none" in said.errors[0]
