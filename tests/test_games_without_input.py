"""A network whose first layer takes no input makes its value of its parameters alone; and layers within a value."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from test_games import BATCH, KEY, asked, job_of, step
from test_games import weights_of as weights

from dltrain import ops
from dltrain.backend import open_device
from dltrain.engine import Tensor
from dltrain.errors import ConfigError
from dltrain.job.inputs import StepInputs
from dltrain.job.values import compute
from dltrain.nn import LAYERS, Context, Conv, Layer, Parameter
from dltrain.nn.graph import outline_together
from dltrain.registry import Count
from dltrain.spec import build_model, loads


class Still(Layer):
    """The same numbers for every example."""

    takes_input = False

    def __init__(self, *, size: tuple[Count, ...]):
        super().__init__((), size)
        self.weight = Parameter(size, kind="weight")

    def __call__(self, context: Any) -> Tensor:
        zeros = np.zeros((context.examples, *self.out_shape), self.weight.data.dtype)
        return ops.add(Tensor(zeros), self.weight)


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(LAYERS._entries, "still", Still)
    yield


PAINTED = """
data: {type: digits, normalize: none}
networks:
  canvas: [still: [8, 8, 1]]
values: {painted: canvas}
updates:
  canvas: [mse: {of: painted, target: image}]
optimizer: {type: sgd, lr: 16}
train: {batch_size: 24, epochs: 1}
"""
MODEL = "data: digits\nmodel: {layers: [flatten, still: [3], {dense: 10}]}\n"


def test_its_parameters_alone_are_trained() -> None:
    """The mean over examples and numbers of (w - x)² has the gradient 2 (w - x̄) / 64."""
    job = job_of(PAINTED)
    before, images = weights(job)["canvas.still1.weight"].copy(), job.loaders["train"].values(BATCH)["image"]
    step(job)
    expected = before - 16 * 2 * (before - images.mean(axis=0)) / 64
    np.testing.assert_allclose(weights(job)["canvas.still1.weight"], expected, rtol=1e-9, atol=1e-12)
    found = asked(job, job.loaders["train"].values(BATCH))["painted"]
    assert found.shape == (24, 8, 8, 1) and (found == found[:1]).all()
    cut = job_of(PAINTED, "train.shard_size=7")
    step(cut, threads=2)
    np.testing.assert_allclose(weights(cut)["canvas.still1.weight"], expected, rtol=1e-9, atol=1e-12)


def test_layers_go_on_from_it_and_an_expression_may_be_its_name() -> None:
    job = job_of(PAINTED.replace("values: {painted: canvas}\n", "").replace("of: painted", "of: canvas").replace(
        "[still: [8, 8, 1]]", "[still: [4], {dense: 64}, {reshape: [8, 8, 1]}]"))  # fmt: skip
    step(job)
    vertices = outline_together({"canvas": job.update.terms}, open_device("cpu"))
    assert {"canvas.still1.weight", "canvas.dense1.weight"} <= {vertex.name for vertex in vertices}
    assert not any(vertex.op == "input" for vertex in vertices)


MISTAKES = {
    "applied": (
        PAINTED.replace("{painted: canvas}", "{painted: {canvas: image}}"),
        "4:12  networks.canvas.layers[0] (canvas.still1): still takes no input; it stands first in a network whose "
        "name alone is a value, as in `values`",
    ),
    "later": (
        MODEL,
        "2:27  model.layers[1] (still1): still takes no input; it stands first in a network whose name alone is a "
        "value, as in `values`",
    ),
    "takes one": (
        PAINTED.replace("still: [8, 8, 1]", "dense: 4"),
        "5:19  values.painted: the network canvas takes a value: `{canvas: VALUE}`",
    ),
    "over": (
        PAINTED.replace("{painted: canvas}", "{painted: {network: canvas, over: 2}}"),
        "5:19  values.painted: the network canvas takes a value: `{canvas: VALUE}`",
    ),
    "both ways": (
        PAINTED.replace("of: painted, target: image", "of: painted, target: {canvas: image}"),
        "7:39  updates.canvas.minimise[0].target: canvas takes (8, 8, 1) here, but nothing in values.painted "
        "(c.yaml:5:19); one shape only",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_mistakes(mistake: str) -> None:
    text, *expected = MISTAKES[mistake]
    with pytest.raises(ConfigError) as caught:
        build_model(loads(text, "c.yaml"))
    assert caught.value.problems == [f"c.yaml:{line}" for line in expected]


def test_what_nobody_takes_of_a_value_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
    data: digits
    networks:
      eye: {trainable: false, layers: [{conv: 3}, {conv: 2}, {conv: 2}]}
      maker: [{conv: {channels: 1, padding: same, activation: none}}]
    values: {made: {maker: image}, seen: {eye: image}}
    updates:
      maker: [mse: {of: {eye: made}, target: seen, at: [conv1, conv2]}]
    """
    called: list[str] = []
    job = job_of(text)
    run = Conv.__call__

    def told(self: Conv, x: Tensor, context: Context) -> Tensor:
        called.append(self.name)
        return run(self, x, context)

    monkeypatch.setattr(Conv, "__call__", told)
    shard = StepInputs(job, BATCH, KEY).of(0)
    found = compute(job.update, shard.values, shard, KEY, lambda *_: None)
    assert sorted(called) == ["eye.conv1", "eye.conv1", "eye.conv2", "eye.conv2", "maker.conv1"]
    assert {"seen@eye.conv1", "seen@eye.conv2", "made"} <= found.keys() and "seen" not in found
