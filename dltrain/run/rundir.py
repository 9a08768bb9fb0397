"""A run directory: the only place that knows what the files in it are called."""

import logging
import os
import re
import secrets
import shlex
import shutil
import socket
import stat
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from dltrain.errors import RunError
from dltrain.run import files
from dltrain.run.checkpoint import Checkpoint
from dltrain.run.files import BufferedWriter, Lock, is_held, to_json, to_lines, write_atomically
from dltrain.run.names import require_name
from dltrain.run.reader import LOG_FILE, read_bytes, read_json, readable
from dltrain.run.status import read_status

DESCRIPTION, DIVERGED, WRITTEN = "description.json", "diverged.json", "written.json"
RESULTS = ("epochs", "steps", "train", "validation", "test", "pictures", "weights_sha256")  # of a status
ENDED = ("done", "diverged", "pruned")  # of a status: a run that has come to its end
GROUP = "group.json"  # in a group's folder
DRAFT = f".new-{socket.gethostname()}-"  # where runs are shared, another machine's locks may not be seen
STEP = re.compile(r"step-([0-9]{8,16})\.(?:safetensors|png)")
warn = logging.getLogger("dltrain").warning


class RunDir:
    """`runs/<YYYYMMDD-HHMMSS>-<name>/`. Logs are only appended to; everything else is replaced atomically."""

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.yaml"
        self.source = path / "source.yaml"
        self.environment = path / "env.json"
        self.description = path / DESCRIPTION
        self.metrics = path / "metrics.jsonl"
        self.layers = path / "layers.jsonl"
        self.log = path / "train.log"
        self.report = path / "report.html"
        self.tensorboard = path / "tensorboard"
        self.diverged = path / DIVERGED
        self.written = path / WRITTEN
        self.profile = path / "profile.json"
        self.notes = path / "notes.json"
        self.trace = path / "trace.json"
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self._status = path / "status.json"
        self._lock: Lock | None = None
        self._waiting = BufferedWriter(self.metrics)

    @classmethod
    def create(
        cls, runs: Path, name: str, config: str, source: str, environment: dict[str, Any], smoke: bool = False
    ) -> "RunDir":
        """A new directory, held by this process, and complete from the moment it has its name.

        Two runs of one second get different ones. smoke: whether it trains on two batches only.
        """
        require_name(name)
        runs.mkdir(parents=True, exist_ok=True)
        _sweep_drafts(runs)
        draft = cls._draft(runs)
        try:
            draft.checkpoints.mkdir()
            new = {draft.config: config.encode(), draft.source: source.encode(), draft.metrics: b"", draft.layers: b""}
            for file, content in (new | {draft.environment: to_json(environment)}).items():
                write_atomically(file, content)
            draft.update_status(status="running", **_here(), started=_now(), **({"smoke": True} if smoke else {}))
            stem = f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
            for number in range(1, 1000):
                path = runs / (stem if number == 1 else f"{stem}-{number}")
                try:  # renaming onto a directory that is not empty fails, so a name is taken once
                    os.rename(draft.path, path)
                except OSError:
                    if not path.exists():
                        raise
                    continue
                files.sync_folder(runs)
                run = cls(path)
                run._lock = draft._lock
                return run
        finally:
            shutil.rmtree(draft.path, ignore_errors=True)
        raise RunError(f"{runs}: a thousand runs called {stem} already exist")

    @classmethod
    def _draft(cls, runs: Path) -> "RunDir":
        """An empty folder, held before anybody else could take it for one that was left behind."""
        while True:
            draft = cls(runs / f"{DRAFT}{secrets.token_hex(6)}")
            draft.path.mkdir()
            with suppress(FileNotFoundError, BlockingIOError):  # somebody was quicker: make another one
                draft._lock = Lock(draft.path)
                if draft.path.exists():
                    return draft

    # --- whose it is ----------------------------------------------------------------------------------------

    def require_own_files(self) -> None:
        """Raises RunError where something in it is neither file nor folder: a stranger's link would lead out of it
        when it is written to, and a pipe would be waited for."""
        for folder, folders, names in os.walk(self.path):
            for path in (os.path.join(folder, name) for name in (*folders, *names)):
                with suppress(FileNotFoundError):  # a temporary file of a run that is being trained
                    mode = os.lstat(path).st_mode
                    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                        raise RunError(f"{path}: a link, pipe or device has no place in a run; remove it")

    def hold(self) -> None:
        """Only one process may train here; what one that was killed has left is swept.

        Raises RunError where another one trains, and as `require_own_files`.
        """
        self.require_own_files()
        for _ in range(20):  # whoever asks about a run touches the lock for a moment
            try:
                self._lock = Lock(self.path)
            except BlockingIOError:
                time.sleep(0.05)
                continue
            for folder in (self.path, self.checkpoints, self.samples, self.path / "eval"):
                files.sweep(folder)
            return
        status = self.last_status()
        who = f"process {status.get('pid')} on {status.get('host')}"
        raise RunError(f"{self.path}: this run is being trained by {who}; wait for it or end it first")

    def release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def is_free(self) -> bool:
        """Whether no process trains here, as far as this machine can know."""
        return not is_held(self.path)

    def reopen(self, checkpoint: Checkpoint | None, note: dict[str, Any], config: str | None, keep: int) -> None:
        """Go on from a checkpoint, or from nothing: whatever was written after it is gone from the logs and pictures,
        and so are the older checkpoints that a save which was broken off did not come to remove.

        note: what status.json shall remember of this. config: the new text of config.yaml, if it changes. keep: see
        `save`.
        """
        if config is not None:
            write_atomically(self.config, config.encode())
        self.cut_logs(checkpoint.logs if checkpoint else {})
        before = self.last_status()
        step = checkpoint.position.step if checkpoint else 0
        best = self._checkpoint_path(checkpoint.progress.best_step or 0) if checkpoint else None
        self.update_status(
            **{"status": "running", **_here()},
            **dict.fromkeys(before.keys() & {*RESULTS, "ranks", "ended_by"}),
            **dict.fromkeys(key for key in before if key.startswith("best_")),
            last=self._checkpoint_path(step).name if checkpoint else None,
            best=best.name if best and best.exists() else None,
            resumed=[*before.get("resumed", []), {"at": _now(), "step": step, **note}],
        )
        for later in (made for made in self.sampled_steps() if made > step):
            self.sample(later).unlink()
        if checkpoint:
            self._remove_older(checkpoint, keep)

    # --- status ---------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """What status.json says, with a run whose process is gone shown as crashed. Raises RunError."""
        try:
            status = read_status(self._status)
        except RunError as error:
            raise RunError(f"{error}; to regenerate it: dltrain fit --resume {self.path}") from None
        here = status.get("host") == socket.gethostname()
        if status["status"] == "running" and here and is_held(self.path) is False:
            status["status"] = "crashed"
        return status

    def last_status(self) -> dict[str, Any]:
        """What status.json says, nothing where it is damaged: a training that goes on does not need it."""
        try:
            return read_status(self._status) if self._status.exists() else {}
        except RunError as error:
            warn(f"{error}; taken for empty")
            return {}

    def update_status(self, **changes: Any) -> None:
        """Set keys; None removes one."""
        status = self.last_status() | changes
        write_atomically(self._status, to_json({key: value for key, value in status.items() if value is not None}))

    def recorded_environment(self) -> dict[str, Any]:
        """What env.json says; nothing where it cannot be read."""
        try:
            return read_json(self.environment)
        except RunError as error:
            warn(str(error))
            return {}

    def result(self) -> dict[str, Any]:
        """What a finished or broken off `fit` prints of this run."""
        status = read_status(self._status)
        return {"run": str(self.path)} | {key: status[key] for key in ("status", *RESULTS) if key in status}

    # --- logs -----------------------------------------------------------------------------------------------

    def append(self, path: Path, *rows: dict[str, Any]) -> None:
        """Add lines of strict JSON to metrics.jsonl or layers.jsonl."""
        self.flush()
        files.append(path, to_lines(*rows))

    def log_step(self, row: dict[str, Any]) -> None:
        """A line of metrics.jsonl that may wait for others, until `flush` at the latest."""
        self._waiting.add(row)

    def log_epoch(self, row: dict[str, Any], layers: list[dict[str, Any]]) -> None:
        """A line of metrics.jsonl and those of layers.jsonl, written now."""
        self.append(self.metrics, row)
        self.append(self.layers, *layers)

    def flush(self) -> None:
        """Write the lines that wait."""
        self._waiting.write()

    def note(self, line: str) -> None:
        """A line in train.log, for people."""
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}\n")

    def rows(self, path: Path) -> list[dict[str, Any]]:
        """The lines of a log. A torn last line, left by a crash, is dropped, or what follows damage; that is told."""
        self.flush()
        try:
            content = read_bytes(path, LOG_FILE)
        except OSError:
            return []
        except ValueError as error:
            raise RunError(f"{path}: {error}, more than a training writes") from None
        rows, length = readable(content)
        if left := content[length:].count(b"\n"):
            warn(f"{path}:{len(rows) + 1}: damaged; {left} lines from here on are left out")
        elif length < len(content):
            warn(f"{path}: the last line was never finished and is left out")
        return rows

    def log_lengths(self) -> dict[str, int]:
        self.flush()
        return {log.name: log.stat().st_size for log in (self.metrics, self.layers)}

    def cut_logs(self, lengths: dict[str, int]) -> None:
        """Bring the logs back to what they were when a checkpoint was written."""
        for log in (self.metrics, self.layers):
            try:
                content = log.read_bytes()
            except FileNotFoundError:
                write_atomically(log, content := b"")
            length = lengths.get(log.name, 0)
            _, whole = readable(content[:length])  # what is written behind damage would never be read
            if whole < length:
                warn(f"{log}: had {length:,} bytes when it was saved, of which {whole:,} are left; rows are missing")
            if len(content) > whole:
                files.cut(log, whole)

    # --- checkpoints ----------------------------------------------------------------------------------------

    def save(self, checkpoint: Checkpoint, best: bool, keep: int = 1) -> None:
        """Write a checkpoint, let status.json name it as the last (and the best), then remove what is not kept:
        all but the newest `keep`, the best, and the one that was the best when this one's state was."""
        for log in (self.metrics, self.layers):
            files.sync(log)  # the checkpoint says how long they are
        step = checkpoint.position.step
        path = self._checkpoint_path(step)
        checkpoint.write(path)
        self.update_status(last=path.name, **({"best": path.name} if best else {}))
        self._remove_older(checkpoint, keep)

    def _remove_older(self, checkpoint: Checkpoint, keep: int) -> None:
        older = [saved for saved in self.saved_steps() if saved < checkpoint.position.step]
        newest = older[max(0, len(older) - keep + 1) :]
        best_names = (
            read_status(self._status).get("best"),
            self._checkpoint_path(checkpoint.progress.best_step or 0).name,
        )
        for saved in older:
            old = self._checkpoint_path(saved)
            if saved not in newest and old.name not in best_names:
                old.unlink(missing_ok=True)

    def saved_steps(self) -> list[int]:
        """The steps of which there is a checkpoint, intact or not, in order."""
        return _steps(self.checkpoints, ".safetensors")

    def checkpoint(self, which: str | int) -> Checkpoint:
        """The `best` checkpoint, that of a step, or the `last` one: the newest that is intact; damaged ones are named.

        Raises RunError when there is none.
        """
        if isinstance(which, int):
            return Checkpoint.read(self._checkpoint_path(which))
        again = f"to train it again: dltrain fit {shlex.quote(str(self.config))}"
        steps = self.saved_steps()
        for step in reversed(steps) if which == "last" else ():
            try:
                return Checkpoint.read(self._checkpoint_path(step))
            except RunError as error:
                if step == steps[0]:
                    raise RunError(f"{error}; {again}") from None
                warn(f"{error}; taking the one before it")
        if not isinstance(named := read_status(self._status).get(which), str):
            raise RunError(f"{self.path}: this run has no {which} checkpoint yet")
        if not (path := self.checkpoints / Path(named).name).exists():
            raise RunError(f"{path}: there is no such checkpoint; {again}")
        return Checkpoint.read(path)

    def has_checkpoint(self) -> bool:
        """Whether there is one, or once was."""
        return bool(self.saved_steps()) or "last" in self.last_status()

    def _checkpoint_path(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:08d}.safetensors"

    # --- pictures -------------------------------------------------------------------------------------------

    def sample(self, step: int) -> Path:
        """The pictures that were made after a step."""
        return self.samples / f"step-{step:08d}.png"

    def sampled_steps(self) -> list[int]:
        """The steps after which pictures were made, in order."""
        return _steps(self.samples, ".png")

    def write_json(self, path: Path, content: dict[str, Any]) -> None:
        self.write(path, to_json(content))

    def write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, content)

    def keep(self, name: str, content: bytes) -> None:
        """A file by its name in here."""
        self.write(self.path / name, content)

    def end(self, **facts: Any) -> None:
        """A training is over: its last rows and its status are written, and others may go on here."""
        try:
            self.flush()
            self.update_status(**facts)
        finally:
            self.release()


