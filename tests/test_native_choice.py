"""Loading the kernels in C, choosing between them and numpy, and what is said where they are not there."""

import ctypes.util
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import dltrain, done, strict
from native_calls import values

from dltrain.backend import choose_kernels
from dltrain.backend import compiled as native
from dltrain.backend.compiled import Library
from dltrain.backend.device import CPU_PIECE
from dltrain.backend.im2col import Im2colKernels
from dltrain.backend.native import NativeKernels
from dltrain.errors import DeviceError

COMPILERS = [name for name in ("cc", "gcc", "clang") if shutil.which(name)]


@pytest.fixture
def best() -> NativeKernels:
    try:
        return NativeKernels(native.load(), CPU_PIECE)
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.mark.skipif(not COMPILERS, reason="no C compiler here")
def test_the_library_was_built_where_a_compiler_is_at_hand() -> None:
    """`pip install` passes over a failure in silence; here it shows."""
    native.load()


@pytest.mark.usefixtures("best")
def test_the_library_is_newer_than_the_files_it_was_built_from() -> None:
    """An installed copy of these files (`pip install -e .`) keeps its library when they change."""
    library = native.LIBRARY
    if not (library.parent / "c" / "library.c").exists():
        pytest.skip("installed without the C files")
    changed = [f.name for f in library.parent.glob("c/*") if f.stat().st_mtime > library.stat().st_mtime]
    assert not changed, f"{library} is older than {', '.join(changed)}: install again"


def test_pointers_are_those_that_numpy_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from the array object where its layout allows, and the slower way elsewhere."""
    arrays = [values(5), values(4, 6)[1:, 2:], np.zeros(3, np.uint8), np.arange(4)[2:], np.empty(0, np.float32)]
    assert native._FAST
    for fast in (True, False):
        monkeypatch.setattr(native, "_FAST", fast)
        assert [native.at(a).value for a in arrays] == [a.ctypes.data for a in arrays]  # type: ignore[union-attr]
    assert native.at(None) is None


NOT_LIBRARIES = {  # a path, None for the real library; an instruction set; what the message says
    "no file": ("none.so", None, "cannot be loaded .*none.so"),
    "no library": (__file__, None, "cannot be loaded .*test_native_choice.py"),
    "another library": (ctypes.util.find_library("m"), None, "cannot be loaded .*interface"),
    "no such instructions": (None, "sse9", "does not run sse9, only baseline"),
}


@pytest.mark.parametrize("case", NOT_LIBRARIES)
def test_a_library_that_cannot_be_loaded(case: str, best: NativeKernels) -> None:
    path, instruction_set, message = NOT_LIBRARIES[case]
    with pytest.raises(DeviceError, match=message) as caught:
        Library(path, instruction_set) if path else native.load(instruction_set)
    assert "\n" not in str(caught.value)


def test_the_choice(chosen_kernels: Any, best: NativeKernels) -> None:
    for name in ("numpy", "native", "auto"):
        choose_kernels(name)
        assert type(chosen_kernels()) is (Im2colKernels if name == "numpy" else NativeKernels)
        assert chosen_kernels().name == ("numpy" if name == "numpy" else best.name) and not chosen_kernels().note


@pytest.mark.parametrize("name", ["numpy", "native", "auto"])
def test_the_command_line(name: str, chosen_kernels: Any, best: NativeKernels, tmp_path: Path) -> None:
    """env.json says which kernels computed."""
    words = ("smoke", "--max-steps", 2, "--device", "cpu", "--runs-dir", tmp_path, "--kernels", name, "--json")
    run = Path(done("fit", *words).json["run"])
    found = strict((run / "env.json").read_text())
    assert found["kernels"] == ("numpy" if name == "numpy" else best.name)
    assert "kernels_note" not in found


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "LIBRARY", Path("not-built.so"))


@pytest.mark.usefixtures("not_built")
def test_without_the_library_numpy_computes_and_env_json_says_why(chosen_kernels: Any, tmp_path: Path) -> None:
    choose_kernels("auto")
    assert type(chosen_kernels()) is Im2colKernels
    run = Path(done("fit", "smoke", "--max-steps", 2, "--device", "cpu", "--runs-dir", tmp_path, "--json").json["run"])
    found = strict((run / "env.json").read_text())
    assert found["kernels"] == "numpy" and re.search("not built .* C compiler", found["kernels_note"])


@pytest.mark.usefixtures("not_built")
@pytest.mark.parametrize("seeds", [1, 2])
def test_fit_says_once_that_it_is_slow_and_what_helps(seeds: int, chosen_kernels: Any, tmp_path: Path) -> None:
    choose_kernels("auto")
    words = ("fit", "smoke", "--max-steps", 2, *(("--seeds", seeds) if seeds > 1 else ()), "--runs-dir", tmp_path)
    said = done(*words, "--device", "cpu")
    (warned,) = [line for line in said.err.splitlines() if line.startswith("warning: ")]
    assert "slower" in warned and "install a C compiler" in warned
    choose_kernels("auto")
    silent = done(*words, "--device", "cpu", "--kernels", "numpy")
    assert "warning" not in silent.err


@pytest.mark.usefixtures("not_built")
def test_check_says_it_too(chosen_kernels: Any) -> None:
    choose_kernels("auto")
    assert "install a C compiler" in dltrain("check", "smoke", "--device", "cpu").err
    assert "install a C compiler" not in dltrain("check", "smoke", "--device", "cpu", "--kernels", "numpy").err


@pytest.mark.usefixtures("not_built")
def test_asking_for_a_library_that_is_not_there(chosen_kernels: Any, tmp_path: Path) -> None:
    said = dltrain("fit", "smoke", "--runs-dir", tmp_path, "--kernels", "native")
    assert said.code == 1 and len(said.errors) == 1 and "not built" in said.errors[0]
    assert said.err.count("\n") == 1 and not list(tmp_path.iterdir())
