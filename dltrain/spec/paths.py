"""Paths into the tree: `model.layers[2].kernel`, `model.layers.2.kernel` or `model.layers.conv3.kernel`."""

import re
from collections import Counter

from dltrain.spec.nodes import Mapping, Node, Sequence


def join(path: str, key: str | int) -> str:
    """One step further, the way that messages write it."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def steps(path: str) -> list[str]:
    """The keys of a path in any of its forms."""
    return path.replace("[", ".").replace("]", "").split(".") if path else []


def step(node: Node, key: str) -> Node | None:
    """An entry of a mapping or list, None where there is no such entry."""
    if isinstance(node, Mapping):
        return node.entries.get(key)
    if isinstance(node, Sequence) and (index := index_of(node, key)) is not None:
        return node.items[index]
    return None


def index_of(node: Sequence, key: str) -> int | None:
    """The place of a list entry that is named by number or by name, None where there is none."""
    if re.fullmatch("[0-9]{1,9}", key):
        return int(key) if int(key) < len(node.items) else None
    names = layer_names(node)
    return names.index(key) if key in names else None


def layer_names(layers: Sequence) -> list[str]:
    """A layer's own name, or else its type and a running number: conv1, conv2, max_pool1."""
    counts: Counter[str] = Counter()
    names = []
    for layer in layers.items:
        own, kind = (layer.word("name"), layer.word("type")) if isinstance(layer, Mapping) else (None, None)
        counts[kind or ""] += 1
        names.append(own or f"{kind or ''}{counts[kind or '']}")
    return names
