"""The contestants, each in a process of its own that waits while another one is at work.

So every framework has its own threads, memory settings and allocator, as it has in its users' hands.
"""

import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nets import Net, twin

from dltrain.backend import choose_kernels, open_device
from dltrain.backend.process import settle as settle_process
from dltrain.data import default_data_dir
from dltrain.errors import DeviceError
from dltrain.run.rundir import RunDir
from dltrain.spec import build_job
from dltrain.train.callbacks import Callback, LayerRows
from dltrain.train.loop import fit

TORCH_MODES = (
    "eager", "fused", "channels_last", "channels_last+fused", "compile+fused", "compile+channels_last+fused",
)  # fmt: skip
KERNELS = ("native", "numpy")  # ours: sets of kernels for the CPU


def built_kernels() -> list[str]:
    """The sets of kernels that this installation has."""
    try:
        choose_kernels("native")
    except DeviceError as error:
        print(f"native kernels are out: {error}", flush=True)
        return ["numpy"]
    return list(KERNELS)


def modes_for(net: Net) -> tuple[str, ...]:
    """Every float32 mode of the other frameworks that differs for this net. A layout matters to images alone."""
    spec = net.spec(open_device("cpu"))
    assert spec.model
    kinds = {layer.type for layer in spec.model.layers}
    modes = tuple(mode for mode in TORCH_MODES if "conv" in kinds or "channels_last" not in mode)
    return (*modes, "jax") if find_spec("jax") else modes


class Enough(Exception):
    """No more steps are wanted."""


class Metronome(Callback):
    """Times the steps of a training from within and stops it between two steps until more are wanted."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._wanted = 0
        self._steps: list[tuple[float, float]] = []

    def tick(self, loss: float) -> None:
        """A step is done."""
        self._steps.append((time.perf_counter() - self._previous, loss))
        if len(self._steps) == self._wanted:
            self._connection.send(self._steps)
            self.wait()
        self.restart()

    def wait(self) -> None:
        self._steps = []
        self._wanted = self._connection.recv()
        if not self._wanted:
            raise Enough
        self.restart()

    def restart(self) -> None:
        """What happened since the last step is not measured."""
        self._previous = time.perf_counter()

    # As the callback of a training of ours; evaluation and checkpoints lie between the last step and finished_epoch.
    def started(self, steps: int, epochs: int) -> None:
        self.wait()

    def stepped(self, row: dict[str, Any], layer_rows: LayerRows) -> None:
        self.tick(row["data_loss"])

    def finished_epoch(self, row: dict[str, Any], layers: list[Any]) -> None:
        self.restart()


def ours(net: Net, kernels: str, threads: int, dropout: bool, metronome: Metronome) -> None:
    """`dltrain fit` without its command line: every step is logged and every layer measured."""
    settle_process()
    choose_kernels(kernels)
    device = open_device("cpu")
    spec = net.spec(device, dropout)
    job = build_job(spec, device, default_data_dir())
    with tempfile.TemporaryDirectory() as folder:
        fit(job, RunDir.create(Path(folder), "benchmark", spec.to_yaml(), spec.text, {}), threads, metronome)


def torch(net: Net, mode: str, threads: int, dropout: bool, metronome: Metronome) -> None:
    import torch
    import torch_twin

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    _follow(torch_twin.train(twin(net, dropout), mode), metronome)


def jax(net: Net, mode: str, threads: int, dropout: bool, metronome: Metronome) -> None:
    import jax_twin

    _follow(jax_twin.train(twin(net, dropout)), metronome)


def _follow(steps: Any, metronome: Metronome) -> None:
    metronome.wait()
    for loss in steps:
        metronome.tick(loss)


def _run(side: Callable[..., None], net: Net, mode: str, threads: int, dropout: bool, connection: Connection) -> None:
    """What the process does."""
    if hasattr(os, "sched_setaffinity"):  # JAX takes its number of threads from here; the same for all
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    try:
        side(net, mode, threads, dropout, Metronome(connection))
    except Enough:
        connection.send(peak_memory())
    except BaseException:
        connection.send(traceback.format_exc())


def peak_memory() -> int:
    """Bytes that this process had in memory at most, counted from its own program's start."""
    import resource

    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


class Side:
    """One contestant at one net. Raises RuntimeError, with what its process said, when it cannot go on."""

    def __init__(self, net: Net, mode: str, threads: int, dropout: bool = True):
        """mode: one of KERNELS for ours, of TORCH_MODES, or "jax"."""
        side = ours if mode in KERNELS else jax if mode == "jax" else torch
        self._connection, theirs = multiprocessing.Pipe()
        arguments = (side, net, mode, threads, dropout, theirs)
        self._process = multiprocessing.get_context("spawn").Process(target=_run, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def steps(self, count: int) -> list[tuple[float, float]]:
        """(seconds, loss) of the next steps."""
        self._connection.send(count)
        times: list[tuple[float, float]] = self._answer()
        return times

    def stop(self) -> int:
        """Its peak memory in bytes."""
        self._connection.send(0)
        peak: int = self._answer()
        self._process.join()
        return peak

    def _answer(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"the process ended with exit code {self._process.exitcode}") from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer
