"""Short forms -> the long form, on the nodes, so that positions stay.

A component is `{type: conv, channels: 32}`. Short for it are `conv: {channels: 32}`; `max_pool: 2`, where the
value goes to the main setting; and `relu` alone. What cannot be read as one of these stays as it is, and
`misfit` says why. A setting may take several components by name instead: `{plain: faces, glasses: {type: faces}}`.
"""

from dataclasses import replace
from typing import Any, get_args, get_origin

from dltrain.errors import did_you_mean
from dltrain.nn import TERMS, VALUES
from dltrain.registry import REQUIRED, Registry, Setting, settings_of
from dltrain.spec.nodes import Mapping, Node, Scalar, Sequence
from dltrain.spec.runspec import NetworkSpec, UpdateSpec
from dltrain.spec.types import NUMBER, by_name, is_section, is_structure, registry_of, without

LISTS = {NetworkSpec: "layers", UpdateSpec: "minimise"}  # sections that may be written as this list alone


def expand(node: Node, annotation: Any, layers: Registry) -> Node:
    """The node in the long form, each mapping in it told which settings it may hold. Doing it twice changes nothing.

    layers: what may stand in this config where a layer may.
    """
    if registry := registry_of(annotation):
        return _component(node, layers if registry.kind == layers.kind else registry, layers)
    if is_section(annotation):
        node = _valued(_listed(node, annotation, layers), settings_of(annotation))
        if isinstance(node, Mapping):
            _expand_entries(node, settings_of(annotation), layers)
        return node
    if get_origin(annotation) is dict and is_structure(annotation):
        if isinstance(node, Mapping):
            _expand_entries(node, dict.fromkeys(node.entries, Setting(get_args(annotation)[1], REQUIRED)), layers)
        return node
    for part in filter(is_structure, get_args(annotation)):
        if get_origin(annotation) is not tuple:
            node = expand(node, part, layers)
        elif isinstance(node, Sequence):
            node.items = [expand(item, part, layers) for item in node.items]
    return node


def _expand_entries(mapping: Mapping, settings: dict[str, Setting], layers: Registry) -> None:
    mapping.settings = dict(settings)
    for key in settings.keys() & mapping.entries.keys():
        annotation = meant(mapping.entries[key], settings[key].annotation)
        mapping.settings[key] = replace(settings[key], annotation=annotation)
        mapping.entries[key] = expand(mapping.entries[key], annotation, layers)


def meant(node: Node, annotation: Any) -> Any:
    """The type of a setting; where that is one component or several by name, which of the two was written."""
    named = by_name(annotation)
    if named is None:
        return annotation
    registry = registry_of(get_args(named)[1])
    return named if registry and _has_names(node, registry) else without(annotation, named)


def _has_names(node: Node, registry: Registry) -> bool:
    """Whether these are components by name: a key that is no setting of any has something that can only be one."""
    if not isinstance(node, Mapping) or node.registry or "type" in node.entries:
        return False
    if len(node.entries) == 1 and next(iter(node.entries)) in registry:
        return False
    settings = {key for name in registry for key in registry.settings(name)}
    return any(key not in settings and _is_component(entry, registry) for key, entry in node.entries.items())


def _is_component(node: Node, registry: Registry) -> bool:
    if isinstance(node, Mapping):
        return "type" in node.entries or (len(node.entries) == 1 and next(iter(node.entries)) in registry)
    return isinstance(node, Scalar) and node.text in registry


def _listed(node: Node, section: type, layers: Registry) -> Node:
    """A section of which a list may stand alone: the list, or a single entry of it, in its place."""
    key = LISTS.get(section)
    if key is None or (isinstance(node, Scalar) and node.is_null):
        return node
    if isinstance(node, Mapping):
        name = next(iter(node.entries), "")
        slip = name not in (*layers, *TERMS) and did_you_mean(name, settings_of(section))  # `{minimize: […]}`
        if slip or len(node.entries) != 1 or name in settings_of(section):
            return node
    long = Mapping(node.place)
    long.put(key, node.place, node if isinstance(node, Sequence) else Sequence(node.place, [node]))
    return long


