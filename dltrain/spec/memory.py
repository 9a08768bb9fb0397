"""How much memory a training needs at the very least, refused before anything is allocated where there is not so much.

A bound from below, so that nothing is refused which would work: weights, gradients and one example's outputs, or the
data of a generator. What needs a little more than there is ends with an error of its own.
"""

from math import prod

from dltrain.backend import Device
from dltrain.backend.process import available_memory
from dltrain.data import Source
from dltrain.errors import ConfigError
from dltrain.nn import Network, Networks
from dltrain.nn.summary import FLOAT_BYTES
from dltrain.spec.runspec import Component, RunSpec

GIB = 2**30


def require_memory(spec: RunSpec, model: Network | Networks, sources: dict[str, Source], device: Device) -> None:
    """Raises ConfigError with the position of what is too large. Of a GPU's memory nothing is asked."""
    if device.is_cpu and (lacking := memory_lacking(spec, model, sources)):
        raise ConfigError(lacking)


def memory_lacking(spec: RunSpec, model: Network | Networks, sources: dict[str, Source]) -> str | None:
    """What is too large for this machine's memory, with its position; None where nothing is."""
    there = available_memory()
    if there is None:
        return None
    weights = {layer.name: 2 * FLOAT_BYTES * sum(p.size for p in layer.parameters.values()) for layer in model.layers}
    outputs = {layer.name: 2 * FLOAT_BYTES * prod(layer.out_shape) for layer in model.layers}
    data = {spec.sources[name].path: _data(spec.sources[name], source) for name, source in sources.items()}
    for what, needs, remedy in (
        ("the weights and gradients", weights, "make the layer smaller"),
        ("the outputs and gradients of a single example", outputs, "make the layer or its input smaller"),
        ("the data", data, "use fewer or smaller examples"),
    ):
        if (total := sum(needs.values())) > there:
            name = max(needs, key=lambda key: needs[key])
            sizes = f"take {_size(total)}, and this machine has {_size(there)}"
            return f"{spec.position(_path(spec, name))}  {name}: {what} {sizes}; {remedy}"
    return None


def _data(component: Component, source: Source) -> int:
    """The bytes of a data set that is made up; of others one example's."""
    examples = component.settings.get("examples", 1)
    return FLOAT_BYTES * prod(source.input_shape) * (examples if isinstance(examples, int) else 1)


def _path(spec: RunSpec, name: str) -> str:
    """Where a layer, or the container that it is in, stands in the config."""
    top = name.partition(".")[0]
    if spec.model is None:
        return f"networks.{top}"
    return next((layer.path for layer in spec.model.layers if layer.common["name"] == top), name)


def _size(amount: int) -> str:
    gib = amount / GIB
    return f"{gib:,.1f} GiB" if gib < 1e7 else f"{gib:.1e} GiB"
