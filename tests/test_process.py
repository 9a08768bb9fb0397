"""What concerns the whole process."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ONE_THREAD = """
import numpy, threadpoolctl, sys
from dltrain.backend import process
before = sys.getswitchinterval()
process.{}()
print([library["num_threads"] for library in threadpoolctl.threadpool_info()], sys.getswitchinterval() == before)
"""


@pytest.mark.parametrize(("asked", "left_alone"), [("hold_blas_to_one_thread", True), ("settle", False)])
def test_blas_is_held_to_one_thread_and_the_rest_is_for_the_command_line(asked: str, left_alone: bool) -> None:
    said = subprocess.run([sys.executable, "-c", ONE_THREAD.format(asked)], capture_output=True, text=True, timeout=60)
    assert said.stdout == f"[1] {left_alone}\n", said.stderr


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
