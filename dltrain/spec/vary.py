"""`--vary KEY=a,b,c` and `--seeds N`: one config becomes several."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from dltrain.errors import ConfigError

OPENING = "[{"


@dataclass(frozen=True)
class Variant:
    """label: short, fit for a file name, different from the others'. changes: overrides `KEY=VALUE`."""

    label: str
    changes: tuple[str, ...]


def variants(varied: Iterable[str], seeds: Sequence[int]) -> list[Variant]:
    """Every combination of the values of each `KEY=a,b,c` and of the seeds. Raises ConfigError."""
    axes = [*map(_axis, varied), *([[("seed", str(seed)) for seed in seeds]] if seeds else [])]
    found = [
        Variant("-".join(_label(*change) for change in chosen), tuple(f"{key}={value}" for key, value in chosen))
        for chosen in product(*axes)
    ]
    labels = [variant.label for variant in found]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"--vary: {label} is asked for twice")
    return found


def _axis(text: str) -> list[tuple[str, str]]:
    key, equals, values = text.partition("=")
    if not key or not equals:
        raise ConfigError(f"--vary {text}: write it as KEY=VALUE,VALUE,…, for example optimizer.lr=1e-3,3e-3")
    found = list(_split(values))
    if not all(found):
        raise ConfigError(f"--vary {text}: a value is missing beside a comma")
    return [(key, value) for value in found]


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


def _label(key: str, value: str) -> str:
    """`adam` of optimizer.type=adam, but `lr0.01` of optimizer.lr=0.01."""
    word = value if value[:1].isalpha() and key != "seed" else key.rpartition(".")[2] + value
    return re.sub(r"[^A-Za-z0-9._]+", "-", word).strip("-.")[:40]
