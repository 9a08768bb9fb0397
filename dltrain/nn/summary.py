"""What a network is made of, computed from its shapes alone."""

from math import prod
from typing import Any

from dltrain.nn.connect import Connected
from dltrain.nn.layer import Layer
from dltrain.nn.network import Network
from dltrain.nn.networks import Networks

FLOAT_BYTES = 4
ADDED_UP = ("parameters", "trainable", "share", "multiply_adds", "activation_bytes")

# For each dimension: neighbours that span so many positions, last less first, see positions that span
# (span · times + plus) // over, in the last step first.
Field = tuple[tuple[tuple[int, int, int], ...], ...]


def summarise(model: Network | Networks, batch_size: int) -> dict[str, Any]:
    """{"total", "trainable", "layers": […], "groups": […]}; sizes in numbers, memory in bytes of float32 for a batch.

    receptive_field: how many input positions an output position can see, along each spatial dimension; null
    where the output has no positions, each sees everything, or a layer mixes them. multiply_adds: forward,
    for one example. groups: the containers, each before those in it, with what their layers have together.
    """
    total = sum(p.size for p in model.parameters.values())
    fields = _fields(model)
    rows = []
    for layer in model.layers:
        field = fields[layer.name]
        sizes = [p.size for p in layer.parameters.values()]
        rows.append(
            {
                "name": layer.name,
                "type": layer.kind,
                "output_shape": list(layer.out_shape),
                "parameters": sum(sizes),
                "trainable": sum(p.size for p in layer.parameters.values() if p.trainable),
                "share": sum(sizes) / total if total else 0.0,
                "norm": layer.norm.kind if isinstance(layer, Connected) and layer.norm else None,
                "spectral_norm": layer.spectral_norm is not None if isinstance(layer, Connected) else None,
                "bias": layer.bias is not None if isinstance(layer, Connected) else None,
                "arithmetic": layer.arithmetic or None,
                "output_size": layer.window.explain() if layer.window else None,
                "multiply_adds": layer.multiply_adds,
                "activation_bytes": batch_size * prod(layer.out_shape) * FLOAT_BYTES,
                "receptive_field": [*map(_seen, field)] if field else None,
            }
        )
    return {
        "total": total,
        "trainable": sum(row["trainable"] for row in rows),
        "multiply_adds": sum(row["multiply_adds"] for row in rows),
        "activation_bytes": sum(row["activation_bytes"] for row in rows),
        "batch_size": batch_size,
        "layers": rows,
        "groups": _groups(rows),
    }


def _fields(model: Network | Networks) -> dict[str, Field | None]:
    """By layer; each network sees its own inputs."""
    found: dict[str, Field | None] = {}
    for network in model.networks.values() if isinstance(model, Networks) else [model]:
        found |= {name: (((1, 0, 1),),) * (len(shape) - 1) for name, shape in network.inputs.items()}
        for layer in network.layers:
            found[layer.name] = _field(layer, [found[name] for name in network.sources[layer.name]])
    return found


def _field(layer: Layer, taken: list[Field | None]) -> Field | None:
    """None once every position sees everything, or there are none that one could say it of."""
    known = [field for field in taken if field]
    if not known or len(known) < len(taken) or len(layer.out_shape) <= len(known[0]) or layer.mixes:
        return None
    widest = tuple(max(column, key=_seen) for column in zip(*known, strict=True))
    if layer.enlarges:
        return tuple((*steps, (1, e - 1, s)) for (e, s), steps in zip(layer.enlarges, widest, strict=True))
    if layer.window is None:
        return widest
    grown = []
    for e, s, (*steps, (times, plus, over)) in zip(layer.window.extent, layer.window.stride, widest, strict=True):
        grown.append((*steps, (times * s, times * (e - 1) + plus, over)))
    return tuple(grown)


def _seen(steps: tuple[tuple[int, int, int], ...]) -> int:
    """By one position."""
    span = 0
    for times, plus, over in reversed(steps):
        span = (span * times + plus) // over
    return span + 1


def _groups(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kinds = {row["name"]: row["type"] for row in rows}
    names = [".".join(parts[:n]) for row in rows for parts in [row["name"].split(".")] for n in range(1, len(parts))]
    groups = []
    for name in dict.fromkeys(names):
        inside = [row for row in rows if f"{row['name']}.".startswith(f"{name}.")]
        added = {key: sum(row[key] for row in inside) for key in ADDED_UP}
        group = {"name": name, "type": kinds.get(name, "chain"), "layers": len(inside)}
        groups.append(group | {key: inside[-1][key] for key in ("output_shape", "receptive_field")} | added)
    return groups
