"""What do the diagnostics of layers.jsonl cost? One training, every other turn of steps without them.

python benchmarks/diagnostics.py [--nets cifar_cnn,mlp] [--threads 2] [--rounds 40]      needs CIFAR-10 and MNIST under
                                                                                        DLTRAIN_DATA

Without: no sums over the layers' outputs are taken, and none are added up over the epoch. Steps are timed from one log
line to the next; the cost is the median of the turns' ratios, each turn's own median beside that of the next.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import record
from nets import NETS

from dltrain.backend import GraphCache, Replay, eager, open_device
from dltrain.backend.process import available_cores, settle
from dltrain.data import default_data_dir
from dltrain.job.job import Job
from dltrain.job.parallel import Sums
from dltrain.nn import Layer
from dltrain.run.rundir import RunDir
from dltrain.spec import build_job
from dltrain.train import loop, step
from dltrain.train.callbacks import Callback, LayerRows
from dltrain.train.diagnostics import Probes, observe
from dltrain.train.loop import fit

WARM = 2  # steps at the start of every turn that are not counted


class Enough(Exception):
    """No more steps are wanted."""


def unseen(layer: Layer, y: Any) -> Sums:
    return {}


def unadded(probes: Probes, sums: Sums, examples: int) -> None:
    for probe in probes.values():
        probe.values += examples


class Turns(Callback):
    """Switches the diagnostics off and on again, every `steps` steps."""

    def __init__(self, steps: int, rounds: int, graphs: GraphCache):
        self.steps, self.rounds = steps, rounds
        self.turns: list[list[float]] = [[]]
        self.graphs = graphs
        self._graphs: dict[bool, Any] = {True: {}, False: {}}  # a captured step has diagnostics or it has none
        self._add: Any = Probes.add
        self._previous = time.perf_counter()

    def stepped(self, row: dict[str, Any], layer_rows: LayerRows) -> None:
        self.turns[-1].append(time.perf_counter() - self._previous)
        if len(self.turns[-1]) == self.steps + WARM:
            if len(self.turns) == 2 * self.rounds + 1:  # the first turn is for allocators
                self.switch(True)
                raise Enough
            self.turns.append([])
            self.switch(len(self.turns) % 2 == 0)
        self._previous = time.perf_counter()

    def replay_for(self, job: Job) -> Replay:
        return eager if step.replay_for(job) is eager else self.graphs.replay

    def switch(self, on: bool) -> None:
        self.graphs.graphs = self._graphs[on]
        vars(step)["observe"] = observe if on else unseen
        Probes.add = self._add if on else unadded  # type: ignore[assignment,method-assign]

    def finished_epoch(self, row: dict[str, Any], layers: list[Any]) -> None:
        self._previous = time.perf_counter()


def measure(name: str, threads: int, rounds: int) -> dict[str, Any]:
    device, net = open_device("cpu"), NETS[name]
    spec = net.spec(device)
    turns = Turns(net.steps, rounds, GraphCache())
    with tempfile.TemporaryDirectory() as folder, patch.object(loop, "replay_for", turns.replay_for):
        try:
            run = RunDir.create(Path(folder), "benchmark", spec.to_yaml(), spec.text, {})
            fit(build_job(spec, device, default_data_dir()), run, threads, turns)
        except Enough:
            pass
    medians = [1000 * median(turn[WARM:]) for turn in turns.turns[1:]]
    costs = [seen / blind - 1 for seen, blind in zip(medians[::2], medians[1::2], strict=True)]
    return {
        "with_ms": round(median(medians[::2]), 3),
        "without_ms": round(median(medians[1::2]), 3),
        "cost": round(median(costs), 4),
        "rounds_ms": [round(ms, 3) for ms in medians],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    record.forbid_blas_settings()
    settle()
    found = {}
    for name in arguments.nets.split(","):
        found[name] = measure(name, arguments.threads, arguments.rounds)
        print("{0}: {with_ms} ms a step, without {without_ms}: {cost:.1%}".format(name, **found[name]))
    record.write("diagnostics", {"threads": arguments.threads, "nets": found})


if __name__ == "__main__":
    main()
