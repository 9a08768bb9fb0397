"""Builds the kernels in C as a plain shared library: they use no Python API, so one wheel serves every Python."""

from glob import glob

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext


class BuildLibrary(build_ext):
    def finalize_options(self) -> None:
        super().finalize_options()
        for extension in self.extensions or []:
            extension.depends = glob("dltrain/backend/c/*")  # built again when one of them changes

    def get_ext_filename(self, fullname: str) -> str:
        return fullname.replace(".", "/") + ".so"  # without the name of this Python; compiled.py looks for it


class PlatformWheel(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        *_, platform = super().get_tag()
        return "py3", "none", platform


if __name__ == "__main__":
    setup(cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel})
