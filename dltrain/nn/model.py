"""A model: layers one after the other."""

from collections.abc import Iterator, Sequence
from typing import Any

from dltrain.backend import Device
from dltrain.engine import Tensor
from dltrain.nn.layer import Context, Layer, Parameter, Shape
from dltrain.random import generator


class Model:
    """`model(x, context)` runs the layers in order. x: Tensor or array (N, *in_shape)."""

    def __init__(self, layers: Sequence[Layer], in_shape: Shape):
        self.layers = list(layers)
        self.in_shape = in_shape
        self.out_shape = self.layers[-1].out_shape if self.layers else in_shape

    def __call__(self, x: Any, context: Context) -> Tensor:
        for layer in self.layers:
            x = layer(x, context)
            if context.tap is not None and layer.observed:
                context.tap(layer, x.data)
        y: Tensor = x
        return y

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(`conv1.weight`, Parameter) in the order of the layers."""
        for layer in self.layers:
            for name, parameter in layer.parameters.items():
                yield f"{layer.name}.{name}", parameter

    def initialise(self, seed: int, device: Device) -> None:
        """Give every parameter its initial values. They depend on the seed and the parameter's name alone."""
        for name, parameter in self.named_parameters():
            parameter.data = device.asarray(parameter.draw(generator(seed, "init", name)))

    def weights(self) -> dict[str, Any]:
        """The arrays by name: what a checkpoint keeps."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load(self, weights: dict[str, Any], device: Device) -> None:
        """Take the values from a checkpoint. Raises KeyError or ValueError when names or shapes differ."""
        for name, parameter in self.named_parameters():
            if weights[name].shape != parameter.shape:
                raise ValueError(f"{name} has shape {weights[name].shape}, the model wants {parameter.shape}")
            parameter.data = device.asarray(weights[name])
