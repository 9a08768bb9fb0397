"""A model: layers one after the other."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from dltrain.backend import Device
from dltrain.engine import Tensor
from dltrain.nn.layer import Context, Layer
from dltrain.nn.parameter import Parameter, Shape
from dltrain.random import generator


class Model:
    """`model(x, context)` runs the layers in order. x: Tensor or array (N, *in_shape)."""

    def __init__(self, layers: Sequence[Layer], in_shape: Shape):
        self.layers = list(layers)
        self.in_shape = in_shape
        self.out_shape = self.layers[-1].out_shape if self.layers else in_shape

    def __call__(self, x: Any, context: Context) -> Tensor:
        for _, y in self.outputs(x, context):
            x = y
        result: Tensor = x
        return result

    def outputs(self, x: Any, context: Context) -> Iterator[tuple[Layer, Tensor]]:
        """Every layer with its output, computed as it is asked for."""
        x = x if isinstance(x, Tensor) else Tensor(x)  # a layer that changes nothing gives it back
        for layer in self.layers:
            x = layer(x, context)
            if context.tap is not None and layer.observed:
                context.tap(layer, x.data)
            yield layer, x

    @cached_property
    def parameters(self) -> list[Parameter]:
        """In the order of the layers."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(`conv1.weight`, Parameter) in the order of the layers."""
        for layer in self.layers:
            for name, parameter in layer.parameters.items():
                yield f"{layer.name}.{name}", parameter

    @cached_property
    def trainable_parameters(self) -> dict[str, Parameter]:
        """Those that training changes, by name, in the order of the layers."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.trainable}

    @cached_property
    def multiply_adds(self) -> int:
        """Of all layers, forward, for one example."""
        return sum(layer.multiply_adds for layer in self.layers)

    def initialise(self, seed: int, device: Device) -> None:
        """Give every parameter its initial values. They depend on the seed and the parameter's name alone."""
        for name, parameter in self.named_parameters():
            parameter.data = device.asarray(parameter.draw(generator(seed, "init", name)))

    def weights(self) -> dict[str, Any]:
        """The arrays by name: what a checkpoint keeps."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load(self, weights: dict[str, Any], device: Device) -> None:
        """Copy the values from a checkpoint. Raises ValueError when names, shapes or kinds of numbers differ."""
        parameters = dict(self.named_parameters())
        if different := weights.keys() ^ parameters.keys():
            raise ValueError(f"{min(different)} is in one of checkpoint and model only")
        for name, parameter in parameters.items():
            if weights[name].shape != parameter.shape or weights[name].dtype.kind != "f":
                found = f"{weights[name].dtype.name} of shape {weights[name].shape}"
                raise ValueError(f"{name} is {found}, the model wants floats of shape {parameter.shape}")
            parameter.data = device.asarray(weights[name].copy())
