"""Builds a wheel for each system that the kernels in C serve, on any one of them: zig brings a C compiler for all.

    pip install ziglang && python tools/build_wheels.py [--out dist] [NAME ...]

The kernels use no Python API, so one wheel serves every Python: py3-none-PLATFORM. Those for Linux run with glibc 2.17
and newer. A system without a wheel (Windows, musl) installs from the sdist: with gcc or clang the kernels are built,
else numpy computes.
"""

import argparse
import importlib.util
import os
import shlex
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIBRARY = "dltrain/backend/_native.so"
TARGETS = {  # the wheel's platform: what zig calls it
    "manylinux_2_17_x86_64": "x86_64-linux-gnu.2.17",
    "manylinux_2_17_aarch64": "aarch64-linux-gnu.2.17",
    "macosx_11_0_arm64": "aarch64-macos.11.0",
    "macosx_11_0_x86_64": "x86_64-macos.11.0",
}


def zig() -> str:
    """The program itself: what a build in isolation runs does not find the package ziglang."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        raise SystemExit("build_wheels: `pip install ziglang` first")
    return str(Path(spec.origin).parent / "zig")


def build(platform: str, target: str, out: Path) -> Path:
    """The wheel. Raises SystemExit where the library is missing, which to setuptools is no error."""
    compiler = shlex.join([zig(), "cc", "-target", target, "-g0"])
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--plat-name={platform}", f"--bdist-dir={folder}/wheel"]
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", out, ROOT]
            + [f"--config-settings=--build-option={option}" for option in options],
            check=True,
            env={**os.environ, "CC": compiler, "LDSHARED": f"{compiler} -shared -s", "CFLAGS": "", "LDFLAGS": ""},
        )
    found = [wheel for wheel in out.glob(f"*-py3-none-{platform}.whl") if LIBRARY in zipfile.ZipFile(wheel).namelist()]
    if not found:
        raise SystemExit(f"{platform}: the kernels in C were not built; `pip wheel -v` with CC={compiler!r} shows why")
    return found[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"a part of {', '.join(TARGETS)}; all unless given")
    parser.add_argument("--out", type=Path, default=Path("dist"))
    arguments = parser.parse_args()
    wanted = [platform for platform in TARGETS if any(name in platform for name in arguments.names or [""])]
    for platform in wanted:
        print(build(platform, TARGETS[platform], arguments.out), flush=True)


if __name__ == "__main__":
    main()
