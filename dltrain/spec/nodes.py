"""The tree that a config is read into: every node knows where it was written."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dltrain.errors import ConfigError, did_you_mean
from dltrain.registry import Registry, Setting


@dataclass(frozen=True)
class Place:
    """Where a value comes from: a spot in a file, or (line 0) `default`, `--seed`, `override 'a.b=v'`."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source

    @property
    def origin(self) -> str:
        """Short enough for the end of a line: `cifar_cnn.yaml:12`, `override`."""
        return on_one_line(f"{Path(self.source).name}:{self.line}" if self.line else self.source.partition(" ")[0])


DEFAULT = Place("default")
MOST_PROBLEMS = 100


def on_one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _short(text: str) -> str:
    text = on_one_line(text)
    return text if len(text) <= 60 else f"{text[:57]}..."


@dataclass
class Scalar:
    """A word or number as it was written. The setting that wants it gives it its type."""

    place: Place
    text: str
    quoted: bool = False

    @property
    def is_null(self) -> bool:
        return not self.quoted and self.text in ("", "~", "null")

    def __str__(self) -> str:
        if self.quoted:
            return f'the quoted text "{_short(self.text)}"'
        return f"'{_short(self.text)}'" if self.text else "nothing"


@dataclass
class Sequence:
    place: Place
    items: list["Node"] = field(default_factory=list)

    def __str__(self) -> str:
        items = ", ".join(item.text if isinstance(item, Scalar) else "…" for item in self.items)
        return f"the list [{_short(items)}]"


@dataclass
class Mapping:
    """`settings` and `registry` are filled in by the schema: the keys that may stand here, and for a
    component in its long form the registry that its `type` is looked up in. of_block: the block that a chain was
    written out from, at the place where the block is used."""

    place: Place
    entries: dict[str, "Node"] = field(default_factory=dict)
    key_places: dict[str, Place] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    registry: Registry | None = None
    of_block: str = ""

    def put(self, key: str, place: Place, node: "Node") -> None:
        self.entries[key] = node
        self.key_places[key] = place

    def holds(self, key: str) -> bool:
        """Whether a key is there with a value other than null."""
        node = self.entries.get(key)
        return node is not None and not (isinstance(node, Scalar) and node.is_null)

    def says(self, key: str) -> bool:
        """Whether a key was written by the user, in the file or in an override."""
        return key in self.entries and self.key_places[key] != DEFAULT

    def word(self, key: str) -> str | None:
        """The text of an entry that is a word, None where there is none."""
        node = self.entries.get(key)
        return node.text if isinstance(node, Scalar) and not node.is_null else None

    def __str__(self) -> str:
        return f"the keys {_short(', '.join(self.entries))}" if self.entries else "{}"


Node = Scalar | Sequence | Mapping


def plain(node: Node) -> Any:
    """What pydantic reads: dicts and lists, null as None, the type of a component as str, other scalars as they are."""
    if isinstance(node, Mapping):
        values = {key: plain(entry) for key, entry in node.entries.items()}
        return values | {"type": node.word("type")} if node.registry else values
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return None if node.is_null else node


def words(node: Node) -> Any:
    """Dicts, lists and the words as they were written; None for null."""
    if isinstance(node, Mapping):
        return {key: words(entry) for key, entry in node.entries.items()}
    if isinstance(node, Sequence):
        return [words(item) for item in node.items]
    return None if node.is_null else node.text


def allowed(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'kernel'? allowed: channels, kernel`"""
    known = list(known)
    return f"{did_you_mean(word, known) or ';'} allowed: {', '.join(known) or 'nothing'}"


class Problems:
    """The mistakes found so far, at most one of each setting at a position: a block of settings stands where its first
    one does. The first that is found wins, and is the only one where it is about no setting."""

    def __init__(self) -> None:
        self._lines: dict[tuple[Place, str], str] = {}

    def add(self, place: Place, path: str, what: str) -> None:
        """Raises ConfigError when there are so many that nobody would read on."""
        if len(self._lines) >= MOST_PROBLEMS:
            raise ConfigError([*self, f"{place.source}  holds more mistakes; these are the first {MOST_PROBLEMS}"])
        if (place, "") not in self._lines:
            line = on_one_line(f"{place}  {path}: {what}" if path else f"{place}  {what}")
            self._lines.setdefault((place, path), line)

    def __iter__(self) -> Iterator[str]:
        """In the order of the file; overrides and flags after it."""

        def key(found: tuple[Place, str]) -> tuple[bool, int, int]:
            place = found[0]
            return place.line == 0, place.line, place.line and place.column

        yield from (self._lines[found] for found in sorted(self._lines, key=key))

    def raise_any(self) -> None:
        if self._lines:
            raise ConfigError(list(self))
