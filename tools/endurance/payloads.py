"""Files that try to run code, to grow without bounds or to leave their folder, given to every command that reads."""

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from commands import dltrain
from PIL import Image

from endurance.forgeries import contents, things
from endurance.harness import Child, Place

SECONDS, MEGABYTES = 3.0, 64
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pickle.find_class",
             "ctypes.dlopen", "socket.connect", "os.symlink", "os.link", "os.chmod")  # fmt: skip
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree")  # of a path
Words = list[Any]


@dataclass(frozen=True)
class Position:
    """Where a file is put, and the commands that then read it.

    kinds: of payloads that are like what should be there. They meet every command, and so do things that are no files;
    of other payloads a few meet the first command.
    goes_on: whether a command may do without what cannot be read, or take whatever it is for what it wants.
    """

    path: str
    kinds: str
    commands: list[Words]
    goes_on: bool = False


RUN, NEW, HERE = "@/run", ["--runs-dir", "@/new"], ["--data-dir", "@"]
RESUME, VERIFY = ["fit", "--resume", RUN, "train.epochs=5"], ["verify", RUN]
REPORT, RUNS = ["report", RUN], ["runs", "--runs-dir", "@", "--html", "@/runs.html"]
COMPARE, EXPORT = ["compare", RUN, "@/pictures"], ["export-metrics", RUN, "--csv", "@/tables"]
CHECKPOINT = "run/checkpoints/step-00000016.safetensors"
CONFIG = [[command, "@/c.yaml"] for command in ("validate", "inspect-params", "check", "lr-find", "graph")]
# What is read -> where it lies. @: a folder with a run on arrays, `run`, and one on pictures, `pictures`.
POSITIONS: dict[str, Position] = {
    "checkpoint": Position(CHECKPOINT, "tensors pickles archives", [
        ["eval", RUN], ["predict", RUN, "@/x.npz"], VERIFY, RESUME, ["graph", RUN]]),
    "checkpoint of pictures": Position("pictures/checkpoints/step-00000001.safetensors", "tensors", [
        ["visualize", "@/pictures", "--layer", "conv1"]]),
    "config": Position("c.yaml", "configs texts", [
        *CONFIG, ["fit", "@/c.yaml", *NEW], ["fit", "@/c.yaml", "--resume", "auto", *NEW]]),
    "config of a run": Position("run/config.yaml", "configs", [REPORT, RUNS, COMPARE, VERIFY, RESUME], True),
    "status": Position("run/status.json", "texts", [REPORT, RUNS, COMPARE, RESUME], True),
    "metrics": Position("run/metrics.jsonl", "texts", [REPORT, RUNS, COMPARE, EXPORT, VERIFY, RESUME], True),
    "layers": Position("run/layers.jsonl", "texts", [REPORT, RUNS, EXPORT, VERIFY], True),
    "description": Position("run/description.json", "texts", [REPORT, RUNS], True),
    "environment": Position("run/env.json", "texts", [REPORT, VERIFY, ["predict", RUN, "@/x.npz"]], True),
    "evaluation": Position("run/eval/test.json", "texts", [REPORT, RUNS], True),
    "mistakes": Position("run/eval/test-mistakes.safetensors", "tensors", [REPORT], True),
    "a log": Position("run/train.log", "", [RESUME], True),
    "group": Position("group/group.json", "texts", [["fit", "--resume", "@/group"], RUNS], True),
    "npz": Position("d", "arrays archives pickles", [["fit", "@/npz.yaml", *NEW], ["check", "@/npz.yaml"]]),
    "csv": Position("d", "texts", [["fit", "@/csv.yaml", *NEW], ["inspect-params", "@/csv.yaml"]]),
    "text": Position("d", "texts", [["fit", "@/text.yaml", *NEW]], True),
    "folder of pictures": Position("folder/a/0.png", "pictures", [["fit", "@/folder.yaml", *NEW]]),
    "mnist": Position("mnist/train-images-idx3-ubyte.gz", "arrays archives", [["fit", "mnist_lenet5", *HERE, *NEW]]),
    "cifar": Position("cifar-10-batches-py/data_batch_1", "pickles archives", [["fit", "cifar_cnn", *HERE, *NEW]]),
    "weights of PyTorch": Position("w.pth", "pickles archives", [
        ["fit", "@/pth.yaml", *NEW], ["inspect-params", "@/pth.yaml"]]),
    "weights": Position("w.safetensors", "tensors", [["fit", "@/weights.yaml", *NEW]]),
    "arrays to ask": Position("i.npz", "arrays archives pickles", [["predict", RUN, "@/i.npz"]]),
    "picture to ask": Position("i.png", "pictures", [["predict", "@/pictures", "@/i.png"]]),
    "table to ask": Position("i.csv", "texts", [["predict", "@/tabled", "@/i.csv"]]),
    "text to ask": Position("i.txt", "texts", [["predict", "@/written", "@/i.txt"]]),
}  # fmt: skip
FEW = 8  # of so many payloads of other kinds one is tried


