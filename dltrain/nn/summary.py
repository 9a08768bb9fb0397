"""What a model is made of, computed from its shapes alone."""

from math import prod
from typing import Any

from dltrain.nn.network import Network

FLOAT_BYTES = 4


def summarise(model: Network, kinds: dict[str, str], batch_size: int) -> dict[str, Any]:
    """{"total", "trainable", "layers": […]}; sizes in numbers, memory in bytes of float32 for a batch.

    receptive_field: how many input positions an output position can see, along each spatial dimension; null
    where the output has no positions. multiply_adds: forward, for one example.
    """
    total = sum(p.size for _, p in model.named_parameters())
    rows = []
    seen = jump = (1,) * (len(model.in_shape) - 1)
    for layer in model.layers:
        if layer.window is not None:
            steps = zip(layer.window.extent, layer.window.stride, seen, jump, strict=True)
            grown = [(field + (extent - 1) * j, j * stride) for extent, stride, field, j in steps]
            seen, jump = (tuple(column) for column in zip(*grown, strict=True))
        sizes = [p.size for p in layer.parameters.values()]
        rows.append(
            {
                "name": layer.name,
                "type": kinds[layer.name],
                "output_shape": list(layer.out_shape),
                "parameters": sum(sizes),
                "trainable": sum(p.size for p in layer.parameters.values() if p.trainable),
                "share": sum(sizes) / total if total else 0.0,
                "arithmetic": layer.arithmetic or None,
                "output_size": layer.window.explain() if layer.window else None,
                "multiply_adds": layer.multiply_adds,
                "activation_bytes": batch_size * prod(layer.out_shape) * FLOAT_BYTES,
                "receptive_field": list(seen) if len(layer.out_shape) == len(model.in_shape) and seen else None,
            }
        )
    return {
        "total": total,
        "trainable": sum(row["trainable"] for row in rows),
        "multiply_adds": sum(row["multiply_adds"] for row in rows),
        "activation_bytes": sum(row["activation_bytes"] for row in rows),
        "batch_size": batch_size,
        "layers": rows,
    }
