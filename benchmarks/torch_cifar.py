"""configs/cifar_cnn.yaml or cifar_resnet20.yaml as a PyTorch script: what `epoch.py` runs beside `dltrain fit`.

python benchmarks/torch_cifar.py FOLDER [--net cifar_resnet20] [--seed 0] [--mode channels_last+fused] [--epochs 1]
                                        [--threads 2] [--max-steps N]

FOLDER: where cifar-10-batches-py lies. Bytes stay bytes in memory; every batch is gathered and normalised; the loss is
read after every step; then the test images are classified and the weights saved, as `fit` does.
"""

import argparse
import json
import math
import pickle
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn


def load(folder: Path, names: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    parts = []
    for name in names:
        with open(folder / "cifar-10-batches-py" / name, "rb") as file:
            parts.append(pickle.load(file, encoding="bytes"))
    images = np.concatenate([part[b"data"] for part in parts]).reshape(-1, 3, 32, 32)
    targets = np.concatenate([part[b"labels"] for part in parts])
    return torch.from_numpy(images), torch.from_numpy(targets)


def network(name: str) -> nn.Module:
    return cnn() if name == "cifar_cnn" else resnet20()


def cnn() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64)):
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2), nn.Dropout(0.25)]
    layers += [nn.Flatten(), nn.Linear(4096, 512), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(512, 10)]
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):  # as the config has it; PyTorch's own weights are smaller
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


class Block(nn.Module):  # type: ignore[misc]
    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        self.path = nn.Sequential(
            *conv(inputs, channels, 3, stride), nn.ReLU(inplace=True), *conv(channels, channels, 3)
        )
        self.shortcut = nn.Sequential(*conv(inputs, channels, 1, stride)) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.path(x) + self.shortcut(x))


def conv(inputs: int, channels: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight)
    return [layer, nn.BatchNorm2d(channels)]


def resnet20() -> nn.Module:
    blocks: list[nn.Module] = [Block(16, 16, 1) for _ in range(3)]
    for channels in (32, 64):
        blocks += [Block(channels // 2, channels, 2), Block(channels, channels, 1), Block(channels, channels, 1)]
    last = nn.Linear(64, 10)
    nn.init.kaiming_normal_(last.weight)
    nn.init.zeros_(last.bias)
    start = [*conv(3, 16, 3), nn.ReLU(inplace=True)]
    return nn.Sequential(*start, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)


def optimizer_of(name: str, net: nn.Module, fused: bool) -> torch.optim.Optimizer:
    if name == "cifar_cnn":
        return torch.optim.Adam(net.parameters(), lr=1e-3, fused=fused)
    weights = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": 5e-4}, {"params": others}]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True, fused=fused)


def rate(name: str, step: int, steps: int, per_epoch: int) -> float:
    """Up in a line for an epoch, then down to 0 on half a cosine."""
    if name == "cifar_cnn":
        return 1e-3
    if step < per_epoch:
        return 0.1 * (step + 1) / (per_epoch + 1)
    return 0.1 * (1 + math.cos(math.pi * (step - per_epoch) / max(1, steps - per_epoch))) / 2


def augmented(images: torch.Tensor) -> torch.Tensor:
    """Half of them mirrored, each moved by up to 4 pixels, black where nothing was. (N, C, H, W)"""
    n = len(images)
    padded = nn.functional.pad(images, (4, 4, 4, 4))
    rows, columns = (torch.randint(0, 9, (n, 1)) + torch.arange(32) for _ in range(2))
    columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    moved = padded.permute(0, 2, 3, 1)[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None]]
    return moved.permute(0, 3, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--net", default="cifar_cnn", choices=["cifar_cnn", "cifar_resnet20"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mode", default="eager")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-steps", type=int)
    arguments = parser.parse_args()
    options = set(arguments.mode.split("+"))
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    images, targets = load(arguments.folder, [f"data_batch_{i}" for i in range(1, 6)])
    test_images, test_targets = load(arguments.folder, ["test_batch"])
    layout = torch.channels_last if "channels_last" in options else torch.contiguous_format
    images, test_images = (x.contiguous(memory_format=layout) for x in (images, test_images))
    mean, std = statistics(images)
    net = network(arguments.net).to(memory_format=layout)
    optimizer = optimizer_of(arguments.net, net, "fused" in options)
    run = torch.compile(net) if "compile" in options else net

    def normalised(batch: torch.Tensor) -> torch.Tensor:
        return batch.float().sub_(mean).div_(std)

    seconds, steps, loss_sum, per_epoch = 0.0, 0, 0.0, -(-len(images) // 128)
    for _ in range(arguments.epochs):
        started = time.perf_counter()
        for batch in torch.randperm(len(images)).split(128):
            for group in optimizer.param_groups:
                group["lr"] = rate(arguments.net, steps, arguments.epochs * per_epoch, per_epoch)
            optimizer.zero_grad()
            x = images[batch] if arguments.net == "cifar_cnn" else augmented(images[batch])
            loss = nn.functional.cross_entropy(run(normalised(x.contiguous(memory_format=layout))), targets[batch])
            loss.backward()
            optimizer.step()
            loss_sum += loss.item() * len(batch)
            steps += 1
            if steps == arguments.max_steps:
                break
        seconds += time.perf_counter() - started
    net.eval()
    with torch.no_grad():
        parts = zip(test_images.split(128), test_targets.split(128), strict=True)
        right = sum(int((net(normalised(x)).argmax(1) == y).sum()) for x, y in parts)
    with tempfile.TemporaryFile() as file:
        torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, file)
    print(json.dumps({"seconds": seconds, "steps": steps, "test_accuracy": right / len(test_images)}))


def statistics(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each channel (C, 1, 1), from how often each byte occurs: few floats."""
    counts = torch.stack([torch.bincount(images[:, c].flatten(), minlength=256) for c in range(images.shape[1])])
    share, values = counts.double() / counts[0].sum(), torch.arange(256.0, dtype=torch.float64)
    mean = share @ values
    std = (share @ values**2 - mean**2).sqrt()
    return mean.float()[:, None, None], std.float()[:, None, None]


if __name__ == "__main__":
    main()
