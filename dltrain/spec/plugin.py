"""A user's own ops, layers, losses, data sets: a Python file that registers them when it is run.

Only a command line or a program names such a file, never a config: a config runs no code.
"""

import sys
import warnings
from hashlib import sha256
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

from dltrain.errors import ConfigError
from dltrain.registry import PLUGINS
from dltrain.spec.schema import REGISTRIES, config_model


def load_plugin(path: Path) -> None:
    """Run the file, once. Raises ConfigError where it fails or registers what a config cannot name."""
    try:
        code = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot read plugin: {error.strerror}") from None
    plugin = {"file": str(path), "sha256": sha256(code).hexdigest()}
    if plugin in PLUGINS:
        return
    module = ModuleType(f"dltrain_plugin_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their own module up
    try:
        exec(compile(code, str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{path}:{_line(error, path)}  {type(error).__name__}: {error}") from error
    PLUGINS.append(plugin)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pydantic only warns where a key hides a name of its own
            config_model(tuple(map(tuple, REGISTRIES)), several=False)
    except Exception as error:
        raise ConfigError(f"{path}  registers something that a config cannot describe: {error}") from error


def _line(error: BaseException, path: Path) -> int:
    """The line of the plugin that failed."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(path)]
    return (lines or [1])[-1] or 1
