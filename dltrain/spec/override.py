"""The overrides `a.b=v`, `+a.b=v` and `~a.b`, which change the tree before it is checked."""

from collections.abc import Callable
from dataclasses import dataclass

from dltrain.data import SOURCES
from dltrain.errors import did_you_mean
from dltrain.spec.blocks import is_written_out
from dltrain.spec.nodes import Mapping, Node, Place, Problems, Sequence, allowed
from dltrain.spec.paths import entry_of, layer_names, step, steps
from dltrain.spec.reader import read_value
from dltrain.spec.shorthand import LISTS
from dltrain.spec.types import registry_of, values_of


@dataclass(frozen=True)
class Override:
    """text: `a.b=v` sets a key that the schema knows, `+a.b=v` adds one that the config does not hold yet or puts
    an entry into a list, `~a.b` removes one. Entries of a list are named by number, layers by name too. As in the short
    form, the type may stand before the settings: `optimizer.adam.lr`, `model.layers.0.dense.units`.
    label: what the user typed, where that was a flag such as `--seed`."""

    text: str
    label: str | None = None

    @property
    def source(self) -> str:
        return self.label or f"override {self.text!r}"


class _Refused(Exception):
    """An override that fits nothing in the tree."""


class _Later(Exception):
    """An override that leads into a block or `repeat`, which has not been written out yet."""


def apply(root: Mapping, override: Override, settle: Callable[[], object], problems: Problems) -> bool:
    """Change the tree; `settle` is called to bring it back to the long form. False, with nothing changed, where the
    override is for a layer that comes from a block or `repeat`, before that is written out."""
    target, equals, text = override.text.partition("=")
    mode = target[:1] if target[:1] in ("+", "~") else ""
    *path, last = steps(target[len(mode) :].strip()) or [""]
    place = Place(override.source)
    try:
        if not last or not all(path) or bool(equals) == (mode == "~"):
            raise _Refused("expected KEY=VALUE, +KEY=VALUE or ~KEY, where KEY is a path such as train.epochs")
        if mode == "~":
            _remove(_walk(root, path), last)
        else:
            _check_beginning(root, [*path, last])
            value = read_value(text, lambda line, column: Place(override.source, 0, column), problems)
            _put(_walk(root, path, create_at=place), last, value, place, add=mode == "+")
    except _Refused as refusal:
        problems.add(place, "", str(refusal))
    except _Later:
        return False
    settle()
    return True


def _walk(node: Node, path: list[str], create_at: Place | None = None) -> Node:
    for key in path:
        if _is_type(node, key) and not isinstance(step(node, key), Mapping | Sequence):
            continue
        _check_container(node, key)
        if create_at and isinstance(node, Mapping) and not node.holds(key) and not entry_of(node, key):
            node.put(key, create_at, Mapping(create_at))
        node = step(node, key) or _refuse(node, key)
    return node


def _check_beginning(root: Mapping, path: list[str]) -> None:
    """A new data set begins with its type, a new network with its layers, a new update with its losses; with anything
    else, as in `data.NAME.noise`, the name is that of one that should be there already."""
    if len(path) < 3 or path[0] not in root.settings:
        return
    section, name, *rest = path
    named = root.entries.get(section)
    if not isinstance(named, Mapping) or named.registry or name in named.entries:
        return
    kind = values_of(root.settings[section].annotation)
    is_source = registry_of(kind) is SOURCES
    if rest[0] not in ("type", *SOURCES) if is_source else kind in LISTS and rest != [LISTS[kind]]:
        _refuse(named, name)


def _is_type(node: Node, key: str) -> bool:
    """Whether a key is that of the short form, `{dense: {units: 8}}`."""
    return isinstance(node, Mapping) and node.registry is not None and node.word("type") == key


def _check_container(node: Node, key: str) -> None:
    if not isinstance(node, Mapping) or key in node.settings:
        return
    if is_written_out(node):
        raise _Later
    if layer_names(node) and not entry_of(node, key):
        _refuse(node, key)


def _put(parent: Node, key: str, value: Node, place: Place, add: bool) -> None:
    if isinstance(parent, Mapping) and _is_type(parent, key) and key not in parent.settings and not add:
        parent.entries, parent.key_places = {}, {}  # all of it anew, in the short form
        parent.put(key, place, value)
        return
    _check_container(parent, key)
    if isinstance(parent, Mapping) and (key in parent.entries or not entry_of(parent, key)):
        if add and parent.says(key):
            raise _Refused(f"{key!r} is already there; leave the + out to change it")
        parent.put(key, place, value)
    elif isinstance(parent, Sequence) and add and key == str(len(parent.items)):
        parent.items.append(value)
    elif entry := entry_of(parent, key):
        entry.items[entry.index : entry.index] = [value] if add else []
        entry.items[entry.index] = value
    else:
        _refuse(parent, key)


def _remove(parent: Node, key: str) -> None:
    _check_container(parent, key)
    if isinstance(parent, Mapping) and parent.says(key):
        del parent.entries[key]
    elif entry := entry_of(parent, key):
        del entry.items[entry.index]
    else:
        _refuse(parent, key)


def _refuse(node: Node, key: str) -> Node:
    if isinstance(node, Mapping):
        raise _Refused(f"there is no {key!r} in the config{allowed(key, [*node.entries, *layer_names(node)])}")
    if isinstance(node, Sequence):
        hint = did_you_mean(key, layer_names(node)) or ";"
        raise _Refused(f"there is no entry {key!r} in the list{hint} it has {len(node.items)} entries, counted from 0")
    raise _Refused(f"there is no {key!r} inside of {node}")
