"""The resolved config as YAML for people: block form, and after each value where it came from."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from dltrain.spec.nodes import DEFAULT, Node
from dltrain.spec.paths import step

PLAIN_WORD = re.compile(r"(?!(?:true|false|null)$)[A-Za-z_][A-Za-z0-9_./-]*")
COMMENT_COLUMN = 40


def yaml_text(values: dict[str, Any], nodes: Node) -> str:
    """values: the resolved config. nodes: the tree it was read from; what it lacks is a default."""
    lines = (f"{text:<{COMMENT_COLUMN}}  # {origin}" if origin else text for text, origin in _lines(values, nodes))
    return "\n".join(lines) + "\n"


def _lines(value: Any, node: Node | None) -> Iterator[tuple[str, str | None]]:
    """(a line, where its value came from); the lines of what lies deeper are indented by two."""
    in_list = isinstance(value, list)
    for key, entry in enumerate(value) if in_list else value.items():
        entry_node = step(node, str(key)) if node else None
        if not _has_keys(entry):
            place = entry_node.place if entry_node else DEFAULT
            yield f"{'-' if in_list else f'{flow(key)}:'} {flow(entry)}", place.origin
            continue
        if not in_list:
            yield f"{flow(key)}:", None
        for number, (line, origin) in enumerate(_lines(entry, entry_node)):
            yield ("- " if in_list and number == 0 else "  ") + line, origin


def _has_keys(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_has_keys, value)))


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(flow, value))}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not PLAIN_WORD.fullmatch(value):
        return yaml.dump(value, default_style='"', width=10**9, allow_unicode=True).strip()
    return str(value)
