"""Disks that fail, fill up or lose their power."""

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from builders import SMALL, Silent, make_job, new_run, rows

from dltrain.errors import RunError
from dltrain.job.job import Job
from dltrain.run import files, rundir
from dltrain.run.rundir import RunDir
from dltrain.train.loop import fit
from endurance.harness import Child, Place, remains


def small_job() -> Job:
    splits = {"train": rows(70), "validation": rows(20), "test": rows(20)}
    return make_job(SMALL, splits, checkpoints={"every_steps": 3}, shard_size=22)


def go_on(run: RunDir) -> None:
    run.hold()
    try:
        checkpoint = run.checkpoint("last") if run.has_checkpoint() else None
        job = small_job()
        run.reopen(checkpoint, {}, None, job.checkpoint.keep)
        fit(job, run, 1, Silent(), checkpoint)
    finally:
        run.release()


# --- operations, seen one by one -------------------------------------------------------------------------------------


class Watched:
    """Stands for a module: its functions go through `call`, everything else is the module's own."""

    def __init__(self, module: Any, call: Callable[..., Any], names: tuple[str, ...]):
        self._module, self._call, self._names = module, call, names

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self._module, name)
        if name not in self._names:
            return plain
        return lambda *args, **settings: self._call(name, plain, *args, **settings)


class WatchedFile:
    """A file whose writes go through `call`."""

    def __init__(self, file: Any, path: Path, call: Callable[..., Any]):
        self._file, self._path, self._call = file, path, call

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self._file, name)
        if name not in ("write", "truncate"):
            return plain
        return lambda argument: self._call(name, plain, argument, path=self._path)

    def __enter__(self) -> "WatchedFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


@contextmanager
def watching(call: Callable[..., Any]) -> Iterator[None]:
    """Every operation by which a run changes the disk goes through `call(name, plain, *arguments)`."""

    def opened(path: Path, mode: str = "r", **settings: Any) -> Any:
        if mode == "rb":
            return open(path, mode, **settings)
        return WatchedFile(call("open", open, path, mode, buffering=0, **settings), Path(path), call)

    seen = Watched(os, call, ("fsync", "replace", "rename"))
    with (
        patch.object(files, "open", opened, create=True),
        patch.object(files, "os", seen),
        patch.object(rundir, "os", seen),
    ):
        yield


# --- operations that fail --------------------------------------------------------------------------------------------


