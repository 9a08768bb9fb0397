"""Processes that train together. MPI starts them and carries what they tell each other; what it never does is add, for
the order of its sums depends on the number of processes.

Rank 0 leads: it has the command line's answers and the run directory. The others follow its orders. Nobody waits
without end: who fails tells rank 0, which says so and ends all; who is silent for long counts as lost.
"""

import json
import logging
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from threading import Event, Thread
from typing import Any

import numpy as np

from dltrain.backend.packed import pack, unpack
from dltrain.backend.process import available_cores, cores
from dltrain.errors import AGREED, DeviceError

Array = Any
Arrays = dict[str, Array]
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
STARTED = (*SIZES, "PMIX_RANK")  # variables that say that MPI started us
SRUN = "SLURM_STEP_NUM_TASKS"  # set by srun, with MPI and without
BY_SRUN = "srun --mpi=pmi2, or what `srun --mpi=list` has for the cluster's MPI"
EXTRA = "pip install '.[mpi]' brings it"
warn = logging.getLogger("dltrain").warning
SPINS, PAUSE = 300, 5e-5  # looks without a pause, then seconds between two: a core is not burnt for long
TICK, BEAT, LOST = 0.1, 10, 600  # seconds; ticks between two signs of life, and without one until a rank is lost
GRACE, SETTLING = 5, 20  # ticks in which rank 0 may fail by itself, where another has failed; where it agrees on why
PATIENCE = 1.5  # seconds in which rank 0 must have ended all, before who failed does it
LISTENING = 0.1  # seconds in which the launcher takes what was said; at the end it drops what it has not taken
REPORT, SIGN = 1, 2  # tags of messages


@dataclass(frozen=True)
class Failure:
    """Why a rank left a training. step: that it was at."""

    rank: int
    host: str
    step: int
    reason: str
    exit_code: int = 1

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host} failed at step {self.step}: {self.reason}"


