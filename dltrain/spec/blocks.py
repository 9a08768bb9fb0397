"""`blocks:`, chains that are defined once and used like layers, and `repeat`: both are written out before a config is
checked, so that whatever comes after sees layers, `chain`, `residual` and `branch` alone."""

import re
from collections.abc import Iterator
from typing import Any

from dltrain.errors import ConfigError
from dltrain.nn import LAYERS
from dltrain.registry import REQUIRED, Registry, Setting, settings_of
from dltrain.spec.nodes import DEFAULT, Mapping, Node, Problems, Scalar, Sequence, allowed
from dltrain.spec.paths import layer_names, layers_in
from dltrain.spec.shorthand import expand, misfit
from dltrain.spec.types import whole

BLOCKS, LIST, REPEAT = "blocks", "layers", "repeat"
LAYER_LIST = settings_of(LAYERS["chain"])[LIST].annotation
TAKEN = {"from", "of"}  # the keys whose values are names of layers
MOST_LAYERS = 1000  # that may be written out; a short file must not become a huge network
MOST_DEEP = 50
VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


class Entries(Registry):
    """What may stand in `model.layers`: the layers that there are, and the blocks of this config.

    blocks: name -> {setting: default, layers: […]}. networks: the names of those in `networks`.
    """

    def __init__(self, blocks: Mapping | None, networks: Mapping | None):
        super().__init__(LAYERS.kind)
        self.networks = set() if networks is None else {*networks.entries}
        self.common = LAYERS.common
        self.blocks = {} if blocks is None else {k: b for k, b in blocks.entries.items() if isinstance(b, Mapping)}
        self._entries = {name: LAYERS[name] for name in LAYERS} | {name: Mapping for name in self.blocks}

    def settings(self, name: str) -> dict[str, Setting]:
        return self._own(name) | self.common if name in self.blocks else LAYERS.settings(name)

    def main_setting(self, name: str) -> str | None:
        return next(iter(self._own(name)), None) if name in self.blocks else LAYERS.main_setting(name)

    def _own(self, name: str) -> dict[str, Setting]:
        block = self.blocks[name]
        return {key: Setting(Any, block.entries[key] if block.holds(key) else REQUIRED)
                for key in block.entries if key != LIST}  # fmt: skip


def is_written_out(node: Node) -> bool:
    """Whether this entry of `model.layers` stands for others: a block that is used, or `repeat`."""
    if not isinstance(node, Mapping) or not isinstance(node.registry, Entries):
        return False
    return node.word("type") == REPEAT or node.word("type") in node.registry.blocks


def check_blocks(root: Mapping, problems: Problems) -> None:
    """What is wrong with the blocks by themselves, however they are used."""
    blocks = root.entries.get(BLOCKS)
    if isinstance(blocks, Mapping):
        for name, block in blocks.entries.items():
            _check(name, block, blocks, problems)
    elif blocks is not None and not (isinstance(blocks, Scalar) and blocks.is_null):
        what = f"expected blocks such as `pair: {{channels: 16, layers: […]}}`, got {blocks}"
        problems.add(blocks.place, BLOCKS, what)


def write_out(root: Mapping, entries: Entries, problems: Problems) -> set[str]:
    """Put chains in place of the blocks that are used, whose names are returned, and of `repeat`."""
    writer = _Writer(entries, problems)
    for network in networks_in(root).values():
        if isinstance(layers := network.entries.get(LIST), Sequence):
            writer.go_through(layers)
            _unwrap(network)
    return writer.used


def networks_in(root: Mapping) -> dict[str, Mapping]:
    """Path -> what has layers: the model, or the networks."""
    networks = root.entries.get("networks")
    several = networks.entries.items() if isinstance(networks, Mapping) else ()
    found = {"model": root.entries.get("model")} | {f"networks.{name}": network for name, network in several}
    return {path: network for path, network in found.items() if isinstance(network, Mapping)}


def _unwrap(network: Mapping) -> None:
    """A network that is nothing but a block has the block's layers, under their names in it."""
    layers = network.entries[LIST]
    only = layers.items[0] if isinstance(layers, Sequence) and len(layers.items) == 1 else None
    if isinstance(only, Mapping) and only.of_block and layers.place == only.place:  # it was no list
        network.of_block = only.of_block
        network.put(LIST, network.key_places[LIST], only.entries[LIST])


