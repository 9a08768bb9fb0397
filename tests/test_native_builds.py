"""The C files with every compiler and level that a user may have: the same bits, and nothing read or written astray.

Compiling is what takes the time. gcc with -O3 is what has been installed on most machines.
"""

import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import native_calls
import pytest
from native_calls import Call, bits_of, calls, libraries, pointwise

from dltrain.backend.compiled import LIBRARY

ROOT = Path(__file__).parent.parent
EXTENSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"][0]
OPTIMISED = [("gcc", "-O2"), ("clang", "-O2"), ("clang", "-O3")]
WATCHED = ("gcc", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")  # clang's takes 4 times as long
pytestmark = pytest.mark.slow
LINUX = pytest.mark.skipif(platform.system() != "Linux", reason="sanitizers are preloaded as on Linux")


def build(folder: Path, compiler: str, *flags: str) -> Path:
    """With what pyproject.toml says but for the level."""
    given = [flag for flag in EXTENSION["extra-compile-args"] if not flag.startswith("-O")]
    libraries = [f"-l{name}" for name in EXTENSION["libraries"]]
    path = folder / "".join((compiler, flags[0], ".so"))
    command = [compiler, "-fPIC", "-shared", *given, *flags, *EXTENSION["sources"], "-o", path, *libraries]
    subprocess.run(command, check=True, cwd=ROOT, preexec_fn=lambda: os.nice(19))
    return path


Builds = Callable[[tuple[str, ...]], Path]
Bits = dict[str, dict[str, list[str]]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    folder = tmp_path_factory.mktemp("builds")

    @cache
    def of(key: tuple[str, ...]) -> Path:
        if not shutil.which(key[0]):
            pytest.skip(f"{key[0]} is not installed")
        return build(folder, *key)

    return of


@pytest.fixture(scope="module")
def bits(built: Builds) -> Bits:
    """For each instruction set, and within for each build, the hash of every call."""
    table, found = some_calls(), Bits()
    paths = {" ".join(key): built(key) for key in OPTIMISED if shutil.which(key[0])}
    if LIBRARY.exists():
        paths["the installed library"] = LIBRARY
    for name, path in paths.items():
        for compiled in libraries(path):
            found.setdefault(compiled.instruction_set, {})[name] = bits_of(compiled, table)
    return found


def some_calls() -> list[Call]:
    """All that compilers vectorise by themselves, and some of the rest."""
    return [*calls()[::5], *pointwise()]


def same(found: dict[str, list[str]]) -> None:
    if len(found) < 2:
        pytest.skip("nothing to compare")
    (first, expected), *others = found.items()
    for other, bits in others:
        different = [str(call) for call, a, b in zip(some_calls(), expected, bits, strict=True) if a != b]
        assert not different, (first, other)


@pytest.mark.parametrize("compiler", ["gcc", pytest.param("clang", marks=pytest.mark.outside)])
def test_the_files_are_compiled_as_they_stand(compiler: str, built: Builds) -> None:
    """Without an error. The tests below compare what they compute with the installed library."""
    assert all(built(key).exists() for key in OPTIMISED if key[0] == compiler)


def test_builds_for_any_machine_give_the_same_bits(bits: Bits) -> None:
    same(bits["baseline"])


def test_avx2_and_avx512_give_the_same_bits_whatever_the_compiler(bits: Bits) -> None:
    same({f"{name} {build}": of for name in ("avx2", "avx512") for build, of in bits.get(name, {}).items()})


def watched(library: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """The table of calls in a process that the sanitizers look after."""
    runtimes = [
        subprocess.run([WATCHED[0], f"-print-file-name=lib{name}.so"], capture_output=True, text=True).stdout.strip()
        for name in ("asan", "ubsan")
    ]
    settings = {
        "LD_PRELOAD": ":".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "PYTHONMALLOC": "malloc",  # every array has a border of its own
    }
    command = [sys.executable, native_calls.__file__, str(library), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **settings})


@LINUX
def test_nothing_is_read_or_written_where_it_does_not_belong(built: Builds) -> None:
    said = watched(built(WATCHED))
    assert said.returncode == 0 and not said.stderr, said.stderr[-5000:]
    assert said.stdout.split()[0] == "baseline"


@LINUX
def test_one_number_too_many_would_be_reported(built: Builds) -> None:
    said = watched(built(WATCHED), "beyond")
    assert said.returncode != 0 and "heap-buffer-overflow" in said.stderr
