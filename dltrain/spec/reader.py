"""YAML text -> nodes with positions. Reads a small, safe part of YAML and guesses no types.

Anchors, aliases, tags, merge keys and several documents are refused: they let a short file grow into
a large one, run code, or mean something that the reader of the file does not see. Only PyYAML's
pure-Python classes are used; the C ones crash the process on deep nesting.
"""

from collections.abc import Callable, Iterator
from typing import Any

import yaml

from dltrain.errors import ConfigError
from dltrain.spec.nodes import Mapping, Node, Place, Problems, Scalar, Sequence

MAX_BYTES = 2 * 1024 * 1024  # what a network of blocks.MOST_LAYERS is when it is written out
MAX_DEPTH = 100
MAX_NODES = 20_000  # a list of so many values takes one second to read on a slow machine

TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"

PlaceOf = Callable[[int, int], Place]


def read_config(
    data: bytes, source: str, problems: Problems, least: str = "a config needs at least `model`"
) -> Mapping:
    """The tree of a config file. Raises ConfigError where there is no tree; lesser mistakes go to `problems`.

    least: what an empty file lacks.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{source}  is longer than {MAX_BYTES >> 20} MB; no config needs that much")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ConfigError(f"{source}:{line}:{column}  is not UTF-8 text; save the file as UTF-8") from None
    root = read_value(text, lambda line, column: Place(source, line, column), problems)
    if isinstance(root, Scalar) and root.is_null:
        raise ConfigError(f"{source}:1:1  the file is empty; {least}")
    if not isinstance(root, Mapping):
        raise ConfigError(f"{root.place}  expected lines such as `seed: 0`, got {root}")
    return root


def read_value(text: str, place_of: PlaceOf, problems: Problems) -> Node:
    """The tree of any piece of YAML; `place_of` turns a line and a column, counted from 1, into a place."""
    try:
        return _Builder(text, place_of, problems).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        if mark and text[mark.index : mark.index + 1] == "\t":
            what = "a tab character; indent with spaces"
        elif error.problem == TOO_DEEP:
            what = TOO_DEEP
        else:
            what = f"not readable as YAML: {error.problem or error.context}"
        raise ConfigError(f"{place_of(line + 1, column + 1)}  {what}") from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = place_of(before.count("\n") + 1, error.position - before.rfind("\n"))
        raise ConfigError(f"{place}  the character {text[error.position]!a} may not stand in YAML") from None
    except (yaml.YAMLError, ValueError, OverflowError):  # numbers and escapes that PyYAML does not check
        raise ConfigError(f"{place_of(1, 1)}  not readable as YAML") from None


class _Loader(yaml.SafeLoader):
    """Counts brackets as it meets them: PyYAML would look 1,024 of them ahead, at a cost that grows with the square."""

    flow_level: int

    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=TOO_DEEP, problem_mark=self.get_mark())
        super().fetch_flow_collection_start(token)


class _Builder:
    """Builds the tree straight from the parser's events, so depth is known before anything recurses."""

    def __init__(self, text: str, place_of: PlaceOf, problems: Problems):
        self.events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
        self.place_of = place_of
        self.problems = problems
        self.nodes = 0

    def document(self) -> Node:
        next(self.events)  # the stream starts
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return Scalar(self.place_of(1, 1), "")
        root = self.node(next(self.events), depth=1)
        next(self.events)  # the document ends
        if not isinstance(event := next(self.events), yaml.StreamEndEvent):
            self.problems.add(self.place(event), "", "a second document starts here; one file is one config")
        return root

    def node(self, event: Any, depth: int) -> Node:
        place = self.place(event)
        if depth > MAX_DEPTH:
            raise ConfigError(f"{place}  {TOO_DEEP}")
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise ConfigError(f"{place}  holds more than {MAX_NODES:,} keys and values; no config needs that many")
        if isinstance(event, yaml.AliasEvent):
            self.problems.add(place, "", f"the alias *{event.anchor} is not supported; write the value out")
            return Scalar(place, "")
        if event.anchor:
            self.problems.add(place, "", f"the anchor &{event.anchor} is not supported; write the values out")
        if event.tag:
            self.problems.add(place, "", f"the tag {event.tag} is not supported; remove it")
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
                items.append(self.node(event, depth + 1))
            return Sequence(place, items)
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(place, depth)
        if any("\ud800" <= letter <= "\udfff" for letter in event.value):
            self.problems.add(place, "", "holds half a character (\\ud800 to \\udfff)")
        if "\0" in event.value:
            self.problems.add(place, "", "holds the character \\0, which no path or name can have")
        return Scalar(place, event.value, quoted=event.style is not None)

    def mapping(self, place: Place, depth: int) -> Mapping:
        mapping = Mapping(place)
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if not isinstance(key, Scalar):
                self.problems.add(key.place, "", f"a key must be a word, got {key}")
            elif key.text == "<<":
                self.problems.add(key.place, "", "the merge key << is not supported; write the keys out")
            elif key.text in mapping.entries:
                first = mapping.key_places[key.text]
                where = f", first in line {first.line}" if first.line else ""
                self.problems.add(key.place, "", f"duplicate key {key.text!r}{where}")
            else:
                mapping.put(key.text, key.place, value)
        return mapping

    def place(self, event: Any) -> Place:
        return self.place_of(event.start_mark.line + 1, event.start_mark.column + 1)
