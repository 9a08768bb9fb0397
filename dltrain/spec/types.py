"""Scalars get their type from the setting that wants them; and types in plain words for messages.

YAML's own guesses (`no` is false, `010` is 8, `1e-3` is text) never apply.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen
from pydantic import BeforeValidator, TypeAdapter

from dltrain import data, nn
from dltrain.metrics.figures import FIGURES, Figure
from dltrain.registry import FIGURE_KEY, FILE_PATH, Registry, settings_of
from dltrain.spec.nodes import Scalar

WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,30})")
NUMBER = re.compile(r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,4})?")
BOOLEANS = {"true": True, "false": False}
SAYINGS = dict.fromkeys(("yes", "on", "true"), "true") | dict.fromkeys(("no", "off", "false"), "false")
SAYINGS |= dict.fromkeys(("none", "nil"), "null")
MOST = 1e15  # of the numbers whose digits are written out

# Annotations in signatures below this floor that stand for a component of a registry.
MARKERS: dict[Any, Registry] = {
    nn.Initializer: nn.INITIALIZERS, nn.NormSettings: nn.NORMS, nn.Layer: nn.LAYERS, nn.Expression: nn.VALUES,
    data.Augmentation: data.AUGMENTATIONS, Figure: FIGURES,
}  # fmt: skip


def whole(value: Any) -> int:
    if isinstance(value, Scalar) and not value.quoted and WHOLE.fullmatch(value.text):
        return int(value.text)
    raise ValueError("not a whole number")


def number(value: Any) -> float:
    if isinstance(value, Scalar) and not value.quoted and NUMBER.fullmatch(value.text):
        result = float(value.text)
        if math.isfinite(result):
            return result
    raise ValueError("not a number")


def boolean(value: Any) -> bool:
    if isinstance(value, Scalar) and not value.quoted and value.text in BOOLEANS:
        return BOOLEANS[value.text]
    raise ValueError("not true or false")


def word(value: Any) -> str:
    if isinstance(value, Scalar):
        return value.text
    raise ValueError("not a word")


def one_of(choices: tuple[Any, ...]) -> BeforeValidator:
    """Reads the value of a Literal by its text, so Literal[1] is written 1 and Literal["same"] same."""
    by_text = {str(choice): choice for choice in choices}
    return BeforeValidator(lambda value: by_text.get(word(value), value))


READERS = {int: whole, float: number, bool: boolean, str: word}


def registry_of(annotation: Any) -> Registry | None:
    """The registry whose components a setting of this type takes."""
    if isinstance(annotation, Registry):
        return annotation
    if get_origin(annotation) is Annotated:
        return next((extra for extra in annotation.__metadata__ if isinstance(extra, Registry)), None)
    return MARKERS.get(annotation) if isinstance(annotation, type) else None


def registry_in(annotation: Any) -> Registry | None:
    """The same, also where the setting takes a list of components or may be null."""
    found = (registry_in(part) for part in get_args(annotation) if get_origin(annotation) is not Literal)
    return registry_of(annotation) or next(filter(None, found), None)


def item_of(annotation: Any) -> Any:
    """The type of the entries of a list, None where a setting of this type takes no list."""
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0]
    return next(filter(None, map(item_of, get_args(annotation))), None)


def is_section(annotation: Any) -> TypeGuard[type]:
    """Whether a setting of this type holds the settings of a dataclass."""
    return isinstance(annotation, type) and is_dataclass(annotation)


def is_structure(annotation: Any) -> bool:
    """Whether a setting of this type holds components or sections rather than values alone."""
    if get_origin(annotation) is Literal:
        return False
    return bool(registry_of(annotation)) or is_section(annotation) or any(map(is_structure, get_args(annotation)))


def reading_scalars(annotation: Any, structure: Any) -> Any:
    """The annotation for pydantic: every leaf reads a Scalar, every component or section is `structure(it)`."""
    if registry_of(annotation) or is_section(annotation):
        return structure(annotation)
    if annotation in READERS:
        return Annotated[annotation, BeforeValidator(READERS[annotation])]
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return Annotated[annotation, one_of(parts)]
    if origin is Annotated:
        return Annotated[reading_scalars(parts[0], structure), *parts[1:]]
    if origin is dict:
        return dict[str, reading_scalars(parts[1], structure)]  # type: ignore[misc]
    if origin in (Union, UnionType, tuple):
        inner = tuple(p if p in (NoneType, ...) else reading_scalars(p, structure) for p in parts)
        return tuple[inner] if origin is tuple else Union[inner]  # type: ignore[valid-type]  # noqa: UP007
    raise TypeError(f"a setting of type {annotation} cannot be written in a config")


def describe(annotation: Any) -> str:
    """A type in plain words: `a whole number above 0 or auto`."""
    if registry := registry_of(annotation):
        return article(registry.kind)
    if is_section(annotation):
        return f"settings ({', '.join(settings_of(annotation))})"
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        if named := next((text for text in (FILE_PATH, FIGURE_KEY) if text in parts), None):
            return named
        return " ".join([describe(parts[0]), *filter(None, map(limits, parts[1:]))])
    if origin is Literal:
        *others, last = map(str, parts)
        return f"{', '.join(others)} or {last}" if others else last
    if origin in (Union, UnionType):
        return " or ".join(map(describe, parts))
    if origin is tuple:
        if ... in parts:
            return f"a list (each {describe(parts[0])})"
        return f"a list of {len(parts)} ({', '.join(map(describe, parts))})"
    if origin is dict:
        return f"NAME: VALUE pairs (each value {describe(parts[1])})"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", NoneType: "null"}
    return names[annotation]


def limits(constraint: Any) -> str:
    match constraint:
        case Gt(gt=low):
            return f"above {low}"
        case Ge(ge=low):
            return f"of at least {low}"
        case Lt(lt=high):
            return f"below {high}"
        case Le(le=high):
            return f"of at most {high}"
        case Interval(ge=low, le=high) if low is not None and high is not None:
            return f"from {low} to {high}"
        case MinLen(min_length=low):
            return f"with at least {low}"
        case Interval():
            return " and ".join(map(limits, constraint))
    return ""


def article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def respelled(node: Scalar, annotation: Any) -> str | None:
    """A number, `true`, `false` or `null` as this setting takes it, where something else was written for it: `1000` of
    1e3, `10` of 10.0 or "10", `0.1` of 10% or 0,1, `true` of yes. None where nothing of the kind is meant."""
    reader = TypeAdapter(reading_scalars(annotation, lambda _: Any))
    for spelled in _spellings(node.text.strip()):
        try:
            reader.validate_python(None if spelled == "null" else Scalar(node.place, spelled))
        except ValueError:
            continue
        return spelled
    return None


def _spellings(text: str) -> Iterator[str]:
    yield SAYINGS.get(text.lower(), "")
    plain = re.sub(r",(?=[0-9]{3}(?![0-9]))|_", "", text).replace(",", ".")
    if NUMBER.fullmatch(plain.rstrip("% ")):
        value = float(plain.rstrip("% ")) / (100 if plain.endswith("%") else 1)
        yield f"{value:.12g}"
        if abs(value) < MOST and value == int(value):
            yield str(int(value))


def values_of(annotation: Any) -> Any:
    """The type of the values where a setting takes NAME: VALUE pairs, None where it takes none."""
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    return next(filter(None, map(values_of, get_args(annotation))), None)


def by_name(annotation: Any) -> Any:
    """Where a setting takes one component or several by name: the type of the latter."""
    if get_origin(annotation) not in (Union, UnionType) or sum(map(is_structure, get_args(annotation))) < 2:
        return None
    return next((part for part in get_args(annotation) if get_origin(part) is dict and is_structure(part)), None)


def without(annotation: Any, part: Any) -> Any:
    """A union without one of its parts."""
    return Union[tuple(other for other in get_args(annotation) if other != part)]  # noqa: UP007


def words_of(annotation: Any) -> list[str]:
    """The words that a setting takes, for suggestions."""
    if get_origin(annotation) is Literal:
        return [choice for choice in get_args(annotation) if isinstance(choice, str)]
    return [choice for part in get_args(annotation) for choice in words_of(part)]
