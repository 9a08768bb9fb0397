"""An input column of a table: a number, a category, a date or a text."""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dltrain.data.tables.dates import ORDERS, PARTS
from dltrain.data.tables.number_format import PLAIN, NumberFormat

ZEROS_FIRST = re.compile(r"[+-]?0+[0-9]+(\.[0-9]*)?")  # 007
BOOLEANS = ({"true", "false"}, {"yes", "no"})
PLAIN_NAME = re.compile(r"(?!(?:true|false|null|yes|no|on|off)$)[^\W\d]\w*(?:[ .-]\w+)*")


@dataclass(frozen=True)
class Column:
    """An input column.

    categories: of categories, or the words of a text; None where it holds numbers or dates. kind: "date" or "text",
    nothing for what `categories` tells. order: of the parts of dates; parts: those that repeat and differ. format: how
    its numbers are written.
    """

    name: str
    categories: tuple[str, ...] | None
    kind: Literal["", "date", "text"] = ""
    order: str = ""
    parts: tuple[str, ...] = ()
    format: NumberFormat = PLAIN

    @property
    def type(self) -> str:
        return self.kind or ("number" if self.categories is None else "category")

    @property
    def width(self) -> int:
        """How many inputs of a network it becomes."""
        return 1 + 2 * len(self.parts) if self.categories is None else len(self.categories)

    def to_json(self) -> Any:
        """[name, categories] where that is all."""
        if self == Column(self.name, self.categories):
            return [self.name, None if self.categories is None else list(self.categories)]
        raw = asdict(self) | {"parts": list(self.parts)}
        return raw | {"categories": None if self.categories is None else list(self.categories)}

    @classmethod
    def from_json(cls, raw: object) -> "Column":
        """Raises ValueError for anything that `to_json` does not give."""
        match raw:
            case [str(name), None | list() as categories]:
                return cls(name, _texts(categories))
            case {
                "name": str(name), "categories": None | list() as categories, "kind": "" | "date" | "text" as kind,
                "order": str(order), "parts": list(parts),
                "format": {"decimal": "." | "," as decimal, "thousands": str(thousands), "unit": str(unit)},
            } if (
                set(parts) <= set(PARTS) and len(set(parts)) == len(parts)
                and (order in ORDERS) == (kind == "date") and (not parts or kind == "date")
                and (categories is not None) >= (kind == "text") and (categories is None) >= (kind == "date")
                and len(thousands) <= 1 and len(unit) <= 10
            ):  # fmt: skip
                form = NumberFormat(decimal, thousands, unit)
                return cls(name, _texts(categories), kind, order, tuple(parts), form)
        raise ValueError("no column")


def _texts(raw: list[Any] | None) -> tuple[str, ...] | None:
    if raw is not None and not (raw and all(type(text) is str for text in raw)):
        raise ValueError("no categories")
    return None if raw is None else tuple(raw)


def pasted(name: str) -> str:
    """A name as it may be written in a config."""
    return name if PLAIN_NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def in_order(texts: Collection[str]) -> list[str]:
    """Numbers by their size, before other texts."""

    def key(text: str) -> tuple[bool, float, str]:
        value = value_of(text)
        return value is None, value or 0.0, text

    return sorted(texts, key=key)


def value_of(text: str) -> float | None:
    return float(text) if ZEROS_FIRST.fullmatch(text) else PLAIN.number(text)


def without_case(categories: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Categories of which true, True and TRUE are one; and what to say where some differ in their case only."""
    by_fold: dict[str, list[str]] = {}
    for text in categories:
        by_fold.setdefault(text.casefold(), []).append(text)
    double = [texts for texts in by_fold.values() if len(texts) > 1]
    if not double:
        return tuple(categories), ""
    if any(by_fold.keys() <= words for words in BOOLEANS):
        listed = " and ".join(" = ".join(texts) for texts in double)
        merged = [next((t for t in by_fold[word] if t == word.title()), by_fold[word][0]) for word in sorted(by_fold)]
        return tuple(merged), f"{listed} are read as the same"
    listed = ", ".join(" and ".join(map(repr, texts)) for texts in double[:3])
    return tuple(categories), f"{listed} differ in their case only and are taken for different ones"
