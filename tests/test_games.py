"""Several networks, several losses: what a step does, against a plain loop; and what is promised of every training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Silent, new_run, weights_of
from commands import dltrain, done

from dltrain import ops
from dltrain.backend import open_device
from dltrain.engine import Tensor, gradients
from dltrain.errors import DivergedError
from dltrain.evaluation.evaluate import validate
from dltrain.job.inputs import StepInputs
from dltrain.job.job import Job
from dltrain.job.loader import StepKey, random_words
from dltrain.job.parallel import ThreadPool
from dltrain.job.values import compute, compute_values
from dltrain.nn import Applied, Context, Network
from dltrain.run.checkpoint import weights_sha256
from dltrain.run.rundir import RunDir
from dltrain.spec import build_job, loads, settle
from dltrain.train.loop import fit
from dltrain.train.step import replay_for, train_step

Array = Any
KEY = StepKey(0, 1, 1)
BATCH = np.arange(24)
GAN = """
data: {type: digits, normalize: signed}
networks:
  maker:
    - dense: {units: 12, activation: tanh}
    - batch_norm
    - dropout: 0.25
    - dense: {units: 64, activation: tanh}
    - reshape: [8, 8, 1]
  judge:
    - conv: {channels: 3, stride: 2, activation: leaky_relu}
    - flatten
    - batch_norm
    - dense: {units: 1, activation: none}
values:
  noise: {normal: 4}
  fake: {maker: noise}
updates:
  judge:
    - binary_cross_entropy: {of: {judge: image}, target: 0.9}
    - binary_cross_entropy: {of: {judge: fake}, target: 0}
  maker:
    - binary_cross_entropy: {of: {judge: fake}, target: 1}
    - mse: {of: fake, target: image, weight: 0.25}
