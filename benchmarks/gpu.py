"""How long do a training step and an epoch of `cifar_cnn` take on an NVIDIA GPU, beside PyTorch's?

python benchmarks/gpu.py [--batches 128,512,2048] [--epochs 5]     needs the extra gpu, CIFAR-10 under DLTRAIN_DATA;
                                                                    PyTorch with CUDA where it is to be compared

Whole epochs are timed as a user waits for them, with the data on the GPU on both sides, figures read every 50 steps,
float32 without TF32; PyTorch in TF32 as well, its default for convolutions.
The first epoch, in which kernels are compiled and chosen, is left out. `--quick` takes 2 steps of generated data.
"""

import argparse
import json
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import record

from dltrain.backend import Device, open_device
from dltrain.backend.process import settle as settle_process
from dltrain.data import default_data_dir
from dltrain.job.job import Job
from dltrain.run.rundir import RunDir
from dltrain.spec import build_job, load, settle
from dltrain.train.callbacks import Callback
from dltrain.train.loop import fit

EVERY = 50


def job_of(device: Device, batch: int, epochs: int, quick: bool) -> Job:
    changes = [f"train.batch_size={batch}", f"train.epochs={epochs}", f"logging.every={EVERY}"]
    return build_job(settle(load("cifar_cnn", changes), device), device, default_data_dir(), smoke=quick)


def ours(job: Job) -> list[float]:
    """The seconds of each epoch, from its first step to the reading of its last figures."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir.create(Path(folder), "benchmark", "version: 1\n", "version: 1\n", {})
        fit(job, run, 1, Callback())
        return [row["seconds"] for row in run.rows(run.metrics) if row["event"] == "epoch"]


def torch_epochs(job: Job, tf32: bool) -> list[float]:
    """The same net, data and optimizer in PyTorch's fastest eager form."""
    import torch
    from torch_cifar import network

    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    loader, size = job.loaders["train"], job.train.batch_size
    images = torch.from_numpy(loader.originals(range(loader.size))).permute(0, 3, 1, 2).cuda()
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.from_numpy(loader.targets()).cuda()
    learned = (job.preprocessing.mean, job.preprocessing.std)
    mean, std = (torch.tensor(values, dtype=torch.float32, device="cuda")[:, None, None] for values in learned)
    net = network("cifar_cnn").cuda().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    seconds = []
    for _ in range(job.train.epochs):
        torch.cuda.synchronize()
        started = time.perf_counter()
        losses = []
        for step, batch in enumerate(torch.randperm(len(images), device="cuda").split(size), start=1):
            optimizer.zero_grad()
            x = images[batch].float().sub_(mean).div_(std)
            loss = torch.nn.functional.cross_entropy(net(x), targets[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            if step % EVERY == 0:
                torch.stack(losses).tolist()
        torch.stack(losses).tolist()
        seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=lambda text: [*map(int, text.split(","))], default="128,512,2048")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    settle_process()
    device = open_device("cuda")
    sides = {"ours": ours}
    if find_spec("torch"):
        sides["torch"] = lambda job: torch_epochs(job, tf32=False)
        sides["torch, TF32"] = lambda job: torch_epochs(job, tf32=True)
    rows = []
    for batch in arguments.batches:
        for side, run in sides.items():
            job = job_of(device, batch, arguments.epochs, arguments.quick)
            epoch = median(run(job)[1:])
            device.release_memory()
            rows.append({"side": side, "batch": batch, "epoch_s": round(epoch, 4),
                         "step_ms": round(1000 * epoch / job.steps_per_epoch, 4)})  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    figures = {"gpu": device.describe(), "epochs": arguments.epochs, "rows": rows}
    if not arguments.quick:
        record.write("gpu", figures)


if __name__ == "__main__":
    main()
