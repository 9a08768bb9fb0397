"""Containers: entries of `model.layers` that hold layers. A network is built from what they hold; none is ever called.

Their names nest: `conv1` in `residual2` is `residual2.conv1`.
"""

from typing import Any, Literal

from dltrain.nn.layer import LAYERS, Layer
from dltrain.registry import Count

Layers = tuple[Layer, ...]  # while a config is read, what it says of them


class Container:
    """chains: what lies side by side between the container's input and its output; an empty one passes the input on.

    join: the layer that makes one of their ends, called like the container itself; None where there is one chain.
    advice: what to do where they do not fit.
    """

    join: str | None = None
    advice = ""
    chains: tuple[tuple[Any, ...], ...]


@LAYERS.register("chain")
class Chain(Container):
    """Layers one after the other, under one name."""

    def __init__(self, *, layers: Layers):
        self.chains = (layers,)


@LAYERS.register("residual")
class Residual(Container):
    """What the layers make of their input, plus that input: He et al., "Deep Residual Learning", 2016."""

    join = "add"
    advice = "; with other shapes, write `branch: {join: add, paths: [[…], [{conv: {kernel: 1, …}}]]}`"

    def __init__(self, *, layers: Layers):
        self.chains = (layers, ())


@LAYERS.register("branch")
class Branch(Container):
    """Chains side by side, which all take the same input; their ends are joined. The path `[]` is the input itself."""

    def __init__(self, *, join: Literal["add", "concat", "multiply"], paths: tuple[Layers, ...]):
        self.join, self.chains = join, paths


@LAYERS.register("repeat")
class Repeat(Container):
    """The layers so many times, one after the other, each time with weights of their own.

    A chain when a config has been read: names go on (`conv1`, `conv2`, `conv3`), and `name: a` becomes `a1`, `a2`.
    """

    def __init__(self, *, times: Count, layers: Layers):
        self.chains = (layers * times,)
