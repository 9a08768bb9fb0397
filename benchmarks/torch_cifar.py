"""The net of configs/cifar_cnn.yaml in PyTorch, and how to bring our weights and batches over."""

from typing import Any

import numpy as np
import torch
from torch import nn

from dltrain.nn import Model


def build(dropout: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64)):
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2), nn.Dropout(0.25)]
    layers += [nn.Flatten(), nn.Linear(4096, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10)]
    return nn.Sequential(*(layer for layer in layers if dropout or not isinstance(layer, nn.Dropout)))


def copy_weights(ours: Model, theirs: nn.Sequential) -> None:
    """Ours are channels last: (*kernel, C, K) and (in, out), and flatten runs over (height, width, channel)."""
    arrays = {name: np.asarray(p.data) for name, p in ours.named_parameters()}
    arrays["dense1.weight"] = arrays["dense1.weight"].reshape(8, 8, 64, 512).transpose(2, 0, 1, 3).reshape(4096, 512)
    weighted = [layer for layer in theirs if isinstance(layer, nn.Conv2d | nn.Linear)]
    names = [f"conv{i}" for i in (1, 2, 3, 4)] + ["dense1", "dense2"]
    with torch.no_grad():
        for name, layer in zip(names, weighted, strict=True):
            weight = arrays[f"{name}.weight"]
            order = (3, 2, 0, 1) if weight.ndim == 4 else (1, 0)
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight.transpose(order))))
            layer.bias.copy_(torch.from_numpy(arrays[f"{name}.bias"].copy()))


def to_torch(images: Any) -> torch.Tensor:
    """(N, H, W, C) -> (N, C, H, W) in PyTorch's default layout."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
