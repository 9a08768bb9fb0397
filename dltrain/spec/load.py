"""From a config file and overrides to a RunSpec, with all mistakes reported at once."""

import re
from collections.abc import Iterable
from copy import deepcopy
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, get_origin

from dltrain.data import SOURCES
from dltrain.errors import ConfigError
from dltrain.nn import INPUT, LAYERS
from dltrain.registry import Setting
from dltrain.spec.blocks import BLOCKS, LAYER_LIST, LIST, Entries, check_blocks, forget_blocks, networks_in, write_out
from dltrain.spec.foreign import our_path
from dltrain.spec.forms import check_form, complete_updates, is_together
from dltrain.spec.nodes import DEFAULT, Mapping, Node, Place, Problems, Scalar, Sequence, words
from dltrain.spec.override import Override, apply
from dltrain.spec.paths import join, layers_in
from dltrain.spec.reader import MAX_BYTES, read_config, read_value
from dltrain.spec.reuse import MOST_DEEP, RUNS, Reuse, is_of_load
from dltrain.spec.runspec import (
    DEFAULTS,
    FORM_DEFAULTS,
    MODEL_DEFAULTS,
    NETWORK_DEFAULTS,
    ModelSpec,
    NetworkSpec,
    RunSpec,
)
from dltrain.spec.schema import validate
from dltrain.spec.shipped import find_config
from dltrain.spec.shorthand import expand
from dltrain.spec.writer import flow

KEPT = {  # the keys that every resolved config has, and hardly one that was written by hand
    "config": {"version", "seed", "device", "data", "model", "loss", "optimizer", "schedule", "train", "checkpoint"},
    "data": {"type", "test", "validation", "normalize", "augment"},
}


def load(config: str | Path, overrides: Iterable[str | Override] = (), runs: Path = RUNS) -> RunSpec:
    """Read a config file, or a shipped config by its name. runs: where the runs are whose weights it loads by name.
    Raises ConfigError with a line for each mistake."""
    path = find_config(config)
    return _load(_read(path), str(path), overrides, runs=runs)


def loads(text: str, filename: str = "config", overrides: Iterable[str | Override] = ()) -> RunSpec:
    """Read the text of a config; `filename` is what messages call it."""
    return _load(text.encode("utf-8", "surrogatepass"), filename, overrides)


def look(path: Path) -> Any:
    """A config file as dicts, lists and words; no more is asked of it than to be safe to read. Raises ConfigError."""
    problems = Problems()
    root = read_config(_read(path), str(path), problems)
    problems.raise_any()
    return words(root)


def replace(spec: RunSpec, values: dict[str, Any]) -> RunSpec:
    """The spec with values that are settled later, such as {"train.shard_size": 32}; their origin is `auto`."""
    problems = Problems()
    root = deepcopy(spec.nodes)
    for path, value in values.items():
        apply(root, Override(f"{path}={flow(value)}", label="auto"), partial(_settle, root), problems)
    return _resolve(root, spec.text, problems)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _load(data: bytes, source: str, overrides: Iterable[str | Override], deep: int = 0, runs: Path = RUNS) -> RunSpec:
    """deep: how many configs take their layers from this one, one from the other."""
    problems = Problems()
    root = read_config(data, source, problems)
    _keep_as_it_was(root)
    settle = partial(_settle, root)
    settle()
    changes = [Override(override) if isinstance(override, str) else override for override in overrides]
    reuse = Reuse(partial(_tree, deep=deep + 1, runs=runs), runs)
    if of_load := [override for override in changes if _is_of_load(override)]:
        reuse.fill_in(root, Problems())  # an override may lead to another one
        for override in of_load:
            apply(root, override, settle, problems)
    unknown = Problems()
    reuse.fill_in(root, unknown)
    unknown.raise_any()  # without its layers nothing else can be said of the config
    settle()
    later = []
    for override in changes:
        if _is_of_load(override):
            continue
        if not apply(root, override, settle, problems):
            later.append(override)
    check_blocks(root, problems)
    used = write_out(root, settle(), problems)
    settle()
    for override in later:
        apply(root, override, settle, problems)
    used |= write_out(root, settle(), problems)
    settle()
    forget_blocks(root, used, problems)
    return _resolve(root, data.decode("utf-8-sig"), problems)


def _is_of_load(override: Override) -> bool:
    return is_of_load(override.text.partition("=")[0])


def _tree(path: Path, deep: int, runs: Path) -> Mapping:
    """Of a config whose layers another one takes."""
    if deep > MOST_DEEP:
        raise ConfigError(f"more than {MOST_DEEP} configs take their layers from each other")
    return _load(_read(path), str(path), (), deep, runs).nodes


def _keep_as_it_was(root: Mapping) -> None:
    """What an earlier version resolved and kept with its run says nothing of `data.split_seed`, for which it took
    `seed`, nor of `data.normalize_targets`, which it did not do."""
    data = root.entries.get("data")
    if not isinstance(data, Mapping):
        return
    if root.entries.keys() >= KEPT["config"] and data.entries.keys() >= KEPT["data"]:
        if "split_seed" not in data.entries:
            data.put("split_seed", Place("seed"), root.entries["seed"])
        if "normalize_targets" not in data.entries:
            place = Place("normalize_targets")
            data.put("normalize_targets", place, Scalar(place, "none"))


