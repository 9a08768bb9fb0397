"""In which settings configs differ, in few words."""

import json
import re
from collections.abc import Sequence
from typing import Any

MISSING = object()
INSIDE = re.compile(r"(?<=\w)(?<!^model)\.(layers|paths\.\d+)(?=\.)")  # an override names a container's layers directly
# They change what is shown and kept, never what comes out; and the seed is what a spread is over.
WITHOUT_EFFECT = {"version", "seed", "checkpoint", "logging", "diagnostics", "advice"}


def differing(configs: Sequence[Any]) -> list[dict[str, str]]:
    """Of each config the entries that are not the same in all, as text; all have the same keys.

    What only some configs have is told by the nearest thing above it that all have: another layer by `model.layers`,
    the settings of another optimizer by `optimizer.type`. Configs that differ are never told alike.
    """
    configs = [_without_fold_number(config) for config in configs]
    leaves = [_flat(config) for config in configs]
    told: dict[str, None] = {}
    for key in dict.fromkeys(key for found in leaves for key in found):
        if key.partition(".")[0] in WITHOUT_EFFECT:
            continue
        if all(key in found for found in leaves):
            if len({found[key] for found in leaves}) > 1:
                told[key] = None
            continue
        parent = key
        while "." in parent and any(_below(config, parent) is MISSING for config in configs):
            parent = parent.rpartition(".")[0]
        kinds = [found.get(f"{parent}.type") for found in leaves]
        values = {(kind, found.get(key)) for kind, found in zip(kinds, leaves, strict=True)}
        told[f"{parent}.type" if 1 < len(set(kinds)) == len(values) else parent] = None
    keys = [key for key in told if not any(key.startswith(other + ".") for other in told)]
    columns = [_texts([_below(config, key) for config in configs]) for key in keys]
    shown = [INSIDE.sub("", key) for key in keys]
    return [dict(zip(shown, texts, strict=True)) for texts in zip(*columns, strict=True)] or [{} for _ in configs]


def _without_fold_number(config: Any) -> Any:
    """Of a cross-validation only into how many folds it cuts; they are repetitions, as seeds are."""
    data = config.get("data")
    if not isinstance(data, dict) or not isinstance(data.get("fold"), dict):
        return config
    return config | {"data": data | {"fold": {"of": data["fold"].get("of")}}}


def _items(value: Any) -> list[tuple[str, Any]] | None:
    """What lies below: entries by key, layers by name, other lists by number; None for what is no tree."""
    if isinstance(value, dict):
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return [(str(item.get("name", i)) if isinstance(item, dict) else str(i), item) for i, item in enumerate(value)]
    return None


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """`{"optimizer.lr": "0.001", "model.layers.conv1.channels": "32"}`; of layers their order, too."""
    items = _items(value)
    if items is None:
        return {path: json.dumps(value)}
    found: dict[str, str] = {path: json.dumps([key for key, _ in items])} if isinstance(value, list) else {}
    for key, item in items:
        found |= _flat(item, f"{path}.{key}" if path else key)
    return found


def _below(value: Any, path: str) -> Any:
    """What stands at a path, or MISSING."""
    for part in path.split("."):
        value = dict(_items(value) or ()).get(part, MISSING)
    return value


def _texts(values: Sequence[Any]) -> list[str]:
    """In few words; whole, where these do not tell them apart."""
    whole = ["—" if value is MISSING else json.dumps(value) for value in values]
    short = ["—" if value is MISSING else _text(value) for value in values]
    return short if len(set(short)) == len(set(whole)) else whole


def _text(value: Any) -> str:
    """In few words: `conv 32, max_pool 2, dense 10` for layers."""
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if not isinstance(value, dict):
        return "none" if value is None else str(value)
    if "type" not in value:
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    size = next((f" {value[key]}" for key in ("units", "channels", "kernel", "rate", "lr") if key in value), "")
    return f"{value['type']}{size}"