optimizer: {type: sgd, lr: 0.5}
train: {batch_size: 24, epochs: 1}
"""


def job_of(text: str, *overrides: str, dtype: str = "float64") -> Job:
    device = open_device("cpu", dtype)
    job = build_job(settle(loads(text, "c.yaml", overrides), device), device, Path("nowhere"))
    job.model.initialise(0, device)
    return job


def step(job: Job, batch: Array = BATCH, key: StepKey = KEY, state: Any = None, threads: int = 1) -> Any:
    state = job.new_optimizer_state() if state is None else state
    rates = job.learning_rates(0, [])
    metrics = train_step(job, ThreadPool(threads), replay_for(job), batch, key, rates, state, False)
    metrics.check()
    return metrics


def networks(job: Job) -> dict[str, Network]:
    return {name: network for name, network in job.model.networks.items()}  # type: ignore[union-attr]


def value(job: Job, name: str) -> Applied:
    return next(v for update in job.updates for v in update.applied if v.name == name)


# --- a step against a plain loop --------------------------------------------------------------------------------------


def plain_step(job: Job) -> tuple[dict[str, Array], list[float]]:
    """The weights after a step of GAN, and its losses: written out, on the engine alone, for one shard."""
    maker, judge = networks(job).values()
    given = StepInputs(job, BATCH, KEY).of(0).values
    image, noise = given["image"], given["noise"]
    seen: list[Any] = []

    def run(network: Network, x: Any, called: str, watched: bool) -> Tensor:
        def words(purpose: str, layer: str, each: int) -> Array:
            return random_words(job.device.kernels, KEY, purpose, f"{called}/{layer}", 0, len(BATCH), each)

        def record(layer: Any, values: dict[str, Array]) -> None:
            seen.extend((layer.buffers[name], new) for name, new in values.items())

        return network(x, Context(training=True, words=words, record=record if watched else None))

    def logistic(logits: Tensor, target: float) -> Tensor:  # log(1 + e^z) - t z
        return (ops.softplus(logits) - logits * target).mean()

    def descend(network: Network, loss: Tensor) -> float:
        found = gradients(loss, list(network.parameters.values()))
        for parameter, gradient in zip(network.parameters.values(), found, strict=True):
            parameter.data = parameter.data - 0.5 * gradient
        for buffer, new in seen:
            buffer.data = buffer.data + buffer.momentum * (new - buffer.data)
        seen.clear()
        return float(loss.data)

    fake = run(maker, noise, "fake", False).data
    of_image, of_fake = (run(judge, x, f"judge({n})", True) for x, n in ((image, "image"), (fake, "fake")))
    losses = [descend(judge, logistic(of_image, 0.9) + logistic(of_fake, 0.0))]
    made = run(maker, noise, "fake", True)
    difference = made - image
    loss = logistic(run(judge, made, "judge(fake)", False), 1.0) + (difference * difference).mean() * 0.25
    losses.append(descend(maker, loss))
    return weights_of(job), losses


def test_a_step_does_what_a_plain_loop_does() -> None:
    """Each update sees the weights that the one before it made; buffers follow the passes of their own update."""
    expected, losses = plain_step(job_of(GAN))
    job = job_of(GAN)
    metrics = step(job)
    found = weights_of(job)
    assert found.keys() == expected.keys() and any("running_mean" in name for name in found)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-9, atol=1e-12, err_msg=name)
    assert [float(update.stats["loss"]) for update in metrics.updates] == pytest.approx(losses, rel=1e-9)


def test_shards_add_up_where_no_statistics_are_taken() -> None:
    text = GAN.replace("    - batch_norm\n", "")
    whole, cut = (job_of(text, f"train.shard_size={size}") for size in (24, 7))
    for job in (whole, cut):
        step(job, threads=2)
    for name, array in weights_of(whole).items():
        np.testing.assert_allclose(weights_of(cut)[name], array, rtol=1e-9, atol=1e-12, err_msg=name)


def test_the_short_form_is_one_network_one_value_one_update() -> None:
    layers = "[flatten, {dense: {units: 9, activation: tanh}}, {dense: {units: 10, activation: none}}]"
    common = "data: digits\npenalty: {l2: 1e-3}\ntrain: {batch_size: 24, clip_norm: 0.7, shard_size: 10}\n"
    short = job_of(f"model: {{layers: {layers}}}\n{common}", dtype="float32")
    long = job_of(
        f"networks: {{model: {layers}}}\nupdates: {{model: [cross_entropy: {{of: {{model: image}}, target: label}}]}}\n"
        + common,
        dtype="float32",
    )
    long.model.load({f"model.{name}": a for name, a in weights_of(short).items()}, long.device)
    for job in (short, long):
        state = job.new_optimizer_state()
        for number in (1, 2):
            step(job, key=StepKey(0, 1, number), state=state)
    found = weights_of(long)
    assert {f"model.{name}": a.tobytes() for name, a in weights_of(short).items()} == {
        name: a.tobytes() for name, a in found.items()
    }


# --- what values mean -------------------------------------------------------------------------------------------------

TWO_USES = """
data: digits
networks:
  clean: [{dropout: 0.5}]
  sum: [flatten, {dense: {units: 1, activation: none}}]
values: {first: {clean: image}, second: {clean: image}}
updates:
  sum:
    - mse: {of: {sum: first}, target: 1}
    - mse: {of: {sum: second}, target: 1}
