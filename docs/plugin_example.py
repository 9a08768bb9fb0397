"""An example of a plugin: an op, a layer, a loss and a data set of your own, in one file.

    python docs/plugin_example.py                                        # is the gradient right?
    dltrain fit docs/plugin_example.yaml --plugin docs/plugin_example.py

The file is run once, before the config is read, and what it registers can be named there like everything else. It is
recorded in the run's env.json; `eval` and `predict` need the same option. A config itself never runs code.
"""

from pathlib import Path
from typing import Any

import numpy as np

from dltrain import ops
from dltrain.backend import array_module
from dltrain.data import SOURCES, Source, Split
from dltrain.engine import Tensor, distinct, gradcheck, op
from dltrain.nn import LAYERS, LOSSES, Context, Layer, Loss
from dltrain.random import generator
from dltrain.registry import Count, Positive


@op
def sine(x: Any, *, frequency: float = 1.0) -> Any:
    """sin(frequency · x). An op gets arrays and returns (y, what carries a gradient back to each input).

    array_module is numpy or, on a GPU, CuPy: whatever the array belongs to.
    """
    xp = array_module(x)
    return xp.sin(frequency * x), (lambda g: g * xp.cos(frequency * x) * frequency,)


@LAYERS.register("sine")
class Sine(Layer):
    """sin(frequency · x) of every value. The keyword-only arguments are the layer's keys in a config."""

    activation = "sine"  # gives it a row in layers.jsonl

    def __init__(self, in_shape: tuple[int, ...], *, frequency: Positive = 1.0):
        super().__init__(in_shape, in_shape)  # the shapes of its input and of its output, without N
        self.frequency = frequency

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = sine(x, frequency=self.frequency)
        return y


@LOSSES.register("log_cosh")
class LogCosh(Loss):
    """The mean of log cosh(output - target): made of ops that are there, so it needs no gradient of its own."""

    classification = False  # the targets are numbers

    def __call__(self, output: Tensor, targets: Any, count: int) -> Tensor:
        """The sum over the examples at hand, divided by `count`, those of the whole batch."""
        d = output - targets
        values = ops.softplus(d * 2) - d - float(np.log(2))  # log cosh d, which overflows nowhere
        return values.sum() / (count * targets.shape[1])  # type: ignore[no-any-return]


@SOURCES.register("wave")
class Wave(Source):
    """sin(3x) + x at random places between -2 and 2, to be predicted from x."""

    input_shape = (1,)
    classes = None  # numbers are to be predicted,
    outputs = 1  # one of them

    def __init__(self, *, examples: Count = 200):
        self.examples = examples

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        return {split: self._draw(split) for split in ("train", "test") if only in (None, split)}

    def _draw(self, split: str) -> Split:
        x = generator(0, "wave", split).uniform(-2, 2, (self.examples, 1))
        return Split(x.astype(np.float32), (np.sin(3 * x) + x).astype(np.float32))


if __name__ == "__main__":
    for shape in ((), (5,), (2, 3, 4)):
        worst = gradcheck(lambda x: sine(x, frequency=1.7), distinct(*shape))
        print(f"sine {shape}: the gradient agrees with finite differences to {worst:.1e}")