class Ranks:
    """One process by itself; several are a `World`.

    step: that it is at, for messages. told: what is done with the failure of another rank, before all end.
    """

    rank, size = 0, 1

    def __init__(self) -> None:
        self.step = 0
        self.hosts = [socket.gethostname()]
        self.told: Callable[[Failure], None] = lambda failure: None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def threads(self) -> int:
        """How many each rank computes with, unless told."""
        return available_cores()

    def failure(self, error: BaseException) -> Failure:
        """Of this rank, unless the error names another one."""
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        rank = getattr(error, "rank", self.rank)
        return Failure(rank, self.hosts[rank], self.step, reason, getattr(error, "exit_code", 1))

    def everyone(self, *numbers: float) -> list[tuple[float, ...]]:
        """What each rank has said here, by rank. Exact to 2^53."""
        return [numbers]

    def gather(self, arrays: Arrays) -> list[Arrays]:
        """The same of arrays, on the host."""
        return [arrays]

    def send(self, arrays: Arrays, to: int) -> None:
        """To a rank that receives them."""
        raise NotImplementedError

    def receive(self, source: int) -> Arrays:
        raise NotImplementedError

    def broadcast(self, arrays: Arrays | None) -> Arrays:
        """Those of rank 0, to all."""
        assert arrays is not None
        return arrays

    def from_first(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What rank 0 finds, as JSON holds it, on all."""
        return work()

    @contextmanager
    def training(self) -> Iterator[None]:
        """Inside, a rank that leaves ends all."""
        yield

    def order(self, arrays: Arrays) -> None:
        """Rank 0: what all are to do next."""

    def end(self, code: int) -> None:
        """Rank 0: end all, each with this exit code. Comes back where all could be asked to."""


class World(Ranks):
    """All processes that MPI started together."""

    def __init__(self, mpi: Any):
        super().__init__()
        if mpi.Query_thread() < mpi.THREAD_MULTIPLE:
            raise DeviceError("this MPI cannot be called by several threads; use another one, such as the wheel mpich")
        self._mpi = mpi
        self._comm, self._control = mpi.COMM_WORLD.Dup(), mpi.COMM_WORLD.Dup()
        self.rank, self.size = self._comm.rank, self._comm.size
        self._reports: dict[int, tuple[Failure | None, bool, int]] = {}  # who left: why, whether for an order, when
        self._in_training = self._broken = False
        self._sent: list[Any] = []
        self._ticks = 0
        self._closed = Event()
        self._watching = Thread(target=self._watched, name="ranks", daemon=True)
        self._watching.start()
        own = {"host": np.frombuffer(self.hosts[0].encode(), np.uint8), "cores": np.array(sorted(cores()))}
        told = self.gather(own)
        self.hosts = [each["host"].tobytes().decode() for each in told]
        here = [each["cores"].tolist() for each in told if each["host"].tolist() == own["host"].tolist()]
        shared = len(here) if all(each == here[0] for each in here) else 1
        self._threads = max(1, available_cores() // shared)

    @property
    def threads(self) -> int:
        """The cores of a host are divided among its ranks, unless MPI has given each its own."""
        return self._threads

    # --- telling each other -----------------------------------------------------------------------------------

    def everyone(self, *numbers: float) -> list[tuple[float, ...]]:
        own = np.array(numbers, np.float64)
        all_ = np.empty((self.size, len(own)))
        _wait(self._comm.Iallgather(own, all_).Test)
        return [tuple(row) for row in all_.tolist()]

    def gather(self, arrays: Arrays) -> list[Arrays]:
        own = pack(arrays)
        sizes = [int(size) for (size,) in self.everyone(len(own))]
        all_ = np.empty(sum(sizes), np.uint8)
        self._comm.Allgatherv(own, [all_, sizes])
        return [unpack(part.copy()) for part in np.split(all_, np.cumsum(sizes)[:-1])]

    def send(self, arrays: Arrays, to: int) -> None:
        packed = pack(arrays)
        ready = np.empty(0, np.uint8)
        _wait(self._comm.Irecv(ready, to).Test)  # then both are here, and nobody waits in a call that cannot be left
        self._comm.Send(packed, to)

    def receive(self, source: int) -> Arrays:
        self._comm.Send(np.empty(0, np.uint8), source)
        status = self._mpi.Status()
        _wait(lambda: self._comm.Iprobe(source, status=status))
        packed = np.empty(status.Get_count(self._mpi.BYTE), np.uint8)
        self._comm.Recv(packed, source)
        return unpack(packed)

    def broadcast(self, arrays: Arrays | None) -> Arrays:
        packed = np.empty(0, np.uint8) if arrays is None else pack(arrays)
        ((size, *_), *_) = self.everyone(len(packed))
        if arrays is None:
            packed = np.empty(int(size), np.uint8)
        self._comm.Bcast(packed, 0)
        return unpack(packed) if arrays is None else arrays

    def from_first(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        found = {"json": np.frombuffer(json.dumps(work()).encode(), np.uint8)} if self.leads else None
        told: dict[str, Any] = json.loads(self.broadcast(found)["json"].tobytes())
        return told

    # --- leading and following --------------------------------------------------------------------------------

    @contextmanager
    def training(self) -> Iterator[None]:
        self._in_training = True
        try:
            yield
        except AGREED:
            raise
        except BaseException:
            self._broken = True
            raise
        finally:
            self._in_training = False

    def order(self, arrays: Arrays) -> None:
        self._settle(0)
        self.broadcast(arrays)

    def await_order(self, failure: Failure | None) -> Arrays:
        """All but rank 0. failure: why the training before was left, as rank 0 has left it."""
        self._report(failure, ready=True)
        return self.broadcast(None)

    def end(self, code: int) -> None:
        self._settle(code)
        self.broadcast({"end": np.array(code)})
        self.close()

    def close(self) -> None:
        """Before the process ends as it always does."""
        self._closed.set()
        self._watching.join()

    def fail(self, failure: Failure) -> None:
        """All but rank 0: what has happened to this one alone ends all."""
        self._report(failure, ready=False)
        time.sleep(PATIENCE)
        self.abort(failure.exit_code)

    def abort(self, code: int) -> None:
        """End all, now."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        time.sleep(LISTENING)
        self._mpi.COMM_WORLD.Abort(code)

    def _report(self, failure: Failure | None, ready: bool) -> None:
        told = {"failure": failure and asdict(failure), "ready": ready}
        self._tell(json.dumps(told).encode(), 0, REPORT)

    def _settle(self, code: int) -> None:
        """Rank 0: wait until all others await an order. Where one does not, all end, after rank 0 has failed (code) or
        has told why."""
        until = time.monotonic() + SETTLING * TICK
        while not self._broken and time.monotonic() < until:
            if len(self._reports) == self.size - 1 and all(ready for _, ready, _ in self._reports.values()):
                self._reports = {}
                return
            self._broken = not all(ready for _, ready, _ in self._reports.values())
            time.sleep(TICK / 20)
        if code == 0:
            failures = [failure for failure, _, _ in self._reports.values() if failure is not None]
            away = next(other for other in range(1, self.size) if failures or other not in self._reports)
            self._give_up(*failures[:1] or [Failure(away, self.hosts[away], self.step, "does not answer")])
        self.abort(code)

    # --- watching ---------------------------------------------------------------------------------------------

    def _watched(self) -> None:
        try:
            self._watch()
        except BaseException:
            traceback.print_exc()
            self.abort(1)  # with nobody to watch, a wait might have no end

    def _watch(self) -> None:
        """Time is counted in ticks of its own: who was stopped, and is woken, has missed nothing."""
        others = range(1, self.size) if self.leads else (0,)
        heard = dict.fromkeys(others, 0)  # the tick of its last sign of life
        while not self._closed.wait(TICK):
            self._ticks += 1
            for source, tag, content in self._messages():
                heard[source] = self._ticks
                if tag == REPORT:
                    told = json.loads(content)
                    failure = told["failure"] and Failure(**told["failure"])
                    self._reports[source] = failure, told["ready"], self._ticks
            if self._ticks % BEAT == 0:
                for other in others:
                    self._tell(b"", other, SIGN)
            for failure, ready, since in [*self._reports.values()]:
                if self._in_training and self._ticks - since > (SETTLING if ready else GRACE):
                    self._give_up(failure or Failure(0, self.hosts[0], self.step, "it goes on where others have ended"))
            for other, last in heard.items():
                if self._ticks - last > LOST:
                    silent = f"not heard of for {LOST * TICK:.0f} s"
                    self._give_up(Failure(other, self.hosts[other], self.step, silent))

    def _give_up(self, failure: Failure) -> None:
        with suppress(Exception):  # whatever becomes of the message, all must end
            self.told(failure)
        self.abort(failure.exit_code)

    def _tell(self, content: bytes, to: int, tag: int) -> None:
        self._sent = [request for request in self._sent if not request.Test()]
        self._sent.append(self._control.Isend(np.frombuffer(content, np.uint8), to, tag))

    def _messages(self) -> Iterator[tuple[int, int, bytes]]:
        status = self._mpi.Status()
        while (message := self._control.Improbe(status=status)) is not None:
            content = np.empty(status.Get_count(self._mpi.BYTE), np.uint8)
            source, tag = status.Get_source(), status.Get_tag()
            message.Recv(content)
            yield source, tag, content.tobytes()


def _wait(is_done: Callable[[], bool]) -> None:
    """Without end, as far as this rank knows: others watch whether it is in vain."""
    for _ in range(SPINS):
        if is_done():
            return
    while not is_done():
        time.sleep(PAUSE)


@cache
def world() -> Ranks:
    """All processes that MPI has started with this one; this one by itself where MPI has not started it.

    Raises DeviceError where they cannot find each other.
    """
    by_mpi = [name for name in STARTED if name in os.environ]
    if not by_mpi:
        if (tasks := int(os.environ.get(SRUN, 1))) > 1:
            warn(f"srun has started this {tasks} times, each by itself; for one training of {tasks} ranks: {BY_SRUN}")
        return Ranks()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise DeviceError(f"MPI has started this ({by_mpi[0]} is set), but has no mpi4py ({why}); {EXTRA}") from None
    size = max(int(os.environ.get(name, 1)) for name in SIZES)
    if MPI.COMM_WORLD.size == 1:
        if size > 1:
            name = MPI.Get_library_version().split(",")[0].split("\n")[0]
            raise DeviceError(f"started {size} times, by an MPI that mpi4py does not use; it uses {name}")
        return Ranks()
    return World(MPI)