"""


def test_a_network_in_two_values_draws_twice_and_recomputing_gives_the_same_bits() -> None:
    job = job_of(TWO_USES, "networks.clean.trainable=true", "updates.sum.networks=[sum, clean]")
    shard = StepInputs(job, BATCH, KEY).of(0)
    found, again = (compute(job.update, shard.values, shard, KEY, lambda *_: None) for _ in range(2))
    first, second = (found[name].data for name in ("first", "second"))
    assert ((first == 0) != (second == 0)).mean() > 0.3
    assert first.tobytes() == again["first"].data.tobytes()


def test_what_nobody_trains_is_asked_as_in_evaluation() -> None:
    job = job_of(TWO_USES, "networks.clean.trainable=false")
    shard = StepInputs(job, BATCH, KEY).of(0)
    found = compute(job.update, shard.values, shard, KEY, lambda *_: None)
    assert found["first"].data.tobytes() == shard.values["image"].tobytes()
    assert found["first"].node is None, "and no graph is kept of it"


def test_over_applies_a_network_to_each_part_and_then_an_activation() -> None:
    text = """
    data: {type: digits, normalize: none}
    networks:
      cut: [{reshape: [8, 8]}]
      reader: [{dense: {units: 3, activation: tanh}}]
      both: {inputs: [rows, more], layers: [flatten, {concat: more}, {dense: {units: 2, activation: none}}]}
    values:
      rows: {cut: image}
      read: {reader: rows, over: 8, then: softmax}
      noise: {uniform: {size: 5, low: 2, high: 3}}
      answer: {both: [read, noise]}
    updates:
      all: {networks: [cut, reader, both], minimise: [mse: {of: answer, target: 0}]}
    """
    job = job_of(text)
    given = job.loaders["train"].values(BATCH)
    found = asked(job, given)
    weight, bias = (p.data for p in networks(job)["reader"].parameters.values())
    z = np.exp(np.tanh(given["image"][..., 0] @ weight + bias))
    np.testing.assert_allclose(found["read"], z / z.sum(axis=-1, keepdims=True), rtol=1e-12)
    assert found["noise"].shape == (24, 5) and 2 <= found["noise"].min() < found["noise"].max() < 3
    w, b = (p.data for p in networks(job)["both"].parameters.values())
    together = np.concatenate([found["read"].reshape(24, -1), found["noise"]], axis=1)
    np.testing.assert_allclose(found["answer"], together @ w + b, rtol=1e-12)
    step(job)


def asked(job: Job, given: dict[str, Array], first: int = 0) -> dict[str, Any]:
    values = [v for update in job.updates for v in update.values]
    return compute_values(values, given, job.device, first, len(given["image"]))


def test_a_class_is_told_as_a_one_among_zeros() -> None:
    """In training as when one only asks; and what the network learns of it are rows, one for each class."""
    text = GAN.replace("fake: {maker: noise}", "digit: {one_hot: label}\n  fake: {maker: [noise, digit]}")
    job = job_of(text)
    few = BATCH[:5]
    given = job.loaders["train"].values(few)
    expected = np.eye(10)[given["label"]]
    assert (StepInputs(job, few, KEY).of(0).values["digit"] == expected).all()
    assert (asked(job, given)["digit"] == expected).all()
    weight = networks(job)["maker"].parameters["maker.dense1.weight"]
    assert weight.shape == (4 + 10, 12)
    before = weight.data.copy()
    step(job, few)
    told = np.isin(np.arange(10), given["label"])
    assert ((weight.data != before)[4:].any(axis=1) == told).all() and not told.all()


def test_noise_is_normal_and_the_same_for_all_updates_of_a_step() -> None:
    job = job_of(GAN, "train.batch_size=3000", "values.noise.normal.size=7")
    inputs = StepInputs(job, np.arange(3000), KEY)
    noise = inputs.of(0).values["noise"]
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03 and abs((noise**4).mean() - 3) < 0.3
    quiet = job_of(GAN, "train.batch_size=3000", "values.noise.normal={size: 7, std: 0.25}")
    np.testing.assert_allclose(StepInputs(quiet, np.arange(3000), KEY).of(0).values["noise"], noise / 4, rtol=1e-6)
    assert inputs.of(0) is inputs.of(0)
    cut = job_of(GAN, "train.batch_size=3000", "values.noise.normal.size=7", "train.shard_size=1000")
    parts = [StepInputs(cut, np.arange(3000), KEY).of(i).values["noise"] for i in range(3)]
    assert np.concatenate(parts).tobytes() == noise.tobytes()
    other = StepInputs(job, np.arange(3000), StepKey(0, 1, 2)).of(0).values["noise"]
    assert np.abs(np.corrcoef(noise[:, 0], other[:, 0])[0, 1]) < 0.1


def test_a_validation_runs_a_network_as_deep_as_its_layers_are_compared() -> None:
    text = """
    data: {type: digits, validation: 0.1}
    networks:
      eye: {trainable: false, layers: [{conv: 3}, {conv: 2}]}
      maker: [{conv: {channels: 1, padding: same, activation: none}}]
    updates:
      maker: [mse: {of: {eye: {maker: image}}, target: {eye: image}, at: [conv1]}]
    """
    job = job_of(text)
    expected = validate(job, ThreadPool(1), lambda: None)
    job.model.parameters["eye.conv2.weight"].data = None  # what nobody needs
    assert validate(job, ThreadPool(1), lambda: None) == expected and expected["loss"] > 0


def test_layers_within_a_value_are_compared() -> None:
    text = """
    data: digits
    networks:
      eye: {trainable: false, layers: [{conv: 3}, {conv: 2}]}
      maker: [{conv: {channels: 1, padding: same, activation: none}}]
    values: {made: {maker: image}}
    updates:
      maker: [mse: {of: {eye: made}, target: {eye: image}, at: [conv1, conv2], weight: 2}]
    """
    job = job_of(text)
    x = job.loaders["train"].values(BATCH)["image"]
    maker, eye = networks(job)["maker"], networks(job)["eye"]
    made = maker(x, Context())
    a, b = ([y.data for _, y in eye.outputs(z, Context())] for z in (made.data, x))
    expected = 2 * sum(((one - other) ** 2).mean() for one, other in zip(a, b, strict=True))
    before = weights_of(job)
    assert float(step(job).updates[0].stats["loss"]) == pytest.approx(expected, rel=1e-9)
    changed = {name for name, array in weights_of(job).items() if (array != before[name]).any()}
    assert changed and all(name.startswith("maker.") for name in changed)


def test_an_update_is_taken_every_so_many_steps() -> None:
    job = job_of(GAN, "updates.maker.every=3", "optimizer={type: adam, lr: 1e-3}")
    taken, moved, state = [], [], job.new_optimizer_state()
    for number in range(1, 8):
        before = weights_of(job)
        metrics = step(job, key=StepKey(0, 1, number), state=state)
        taken.append([update.update.name for update in metrics.updates])
        moved.append((weights_of(job)["maker.dense1.weight"] != before["maker.dense1.weight"]).any())
    assert moved == [True, False, False, True, False, False, True]
    assert taken[:4] == [["judge", "maker"], ["judge"], ["judge"], ["judge", "maker"]]


def test_batch_statistics_may_be_taken_when_one_only_asks() -> None:
    running, batch = (job_of(GAN, f"networks.maker.statistics={which}") for which in ("running", "batch"))
    given = running.loaders["train"].values(BATCH)
    made = [asked(job, given)["fake"] for job in (running, batch)]
    assert np.abs(made[0] - made[1]).max() > 1e-3
    first, again = (asked(running, running.loaders["train"].values(BATCH[a:]), a)["fake"] for a in (0, 5))
    assert first[5:].tobytes() == again.tobytes(), "what is drawn belongs to the example"


# --- promises ---------------------------------------------------------------------------------------------------------


def test_where_the_second_update_breaks_the_first_has_not_happened() -> None:
    job = job_of(GAN)
    before, state = weights_of(job), job.new_optimizer_state()
    job.updates[1].terms[1].__dict__["weight"] = float("inf")
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match="the loss of maker is inf"):
        step(job, state=state)
    assert {n: a.tobytes() for n, a in weights_of(job).items()} == {n: a.tobytes() for n, a in before.items()}


PLAYED = GAN.replace("optimizer: {type: sgd, lr: 0.5}", "optimizer: {type: adam, lr: 1e-3}")


def played(folder: Path, threads: int, *overrides: str) -> tuple[str, str, str]:
    """The hashes of the weights and of their averages, and the losses of a short training on made-up data."""
    job = job_of(PLAYED, "train.batch_size=60", "train.max_steps=8", *overrides, dtype="float32")
    run = new_run(folder)
    fit(job, run, threads, Silent())
    rows = [{k: v for k, v in row.items() if "second" not in k} for row in run.rows(run.metrics)]
    return weights_sha256(weights_of(job)), weights_sha256(run.checkpoint("last").average), str(rows)


SPECTRAL = ("networks.judge.layers.conv1.spectral_norm=true", "networks.judge.layers.dense1.spectral_norm=true")


@pytest.mark.parametrize("shard_size", [60, 16])
def test_the_same_bits_with_any_number_of_threads(shard_size: int, tmp_path: Path) -> None:
    settings = (f"train.shard_size={shard_size}", "train.average=0.8", *SPECTRAL)
    found = {played(tmp_path / f"{i}", threads, *settings) for i, threads in enumerate((1, 2, 3, 3))}
    assert len(found) == 1


def test_a_game_goes_on_to_the_same_bits_and_verify_says_so(tmp_path: Path) -> None:
    config = tmp_path / "game.yaml"
    config.write_text(PLAYED + "checkpoint: {every_steps: 3, keep: 9}\n")
    common = ("--runs-dir", tmp_path / "runs")
    changed = ("train.average=0.8", *SPECTRAL)
    whole = done("fit", config, "train.max_steps=9", *changed, *common, "--name", "whole", "--json").json
    done("fit", config, "train.max_steps=5", *changed, *common, "--name", "broken")
    again = done("fit", "--resume", "broken", "train.max_steps=9", *common, "--json").json
    assert again["weights_sha256"] == whole["weights_sha256"]
    ours, theirs = (RunDir(Path(r["run"])).checkpoint("last").average for r in (whole, again))
    assert "judge.conv1.spectral_norm.u" in ours and weights_sha256(ours) == weights_sha256(theirs)
    logs = [Path(r["run"], "metrics.jsonl").read_text().splitlines()[8] for r in (whole, again)]
    assert logs[0].partition("examples_per_second")[0] == logs[1].partition("examples_per_second")[0]
    said = done("verify", "whole", "--from-step", 3, *common)
    assert "equal, bit for bit" in said.out
    assert {"loss/judge", "loss/maker", "gradient_norm/maker"} <= whole.keys() | whole["train"].keys() | set(
        logs[0].replace('"', " ").split()
    )


def test_commands_that_make_no_sense_of_a_game_say_so(tmp_path: Path) -> None:
    config = tmp_path / "game.yaml"
    config.write_text(PLAYED)
    assert dltrain("lr-find", config).errors == [
        "lr-find is for a `model` and its `loss`; `updates` have a learning rate and a loss each"
    ]
    done("fit", config, "--smoke", "--runs-dir", tmp_path)
    said = done("eval", "--runs-dir", tmp_path, "--json").json
    assert {"loss/judge", "loss/maker"} <= said.keys()
    assert "loss/judge" in done("fit", config, "--smoke", "--progress", "live", "--runs-dir", tmp_path / "live").err
    (answer,) = dltrain("check", config, "--samples", "some.png").errors
    assert answer == "check --samples is for a `model` and its `loss`"
    np.savez(tmp_path / "some.npz", x=np.zeros((2, 8, 8, 1), np.uint8))
    (answer,) = dltrain("predict", "--runs-dir", tmp_path, tmp_path / "some.npz").errors
    assert "several networks (maker, judge)" in answer
    assert "maker: 5 layers, 4 → 8×8×1; judge: 4 layers, 8×8×1 → 1" in done("validate", config).out
    counted = done("inspect-params", config, "--json").json
    assert [group["name"] for group in counted["groups"]] == ["maker", "judge"]
