"""What of a file's arrays goes where in a network: by name, by a table of names, checked by shape."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from dltrain.errors import SettingError
from dltrain.nn import Layer, Network, shape_text
from dltrain.registry import FilePath
from dltrain.weights.layout import own_order, torch_order, torch_part

Array = Any
MOST_NAMED = 5
MOST_STARS = 3
GIVEN_UP = "names says null"


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """Start values from a file, or from a run, in place of drawn ones.

    path: a .safetensors, .npz or .pth file, `PACKAGE:FILE` for one inside a Python package; a run, with its averaged
    weights if it has such; or a config that loads some itself. Of a run or config a network without `layers` has those,
    too. checkpoint: of a run.
    layout: "torch" for PyTorch's names and order of axes, "own" for ours; "auto" goes by the file: torch for .pth and
    .pt, and for a safetensors file that says it is PyTorch's.
    names: OURS: THEIRS, of arrays (`conv1.weight`) or of whole layers (`conv1: features.0`). Each `*` stands for any
    text, the same on both sides; of several that fit the first counts; null leaves what it names as it would start.
    strict: whether an array that the file has no values for is an error; otherwise it is told, and starts as it would.
    sha256: of the values that were loaded. Where it is given, others are an error.
    """

    path: FilePath
    checkpoint: Literal["last", "best"] = "last"
    layout: Literal["auto", "own", "torch"] = "auto"
    names: dict[str, str | None] | None = None
    strict: bool = True
    sha256: str | None = None


@dataclass(frozen=True)
class Match:
    """arrays: by the names of the network's state, in our layout. sources: our name -> the file's. own: the names of
    ours that start as they would, and why. left: what nothing takes of the file's arrays of floats. figures: of the run
    that they are from, by split."""

    arrays: dict[str, Array]
    sources: dict[str, str]
    own: dict[str, str]
    left: tuple[str, ...]
    figures: dict[str, Any] = field(default_factory=dict)

    def rows(self, network: Network, prefix: str = "") -> list[tuple[str, str, str]]:
        """A row for each layer that holds something: its name, what it holds, and where that is from. prefix: as in
        `match`."""
        found = []
        for layer in network.layers:
            parts = [*layer.parameters, *layer.buffers]
            names = [f"{layer.name}.{part}".removeprefix(prefix) for part in parts]
            froms = [self.sources.get(name) or f"as drawn: {self.own[name]}" for name in names]
            for origin, these in _together(froms, parts).items():
                found.append((layer.name, ", ".join(these), origin))
        return found

    def to_json(self) -> dict[str, Any]:
        return {"sources": self.sources, "own": self.own, "left": list(self.left)}

    def __str__(self) -> str:
        """`60 of 62 arrays; dense1.weight and dense1.bias start as they would; fc.weight and fc.bias are not used`"""
        said = [f"{len(self.arrays)} of {len(self.arrays) + len(self.own)} arrays"]
        said += [f"not from there: {_some([*self.own])}"] if self.own else []
        said += [f"not used of it: {_some([*self.left])}"] if self.left else []
        return "; ".join(said)


def match(
    network: Network,
    arrays: Mapping[str, Array],
    settings: LoadSettings,
    setting: str,
    torch: bool,
    prefix: str = "",
) -> Match:
    """What the arrays of a file are in this network.

    setting: where the config says it, such as `model.load`. torch: whether names and order of axes are PyTorch's.
    prefix: of all names of layers, which is not written where arrays and layers are matched and named.

    Raises SettingError for a pattern that fits nothing, and for an array without values where that is an error.
    """
    rules = [_Rule(ours, theirs, f"{setting}.names") for ours, theirs in (settings.names or {}).items()]
    order_of = partial(torch_order, network) if torch else own_order
    found: dict[str, Array] = {}
    sources: dict[str, str] = {}
    own: dict[str, str] = {}
    for full_name, (layer, part) in _parts(network).items():
        name = full_name.removeprefix(prefix)
        theirs = _their_name(layer.name.removeprefix(prefix), part, torch_part(layer, part) if torch else part, rules)
        order = order_of(layer, part)
        if theirs is None:
            own[name] = GIVEN_UP
        elif theirs not in arrays:
            own[name] = f"there is no {theirs}"
        elif (array := arrays[theirs]).shape != order.theirs or array.dtype.kind != "f":
            own[name] = f"{theirs} is {array.dtype} {shape_text(array.shape)}, not float {shape_text(order.theirs)}"
        else:
            found[full_name], sources[name] = order.from_torch(array), theirs
    if unused := [rule.ours for rule in rules if not rule.used]:
        what = f"{_some(unused)} fits nothing in this model that an earlier line leaves"
        raise SettingError(f"{setting}.names", what)
    left = tuple(name for name, array in arrays.items() if array.dtype.kind == "f" and name not in sources.values())
    missing = [f"{name}: {why}" for name, why in own.items() if why != GIVEN_UP]
    if missing and (settings.strict or not found):
        raise SettingError(setting, _missing(missing, left, bool(found)))
    return Match(found, sources, own, left)


def _together(froms: list[str], parts: list[str]) -> dict[str, list[str]]:
    """Where parts of a layer are from -> these parts. Of arrays of one layer there it is the layer's name."""
    found: dict[str, list[str]] = {}
    for origin, part in zip(froms, parts, strict=True):
        found.setdefault(origin if origin.startswith("as drawn") else origin.rpartition(".")[0], []).append(part)
    return found


