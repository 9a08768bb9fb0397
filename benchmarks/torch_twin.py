"""A net of ours in PyTorch, with our weights."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from nets import Twin
from torch import nn

from dltrain.nn import Conv, Dense, Dropout, Flatten, Layer, Network
from dltrain.random import permutation

ACTIVATIONS = {"relu": lambda: nn.ReLU(inplace=True), "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
POOLS = {"max_pool": nn.MaxPool2d, "average_pool": nn.AvgPool2d}


def build(model: Network, kinds: list[str]) -> nn.Sequential:
    """The same layers with the same weights. Raises KeyError for a layer that has no counterpart here."""
    modules: list[nn.Module] = []
    image: tuple[int, ...] = model.in_shape  # before the last flatten
    for layer, kind in zip(model.layers, kinds, strict=True):
        if isinstance(layer, Flatten):
            image = layer.in_shape
        modules += _modules(layer, kind, image)
        if isinstance(layer, Dense):
            image = layer.out_shape
    return nn.Sequential(*modules)


def _modules(layer: Layer, kind: str, image: tuple[int, ...]) -> list[nn.Module]:
    if isinstance(layer, Conv | Dense):
        module = _conv(layer) if isinstance(layer, Conv) else _dense(layer, image)
        if layer.bias is not None:
            _copy(module.bias, layer.bias.data)
        return [module] if layer.activation is None else [module, ACTIVATIONS[layer.activation]()]
    if isinstance(layer, Dropout):
        return [nn.Dropout(layer.rate)]
    if isinstance(layer, Flatten):
        return [nn.Flatten()]
    assert layer.window and all(pads == (0, 0) for pads in layer.window.padding), "pooling with padding"
    return [POOLS[kind](layer.window.kernel, layer.window.stride)]


def _conv(layer: Conv) -> nn.Module:
    window, groups = layer.window, layer.groups
    assert window and all(before == after for before, after in window.padding), "padding differs at both ends"
    module = nn.Conv2d(
        layer.in_shape[-1],
        layer.out_shape[-1],
        window.kernel,
        window.stride,
        tuple(before for before, _ in window.padding),
        window.dilation,
        groups,
        layer.bias is not None,
        dtype=_dtype(layer),
    )
    _copy(module.weight, layer.weight.data.transpose(3, 2, 0, 1))
    return module


def _dense(layer: Dense, image: tuple[int, ...]) -> nn.Module:
    """Ours flattens (height, width, channel), torch (channel, height, width)."""
    inputs, units = layer.weight.shape
    module = nn.Linear(inputs, units, layer.bias is not None, dtype=_dtype(layer))
    weight = layer.weight.data
    if len(image) == 3:
        weight = weight.reshape(*image, units).transpose(2, 0, 1, 3).reshape(inputs, units)
    _copy(module.weight, weight.T)
    return module


def _dtype(layer: Conv | Dense) -> torch.dtype:
    return torch.from_numpy(layer.weight.data).dtype


def _copy(to: nn.Parameter, values: Any) -> None:
    with torch.no_grad():
        to.copy_(torch.from_numpy(np.array(values)))  # a copy: ours go on changing


def adam(settings: dict[str, Any], parameters: Iterator[nn.Parameter], fused: bool = False) -> torch.optim.Optimizer:
    betas = settings["beta1"], settings["beta2"]
    return torch.optim.Adam(parameters, settings["lr"], betas, settings["epsilon"], fused=fused)


def train(twin: Twin, mode: str) -> Iterator[float]:
    """Train for ever, as a good PyTorch user would write it, and yield the loss of every step.

    mode: "eager", or several of "channels_last", "fused" and "compile" with + between them.
    """
    options = set(mode.split("+")) - {"eager"}
    if unknown := options - {"channels_last", "fused", "compile"}:
        raise ValueError(f"unknown mode of torch: {', '.join(unknown)}")
    net = build(twin.model, twin.kinds)
    channels_last = "channels_last" in options
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
    optimizer = adam(twin.adam, net.parameters(), "fused" in options)
    if "compile" in options:
        net = torch.compile(net)

    split, learned = twin.prepared.splits["train"], twin.prepared.preprocessing
    images = torch.from_numpy(split.inputs).permute(0, 3, 1, 2)  # (N, C, H, W) bytes, in channels_last order
    if not channels_last:
        images = images.contiguous()
    targets = torch.from_numpy(split.targets)
    mean, std = (torch.tensor(v, dtype=torch.float32)[:, None, None] for v in (learned.mean, learned.std))

    order = torch.from_numpy(permutation(len(split), twin.spec.seed, "order", epoch=1))  # ours, to compare losses
    while True:
        for batch in order.split(twin.batch_size):
            x = images[batch].float().sub_(mean).div_(std)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x), targets[batch])
            loss.backward()
            optimizer.step()
            yield loss.item()
        order = torch.randperm(len(split))
