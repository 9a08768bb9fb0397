"""What concerns the whole process."""

import subprocess
import sys

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
