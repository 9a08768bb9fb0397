"""Translation without pairs: a training on two data sets, each in its own order, keeps what every one promises."""

from pathlib import Path

from builders import Silent, new_run, weights_of
from commands import done

from dltrain.backend import open_device
from dltrain.run.checkpoint import weights_sha256
from dltrain.spec import build_job, loads, settle
from dltrain.train.loop import fit

# The smaller set begins again twice in an epoch of the larger one, in the middle of a batch and of a shard.
CYCLE = """
data:
  plain: {type: signals, examples: 60, length: 12, noise: 0.1, validation: 10}
  noisy: {type: signals, examples: 133, length: 12, noise: 1, validation: 10}
blocks:
  translator:
    layers:
      - conv: {channels: 4, padding: same, norm: instance_norm}
      - dropout: {rate: 0.25, always: true}
      - residual: [conv: {channels: 4, padding: same, norm: batch_norm}]
      - conv: {channels: 1, padding: same, activation: tanh}
  critic: {layers: [{conv: {channels: 3, stride: 2, activation: leaky_relu}}, {conv: {channels: 1, activation: none}}]}
networks: {clean: translator, spoil: translator, judge_plain: critic, judge_noisy: critic}
values: {cleaned: {clean: noisy}, spoilt: {spoil: plain}}
updates:
  translators:
    networks: [clean, spoil]
    minimise:
      - mse: {of: {judge_plain: cleaned}, target: 1}
      - mse: {of: {judge_noisy: spoilt}, target: 1}
      - mae: {of: {spoil: cleaned}, target: noisy, weight: 10}
      - mae: {of: {clean: spoilt}, target: plain, weight: 10}
  judges:
    networks: [judge_plain, judge_noisy]
    minimise:
      - mse: {of: {judge_plain: plain}, target: 1}
      - mse: {of: {judge_plain: cleaned}, target: 0}
      - mse: {of: {judge_noisy: noisy}, target: 1}
      - mse: {of: {judge_noisy: spoilt}, target: 0}
optimizer: {type: adam, lr: 1e-3}
train: {batch_size: 20, shard_size: 8, epochs: 3}
"""
MEASURED = {"seconds", "examples_per_second"}  # by a clock


def trained(folder: Path, threads: int, *overrides: str) -> tuple[str, str]:
    """The hash of the weights and the logs of a short training."""
    device = open_device("cpu")
    job = build_job(settle(loads(CYCLE, "c.yaml", ["train.max_steps=9", *overrides]), device), device, Path("nowhere"))
    job.model.initialise(0, device)
    run = new_run(folder)
    fit(job, run, threads, Silent())
    rows = [{name: value for name, value in row.items() if name not in MEASURED} for row in run.rows(run.metrics)]
    return weights_sha256(weights_of(job)), str(rows)


def test_the_same_bits_with_any_number_of_threads(tmp_path: Path) -> None:
    found = {trained(tmp_path / str(threads), threads) for threads in (1, 2, 3)}
    assert len(found) == 1
    assert found != {trained(tmp_path / "other", 1, "data.noisy.noise=0.9")}, "both data sets are trained on"


def test_it_goes_on_to_the_same_bits_after_the_smaller_set_has_begun_again(tmp_path: Path) -> None:
    config, common = tmp_path / "cycle.yaml", ("--runs-dir", tmp_path / "runs")
    config.write_text(CYCLE + "checkpoint: {every_steps: 3, keep: 9}\n")
    whole = done("fit", config, "train.max_steps=9", *common, "--name", "whole", "--json").json
    done("fit", config, "train.max_steps=5", *common, "--name", "broken")
    again = done("fit", "--resume", "broken", "train.max_steps=9", *common, "--json").json
    assert again["weights_sha256"] == whole["weights_sha256"]
    assert {"loss/translators", "loss/judges"} <= whole["validation"].keys()
    assert "equal, bit for bit" in done("verify", "whole", "--from-step", 3, *common).out
