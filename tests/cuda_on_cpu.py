"""The twin of a CUDA kernel: the same source compiled for the CPU, each thread of the grid run one after the other.

So its index arithmetic is proved without a GPU. For kernels whose threads do not wait for each other.
"""

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# What CUDA C++ has beyond C++, as far as the kernels use it.
SHIM = """
struct Dim3 { unsigned x, y, z; };
static Dim3 blockIdx, threadIdx, blockDim, gridDim;
#define __global__
static unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
"""
LAUNCH = """
extern "C" void launch(unsigned grid_, unsigned block_, {parameters})
{{
    gridDim.x = grid_, blockDim.x = block_;
    for (blockIdx.x = 0; blockIdx.x < grid_; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < block_; ++threadIdx.x) {name}({names});
}}
"""
KINDS = {"u64": ctypes.c_uint64, "float": ctypes.c_float, "int": ctypes.c_int}


@cache
def compiled(source: str, name: str) -> Callable[..., None]:
    """call(grid, block, arguments): numpy scalars and arrays, of exactly the types that the kernel declares."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("a CUDA kernel runs on the CPU only where there is a C++ compiler")
    (declared,) = re.findall(rf"__global__ void {name}\(([^)]*)\)", source)
    parameters = [re.fullmatch(r"(?:const )?(\w+) (\*?)(\w+)", " ".join(p.split())) for p in declared.split(",")]
    names = ", ".join(p[3] for p in parameters if p)
    with tempfile.TemporaryDirectory() as folder:
        file, library = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
        file.write_text(SHIM + source + LAUNCH.format(parameters=declared, name=name, names=names))
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, file], check=True)
        launch = ctypes.CDLL(str(library)).launch
    launch.restype = None

    def call(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
        given: list[Any] = []
        for parameter, argument in zip(parameters, arguments, strict=True):
            assert parameter
            kind, dtype = KINDS[parameter[1]], np.dtype(KINDS[parameter[1]])
            assert argument.dtype == dtype, f"{parameter[0]} gets {argument.dtype}"
            if parameter[2]:
                assert isinstance(argument, np.ndarray)
                given.append(argument.ctypes.data_as(ctypes.c_void_p))
            else:
                assert isinstance(argument, np.generic)
                given.append(kind(argument.item()))
        launch(ctypes.c_uint(*grid), ctypes.c_uint(*block), *given)

    return call