def _steps(folder: Path, ending: str) -> list[int]:
    found = (STEP.fullmatch(path.name) for path in folder.glob(f"step-*{ending}"))
    return sorted(int(match[1]) for match in found if match)


def analysis_files(split: str) -> tuple[str, str]:
    """What an error analysis of a split is kept in: what was found, and the inputs of its mistakes (safetensors)."""
    return f"eval/{split}.json", f"eval/{split}-mistakes.safetensors"


def figures_file(split: str) -> str:
    """What the figures of pictures are kept in."""
    return f"eval/{split}-pictures.json"


def told_file(split: str) -> str:
    """What sentences are about that are kept with these figures (safetensors)."""
    return f"eval/{split}-sentences.safetensors"


def all_runs(runs: Path) -> list[RunDir]:
    """Every run directory, those inside groups too, oldest first."""
    found = []
    for path in runs.iterdir() if runs.is_dir() else []:
        if not path.name.startswith("."):
            found += [RunDir(path)] if (path / "config.yaml").is_file() else []
            found += all_runs(path) if (path / GROUP).is_file() else []
    return sorted(found, key=lambda run: run.path.name)


def _sweep_drafts(runs: Path) -> None:
    """Remove directories that were being made on this machine when their process was killed."""
    for draft in runs.glob(f"{DRAFT}*"):
        with suppress(OSError):
            if (lock := Lock(draft)).known:
                shutil.rmtree(draft, ignore_errors=True)
            lock.release()


def _here() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname()}


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
