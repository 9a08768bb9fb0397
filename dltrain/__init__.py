"""dltrain: train small networks from YAML and see what happens inside them."""

from typing import Any

__version__ = "0.2.0"
__all__ = ["Tensor", "__version__", "gradcheck", "gradients", "graph", "load", "load_run", "no_grad", "op", "ops"]


def __getattr__(name: str) -> Any:
    """The rest of these names, imported when somebody asks for one: `dltrain --help` needs no numpy."""
    if name in ("graph", "load", "load_run"):
        from dltrain import api

        return getattr(api, name)
    if name in __all__:
        import dltrain.engine
        import dltrain.ops  # also gives Tensors their operators

        return dltrain.ops if name == "ops" else getattr(dltrain.engine, name)
    raise AttributeError(f"module 'dltrain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