def _valued(node: Node, settings: dict[str, Setting]) -> Node:
    """A section whose only required setting may stand alone, as a bare value."""
    required = [key for key, setting in settings.items() if setting.required]
    if not isinstance(node, Scalar) or node.is_null or len(required) != 1:
        return node
    long = Mapping(node.place)
    long.put(required[0], node.place, node)
    return long


def _component(node: Node, registry: Registry, layers: Registry) -> Node:
    long = _value(node, layers) if registry is VALUES else _long_form(node, registry)
    if long is None:
        return node
    long.registry, long.settings = registry, {}
    name = long.word("type")
    if name and name in registry:
        _expand_entries(long, {"type": Setting(str, REQUIRED)} | registry.settings(name), layers)
    return long


def _long_form(node: Node, registry: Registry) -> Mapping | None:
    """None where it is not clear what is meant."""
    if isinstance(node, Mapping) and "type" in node.entries:
        return node
    long = Mapping(node.place)
    if isinstance(node, Scalar) and not node.is_null:
        long.put("type", node.place, node)
        return long
    if not isinstance(node, Mapping) or len(node.entries) != 1:
        return None
    ((name, value),) = node.entries.items()
    if name not in registry and any(name in registry.settings(entry) for entry in registry):
        return None  # `optimizer: {lr: 0.1}`
    place = node.key_places[name]
    long.put("type", place, Scalar(place, name))
    if isinstance(value, Mapping):
        if "type" in value.entries:
            return None
        for key, entry in value.entries.items():
            long.put(key, value.key_places[key], entry)
    elif name in registry and not (isinstance(value, Scalar) and value.is_null):
        main = registry.main_setting(name)
        if main is None:
            return None
        long.put(main, value.place, value)
    return long


def _value(node: Node, entries: Any) -> Mapping | None:
    """The long form of a value, None where it is not clear what is meant. entries.networks: the names of networks."""
    if isinstance(node, Mapping) and "type" in node.entries:
        return node
    long = Mapping(node.place)
    if isinstance(node, Scalar) and not node.is_null:
        numeric = not node.quoted and bool(NUMBER.fullmatch(node.text))
        alone = node.text in entries.networks
        kind, key = ("number", "value") if numeric else ("network", "network") if alone else ("value", "name")
        long.put("type", node.place, Scalar(node.place, kind))
        long.put(key, node.place, node)
        return long
    if not isinstance(node, Mapping) or not node.entries:
        return None
    if len(node.entries) == 1 and next(iter(node.entries)) in {*VALUES} - {"network"}:
        return _long_form(node, VALUES)
    long.put("type", node.place, Scalar(node.place, "network"))
    applied = next((name for name in node.entries if name in entries.networks), next(iter(node.entries)))
    for key, entry in node.entries.items():
        place = node.key_places[key]
        if key == applied and "network" not in node.entries:
            long.put("network", place, Scalar(place, key))
            key = "of"
        listed = entry if isinstance(entry, Sequence) or key != "of" else Sequence(entry.place, [entry])
        long.put(key, place, listed)
    return long


def misfit(node: Mapping, registry: Registry) -> str:
    """Why a mapping has no long form."""
    name = next((key for key in node.entries if key in registry), None)
    if name is None:
        return f"'type' is missing; write `type: NAME`; allowed: {', '.join(registry)}"
    if len(node.entries) > 1:
        others = ", ".join(key for key in node.entries if key != name)
        return f"{others} must be indented below {name}, or in braces: `{name}: {{{others}: …}}`"
    if isinstance(node.entries[name], Mapping):
        return f"says its type twice, {name!r} and `type`; keep one"
    return f"{name} takes no value; write `{name}` alone"