def forget_blocks(root: Mapping, used: set[str], problems: Problems) -> None:
    """What has been written out needs no `blocks` any more."""
    blocks = root.entries.pop(BLOCKS, None)
    if not isinstance(blocks, Mapping):
        return
    for name in blocks.entries:
        if name not in used:
            problems.add(blocks.key_places[name], f"{BLOCKS}.{name}", "no layer uses this block")


def _check(name: str, block: Node, blocks: Mapping, problems: Problems) -> None:
    place, path = blocks.key_places[name], f"{BLOCKS}.{name}"
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        problems.add(place, path, "the name of a block may hold letters, digits and _ only")
    if name in LAYERS:
        problems.add(place, path, f"{name!r} is a layer already; call the block something else")
    layers = block.entries.get(LIST) if isinstance(block, Mapping) else None
    if not isinstance(block, Mapping) or not isinstance(layers, Sequence) or not layers.items:
        problems.add(block.place, path, "a block needs `layers: […]`; other keys are its settings and their defaults")
        return
    wanted = {scalar.text[1:] for scalar in _variables(layers)}
    for key in block.entries:
        if key in LAYERS.common or key == "type":
            problems.add(block.key_places[key], f"{path}.{key}", f"{key!r} cannot be a setting; every layer has it")
        elif key != LIST and key not in wanted:
            problems.add(block.key_places[key], f"{path}.{key}", f"nothing in the block uses `${key}`")
    for scalar in _variables(layers):
        variable = VARIABLE.fullmatch(scalar.text)
        if not variable:
            what = f"{scalar}: `$name` stands for a whole value; there are no expressions"
            problems.add(scalar.place, path, what)
        elif variable[1] not in block.entries or variable[1] == LIST:
            settings = [key for key in block.entries if key != LIST]
            problems.add(scalar.place, path, f"{scalar}: the block has no such setting{allowed(variable[1], settings)}")


def _variables(node: Node) -> Iterator[Scalar]:
    if isinstance(node, Scalar):
        if not node.quoted and "$" in node.text:
            yield node
        return
    for inner in node.items if isinstance(node, Sequence) else node.entries.values():
        yield from _variables(inner)


