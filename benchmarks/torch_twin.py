"""A net of ours in PyTorch, with our weights as `dltrain export --format torch-safetensors` writes them."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from nets import Twin
from torch import nn

from dltrain.nn import INPUT, BatchNorm, Conv, ConvTranspose, Dense, Dropout, Flatten, GlobalAveragePool, Layer, Network
from dltrain.nn.join import Add, Concat
from dltrain.nn.norm import LayerNorm
from dltrain.nn.recurrent import Recurrent
from dltrain.nn.sequence import Attention, Embedding, Positional
from dltrain.random import permutation
from dltrain.spec import RunSpec
from dltrain.weights.layout import torch_state

Array = Any
ACTIVATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "relu": torch.relu_,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": nn.functional.gelu,
}
RECURRENT = {"gru": nn.GRU, "lstm": nn.LSTM}
POOLS = {"max_pool": nn.MaxPool2d, "average_pool": nn.AvgPool2d}


class Graph(nn.Module):  # type: ignore[misc]
    """The same layers under the same names, taking what ours take. x: (N, C, H, W)"""

    def __init__(self, model: Network):
        super().__init__()
        self.steps: list[tuple[str, tuple[str, ...], list[nn.Module], Callable[..., torch.Tensor] | None]] = []
        users = Counter(name for names in model.sources.values() for name in names)
        for layer in model.layers:
            module, sources = _module(layer), model.sources[layer.name]
            if module is not None:
                plain = f"plain_{layer.name}".replace(".", "_")  # a container's own join has the name of the container
                *path, last = layer.name.split(".") if layer.parameters else [plain]
                parent: nn.Module = self
                for part in path:
                    if not hasattr(parent, part):
                        parent.add_module(part, nn.Module())
                    parent = getattr(parent, part)
                parent.add_module(last, module)
            norm = None
            if module is not None and isinstance(layer, Conv | ConvTranspose | Dense) and layer.norm is not None:
                assert isinstance(layer.norm, BatchNorm)
                norm = module.norm = _norm(layer.norm)  # called conv1.norm there as here
            after = None if layer.activation is None else ACTIVATIONS[layer.activation]
            if layer.kind == "relu" and users[sources[0]] > 1:
                after = torch.relu  # not in the place of what others take, too
            self.steps.append((layer.name, sources, [part for part in (module, norm) if part is not None], after))
        last_use = {name: layer.name for layer in model.layers for name in model.sources[layer.name]}
        self.spent = {layer.name: [n for n, user in last_use.items() if user == layer.name] for layer in model.layers}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {INPUT: x}
        for name, sources, modules, after in self.steps:
            taken = [values[source] for source in sources]
            for module in modules:
                y = module(*taken)
                taken = [y[0] if isinstance(y, tuple) else y]  # of a recurrent layer without its last state
            x = taken[0]
            for source in self.spent[name]:
                del values[source]
            values[name] = x = x if after is None else after(x)
        return x


class _Join(nn.Module):  # type: ignore[misc]
    def __init__(self, function: Callable[..., torch.Tensor]):
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(*inputs)


class _Positional(nn.Module):  # type: ignore[misc]
    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight


class _Attention(nn.MultiheadAttention):  # type: ignore[misc]
    """With its products as one who wants speed writes them."""

    causal: bool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = nn.functional.linear(x, self.in_proj_weight, self.in_proj_bias).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out_proj(y.transpose(1, 2).flatten(-2))


def build(model: Network) -> nn.Module:
    """The same net with the same weights. Raises KeyError for a layer that has no counterpart here."""
    net = Graph(model)
    state = {name: torch.from_numpy(np.array(array)) for name, array in torch_state(model, model.weights()).items()}
    net.to(next(iter(state.values())).dtype)
    found = net.load_state_dict(state, strict=False)
    lacking = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    assert not lacking and not found.unexpected_keys, (lacking, found.unexpected_keys)
    return net


def _module(layer: Layer) -> nn.Module | None:
    """Without its activation. None for a layer that is nothing else."""
    window = layer.window
    if isinstance(layer, Dense):
        return nn.Linear(*layer.weight.shape, layer.bias is not None)
    if isinstance(layer, Conv | ConvTranspose):
        assert window and all(before == after for before, after in window.padding), "padding differs at both ends"
        padding, bias = tuple(before for before, _ in window.padding), layer.bias is not None
        ends = layer.in_shape[-1], layer.out_shape[-1], window.kernel, window.stride, padding
        if isinstance(layer, Conv):
            return nn.Conv2d(*ends, window.dilation, layer.groups, bias)
        return nn.ConvTranspose2d(*ends, layer.settings["output_padding"], layer.groups, bias, window.dilation)
    if isinstance(layer, BatchNorm):
        return _norm(layer)
    if isinstance(layer, Dropout):
        return nn.Dropout(layer.rate)
    if isinstance(layer, Embedding):
        return nn.Embedding(*layer.weight.shape)
    if isinstance(layer, Recurrent) and layer.kind in RECURRENT:
        return RECURRENT[layer.kind](*layer.in_shape[-1:], *layer.out_shape[-1:], batch_first=True)
    if isinstance(layer, LayerNorm):
        return nn.LayerNorm(layer.in_shape[-1], layer.epsilon)
    if isinstance(layer, Positional):
        return _Positional(layer.in_shape)
    if isinstance(layer, Attention):
        attention = _Attention(layer.in_shape[-1], layer.heads)
        attention.causal = layer.causal
        return attention
    if isinstance(layer, Flatten):
        return nn.Flatten()
    if isinstance(layer, GlobalAveragePool):
        return _Join(lambda x: x.mean(dim=(2, 3)))
    if isinstance(layer, Add):
        return _Join(lambda *inputs: sum(inputs[1:], inputs[0]))
    if isinstance(layer, Concat):
        return _Join(lambda *inputs: torch.cat(inputs, 1))
    if layer.kind in ACTIVATIONS:
        return None
    if layer.kind == "upsample":
        return nn.Upsample(scale_factor=layer.factor, mode=layer.mode)  # type: ignore[attr-defined]
    assert window and all(pads == (0, 0) for pads in window.padding), "pooling with padding"
    return POOLS[layer.kind](window.kernel, window.stride)


def _norm(layer: BatchNorm) -> nn.Module:
    kind = nn.BatchNorm2d if len(layer.in_shape) == 3 else nn.BatchNorm1d
    return kind(layer.in_shape[-1], layer.epsilon, layer.running_mean.momentum, layer.scale is not None)


def optimizer_of(spec: RunSpec, net: nn.Module, fused: bool = False) -> torch.optim.Optimizer:
    """adam or nesterov; our penalty l2 · Σw², of weights alone, is a weight decay of 2 · l2 there."""
    decayed = {id(m.weight) for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)}
    every = list(net.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for p in every if id(p) in decayed], "weight_decay": 2 * spec.penalty.l2},
        {"params": [p for p in every if id(p) not in decayed]},
    ]
    groups, own = [group for group in groups if group["params"]], spec.optimizer.own
    if spec.optimizer.type == "adam":
        betas = own["beta1"], own["beta2"]
        return torch.optim.Adam(groups, own["lr"], betas, own["epsilon"], fused=fused)
    return torch.optim.SGD(groups, own["lr"], own["momentum"], nesterov=True, fused=fused)


def train(twin: Twin, mode: str) -> Iterator[float]:
    """Train for ever, as a good PyTorch user would write it, and yield the loss of every step.

    mode: "eager", or several of "channels_last", "fused" and "compile" with + between them.
    """
    options = set(mode.split("+")) - {"eager"}
    if unknown := options - {"channels_last", "fused", "compile"}:
        raise ValueError(f"unknown mode of torch: {', '.join(unknown)}")
    net = build(twin.model)
    channels_last = "channels_last" in options
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
    optimizer = optimizer_of(twin.spec, net, "fused" in options)
    if "compile" in options:
        net = torch.compile(net)

    split, learned = twin.prepared.splits["train"], twin.prepared.preprocessing
    inputs, targets = torch.from_numpy(split.inputs), torch.from_numpy(split.targets)
    tokens = inputs.ndim == 2
    if tokens:
        inputs = inputs.long()
    else:
        inputs = inputs.permute(0, 3, 1, 2)  # (N, C, H, W) bytes, in channels_last order
        inputs = inputs if channels_last else inputs.contiguous()
        mean, std = (torch.tensor(v, dtype=torch.float32)[:, None, None] for v in (learned.mean, learned.std))

    order = torch.from_numpy(permutation(len(split), twin.spec.seed, "order", epoch=1))  # ours, to compare losses
    while True:
        for batch in order.split(twin.batch_size):
            x = inputs[batch] if tokens else inputs[batch].float().sub_(mean).div_(std)
            optimizer.zero_grad()
            y = net(x)
            loss = nn.functional.cross_entropy(y.flatten(0, -2), targets[batch].flatten())
            loss.backward()
            if twin.spec.train.clip_norm is not None:
                nn.utils.clip_grad_norm_(net.parameters(), twin.spec.train.clip_norm)
            optimizer.step()
            yield loss.item()
        order = torch.randperm(len(split))
