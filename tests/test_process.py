"""What training settles for its whole process, seen from a process of its own."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dltrain.backend import process

SETTLED = """
import re, resource
import numpy as np
from dltrain.backend.process import settle
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
settle()
settle()
x = np.ones(3 << 18, np.float32)  # 3 MB: from 4 MB on numpy asks for huge pages by itself
place = x.ctypes.data + x.nbytes - 1  # it may begin on small pages, up to 2 MB of them
for region in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", open("/proc/self/smaps").read())[1:]:
    start, end = (int(number, 16) for number in region.split()[0].split("-"))
    if start <= place < end:
        print("hg" in re.search("VmFlags:(.*)", region)[1].split(), x.sum() == 3 << 18)
"""
ADVISED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
needs_huge_pages = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not ADVISED.exists(), reason="glibc and a kernel with huge pages"
)


@needs_huge_pages
@pytest.mark.parametrize(("limit", "expected"), [(-1, "True True"), (900 << 20, "False True")])
def test_arrays_lie_in_huge_pages_where_there_is_room(limit: int, expected: str) -> None:
    """Of a limit on addresses nobody may die."""
    said = subprocess.run(
        [sys.executable, "-c", SETTLED.format(limit=limit)], capture_output=True, text=True, timeout=60
    )
    assert said.stdout.split("\n")[0] == expected, said.stderr


@pytest.mark.parametrize(
    ("cores", "expected"),
    [([], False), ([None], False), (["Haswell"], False), (["Zen", "SkylakeX"], True), (["Cooperlake"], True)],
)
def test_blas_for_avx512_is_known(cores: list[str | None], expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other libraries than OpenBLAS do not say what they are made for."""
    found = [{"architecture": core} if core else {} for core in cores]
    monkeypatch.setattr(process, "threadpool_info", lambda: found)
    assert process.blas_is_for_avx512.__wrapped__() is expected