class _Writer:
    """used: the blocks that were met. written: how many layers have been written out."""

    def __init__(self, entries: Entries, problems: Problems):
        self.entries, self.problems = entries, problems
        self.used: set[str] = set()
        self.written = 0

    def go_through(self, node: Node, inside: tuple[str, ...] = (), depth: int = 0) -> None:
        """Write out what is in a list or container. inside: the blocks that it comes from."""
        for entry in layers_in(node):
            layer = entry.node
            if isinstance(layer, Mapping) and not layer.registry and layer.entries.keys() & self.entries.blocks.keys():
                self.problems.add(layer.place, "", misfit(layer, self.entries))
            if depth > MOST_DEEP:
                raise ConfigError(f"{layer.place}  layers nest more than {MOST_DEEP} levels deep")
            if is_written_out(layer):
                assert isinstance(layer, Mapping)
                if not layer.holds("name"):
                    layer.put("name", DEFAULT, Scalar(DEFAULT, entry.name))
                layer = entry.items[entry.index] = self._chain(layer, inside)
            if isinstance(layer, Mapping):
                self.go_through(layer, (*inside, layer.of_block) if layer.of_block else inside, depth + 1)

    def _chain(self, layer: Mapping, inside: tuple[str, ...]) -> Mapping:
        """The chain that a layer stands for; itself where that cannot be told, with the reason in the problems."""
        kind = layer.word("type") or ""
        layers = self._repeated(layer) if kind == REPEAT else self._used(layer, kind, inside)
        if layers is None:
            return layer
        chain = Mapping(layer.place, registry=self.entries, of_block="" if kind == REPEAT else kind)
        place = layer.entries["type"].place
        chain.put("type", place, Scalar(place, "chain"))
        for key in LAYERS.common:
            if key in layer.entries:
                chain.put(key, layer.key_places[key], layer.entries[key])
        chain.put(LIST, layers.place, layers)
        return chain

    def _used(self, layer: Mapping, kind: str, inside: tuple[str, ...]) -> Sequence | None:
        self.used.add(kind)
        place = layer.entries["type"].place
        if kind in inside:
            way = " → ".join([*inside[inside.index(kind) :], kind])
            self.problems.add(place, "", f"the block {kind!r} uses itself: {way}")
            return None
        block, settings = self.entries.blocks[kind], self.entries.settings(kind)
        for key in layer.entries.keys() - settings.keys() - {"type"}:
            what = f"the block {kind!r} has no setting {key!r}{allowed(key, settings)}"
            self.problems.add(layer.key_places[key], "", what)
        values = {key: self._value(layer, key, setting.default) for key, setting in settings.items()}
        missing = [key for key, value in values.items() if value is REQUIRED]
        if missing:
            what = f"the block {kind!r} needs {missing[0]!r}, which has no default ({block.key_places[missing[0]]})"
            self.problems.add(place, "", what)
        body = block.entries.get(LIST)
        if missing or not isinstance(body, Sequence):
            return None
        layers = Sequence(body.place, [self._copy(item, values) for item in body.items])
        return expand(layers, LAYER_LIST, self.entries)  # type: ignore[return-value]

    @staticmethod
    def _value(layer: Mapping, key: str, default: Any) -> Any:
        """Of a block's setting. `null` is a value like others where there is a default to say it instead of."""
        if layer.holds(key) or (key in layer.entries and default is not REQUIRED):
            return layer.entries[key]
        return default

    def _repeated(self, layer: Mapping) -> Sequence | None:
        body = layer.entries.get(LIST)
        for key in layer.entries.keys() - layer.settings.keys():
            self.problems.add(layer.key_places[key], "", f"repeat has no setting {key!r}{allowed(key, layer.settings)}")
        try:
            times = whole(layer.entries.get("times"))
        except ValueError:
            return None
        if not isinstance(body, Sequence) or not body.items or times < 1:
            return None
        names, every = layer_names(body), Sequence(body.place)
        for number in range(1, times + 1):
            for item in body.items:
                every.items.append(copy := self._copy(item, {}))
                if isinstance(copy, Mapping) and isinstance(name := copy.entries.get("name"), Scalar) and name.text:
                    name.text += str(number)
        now = layer_names(every)
        for i, copy in enumerate(every.items):
            first = i - i % len(names)
            _rename(copy, dict(zip(names, now[first : first + len(names)], strict=True)))
        return every

    def _copy(self, node: Node, values: dict[str, Any]) -> Node:
        """With the values in place of `$name`."""
        if isinstance(node, Scalar):
            variable = None if node.quoted else VARIABLE.fullmatch(node.text)
            if variable and variable[1] in values:
                return self._copy(values[variable[1]], {})
            return Scalar(node.place, node.text, node.quoted)
        if isinstance(node, Sequence):
            return Sequence(node.place, [self._copy(item, values) for item in node.items])
        kind = node.entries.get("type")
        if [*node.entries] == ["type"] and isinstance(kind, Scalar) and VARIABLE.fullmatch(kind.text):
            return self._copy(kind, values)  # the long form of `$name` alone, which may be more than a word
        copy = Mapping(node.place, registry=node.registry)
        for key, value in node.entries.items():
            copy.put(key, node.key_places[key], self._copy(value, values))
        self.written += isinstance(node.registry, Entries)
        if self.written > MOST_LAYERS:
            raise ConfigError(f"{node.place}  blocks and repeat make more than {MOST_LAYERS:,} layers")
        return copy


def _rename(layer: Node, names: dict[str, str]) -> None:
    """What a layer, or one inside of it, takes by name gets its new name."""
    if not isinstance(layer, Mapping):
        return
    for key in TAKEN & layer.entries.keys():
        taken = layer.entries[key]
        for name in taken.items if isinstance(taken, Sequence) else [taken]:
            if isinstance(name, Scalar):
                name.text = names.get(name.text, name.text)
    inner = layers_in(layer)
    outer = {name: new for name, new in names.items() if name not in {entry.name for entry in inner}}
    for entry in inner:
        _rename(entry.node, outer)
