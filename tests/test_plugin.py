"""Plugins: the documented example does what it says, and whatever is wrong with one becomes a message."""

import json
import subprocess
import sys
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from commands import dltrain, done

from dltrain import registry
from dltrain.cli import app
from dltrain.engine import OPS, distinct, gradcheck
from dltrain.spec.schema import REGISTRIES

DOCS = Path(__file__).resolve().parent.parent / "docs"
EXAMPLE, CONFIG = DOCS / "plugin_example.py", DOCS / "plugin_example.yaml"


@pytest.fixture(autouse=True)
def forgotten(scratch_registries: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def forget() -> None:
    """As in a new process."""
    registry.PLUGINS.clear()
    for each in REGISTRIES:
        for name in ("sine", "log_cosh", "wave"):
            each._entries.pop(name, None)


def test_the_example_from_its_gradient_to_its_predictions(tmp_path: Path) -> None:
    said = done("fit", CONFIG, "--plugin", EXAMPLE, "--json")
    gradcheck(lambda x: OPS["sine"](x, frequency=2.0), distinct(3, 4))
    run = Path(said.json["run"])
    assert said.json["test"]["loss"] < 0.05
    kept = json.loads((run / "env.json").read_text())["plugins"]
    assert [Path(plugin["file"]) for plugin in kept] == [EXAMPLE] and len(kept[0]["sha256"]) == 64
    assert "sine" in {json.loads(line)["type"] for line in (run / "layers.jsonl").read_text().splitlines()}
    np.savez("x.npz", x=np.array([[0.5], [-1.0]]))

    forget()
    needed = ["eval"], ["predict", "x.npz"], ["inspect-params", run], ["verify"], ["graph", run]
    for command in (*needed, ["fit", "--resume", run], ["visualize", "--layer", "sine1"]):
        refused = dltrain(*command)
        assert refused.code == 1 and f"give it again: --plugin {EXAMPLE}" in refused.errors[0], command
    answers = done("predict", "x.npz", "--plugin", EXAMPLE, "--json").json["predictions"]
    for answer, x in zip(answers, (0.5, -1.0), strict=True):
        assert answer["values"][0] == pytest.approx(np.sin(3 * x) + x, abs=0.4)
    assert done("eval", "--plugin", EXAMPLE, "--json").json["loss"] == pytest.approx(said.json["test"]["loss"])
    assert done("verify", "--plugin", EXAMPLE, "--json").json["differences"] == []

    for command, part in (("check", "sine1"), ("lr-find", "rate"), ("graph", "sine")):
        forget()
        assert dltrain(command, CONFIG).code == 2
        assert part in done(command, CONFIG, "--plugin", EXAMPLE).out


def test_every_command_takes_one_that_builds_a_network() -> None:
    reads_only = {"report", "compare", "runs", "serve", "weights", "export-metrics", "env"}
    takes = {command.name: signature(command.callback).parameters for command in app.registered_commands}
    assert {name for name, parameters in takes.items() if "plugin" not in parameters} == reads_only


def test_without_the_plugin_its_parts_are_unknown() -> None:
    said = dltrain("validate", CONFIG)
    assert said.code == 2
    assert [error.partition("  ")[2].partition(";")[0] for error in said.errors] == [
        "data: unknown data set 'wave'",
        "model.layers[1]: unknown layer 'sine'",
        "loss: unknown loss 'log_cosh'",
    ]


def test_the_example_checks_itself() -> None:
    said = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=True).stdout
    assert said.count("agrees with finite differences") == 3


LAYER = "from dltrain.nn import *\n@LAYERS.register('own')\nclass Own(Layer):\n    def __init__(self, s, *, "
BROKEN = {
    "no such file": (None, "p.py: cannot read plugin: No such file or directory"),
    "no Python": ("x = = 3\n", "p.py:1  SyntaxError: invalid syntax"),
    "an error": ("import math\n\nmath.sqrt(-1)\n", "p.py:3  ValueError: "),
    "it ends the program": ("raise SystemExit(0)\n", "p.py:1  SystemExit: 0"),
    "a name that is taken": (
        "from dltrain.nn import LAYERS, Layer\n\n@LAYERS.register('relu')\nclass Relu(Layer): pass\n",
        "p.py:3  ValueError: layer 'relu' is registered twice",
    ),
    "a type that YAML has not": (
        LAYER + "size: complex): pass\n",
        "p.py  registers something that a config cannot describe: a setting of type <class 'complex'> cannot be",
    ),
    "a key that pydantic owns": (LAYER + "copy: int): pass\n", "p.py  registers something that a config cannot desc"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin(text: str | None, message: str) -> None:
    if text is not None:
        Path("p.py").write_text(text)
    said = dltrain("validate", "smoke", "--plugin", "p.py")
    assert (said.code, said.out, len(said.errors)) == (2, "", 1), said.err
    assert message in said.errors[0] and "Traceback" not in said.err


def test_a_config_cannot_name_one() -> None:
    Path("c.yaml").write_text("plugin: p.py\ndata: digits\nmodel: {layers: [flatten, {dense: 10}]}\n")
    assert "plugin: unknown key" in dltrain("validate", "c.yaml").errors[0]


def test_a_buffer_says_how_a_step_changes_it() -> None:
    """One that did not would silently stay as it is."""
    layer = LAYER.replace("size: complex): pass\n", "") + "k: int = 1):\n        super().__init__(s, s)\n"
    Path("p.py").write_text(layer + "        self.seen = Buffer(s, start=0.0)\n")
    Path("c.yaml").write_text("data: digits\nmodel: {layers: [own, flatten, {dense: 10}]}\n")
    said = dltrain("validate", "c.yaml", "--plugin", "p.py")
    assert said.code == 1 and "Buffer.__init__() missing 1 required keyword-only argument: 'momentum'" in said.errors[0]
    Path("p.py").write_text(layer + "        self.seen = Buffer(s, start=0.0, momentum=1.0)\n")
    registry.PLUGINS.clear()
    REGISTRIES[0]._entries.pop("own")
    done("validate", "c.yaml", "--plugin", "p.py")
