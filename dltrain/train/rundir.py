"""A run directory: the only place that knows what the files in it are called."""

import json
import os
import re
import secrets
import shutil
import socket
from datetime import datetime
from pathlib import Path
from typing import Any

from dltrain.errors import ConfigError, RunError
from dltrain.train.checkpoint import Checkpoint
from dltrain.train.files import sync_folder, write_atomically

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RunDir:
    """`runs/<YYYYMMDD-HHMMSS>-<name>/`. Logs are only appended to; everything else is replaced atomically."""

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.yaml"
        self.source = path / "source.yaml"
        self.environment = path / "env.json"
        self.metrics = path / "metrics.jsonl"
        self.layers = path / "layers.jsonl"
        self.log = path / "train.log"
        self.diverged = path / "diverged.json"
        self.profile = path / "profile.json"
        self.trace = path / "trace.json"
        self.checkpoints = path / "checkpoints"
        self._status = path / "status.json"

    @classmethod
    def create(cls, runs: Path, name: str, config: str, source: str, environment: dict[str, Any]) -> "RunDir":
        """A new directory, complete from the moment it has its name. Two runs of one second get different ones."""
        if not NAME.fullmatch(name):
            raise ConfigError(f"run name {name!r}: letters, digits, dots, dashes and underscores only, at most 100")
        runs.mkdir(parents=True, exist_ok=True)
        draft = cls(runs / f".new-{secrets.token_hex(6)}")
        draft.checkpoints.mkdir(parents=True)
        try:
            write_atomically(draft.config, config.encode())
            write_atomically(draft.source, source.encode())
            write_atomically(draft.environment, _json(environment))
            draft.update_status(
                status="running",
                pid=os.getpid(),
                host=socket.gethostname(),
                started=datetime.now().astimezone().isoformat(timespec="seconds"),
            )
            stem = f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
            for number in range(1, 1000):
                path = runs / (stem if number == 1 else f"{stem}-{number}")
                try:  # renaming onto a directory that is not empty fails, so a name is taken once
                    os.rename(draft.path, path)
                except OSError:
                    if not path.exists():
                        raise
                    continue
                sync_folder(runs)
                return cls(path)
        finally:
            shutil.rmtree(draft.path, ignore_errors=True)
        raise RunError(f"{runs}: a thousand runs called {stem} already exist")

    # --- status ---------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """What status.json says, with a run whose process is gone shown as crashed. Raises RunError."""
        try:
            status = json.loads(self._status.read_bytes())
            if not isinstance(status, dict) or not isinstance(status.get("status"), str):
                raise ValueError("no status in it")
        except (OSError, ValueError) as error:
            raise RunError(f"{self._status}: cannot be read ({error})") from None
        if status["status"] == "running" and status.get("host") == socket.gethostname() and not _alive(status):
            status["status"] = "crashed"
        return status

    def update_status(self, **changes: Any) -> None:
        old = json.loads(self._status.read_bytes()) if self._status.exists() else {}
        write_atomically(self._status, _json(old | changes))

    def result(self) -> dict[str, Any]:
        """What a finished or broken off `fit` prints of this run."""
        status = self.status()
        keys = ("status", "epochs", "steps", "train", "validation", "test", "weights_sha256")
        return {"run": str(self.path)} | {key: status[key] for key in keys if key in status}

    # --- logs -----------------------------------------------------------------------------------------------

    def append(self, path: Path, *rows: dict[str, Any]) -> None:
        """Add lines of strict JSON to metrics.jsonl or layers.jsonl."""
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)

    def rows(self, path: Path) -> list[dict[str, Any]]:
        """The lines of a log; a torn last line, left by a crash, is dropped."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return []
        rows = []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    # --- checkpoints ----------------------------------------------------------------------------------------

    def save(self, checkpoint: Checkpoint, best: bool) -> None:
        """Write a checkpoint, let status.json name it as the last (and the best), then remove what neither names."""
        name = f"step-{checkpoint.position.step:08d}.safetensors"
        checkpoint.write(self.checkpoints / name)
        self.update_status(last=name, **({"best": name} if best else {}))
        status = self.status()
        for path in self.checkpoints.glob("step-*.safetensors"):
            if path.name not in (status.get("last"), status.get("best")):
                path.unlink()

    def checkpoint(self, which: str) -> Checkpoint:
        """The `last` or `best` checkpoint. Raises RunError when there is none."""
        name = self.status().get(which)
        if not isinstance(name, str):
            raise RunError(f"{self.path}: this run has no {which} checkpoint yet")
        return Checkpoint.read(self.checkpoints / Path(name).name)

    def write_json(self, path: Path, content: dict[str, Any]) -> None:
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, _json(content))

    def evaluation(self, split: str) -> Path:
        return self.path / "eval" / f"{split}.json"


def all_runs(runs: Path) -> list[RunDir]:
    """Every run directory, oldest first."""
    if not runs.is_dir():
        return []
    return [RunDir(p) for p in sorted(runs.iterdir()) if not p.name.startswith(".") and (p / "config.yaml").is_file()]


def find_run(text: str | None, runs: Path) -> RunDir:
    """A path, a run's name, a unique part of it, or `latest`; None is the newest. Raises RunError."""
    if text is not None and os.path.isfile(os.path.join(text, "config.yaml")):  # False even for what cannot be a path
        return RunDir(Path(text))
    known = all_runs(runs)
    if text is None or text == "latest":
        if not known:
            raise RunError(f"there is no run in {runs}; start one with: dltrain fit CONFIG")
        return max(known, key=lambda run: (run.config.stat().st_mtime_ns, run.path.name))
    exact = [run for run in known if run.path.name == text]
    found = exact or [run for run in known if text in run.path.name]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(run.path.name for run in found[-5:])
        raise RunError(f"{text!r} fits {len(found)} runs in {runs}: {names}; give more of the name")
    if os.path.isdir(text):
        raise RunError(f"{text} is no run directory: it has no config.yaml")
    raise RunError(f"no run {text!r} in {runs}; `dltrain runs` lists those that exist")


def _alive(status: dict[str, Any]) -> bool:
    pid = status.get("pid")
    if not isinstance(pid, int):
        return False
    if os.name != "posix":
        return True  # nothing can be asked there without ending the process
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # it exists and belongs to somebody else
    return True


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, allow_nan=False, indent=2) + "\n").encode()
