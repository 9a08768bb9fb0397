"""What a game has come to: whether what is made differs as much as what is real, and whether networks heed all that
they are given."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dltrain.backend import Device, array_module, to_host
from dltrain.job.loader import DataLoader
from dltrain.job.update import Update, all_values
from dltrain.job.values import compute_values
from dltrain.metrics.pictures import spread
from dltrain.nn import Applied, Given, Value

Array = Any
Row = dict[str, Any]
PLAYED = "played.json"  # of a run
EXAMPLES = 256  # that are looked at, or as many as there are


def played(updates: Sequence[Update], loader: DataLoader, device: Device) -> dict[str, list[Row]]:
    """{"made", "heeded"} of the first examples of a split.

    made: {"value", "real", "spread", "real_spread"} of what a judge is to tell from something real; see `spread`.
    heeded: {"network", "input", "share"} of each input of a network that takes several: by how much its output changes
    when examples exchange this input alone, beside when they exchange all of them (root mean squares).
    """
    n = min(EXAMPLES, loader.size)
    values = all_values(updates)
    found = compute_values(values, loader.values(loader.rows(0, n)), device, 0, n)
    if n < 2:
        return {"made": [], "heeded": []}
    made = [
        {"value": of, "real": real, "spread": spread(to_host(found[of])), "real_spread": spread(to_host(found[real]))}
        for of, real in _opposed(updates)
    ]
    return {"made": made, "heeded": _heeded(values, found, device, n)}


def _opposed(updates: Sequence[Update]) -> list[tuple[str, str]]:
    """(made, real): what one judge is taught to say no and yes to."""
    pairs: dict[tuple[str, str], None] = {}
    for update in updates:
        said = [(value, above) for value, _, above in update.verdicts if isinstance(value, Applied)]
        for no, yes in ((a, b) for a, above in said if not above for b, over in said if over):
            if no.network is yes.network:
                both = zip(no.of, yes.of, strict=True)
                pairs |= dict.fromkeys((a.name, b.name) for a, b in both if a is not b and isinstance(a, Applied))
    return [*pairs]


def _heeded(values: Sequence[Value], found: dict[str, Array], device: Device, n: int) -> list[Row]:
    most: dict[tuple[str, int], Row] = {}  # of what a network makes in several values, the one where it heeds most
    made = [value for value in values if isinstance(value, Applied) and value.name in found]
    for value in made:
        if len(value.of) < 2 or not value.network.trainable:
            continue
        before, every = found[value.name], range(len(value.of))
        whole = _change(before, _exchanged(value, found, every, device, n))
        for number, below in enumerate(value.of):
            share = _change(before, _exchanged(value, found, [number], device, n)) / whole if whole else 1.0
            network = value.network.layers[0].name.partition(".")[0]
            row = {"network": network, "input": below.name, "share": share}
            if share >= most.get((network, number), row)["share"]:
                most[network, number] = row
    return [*most.values()]


def _exchanged(value: Applied, found: dict[str, Array], which: Sequence[int], device: Device, n: int) -> Array:
    """The value where each example has these inputs from the one before it, and all else, chance too, as it was."""
    given = {}
    for number, below in enumerate(value.of):
        x = found[below.name]
        given[f"input {number}"] = array_module(x).roll(x, 1, axis=0) if number in which else x
    of = tuple(Given(name, below.shape) for name, below in zip(given, value.of, strict=True))
    twin = replace(value, name="exchanged", of=of)
    return compute_values([twin], given, device, 0, n)["exchanged"]


def _change(before: Array, after: Array) -> float:
    difference = to_host(after).astype(float) - to_host(before)
    return float((difference * difference).mean() ** 0.5)
