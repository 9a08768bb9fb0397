"""Builds the kernels in C as a plain shared library: they use no Python API, so one wheel serves every Python.

Without a C compiler the package is installed all the same, and numpy computes. `pip install -v` shows a line about it.
"""

import sys
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

MISSING = "dltrain: the kernels in C are left out, for no C compiler works here. numpy computes, several times slower."


class BuildLibrary(build_ext):
    def finalize_options(self) -> None:
        super().finalize_options()
        for extension in self.extensions or []:
            extension.depends = glob("dltrain/backend/c/*")  # built again when one of them changes

    def get_ext_filename(self, fullname: str) -> str:
        return fullname.replace(".", "/") + ".so"  # without the name of this Python; compiled.py looks for it

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception:
            print(MISSING, file=sys.stderr)
            raise  # setuptools goes on, because the extension is optional


class PlatformWheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        *_, platform = super().get_tag()
        built = Path(self.get_finalized_command("build_ext").get_ext_fullpath("dltrain.backend._native")).exists()
        return "py3", "none", platform if built else "any"


if __name__ == "__main__":
    setup(cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel})
