"""How long does an epoch of cifar_cnn take, ours against PyTorch eager in its default layout? A B A B, medians.

python benchmarks/epoch_against_torch.py --threads 2      needs torch, and CIFAR-10 under DLTRAIN_DATA

Both sides shuffle, gather, normalise, train with dropout and Adam in float32, and read the loss of every step. Ours
also logs every step and measures every layer, as `dltrain fit` does. Loading the files and evaluation are left out.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import record
import torch
import torch_cifar

from dltrain.backend import open_device
from dltrain.backend.process import settle as settle_process
from dltrain.data import default_data_dir
from dltrain.spec import build_job, load, settle
from dltrain.train.job import Job
from dltrain.train.loop import Training
from dltrain.train.rundir import RunDir
from dltrain.train.shards import Crew


class Silent:
    def started(self, steps: int, epochs: int) -> None: ...
    def stepped(self, row: dict) -> None: ...
    def finished_epoch(self, row: dict, layers: list) -> None: ...


class Ours:
    def __init__(self, job: Job, threads: int, folder: Path):
        run = RunDir.create(folder, "epoch", "", "", {})
        self.training = Training(job, run, Crew(threads), Silent())
        self.epoch = 0

    def run_epoch(self) -> float:
        """The seconds that metrics.jsonl gives for the epoch: training alone."""
        self.epoch += 1
        with np.errstate(all="ignore"):
            self.training._run_epoch(self.epoch)
        return float(self.training.run.rows(self.training.run.metrics)[-1]["seconds"])


class Torch:
    def __init__(self, job: Job):
        feed = job.feeds["train"]
        images = np.ascontiguousarray(feed._inputs.transpose(0, 3, 1, 2))
        self.images, self.targets = torch.from_numpy(images), torch.from_numpy(feed._targets)
        learned = job.preprocessing
        self.mean, self.std = (torch.tensor(v, dtype=torch.float32)[:, None, None] for v in (learned.mean, learned.std))
        self.net = torch_cifar.build()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)

    def run_epoch(self) -> float:
        started = time.perf_counter()
        for batch in torch.randperm(len(self.images)).split(128):
            x = (self.images[batch].float() - self.mean) / self.std
            self.optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(self.net(x), self.targets[batch])
            loss.backward()
            self.optimizer.step()
            loss.item()
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=50_000, help="of the training images; fewer for a quick look")
    arguments = parser.parse_args()
    record.forbid_blas_settings()
    settle_process()
    torch.set_num_threads(arguments.threads)
    device = open_device("cpu")
    spec = settle(load("cifar_cnn", ["train.epochs=1000"]), device)
    job = build_job(spec, device, default_data_dir())
    feed = job.feeds["train"]
    feed.size, feed._inputs, feed._targets = (
        arguments.examples, feed._inputs[: arguments.examples], feed._targets[: arguments.examples],
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        sides = {"ours": Ours(job, arguments.threads, Path(folder)), "torch": Torch(job)}
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(arguments.rounds):
            for name, side in sides.items():
                seconds[name].append(round(side.run_epoch(), 2))
                print(name, seconds[name][-1], flush=True)
    medians = {name: median(times) for name, times in seconds.items()}
    figures = {
        "examples": arguments.examples,
        "threads": arguments.threads,
        "seconds": seconds,
        "medians": medians,
        "ours_over_torch": round(medians["ours"] / medians["torch"], 3),
    }
    record.write("epoch_against_torch", figures)


if __name__ == "__main__":
    main()
