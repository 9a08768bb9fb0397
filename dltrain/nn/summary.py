"""What a network is made of, computed from its shapes alone."""

from math import prod
from typing import Any

from dltrain.nn.layer import Layer
from dltrain.nn.network import INPUT, Network

FLOAT_BYTES = 4
ADDED_UP = ("parameters", "trainable", "share", "multiply_adds", "activation_bytes")

Field = tuple[tuple[int, int], ...]  # along each dimension: positions of the input seen, and how far the next one jumps


def summarise(model: Network, batch_size: int) -> dict[str, Any]:
    """{"total", "trainable", "layers": […], "groups": […]}; sizes in numbers, memory in bytes of float32 for a batch.

    receptive_field: how many input positions an output position can see, along each spatial dimension; null
    where the output has no positions, or each sees everything. multiply_adds: forward, for one example. groups: the
    containers, each before those in it, with what their layers have together.
    """
    total = sum(p.size for p in model.parameters.values())
    fields: dict[str, Field | None] = {INPUT: ((1, 1),) * (len(model.in_shape) - 1)}
    rows = []
    for layer in model.layers:
        fields[layer.name] = field = _field(layer, [fields[name] for name in model.sources[layer.name]])
        sizes = [p.size for p in layer.parameters.values()]
        rows.append(
            {
                "name": layer.name,
                "type": layer.kind,
                "output_shape": list(layer.out_shape),
                "parameters": sum(sizes),
                "trainable": sum(p.size for p in layer.parameters.values() if p.trainable),
                "share": sum(sizes) / total if total else 0.0,
                "arithmetic": layer.arithmetic or None,
                "output_size": layer.window.explain() if layer.window else None,
                "multiply_adds": layer.multiply_adds,
                "activation_bytes": batch_size * prod(layer.out_shape) * FLOAT_BYTES,
                "receptive_field": [seen for seen, _ in field] if field else None,
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


def _field(layer: Layer, taken: list[Field | None]) -> Field | None:
    """None once every position sees everything."""
    known = [field for field in taken if field]
    if len(known) < len(taken) or len(layer.out_shape) <= len(known[0]):
        return None
    widest = tuple(max(column) for column in zip(*known, strict=True))
    if layer.window is None:
        return widest
    steps = zip(layer.window.extent, layer.window.stride, widest, strict=True)
    return tuple((seen + (extent - 1) * jump, jump * stride) for extent, stride, (seen, jump) in steps)


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
