"""What the command line says of itself: help without heavy imports, and a README that tells the truth."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import done

from dltrain.cli import console
from dltrain.cli.app import app
from dltrain.spec import build_model, loads

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
COMMANDS = {str(command.name): command.callback for command in app.registered_commands}
GROUPS = {str(group.name): group.typer_instance for group in app.registered_groups if group.typer_instance}
# Whatever opens files of numbers, reads configs or draws; `--help` and `--version` have no use for it.
HEAVY = (
    "numpy", "cupy", "PIL", "rich", "jinja2", "pygal", "safetensors", "threadpoolctl",
    "yaml", "dltrain.backend", "dltrain.spec",
)  # fmt: skip

LOADED = """
import sys
from dltrain.cli import main
sys.argv = ["dltrain", *sys.argv[1:]]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["--help"], ["fit", "--help"], ["--version"]], ids=" ".join)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    process = subprocess.run([sys.executable, "-c", LOADED, *words], capture_output=True, text=True, timeout=60)
    assert process.returncode == 0 and process.stdout
    assert [name for name in process.stderr.split() if name in HEAVY] == []


def test_the_list_of_commands() -> None:
    said = done("--help")
    for name, callback in COMMANDS.items():
        summary = (callback.__doc__ or "").split("\n")[0]
        assert re.search(rf"^  {name} +{re.escape(summary)}$", said.out, re.M), f"{name}: too long for one line"
    assert said.err == "" and done("-h").out == said.out


@pytest.mark.parametrize("name", [*COMMANDS, *(f"{g} {c.name}" for g in GROUPS for c in GROUPS[g].registered_commands)])
def test_help_of_a_command(name: str) -> None:
    said = done(*name.split(), "--help")
    assert said.out.startswith(f"Usage: dltrain {name} [OPTIONS]")
    options = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", said.out, re.M)
    assert {"--json", "--quiet", "--debug", "--help"} <= set(options)
    for line in re.split(r"\n(?=  \S)", said.out.partition("Options:")[2])[1:]:
        assert re.search(r"\S  +[A-Z]|\n +[A-Z]", line), f"no help for {line!r}"


def blocks(language: str) -> list[tuple[int, str]]:
    """The fenced blocks of README: where each starts, and what is in it."""
    found = re.finditer(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    return [(match.start(), match[1].strip()) for match in found]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_names_every_command(name: str) -> None:
    assert re.search(rf"\bdltrain {name}\b", README.read_text(encoding="utf-8"))


def test_the_readme_names_no_command_that_is_not_there() -> None:
    text = "\n".join([*(block for _, block in blocks("sh")), *re.findall("`.*?`", README.read_text(encoding="utf-8"))])
    named = set(re.findall(r"(?:[`/]|^)dltrain ([a-z][a-z-]*)", text, re.M))
    assert named == COMMANDS.keys() | GROUPS.keys()


def test_the_command_that_runs_the_tests_is_the_one_of_ci() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    start = README.read_text(encoding="utf-8").index("tests:")
    command = next(block for place, block in blocks("sh") if place > start)
    assert "pytest" in command and lines.count(command) == 1
    run = [line for line in lines if "pytest" in line and not line.startswith("#")]
    assert run == [command, ".venv/bin/pytest -m slow"]


def test_the_config_in_the_readme_is_valid() -> None:
    for _, text in blocks("yaml"):
        build_model(loads(text, "README.md"))


def test_the_code_in_the_readme_prints_what_it_says(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _, code in blocks("python"):
        exec(code, {})
        assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)  # (.*)", code)


def test_numbers_stand_to_the_right_and_names_to_the_left(capsys: pytest.CaptureFixture[str]) -> None:
    """Run names begin with a digit and are names all the same."""
    columns = ["run", "loss", "share", "memory", "size"]
    rows = [
        ["20261123-060905-id", 0.5, "5.0%", "1.00 MiB", "3×3"],
        ["20261123-060905-longer", 1234, "100.0%", "", "–"],
    ]
    console.result_table(columns, rows)
    assert capsys.readouterr().out.splitlines() == [
        "run                      loss   share    memory  size",
        "20261123-060905-id        0.5    5.0%  1.00 MiB   3×3",
        "20261123-060905-longer  1,234  100.0%               –",
    ]
