"""The floors of the house: imports run downwards only, and files stay small enough to be read."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dltrain"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400

FLOORS: dict[str, int] = {
    "errors": 0, "registry": 0, "window": 0, "random": 0, "spans": 0, "progress": 0,
    "backend": 1, "engine": 2, "ops": 3, "nn": 4, "optim": 4,
    "data": 4, "metrics": 4, "run": 5, "weights": 6, "job": 6, "evaluation": 7, "train": 8, "spec": 9,
    "check": 9, "report": 9, "serve": 10, "sweep": 10, "api": 11, "cli": 11, "__main__": 12,
}  # fmt: skip
# These know each other; elsewhere two packages of one floor never do.
SAME_FLOOR_ALLOWED = {
    ("registry", "errors"),
    ("window", "errors"),
    ("random", "errors"),
    ("cli", "api"),
}
# Outside modules that only one place may import: where they are used is where they can be replaced.
RESERVED: dict[str, str | tuple[str, ...]] = {
    "cupy": "backend/", "cupyx": "backend/", "ctypes": "backend/", "cudnn": "backend/", "mpi4py": "backend/",
    "rich": ("cli/console.py", "cli/live.py"), "pygal": "report/charts.py", "jinja2": "report/page.py",
    "tensorboardX": "report/tensorboard.py", "optuna": "sweep/tpe.py",
}  # fmt: skip


def imported(tree: ast.AST, module: str) -> set[str]:
    """Full names of all modules that a file imports, wherever in it and however: `import a.b`, `from . import c`,
    `importlib.import_module("d")`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names.update(alias.name for alias in node.names)
            case ast.ImportFrom():
                base = module.split(".")[: -node.level] if node.level else []
                start = ".".join([*base, *([node.module] if node.module else [])])
                names.add(start)
                names.update(f"{start}.{alias.name}" for alias in node.names)
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                argument = node.args[0]
                assert isinstance(argument, ast.Constant), f"{module}: what it imports must be seen in the text"
                names.add(argument.value)
    return names


def module_of(path: Path) -> str:
    """`dltrain.nn.layer`; a package's __init__ counts as a module in it, so that `from .` works alike."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def part_of(module: str) -> str:
    """`nn` of `dltrain.nn.layer`; "" of `dltrain` itself, which holds the version and nothing else."""
    return [*module.split("."), ""][1]


def rules_broken(path: str, text: str) -> list[str]:
    """What is wrong with the imports of one file. path: within the package."""
    module = "dltrain." + path.removesuffix(".py").replace("/", ".")
    own = part_of(module)
    found = []
    for name in sorted(imported(ast.parse(text), module)):
        top = name.split(".")[0]
        if top in RESERVED and not path.startswith(RESERVED[top]):
            found.append(f"imports {name}, which only {RESERVED[top]} may")
        other = part_of(name)
        if top != "dltrain" or other not in FLOORS or other == own:
            continue
        higher = FLOORS[other] > FLOORS[own]
        if higher or (FLOORS[other] == FLOORS[own] and (own, other) not in SAME_FLOOR_ALLOWED):
            found.append(f"floor {FLOORS[own]} ({own}) imports {name} of floor {FLOORS[other]}")
    return found


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_run_downwards(path: Path) -> None:
    inside = path.relative_to(PACKAGE).as_posix()
    if inside == "__init__.py":
        names = imported(ast.parse(path.read_text()), "dltrain.__init__")
        asked_for = {"dltrain", "dltrain.api", "dltrain.engine", "dltrain.ops"}
        assert names == {"typing", "typing.Any", *asked_for}, "the package imports its API, when asked"
        return
    assert part_of(module_of(path)) in FLOORS, f"{inside} stands on no floor: give it one in FLOORS"
    assert rules_broken(inside, path.read_text()) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("engine/tensor.py", "import dltrain.nn"),
        ("engine/tensor.py", "from dltrain import ops"),
        ("engine/tensor.py", "def f():\n    from dltrain.train.step import train_step"),
        ("engine/tensor.py", "from ..ops import relu"),
        ("nn/layer.py", "from dltrain.optim import OPTIMIZERS"),
        ("data/source.py", "from dltrain.nn.layer import Layer"),
        ("optim/adam.py", "from ..data import Split"),
        ("registry.py", "import dltrain.backend"),
        ("train/step.py", "import ctypes"),
        ("train/step.py", "from ctypes.util import find_library"),
        ("engine/tensor.py", "import importlib\nimportlib.import_module('cupy')"),
        ("cli/fit.py", "from rich.table import Table"),
        ("spec/build.py", "from dltrain.report import page"),
        ("random.py", "from dltrain.registry import Registry"),
    ],
)
def test_a_broken_rule_is_noticed(path: str, text: str) -> None:
    assert rules_broken(path, text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("engine/tensor.py", "from . import gradcheck\nfrom dltrain.backend import kernels"),
        ("nn/layer.py", "from ..ops import relu\nimport dltrain.window"),
        ("backend/device.py", "import cupy, ctypes"),
        ("cli/console.py", "from rich.console import Console\nfrom dltrain.spec import load"),
        ("registry.py", "from dltrain.errors import DltrainError"),
    ],
)
def test_a_kept_rule_is_left_alone(path: str, text: str) -> None:
    assert rules_broken(path, text) == []


@pytest.mark.parametrize("path", [*FILES, *sorted((ROOT / "tests").rglob("*.py"))], ids=module_of)
def test_files_are_small_and_have_a_subject(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES
    assert path.stem not in ("utils", "util", "helpers", "misc", "common")
