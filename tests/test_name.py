"""On the package index `dltrain` is somebody else's project: nobody is told to install that one."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WRITTEN = {"", ".c", ".cu", ".h", ".html", ".inc", ".j2", ".md", ".py", ".svg", ".toml", ".txt", ".yaml", ".yml"}
INSTALLS = re.compile(
    r"\b(?:pip3?|pipx|uvx?)\s+(?:[^\s&;|`]+\s+)*?['\"]?dltrain(?![\w./])"  # pip install -U dltrain, uv add dltrain
    r"|dltrain[\w-]*\[[a-z]+(?:,[a-z]+)*\]"  # an extra of a project by that name
)
PACKAGE_INDEX_NAME = "dltrain"


def texts() -> dict[str, str]:
    """Every text of the project, what was built or trained left out."""
    folders = ("benchmarks", "configs", "docs", "dltrain", "tests", ".ci")
    files = [p for p in ROOT.iterdir() if p.is_file()] + [p for f in folders for p in (ROOT / f).rglob("*")]
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8", errors="replace")
        for path in files
        if path.is_file() and path.suffix in WRITTEN and "__pycache__" not in path.parts and path != Path(__file__)
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pip install dltrain", True),
        ("pip install -U 'dltrain>=0.2'", True),
        ("install it with: pip install 'dltrain[gpu]', or", True),
        ("the extra `dltrain[tensorboard]`", True),
        ("pipx install dltrain", True),
        ("uv pip install dltrain", True),
        ("uvx dltrain fit", True),
        ("pip install '.[gpu]'", False),
        (".venv/bin/pip install -q . && .venv/bin/dltrain fit configs/digits_cnn.yaml", False),
        ("`pip install` finds a C compiler, then dltrain is fast", False),
        ("pip install -e '.[test]'\ndltrain env", False),
    ],
)
def test_the_search_finds_what_it_is_for(text: str, found: bool) -> None:
    assert bool(any(INSTALLS.search(line) for line in text.splitlines())) == found


def test_no_text_makes_anybody_install_the_other_project() -> None:
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if INSTALLS.search(line) and "pip uninstall" not in line
    ]
    assert found == []


def test_an_upgrade_from_the_index_never_replaces_ours() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] != PACKAGE_INDEX_NAME
    assert project["scripts"] == {"dltrain": "dltrain.cli:main"}
