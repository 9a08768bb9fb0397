"""YAML text -> a validated RunSpec that remembers where every value was written -> the model it describes."""

from dltrain.spec.build import build_model
from dltrain.spec.data import build_source, build_sources, check_folds, cuts_of
from dltrain.spec.figures import build_figures
from dltrain.spec.job import (
    Restored,
    build_job,
    describe,
    examples_of,
    load_weights,
    new_run,
    require_plugins,
    restore,
    settle,
)
from dltrain.spec.judges import find_judges
from dltrain.spec.load import load, loads, look, replace
from dltrain.spec.memory import memory_lacking
from dltrain.spec.override import Override
from dltrain.spec.resume import differences, ending, resumed, rewritten, stretched
from dltrain.spec.runspec import Component, ModelSpec, RunSpec
from dltrain.spec.shipped import find_config, shipped_configs
from dltrain.spec.weights import loads_of, start_values

__all__ = [
    "Component", "ModelSpec", "Override", "Restored", "RunSpec", "build_figures", "build_job", "build_model",
    "build_source", "build_sources", "check_folds", "cuts_of", "describe", "differences", "ending", "examples_of",
    "find_config", "find_judges", "load", "load_weights", "loads", "loads_of", "look", "memory_lacking", "new_run",
    "replace", "require_plugins", "restore", "resumed", "rewritten", "settle", "shipped_configs", "start_values",
    "stretched",
]  # fmt: skip
