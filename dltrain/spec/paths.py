"""Paths into the tree: `model.layers[2].kernel`, `model.layers.2.kernel` or `model.layers.stage1.conv3.kernel`."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

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
    """An entry of a mapping or list, or a layer inside of a container; None where there is no such entry."""
    if isinstance(node, Mapping) and key in node.entries:
        return node.entries[key]
    entry = entry_of(node, key)
    return entry.node if entry else None


@dataclass(frozen=True)
class Entry:
    """An entry of a list. name: a layer's own, or else its type and a running number: conv1, conv2, max_pool1.

    path: `.paths[0][1]`, from the list or container on that was asked.
    """

    name: str
    path: str
    items: list[Node]
    index: int

    @property
    def node(self) -> Node:
        return self.items[self.index]


def layers_in(node: Node) -> list[Entry]:
    """The entries of a list of layers, or the layers right inside of a container."""
    counts: Counter[str] = Counter()
    found = []
    for path, items, index in _places(node):
        layer = items[index]
        own, kind = (layer.word("name"), layer.word("type")) if isinstance(layer, Mapping) else (None, None)
        counts[kind or ""] += 1
        found.append(Entry(own or f"{kind or ''}{counts[kind or '']}", path, items, index))
    return found


def layer_names(node: Node) -> list[str]:
    return [entry.name for entry in layers_in(node)]


def entry_of(node: Node, key: str) -> Entry | None:
    """The entry of a list that is named by number or by name, or the layer of that name right inside of a container.

    None where there is none.
    """
    entries = layers_in(node)
    if isinstance(node, Sequence) and re.fullmatch("[0-9]{1,9}", key):
        return entries[int(key)] if int(key) < len(entries) else None
    return next((entry for entry in entries if entry.name == key), None)


def _places(node: Node | None, path: str = "") -> Iterator[tuple[str, list[Node], int]]:
    """(path, list, number) of every entry."""
    if isinstance(node, Sequence):
        yield from ((join(path, index), node.items, index) for index in range(len(node.items)))
    elif isinstance(node, Mapping) and node.registry:
        yield from _places(node.entries.get("layers"), ".layers")
        paths = node.entries.get("paths")
        for number, chain in enumerate(paths.items if isinstance(paths, Sequence) else []):
            yield from _places(chain if isinstance(chain, Sequence) else None, f".paths[{number}]")