def _settle(root: Mapping) -> Entries:
    """Fill in the defaults and bring everything to the long form. Returns what may stand where a layer may."""
    _fill(root, DEFAULTS)
    _fill(root, FORM_DEFAULTS["together" if is_together(root) else "alone"])
    blocks, networks = root.entries.get(BLOCKS), root.entries.get("networks")
    entries = Entries(*(part if isinstance(part, Mapping) else None for part in (blocks, networks)))
    expand(root, RunSpec, entries)
    for path, network in networks_in(root).items():
        _fill(network, MODEL_DEFAULTS if path == "model" else NETWORK_DEFAULTS)
        expand(network, ModelSpec if path == "model" else NetworkSpec, entries)
    root.settings = root.settings | {BLOCKS: Setting(Any, None)}
    for block in entries.blocks.values():
        if LIST in block.entries:
            block.entries[LIST] = expand(block.entries[LIST], LAYER_LIST, entries)
    return entries


def _fill(mapping: Mapping, text: str) -> None:
    defaults = read_value(text, lambda line, column: DEFAULT, Problems())
    assert isinstance(defaults, Mapping)
    for key, node in defaults.entries.items():
        if key not in mapping.entries or (defaults.holds(key) and not mapping.holds(key)):
            mapping.put(key, DEFAULT, node)


def _resolve(root: Mapping, text: str, problems: Problems) -> RunSpec:
    check_form(root, problems)
    _check_input(root, problems)
    _check_sources(root, problems)
    for path, network in networks_in(root).items():
        _complete_layers(network, join(path, LIST), problems)
    complete_updates(root, problems)
    values = validate(root, problems)
    problems.raise_any()
    return RunSpec(text, root, **values)


def _check_input(root: Mapping, problems: Problems) -> None:
    model = root.entries.get("model")
    if not isinstance(model, Mapping):
        return
    if not root.holds("data") and not model.holds("input"):
        problems.add(model.place, "model", "'input' is missing; without `data` a model needs one, such as [28, 28, 1]")
    if root.holds("data") and model.holds("input"):
        problems.add(model.key_places["input"], "model.input", "remove it; the data set says the shape of the input")


def _check_sources(root: Mapping, problems: Problems) -> None:
    """Data sets by name have names that may stand in others, such as `plain.label`, and no settings beside them."""
    data = root.entries.get("data")
    if not isinstance(data, Mapping) or data.registry or get_origin(root.settings["data"].annotation) is not dict:
        return
    first = next(name for name in data.entries if name not in SOURCES.common)
    for name, entry in data.entries.items():
        if name in SOURCES.common:
            what = f"belongs to one of the data sets, as in data.{first}.{name}"
            problems.add(entry.place, join("data", name), what)
        elif isinstance(entry, Mapping) and (entry.word("type") or "") not in SOURCES and (key := _common_key(name)):
            problems.add(entry.place, join("data", name), f"unknown key; did you mean data.{first}.{key}?")
        elif not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
            what = "the name of a data set may hold letters, digits and _ only, and begins with no digit"
            problems.add(data.key_places[name], join("data", name), what)


def _common_key(word: str) -> str | None:
    """The key of all data sets that is written so elsewhere, or nearly so here."""
    key = (our_path(word) or "").removeprefix("data.")
    return key if key in SOURCES.common else next(iter(get_close_matches(word, SOURCES.common, 1)), None)


def _complete_layers(model: Mapping, path: str, problems: Problems) -> None:
    layers = model.entries.get(LIST)
    if isinstance(layers, Sequence):
        _complete(layers, path, model, problems)


def _complete(node: Node, path: str, model: Mapping, problems: Problems) -> None:
    """Give every layer of a list or container its name, and the model's activation and init where it has none."""
    listed = node if isinstance(node, Sequence) else node.entries.get(LIST) if isinstance(node, Mapping) else None
    if isinstance(listed, Sequence) and not listed.items:
        what = "a model has at least one layer" if listed is node else "a container holds at least one layer"
        problems.add(listed.place, path if listed is node else join(path, LIST), f"the list is empty; {what}")
    taken: dict[str, str] = {}
    for entry in layers_in(node):
        layer, name = entry.node, entry.name
        if not isinstance(layer, Mapping):
            continue
        place, at = layer.entries["name"].place if layer.says("name") else layer.place, f"{path}{entry.path}"
        if layer.holds("name") and (not re.fullmatch("[A-Za-z0-9_]+", name) or name == INPUT):
            what = "stands for what comes in" if name == INPUT else "may hold letters, digits and _ only"
            problems.add(place, at, f"the name {name!r} {what}")
        if name in taken:
            problems.add(place, at, f"the name {name!r} is taken by {taken[name]}")
        taken.setdefault(name, at)
        for key, setting in layer.settings.items():
            if key in _given(layer) and setting.default is None and not layer.holds(key) and model.holds(key):
                layer.put(key, model.key_places[key], deepcopy(model.entries[key]))
        if not layer.holds("name") and "name" in layer.settings:
            layer.put("name", DEFAULT, Scalar(DEFAULT, name))
        _complete(layer, at, model, problems)


def _given(layer: Mapping) -> tuple[str, ...]:
    """The keys that the model gives such a layer where it has none."""
    kind = layer.word("type") or ""
    own_init = kind in LAYERS and getattr(LAYERS[kind], "own_init", False)
    return ("activation",) if own_init else ("activation", "init")