def _missing(missing: list[str], left: tuple[str, ...], found: bool) -> str:
    """What has no values, what the file has instead, what to do."""
    told = f"{len(missing)} arrays of this model have no values there" if len(missing) > 1 else "no values for"
    told = f"{told}: {'; '.join(missing[:MOST_NAMED])}{'; …' if len(missing) > MOST_NAMED else ''}"
    there = f". Not used of it: {_some([*left])}" if left else ""
    rename = "`names: {OURS: THEIRS}` says what is called otherwise"
    if not found:
        return f"nothing fits. {told}{there}. {rename}"
    return f"{told}{there}. {rename}; with `strict: false` the others start as they would"


def name_pattern(text: str, setting: str) -> re.Pattern[str]:
    """Fits names; each `*` is a group, any text. Raises SettingError."""
    if text.count("*") > MOST_STARS:
        raise SettingError(setting, f"{text!r}: at most {MOST_STARS} `*` in a name")  # more take time without end
    return re.compile("(.*?)".join(map(re.escape, text.split("*"))))


class _Rule:
    """A line of the table. `*` is any text; a layer's name stands for all that it holds."""

    def __init__(self, ours: str, theirs: str | None, setting: str):
        self.ours, self.theirs, self.used = ours, theirs, False
        self.pattern = name_pattern(ours, setting)
        if theirs is not None and theirs.count("*") != ours.count("*"):
            raise SettingError(setting, f"{ours!r} and {theirs!r} must have as many `*`")

    def apply(self, layer: str, part: str, their_part: str) -> str | None:
        """Their name; None where the rule says null. Raises LookupError where it does not fit."""
        for text, ending in ((layer, f".{their_part}"), (f"{layer}.{part}", "")):
            if fit := self.pattern.fullmatch(text):
                self.used = True
                if self.theirs is None:
                    return None
                first, *rest = self.theirs.split("*")
                return "".join([first, *map(str.__add__, fit.groups(), rest)]) + ending
        raise LookupError


def _their_name(layer: str, part: str, their_part: str, rules: list[_Rule]) -> str | None:
    for rule in rules:
        try:
            return rule.apply(layer, part, their_part)
        except LookupError:
            continue
    return f"{layer}.{their_part}"


def _parts(network: Network) -> dict[str, tuple[Layer, str]]:
    """Our name -> the layer and which of its parts, in the order of the layers."""
    return {
        f"{layer.name}.{part}": (layer, part)
        for layer in network.layers
        for part in (*layer.parameters, *layer.buffers)
    }


def _some(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
