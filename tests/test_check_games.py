"""`dltrain check` of several networks: every update is gone through."""

from pathlib import Path
from typing import Any

import pytest
from commands import dltrain, done
from test_games import GAN

PLAYED = GAN.replace("{type: sgd, lr: 0.5}", "{type: adam, lr: 1e-3}")


def check(text: str, folder: Path, *words: str) -> list[dict[str, Any]]:
    config = folder / "game.yaml"
    config.write_text(text)
    findings: list[dict[str, Any]] = dltrain("check", config, *words, "--json").json["findings"]
    return findings


def worst(findings: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """(check, update, status) of those that have not passed."""
    return {(f["check"], f["found"].partition(":")[0], f["status"]) for f in findings if f["status"] != "passed"}


def test_a_healthy_game_passes(tmp_path: Path) -> None:
    found = check(PLAYED, tmp_path)
    assert worst(found) == set()
    each = ["loss_at_start", "gradients", "learns_by_heart"]
    assert [finding["check"] for finding in found] == ["shapes", *each, *each]
    assert [finding["found"].partition(":")[0] for finding in found[1:]] == ["judge"] * 3 + ["maker"] * 3
    (judge,) = (f for f in found if f["check"] == "loss_at_start" and f["found"].startswith("judge"))
    assert judge["values"]["guess"] == pytest.approx(2 * 0.693147, rel=1e-5), "of logits that are 0"


SICK: dict[str, tuple[list[str], set[tuple[str, str, str]]]] = {
    "nothing reaches it": (
        ["networks.judge.layers.dense1.init=zeros", "networks.judge.layers.dense1.activation=relu"],
        {("gradients", "judge", "failed")},
    ),
    "too large": (
        ["networks.judge.layers.dense1.init={normal: 9e4}"],
        {("loss_at_start", "judge", "failed"), ("loss_at_start", "maker", "failed")},
    ),
    "too slow": (["updates.judge.optimizer.lr=1e-9"], {("learns_by_heart", "judge", "warning")}),
}


@pytest.mark.parametrize("fault", SICK)
def test_a_fault_is_told_of_its_update(fault: str, tmp_path: Path) -> None:
    words, expected = SICK[fault]
    assert expected <= worst(check(PLAYED, tmp_path, *words))


def test_what_is_muted_is_not_said_and_two_data_sets_will_do(tmp_path: Path) -> None:
    assert "learns_by_heart" not in {f["check"] for f in check(PLAYED, tmp_path, "advice.mute=[learns_by_heart]")}
    said = done("check", "faces_cyclegan", "train.batch_size=4")
    assert "translators: " in said.out and "judges: 20 of 20 parameters get one" in said.out
