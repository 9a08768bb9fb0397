"""The documentation tells the truth: commands run, code prints what it says, generated pages are current."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import dltrain, done, strict

from dltrain.metrics.settings import METRICS
from dltrain.run.rundir import RunDir

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorial.md"
PAGES = (ROOT / "README.md", TUTORIAL)
make_reference = runpy.run_path(str(DOCS / "make_reference.py"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def commands(page: Path) -> list[list[str]]:
    """The command lines of dltrain in a page's shell blocks; those that train take two steps only."""
    lines = "\n".join(blocks(page, "sh")).replace(" && ", "\n").splitlines()
    ours = [line.removeprefix(".venv/bin/") for line in lines]
    found = [shlex.split(line)[1:] for line in ours if line.startswith("dltrain ")]
    short = {"fit": ["--max-steps", "2"], "sweep": ["train.max_steps=2"]}
    return [[*words, *short.get(words[0], [])] for words in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_line_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other in a folder that holds the configs: `dltrain eval` means the run before it."""
    shutil.copytree(DOCS / "tutorial", tmp_path / "docs" / "tutorial")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    lines = commands(page)
    assert len(lines) >= (20 if page == TUTORIAL else 1)
    for words in lines:
        said = dltrain(*words)
        failed = sum(line.startswith("failed ") for line in said.out.splitlines())
        expected = 3 if words == ["check", "docs/tutorial/deep_sigmoid.yaml"] else 0
        assert (said.code, failed) == (1 if expected else 0, expected), said.err


def test_the_code_of_the_tutorial_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    for code in blocks(TUTORIAL, "python"):
        exec(code, {})
        assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)  # (.*)", code)


def test_the_glossary_leads_to_files_that_are_there() -> None:
    rows = re.findall(r"^\| .* \| `(\S+)` \|$", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.M)
    assert len(rows) > 40 and [row for row in rows if not (ROOT / "dltrain" / row).exists()] == []


def test_the_op_and_the_layer_of_the_architecture_page_work(tmp_path: Path) -> None:
    op, layer = blocks(DOCS / "architecture.md", "python")
    plugin = f"""
from typing import Any
import numpy as np
from dltrain.engine import Tensor, op
from dltrain.engine.gradcheck import gradcheck
from dltrain.nn import Context, LAYERS, Layer
from dltrain.nn.parameter import Shape
from dltrain.ops import multiply
from dltrain.registry import Positive
Array = Any
{op}
{layer}
gradcheck(square, np.array([1.0, -2.0]))
"""
    config = (ROOT / "configs" / "smoke.yaml").read_text().replace("  layers:\n", "  layers:\n    - scale: 0.5\n", 1)
    (tmp_path / "part.py").write_text(plugin)
    (tmp_path / "net.yaml").write_text(config)
    command = [sys.executable, "-m", "dltrain", "fit", "net.yaml", "--plugin", "part.py", "--smoke"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "- scale: 0.5" in config and said.returncode == 0, said.stderr


def test_the_chapter_on_batch_normalisation_tells_what_was_measured(tmp_path: Path) -> None:
    """Other processors and kernels round otherwise, which with batch_norm grows to a tenth in three epochs."""
    text = TUTORIAL.read_text(encoding="utf-8")
    lines = re.findall(r"^\| `(deep.dense\d+)` \| (.*) \|$", text, re.M)
    said = {layer: [float(cell.removesuffix(" %")) for cell in cells.split(" | ")] for layer, cells in lines}
    right = re.findall(r"(\d+) % of the test digits are right without it, (\d+) % with it", text)[0]
    assert list(said) == [f"deep.dense{number}" for number in (1, 4, 8, 12)]
    for column, norm in enumerate(((), ("model.layers.deep.layers.0.norm=batch_norm",))):
        run = RunDir(
            Path(done("fit", DOCS / "tutorial/norm.yaml", *norm, "--runs-dir", tmp_path, "--json").json["run"])
        )
        assert 100 * run.result()["test"]["accuracy"] == pytest.approx(int(right[column]), abs=4)
        for row in run.rows(run.layers):
            if row["epoch"] == 3 and row["layer"] in said:
                percent = 100 * row["dead_share"]
                found = [row["gradient_norm"], percent, row["activation_mean"], row["activation_std"]]
                assert said[row["layer"]][4 * column :][:4] == pytest.approx(found, rel=0.15, abs=0.02)


def test_the_drawn_block_is_what_the_command_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done("graph", "docs/tutorial/residual.yaml", "model.layers.tower.times=1", "--output", tmp_path / "block.svg")
    assert (tmp_path / "block.svg").read_text() == (DOCS / "residual.svg").read_text()


@pytest.mark.parametrize("name", make_reference["PAGES"])
def test_the_generated_pages_are_current(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    page = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert page == make_reference["PAGES"][name](), "run: python docs/make_reference.py"
    if name == "commands.md":
        assert "## dltrain data download\n\n```\nUsage: dltrain data download [OPTIONS] " in page


def test_the_links_lead_somewhere() -> None:
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert not target or "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_can_be_found() -> None:
    text = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in text} == set()


def test_every_number_has_a_definition(tmp_path: Path) -> None:
    """Whatever stands in the logs, the status and an evaluation of a run is explained."""
    run = Path(done("fit", "smoke", "--max-steps", "2", "--runs-dir", tmp_path, "--json").json["run"])
    done("eval", run)
    text = (DOCS / "reference" / "numbers.md").read_text(encoding="utf-8")
    directory = (DOCS / "reference" / "run-directory.md").read_text(encoding="utf-8")
    fields = set(METRICS)
    for name in ("metrics.jsonl", "layers.jsonl"):
        for line in (run / name).read_text().splitlines():
            fields |= strict(line).keys() - {"event"}
    fields |= strict((run / "eval" / "test.json").read_text())["per_class"][0].keys() - {"class", "examples"}
    assert [field for field in sorted(fields) if f"`{field}`" not in text] == []
    paths = {*run.iterdir(), *(path for path in vars(RunDir(run)).values() if isinstance(path, Path))} - {run}
    assert [path.name for path in paths if f"`{path.name}" not in directory] == []