@dataclass
class Failing:
    """The operation number `at` fails, and with `for_good` all after it."""

    at: int
    for_good: bool
    code: int
    count: int = 0

    def __call__(self, name: str, plain: Callable[..., Any], *args: Any, path: Any = None, **settings: Any) -> Any:
        self.count += 1
        if self.count == self.at or (self.for_good and self.count > self.at):
            if name == "write":
                plain(args[0][: len(args[0]) // 2])  # half of it
            raise OSError(self.code, os.strerror(self.code))
        return plain(*args, **settings)


def failures(count: int, seed: int, folder: Path) -> dict[str, int]:
    """Each open, write, fsync and rename of a training fails in turn, once and for good; and each of a continued one.

    The error is told, the newest intact checkpoint is at most one save old, and the training can go on.
    count: 1 tries every operation, n every nth, beginning anywhere.
    """
    rng = random.Random(seed)
    whole = new_run(folder / "whole")
    total = Failing(0, False, errno.EIO)
    with watching(total):
        fit(small_job(), whole, 1, Silent())
    expected = remains(whole)

    def begin(place: Path) -> None:
        fit(small_job(), new_run(place), 1, Silent())

    half = new_run(folder / "half")
    with patch.object(RunDir, "save", _stop_after(3)), suppress(KeyboardInterrupt):
        fit(small_job(), half, 1, Silent())

    def continue_(place: Path) -> None:
        go_on(RunDir(Path(shutil.copytree(half.path, place / "runs" / "copy"))))

    tried = {"begun": 0, "continued": 0}
    for name, work, points in (("begun", begin, total.count + 8), ("continued", continue_, total.count)):
        for at in range(rng.randint(1, count), points + 1, count):
            for for_good in (False, True):
                place = folder / f"{name}-{at}-{for_good}"
                failing = Failing(at, for_good, rng.choice([errno.EIO, errno.ENOSPC]))
                try:
                    with watching(failing):
                        work(place)
                except OSError:
                    pass
                else:
                    assert failing.count < at, f"operation {at} failed and nobody said so"
                    continue
                tried[name] += 1
                found = list((place / "runs").glob("[!.]*"))
                for run in map(RunDir, found):
                    go_on(run)
                    assert remains(run) == expected, f"{name}: after operation {at} failed"
                    assert not list(run.path.rglob(".*")), "left over"
                shutil.rmtree(place)
    return {"operations": total.count, **{f"failures in a training {key}": value for key, value in tried.items()}}


def _stop_after(saves: int) -> Callable[..., None]:
    plain, left = RunDir.save, saves

    def save(*args: Any, **settings: Any) -> None:
        nonlocal left
        plain(*args, **settings)
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    return save


# --- power loss ------------------------------------------------------------------------------------------------------


@dataclass
class Inode:
    """versions: contents since the last fsync, the first of them durable."""

    versions: list[bytes] = field(default_factory=lambda: [b""])


class Disk:
    """What a disk may hold after its power was cut: contents up to the last fsync of each file and names up to the
    last fsync of each folder are certain; of what came later any part may be there, contents torn anywhere."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.log: list[tuple[Any, ...]] = []
        self.start = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        self._paths: dict[int, Path] = {}

    def __call__(self, name: str, plain: Callable[..., Any], *args: Any, path: Any = None, **settings: Any) -> Any:
        result = plain(*args, **settings)
        if name == "open" and args[1] == "xb":
            self.log.append(("create", Path(args[0])))
        elif name in ("write", "truncate"):
            self.log.append((name, path, bytes(args[0]) if name == "write" else args[0]))
        elif name == "fsync":
            self.log.append(("fsync", Path(os.readlink(f"/proc/self/fd/{args[0]}"))))
        elif name in ("replace", "rename"):
            self.log.append(("rename", Path(args[0]), Path(args[1])))
        return result

    def saves(self, prefix: int) -> int:
        """How many checkpoints are durable for certain."""
        done, named = 0, False
        for operation in self.log[:prefix]:
            if operation[0] == "rename" and operation[2].suffix == ".safetensors":
                named = True
            elif named and operation[0] == "fsync" and operation[1].name == "checkpoints":
                done, named = done + 1, False
        return done

    def state(self, prefix: int, rng: random.Random) -> dict[Path, bytes]:
        """One possible content of the disk after so many operations."""
        names = {path: Inode([content]) for path, content in self.start.items()}
        certain = dict(names)  # what is on the disk for sure
        pending: dict[Path, list[tuple[Path | None, Path, Inode]]] = {}
        for operation, *args in self.log[:prefix]:
            if operation == "create":
                names[args[0]] = inode = Inode()
                pending.setdefault(args[0].parent, []).append((None, args[0], inode))
            elif operation == "write":
                inode = names[args[0]]
                inode.versions.append(inode.versions[-1] + args[1])
            elif operation == "truncate":
                inode = names[args[0]]
                inode.versions.append(inode.versions[-1][: args[1]])
            elif operation == "rename":
                names[args[1]] = inode = names.pop(args[0])
                pending.setdefault(args[1].parent, []).append((args[0], args[1], inode))
            elif args[0] in names:
                names[args[0]].versions = names[args[0]].versions[-1:]
            else:  # a folder
                for change in pending.pop(args[0], []):
                    _apply(certain, change)
        for changes in pending.values():
            for change in changes:
                if rng.random() < 0.5:
                    _apply(certain, change)
        return {path: _torn(inode, rng) for path, inode in certain.items()}


def _apply(names: dict[Path, Inode], change: tuple[Path | None, Path, Inode]) -> None:
    old, new, inode = change
    if old is not None:
        names.pop(old, None)
    names[new] = inode


def _torn(inode: Inode, rng: random.Random) -> bytes:
    """One of the contents since the last fsync, maybe with its new part cut off anywhere or still full of zeros."""
    content, durable = rng.choice(inode.versions), inode.versions[0]
    if content.startswith(durable) and rng.random() < 0.5:
        cut = rng.randint(len(durable), len(content))
        return durable + bytes(cut - len(durable)) if rng.random() < 0.3 else content[:cut]
    return content


def power(count: int, seed: int, folder: Path) -> dict[str, int]:
    """States that a power loss may leave, during a training and during a continued one: the newest durable checkpoint
    or a later one loads in every state, and in every 20th the training goes on to the same end."""
    rng = random.Random(seed)
    whole = new_run(folder / "whole")
    first = RunDir(Path(shutil.copytree(whole.path, folder / "a" / "run")))
    whole.release()
    disks = [_record(first)]
    expected = remains(first)
    middle = RunDir(Path(shutil.copytree(first.path, folder / "b" / "run")))
    for step in middle.saved_steps()[1:]:
        (middle.checkpoints / f"step-{step:08d}.safetensors").unlink()
    middle.update_status(last=f"step-{middle.saved_steps()[0]:08d}.safetensors", best=None)
    disks.append(_record(middle))
    continued = without = 0
    for number in range(count):
        disk = disks[number % 2]
        prefix = rng.randint(0, len(disk.log))
        place = folder / "state" / "runs" / "run"
        (place / "checkpoints").mkdir(parents=True)
        for path, content in disk.state(prefix, rng).items():
            file = place / path.relative_to(disk.folder)
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)
        run, what = RunDir(place), f"state {number}, after operation {prefix} of {len(disk.log)}"
        saved = disk.saves(prefix) + sum(path.parent.name == "checkpoints" for path in disk.start)
        try:
            status = run.status()
            run.checkpoint("last")
        except RunError as error:
            assert not saved and "no last checkpoint yet" in str(error), f"{what}: {error}"
            without += 1
        else:
            assert status["status"]
        if number % 20 == 0:
            go_on(run)
            assert remains(run) == expected, what
            assert not [path for path in place.rglob(".*")], what
            continued += 1
        shutil.rmtree(folder / "state")
    return {"states": count, "unloadable": 0, "before the first save": without, "continued to the end": continued}


def _record(run: RunDir) -> Disk:
    disk = Disk(run.path)
    with watching(disk), patch.object(Path, "unlink", _no_unlink):
        go_on(run)
    for path in list(run.path.rglob(".*.tmp")):
        path.unlink()
    for step in run.saved_steps()[:-2]:  # as if they had been removed in time
        if f"step-{step:08d}.safetensors" != run.status().get("best"):
            (run.checkpoints / f"step-{step:08d}.safetensors").unlink()
    return disk


def _no_unlink(path: Path, missing_ok: bool = False) -> None:
    """Removed names may come back after a power loss, so they stay in all states."""


# --- full disks ------------------------------------------------------------------------------------------------------


def limits(count: int, seed: int, folder: Path) -> dict[str, int]:
    """Files that may not grow beyond some size, from nothing to a few bytes too few: an error and nothing lost.

    The report does not count: it is made of the rest and can be made again.
    """
    rng = random.Random(seed)
    place = Place(folder)
    place.begin()
    # of a run like those that follow, but for the times in it, which may take some letters more
    largest = -64 + max(
        path.stat().st_size for path in place.runs.rglob("*") if path.is_file() and path.suffix != ".html"
    )
    trained = 0
    for number in range(count):
        place.clear()
        size = [0, largest][number] if number < 2 else rng.randint(0, largest)
        limit = lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # noqa: E731
        code, told, _ = Child(place.begin, limit).wait()
        assert code == 1 and told.count("error:") == 1 and "Traceback" not in told, (size, code, told)
        if place.has_run():
            trained += 1
            place.finish()
    place.clear()
    return {"file size limits": count, "met while it trained": trained}


def full(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """A file system of 1 MB, and /dev/full."""
    place = Place(folder)
    return {"a file system of 1 MB": _small_disk(place), "/dev/full": _dev_full(place)}


def _small_disk(place: Place) -> str:
    """Runs that find so little room there that they fail at first, or while they train."""
    disk = place.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        return "not tried: needs the right to mount"
    try:
        runs, place.runs = place.runs, disk / "runs"
        failed = in_a_run = 0
        room = range(1, 60, 3)
        for pages in room:  # what is left for the run
            (disk / "ballast").write_bytes(bytes((1 << 20) - pages * 4096))
            code, told, _ = Child(place.begin).wait()
            assert code == 0 or (code == 1 and "No space left" in told and told.count("error:") == 1), (code, told)
            failed += code
            (disk / "ballast").unlink()
            if code and place.has_run():
                in_a_run += 1
                place.finish()
            place.clear()
        assert 0 < in_a_run < failed < len(room)
        place.runs = runs
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return f"full {failed} times, {in_a_run} of them while it trained"


def _dev_full(place: Place) -> str:
    """Whoever prints to a full disk fails, and the run is whole."""
    place.clear()
    words = [["fit", str(place.config), "--runs-dir", str(place.runs)], ["runs", "--runs-dir", str(place.runs)],
             ["eval", "--runs-dir", str(place.runs)], ["env"], ["validate", str(place.config)]]  # fmt: skip
    for command in words:
        with open("/dev/full", "w") as nowhere:
            ended = subprocess.run([sys.executable, "-m", "dltrain", *command], stdout=nowhere, stderr=subprocess.PIPE)
        assert ended.returncode == 1 and b"No space left" in ended.stderr, (command, ended)
        assert b"Traceback" not in ended.stderr
    assert remains(place.only_run()) == place.expected
    return "held"
