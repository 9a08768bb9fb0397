"""The games that come with dltrain: the same bits with any number of threads and after a kill; all is replayed."""

import time
from pathlib import Path

import pytest
from commands import done, start

from dltrain.backend import choose_kernels
from dltrain.errors import DeviceError

GAMES = ("digits_gan", "digits_conditional_gan", "faces_gan", "mnist_gan")
SMALL = (
    "networks.generator.layers.dense1.units=64",
    "networks.generator.layers.reshape1.shape=[4, 4, 4]",
    "networks.generator.layers.conv_transpose1.channels=4",
    "networks.discriminator.layers.conv1.channels=4",
    "networks.discriminator.layers.conv2.channels=8",
    "show={pictures: [fake], every: 2, count: 4}",
    "metrics.pictures=[]",
)
STEPS = 6


@pytest.mark.parametrize("name", GAMES)
def test_the_same_bits_with_any_number_of_threads(name: str, tmp_path: Path) -> None:
    common = ("--smoke", "--data-dir", tmp_path / "none", "--runs-dir", tmp_path, "--json")
    found = [done("fit", name, *common, "--threads", threads).json for threads in (1, 2, 3)]
    assert len({each["weights_sha256"] for each in found}) == 1
    assert len({each["train"]["loss/generator"] for each in found}) == 1


@pytest.mark.parametrize("name", GAMES)
def test_every_update_is_replayed(name: str, tmp_path: Path) -> None:
    try:
        choose_kernels("native")
    except DeviceError as error:
        pytest.skip(str(error))
    said = done("fit", name, "--smoke", "--data-dir", tmp_path / "none", "--runs-dir", tmp_path, "--profile")
    assert "a mean one: " in said.out + said.err and "not replayed" not in said.out + said.err


def test_a_game_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Weights of both networks, running statistics, both optimizers, logs and pictures."""
    common = (*SMALL, "checkpoint={every_steps: 1, keep: 99}", "--runs-dir", tmp_path, "--data-dir", tmp_path)
    whole = done("fit", "faces_gan", *common, "--max-steps", STEPS, "--name", "whole", "--json").json

    process = start("fit", "faces_gan", *common, "--name", "killed", "--threads", 3)
    killed = wait_for(tmp_path, "*-killed/checkpoints/step-00000002.safetensors").parent.parent
    process.kill()
    process.communicate(timeout=30)
    for later in sorted(killed.glob("checkpoints/step-*"))[2:]:  # as if it had been killed earlier
        later.unlink()

    again = done("fit", "--resume", killed, f"train.max_steps={STEPS}", "--threads", 1, "--json").json
    assert again["weights_sha256"] == whole["weights_sha256"] and again["steps"] == STEPS
    for kind in ("checkpoints/step-*", "samples/*"):
        one, other = ({p.name: p for p in Path(run).glob(kind)} for run in (whole["run"], killed))
        assert one.keys() == other.keys() and len(one) >= STEPS // 2
    same = {name: p.read_bytes() == other[name].read_bytes() for name, p in one.items()}
    assert all(same.values()), same
    assert "equal, bit for bit" in done("verify", killed, "--from-step", 4).out


def wait_for(folder: Path, pattern: str) -> Path:
    for _ in range(1200):
        if found := [*folder.glob(pattern)]:
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"there never was {pattern}")
