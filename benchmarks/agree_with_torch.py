"""Do we compute what PyTorch computes? A net without dropout: same weights, same batches, losses side by side.

In float64 any difference would be one of mathematics. In float32 rounding is amplified from step to step, so PyTorch
in another memory layout runs along as a yardstick: it differs from PyTorch, too.

python benchmarks/agree_with_torch.py [--net cifar_resnet20] [--dtype float64] [--steps 20]

Needs torch, and CIFAR-10 under DLTRAIN_DATA. The learning rate is constant, or rises at first with --warmup.
"""

import argparse
import json

import numpy as np
import record
import torch
import torch_twin
from nets import NETS

from dltrain.backend import open_device
from dltrain.backend.process import settle as settle_process
from dltrain.data import default_data_dir
from dltrain.job.loader import StepKey
from dltrain.job.parallel import ThreadPool
from dltrain.spec import build_job
from dltrain.train.diagnostics import Probes
from dltrain.train.step import replay_for, train_step


class Torch:
    def __init__(self, net: torch.nn.Module, optimizer: torch.optim.Optimizer):
        self.net, self.optimizer = net, optimizer

    def step(self, images: np.ndarray, targets: np.ndarray, lr: float) -> float:
        """images: (N, H, W, C)"""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        loss = torch.nn.functional.cross_entropy(self.net(x), torch.from_numpy(targets))
        loss.backward()
        self.optimizer.step()
        return float(loss.item())


def largest(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max())


def steps_within(a: np.ndarray, b: np.ndarray) -> int | None:
    """How many first steps agree to 1e-3; None where all do."""
    beyond = np.flatnonzero(np.abs(a - b) > 1e-3)
    return int(beyond[0]) if len(beyond) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", default="cifar_cnn", choices=NETS)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, help="another one than the config's, where float64 takes too long")
    parser.add_argument("--warmup", type=float, default=0, help="epochs in which the rate rises, on both sides")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    arguments = parser.parse_args()
    settle_process()
    device = open_device("cpu", arguments.dtype)
    changes = [f"train.batch_size={arguments.batch_size}"] if arguments.batch_size else []
    changes += [f"schedule={{type: cosine, warmup: {arguments.warmup}}}"] if arguments.warmup else []
    spec = NETS[arguments.net].with_overrides(*changes).spec(device, dropout=False)
    job = build_job(spec, device, default_data_dir())
    job.model.initialise(job.seed, device)
    theirs = []
    for layout in (torch.contiguous_format, torch.channels_last):
        twin = torch_twin.build(job.network).to(memory_format=layout)
        theirs.append(Torch(twin, torch_twin.optimizer_of(spec, twin)))
    state = job.new_optimizer_state()
    pool, loader, probes = ThreadPool(2), job.loaders["train"], Probes(job.model)
    order, size = loader.order(job.seed, 1), job.train.batch_size
    losses = []
    for step in range(1, arguments.steps + 1):
        batch = order[(step - 1) * size : step * size]
        rates = job.learning_rates(step - 1, [])
        taken = train_step(job, pool, replay_for(job), batch, StepKey(job.seed, 1, step), rates, state, False)
        ours = taken.report(probes).updates[0].data_loss
        examples = loader.examples(batch)
        losses.append([ours, *(side.step(*examples, rates[""]) for side in theirs)])
    ours, default, channels_last = np.array(losses).T
    figures = {
        "net": arguments.net,
        "steps": arguments.steps,
        "batch_size": spec.train.batch_size,
        "warmup": arguments.warmup,
        "dtype": arguments.dtype,
        "seed": job.seed,
        "largest_difference": {
            "ours_and_torch": largest(ours, default),
            "torch_default_layout_and_torch_channels_last": largest(default, channels_last),
            "ours_and_torch_in_5_steps": largest(ours[:5], default[:5]),
            "ours_and_torch_in_20_steps": largest(ours[:20], default[:20]),
        },
        "steps_until_they_differ_by_1e-3": {
            "ours_and_torch": steps_within(ours, default),
            "torch_default_layout_and_torch_channels_last": steps_within(default, channels_last),
        },
        "losses": {"first": losses[0], "last": losses[-1]},
    }
    print(json.dumps(figures, indent=2))
    which = "" if arguments.net == "cifar_cnn" else f"_{arguments.net}"
    record.write(f"agree_with_torch{which}_{arguments.dtype}", figures)


if __name__ == "__main__":
    main()