def attempts(kinds: dict[str, list[str]]) -> list[tuple[str, str, Words]]:
    """(payload, position, command). kinds: kind -> names of payloads; "things" are for every position."""
    found = []
    for number, (kind, position) in enumerate(POSITIONS.items()):
        own = [name for like in (*position.kinds.split(), "things") for name in kinds[like]]
        others = [name for names in kinds.values() for name in names if name not in own]
        found += [(name, kind, command) for name in own for command in position.commands]
        found += [(name, kind, position.commands[0]) for name in others[number % FEW :: FEW]]
    return found


class Scene:
    """The folder @ with all that the commands want, made again for each attempt."""

    def __init__(self, folder: Path):
        self.folder, self.plain, self.here = folder, folder / "plain", folder / "here"
        place = Place(folder / "first")
        place.begin()
        self._keep(place.only_run().path, "run")
        self._keep(_trained(folder, "smoke", "--max-steps", 1), "pictures")
        (folder / "text.txt").write_text("abcd" * 99)
        (self.plain / "text.yaml").write_text(_config(f"text, path: {self.here / 'd'}, length: 4", 4))
        (folder / "first.yaml").write_text(_config(f"text, path: {folder / 'text.txt'}, length: 4", 4))
        self._keep(_trained(folder, folder / "first.yaml"), "written")
        (folder / "first.yaml").write_text(_config("penguins, validation: 0.2"))
        self._keep(_trained(folder, folder / "first.yaml"), "tabled")
        (self.plain / "mnist").mkdir()
        (self.plain / "cifar-10-batches-py").mkdir()
        for name in ("train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
            (self.plain / "mnist" / f"{name}-ubyte.gz").write_bytes(b"")
        for name in ("data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch", "batches.meta"):
            (self.plain / "cifar-10-batches-py" / name).write_bytes(b"")
        np.savez(self.plain / "x.npz", x=np.zeros((1, 5), np.float32))
        (self.plain / "npz.yaml").write_text(_config(f"npz, path: {self.here / 'd'}"))
        for name, file in (("pth", "w.pth"), ("weights", "w.safetensors")):
            config = _config("digits").replace("model: {", f"model: {{load: {self.here / file}, ")
            (self.plain / f"{name}.yaml").write_text(config)
        (self.plain / "csv.yaml").write_text(_config(f"csv, path: {self.here / 'd'}, target: kind"))
        (self.plain / "folder.yaml").write_text(_config(f"image_folder, path: {self.here / 'folder'}, size: [8, 8]"))
        for name in "ab":
            (self.plain / "folder" / name).mkdir(parents=True)
            Image.new("L", (8, 8)).save(self.plain / "folder" / name / "1.png")
        (self.plain / "group").mkdir()
        shutil.copy(folder / "first.yaml", self.plain / "group" / "source.yaml")
        self.outside = folder / "outside"
        self.outside.mkdir()

    def _keep(self, run: Path, name: str) -> None:
        """A run as it was before its last checkpoint but one."""
        shutil.copytree(run, self.plain / name)
        for older in sorted((self.plain / name / "checkpoints").iterdir())[:-1]:
            older.unlink()

    def set(self) -> None:
        shutil.rmtree(self.here, ignore_errors=True)
        shutil.copytree(self.plain, self.here)
        (self.outside / "precious").write_bytes(b"not yours\n" * 1000)

    def untouched(self) -> bool:
        kept = [path.name for path in self.outside.iterdir()] == ["precious"]
        return kept and (self.outside / "precious").read_bytes() == b"not yours\n" * 1000


def _config(data: str, units: int = 3) -> str:
    layers = f"model: {{layers: [flatten, dense: {{units: {units}, activation: none}}]}}\n"
    return f"data: {{type: {data}}}\n{layers}train: {{epochs: 1, max_steps: 1}}\n"


def _trained(folder: Path, *words: object) -> Path:
    said = dltrain("fit", *words, "--runs-dir", folder / "runs", "--threads", 1, "--json", "--quiet")
    assert said.code == 0, said.err
    return Path(said.json["run"])


def check(count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Every `count`th attempt: refused in time, within memory, and nothing is run, or written elsewhere."""
    sys.dont_write_bytecode = True
    scene = Scene(folder)
    mark = folder / "RUN"
    made = {kind: {name: lambda path, content=content: path.write_bytes(content) for name, content in some.items()}
            for kind, some in contents(mark).items()} | {"things": things(scene.outside)}  # fmt: skip
    put: dict[str, Callable[[Path], Any]] = {name: do for some in made.values() for name, do in some.items()}
    found = {"payloads": len(put), "tried": 0, "refused": 0, "done without": 0, "run": 0, "written outside": 0}
    slowest, most, wrong = 0.0, 0.0, []
    for name, kind, command in attempts({kind: [*some] for kind, some in made.items()})[seed % count :: count]:
        scene.set()
        target = scene.here / POSITIONS[kind].path
        if target.exists():
            target.unlink()
        put[name](target)
        words = [str(word).replace("@", str(scene.here)) for word in command]
        code, told, _ = Child(lambda words=words: _watched(words, folder)).wait()
        last = told.rpartition("spent ")[2].split()
        spent, extra = map(float, last) if len(last) == 2 else (0.0, 0.0)
        problems = {
            f"exit code {code}": code not in ((0, 1, 2) if POSITIONS[kind].goes_on else (1, 2)),
            "a traceback": "Traceback" in told or "this is a bug" in told,
            "an escape sequence": "\x1b" in told,
            f"{spent:.2f} s, {extra:.0f} MB": code != 0 and (spent >= SECONDS or extra >= MEGABYTES),
            "it ran": mark.exists(),
            "something outside was changed": not scene.untouched(),
        }
        if any(problems.values()):
            what = ", ".join(problem for problem, there in problems.items() if there)
            wrong.append(f"{name} as {kind}: {' '.join(words)}: {what}: {told[-300:]}")
        found["tried"] += 1
        found["refused" if code else "done without"] += 1
        if code:
            slowest, most = max(slowest, spent), max(most, extra)
    assert not wrong, "\n".join(wrong)
    return found | {"slowest refusal in seconds": round(slowest, 2), "most megabytes": round(most)}


def _watched(words: Words, folder: Path) -> int:
    """The command, in a process that tells what it does that it should not."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FORBIDDEN and arguments[:1] != (None,):
            os.write(2, f"Traceback: {event} {arguments}"[:300].encode())
        flags = arguments[2] if event == "open" and len(arguments) > 2 and isinstance(arguments[2], int) else 0
        writes = event in CHANGES or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        if writes and isinstance(arguments[0], str | os.PathLike):
            # rmtree names what is in an open folder
            within = arguments[1] if event in ("os.remove", "os.rmdir") else -1
            base = os.readlink(f"/proc/self/fd/{within}") if within >= 0 else os.getcwd()
            path = os.path.abspath(os.path.join(base, os.fspath(arguments[0])))
            if not path.startswith((str(folder), "/dev/")):
                os.write(2, f"Traceback: {event} {path}".encode())

    sys.addaudithook(watch)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    started = time.process_time()
    result = dltrain(*words)
    spent = time.process_time() - started
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - usage.ru_maxrss) / 1024
    print(result.out, result.err, f"spent {spent} {extra}", file=sys.stderr, flush=True)
    return result.code
