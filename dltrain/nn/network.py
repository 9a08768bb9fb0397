"""A network: named layers, each of which takes what earlier ones gave."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from dltrain.backend import Device
from dltrain.engine import Tensor
from dltrain.nn.layer import Context, Layer
from dltrain.nn.parameter import Buffer, Parameter, Shape
from dltrain.random import generator
from dltrain.spans import in_layer

INPUT = "input"  # the name under which layers take what comes from outside


class Composite:
    """What several layers hold together, by the names of the layers."""

    layers: list[Layer]
    multiply_adds: int

    @cached_property
    def start_values(self) -> dict[str, Any]:
        """Arrays by the names of parameters and buffers, in place of those that `initialise` draws."""
        return {}

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """`conv1.weight` -> Parameter, in the order of the layers."""
        return {f"{layer.name}.{name}": p for layer in self.layers for name, p in layer.parameters.items()}

    @property
    def mixes_examples(self) -> bool:
        return any(layer.mixes_examples for layer in self.layers)

    @cached_property
    def trainable_parameters(self) -> dict[str, Parameter]:
        """Those that training changes, by name, in the order of the layers."""
        return {name: parameter for name, parameter in self.parameters.items() if parameter.trainable}

    @cached_property
    def buffers(self) -> dict[str, Buffer]:
        """`batch_norm1.running_mean` -> Buffer, in the order of the layers."""
        return {f"{layer.name}.{name}": b for layer in self.layers for name, b in layer.buffers.items()}

    @property
    def state(self) -> dict[str, Parameter | Buffer]:
        """All that makes the network what it is: its parameters, then its buffers."""
        return {**self.parameters, **self.buffers}

    def initialise(self, seed: int, device: Device) -> None:
        """Give every parameter and buffer its initial values. Those that are drawn depend on the seed and on names
        alone."""
        given = self.start_values
        for name, part in self.state.items():
            values = given[name].copy() if name in given else part.draw(generator(seed, "init", name))
            part.data = device.asarray(values)
        for layer in self.layers:
            if not given.keys() & {f"{layer.name}.{name}" for name in layer.buffers}:
                layer.begin()

    def weights(self) -> dict[str, Any]:
        """The arrays by name: what a checkpoint keeps."""
        return {name: part.data for name, part in self.state.items()}

    def load(self, weights: dict[str, Any], device: Device) -> None:
        """Copy the values from a checkpoint. Raises ValueError when names, shapes or kinds of numbers differ."""
        if different := weights.keys() ^ self.state.keys():
            raise ValueError(f"{min(different)} is in one of checkpoint and model only")
        for name, parameter in self.state.items():
            if weights[name].shape != parameter.shape or weights[name].dtype.kind != "f":
                found = f"{weights[name].dtype.name} of shape {weights[name].shape}"
                raise ValueError(f"{name} is {found}, the model wants floats of shape {parameter.shape}")
            parameter.data = device.asarray(weights[name].copy())


class Network(Composite, Layer):
    """`network(x, context)` runs the layers in order. x: Tensor or array (N, *in_shape); a tuple of them where the
    network has several inputs, () where it has none.

    layers: each after those whose outputs it takes; the last one's output is the network's.
    inputs: name -> shape; the first one's shape is `in_shape`. A shape alone is that of `input`. None where the first
    layer takes no input.
    sources: layer -> the layers, or inputs, whose outputs it takes. None for a chain: each takes the one before it.
    Containers such as `residual` are written out here: the names of their layers nest (`residual1.conv2`), the
    layers themselves do not.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        inputs: Shape | dict[str, Shape],
        sources: dict[str, tuple[str, ...]] | None = None,
    ):
        self.inputs = inputs if isinstance(inputs, dict) else {INPUT: inputs}
        first, in_shape = next(iter(self.inputs.items()), ("", ()))
        super().__init__(in_shape, layers[-1].out_shape if layers else in_shape)
        self.in_shapes = tuple(self.inputs.values())
        self.layers = list(layers)
        before = [first, *(layer.name for layer in layers)]
        self.sources = sources or {layer.name: (name,) for layer, name in zip(layers, before, strict=False)}
        self.multiply_adds = sum(layer.multiply_adds for layer in layers)
        self._spent = self._last_uses()

    def __call__(self, x: Any, context: Context) -> Tensor:
        for _, y in self.outputs(x, context):
            x = y
        result: Tensor = x
        return result

    def outputs(self, x: Any, context: Context) -> Iterator[tuple[Layer, Tensor]]:
        """Every layer with its output, computed as it is asked for. What no later layer takes is let go."""
        given = x if isinstance(x, tuple) else (x,)
        tensors = [x if isinstance(x, Tensor) else Tensor(x) for x in given]
        values = dict(zip(self.inputs, tensors, strict=True))
        for layer, spent in zip(self.layers, self._spent, strict=True):
            with in_layer(layer.name):
                y = layer(*[values[name] for name in self.sources[layer.name]], context=context)
            for name in spent:
                del values[name]
            values[layer.name] = y
            if context.tap is not None and layer.observed:
                context.tap(layer, y.data)
            yield layer, y

    def freeze(self) -> None:
        self.trainable = False
        for layer in self.layers:
            layer.freeze()

    def until(self, layer: Layer) -> "Network":
        """The part that the output of a layer depends on, with the same layers."""
        found: list[Layer] = []
        needed = {layer.name}
        for other in reversed(self.layers[: self.layers.index(layer) + 1]):
            if other.name in needed:
                found.insert(0, other)
                needed.update(self.sources[other.name])
        return Network(found, self.inputs, {other.name: self.sources[other.name] for other in found})

    def _last_uses(self) -> list[list[str]]:
        """For each layer whose outputs, the input among them, it is the last to take."""
        last = {name: layer.name for layer in self.layers for name in self.sources[layer.name]}
        return [[name for name, user in last.items() if user == layer.name] for layer in self.layers]
