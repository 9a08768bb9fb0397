"""Several workers on this machine, each a process of its own, and who listens to them."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from traceback import print_exc
from typing import TYPE_CHECKING, Any

from dltrain.cli import console
from dltrain.cli.faults import explained
from dltrain.cli.worker import How, Worker, left_in
from dltrain.errors import DivergedError, DltrainError, Interrupted, Pruned
from dltrain.run.group import Group, Member
from dltrain.train.callbacks import Callback
from dltrain.train.stopping import ENDING

if TYPE_CHECKING:
    from dltrain.api import Training


@dataclass(frozen=True)
class Ended:
    """A member has. text: what came of it. over: how many have ended by now."""

    label: str
    text: str
    over: int


@dataclass(frozen=True)
class Stopped:
    """A worker was. code: the exit code that it would have alone."""

    text: str
    code: int


def run_workers(group: Group, count: int, how: How, plugins: list[Path]) -> None:
    """Let so many processes train the group. Raises Interrupted, or what stopped them all, once all have ended."""
    group.require_locks()
    context: Any = get_context("spawn")
    listening: dict[Connection, BaseProcess] = {}
    with _forwarding(listening) as caught:
        with _held_back():
            for _ in range(count):
                receiver, sender = context.Pipe(duplex=False)
                words = (sender, group.path, how, plugins, console.shows_tracebacks())
                process = context.Process(target=_worker, args=words)
                process.start()
                sender.close()
                listening[receiver] = process
        stopped = _listen(group, listening)
    if caught:
        name = "interrupted" if caught[0] == signal.SIGINT else f"stopped by {signal.Signals(caught[0]).name}"
        raise Interrupted(f"{name}; what was trained so far is saved in {group.path}", 128 + caught[0])
    group = Group.read(group.path)
    if stopped and (left_in(group) or len(group.members) < group.wanted):
        code = max(end.code for end in stopped)
        raise _StoppedWorkers("\n".join(dict.fromkeys(end.text for end in stopped)), code)


class _StoppedWorkers(DltrainError):
    """What workers were stopped by."""

    def __init__(self, text: str, code: int):
        super().__init__(text)
        self.exit_code = code


def _listen(group: Group, listening: dict[Connection, BaseProcess]) -> list[Stopped]:
    """Say what the workers say, until none is left. Returns why they were stopped."""
    began, before, stopped = time.monotonic(), None, []
    while listening:
        for ready in wait([*listening]):
            assert isinstance(ready, Connection)
            try:
                told = ready.recv()
            except (EOFError, OSError):
                process = listening.pop(ready)
                process.join()
                if code := process.exitcode:
                    what = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
                    stopped.append(Stopped(f"a worker {what}", 1))
                    console.warning(f"a worker {what}; {len(listening)} left, which take over what it was at")
                continue
            if isinstance(told, Stopped):
                stopped.append(told)
            else:
                before = told.over - 1 if before is None else before
                rate = (time.monotonic() - began) / max(told.over - before, 1)
                left = group.wanted - told.over
                clock = f" · about {console.clock(rate * left)} left" if left > 0 else ""
                console.info(f"{told.over} of {group.wanted}: {told.label} {told.text}{clock}")
    return stopped


@contextmanager
def _forwarding(listening: dict[Connection, BaseProcess]) -> Iterator[list[int]]:
    """Inside, a signal that asks this process to end goes to the workers. Yields those that came."""
    caught: list[int] = []

    def forward(number: int, frame: object) -> None:
        caught.append(number)
        for process in listening.values():
            if process.pid and process.is_alive():
                os.kill(process.pid, number)

    before = {number: signal.signal(number, forward) for number in ENDING}
    try:
        yield caught
    finally:
        for process in listening.values():
            process.terminate()
            process.join()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _held_back() -> Iterator[None]:
    """Inside, no such signal comes, and processes that are started get none before they let them in."""
    ensure_running()  # it would let them in
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def _worker(sender: Connection, path: Path, how: How, plugins: list[Path], tracebacks: bool) -> None:
    """What a worker's process does."""
    os.setsid()  # a Ctrl-C at the terminal comes once, from the process that has started this one
    for number in ENDING:
        signal.signal(number, _interrupt)
    parent = parent_process()
    console.be_quiet()
    console.show_remarks()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        _prepare(how, plugins)

        def told(member: Member, error: Exception | None, over: int) -> None:
            sender.send(Ended(member.label, _text(path, member, error), over))

        Worker(path, how, _train, told).work(lambda: parent is None or parent.is_alive())
    except BrokenPipeError:
        pass  # nobody listens any longer
    except Exception as error:
        if tracebacks:
            print_exc()
        sender.send(Stopped(*explained(error)))


def _interrupt(number: int, frame: object) -> None:
    raise Interrupted("interrupted", 128 + number)


def _prepare(how: How, plugins: list[Path]) -> None:
    from dltrain.backend import choose_kernels
    from dltrain.backend.process import settle
    from dltrain.spec.plugin import load_plugin

    settle()
    for plugin in plugins:
        load_plugin(plugin)
    if how.kernels != "auto":
        choose_kernels(how.kernels)


def _train(training: "Training", member: Member, pruning: Callback) -> None:
    training.fit(pruning)


def _text(path: Path, member: Member, error: Exception | None) -> str:
    """What came of a member, in few words."""
    from dltrain.metrics.row import scores

    if isinstance(error, Pruned):
        return str(error)
    if isinstance(error, DivergedError):
        return "diverged"
    if error is not None:
        return f"failed: {explained(error)[0].splitlines()[0]}"
    run = Group.read(path).run_of(member)
    status = run.last_status() if run else {}
    for split in ("validation", "train"):
        if status.get(split):
            return f"done: {split} {'  '.join(scores(status[split]))}"
    return "done"
