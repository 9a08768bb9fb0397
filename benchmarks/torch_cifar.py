"""configs/cifar_cnn.yaml as a PyTorch script: what `epoch.py` runs beside `dltrain fit cifar_cnn`.

python benchmarks/torch_cifar.py FOLDER [--mode channels_last+fused] [--epochs 1] [--threads 2] [--max-steps N]

FOLDER: where cifar-10-batches-py lies. Bytes stay bytes in memory; every batch is gathered and normalised; the loss is
read after every step; then the test images are classified and the weights saved, as `fit` does.
"""

import argparse
import json
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


def network() -> nn.Sequential:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mode", default="eager")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-steps", type=int)
    arguments = parser.parse_args()
    options = set(arguments.mode.split("+"))
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    images, targets = load(arguments.folder, [f"data_batch_{i}" for i in range(1, 6)])
    test_images, test_targets = load(arguments.folder, ["test_batch"])
    layout = torch.channels_last if "channels_last" in options else torch.contiguous_format
    images, test_images = (x.contiguous(memory_format=layout) for x in (images, test_images))
    mean, std = statistics(images)
    net = network().to(memory_format=layout)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused="fused" in options)
    run = torch.compile(net) if "compile" in options else net

    def normalised(batch: torch.Tensor) -> torch.Tensor:
        return batch.float().sub_(mean).div_(std)

    seconds, steps, loss_sum = 0.0, 0, 0.0
    for _ in range(arguments.epochs):
        started = time.perf_counter()
        for batch in torch.randperm(len(images)).split(128):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(run(normalised(images[batch])), targets[batch])
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
