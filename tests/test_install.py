"""What `pip install` builds: the sdist, and the wheel where no C compiler works. See also tools/build_wheels.py."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools", minversion="77", reason="pip brings its own setuptools; to build in here takes one")
ROOT = Path(__file__).parent.parent
NOT_IN_THE_SDIST = {".gitignore", "tools/endurance/results"}


def setup(folder: Path, *words: str, compiler: str = "cc") -> "subprocess.CompletedProcess[str]":
    """python setup.py, with everything that it writes below this folder."""
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "egg_info", "--egg-base", str(folder), *words]
    environment = {"CC": compiler, "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)


def test_the_sdist_holds_all_that_its_tests_need(tmp_path: Path) -> None:
    """Every file that git tracks."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    setup(tmp_path, "sdist", "-d", str(tmp_path))
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        held = {name.partition("/")[2] for name in packed.getnames()}
    wanted = {name for name in tracked.stdout.split("\n") if name and (ROOT / name).exists()}
    assert {name for name in wanted - held if not name.startswith(tuple(NOT_IN_THE_SDIST))} == set()


def test_without_a_compiler_a_wheel_for_any_machine_says_what_it_lacks(tmp_path: Path) -> None:
    words = ["build", "--build-base", str(tmp_path / "build"), "bdist_wheel", "-d", str(tmp_path / "dist")]
    said = setup(tmp_path, *words, compiler="false")
    (wheel,) = (tmp_path / "dist").iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "dltrain/backend/native.py" in names and not [name for name in names if name.endswith((".so", ".c"))]
    (line,) = {line for line in said.stderr.splitlines() if line.startswith("dltrain: ")}
    assert "no C compiler" in line and "slower" in line
