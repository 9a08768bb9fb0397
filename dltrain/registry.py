"""Closed tables from the names that a config may use to what they build.

The signature is the schema: the keyword-only arguments of an entry *are* its YAML keys, their
annotations the types, their defaults the defaults. Entries come from explicit imports, never from
the text of a config, so a config runs no code.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from keyword import iskeyword
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Gt, Interval

# Types that signatures share. annotated_types comes with pydantic and is a hundred lines.
Count = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]
VOCABULARY: Literal["vocabulary"] = "vocabulary"
Size = Count | Literal["vocabulary"]  # as many as the text has different tokens
Seed = Annotated[int, Interval(ge=0, le=2**64 - 1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Rate = Annotated[float, Interval(ge=0, lt=1)]
FILE_PATH = "a path"
FIGURE_KEY = "a figure of pictures such as frechet/fake"
FilePath = Annotated[str, FILE_PATH]  # of a file or folder

REQUIRED = inspect.Parameter.empty

PLUGINS: list[dict[str, str]] = []  # the plugins that have registered something: {"file", "sha256"}, in order


@dataclass(frozen=True)
class Setting:
    """One YAML key of a component: its type and its default (`REQUIRED` where there is none)."""

    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


@cache
def settings_of(target: Callable[..., Any]) -> dict[str, Setting]:
    """The keyword-only arguments of a function or class, in order. `from_`, where Python has the word, is `from`."""
    function = target.__init__ if inspect.isclass(target) else target
    hints = get_type_hints(function, include_extras=True)
    return {
        p.name.rstrip("_"): Setting(hints.get(p.name, Any), p.default)
        for p in inspect.signature(target).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    }


def as_arguments(settings: dict[str, Any]) -> dict[str, Any]:
    """By the names of Python's arguments: `return_`, where Python has the word."""
    return {f"{key}_" if iskeyword(key) else key: value for key, value in settings.items()}


class Registry:
    """Name -> class or function. `common` adds the settings that every entry takes from elsewhere."""

    def __init__(self, kind: str, common: Callable[..., Any] | None = None):
        self.kind = kind
        self.common = {} if common is None else settings_of(common)
        self._entries: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        def add(entry: Any) -> Any:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def within(self, common: Callable[..., Any]) -> "Registry":
        """The same entries, also those that are still to come, with other common settings."""
        found = Registry(self.kind, common)
        found._entries = self._entries
        return found

    def __getitem__(self, name: str) -> Callable[..., Any]:
        if name not in self._entries:
            close = get_close_matches(name, self._entries, 1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise KeyError(f"unknown {self.kind} {name!r}{hint} Known: {', '.join(self._entries)}")
        return self._entries[name]

    def __deepcopy__(self, memo: Any) -> "Registry":
        return self  # a tree of nodes that is copied keeps its tables

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def settings(self, name: str) -> dict[str, Setting]:
        """The YAML keys of one entry, `type` apart; the entry's own first."""
        return settings_of(self[name]) | self.common

    def main_setting(self, name: str) -> str | None:
        """The key that a bare value stands for: `- dropout: 0.25` is `- dropout: {rate: 0.25}`."""
        return next(iter(settings_of(self[name])), None)
