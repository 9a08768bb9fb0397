"""pydantic's complaints in plain words, with the place in the file that they are about."""

from functools import cache
from typing import Any

from dltrain.errors import did_you_mean
from dltrain.registry import Registry, settings_of
from dltrain.spec.foreign import our_key, our_word
from dltrain.spec.nodes import Mapping, Node, Place, Scalar, Sequence, allowed
from dltrain.spec.paths import join
from dltrain.spec.runspec import RunSpec
from dltrain.spec.shorthand import misfit
from dltrain.spec.types import (
    describe,
    is_section,
    is_structure,
    item_of,
    registry_in,
    registry_of,
    respelled,
    values_of,
    words_of,
)  # fmt: skip


def explain(root: Mapping, loc: list[str | int]) -> tuple[Place, str, str]:
    """The place, path and words for an error: follow pydantic's `loc` down the tree as far as the user wrote it.

    In a component `loc` goes through its type, and inside a plain value through the branches of unions, which say
    nothing to a user.
    """
    node: Node = root
    path, annotation = "", None
    while loc and (annotation is None or is_structure(annotation)):
        if isinstance(node, Mapping) and node.registry:
            name = str(loc.pop(0))
            path = join(path, name) if path.endswith("]") else path
        key = loc.pop(0)
        if isinstance(node, Mapping) and isinstance(key, str):
            if key not in node.settings:
                return node.key_places[key], join(path, key), _unknown_key(key, path, node)
            annotation = node.settings[key].annotation
            if key not in node.entries:
                wanted = describe(annotation).removesuffix(" or null")
                return node.place, path, f"{key!r} is missing; expected {wanted}"
            node, path = node.entries[key], join(path, key)
        elif isinstance(node, Sequence) and isinstance(key, int):
            node, path, annotation = node.items[key], join(path, key), item_of(annotation)
    written = [step for step in map(str, loc) if step in node.entries] if isinstance(node, Mapping) else []
    if written and (values := values_of(annotation)):
        assert isinstance(node, Mapping)
        node, path, annotation = node.entries[written[0]], join(path, written[0]), values
    registry = registry_in(annotation)
    if registry and isinstance(node, Mapping):
        return _wrong_component(node, registry, path)
    return node.place, path, f"expected {describe(annotation)}, got {node}{_choices(node, annotation, registry)}"


def _wrong_component(node: Mapping, registry: Registry, path: str) -> tuple[Place, str, str]:
    if node.registry is None:
        return node.place, path, misfit(node, registry)
    name = node.entries["type"]
    return name.place, path, f"unknown {registry.kind} {name}{_meant(node.word('type') or '', node.registry)}"


def _meant(word: str, registry: Registry) -> str:
    """What may be meant by the name of a component that there is not, and what there is."""
    name, colon, value = word.partition(":")
    if colon and (name in registry or our_word(name, registry)):
        return f"; write `{our_word(name, registry) or name}: {value}`, with a space after the colon"
    if ours := our_word(word, registry):
        return f"; here it is `{ours}`"
    return allowed(word, registry)


def _choices(node: Node, annotation: Any, registry: Registry | None) -> str:
    if registry:
        return allowed("", registry)
    words = words_of(annotation)
    if isinstance(node, Sequence):
        wrong = next((item for item in node.items if isinstance(item, Scalar) and item.text not in words), None)
        return did_you_mean(wrong.text, words) if wrong else ""
    if not isinstance(node, Scalar):
        return ""
    if spelled := respelled(node, annotation):
        return f"; write {spelled}"
    ours = our_word(node.text, words)
    return f"; here it is `{ours}`" if ours else did_you_mean(node.text, words)


def _unknown_key(key: str, path: str, mapping: Mapping) -> str:
    kind = mapping.word("type") or "" if mapping.registry else ""
    if lead := our_key(key, kind, mapping.settings):
        return f"unknown key; {lead}"
    if mapping.registry and (others := [name for name in mapping.registry if key in mapping.registry.settings(name)]):
        return f"unknown key; {kind} has none, but {' and '.join(others)}; allowed: {', '.join(mapping.settings)}"
    home = section_of(key)
    if home and home != path:
        return f"unknown key; it belongs to `{home}`; allowed here: {', '.join(mapping.settings)}"
    return f"unknown key{allowed(key, mapping.settings)}"


def section_of(key: str) -> str | None:
    """The section that a key belongs to, or one whose components may have it."""
    sections = settings_of(RunSpec).items()
    return next((section for section, setting in sections if key in _keys_of(setting.annotation)), None)


@cache
def _keys_of(annotation: Any) -> set[str]:
    """The keys that a section, or any component of a registry, may hold."""
    if registry := registry_of(annotation):
        return {key for name in registry for key in registry.settings(name)}
    return set(settings_of(annotation)) if is_section(annotation) else set()
