"""How PyTorch calls and lays out what layers hold, and the way there and back.

Ours has channels last: conv (*kernel, in, out), dense (in, out). PyTorch's has them first: Conv (out, in, *kernel),
Linear (out, in), ConvTranspose (in, out, *kernel). What follows `flatten` has (*size, channel) in a row here, and
(channel, *size) there: rows of a dense layer and numbers of a norm change places.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from dltrain.nn import Dense, Flatten, Layer, Network

Array = Any
Shape = tuple[int, ...]
# Our name of a part -> PyTorch's, where it is another one.
PARTS = {"scale": "weight", "shift": "bias", "running_variance": "running_var", "slope": "weight"}
_RECURRENT = {
    "weight": "weight_ih_l0", "recurrent_weight": "weight_hh_l0", "bias": "bias_ih_l0", "recurrent_bias": "bias_hh_l0"
}  # fmt: skip
_ATTENTION = {
    "weight": "in_proj_weight", "bias": "in_proj_bias", "output_weight": "out_proj.weight",
    "output_bias": "out_proj.bias",
}  # fmt: skip
OWN_PARTS = {"rnn": _RECURRENT, "lstm": _RECURRENT, "gru": _RECURRENT, "attention": _ATTENTION}  # of a kind of layer
SAME_AXES = {"embedding", "positional"}
# Layers that leave the numbers of a row in their order, whatever they do to each.
KEEP_ORDER = {
    "dropout", "relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "hard_swish", "softplus",
    "sigmoid", "tanh", "batch_norm", "layer_norm",
}  # fmt: skip


@dataclass(frozen=True)
class Order:
    """The way from our layout to PyTorch's and back: ours is seen as an array of shape `split`, whose `axes` change
    places; then some of them are one again."""

    ours: Shape
    split: Shape
    axes: Shape
    theirs: Shape

    def to_torch(self, array: Array) -> Array:
        return array.reshape(self.split).transpose(self.axes).reshape(self.theirs)

    def from_torch(self, array: Array) -> Array:
        return array.reshape([self.split[i] for i in self.axes]).transpose(np.argsort(self.axes)).reshape(self.ours)


def torch_part(layer: Layer, part: str) -> str:
    """What PyTorch calls the `scale` of a layer, or of its norm: `weight`, `norm.weight`."""
    *within, last = part.split(".")
    return ".".join([*within, OWN_PARTS.get(layer.kind, PARTS).get(last, last)])


def own_order(layer: Layer, part: str) -> Order:
    """Of a file in our own layout."""
    ours = (layer.parameters | layer.buffers)[part].shape
    return Order(ours, ours, tuple(range(len(ours))), ours)


def torch_order(network: Network, layer: Layer, part: str) -> Order:
    """Of a parameter or buffer of a layer."""
    ours: Shape = (layer.parameters | layer.buffers)[part].shape
    picture = _picture(network, layer)
    if part.endswith("weight") and len(ours) > 1 and layer.kind not in SAME_AXES:
        split = (*picture, ours[-1]) if isinstance(layer, Dense) and prod(picture) == ours[0] else ours
        axes = (len(split) - 1, len(split) - 2, *range(len(split) - 2))
    elif len(layer.in_shape) == 1 and not isinstance(layer, Dense) and picture:
        split, axes = picture, (len(picture) - 1, *range(len(picture) - 1))
    else:
        return own_order(layer, part)
    theirs = tuple(split[i] for i in axes)
    if len(split) > len(ours):  # (out, channel, *size) is (out, in) there
        theirs = (*theirs[: len(ours) - 1], prod(theirs[len(ours) - 1 :]))
    return Order(ours, split, axes, theirs)


def torch_state(network: Network, weights: dict[str, Array]) -> dict[str, Array]:
    """What PyTorch's `load_state_dict` takes: these weights of a network by PyTorch's names, in its order of axes."""
    return {
        f"{layer.name}.{torch_part(layer, part)}": torch_order(network, layer, part).to_torch(
            weights[f"{layer.name}.{part}"]
        )
        for layer in network.layers
        for part in (*layer.parameters, *layer.buffers)
    }


def _picture(network: Network, layer: Layer) -> Shape:
    """(*size, channels) of what came into `flatten`, where a layer takes the row that it gave; else nothing."""
    by_name = {other.name: other for other in network.layers}
    before: Layer | None = layer
    while before is not None:
        before = by_name.get(network.sources[before.name][0])
        if isinstance(before, Flatten):
            return before.in_shape
        if before is None or before.kind not in KEEP_ORDER:
            break
    return ()
