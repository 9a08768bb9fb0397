"""dltrain: train small networks from YAML and see what happens inside them."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load", "load_run"]


def __getattr__(name: str) -> Any:
    """`load` and `load_run`, imported when somebody asks for them: `dltrain --help` needs no numpy."""
    if name in ("load", "load_run"):
        from dltrain import api

        return getattr(api, name)
    raise AttributeError(f"module 'dltrain' has no attribute {name!r}")
