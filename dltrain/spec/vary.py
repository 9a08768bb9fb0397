"""`--vary KEY=a,b,c`, `--seeds N` and `--folds K`: one config becomes several."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from dltrain.errors import ConfigError

OPENING = "[{"
MOST_RUNS = 1000  # of a group
MOST_LETTERS = 90  # of a label, so that a run's name has room for it and a number


@dataclass(frozen=True)
class Variant:
    """label: short, fit for a file name, different from the others'. changes: overrides `KEY=VALUE`."""

    label: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class _Axis:
    """asked: what the user typed. values: a word for the label and the value, of each."""

    asked: str
    key: str
    values: Sequence[tuple[str, str]]


def variants(varied: Iterable[str], seeds: Sequence[int] = (), folds: int = 0) -> list[Variant]:
    """Every combination of the values of each `KEY=a,b,c`, of the folds and of the seeds. Raises ConfigError."""
    asked = [_axis(text) for text in varied]
    number = prod(len(axis.values) for axis in asked) * max(len(seeds), 1) * max(folds, 1)
    if number > MOST_RUNS:
        raise ConfigError(f"that would be a group of {number:,} runs; it may have at most {MOST_RUNS:,}")
    cuts = [(f"fold{number}", f"{{number: {number}, of: {folds}}}") for number in range(1, folds + 1)]
    counted = [_Axis("--folds", "data.fold", cuts), _Axis("--seeds", "seed", [(f"seed{n}", str(n)) for n in seeds])]
    axes = [*asked, *(axis for axis in counted if axis.values)]
    for i, axis in enumerate(axes):
        if other := next((before for before in axes[:i] if before.key == axis.key), None):
            raise ConfigError(f"{other.asked} and {axis.asked} both vary {axis.key}; use one of them")
    found: list[Variant] = []
    for chosen in product(*(axis.values for axis in axes)):
        changes = tuple(f"{axis.key}={value}" for axis, (_, value) in zip(axes, chosen, strict=True))
        label = "-".join(word for word, _ in chosen)[:MOST_LETTERS]
        if any(changes == variant.changes for variant in found):
            raise ConfigError(f"--vary: {label} is asked for twice")
        found.append(Variant(_untaken(label, {variant.label for variant in found}), changes))
    return found


def _untaken(label: str, taken: set[str]) -> str:
    """The label; or with the first number that sets it apart."""
    number, name = 1, label
    while name in taken:
        name = f"{label}-{(number := number + 1)}"
    return name


def _axis(text: str) -> _Axis:
    key, equals, values = text.partition("=")
    if not key or not equals:
        raise ConfigError(f"--vary {text}: write it as KEY=VALUE,VALUE,…, for example optimizer.lr=1e-3,3e-3")
    found = list(_split(values))
    if not all(found):
        raise ConfigError(f"--vary {text}: a value is missing beside a comma")
    return _Axis(f"--vary {text}", key, [(_word(key, value), value) for value in found])


def _split(text: str) -> Iterator[str]:
    """At the commas that are outside of brackets, braces and quotes."""
    depth, quote, start = 0, "", 0
    for i, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[]{}":
            depth += 1 if letter in OPENING else -1
        elif letter == "," and depth == 0:
            yield text[start:i].strip()
            start = i + 1
    yield text[start:].strip()


def _word(key: str, value: str) -> str:
    """`adam` of optimizer.type=adam, but `lr0.01` of optimizer.lr=0.01."""
    word = value if re.match("[A-Za-z]", value) and key != "seed" else key.rpartition(".")[2] + value
    return re.sub(r"[^A-Za-z0-9._]+", "-", word.replace("e+", "e")).strip("-._")[:40]
